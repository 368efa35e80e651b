# SPDX-License-Identifier: GPL-2.0-or-later
"""Which endpoints can work from here, and which cannot."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from tests.unit.core_story import BOB, HOME, kernel_peer, network, tunnel, uplink
from wgsd_nm.core.ground import Ground
from wgsd_nm.core.model import Endpoint, Uplink, Way
from wgsd_nm.core.reason import Reason

DUAL = replace(
    uplink(),
    addresses=(ip_interface("192.0.2.10/24"), ip_interface("2001:db8:1::10/64"), ip_interface("fe80::10/64")),
    gateways=(ip_address("192.0.2.1"), ip_address("fe80::1")),
)
ONLY_6 = Uplink("eth0", "uuid", (ip_interface("2001:db8:1::10/64"),), (ip_address("fe80::1"),))


def ground(*uplinks: Uplink, inside: tuple[str, ...] = ("10.0.0.2/32", "10.7.0.0/16"), fwmark: int = 0) -> Ground:
    peer = replace(kernel_peer(BOB, "10.0.0.9/32"), allowed_ips=tuple(map(ip_network, inside)))
    return Ground.of(network(*(uplinks or (DUAL,))), replace(tunnel(), fwmark=fwmark), [peer])


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("198.51.100.1:51820", None),
        ("[2001:db8:2::1]:51820", None),
        ("192.168.1.20:51820", None),
        ("198.51.100.1:0", Reason.PORT_ZERO),
        ("0.0.0.0:51820", Reason.UNSPECIFIED),
        ("[::]:51820", Reason.UNSPECIFIED),
        ("127.0.0.1:51820", Reason.LOOPBACK),
        ("127.8.8.8:51820", Reason.LOOPBACK),
        ("[::1]:51820", Reason.LOOPBACK),
        ("224.0.0.251:51820", Reason.MULTICAST),
        ("[ff02::fb]:51820", Reason.MULTICAST),
        ("169.254.3.4:51820", Reason.LINK_LOCAL),
        ("[fe80::1]:51820", Reason.LINK_LOCAL),
        ("255.255.255.255:51820", Reason.RESERVED_ADDRESS),
        ("240.0.0.1:51820", Reason.RESERVED_ADDRESS),
        ("0.1.2.3:51820", Reason.RESERVED_ADDRESS),
        ("192.0.2.255:51820", Reason.BROADCAST),
        ("192.0.3.255:51820", None),
        ("192.0.2.10:51820", Reason.OWN_ADDRESS),
        ("[2001:db8:1::10]:51820", Reason.OWN_ADDRESS),
        ("10.0.0.10:51820", Reason.OWN_ADDRESS),
        ("10.0.0.2:51820", Reason.INSIDE_TUNNEL),
        ("10.7.255.255:51820", Reason.INSIDE_TUNNEL),
        ("10.0.0.3:51820", None),
        ("10.8.0.0:51820", None),
    ],
)
def test_what_can_be_reached_from_here(endpoint: str, reason: Reason | None) -> None:
    assert ground().refusal(Endpoint.parse(endpoint)) == reason


@pytest.mark.parametrize(
    ("uplinks", "endpoint", "reason"),
    [
        ((uplink(),), "[2001:db8:2::1]:51820", Reason.NO_ROUTE),
        ((ONLY_6,), "198.51.100.1:51820", Reason.NO_ROUTE),
        ((uplink(), ONLY_6), "[2001:db8:2::1]:51820", None),
        ((replace(uplink(), gateways=()),), "198.51.100.1:51820", Reason.NO_ROUTE),
        ((replace(uplink(), gateways=()),), "192.0.2.77:51820", None),
    ],
    ids=["no IPv6", "no IPv4", "IPv6 elsewhere", "no default route", "on the link"],
)
def test_a_family_needs_a_route(uplinks: tuple[Uplink, ...], endpoint: str, reason: Reason | None) -> None:
    assert ground(*uplinks).refusal(Endpoint.parse(endpoint)) == reason


@pytest.mark.parametrize(
    ("inside", "fwmark", "reason"),
    [
        ("0.0.0.0/0", 51820, None),
        ("128.0.0.0/1", 51820, None),
        ("192.0.0.0/2", 51820, Reason.INSIDE_TUNNEL),
        ("0.0.0.0/0", 0, Reason.INSIDE_TUNNEL),
        ("::/0", 0, None),
    ],
)
def test_everything_is_no_inside_where_the_fwmark_keeps_our_packets_out(
    inside: str, fwmark: int, reason: Reason | None
) -> None:
    assert ground(inside=(inside,), fwmark=fwmark).refusal(HOME) == reason


@pytest.mark.parametrize(("prefix", "reason"), [("192.0.2.8/31", None), ("192.0.2.8/30", Reason.BROADCAST)])
def test_a_link_of_two_has_no_broadcast_address(prefix: str, reason: Reason | None) -> None:
    last = str(ip_interface(prefix).network.broadcast_address)
    assert ground(uplink(prefix)).refusal(Endpoint.parse(f"{last}:51820")) == reason


@pytest.mark.parametrize(
    ("endpoint", "others", "far"),
    [
        ("198.51.100.1:51820", (), False),
        ("192.168.1.20:51820", (), True),
        ("10.20.30.40:51820", (), True),
        ("172.31.0.1:51820", (), True),
        ("172.32.0.1:51820", (), False),
        ("100.64.0.1:51820", (), True),
        ("[fd00::1]:51820", (), True),
        ("[2001:db8:2::1]:51820", (), False),
        ("192.168.1.20:51820", ("198.51.100.7:51820",), True),
        ("192.168.1.20:51820", ("198.51.100.99:1024",), False),
        ("192.168.7.20:51820", (), False),
    ],
)
def test_a_private_address_is_far_unless_on_our_link_or_behind_our_nat(
    endpoint: str, others: tuple[str, ...], far: bool
) -> None:
    here = replace(uplink(), addresses=(ip_interface("192.168.7.10/24"),))
    stand = Ground.of(network(here), tunnel(), [], [Endpoint.parse("198.51.100.99:51820")])
    assert stand.is_far_and_private(Endpoint.parse(endpoint), map(Endpoint.parse, others)) is far


@pytest.mark.parametrize(
    ("endpoint", "way"),
    [
        ("192.168.7.20:51820", Way.LINK),
        ("203.0.113.9:51820", Way.LINK),
        ("[fe80::1]:51820", Way.LINK),
        ("192.168.8.20:51820", Way.PRIVATE),
        ("100.64.0.1:51820", Way.PRIVATE),
        ("[fd00::1]:51820", Way.PRIVATE),
        ("198.51.100.1:51820", Way.INTERNET),
        ("[2001:db8:2::1]:51820", Way.INTERNET),
        ("127.0.0.1:51820", Way.NONE),
        ("[::1]:51820", Way.NONE),
    ],
)
def test_by_what_an_endpoint_is_reached(endpoint: str, way: Way) -> None:
    here = replace(uplink(), addresses=(ip_interface("192.168.7.10/24"), ip_interface("203.0.113.8/28")))
    stand = Ground.of(network(here), tunnel(), [])
    assert stand.way(Endpoint.parse(endpoint)) is way
