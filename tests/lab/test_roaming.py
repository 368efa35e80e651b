# SPDX-License-Identifier: GPL-2.0-or-later
"""Laptops that move, sleep and lose their lines: those who talk hear each other again, and what works is left alone.

All is seen from outside: by ping(8), wg(8) and nftables' counters. What the agents say comes last, if at all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.world import Laptop, Nat, wait_for
from lab.world.agent import refresh
from lab.world.counter import Counter
from lab.world.network import cut_off, flap, give_other_ports, impaired, keep_ports, looking_alike, patient
from tests.lab.agents import (
    Meeting,
    answered_again,
    had_endpoints,
    hear,
    keepalives,
    lan_address,
    let_pass,
    talking,
    wait_content,
    wait_direct,
)
from tests.lab.sampling import endpoints

RECOVERED = 30.0
"""Seconds in which those who talk hear each other again: 25 at worst, and some for this slow machine."""
HANDSHAKE = 12.0
"""Two of the kernel's slots for an initiation, and a round trip."""
FLAPS, FLAP_SECONDS = 20, 10.0
NETWORK_MANAGER = (
    "org.freedesktop.NetworkManager",
    "/org/freedesktop/NetworkManager",
    "org.freedesktop.NetworkManager",
)


@pytest.fixture(autouse=True)
def _keepalives_stay(meeting: Meeting) -> Iterator[None]:
    """Whatever happens, every peer has the keepalive that it had."""
    before = [keepalives(laptop) for laptop in meeting.laptops]
    yield
    assert [keepalives(laptop) for laptop in meeting.laptops] == before


def questions(laptop: Laptop) -> Counter:
    """A counter of the questions that a laptop sends into its tunnel."""
    return Counter(laptop, "questions", "postrouting", "oifname wg0 udp dport 53")


def wait_known_at(meeting: Meeting, alice_at: Nat, bob_at: Nat) -> None:
    """Wait until each kernel has the other where the registry sees it, behind that router.

    Two who have met already may hear each other before the registry does.
    """

    def known() -> bool:
        for laptop, nat in ((meeting.bob, alice_at), (meeting.alice, bob_at)):
            at = meeting.peer(laptop).endpoint
            if not at.startswith(f"{nat.public}:") or at != meeting.world.endpoint_seen(meeting.other(laptop).name):
                return False
        return True

    wait_for(known, RECOVERED, f"alice to be known behind {alice_at.name} and bob behind {bob_at.name}", 0.2)


def sleep(laptop: Laptop, asleep: bool) -> None:
    """Have NetworkManager go to sleep or wake up, as logind would; who is awake already does not mind."""
    laptop.busctl("call", *NETWORK_MANAGER, "Sleep", "b", str(asleep).lower(), check=asleep)


def everybody_sleeps() -> None:
    """Have the kernel prepare a suspend and take it back, and put the clock forward, as after a minute of sleep.

    All hosts share one kernel and one clock: every WireGuard device forgets its session keys, each agent sees the jump.
    """
    Path("/sys/power/pm_test").write_text("freezer")
    Path("/sys/power/state").write_text("mem")
    Path("/sys/power/pm_test").write_text("none")
    time.clock_settime(time.CLOCK_REALTIME, time.time() + 60)


def test_alice_moves(meeting: Meeting) -> None:
    world = meeting.world
    direct = world.count_direct(world.nat_c, world.nat_b)
    meeting.afterwards.callback(direct.stop)
    with talking(meeting) as pings:
        relayed = world.registry.relayed.packets()
        meeting.alice.move(world.nat_c)
        meeting.alice.wait_state("eth0", "connected")
        answered_again(pings, time.time(), RECOVERED)
        wait_for(lambda: direct.packets() > 5, 10, "packets from router to router")
        assert world.registry.relayed.packets() == relayed
    wait_known_at(meeting, world.nat_c, world.nat_b)
    wait_content(meeting)


