# SPDX-License-Identifier: GPL-2.0-or-later
"""Laptops that the registry tells of each move: they need not ask, and notice when nobody tells them any more.

Who shall be told is kept from asking: its questions by UDP are dropped, and what it hears it hears by push alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from lab.world import Laptop, Nat, wait_for
from lab.world.agent import follows
from lab.world.network import dropping
from lab.world.world import ADDRESSES
from tests.lab.agents import REGISTRY, Meeting, answered_again, let_pass, serve, talking, wait_content

TOLD = 25.0
"""Seconds in which those who talk hear each other again: two of the kernel's slots for an initiation, and some."""
RECOVERED = 30.0
"""The same for those who have to ask: 25 at worst, and some for this slow machine."""
SESSION = 30.0
"""Seconds for a session to be made where nothing is in its way."""
NOTICED = 120.0
"""Seconds after which a session that died without a word is noticed: a keepalive a minute, and what TCP gives it."""


@contextmanager
def unable_to_ask(meeting: Meeting, laptops: Iterable[Laptop]) -> Iterator[None]:
    """The registry loses what they ask by UDP: where the question is sent from, a drop would be an error at once."""
    asking = ", ".join(ADDRESSES[laptop.name] for laptop in laptops)
    with dropping(meeting.world.registry, "mute", "input", f"iifname wg0 ip saddr {{ {asking} }} udp dport 53"):
        yield


def wait_followed(meeting: Meeting, timeout: float = SESSION) -> None:
    """Wait until both agents are told of each change."""
    for laptop in meeting.laptops:
        wait_for(partial(follows, laptop), timeout, f"the registry to tell {laptop.name}'s agent", 0.5)


def assert_told(meeting: Meeting, told: Iterable[Laptop], moves: dict[Laptop, Nat]) -> None:
    """Those who move are found by those who cannot ask."""
    with talking(meeting) as pings, unable_to_ask(meeting, told):
        for laptop in moves:
            laptop.unplug()
        for laptop in moves:
            laptop.wait_state("eth0", "unavailable")
        for laptop, nat in moves.items():
            laptop.plug(nat)
        for laptop in moves:
            laptop.wait_state("eth0", "connected")
        answered_again(pings, time.time(), TOLD)
    for laptop, nat in moves.items():
        assert meeting.peer(meeting.other(laptop)).endpoint.startswith(f"{nat.public}:")


def test_who_is_told_need_not_ask(meeting: Meeting) -> None:
    wait_followed(meeting)
    assert_told(meeting, meeting.laptops, {meeting.alice: meeting.world.nat_c})
    wait_content(meeting)


def test_both_move_at_once_and_are_told(meeting: Meeting) -> None:
    wait_followed(meeting)
    assert_told(meeting, meeting.laptops, {meeting.alice: meeting.world.nat_c, meeting.bob: meeting.world.nat_a})


def test_a_registry_that_begins_anew_tells_again(meeting: Meeting) -> None:
    wait_followed(meeting)
    meeting.world.registry.stop(REGISTRY)
    for laptop in meeting.laptops:
        wait_for(lambda laptop=laptop: not follows(laptop), SESSION, f"{laptop.name}'s agent to notice")  # type: ignore[misc]
    serve(meeting.world)
    wait_followed(meeting)
    assert_told(meeting, [meeting.bob], {meeting.alice: meeting.world.nat_c})


def sessions(meeting: Meeting) -> set[str]:
    """The other ends of the registry's TCP connections, as it sees them: ADDRESS:PORT."""
    established = ["ss", "-Htn", "state", "established", "sport", "=", ":53"]
    return {line.split()[-1] for line in meeting.world.registry.run(established).stdout.splitlines()}


def test_a_session_that_dies_without_a_word_is_made_again(meeting: Meeting) -> None:
    """Until he notices, bob's agent believes that it would be told; it asks when he sends into silence."""
    alice, bob, world = meeting.alice, meeting.bob, meeting.world
    wait_followed(meeting)
    before = sessions(meeting)
    ports = ", ".join(end.rpartition(":")[2] for end in before)
    dead = f"oifname wg0 tcp sport 53 tcp dport {{ {ports} }}"
    meeting.afterwards.enter_context(dropping(world.registry, "dead", "output", dead))
    with talking(meeting) as pings:
        alice.move(world.nat_c)
        alice.wait_state("eth0", "connected")
        answered_again(pings, time.time(), RECOVERED)
    for laptop in meeting.laptops:
        wait_for(
            lambda laptop=laptop: any(ADDRESSES[laptop.name] in end for end in sessions(meeting) - before),  # type: ignore[misc]
            NOTICED,
            f"{laptop.name}'s agent to have another session",
        )
    wait_followed(meeting)
    assert_told(meeting, [bob], {alice: world.nat_a})


@pytest.mark.parametrize("seconds", [5, 30])
def test_an_uplink_that_was_away_is_no_end(meeting: Meeting, seconds: int) -> None:
    """The session outlives a short absence; after a long one there is another as soon as there is a network."""
    wait_followed(meeting)
    meeting.alice.unplug()
    let_pass(seconds)
    meeting.alice.plug(meeting.world.nat_a)
    meeting.alice.wait_state("eth0", "connected")
    wait_followed(meeting)
    assert_told(meeting, [meeting.alice], {meeting.bob: meeting.world.nat_c})


def test_a_device_made_anew_has_a_session_of_its_own(meeting: Meeting) -> None:
    wait_followed(meeting)
    meeting.alice.nmcli("connection", "up", "wg0")
    meeting.alice.wait_connected()
    wait_followed(meeting)
    assert_told(meeting, [meeting.alice], {meeting.bob: meeting.world.nat_c})
