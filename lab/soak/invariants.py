# SPDX-License-Identifier: GPL-2.0-or-later
"""What must hold after each event of the soak, judged by what was recorded. It causes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from lab.soak.company import AGENT, Company
from lab.soak.recording import Order, Reading, Tail
from lab.world.laptop import Laptop
from lab.world.world import KEEPALIVE

IN_FLIGHT = 1.0
"""Seconds after an event when what was sent before it has arrived."""
RECENT = 4.0
"""Seconds before an order in which the path has to have carried packets, to count as one that works."""
LAST = 1.5
"""Seconds before an order within which the last of them has to have come."""
SESSION = 180.0
"""Seconds that a WireGuard session lasts."""
MORE_MEMORY = 8192
"""kB that an agent may take beyond what it had when all had met."""
MORE_FILES = 16
MAX_THREADS = 16
"""The interpreter's pool for blocking calls has six here."""
TROUBLE = ("Traceback", "internal error", "never retrieved", "never awaited", "was destroyed but it is pending")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a process holds: resident kB, open files, threads."""

    memory: int
    files: int
    threads: int


class Invariants:
    """Keeps what is compared from one event to the next."""

    def __init__(self, company: Company) -> None:
        """Begin when all have met."""
        self._company = company
        self._logs = {name: Tail(laptop.log(AGENT)) for name, laptop in company.laptops.items()}
        self._needs: dict[str, tuple[int, Needs]] = {}

    def violations(self) -> Iterator[str]:
        """What does not hold, one sentence each."""
        for name, laptop in self._company.laptops.items():
            yield from self._replaced(name)
            yield from _keepalives(name, laptop)
            yield from self._leaks(name, laptop)
            for line in self._logs[name].read().splitlines():
                if any(word in line for word in TROUBLE):
                    yield f"{name}'s agent says: {line}"

    def _replaced(self, name: str) -> Iterator[str]:
        orders = list(self._company.orders[name].update())
        readings = self._company.readings[name].update()
        names = {self._company.key(other): other for other in self._company.laptops}
        for order in orders:
            other = names.get(order.public_key, "")
            if not other:
                yield f"{name}'s agent replaces the endpoint of a peer that no registry has: {order}"
                continue
            since = max(self._company.touched[name], self._company.touched[other])
            if was_alive(order, readings, since):
                yield (
                    f"{name}'s agent replaces {other}'s endpoint {order.expected} by {order.wanted or 'none'} "
                    f"although packets came from there"
                )

    def _leaks(self, name: str, laptop: Laptop) -> Iterator[str]:
        process = laptop.processes[AGENT]
        if process.poll() is not None:
            yield f"{name}'s agent has ended with status {process.returncode}"
            return
        now = needs(process.pid)
        of, first = self._needs.setdefault(name, (process.pid, now))
        if of != process.pid:
            self._needs[name] = process.pid, now
        elif now.memory > first.memory + MORE_MEMORY or now.files > first.files + MORE_FILES:
            yield f"{name}'s agent needed {first} at first, and {now} now"
        if now.threads > MAX_THREADS:
            yield f"{name}'s agent has {now.threads} threads"


def was_alive(order: Order, readings: Sequence[Reading], since: float) -> bool:
    """Whether the endpoint that is to be replaced was in use and carried packets, again and again, to the last.

    What came before `since`, when something happened to one of the two, proves nothing.
    """
    begin = max(order.at - RECENT, since + IN_FLIGHT)
    seen = [(reading.at, reading.peers[order.public_key]) for reading in readings
            if begin <= reading.at <= order.at and order.public_key in reading.peers]  # fmt: skip
    if not seen or any(peer.endpoint != order.expected for _, peer in seen):
        return False
    at, peer = seen[-1]
    if at - peer.latest_handshake > SESSION:
        return False
    growth = [at for (_, before), (at, now) in pairwise(seen) if now.rx_bytes > before.rx_bytes]
    return len(growth) >= 2 and growth[-1] > order.at - LAST


def _keepalives(name: str, laptop: Laptop) -> Iterator[str]:
    """All have the profile's keepalive, whatever was poked and killed."""
    for key, peer in laptop.peers().items():
        if peer.persistent_keepalive != KEEPALIVE:
            yield f"{name} has the keepalive {peer.persistent_keepalive} for {key} instead of {KEEPALIVE}"


def needs(pid: int) -> Needs:
    """What a process needs now."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )  # fmt: skip
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Needs(int(status["VmRSS"].split()[0]), files, int(status["Threads"]))
