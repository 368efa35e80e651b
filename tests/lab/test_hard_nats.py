# SPDX-License-Identifier: GPL-2.0-or-later
"""NATs that nobody gets through: the agents say so, and do not try for ever; and one that they do get through.

What the kernel has is seen by wg(8); that a way is open or closed, by ping(8).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from lab.world import Laptop, Mapping, wait_for
from lab.world.agent import ZONE, agent_peer, configuration, refresh
from lab.world.registry import Registry
from lab.world.second_registry import SecondRegistry
from tests.lab.agents import (
    Meeting,
    answered_again,
    had_endpoints,
    hear,
    keepalives,
    lan_address,
    let_pass,
    restart_agent,
    talking,
    wait_direct,
)
from tests.lab.sampling import endpoints

MINUTE = 60.0
MOST_CHANGES = 4
"""In a minute: each registry's word, what was in use before, and one that comes back with a new port."""
SAID = 60.0
"""Seconds in which the reason is told."""


@dataclass(frozen=True, slots=True)
class Parley:
    """Two laptops that have two registries."""

    meeting: Meeting
    second: SecondRegistry

    def seen(self, name: str) -> tuple[str, str]:
        """Where the two registries see a laptop."""
        return self.meeting.world.endpoint_seen(name), self.second.endpoint_seen(name)

    def sees_two_ports(self, name: str) -> bool:
        """Whether both see it, at one address with different ports."""
        (one, port), (other, other_port) = (seen.rpartition(":")[::2] for seen in self.seen(name))
        return bool(one) and one == other and port != other_port


@pytest.fixture(scope="module")
def parley(company: Meeting) -> Iterator[Parley]:
    """The second registry runs, both laptops have it as a peer, and both agents ask it as well."""
    world = company.world
    second = SecondRegistry(world, ("alice", "bob"))
    with ExitStack() as undo:
        undo.callback(second.close)
        second.serve(ZONE)
        for laptop in company.laptops:
            undo.callback(adopt_again, company, laptop)
            laptop.adopt(second.profile(laptop.name, [company.other(laptop).name]))
            laptop.wait_connected()
            both = configuration(world, laptop, (Registry.address, second.address))
            restart_agent(company, laptop, both)
        yield Parley(company, second)


def adopt_again(company: Meeting, laptop: Laptop) -> None:
    """The profile and the agent that a laptop has had."""
    laptop.adopt(company.world.profile(laptop.name, [company.other(laptop).name]))
    laptop.wait_connected()
    restart_agent(company, laptop)


@pytest.fixture
def hard(parley: Parley, meeting: Meeting) -> Iterator[Parley]:
    """Both have met; afterwards the routers are of the usual kind again, and the keepalives what they were."""
    before = [keepalives(laptop) for laptop in meeting.laptops]
    for nat in parley.meeting.world.nats:
        meeting.afterwards.callback(nat.set_kind)
    yield parley
    assert [keepalives(laptop) for laptop in meeting.laptops] == before


def reason(meeting: Meeting, laptop: Laptop) -> str:
    """What its agent says of the other laptop: a documented code."""
    return str(agent_peer(meeting.world, laptop, meeting.other(laptop).name).get("Reason", ""))


def wait_said(meeting: Meeting, laptop: Laptop, *codes: str) -> None:
    wait_for(lambda: reason(meeting, laptop) in codes, SAID, f"{laptop.name}'s agent to say {' or '.join(codes)}", 1.0)


@contextmanager
def nothing_is_tried_for_ever(meeting: Meeting) -> Iterator[None]:
    """While the context lasts, for a minute at least, the endpoints change a few times at most."""
    begin = time.monotonic()
    with endpoints(meeting.alice) as of_alice, endpoints(meeting.bob) as of_bob:
        yield
        let_pass(begin + MINUTE - time.monotonic())
        for laptop, seen in ((meeting.alice, of_alice), (meeting.bob, of_bob)):
            had = had_endpoints(meeting, laptop, seen)
            assert 0 < len(had) <= 1 + MOST_CHANGES, had


def test_a_symmetric_nat_and_an_open_one_meet(hard: Parley) -> None:
    """Bob comes from a port that no registry knows; Alice learns it from himself, and keeps it."""
    meeting, world = hard.meeting, hard.meeting.world
    with talking(meeting) as pings:
        world.nat_a.set_kind(Mapping.FULL_CONE, inner_host=int(lan_address(meeting.alice).rpartition(".")[2]))
        world.nat_b.set_kind(Mapping.SYMMETRIC)
        answered_again(pings, time.time(), MINUTE)
        wait_for(lambda: hard.sees_two_ports("bob"), SAID, "the registries to see two ports of bob's")
        learnt = meeting.peer(meeting.alice).endpoint
        assert learnt.startswith(f"{world.nat_b.public}:")
        assert learnt not in hard.seen("bob")
        with endpoints(meeting.alice) as seen:
            refresh(meeting.alice)
            begin = time.time()
            let_pass(30)
            assert had_endpoints(meeting, meeting.alice, seen) == [learnt]
            assert pings[0].longest_silence(begin, begin + 30) < 3
    assert reason(meeting, meeting.alice) == "connected"


def test_a_symmetric_nat_and_a_usual_one_do_not_meet(hard: Parley) -> None:
    meeting = hard.meeting
    with talking(meeting) as pings:
        meeting.world.nat_b.set_kind(Mapping.SYMMETRIC)
        closed = time.time()
        with nothing_is_tried_for_ever(meeting):
            wait_for(lambda: hard.sees_two_ports("bob"), SAID, "the registries to see two ports of bob's")
            wait_said(meeting, meeting.alice, "symmetric-nat")
            wait_said(meeting, meeting.bob, "own-symmetric-nat", "symmetric-nat")
        assert all(ping.first_answer_after(closed + 2) is None for ping in pings), "so this NAT is not symmetric"


def test_two_symmetric_nats_do_not_meet(hard: Parley) -> None:
    meeting = hard.meeting
    with talking(meeting) as pings:
        for nat in (meeting.world.nat_a, meeting.world.nat_b):
            nat.set_kind(Mapping.SYMMETRIC)
        closed = time.time()
        with nothing_is_tried_for_ever(meeting):
            for name in ("alice", "bob"):
                wait_for(lambda name=name: hard.sees_two_ports(name), SAID, f"two ports of {name}'s")  # type: ignore[misc]
            for laptop in meeting.laptops:
                wait_said(meeting, laptop, "both-symmetric")
        assert all(ping.first_answer_after(closed + 2) is None for ping in pings), "so these NATs are not symmetric"


def test_behind_one_router_that_leads_nothing_back_inside(hard: Parley) -> None:
    """Both have the same public address; what one sends there does not come to the other."""
    meeting, world = hard.meeting, hard.meeting.world
    meeting.bob.move(world.nat_a)
    meeting.bob.wait_connected()
    with nothing_is_tried_for_ever(meeting):
        for _ in range(3):
            assert not hear(meeting.alice, meeting.bob, 2)
            assert not hear(meeting.bob, meeting.alice, 2)
        for laptop in meeting.laptops:
            wait_said(meeting, laptop, "same-public-address")


def test_when_the_nats_are_soft_again_both_meet(hard: Parley) -> None:
    """The fixture has waited for it: what was tried in vain is tried again when the world has changed."""
    wait_direct(hard.meeting)
    for laptop in hard.meeting.laptops:
        wait_said(hard.meeting, laptop, "connected")
