# SPDX-License-Identifier: GPL-2.0-or-later
"""What the registry has done, in numbers: a line for the log, and Prometheus text. Knows nothing of how it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

RCODES = (
    "NOERROR",
    "FORMERR",
    "SERVFAIL",
    "NXDOMAIN",
    "NOTIMP",
    "REFUSED",
    "YXDOMAIN",
    "YXRRSET",
    "NXRRSET",
    "NOTAUTH",
    "NOTZONE",
)
"""By number (RFC 6895 section 2.3), as far as a header's four bits can say."""
BADVERS = 16
"""The only other one that is answered with."""
PREFIX = "wgsd_nm_registry_"


@dataclass(frozen=True, slots=True)
class DeviceState:
    """One device: its peers, its reads since its configuration, seconds since the last good one began."""

    name: str
    peers: int
    reads: int
    failures: int
    age: float | None


@dataclass(frozen=True, slots=True)
class ZoneState:
    """One zone's name and SOA serial."""

    name: str
    serial: int


@dataclass(frozen=True, slots=True)
class State:
    """What is true now. `dropped` datagrams found no room in a socket's queue since it was made."""

    devices: tuple[DeviceState, ...] = ()
    zones: tuple[ZoneState, ...] = ()
    waiting: int = 0
    connections: int = 0
    sessions: int = 0
    subscriptions: int = 0
    dropped: int = 0


@dataclass(slots=True)
class Statistics:
    """Counters since the start. Whoever does a thing counts it here.

    `rcodes` are answers sent, by their RCODE. `unanswered` are messages that get no answer because they are
    no query. `limited` are queries of strangers beyond their rate, `unsent` answers that the kernel did not take.
    `turned_away` and `displaced` are connections for which there was no place, and that had to leave theirs.
    `sessions` and `subscriptions` are those that began; `pushes` are messages about changes. Sessions are `refused`
    where there is no place, `displaced` by others of the same client, and ended where the client is `idle`, too `slow`,
    or `broken`, which breaks the protocol.
    """

    began: float = field(default_factory=time.time)
    udp: int = 0
    tcp: int = 0
    rcodes: list[int] = field(default_factory=lambda: [0] * (BADVERS + 1))
    strangers: int = 0
    limited: int = 0
    unanswered: int = 0
    unsent: int = 0
    connections: int = 0
    turned_away: int = 0
    displaced: int = 0
    timed_out: int = 0
    transfers: int = 0
    transfers_refused: int = 0
    transfers_failed: int = 0
    sessions: int = 0
    sessions_refused: int = 0
    sessions_displaced: int = 0
    sessions_idle: int = 0
    sessions_slow: int = 0
    sessions_broken: int = 0
    subscriptions: int = 0
    pushes: int = 0
    notifies: int = 0
    notifies_acknowledged: int = 0
    reloads: int = 0

    def notified(self, acknowledged: bool) -> None:
        """A NOTIFY was sent, and acknowledged or not."""
        self.notifies += 1
        self.notifies_acknowledged += acknowledged

    def line(self, state: State) -> str:
        """All that an administrator may want to know, as one line."""
        answers = ", ".join(f"{name} {count}" for name, count in self._answers() if count) or "none"
        parts = [
            f"{self.udp} queries over UDP, {self.tcp} over TCP, {state.waiting} waiting",
            f"answers: {answers}",
            f"strangers: {self.strangers} refused, {self.limited} beyond their rate",
            f"datagrams: {state.dropped} dropped, {self.unsent} not sent, {self.unanswered} no query",
            f"connections: {state.connections} open, {self.connections} taken, {self.turned_away} turned away, "
            f"{self.displaced} displaced, {self.timed_out} too slow",
            f"push: {state.sessions} sessions with {state.subscriptions} subscriptions, {self.pushes} pushes, "
            f"{self.sessions} sessions and {self.subscriptions} subscriptions begun, {self.sessions_refused} refused, "
            f"{self.sessions_displaced} displaced, {self.sessions_idle} idle, {self.sessions_slow} too slow, "
            f"{self.sessions_broken} broken",
            f"transfers: {self.transfers} whole, {self.transfers_refused} refused, {self.transfers_failed} failed",
            f"notifies: {self.notifies} sent, {self.notifies_acknowledged} acknowledged",
            *(_device_text(device) for device in state.devices),
            *(f"{zone.name} serial {zone.serial}" for zone in state.zones),
        ]
        return "; ".join(parts)

    def prometheus(self, state: State) -> str:
        """Prometheus text format 0.0.4."""
        return "".join(_family(*family) for family in (*self._counters(), *_gauges(state)))

    def _answers(self) -> Iterator[tuple[str, int]]:
        for number, count in enumerate(self.rcodes):
            if number < len(RCODES):
                yield RCODES[number], count
            elif count:
                yield ("BADVERS" if number == BADVERS else f"RCODE{number}"), count

    def _counters(self) -> Iterator[_Family]:
        yield _counter("queries_total", "Queries received.", "transport", {"udp": self.udp, "tcp": self.tcp})
        yield _counter("answers_total", "Answers sent, by RCODE.", "rcode", dict(self._answers()))
        yield _counter("strangers_refused_total", "Answers to those who may not ask.", self.strangers)
        yield _counter("strangers_limited_total", "Queries of those who may not ask beyond their rate.", self.limited)
        yield _counter("unanswered_total", "Messages without an answer because they are no query.", self.unanswered)
        yield _counter("unsent_total", "Answers over UDP that the kernel did not take.", self.unsent)
        yield _counter("connections_total", "TCP connections that got a place.", self.connections)
        yield _counter(
            "connections_ended_total",
            "TCP connections ended by the registry, by reason.",
            "reason",
            {"no-place": self.turned_away, "displaced": self.displaced, "too-slow": self.timed_out},
        )
        yield _counter(
            "transfers_total",
            "Zone transfers, by result.",
            "result",
            {"whole": self.transfers, "refused": self.transfers_refused, "failed": self.transfers_failed},
        )
        yield _counter("push_sessions_total", "Push sessions that began.", self.sessions)
        yield _counter(
            "push_sessions_ended_total",
            "Push sessions refused or ended by the registry, by reason.",
            "reason",
            {
                "no-place": self.sessions_refused,
                "displaced": self.sessions_displaced,
                "idle": self.sessions_idle,
                "too-slow": self.sessions_slow,
                "protocol": self.sessions_broken,
            },
        )
        yield _counter("push_subscriptions_total", "Push subscriptions that began.", self.subscriptions)
        yield _counter("pushes_total", "Messages that told a client of changes.", self.pushes)
        yield _counter("notifies_total", "NOTIFY messages sent.", self.notifies)
        yield _counter("notifies_acknowledged_total", "NOTIFY messages acknowledged.", self.notifies_acknowledged)
        yield _counter("reloads_total", "Configurations taken after the first.", self.reloads)
        yield _family_of("start_time_seconds", "Unix time of the start.", "gauge", self.began)


