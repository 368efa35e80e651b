# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses and networks from what an administrator writes."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import Endpoint
from wgsd_nm.registry.addresses import is_public, parse_address, parse_listen, parse_network

ALMOST = st.text(alphabet="0123456789abcdef.:[]%/ ", max_size=24)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("192.0.2.1", "192.0.2.1:53"),
        ("192.0.2.1:5300", "192.0.2.1:5300"),
        ("2001:db8::1", "[2001:db8::1]:53"),
        ("[2001:db8::1]", "[2001:db8::1]:53"),
        ("[2001:db8::1]:5300", "[2001:db8::1]:5300"),
        ("::", "[::]:53"),
    ],
)
def test_addresses_to_listen_at(text: str, endpoint: str) -> None:
    assert parse_listen(text) == Endpoint.parse(endpoint)


@pytest.mark.parametrize(
    "text",
    ["", "wg0", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "[10.0.0.1]", "[::1", "224.0.0.251", "[ff02::fb]:53"],
)
def test_what_is_no_address_to_listen_at(text: str) -> None:
    with pytest.raises(InvalidValue, match="expected an IP address with or without a port"):
        parse_listen(text)


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", None),
        ("192.0.2.1:1", "192.0.2.1", 1),
        ("2001:db8::1", "2001:db8::1", None),
        ("[2001:db8::1]", "2001:db8::1", None),
        ("[2001:db8::1]:53", "2001:db8::1", 53),
        ("::ffff:192.0.2.1", "192.0.2.1", None),
        ("[::ffff:192.0.2.1]:9", "192.0.2.1", 9),
        ("0.0.0.0", "0.0.0.0", None),
    ],
)
def test_addresses_with_and_without_a_port(text: str, address: str, port: int | None) -> None:
    assert parse_address(text) == (ip_address(address), port)


@pytest.mark.parametrize(
    "text", ["", "host", "host:53", "192.0.2.1:0", "192.0.2.1/32", "2001:db8::1:x", "[192.0.2.1]:1"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidValue, match="is not an address with or without a port: expected one like"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/96", "::/96"),
        ("::/0", "::/0"),
    ],
)
def test_networks(text: str, network: str) -> None:
    assert parse_network(text) == ip_network(network)


@pytest.mark.parametrize("text", ["", "x", "192.0.2.0/33", "192.0.2/24", "fe80::%eth0/64", "10", "[::1]", "::1:53/x"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(InvalidValue, match="is not a network: expected one like"):
        parse_network(text)


def test_an_address_with_a_prefix_is_answered_with_its_network() -> None:
    with pytest.raises(
        InvalidValue, match=r"^'10\.0\.0\.1/24' is an address inside a network: expected 10\.0\.0\.0/24$"
    ):
        parse_network("10.0.0.1/24")


@pytest.mark.parametrize(
    ("text", "public"),
    [
        *((text, False) for text in ("10.0.0.0/8", "10.1.0.0/16", "172.31.0.0/16", "192.168.0.0/16", "100.127.0.0/16")),
        *((text, False) for text in ("169.254.1.0/24", "127.0.0.1", "fd00::/8", "fe80::/64", "::1")),
        *((text, True) for text in ("0.0.0.0/0", "10.0.0.0/7", "192.0.2.0/24", "172.32.0.0/16", "100.128.0.0/16")),
        *((text, True) for text in ("::/0", "2001:db8::/32", "::/127", "fc00::/6")),
    ],
)
def test_which_networks_are_public(text: str, public: bool) -> None:
    assert is_public(ip_network(text)) == public


@given(st.one_of(ALMOST, st.text()))
def test_any_text_is_an_address_or_an_invalid_value(text: str) -> None:
    for parse in (parse_listen, parse_address, parse_network):
        try:
            parse(text)
        except InvalidValue as error:
            complaint = str(error)
        else:
            complaint = "expected"
        assert "expected" in complaint
