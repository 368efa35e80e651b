# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may ask what, and how many answers strangers get."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.registry_objects import peer
from wgsd_nm.core.dnssd import parse_zone
from wgsd_nm.registry.access import (
    LOOPBACK,
    MAX_NAMES,
    NAME_AGE,
    OVERALL_BURST,
    OVERALL_INTERVAL,
    STRANGER_BURST,
    STRANGER_INTERVAL,
    Access,
    Grant,
    RateLimit,
    network_of,
    overlap,
)
from wgsd_nm.registry.zone import Zone

HOME, WORK, OPEN = (Zone(parse_zone(name)) for name in ("home.example", "work.example", "open.example"))
WG0, WG1, ETH0 = 5, 6, 2


class World:
    """Interfaces, and a clock that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.names = {1: "lo", ETH0: "eth0", WG0: "wg0", WG1: "wg1"}
        self.asked = 0
        self.access = Access(
            [
                Grant(HOME, "wg0"),
                Grant(WORK, "wg1", (ip_network("198.51.100.0/24"), ip_network("2001:db8::/32"))),
                Grant(OPEN, "wg0", (ip_network("198.51.100.7/32"),)),
            ],
            name_of=self.name_of,
            clock=lambda: self.now,
        )

    def name_of(self, index: int) -> str:
        self.asked += 1
        try:
            return self.names[index]
        except KeyError:
            raise OSError(6, "No such device or address") from None

    def names_of(self, interface: int, source: str) -> list[str]:
        return [zone.name.to_text() for zone in self.access.zones(interface, source)]


@pytest.mark.parametrize(
    ("interface", "source", "zones"),
    [
        (LOOPBACK, "127.0.0.1", ["home.example.", "work.example.", "open.example."]),
        (LOOPBACK, "203.0.113.9", ["home.example.", "work.example.", "open.example."]),
        (WG0, "10.0.0.2", ["home.example.", "open.example."]),
        (WG1, "10.0.0.2", ["work.example."]),
        (ETH0, "10.0.0.2", []),
        (ETH0, "198.51.100.8", ["work.example."]),
        (ETH0, "198.51.100.7", ["work.example.", "open.example."]),
        (ETH0, "::ffff:198.51.100.7", ["work.example.", "open.example."]),
        (ETH0, "198.51.101.7", []),
        (ETH0, "2001:db8::1", ["work.example."]),
        (ETH0, "2001:db9::1", []),
        (ETH0, "fe80::1%eth0", []),
        (WG0, "198.51.100.8", ["home.example.", "work.example.", "open.example."]),
        (0, "10.0.0.2", []),
        (0, "198.51.100.8", ["work.example."]),
        (77, "10.0.0.2", []),
    ],
)
def test_the_incoming_interface_and_the_source_decide(interface: int, source: str, zones: list[str]) -> None:
    assert World().names_of(interface, source) == zones


def test_what_is_granted_alike_is_the_same_object() -> None:
    access = World().access
    assert access.zones(WG0, "10.0.0.2") is access.zones(WG0, "10.0.0.3")
    assert access.zones(LOOPBACK, "127.0.0.1") is access.zones(LOOPBACK, "::1")


def test_a_zone_of_several_grants_is_named_once() -> None:
    access = Access([Grant(HOME, "wg0"), Grant(HOME, "wg1")], name_of=lambda _: "wg1")
    assert access.zones(WG1, "10.0.0.2") == (HOME,)
    assert access.zones(LOOPBACK, "10.0.0.2") == (HOME,)


def test_a_device_that_is_made_anew_or_renamed_is_noticed() -> None:
    world = World()
    assert world.names_of(WG0, "10.0.0.2") == ["home.example.", "open.example."]
    assert world.names_of(WG0, "10.0.0.3") == ["home.example.", "open.example."]
    assert world.asked == 1
    world.names[9] = world.names.pop(WG0)
    assert world.names_of(9, "10.0.0.2") == ["home.example.", "open.example."]  # a new index at once
    world.names[WG0] = "eth1"
    world.now += NAME_AGE
    assert world.names_of(WG0, "10.0.0.2") == []


def test_a_bounded_number_of_names_is_remembered() -> None:
    world = World()
    for index in range(100, 100 + MAX_NAMES + 1):
        assert world.names_of(index, "10.0.0.2") == []
    world.asked = 0
    assert world.names_of(100, "10.0.0.2") == []
    assert world.asked == 1


def test_the_kernel_is_asked_for_names() -> None:
    access = Access([Grant(HOME, "lo")])
    assert access.zones(socket.if_nametoindex("lo"), "127.0.0.1") == (HOME,)
    assert access.zones(2_000_000, "127.0.0.1") == ()


@pytest.mark.parametrize(
    ("source", "network"),
    [
        ("192.0.2.77", "192.0.2"),
        ("::ffff:192.0.2.77", "192.0.2"),
        ("2001:db8:1:23ff::1", b"\x20\x01\x0d\xb8\x00\x01\x23"),
        ("fe80::1%3", b"\xfe\x80\0\0\0\0\0"),
    ],
)
def test_strangers_count_by_network(source: str, network: str | bytes) -> None:
    assert network_of(source) == network


@given(st.ip_addresses())
def test_every_address_is_of_a_network_and_is_judged(address: object) -> None:
    text = str(address)
    mapped = getattr(ip_address(text), "ipv4_mapped", None)
    assert isinstance(network_of(text), str if mapped or ":" not in text else bytes)
    assert World().access.zones(LOOPBACK, text)


@pytest.mark.parametrize(
    ("networks", "found"),
    [
        (("10.0.0.0/8",), ("10.0.0.0/8", "10.0.0.1/32")),
        (("192.0.2.0/24", "10.1.0.0/24"), ("10.1.0.0/24", "10.1.0.0/16")),
        (("fd00::/8", "10.0.0.1/32"), ("fd00::/8", "fd00::1/128")),
        (("192.0.2.0/24", "2001:db8::/32"), None),  # within a full tunnel only
        ((), None),
    ],
)
def test_granted_networks_that_are_the_tunnels_are_found(
    networks: tuple[str, ...], found: tuple[str, str] | None
) -> None:
    peers = (
        peer("all", "", "0.0.0.0/0", "::/1", "8000::/1"),
        peer("one", "", "10.0.0.1/32", "fd00::1/128"),
        peer("site", "", "10.1.0.0/16"),
    )
    assert overlap(map(ip_network, networks), peers) == (found and tuple(map(ip_network, found)))


class TestRateLimit:
    def test_a_network_has_a_burst_and_then_a_rate(self) -> None:
        now = [0.0]
        limit = RateLimit(lambda: now[0])
        assert [limit.permits(f"192.0.2.{host}") for host in range(STRANGER_BURST + 5)] == [True] * STRANGER_BURST + [
            False
        ] * 5
        assert limit.permits("192.0.3.1")
        now[0] += STRANGER_INTERVAL * 1.01
        assert limit.permits("192.0.2.1")
        assert not limit.permits("192.0.2.1")
        now[0] += STRANGER_INTERVAL * STRANGER_BURST
        assert [limit.permits("192.0.2.1") for _ in range(STRANGER_BURST + 1)].count(True) == STRANGER_BURST

    def test_all_networks_together_have_a_rate(self) -> None:
        now = [0.0]
        limit = RateLimit(lambda: now[0])
        sources = [f"10.{number // 256}.{number % 256}.1" for number in range(1000)]
        assert [limit.permits(source) for source in sources].count(True) == OVERALL_BURST
        now[0] += 1
        again = [f"11.{number // 256}.{number % 256}.1" for number in range(1000)]
        assert [limit.permits(source) for source in again].count(True) == OVERALL_BURST  # a second fills the bucket

    def test_one_flooding_network_does_not_take_what_is_everybodys(self) -> None:
        limit = RateLimit(lambda: 0.0)
        for _ in range(10_000):
            limit.permits("192.0.2.1")
        assert limit.permits("192.0.3.1")

    def test_memory_is_bounded(self) -> None:
        now = [0.0]
        limit = RateLimit(lambda: now[0])
        largest = 0
        for number in range(50_000):
            now[0] += OVERALL_INTERVAL / 4
            limit.permits(f"{1 + number // 65536}.{number // 256 % 256}.{number % 256}.1")
            largest = max(largest, limit.remembered)
        assert largest <= 2 * STRANGER_BURST * STRANGER_INTERVAL / OVERALL_INTERVAL + OVERALL_BURST
