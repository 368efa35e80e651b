# SPDX-License-Identifier: GPL-2.0-or-later
"""The three laptops, where they are, and which of them have to hear each other. It knows what the world permits."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import combinations, permutations
from typing import Self

from lab.soak.recording import Answers, Orders, Readings
from lab.world import Laptop, Nat, World, wait_for
from lab.world.agent import configuration, start_agent, start_registry
from lab.world.world import ADDRESSES

NAMES = ("alice", "bob", "carol")
AGENT, REGISTRY, NETWORK_MANAGER = "agent", "registry", "NetworkManager"
"""Programs by the names that the world gives them."""
STEADY = 3.0
"""Seconds over which answers have to come for a path to count as one."""
STEADY_ANSWERS = 4

Pair = frozenset[str]


class Company:
    """Laptops that all know each other, each with an agent; a context manager that ends what it started."""

    def __init__(self, world: World, laptops: Mapping[str, Laptop]) -> None:
        """They have been booted, and are connected to their routers."""
        self.world = world
        self.laptops = laptops
        self.homes = {name: _nat_of(laptop) for name, laptop in laptops.items()}
        self.captive: set[str] = set()
        """Routers that have a portal."""
        self.impaired: dict[str, ExitStack] = {}
        """Routers whose line is bad, and how it gets well."""
        self.is_served = False
        self.lost: set[Pair] = set()
        """Those who cannot find each other before the registry is back."""
        self.touched = dict.fromkeys(laptops, 0.0)
        """When something last happened to a laptop's network, in seconds since the epoch."""
        self.readings: dict[str, Readings] = {}
        self.orders: dict[str, Orders] = {}
        self._answers: dict[tuple[str, str], Answers] = {}

    def __enter__(self) -> Self:
        """Give all the profile in which they know each other, and start the programs and the recordings."""
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        for name, laptop in self.laptops.items():
            laptop.adopt(self.world.profile(name, [other for other in self.laptops if other != name]))
            laptop.wait_connected()
        self.serve()
        for name, laptop in self.laptops.items():
            self.start_agent(name)
            self.readings[name], self.orders[name] = Readings(laptop), Orders(laptop)
        for one, other in permutations(self.laptops, 2):
            self._answers[one, other] = Answers(self.laptops[one], ADDRESSES[other])

    def __exit__(self, *_: object) -> None:
        """End the programs, make the network well, carry everybody home."""
        for undo in self.impaired.values():
            undo.close()
        for nat in self.world.nats:
            if nat.name in self.captive:
                nat.set_captive(False)
        for name, laptop in self.laptops.items():
            for program in [program for program in laptop.processes if program in _OURS or program.startswith("soak-")]:
                laptop.stop(program)
            if laptop.nat is not self.homes[name]:
                laptop.move(self.homes[name])
        if self.is_served:
            self.world.registry.stop(REGISTRY)

    def serve(self) -> None:
        """Start the registry program; returns when it answers."""
        log = self.world.registry.log(REGISTRY)
        before = log.stat().st_size
        start_registry(self.world)
        wait_for(lambda: "answering for" in log.read_text()[before:], 60, "the registry to answer", 0.2)
        self.is_served = True
        self.lost.clear()

    def stop_serving(self) -> None:
        """End the registry program; its WireGuard device stays."""
        self.world.registry.stop(REGISTRY)
        self.is_served = False

    def start_agent(self, name: str) -> None:
        """Start a laptop's agent; returns when it is on the session bus."""
        start_agent(self.laptops[name], configuration(self.world, self.laptops[name]))

    def kill_agent(self, name: str) -> None:
        """End a laptop's agent in the middle of what it does."""
        self.laptops[name].stop(AGENT, signal.SIGKILL)

    def touch(self, *names: str) -> None:
        """Something happens to the networks of these laptops now: what was proven of their paths is proven no more."""
        now = time.time()
        for name in names:
            self.touched[name] = now
            if not self.is_served:
                self.lost |= {pair for pair in self.pairs() if name in pair}

    def behind(self, nat: Nat) -> list[str]:
        """The laptops behind a router."""
        return [name for name, laptop in self.laptops.items() if laptop.nat is nat]

    def pairs(self) -> set[Pair]:
        """All pairs."""
        return {frozenset(pair) for pair in combinations(self.laptops, 2)}

    def reachable(self) -> set[Pair]:
        """The pairs who have to hear each other now: not those behind one router, which sends nothing back inside."""
        return {pair for pair in self.pairs() - self.lost if self._permits(*pair)}

    def is_steady(self, pair: Pair, since: float) -> bool:
        """Whether both have been answered for some seconds after a moment, and still are."""
        for one, other in permutations(pair):
            moments = self._answers[one, other].after(since)
            if len(moments) < STEADY_ANSWERS or moments[-1] - moments[0] < STEADY or moments[-1] < time.time() - STEADY:
                return False
        return True

    def first_heard(self, since: float) -> float:
        """Seconds after a moment when the last of those who have to hear each other were first answered."""
        ways = [way for pair in self.reachable() for way in permutations(pair)]
        return max((self._answers[way[0], way[1]].after(since)[0] - since for way in ways), default=0.0)

    def key(self, name: str) -> str:
        """A laptop's public key."""
        return self.world.keys[name].public

    def _permits(self, one: str, other: str) -> bool:
        nats = [_nat_of(self.laptops[name]) for name in (one, other)]
        return nats[0] is not nats[1] and not any(nat.name in self.captive for nat in nats)


_OURS = (AGENT, "readings", "orders")


def boot(world: World) -> dict[str, Laptop]:
    """Three laptops behind three routers, connected; their tunnels are not up."""
    laptops = {name: world.laptop(name, nat) for name, nat in zip(NAMES, world.nats, strict=True)}
    for name, laptop in laptops.items():
        laptop.boot(replace(world.profile(name, []), autoconnect=False))
    for laptop in laptops.values():
        laptop.wait_connected("eth0")
    return laptops


def _nat_of(laptop: Laptop) -> Nat:
    if laptop.nat is None:
        raise ValueError(f"{laptop.name} is not plugged in")
    return laptop.nat
