# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo, told step by step: two laptops behind two NATs find each other, and one of them moves.

Runs as root in the guest. It ends with status 0 only if every step was seen to happen, from outside.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from lab.world import Laptop, NotInTimeError, World, wait_for
from lab.world.agent import (
    AGENT,
    AGENT_PATH,
    ZONE,
    agent_property,
    configuration,
    endpoint,
    follows,
    logged,
    route_made_at,
    routes,
    start_agent,
    start_registry,
    watch_routes,
)
from lab.world.host import CommandFailedError
from lab.world.pinging import PINGS, Pinging
from lab.world.report import collect

BOB = "10.0.0.2"
ALICE = "10.0.0.1"
WIDTH = 120
"""Of what is shown of other programs' output."""
KERNEL_FIRST = 0.5
"""Seconds by which NetworkManager may tell of a route before the kernel has it."""

T = TypeVar("T")


class Story:
    """Tells what happens with the seconds since the last event. Each `step` raises what it saw instead."""

    def __init__(self) -> None:
        self._event = time.time()
        self.told = ""

    def chapter(self, text: str) -> None:
        print(f"\n{text}", flush=True)

    def event(self, text: str, at: float | None = None) -> float:
        """Something that people do, or that happened at a time; times are counted from here."""
        self._event = time.time() if at is None else at
        self._print("", text)
        return self._event

    def step(self, text: str, happened: Callable[[], T], timeout: float) -> T:
        """Wait until it has happened, and tell it."""
        self.told = text
        value = wait_for(happened, timeout, text, interval=0.1)
        self.saw(text, time.time())
        return value

    def check(self, text: str, holds: bool, otherwise: str) -> None:
        """What must hold now, without waiting; `otherwise` says what was seen instead."""
        self.told = text
        if not holds:
            raise AssertionError(otherwise)

    def saw(self, text: str, at: float) -> None:
        self._print(f"{at - self._event:+7.2f} s", text)

    def show(self, output: str) -> None:
        for line in output.rstrip().splitlines():
            self._print("", f"  {line[:WIDTH].rstrip()}")

    def _print(self, when: str, text: str) -> None:
        print(f"{when:>10}  {text}", flush=True)


def prepare(world: World, story: Story) -> tuple[Laptop, Laptop]:
    story.chapter("An internet with a registry, and two laptops behind two NATs.")
    alice, bob = world.laptop("alice", world.nat_a), world.laptop("bob", world.nat_b)
    for laptop, other in ((alice, "bob"), (bob, "alice")):
        laptop.boot(replace(world.profile(laptop.name, [other]), autoconnect=False))
    start_registry(world)
    for laptop in (alice, bob):
        laptop.wait_connected("eth0")
        start_agent(laptop, configuration(world, laptop))
        story.saw(f"{laptop.name}'s agent is on the session bus", time.time())
    story.show(f"registry  {world.registry.public}, inside the tunnel {world.registry.address}, zone {ZONE}")
    story.show(f"alice     behind NAT A, {world.nat_a.public}, inside the tunnel {ALICE}")
    story.show(f"bob       behind NAT B, {world.nat_b.public}, inside the tunnel {BOB}")
    return alice, bob


def meet(world: World, story: Story, alice: Laptop, bob: Laptop) -> None:
    story.chapter("They turn WireGuard on, and do nothing else.")
    relayed, direct = world.registry.relayed.packets(), world.count_direct(world.nat_a, world.nat_b)
    story.event("bob: nmcli connection up wg0")
    bob.nmcli("connection", "up", "wg0")
    story.step("the registry sees bob's public endpoint", lambda: world.endpoint_seen("bob"), 20)
    at = story.event("alice: nmcli connection up wg0")
    alice.nmcli("connection", "up", "wg0")
    pinging = Pinging(alice, BOB)
    story.step("the registry sees alice's public endpoint", lambda: world.endpoint_seen("alice"), 20)
    for one, other in ((alice, "bob"), (bob, "alice")):
        story.step(f"{one.name}'s kernel has {other}'s endpoint", partial(endpoint, world, one, other), 60)
    story.step("bob answers", lambda: pinging.first_answer_after(at), 60)
    story.step("more packets go from NAT A to NAT B", lambda: direct.packets() > PINGS, 20)
    passed = world.registry.relayed.packets() - relayed
    story.check("nothing of theirs passes the registry", not passed, f"{passed} packets of theirs passed it")
    story.show(f"packets that went from NAT A straight to NAT B: {direct.packets()}; that passed the registry: 0")
    pinging.stop()


