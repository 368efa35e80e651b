# SPDX-License-Identifier: GPL-2.0-or-later
"""Networks with IPv4, with IPv6 and with both: which endpoint each laptop's kernel is given, and which it never is."""

from __future__ import annotations

import time
from functools import partial

import pytest

from lab.world import Host, Laptop, Nat, Stack, World, wait_for
from lab.world.agent import agent_peer, endpoint
from lab.world.counter import Counter
from lab.world.world import REGISTRY_NAME, REGISTRY_PUBLIC, REGISTRY_PUBLIC6
from tests.lab.agents import Meeting, answered_again, hear, talking
from tests.lab.families import BY_IPV4, BY_IPV6, call_registry, carry, set_stack, take_ipv6

MET = 60.0
"""Seconds for two laptops to find each other whose tunnels have just come up."""
RECOVERED = 40.0
"""Seconds in which those who talk hear each other again: 25 at worst, and some for this slow machine."""


@pytest.fixture
def dual(meeting: Meeting) -> Meeting:
    """Both laptops at home, where there are both families now; NAT C has IPv6 only."""
    world = meeting.world
    for nat, stack in ((world.nat_a, Stack.DUAL), (world.nat_b, Stack.DUAL), (world.nat_c, Stack.IPV6)):
        set_stack(meeting, nat, stack)
    for laptop in meeting.laptops:
        take_ipv6(meeting, laptop)
    return meeting


def is_behind(meeting: Meeting, laptop: Laptop, start: str) -> bool:
    """Whether the other laptop's kernel has this one where the registry sees it, and that begins so."""
    known = endpoint(meeting.world, meeting.other(laptop), laptop.name)
    return known.startswith(start) and known == meeting.world.endpoint_seen(laptop.name)


def wait_known(meeting: Meeting, laptop: Laptop, start: str, timeout: float = MET) -> None:
    """Wait until the other laptop's kernel has this one where the registry sees it, and both are answered."""

    def known() -> bool:
        return hear(meeting.alice, meeting.bob, 1.0) and is_behind(meeting, laptop, start)

    wait_for(known, timeout, f"{laptop.name} to be known at {start}... and heard", 0.2)


def close_ipv4(meeting: Meeting) -> None:
    """Have NAT A let nothing out for NAT B by IPv4; a laptop that remembers such a way cannot meet the other there."""
    one, other = meeting.world.nat_a, meeting.world.nat_b
    one.nft(f"""
        table ip closed {{
            chain forward {{
                type filter hook forward priority filter - 1
                ip daddr {other.public} drop
            }}
        }}
    """)
    meeting.afterwards.callback(one.nft, "delete table ip closed")


def direct6(one: Nat, other: Nat) -> Counter:
    """A counter of the UDP packets that go from one router's LAN to the other's over IPv6."""
    return Counter(one, f"to6_{other.name}", "postrouting", f"oifname pub0 ip6 daddr {other.lan6}::/64 udp dport > 0")


def test_a_router_lets_in_by_ipv6_only_what_somebody_inside_has_asked_for(world: World) -> None:
    """And it gives no IPv4 address, and its DNS server knows which families a name has."""
    nat, prefix = world.nat_c, f" {world.nat_c.lan6}:"
    nat.set_stack(Stack.IPV6)
    carol = world.station("carol", nat)
    try:
        wait_for(lambda: prefix in ipv6_addresses(carol), 20, "carol to have an address of the router's prefix")
        address = next(word for word in ipv6_addresses(carol).split() if word.startswith(prefix.strip()))
        assert carol.ping(REGISTRY_PUBLIC6)
        assert not world.registry.ping(address.partition("/")[0], 2.0)
        ask = f"dig +short @{nat.lan6}::1 {REGISTRY_NAME}"
        assert carol.run(["sh", "-c", f"{ask} A; {ask} AAAA"]).stdout == f"{REGISTRY_PUBLIC}\n"
        assert "status: NOERROR" in carol.run(["sh", "-c", f"{ask} AAAA +noshort +comments"]).stdout
        assert carol.run(["ip", "-4", "-brief", "address", "show", "eth0"]).stdout == ""
    finally:
        world.remove(carol)
        nat.set_stack(Stack.IPV4)


def ipv6_addresses(host: Host) -> str:
    """Those of eth0 that reach beyond the link, as ip(8) shows them in one line."""
    return host.run(["ip", "-6", "-brief", "address", "show", "eth0", "scope", "global", "-tentative"]).stdout


def test_a_family_without_a_route_is_never_set(meeting: Meeting) -> None:
    """Alice's network has IPv6 only and bob's IPv4 only: the registry, which has both, knows of no way.

    This comes before bob was ever reached by IPv6 from that network: what worked there is remembered.
    """
    alice, bob, world = meeting.alice, meeting.bob, meeting.world
    set_stack(meeting, world.nat_c, Stack.IPV6)
    take_ipv6(meeting, alice)
    carry(meeting, alice, world.nat_c)
    call_registry(meeting, alice, BY_IPV6)
    wait_for(lambda: world.endpoint_seen("alice").startswith(f"[{world.nat_c.lan6}:"), 30, "alice to be seen by IPv6")

    wait_for(lambda: agent_peer(world, alice, "bob").get("Reason") == "no-route", 30, "alice to be told why", 0.5)
    for one, other in ((alice, bob), (bob, alice)):
        one.run(["ping", "-n", "-c5", "-i0.2", "-W1", "10.0.0.2" if other is bob else "10.0.0.1"], check=False)
    wait_for(lambda: agent_peer(world, alice, "bob").get("Reason") == "no-route", 30, "alice to be told it again", 0.5)
    told = agent_peer(world, alice, "bob")

    assert endpoint(world, alice, "bob") == "", "the kernel never takes an endpoint back, so none was ever set"
    assert f"{world.nat_b.public}:" in told["ReasonText"]
    assert not endpoint(world, bob, "alice").startswith("[")
    assert not hear(alice, bob, 2.0)


def test_with_both_families_the_registrys_word_is_taken(dual: Meeting) -> None:
    """The registry is called by IPv4, so that is what it sees and tells, and where the laptops meet."""
    world = dual.world
    with direct6(world.nat_a, world.nat_b) as there, direct6(world.nat_b, world.nat_a) as back:
        for laptop in dual.laptops:
            call_registry(dual, laptop, BY_IPV4)
        for laptop, nat in dual.homes:
            wait_known(dual, laptop, f"{nat.public}:")
        assert (there.packets(), back.packets()) == (0, 0)


def test_moving_between_networks_where_only_ipv6_leads_from_one_to_the_other(dual: Meeting) -> None:
    """The registry is called by IPv6; the network to which alice moves, and from which she comes back, has no other."""
    alice, world = dual.alice, dual.world
    close_ipv4(dual)
    with direct6(world.nat_a, world.nat_b) as there, direct6(world.nat_b, world.nat_a) as back:
        for laptop in dual.laptops:
            call_registry(dual, laptop, BY_IPV6)
        relayed = world.registry.relayed.packets()
        for laptop, nat in dual.homes:
            wait_known(dual, laptop, f"[{nat.lan6}:")
        assert there.packets() > 0
        assert back.packets() > 0
        assert world.registry.relayed.packets() == relayed
    with talking(dual) as pings:
        for nat in (world.nat_c, world.nat_a):
            carry(dual, alice, nat)
            answered_again(pings, time.time(), RECOVERED)
            wait_for(partial(is_behind, dual, alice, f"[{nat.lan6}:"), RECOVERED, "her to be known there")
