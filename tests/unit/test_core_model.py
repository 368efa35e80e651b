# SPDX-License-Identifier: GPL-2.0-or-later
"""The values: what they take, what they refuse, and that what they print they also read."""

from __future__ import annotations

import base64
from dataclasses import FrozenInstanceError
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import Endpoint, PublicKey, Server, Uplink, endpoint_text, parse_interface, shown

KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="

addresses = st.ip_addresses()


@settings(max_examples=40)
@given(st.binary(min_size=32, max_size=32))
def test_a_key_reads_what_it_prints(raw: bytes) -> None:
    assert PublicKey.parse(str(PublicKey(raw))) == PublicKey(raw)
    assert hash(PublicKey(raw)) == hash(PublicKey(bytes(raw)))


@settings(max_examples=40)
@given(addresses, st.integers(0, 0xFFFF))
def test_an_endpoint_reads_what_it_prints(address: IPv4Address | IPv6Address, port: int) -> None:
    endpoint = Endpoint(address, port)
    assert Endpoint.parse(str(endpoint)) == endpoint
    assert str(endpoint).startswith("[") == (address.version == 6)


@settings(max_examples=60)
@given(st.one_of(st.text(max_size=60), st.from_regex(r"\[?[0-9a-f:.%]{0,20}\]?:[0-9]{0,7}", fullmatch=True)))
def test_any_text_is_a_value_or_invalid(text: str) -> None:
    for parse in (PublicKey.parse, Endpoint.parse, parse_interface):
        complaint = "expected"
        try:
            parse(text)
        except InvalidValue as error:
            complaint = str(error)
        assert "expected" in complaint


@pytest.mark.parametrize(
    "text",
    [
        "",
        KEY[:-1],
        KEY + "=",
        KEY + "\n",
        " " + KEY,
        KEY.replace("D", "-"),
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dh=",
        base64.b64encode(bytes(31)).decode(),
        base64.b64encode(bytes(33)).decode(),
        "ö" * 44,
    ],
)
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(InvalidValue, match="44 letters"):
        PublicKey.parse(text)


def test_a_key_has_32_octets() -> None:
    with pytest.raises(InvalidValue, match="31"):
        PublicKey(bytes(31))


def test_keys_have_an_order() -> None:
    assert PublicKey(bytes(32)) < PublicKey(bytes([1] * 32))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "192.0.2.1",
        "192.0.2.1:",
        "192.0.2.1:-1",
        "192.0.2.1:65536",
        "192.0.2.1:000001",
        "192.0.2.1:٣",
        "[192.0.2.1]:1",
        "2001:db8::1:51820:x",
        "[2001:db8::1]",
        "[2001:db8::1]51820",
        "[fe80::1%a b]:1",
        "[fe80::1%]:1",
        "192.0.2.256:1",
        "host.example:1",
        "192.0.2.1 :1",
    ],
)
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(InvalidValue):
        Endpoint.parse(text)


def test_a_link_local_endpoint_keeps_its_scope() -> None:
    assert str(Endpoint.parse("[fe80::1%wlan0]:51820")) == "[fe80::1%wlan0]:51820"


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_has_16_bits(port: int) -> None:
    with pytest.raises(InvalidValue, match="65535"):
        Endpoint(ip_address("192.0.2.1"), port)


def test_no_endpoint_is_shown_as_nothing() -> None:
    assert endpoint_text(None) == ""
    assert endpoint_text(Endpoint.parse("192.0.2.1:1")) == "192.0.2.1:1"


@pytest.mark.parametrize("name", ["wg0", "a" * 15, "ü", "wg-home.1"])
def test_interface_names(name: str) -> None:
    assert parse_interface(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a" * 16, "ü" * 8, "a/b", "a b", "a:b", "a\n", "a\0"])
def test_what_is_no_interface_name(name: str) -> None:
    with pytest.raises(InvalidValue):
        parse_interface(name)


def test_foreign_text_is_shown_short_and_harmless() -> None:
    assert shown("\x1b[2J") == r"'\x1b[2J'"
    assert len(shown("x" * 1000)) < 70


@pytest.mark.parametrize(
    ("server", "text"),
    [
        (Server(ip_address("10.0.0.254")), "10.0.0.254"),
        (Server(ip_address("10.0.0.254"), 5353), "10.0.0.254:5353"),
        (Server(ip_address("fd00::1"), 5353), "[fd00::1]:5353"),
        (Server(ip_address("fd00::1"), device="wg0"), "fd00::1"),
    ],
)
def test_a_server_is_shown_without_what_goes_without_saying(server: Server, text: str) -> None:
    assert str(server) == text


@pytest.mark.parametrize(
    ("address", "gateway", "version", "reaches"),
    [
        ("192.0.2.10/24", "192.0.2.1", 4, True),
        ("192.0.2.10/24", "192.0.2.1", 6, False),
        ("169.254.7.7/16", "192.0.2.1", 4, False),
        ("192.0.2.10/24", "fe80::1", 6, False),
        ("2001:db8::10/64", "fe80::1", 6, True),
        ("fe80::10/64", "fe80::1", 6, False),
    ],
)
def test_an_uplink_reaches_what_it_has_a_route_and_an_address_for(
    address: str, gateway: str, version: int, reaches: bool
) -> None:
    uplink = Uplink("eth0", "uuid", (ip_interface(address),), (ip_address(gateway),))
    assert uplink.reaches(version) is reaches


def test_values_do_not_change() -> None:
    endpoint = Endpoint.parse("192.0.2.1:1")
    with pytest.raises(FrozenInstanceError):
        endpoint.port = 2  # type: ignore[misc]  # that is the point