def test_alice_moves_so_quickly_that_only_the_carrier_blinks(meeting: Meeting) -> None:
    """The address, the route, the connection: all is as before, and yet it is another router."""
    alice, world = meeting.alice, meeting.world
    before = alice.run(["ip", "-brief", "address", "show", "eth0"]).stdout
    meeting.afterwards.enter_context(patient(alice))
    meeting.afterwards.enter_context(looking_alike(world.nat_c, world.nat_a))
    meeting.afterwards.callback(alice.move, world.nat_a)
    with talking(meeting) as pings:
        alice.move(world.nat_c, quick=True)
        answered_again(pings, time.time(), RECOVERED)
    assert alice.run(["ip", "-brief", "address", "show", "eth0"]).stdout == before
    wait_known_at(meeting, world.nat_c, world.nat_b)


def test_bob_moves(meeting: Meeting) -> None:
    world = meeting.world
    with talking(meeting) as pings:
        meeting.bob.move(world.nat_c)
        meeting.bob.wait_state("eth0", "connected")
        answered_again(pings, time.time(), RECOVERED)
    wait_known_at(meeting, world.nat_a, world.nat_c)


def test_both_move_at_once(meeting: Meeting) -> None:
    world = meeting.world
    with talking(meeting) as pings:
        for laptop in meeting.laptops:
            laptop.unplug()
        for laptop in meeting.laptops:
            laptop.wait_state("eth0", "unavailable")
        meeting.alice.plug(world.nat_c)
        meeting.bob.plug(world.nat_a)
        for laptop in meeting.laptops:
            laptop.wait_state("eth0", "connected")
        answered_again(pings, time.time(), RECOVERED)
    wait_known_at(meeting, world.nat_c, world.nat_a)


def test_alice_sleeps_and_wakes_up_elsewhere(meeting: Meeting) -> None:
    alice, world = meeting.alice, meeting.world
    meeting.afterwards.callback(sleep, alice, False)
    with talking(meeting) as pings:
        sleep(alice, True)
        alice.unplug()
        alice.plug(world.nat_c)
        sleep(alice, False)
        alice.wait_state("eth0", "connected")
        answered_again(pings, time.time(), RECOVERED)
    wait_known_at(meeting, world.nat_c, world.nat_b)


def test_a_loose_contact_leaves_nothing_behind(meeting: Meeting) -> None:
    """Each flap is worth a pass of two questions at most, and a second try where the first fell into a gap."""
    alice, world = meeting.alice, meeting.world
    with talking(meeting) as pings, questions(alice) as asked, endpoints(alice) as log:
        flap(alice, world.nat_a, FLAPS, FLAP_SECONDS)
        alice.wait_connected()
        answered_again(pings, time.time(), RECOVERED)
        wait_content(meeting)
        assert asked.packets() <= FLAPS * 4
        assert len(had_endpoints(meeting, alice, log)) == 1
    wait_known_at(meeting, world.nat_a, world.nat_b)


def test_without_the_registry_what_works_goes_on_and_what_does_not_is_asked_for_ever_less(meeting: Meeting) -> None:
    alice, world = meeting.alice, meeting.world
    with talking(meeting) as pings, questions(alice) as asked:
        with cut_off(world, world.registry), endpoints(alice) as log:
            begin = time.time()
            let_pass(30)
            assert max(ping.longest_silence(begin, begin + 30) for ping in pings) < 3
            assert len(had_endpoints(meeting, alice, log)) == 1
            assert asked.packets() <= 4
            before = asked.packets()
            alice.unplug()
            alice.wait_state("eth0", "unavailable")
            world.nat_b.forget()  # it may still let in what comes from NAT C, where alice has been before
            alice.plug(world.nat_c)
            alice.wait_state("eth0", "connected")
            moved = time.time()
            let_pass(30)
            assert before < asked.packets() <= before + 60
            assert all(ping.first_answer_after(moved) is None for ping in pings), "how do they know of each other?"
        answered_again(pings, time.time(), 60)
    wait_known_at(meeting, world.nat_c, world.nat_b)
    wait_content(meeting)


