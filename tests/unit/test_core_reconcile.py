# SPDX-License-Identifier: GPL-2.0-or-later
"""The policy: which endpoints can work from here, and what may be overwritten."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from math import inf

import pytest

from tests.unit.core_story import BOB, CAFE, HOME, OFFICE, advertised, kernel_peer, network, tunnel, uplink
from wgsd_nm.core.evidence import Evidence
from wgsd_nm.core.model import Endpoint, Uplink
from wgsd_nm.core.reason import Reason
from wgsd_nm.core.reconcile import Decision, Ground, candidates, decide
from wgsd_nm.core.watch import PeerWatch, Trial

NOW = 1000.0
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


def test_candidates_are_what_can_work_in_the_registrys_order() -> None:
    bad = Endpoint.parse("10.0.0.2:1")
    peer = PeerWatch(BOB, record=advertised(BOB, bad, OFFICE, HOME))
    assert candidates(peer, ground()) == ([OFFICE, HOME], Reason.INSIDE_TUNNEL)
    assert candidates(PeerWatch(BOB), ground()) == ([], None)


def watched(
    current: Endpoint | None,
    record: Endpoint | None,
    *,
    alive: bool = False,
    session: bool = False,
    followed: Endpoint | None = None,
    trial: Trial | None = None,
    poke_due: bool = False,
    keepalive: int = 25,
) -> PeerWatch:
    return PeerWatch(
        BOB,
        kernel_peer(BOB, "10.0.0.2/32", current, keepalive),
        Evidence(handshake_at=NOW - 10 if session else -inf, alive_since=NOW - 5 if alive else None),
        None if record is None else advertised(BOB, record),
        followed,
        trial=trial,
        poke_due=poke_due,
    )


NOTHING, POKE = Decision(), Decision(poke=True)


@pytest.mark.parametrize(
    ("peer", "decision"),
    [
        (watched(None, None), NOTHING),
        (watched(None, None, poke_due=True), NOTHING),
        (watched(None, HOME), Decision(HOME, Reason.FOUND)),
        (watched(None, HOME, keepalive=0), Decision(HOME, Reason.FOUND)),
        (watched(HOME, HOME), NOTHING),
        (watched(HOME, HOME, poke_due=True), POKE),
        (watched(HOME, HOME, poke_due=True, keepalive=0), NOTHING),
        (watched(HOME, OFFICE, followed=HOME), Decision(OFFICE, Reason.MOVED)),
        (watched(HOME, OFFICE, followed=HOME, alive=True, session=True), Decision(OFFICE, Reason.MOVED)),
        (watched(CAFE, OFFICE, followed=HOME, alive=True, session=True), NOTHING),
        (watched(CAFE, HOME, alive=True, session=True), NOTHING),
        (watched(CAFE, HOME, alive=True, session=True, poke_due=True), POKE),
        (watched(CAFE, HOME, keepalive=0), NOTHING),
        (watched(CAFE, HOME, session=True), Decision(poke=True, trial=Trial(CAFE, NOW + 2))),
        (watched(CAFE, HOME), Decision(poke=True, trial=Trial(CAFE, NOW + 5.5))),
        (watched(CAFE, HOME, trial=Trial(CAFE, NOW + 1)), Decision(trial=Trial(CAFE, NOW + 1))),
        (watched(CAFE, HOME, trial=Trial(CAFE, NOW)), Decision(HOME, Reason.SILENT)),
        (watched(CAFE, HOME, trial=Trial(OFFICE, NOW)), Decision(poke=True, trial=Trial(CAFE, NOW + 5.5))),
        (watched(CAFE, HOME, trial=Trial(CAFE, NOW), alive=True, session=True), NOTHING),
        (watched(CAFE, Endpoint.parse("10.0.0.2:1")), NOTHING),
    ],
)
def test_what_may_be_overwritten(peer: PeerWatch, decision: Decision) -> None:
    assert decide(peer, ground(), NOW) == decision
