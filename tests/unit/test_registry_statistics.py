# SPDX-License-Identifier: GPL-2.0-or-later
"""The statistics as a line, and as Prometheus text that a strict reader understands."""

from __future__ import annotations

import re
from dataclasses import fields

from wgsd_nm.registry.statistics import BADVERS, PREFIX, DeviceState, State, Statistics, ZoneState

STATE = State(
    devices=(DeviceState("wg0", 7, 12, 3, 0.25), DeviceState('w"g\\1', 0, 1, 1, None)),
    zones=(ZoneState("wg.example.com.", 1_790_000_000), ZoneState("b.example.", 0)),
    waiting=2,
    connections=5,
    sessions=6,
    subscriptions=11,
    dropped=9,
)
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"')
SAMPLE = re.compile(rf'({NAME})(?:\{{((?:[^"{{}}]|"(?:[^"\\]|\\.)*")*)\}})? (\S+)')
Key = tuple[str, tuple[tuple[str, str], ...]]


def parse(text: str) -> dict[Key, float]:
    """Prometheus text format 0.0.4, and nothing looser: families whole, each with HELP and TYPE, no sample twice."""
    assert text.endswith("\n")
    samples: dict[Key, float] = {}
    families: list[str] = []
    helped = ""
    for line in text.removesuffix("\n").split("\n"):
        if match := re.fullmatch(rf"# HELP ({NAME}) (\S.*)", line):
            helped = match[1]
            continue
        if match := re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge)", line):
            assert match[1] == helped
            assert helped not in families
            assert helped.endswith("_total") == (match[2] == "counter")
            families.append(helped)
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        assert match[1] == families[-1]
        labels = match[2] or ""
        pairs = LABEL.findall(labels)
        assert ",".join(f'{name}="{value}"' for name, value in pairs) == labels
        key = (match[1], tuple(pairs))
        assert key not in samples
        samples[key] = float(match[3])
    assert all(name.startswith(PREFIX) for name in families)
    return samples


def one(samples: dict[Key, float], name: str, **labels: str) -> float:
    return samples[PREFIX + name, tuple(labels.items())]


def full() -> Statistics:
    """Every counter has a value of its own."""
    statistics = Statistics(began=1_790_000_000.5)
    for number, field in enumerate(fields(statistics)):
        if field.type == "int":
            setattr(statistics, field.name, 1000 + number)
    statistics.rcodes[:] = range(16)
    return statistics


def test_every_counter_is_told() -> None:
    statistics = full()
    samples = parse(statistics.prometheus(STATE))
    told = list(samples.values())
    for field in fields(statistics):
        if field.type == "int":
            assert told.count(getattr(statistics, field.name)) == 1, field.name
    assert one(samples, "queries_total", transport="udp") == statistics.udp
    assert one(samples, "queries_total", transport="tcp") == statistics.tcp
    assert one(samples, "answers_total", rcode="NXDOMAIN") == 3
    assert one(samples, "answers_total", rcode="REFUSED") == 5
    assert one(samples, "answers_total", rcode="RCODE15") == 15
    assert one(samples, "start_time_seconds") == 1_790_000_000.5


def test_what_is_true_now_is_told() -> None:
    samples = parse(Statistics().prometheus(STATE))
    assert one(samples, "dropped_total") == 9
    assert one(samples, "waiting_queries") == 2
    assert one(samples, "open_connections") == 5
    assert one(samples, "push_sessions") == 6
    assert one(samples, "push_subscriptions") == 11
    assert one(samples, "device_peers", device="wg0") == 7
    assert one(samples, "device_reads_total", device="wg0") == 12
    assert one(samples, "device_read_failures_total", device="wg0") == 3
    assert one(samples, "device_age_seconds", device="wg0") == 0.25
    assert one(samples, "zone_serial", zone="wg.example.com.") == 1_790_000_000
    awkward = r"w\"g\\1"
    assert one(samples, "device_reads_total", device=awkward) == 1
    assert (f"{PREFIX}device_age_seconds", (("device", awkward),)) not in samples  # never read


def test_the_usual_answers_are_told_before_there_are_any() -> None:
    samples = parse(Statistics().prometheus(State()))
    for rcode in ("NOERROR", "NXDOMAIN", "REFUSED", "SERVFAIL"):
        assert one(samples, "answers_total", rcode=rcode) == 0
    assert not [key for key in samples if "RCODE" in str(key)]


def test_a_version_that_is_not_known_has_its_name() -> None:
    statistics = Statistics()
    statistics.rcodes[BADVERS] = 2
    assert one(parse(statistics.prometheus(State())), "answers_total", rcode="BADVERS") == 2
    assert "answers: BADVERS 2;" in statistics.line(State())


def test_notifies_are_counted() -> None:
    statistics = Statistics()
    statistics.notified(False)
    statistics.notified(True)
    assert (statistics.notifies, statistics.notifies_acknowledged) == (2, 1)


def test_the_line_has_it_all_in_one() -> None:
    statistics = Statistics(udp=12, tcp=3, limited=4)
    statistics.rcodes[0], statistics.rcodes[3], statistics.rcodes[13] = 10, 4, 1
    statistics.notified(True)
    line = statistics.line(STATE)
    assert "\n" not in line
    assert line.startswith("12 queries over UDP, 3 over TCP, 2 waiting; answers: NOERROR 10, NXDOMAIN 4, RCODE13 1; ")
    assert "strangers: 0 refused, 4 beyond their rate; " in line
    assert "datagrams: 9 dropped, 0 not sent, 0 no query; " in line
    assert "connections: 5 open, " in line
    assert "push: 6 sessions with 11 subscriptions, 0 pushes, 0 sessions and 0 subscriptions begun, " in line
    assert "notifies: 1 sent, 1 acknowledged; " in line
    assert "; wg0: 7 peers, read 0.2 s ago, 12 reads, 3 failed; " in line
    assert ": 0 peers, never read, 1 reads, 1 failed; " in line
    assert line.endswith("; wg.example.com. serial 1790000000; b.example. serial 0")
    every = full().line(STATE)
    for field in fields(statistics):
        if field.type == "int" and field.name != "reloads":
            assert str(getattr(full(), field.name)) in every, field.name


def test_the_line_says_so_where_nothing_was_answered() -> None:
    assert "answers: none" in Statistics().line(State())
