# SPDX-License-Identifier: GPL-2.0-or-later
"""What is written down about a laptop while the soak goes on: its kernel's peers, what its agent orders, pings.

All of it is seen from outside: by wg(8), by busctl(1) on the system bus, by ping(8).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.world.host import Host
from lab.world.laptop import Laptop
from lab.world.wireguard import Peer, parse_dump

HELPER = "io.github.wgsd_nm.Helper1"
READING = "@ "
READER = f"""
    exec 9<> <(:)
    while :; do echo "{READING}$EPOCHREALTIME"; wg show wg0 dump 2>/dev/null; read -t 0.5 -u 9; done
"""
"""No process but wg(8) is started for a reading: here each costs as much as the reading."""
PINGS = 2
"""A second, to each of the others."""
KEPT = 60.0
"""Seconds for which readings are kept."""
_ANSWER = re.compile(r"^\[(\d+\.\d+)\] \d+ bytes from", re.MULTILINE)


class Tail:
    """What is added to a log, whole lines at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = path.stat().st_size

    def read(self) -> str:
        """The lines since the last call."""
        with self._path.open("rb") as log:
            log.seek(self._at)
            added = log.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._at += len(whole)
        return whole.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Reading:
    """A device's peers at a moment in seconds since the epoch."""

    at: float
    peers: Mapping[str, Peer]


@dataclass(frozen=True, slots=True)
class Order:
    """The helper was told to replace an endpoint, at a moment in seconds since the epoch."""

    at: float
    public_key: str
    expected: str
    wanted: str


class Readings:
    """The last readings of a laptop's wg0, about two a second."""

    def __init__(self, laptop: Laptop) -> None:
        """Begin to read."""
        self.all: list[Reading] = []
        self._rest = ""
        self._tail = Tail(laptop.log("readings"))
        laptop.spawn(["bash", "-c", READER], name="readings")

    def update(self) -> list[Reading]:
        """All of the last minute. The one that is being written is left for the next time."""
        *whole, self._rest = (self._rest + self._tail.read()).split(READING)
        for text in whole:
            at, _, dump = text.partition("\n")
            if at.replace(".", "").isdigit():
                self.all.append(Reading(float(at), parse_dump(dump)))
        newest = self.all[-1].at if self.all else 0.0
        self.all = [reading for reading in self.all if reading.at > newest - KEPT]
        return self.all


class Orders:
    """The endpoints that a laptop's agent has the helper set, as they pass over the system bus."""

    def __init__(self, laptop: Laptop) -> None:
        """Begin to listen."""
        self._tail = Tail(laptop.log("orders"))
        match = f"type='method_call',interface='{HELPER}',member='SetEndpoints'"
        laptop.spawn(["busctl", "--system", "--json=short", f"--match={match}", "monitor"], name="orders")

    def update(self) -> Iterator[Order]:
        """Those since the last call; a poke is none."""
        for line in self._tail.read().splitlines():
            if not line.startswith("{"):
                continue
            call = json.loads(line)
            _, changes = call["payload"]["data"]
            for key, expected, wanted in changes:
                if wanted not in ("", expected):
                    yield Order(call["timestamp-realtime"] / 1_000_000, key, expected, wanted)


class Answers:
    """When the pings of an address by a host were answered."""

    def __init__(self, host: Host, address: str) -> None:
        """Begin to ping."""
        self._host, self._name = host, f"soak-{address}"
        self._tail = Tail(host.log(self._name))
        self._moments: list[float] = []
        self.start(address)

    def start(self, address: str) -> None:
        """Ping, so often as the soak does."""
        self._host.spawn(["ping", "-n", "-D", "-i", f"{1 / PINGS:g}", address], name=self._name)

    def after(self, moment: float) -> list[float]:
        """All moments of answers after this one, in seconds since the epoch."""
        self._moments += [float(found[1]) for found in _ANSWER.finditer(self._tail.read())]
        self._moments = [at for at in self._moments if at > moment]
        return self._moments
