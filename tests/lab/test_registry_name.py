# SPDX-License-Identifier: GPL-2.0-or-later
"""A registry whose profile has a host name: the name means another address, and the tunnel to it comes back.

NetworkManager resolves the name when the connection comes up, and again half an hour later. All is seen from outside,
by wg(8) and ping(8), but for the reason that the agent gives.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from lab.world import Laptop, Nat, Stack, wait_for
from lab.world.agent import AGENT
from lab.world.laptop import USER
from lab.world.pinging import Pinging
from lab.world.registry import Registry
from lab.world.wireguard import PORT
from lab.world.world import NAMES, REGISTRY_NAME, REGISTRY_PUBLIC, REGISTRY_PUBLIC6
from tests.lab.agents import Meeting, answered_again, hear
from tests.lab.families import (
    BY_IPV4,
    BY_IPV6,
    NEW_HOME,
    call_registry,
    carry,
    move_registry,
    set_stack,
    take_ipv6,
)

SEEN = 40.0
"""Seconds from an address in the new network to the registry's seeing alice there."""
NOTICED = 45.0
"""Seconds in which the silence of the registry's peer is noticed (15 of sending into it) and ended."""


class Announced:
    """The endpoint changes that a laptop's agent announces on its session bus."""

    def __init__(self, laptop: Laptop) -> None:
        """Listen from now on."""
        self._log = laptop.log("changes")
        self._begin = self._log.stat().st_size
        match = f"type='signal',interface='{AGENT}',member='EndpointChanged'"
        laptop.spawn(["busctl", "--user", "monitor", "--json=short", f"--match={match}"], name="changes", user=USER)

    def heard(self) -> list[tuple[str, str, str]]:
        """Key, new endpoint and reason of each, in order."""
        text, changes = self._log.read_text()[self._begin :], []
        while (start := text.find("{")) >= 0:
            try:
                message, end = json.JSONDecoder().raw_decode(text, start)
            except ValueError:
                break  # its end is still to be written
            text = text[end:]
            if message.get("member") == "EndpointChanged":
                _, key, _, new, reason = message["payload"]["data"]
                changes.append((key, new, reason))
        return changes


@pytest.fixture
def announced(meeting: Meeting) -> Iterator[Announced]:
    """What alice's agent announces during the scenario."""
    yield Announced(meeting.alice)
    meeting.alice.stop("changes")


@pytest.fixture
def named(meeting: Meeting) -> Meeting:
    """Alice's profile names the registry by host name, and the routers' DNS servers know its two addresses."""
    world = meeting.world
    for nat in (world.nat_a, world.nat_c):
        set_name(meeting, nat, REGISTRY_PUBLIC, REGISTRY_PUBLIC6)
    set_stack(meeting, world.nat_c, Stack.IPV6)
    take_ipv6(meeting, meeting.alice)
    call_registry(meeting, meeting.alice, f"{REGISTRY_NAME}:{PORT}")
    assert meeting.alice.ping(Registry.address, 30.0)
    assert registry_endpoint(meeting) == BY_IPV4
    return meeting


def set_name(meeting: Meeting, nat: Nat, *addresses: str) -> None:
    """Have a router's DNS server know these addresses of the registry."""
    meeting.afterwards.callback(nat.set_names, NAMES)
    nat.set_names({REGISTRY_NAME: addresses})


def registry_endpoint(meeting: Meeting) -> str:
    """The registry's endpoint in alice's kernel."""
    return meeting.alice.peers()[meeting.world.keys["registry"].public].endpoint


def test_moving_from_ipv4_to_ipv6_only_and_back(named: Meeting, announced: Announced) -> None:
    alice, bob, world = named.alice, named.bob, named.world
    for nat, start, endpoint in (
        (world.nat_c, f"[{world.nat_c.lan6}:", BY_IPV6),
        (world.nat_a, f"{world.nat_a.public}:", BY_IPV4),
    ):
        carry(named, alice, nat)
        wait_for(
            lambda start=start: world.endpoint_seen("alice").startswith(start),  # type: ignore[misc]
            SEEN, f"the registry to see alice at {start}...",
        )  # fmt: skip
        assert registry_endpoint(named) == endpoint
        assert alice.ping(Registry.address, 5.0)
        change = (world.keys["registry"].public, endpoint, "resolved")
        wait_for(lambda change=change: change in announced.heard(), 5, f"{change} to be announced")  # type: ignore[misc]
    wait_for(lambda: hear(alice, bob, 1.0), 60, "alice, who is back, and bob to hear each other")


def test_the_registry_moves_while_alice_stays(named: Meeting, announced: Announced) -> None:
    alice, world = named.alice, named.world
    with Pinging(alice, Registry.address) as pinging:
        begin = time.time()
        answered_again((pinging,), begin, 10)
        move_registry(world, named.afterwards)
        for nat in world.nats:
            set_name(named, nat, NEW_HOME)
        took = answered_again((pinging,), time.time() + 1, NOTICED)
    assert registry_endpoint(named) == f"{NEW_HOME}:{PORT}", f"answered after {took:g} s"
    change = (world.keys["registry"].public, f"{NEW_HOME}:{PORT}", "resolved")
    wait_for(lambda: change in announced.heard(), 5, f"{change} to be announced")
