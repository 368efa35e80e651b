# SPDX-License-Identifier: GPL-2.0-or-later
"""In a captive portal the agent stands still, and goes on the moment that the way is free."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lab.world import Laptop, Nat, wait_for
from lab.world.agent import AGENT, AGENT_PATH, agent_property, endpoint
from lab.world.counter import Counter
from lab.world.pinging import Pinging
from lab.world.world import ADDRESSES
from tests.lab.agents import Meeting, hear, keepalives, wait_content, wait_direct
from tests.lab.sampling import Sampling

STAY = 45.0
"""Seconds in the portal: more than a check that is quiet, and than the first six rounds of back-off."""
AT_ONCE = 8.0
"""Seconds from NetworkManager's word to the first question, in this slow machine."""
DEAD = "192.0.2.99:9"


@pytest.fixture
def questions(meeting: Meeting) -> Iterator[Counter]:
    """Counts what alice sends into her tunnel for the registry's port."""
    counter = Counter(meeting.alice, "questions", "postrouting", 'oifname "wg0" udp dport 53')
    counter.start()
    yield counter
    meeting.alice.nft("delete table inet count_questions")


def set_captive(nat: Nat, captive: bool) -> None:
    if ("portal" in nat.processes) != captive:
        nat.set_captive(captive)


def wait_connectivity(laptop: Laptop, word: str) -> None:
    wait_for(lambda: laptop.connectivity(check=True) == word, 60, f"{laptop.name}'s connectivity to be {word}")


def enter(meeting: Meeting) -> None:
    """A portal comes up around alice, and NetworkManager knows."""
    meeting.afterwards.callback(wait_connectivity, meeting.alice, "full")
    meeting.afterwards.callback(set_captive, meeting.world.nat_a, False)
    set_captive(meeting.world.nat_a, True)
    wait_connectivity(meeting.alice, "portal")
    wait_for(lambda: agent_property(meeting.alice, "State") == "captive-portal", 10, "alice's agent to see the portal")


def test_nothing_is_asked_or_written_in_a_portal(meeting: Meeting, questions: Counter) -> None:
    """Even though an endpoint is dead, somebody sends into silence, and asks for a refresh."""
    alice, _ = meeting.laptops
    kept, bobs = keepalives(alice), meeting.world.keys["bob"].public
    enter(meeting)
    alice.wg("set", "wg0", "peer", bobs, "endpoint", DEAD)
    before = questions.packets()
    log = alice.log("helper").read_text().count(" for user ")
    with Pinging(alice, ADDRESSES["bob"]), Sampling(alice, "endpoints") as sampling:
        time.sleep(STAY)  # for what must not happen within this time nothing tells when to look
        alice.busctl_user("--timeout=60", "call", AGENT, AGENT_PATH, AGENT, "Refresh", check=False)
        assert [value for _, value in sampling.values(bobs)] == [DEAD]
    assert questions.packets() == before
    assert alice.log("helper").read_text().count(" for user ") == log
    assert keepalives(alice) == kept
    assert agent_property(alice, "State") == "captive-portal"


def test_the_way_is_free_and_the_agent_goes_on_at_once(meeting: Meeting, questions: Counter) -> None:
    """It does not sit out what a lookup that fails would have to wait."""
    alice, bob = meeting.laptops
    enter(meeting)
    alice.wg("set", "wg0", "peer", meeting.world.keys["bob"].public, "endpoint", DEAD)
    with Pinging(alice, ADDRESSES["bob"]):
        time.sleep(STAY)  # as above: a back-off would have grown meanwhile
        asked = questions.packets()
        set_captive(meeting.world.nat_a, False)
        wait_connectivity(alice, "full")
        wait_for(lambda: questions.packets() > asked, AT_ONCE, "alice's agent to ask the registry")
        at = meeting.world.endpoint_seen("bob")
        wait_for(lambda: endpoint(meeting.world, alice, "bob") == at, 45, "alice's agent to set bob's endpoint")
    assert hear(alice, bob, 20)
    wait_direct(meeting)
    wait_content(meeting)


def test_a_path_that_works_survives_the_portal(meeting: Meeting) -> None:
    alice, _ = meeting.laptops
    before = endpoint(meeting.world, alice, "bob")
    with Sampling(alice, "endpoints") as sampling:
        enter(meeting)
        set_captive(meeting.world.nat_a, False)
        wait_connectivity(alice, "full")
        wait_direct(meeting)
        wait_content(meeting)
        assert [value for _, value in sampling.values(meeting.world.keys["bob"].public)] == [before]
