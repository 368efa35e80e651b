# SPDX-License-Identifier: GPL-2.0-or-later
"""SetEndpoints' arguments become values, or the whole call is refused."""

from __future__ import annotations

import base64

import pytest

from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import Endpoint, EndpointChange, PublicKey
from wgsd_nm.helper.service import MAX_CHANGES, parse_changes, require_usable


def key(number: int) -> PublicKey:
    return PublicKey(number.to_bytes(32, "big"))


def test_a_change() -> None:
    entries = [[str(key(1)), "192.0.2.1:1", "[2001:db8::1]:51820"], [str(key(2)), "", ""]]
    assert parse_changes(entries) == (
        EndpointChange(key(1), Endpoint.parse("192.0.2.1:1"), Endpoint.parse("[2001:db8::1]:51820")),
        EndpointChange(key(2), None, None),
    )


def test_what_is_expected_may_be_what_nobody_may_set() -> None:
    ((change),) = parse_changes([[str(key(1)), "0.0.0.0:0", "192.0.2.1:1"]])
    assert change.expected == Endpoint.parse("0.0.0.0:0")


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (["", "", "192.0.2.1:1"], "WireGuard public key"),
        (["A" * 44, "", ""], "WireGuard public key"),
        ([str(key(1)), "nonsense", ""], "'nonsense' is not an endpoint"),
        ([str(key(1)), "", "registry.example:51820"], "'registry.example:51820' is not an endpoint"),
        ([str(key(1)), "", "192.0.2.1:0"], "a port from 1 to 65535"),
        ([str(key(1)), "", "0.0.0.0:51820"], "0.0.0.0 is the unspecified address"),
        ([str(key(1)), "", "[::]:51820"], ":: is the unspecified address"),
        ([str(key(1)), "", "127.0.0.1:51820"], "127.0.0.1 is a loopback address"),
        ([str(key(1)), "", "127.255.255.254:51820"], "a loopback address"),
        ([str(key(1)), "", "[::1]:51820"], "::1 is a loopback address"),
        ([str(key(1)), "", "224.0.0.251:5353"], "224.0.0.251 is a multicast address"),
        ([str(key(1)), "", "[ff02::fb]:5353"], "ff02::fb is a multicast address"),
        ([str(key(1)), "", "[::ffff:127.0.0.1]:51820"], "a loopback address"),
        ([str(key(1)), "", "[::ffff:0.0.0.0]:51820"], "the unspecified address"),
        ([str(key(1)), "", "[::ffff:224.0.0.1]:51820"], "a multicast address"),
        ([str(key(9)), "", "192.0.2.1:1"], "comes twice"),
    ],
)
def test_one_wrong_entry_refuses_the_whole_call(entry: list[str], complaint: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        parse_changes([[str(key(9)), "", "192.0.2.9:9"], entry])
    assert str(raised.value).startswith("change 2 of 2: ")
    assert complaint in str(raised.value)


def test_the_number_of_entries_has_a_limit() -> None:
    entries = [[base64.b64encode(number.to_bytes(32, "big")).decode(), "", ""] for number in range(MAX_CHANGES + 1)]
    assert len(parse_changes(entries[:-1])) == MAX_CHANGES
    with pytest.raises(InvalidValue, match="at most 10000"):
        parse_changes(entries)


@pytest.mark.parametrize(
    "text", ["192.0.2.1:1", "10.0.0.1:65535", "[2001:db8::1]:51820", "[fe80::1%eth0]:51820", "169.254.1.1:51820"]
)
def test_whatever_can_be_a_peers_is_left_to_the_agent(text: str) -> None:
    require_usable(Endpoint.parse(text))


def test_only_poking_needs_no_endpoint() -> None:
    require_usable(None)
