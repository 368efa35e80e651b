# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import sys
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address, ip_interface
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgsd_nm.agent import nm_values as values
from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import Connectivity


def quiet(sentence: str) -> None:
    pytest.fail(f"unexpected complaint: {sentence}")


@pytest.mark.parametrize(
    ("decode", "value"),
    [
        (values.number, True),
        (values.number, "1"),
        (values.flag, 1),
        (values.text, b"eth0"),
        (values.entries, ()),
        (values.mapping, []),
        (values.connectivity, 5),
        (values.connectivity, "4"),
        (values.public_key, [0] * 32),
        (values.public_key, b"\x01" * 31),
    ],
)
def test_a_value_of_another_form_is_refused_with_what_was_expected(
    decode: Callable[[object], object], value: object
) -> None:
    with pytest.raises(InvalidValue, match=r"expected|octets"):
        decode(value)


def test_a_key_of_zeroes_is_none() -> None:
    assert values.public_key(bytes(32)) is None
    assert values.public_key(b"") is None


def test_connectivity() -> None:
    assert values.connectivity(2) is Connectivity.PORTAL


def test_an_address_that_cannot_be_used_is_left_out_alone() -> None:
    complaints: list[str] = []
    entries = [
        {"address": "192.0.2.1", "prefix": 33},
        {"address": "2001:db8::1", "prefix": 64},
        {"address": "192.0.2.1"},
        "192.0.2.1/24",
        {"address": "192.0.2.2", "prefix": 24},
    ]
    assert values.addresses(4, entries, complaints.append) == (ip_interface("192.0.2.2/24"),)
    assert len(complaints) == 4


@pytest.mark.parametrize(
    ("route", "found"),
    [
        ({"dest": "0.0.0.0", "prefix": 0, "next-hop": "192.0.2.1", "metric": 20100}, (20100, "192.0.2.1")),
        ({"dest": "0.0.0.0", "prefix": 0, "metric": 7}, (7, "0.0.0.0")),
        ({"dest": "0.0.0.0", "prefix": 0, "next-hop": "fe80::1", "metric": 1}, (1, "fe80::1")),  # RFC 9229
        ({"dest": "0.0.0.0", "prefix": 0, "metric": 7, "table": 254}, (7, "0.0.0.0")),
        ({"dest": "0.0.0.0", "prefix": 0, "metric": 7, "table": 51820}, None),
        ({"dest": "0.0.0.0", "prefix": 0, "metric": 7, "type": "blackhole"}, None),
        ({"dest": "0.0.0.0", "prefix": 1, "metric": 7}, None),
    ],
)
def test_default_routes(route: dict[str, Any], found: tuple[int, str] | None) -> None:
    expected = () if found is None else (values.DefaultRoute(found[0], 4, ip_address(found[1])),)
    assert values.default_routes(4, [route], quiet) == expected


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("192.0.2.53", "192.0.2.53"),
        ("192.0.2.53#dns.example", "192.0.2.53"),
        ("dns+udp://192.0.2.53", "192.0.2.53"),
        ("dns+udp://192.0.2.53:53", "192.0.2.53"),
        ("dns+udp://192.0.2.53:5353", None),
        ("dns+tls://192.0.2.53", None),
    ],
)
def test_dns_data(entry: str, found: str | None) -> None:
    expected = () if found is None else (ip_address(found),)
    assert values.dns_servers(4, {"dns-data": [entry]}, quiet) == expected


@pytest.mark.parametrize(
    "entry", ["2001:db8::53", "2001:db8::53#dns.example", "dns+udp://[2001:db8::53]", "dns+udp://[2001:db8::53]:53"]
)
def test_dns_data_of_ipv6(entry: str) -> None:
    assert values.dns_servers(6, {"dns-data": [entry]}, quiet) == (ip_address("2001:db8::53"),)


def test_the_older_form_of_dns_servers_counts_where_dns_data_is_missing() -> None:
    number = int.from_bytes(ip_address("192.0.2.53").packed, sys.byteorder)
    assert values.dns_servers(4, {"dns": [number]}, quiet) == (IPv4Address("192.0.2.53"),)
    assert values.dns_servers(6, {"dns": [ip_address("2001:db8::53").packed]}, quiet) == (ip_address("2001:db8::53"),)
    assert values.dns_servers(4, {"dns": [number], "dns-data": ["192.0.2.1"]}, quiet) == (ip_address("192.0.2.1"),)
    assert values.dns_servers(4, {}, quiet) == ()


@pytest.mark.parametrize("setting", [{"dns": [-1]}, {"dns": [2**32]}, {"dns": [b"\0\0\0\0"]}, {"dns-data": ["a.b"]}])
def test_a_dns_server_that_is_none_is_left_out(setting: dict[str, Any]) -> None:
    complaints: list[str] = []
    assert values.dns_servers(4, setting, complaints.append) == ()
    assert len(complaints) == 1


def test_name_servers_of_a_device() -> None:
    data = [{"address": "192.0.2.53"}, {"address": "dns+tls://192.0.2.54"}, {"address": "192.0.2.55", "priority": 1}]
    assert values.name_servers(4, data, quiet) == (ip_address("192.0.2.53"), ip_address("192.0.2.55"))
    octets = [ip_address("2001:db8::53").packed, ip_address("fe80::1").packed]
    assert values.name_servers(6, octets, quiet) == (ip_address("2001:db8::53"), ip_address("fe80::1"))


@pytest.mark.parametrize(("version", "entry"), [(4, {}), (4, {"address": 7}), (4, b"1234"), (6, b"1234"), (6, "::1")])
def test_a_name_server_that_is_none_is_left_out(version: values.Version, entry: object) -> None:
    complaints: list[str] = []
    assert values.name_servers(version, [entry], complaints.append) == ()
    assert len(complaints) == 1


def test_search_domains_come_without_mark_and_without_the_root() -> None:
    setting = {"dns-search": ["~example.com", "example.org", "~.", "~", ""]}
    assert values.search_domains(setting, quiet) == ("example.com", "example.org")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8) | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["address", "prefix", "dest", "next-hop", "metric", "table", "type"]) | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=50)
@given(PLAIN)
def test_whatever_comes_is_decoded_or_refused(value: object) -> None:
    def complain(_: str) -> None:
        pass

    decoders: list[Callable[[object], object]] = [
        values.number,
        values.flag,
        values.text,
        values.connectivity,
        values.public_key,
        lambda v: values.addresses(4, v, complain),
        lambda v: values.addresses(6, v, complain),
        lambda v: values.default_routes(4, v, complain),
        lambda v: values.networks(v, complain),
        lambda v: values.dns_servers(4, {"dns-data": v}, complain),
        lambda v: values.dns_servers(4, {"dns": v}, complain),
        lambda v: values.dns_servers(6, {"dns": v}, complain),
        lambda v: values.name_servers(4, v, complain),
        lambda v: values.name_servers(6, v, complain),
        lambda v: values.search_domains({"dns-search": v}, complain),
    ]
    for decode in decoders:
        try:
            decode(value)
        except InvalidValue:
            pass
