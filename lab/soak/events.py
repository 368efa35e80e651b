# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens in the soak: each event is something that people, networks or machines do to laptops.

They are dealt like cards, so that all kinds come soon, in an order and with details of chance. The same seed gives the
same events, whatever the programs do.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from lab.soak.company import NETWORK_MANAGER, Company
from lab.soak.recording import HELPER
from lab.world import Laptop, Nat, wait_for
from lab.world.network import flap, impaired

NOBODY = "192.0.2.200:9"
"""An endpoint where no packet arrives."""
LOSS, DELAY = 10.0, 0.1
"""Per cent and seconds, of an impaired line."""
NM = ("org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager", "org.freedesktop.NetworkManager")
BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
WITHOUT_REGISTRY = 90.0
"""Seconds to find each other when the registry is back: the longest back-off is a minute."""
USUALLY = 60.0


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happens; `limit` is how many seconds those who can hear each other then have for it."""

    text: str
    happen: Callable[[], None]
    limit: float = USUALLY


class Events:
    """An endless stream of events for a company."""

    def __init__(self, company: Company, seed: int) -> None:
        """The same seed gives the same events."""
        self._company = company
        self._world = company.world
        self._chance = random.Random(seed)
        self._ends: list[tuple[int, Event]] = []
        """What ends what has begun, and after how many more events."""

    def __iter__(self) -> Iterator[Event]:
        """Deal, again and again."""
        while True:
            deck = [
                *(self._move, self._move, self._move, self._trade, self._blink, self._forget, self._registry),
                *(self._networkmanager, self._kill_helper, self._kill_agent, self._up_again, self._reapply),
                *(self._person, self._person, self._impair, self._portal, self._sleep),
            ]
            self._chance.shuffle(deck)
            for card in deck:
                yield from self._ended()
                yield card()

    def _ended(self) -> Iterator[Event]:
        """What ends now."""
        ends, self._ends = self._ends, [(left - 1, event) for left, event in self._ends if left]
        yield from (event for left, event in ends if not left)

    def _begin(self, event: Event, end: Event) -> Event:
        """Something that lasts while up to two other things happen."""
        self._ends.append((self._chance.randint(0, 2), end))
        return event

    def _name(self) -> str:
        return self._chance.choice(sorted(self._company.laptops))

    def _laptop(self, name: str) -> Laptop:
        return self._company.laptops[name]

    def _carry(self, name: str, nat: Nat) -> None:
        self._laptop(name).move(nat)
        self._wait_connected(name, "eth0")

    def _wait_connected(self, name: str, *devices: str) -> None:
        self._laptop(name).wait_connected(*devices)

    def _move(self) -> Event:
        crowded = [name for nat in self._world.nats if len(names := self._company.behind(nat)) > 1 for name in names]
        name = self._chance.choice(crowded or sorted(self._company.laptops))
        free = [nat for nat in self._world.nats if not self._company.behind(nat)]
        others = [nat for nat in self._world.nats if nat is not self._laptop(name).nat]
        nat = self._chance.choice(free or others)

        def happen() -> None:
            self._company.touch(name)
            self._carry(name, nat)

        return Event(f"{name} moves behind {nat.name}", happen)

    def _trade(self) -> Event:
        names = self._chance.sample(sorted(self._company.laptops), 2)

        def happen() -> None:
            self._company.touch(*names)
            places = [self._laptop(name).nat for name in reversed(names)]
            for name in names:
                self._laptop(name).unplug()
            for name in names:
                self._laptop(name).wait_state("eth0", "unavailable")
            for name, nat in zip(names, places, strict=True):
                if nat is not None:
                    self._laptop(name).plug(nat)
            for name in names:
                self._wait_connected(name, "eth0")

        return Event(f"{names[0]} and {names[1]} trade places", happen)

    def _blink(self) -> Event:
        name, times = self._name(), self._chance.randint(1, 5)

        def happen() -> None:
            self._company.touch(name)
            laptop = self._laptop(name)
            if laptop.nat is not None:
                flap(laptop, laptop.nat, times, times * 0.6)
            self._wait_connected(name, "eth0")

        return Event(f"{name}'s cable has a loose contact, {times} times", happen)

    def _forget(self) -> Event:
        nat = self._chance.choice(self._world.nats)

        def happen() -> None:
            self._company.touch(*self._company.behind(nat))
            nat.forget()

        return Event(f"{nat.name} forgets all connections", happen)

    def _registry(self) -> Event:
        if not self._company.is_served:
            return self._forget()
        return self._begin(
            Event("the registry stops", self._company.stop_serving),
            Event("the registry starts", self._company.serve, WITHOUT_REGISTRY),
        )

    def _networkmanager(self) -> Event:
        name = self._name()

        def happen() -> None:
            self._company.touch(name)
            laptop = self._laptop(name)
            laptop.stop(NETWORK_MANAGER)
            laptop.start_network_manager()
            self._wait_connected(name)

        return Event(f"{name}'s NetworkManager is restarted", happen)

    def _kill_helper(self) -> Event:
        name = self._name()

        def happen() -> None:
            self._laptop(name).run(["sh", "-c", f"kill -KILL {self._helper(name)}"], check=False)

        return Event(f"{name}'s helper is killed", happen)

    def _helper(self, name: str) -> str:
        """The process id of a laptop's helper; "" where none runs."""
        said = self._laptop(name).busctl("call", *BUS, "GetConnectionUnixProcessID", "s", HELPER, check=False).stdout
        return said.removeprefix("u ").strip()

    def _kill_agent(self) -> Event:
        name = self._name()

        def happen() -> None:
            self._company.kill_agent(name)
            self._company.start_agent(name)

        return Event(f"{name}'s agent is killed, and another started", happen)

    def _up_again(self) -> Event:
        name = self._name()

        def happen() -> None:
            self._company.touch(name)
            self._laptop(name).nmcli("connection", "up", "wg0")

        return Event(f"{name}: nmcli connection up wg0", happen)

    def _reapply(self) -> Event:
        name = self._name()

        def happen() -> None:
            self._laptop(name).nmcli("device", "reapply", "wg0")

        return Event(f"{name}: nmcli device reapply wg0", happen)

    def _person(self) -> Event:
        name, other = self._chance.sample(sorted(self._company.laptops), 2)
        right = self._chance.random() < 0.3

        def happen() -> None:
            self._company.touch(name)
            endpoint = self._world.endpoint_seen(other) if right else NOBODY
            self._laptop(name).wg("set", "wg0", "peer", self._company.key(other), "endpoint", endpoint or NOBODY)

        return Event(f"{name}: wg set wg0 peer {other} endpoint {'as it is' if right else NOBODY}", happen)

    def _impair(self) -> Event:
        bad = self._company.impaired
        nat = self._chance.choice([nat for nat in self._world.nats if nat.name not in bad])

        def happen() -> None:
            bad[nat.name] = ExitStack()
            bad[nat.name].enter_context(impaired([nat], LOSS, DELAY))

        return self._begin(
            Event(f"{nat.name}'s line loses {LOSS:g} % and is {DELAY * 1000:g} ms slower", happen),
            Event(f"{nat.name}'s line is well again", lambda: bad.pop(nat.name).close()),
        )

    def _portal(self) -> Event:
        nat = self._chance.choice([nat for nat in self._world.nats if nat.name not in self._company.captive])

        def happen(captive: bool) -> None:
            names = self._company.behind(nat)
            self._company.touch(*names)
            nat.set_captive(captive)
            (self._company.captive.add if captive else self._company.captive.discard)(nat.name)
            for name in names:
                self._wait_connectivity(name, "portal" if captive else "full")

        return self._begin(
            Event(f"{nat.name} has a captive portal", lambda: happen(True)),
            Event(f"{nat.name} has no more captive portal", lambda: happen(False)),
        )

    def _wait_connectivity(self, name: str, word: str) -> None:
        laptop = self._laptop(name)
        wait_for(lambda: laptop.connectivity(check=True) == word, 60, f"{name}'s connectivity to be {word}", 0.5)

    def _sleep(self) -> Event:
        name = self._name()

        def happen() -> None:
            self._company.touch(name)
            laptop = self._laptop(name)
            for asleep in ("true", "false"):
                laptop.busctl("call", *NM, "Sleep", "b", asleep)
            self._wait_connected(name)

        return Event(f"{name} sleeps and wakes", happen)