def test_a_bad_line_is_a_line(meeting: Meeting) -> None:
    """30 of 100 packets are lost and the others take 200 ms: a path that works so is left alone, a new one is found."""
    alice, bob, world = meeting.alice, meeting.bob, meeting.world
    with talking(meeting) as pings, impaired((*world.nats, world.registry), loss=30, delay=0.2):
        with endpoints(alice) as of_alice, endpoints(bob) as of_bob:
            begin = time.time()
            let_pass(30)
            assert max(ping.longest_silence(begin, begin + 30) for ping in pings) < 10
            assert [len(had_endpoints(meeting, alice, of_alice)), len(had_endpoints(meeting, bob, of_bob))] == [1, 1]
        alice.move(world.nat_c)
        alice.wait_state("eth0", "connected")
        answered_again(pings, time.time(), 3 * RECOVERED)
        wait_for(lambda: hear(alice, bob, 5) and hear(bob, alice, 5), 30, "both to hear each other")
        wait_known_at(meeting, world.nat_c, world.nat_b)


def test_routers_that_forget_find_the_same_path_again(meeting: Meeting) -> None:
    """With the session alive, and after everybody has slept and lost it; nobody writes anything."""
    world = meeting.world
    with talking(meeting) as pings, endpoints(meeting.alice) as of_alice, endpoints(meeting.bob) as of_bob:
        for nat in world.nats:
            nat.forget()
        answered_again(pings, time.time(), 5)
        everybody_sleeps()
        for nat in world.nats:
            nat.forget()
        answered_again(pings, time.time(), HANDSHAKE)
        counts = [
            len(had_endpoints(meeting, meeting.alice, of_alice)),
            len(had_endpoints(meeting, meeting.bob, of_bob)),
        ]
        assert counts == [1, 1]


@pytest.mark.parametrize("dead", [False, True], ids=["session alive", "session dead"])
def test_a_router_that_begins_anew_with_another_port(meeting: Meeting, dead: bool) -> None:
    """On the laptops nothing happens, or they sleep; who sends into silence asks, and so is seen where he is now."""
    alice, world = meeting.alice, meeting.world
    with talking(meeting) as pings:
        meeting.afterwards.callback(keep_ports, world.nat_a)
        give_other_ports(world.nat_a, 52000, 52009)
        if dead:
            everybody_sleeps()
        answered_again(pings, time.time(), 2 * RECOVERED if dead else RECOVERED)
    assert meeting.peer(meeting.bob).endpoint.startswith(f"{world.nat_a.public}:5200")
    wait_known_at(meeting, world.nat_a, world.nat_b)
    assert hear(alice, meeting.bob)


def test_a_path_within_one_lan_survives_what_happens(meeting: Meeting) -> None:
    """Set by hand, proven, and no registry knows it: it is left alone as long as it works."""
    alice, bob, world = meeting.alice, meeting.bob, meeting.world
    bob.move(world.nat_a)
    bob.wait_connected()
    lan = f"{world.nat_a.lan}."
    addresses = {laptop: lan_address(laptop) for laptop in meeting.laptops}
    for laptop in meeting.laptops:
        other = meeting.other(laptop)
        laptop.punch(world.keys[other.name].public, f"{addresses[other]}:51820")
    with talking(meeting) as pings, endpoints(alice) as of_alice, endpoints(bob) as of_bob:
        refresh(alice)
        refresh(bob)
        alice.move(world.nat_a, quick=True)
        answered_again(pings, time.time(), HANDSHAKE)
        world.nat_a.forget()
        sleep(bob, True)
        sleep(bob, False)
        bob.wait_connected()
        answered_again(pings, time.time(), HANDSHAKE)
        alice.move(world.nat_a)
        alice.wait_connected()
        answered_again(pings, time.time(), HANDSHAKE)
        for log, laptop in ((of_alice, alice), (of_bob, bob)):
            assert had_endpoints(meeting, laptop, log) == [f"{addresses[meeting.other(laptop)]}:51820"]
            assert had_endpoints(meeting, laptop, log)[0].startswith(lan)
    wait_content(meeting)


def test_at_the_end_all_is_as_it_was(meeting: Meeting) -> None:
    """The scenarios have left nothing behind by which the next would be another one."""
    wait_direct(meeting)
    wait_known_at(meeting, meeting.world.nat_a, meeting.world.nat_b)
