# SPDX-License-Identifier: GPL-2.0-or-later
"""Peers and changes over D-Bus and back."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgsd_nm.bus.marshal import marshal, plain, unmarshal
from wgsd_nm.bus.wire import Variant, change_from_wire, change_to_wire, peer_from_wire, peer_to_wire
from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import Endpoint, EndpointChange, Peer, PublicKey

KEYS = st.binary(min_size=32, max_size=32).map(PublicKey)
ENDPOINTS = st.none() | st.builds(Endpoint, st.ip_addresses(), st.integers(0, 0xFFFF))
NETWORKS = st.ip_addresses().map(lambda address: ip_network(address)) | st.sampled_from(
    [ip_network("0.0.0.0/0"), ip_network("::/0"), ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")]
)
COUNTS = st.integers(0, (1 << 64) - 1)
PEERS = st.builds(
    Peer,
    public_key=KEYS,
    endpoint=ENDPOINTS,
    latest_handshake=COUNTS,
    rx_bytes=COUNTS,
    tx_bytes=COUNTS,
    persistent_keepalive=st.integers(0, 0xFFFF),
    allowed_ips=st.lists(NETWORKS, max_size=3).map(tuple),
)
ONE = Peer(PublicKey(bytes(32)), Endpoint.parse("[fe80::1%wlan0]:51820"), 1, 2, 3, 25, (ip_network("192.0.2.1/32"),))


@settings(max_examples=60)
@given(PEERS)
def test_a_peer_arrives_as_it_left(peer: Peer) -> None:
    (received,) = unmarshal("a{sv}", marshal("a{sv}", [peer_to_wire(peer)]))
    assert peer_from_wire(received) == peer


def test_a_peer_as_the_interface_describes_it() -> None:
    assert peer_to_wire(ONE) == {
        "PublicKey": Variant("s", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        "Endpoint": Variant("s", "[fe80::1%wlan0]:51820"),
        "LatestHandshake": Variant("t", 1),
        "RxBytes": Variant("t", 2),
        "TxBytes": Variant("t", 3),
        "PersistentKeepalive": Variant("q", 25),
        "AllowedIPs": Variant("as", ["192.0.2.1/32"]),
    }
    assert peer_from_wire(plain(peer_to_wire(ONE))) == ONE


def test_what_a_later_helper_adds_is_left_out() -> None:
    assert peer_from_wire(plain(peer_to_wire(ONE)) | {"Mood": "good"}) == ONE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PublicKey", "short"),
        ("PublicKey", 5),
        ("Endpoint", "192.0.2.1"),
        ("Endpoint", None),
        ("LatestHandshake", -1),
        ("LatestHandshake", "1"),
        ("RxBytes", True),
        ("TxBytes", 1 << 64),
        ("PersistentKeepalive", 1 << 16),
        ("AllowedIPs", "192.0.2.1/32"),
        ("AllowedIPs", ["192.0.2.1/24"]),
        ("AllowedIPs", [5]),
        ("AllowedIPs", [["192.0.2.1/32"]]),
    ],
)
def test_a_peer_that_makes_no_sense(name: str, value: object) -> None:
    wire: dict[str, Any] = plain(peer_to_wire(ONE))
    with pytest.raises(InvalidValue):
        peer_from_wire(wire | {name: value})
    del wire[name]
    with pytest.raises(InvalidValue):
        peer_from_wire(wire)


@settings(max_examples=60)
@given(st.builds(EndpointChange, public_key=KEYS, expected=ENDPOINTS, wanted=ENDPOINTS))
def test_a_change_arrives_as_it_left(change: EndpointChange) -> None:
    ((received,),) = unmarshal("a(sss)", marshal("a(sss)", [[change_to_wire(change)]]))
    assert change_from_wire(received) == change


@pytest.mark.parametrize(
    "value",
    [
        [],
        ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", ""],
        ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "", "", ""],
        ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "", 5],
        ["", "", ""],
        ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "here", ""],
        ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "", "there"],
    ],
)
def test_a_change_that_makes_no_sense(value: list[Any]) -> None:
    with pytest.raises(InvalidValue):
        change_from_wire(value)