_Samples = tuple[tuple[Mapping[str, str], float], ...]
_Family = tuple[str, str, str, _Samples]


def _device_text(device: DeviceState) -> str:
    age = "never read" if device.age is None else f"read {device.age:.1f} s ago"
    return f"{device.name}: {device.peers} peers, {age}, {device.reads} reads, {device.failures} failed"


def _gauges(state: State) -> Iterator[_Family]:
    devices, zones = state.devices, state.zones
    yield _family_of("dropped_total", "Datagrams that the kernel dropped: no room.", "counter", state.dropped)
    yield _family_of("waiting_queries", "Queries that wait for a device to be read.", "gauge", state.waiting)
    yield _family_of("open_connections", "TCP connections.", "gauge", state.connections)
    yield _family_of("push_sessions", "Push sessions.", "gauge", state.sessions)
    yield _family_of("push_subscriptions", "Subscriptions of push sessions.", "gauge", state.subscriptions)
    yield _labelled("device_reads_total", "Reads of a device.", "counter", devices, lambda one: one.reads)
    yield _labelled("device_read_failures_total", "Failed reads.", "counter", devices, lambda one: one.failures)
    yield _labelled("device_peers", "Peers of a device when last read.", "gauge", devices, lambda one: one.peers)
    known = [one for one in devices if one.age is not None]
    yield _labelled("device_age_seconds", "Since the last good read began.", "gauge", known, lambda one: one.age or 0.0)
    serials: _Samples = tuple(({"zone": zone.name}, zone.serial) for zone in zones)
    yield PREFIX + "zone_serial", "The SOA serial of a zone.", "gauge", serials


def _labelled(
    name: str, what: str, kind: str, devices: Iterable[DeviceState], value: Callable[[DeviceState], float]
) -> _Family:
    return PREFIX + name, what, kind, tuple(({"device": one.name}, value(one)) for one in devices)


def _counter(name: str, what: str, label: str | int, values: Mapping[str, int] | None = None) -> _Family:
    if isinstance(label, int):
        return _family_of(name, what, "counter", label)
    return PREFIX + name, what, "counter", tuple(({label: key}, value) for key, value in (values or {}).items())


def _family_of(name: str, what: str, kind: str, value: float) -> _Family:
    return PREFIX + name, what, kind, (({}, value),)


def _family(name: str, what: str, kind: str, samples: _Samples) -> str:
    lines = [f"# HELP {name} {what}\n", f"# TYPE {name} {kind}\n"]
    lines += (f"{name}{_labels(labels)} {_number(value)}\n" for labels, value in samples)
    return "".join(lines)


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"