def move(world: World, story: Story, alice: Laptop, bob: Laptop) -> None:
    story.chapter("They talk, and alice moves to another network behind another NAT.")
    talking = [Pinging(alice, BOB), Pinging(bob, ALICE)]
    started = time.time()
    story.step("both hear each other", lambda: all(p.first_answer_after(started) for p in talking), 20)
    for laptop in (alice, bob):
        story.step(f"the registry tells {laptop.name}'s agent of every change", partial(follows, laptop), 20)
    watch_routes(alice)
    before = endpoint(world, bob, "alice")
    alice.unplug()
    alice.wait_state("eth0", "unavailable")
    alice.plug(world.nat_c)
    lan = f"{world.nat_c.lan}."
    story.step("alice's card is in NAT C's network", lambda: lan in routes(alice), 30)
    usable = story.event(
        f"alice has an address behind NAT C, {world.nat_c.public}, and a route", route_made_at(alice, f"{lan}1")
    )
    seen = story.step("the registry sees her there", lambda: seen_at(world, world.nat_c.public), 30)
    story.step("bob's kernel has her new endpoint", lambda: endpoint(world, bob, "alice") not in ("", before), 60)
    answer = story.step("bob answers again", lambda: talking[0].first_answer_after(usable), 60)
    known = endpoint(world, bob, "alice")
    story.check("bob has alice where the registry sees her", known == seen, f"{known} is not {seen}")
    story.chapter("How long each step took, from the moment that her new address could be used:")
    asked = logged(alice, "do LookUp", usable - KERNEL_FIRST)
    network = logged(alice, "heard NetworkSeen", usable - KERNEL_FIRST, before=asked)
    story.told = "bob's agent tells of its part"
    pushed = wait_for(partial(logged, bob, "heard RecordsPushed", usable), 10, "bob's agent to be told") or usable
    written = wait_for(partial(logged, bob, "heard EndpointsSet", pushed), 10, "bob's agent to have set the endpoint")
    for text, when in (
        ("alice's agent has seen the change", network),
        ("alice's lookups are answered", logged(alice, "heard LookupsAnswered", asked or usable)),
        ("the registry's push reaches bob's agent", pushed),
        ("bob's kernel has the new endpoint", written),
        ("alice hears bob again", answer),
    ):
        story.check(text, when is not None, "no trace of this in the agents' logs")
        assert when is not None
        story.saw(text, when)
    for each in talking:
        each.stop()


def seen_at(world: World, address: str) -> str:
    seen = world.endpoint_seen("alice")
    return seen if seen.startswith(f"{address}:") else ""


def look(story: Story, alice: Laptop) -> None:
    story.chapter("What alice is shown.")
    story.told = "alice's agent is content"
    wait_for(lambda: agent_property(alice, "State") == "ok", 30, "alice's agent to be content")
    command = ["busctl", "--user", "introspect", AGENT, AGENT_PATH, AGENT]
    story.event(f"$ {' '.join(command)}")
    story.show(alice.run(command, user="u").stdout)
    story.event("$ wgsd-nm status")
    shown = alice.run(["python3", "-m", "wgsd_nm.cli", "status"], user="u").stdout
    story.show(shown)
    connected = "connected" in shown and BOB in alice.run(["wg", "show", "wg0", "allowed-ips"]).stdout
    story.check("wgsd-nm status shows bob as connected", connected, "it does not")


def tell() -> int:
    """The whole story; the exit status."""
    story = Story()
    with World() as world:
        try:
            alice, bob = prepare(world, story)
            meet(world, story, alice, bob)
            move(world, story, alice, bob)
            look(story, alice)
        except Exception as error:  # whatever it is, step and logs are told
            if not isinstance(error, NotInTimeError | CommandFailedError | AssertionError):
                traceback.print_exc()
            print(collect(world.hosts, "demo"))
            print(f"\nThe demo FAILED at this step: {story.told or 'the beginning'}\n{type(error).__name__}: {error}")
            return 1
    print("\nAll of this was observed from outside: wg, ping, nftables counters. The demo succeeded.")
    return 0


if __name__ == "__main__":
    Path("/lab/out").mkdir(exist_ok=True)
    sys.exit(tell())
