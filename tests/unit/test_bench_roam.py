# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench of roaming: what it reports, the machines that it starts, and the moment from which it counts."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from bench import roam, roam_guest
from bench.roam_guest import SCENARIOS, comparisons, figures, spread
from lab.world import Laptop
from lab.world.agent import routes_made_at

NAT_LIVE, NAT_DEAD = SCENARIOS["nat.live"], SCENARIOS["nat.dead"]
WAYS = {
    "push": [1.0, 1.0, 9.0],
    "polling": [5.0, 6.0, 24.0],
    "wgsd.loop": [10.0, 20.0, 60.0],
    "wgsd.timer": [100.0],
}
MONITORED = """\
[2026-11-22T10:00:00.500000] default via 192.168.1.1 dev eth0 proto dhcp src 192.168.1.10 metric 100
[2026-11-22T10:00:03.000000] Deleted default via 192.168.1.1 dev eth0 proto dhcp src 192.168.1.10 metric 100
[2026-11-22T10:00:05.250000] default via 192.168.3.1 dev eth0 proto dhcp src 192.168.3.10 metric 20100
[2026-11-22T10:00:05.750000] default via 192.168.3.1 dev eth0 proto dhcp src 192.168.3.10 metric 100
[2026-11-22T10:00:05.760000] 10.0.0.0/24 via 192.168.3.1 dev eth0
"""
TEN = 1795341600.0


def test_the_goals_are_those_that_were_set() -> None:
    goals = [goal for scenario in SCENARIOS.values() for goal in (scenario.polling, scenario.push) if goal is not None]
    assert {goal.figure: (goal.median, goal.worst) for goal in goals} == {
        "roam.public.live": (1.5, None),
        "roam.nat.live": (15, 25),
        "roam.push.live": (1, 3),
        "roam.nat.dead": (7, None),
        "roam.push.dead": (7, None),
    }


def test_figures_are_medians_and_worsts(capsys: pytest.CaptureFixture[str]) -> None:
    assert figures(NAT_LIVE.polling, WAYS["polling"])
    assert capsys.readouterr().out.splitlines() == [
        "roam.nat.live  6 s  goal 15  met",
        "roam.nat.live.worst  24 s  goal 25  met",
    ]


def test_the_others_stand_beside_them(capsys: pytest.CaptureFixture[str]) -> None:
    comparisons(NAT_LIVE, WAYS)
    assert capsys.readouterr().out.splitlines() == [
        "roam.nat.live.wgsd.loop  20 s",
        "roam.nat.live.wgsd.loop.worst  60 s",
        "roam.nat.live.vs_wgsd.loop  0.3 ratio",
        "roam.nat.live.wgsd.timer  100 s",
        "roam.nat.live.wgsd.timer.worst  100 s",
        "roam.nat.live.vs_wgsd.timer  0.06 ratio",
        "roam.push.live.vs_polling  0.167 ratio",
        "roam.push.live.vs_wgsd.loop  0.05 ratio",
        "roam.push.live.vs_wgsd.timer  0.01 ratio",
    ]


@pytest.mark.parametrize("times", [[16.0, 16.0, 1.0], [1.0, 1.0, 26.0]])
def test_median_and_worst_can_be_missed(times: Sequence[float], capsys: pytest.CaptureFixture[str]) -> None:
    assert not figures(NAT_LIVE.polling, times)
    assert capsys.readouterr().out.count("missed") == 1


def test_a_worst_without_a_goal_is_shown_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert figures(NAT_DEAD.polling, [1.0, 1.0, 99.0])
    assert "roam.nat.dead.worst  99 s\n" in capsys.readouterr().out


def test_few_runs_meet_all_of_a_period() -> None:
    moments = spread(60.0, 6, random.Random(1))
    assert [int(moment / 10) for moment in sorted(moments)] == [0, 1, 2, 3, 4, 5]
    assert moments != sorted(moments)
    assert spread(60.0, 6, random.Random(1)) == moments
    assert spread(60.0, 6, random.Random(2)) != moments


class Machines:
    """In the place of subprocess.run: what is started, and how it ends."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.started: list[list[str]] = []

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        self.started.append(command)
        return subprocess.CompletedProcess(command, 1 if self.failing and self.failing in command else 0)


def start(monkeypatch: pytest.MonkeyPatch, machines: Machines, *arguments: str) -> int:
    monkeypatch.setattr(subprocess, "run", machines)
    monkeypatch.setattr("sys.argv", ["roam", *arguments])
    return roam.main()


def test_each_scenario_has_a_machine_with_wgsd(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines()
    assert start(monkeypatch, machines) == 0
    assert [command[command.index("bench.roam_guest") + 1] for command in machines.started] == list(SCENARIOS)
    assert all("--wgsd" in command and command[-2:] == ["--runs", "20"] for command in machines.started)


def test_one_scenario_and_few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines()
    assert start(monkeypatch, machines, "nat.dead", "--runs", "2") == 0
    assert [command[-3:] for command in machines.started] == [["nat.dead", "--runs", "2"]]


@pytest.mark.parametrize("failing", SCENARIOS)
def test_one_missed_goal_is_enough(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines(failing)
    assert start(monkeypatch, machines) == 1
    assert len(machines.started) == len(SCENARIOS)


@pytest.mark.parametrize("arguments", [["nat.alive"], ["--runs", "0"]])
def test_what_cannot_be_measured(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machines = Machines()
    with pytest.raises(SystemExit):
        start(monkeypatch, machines, *arguments)
    assert machines.started == []
    assert "expected" in capsys.readouterr().err


class Monitored:
    """In the place of a laptop: the log of ip-monitor."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def log(self, _: str) -> Path:
        return self.path


def test_routes_are_noted_when_they_are_made(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(MONITORED)
    laptop = cast(Laptop, Monitored(tmp_path / "log"))
    assert routes_made_at(laptop, "192.168.3.1") == [TEN + 5.25, TEN + 5.75]
    assert routes_made_at(laptop, "192.168.1.1") == [TEN + 0.5]
    assert routes_made_at(laptop, "192.168.2.1") == []


@pytest.mark.parametrize(
    ("routes", "left", "expected"),
    [([1.0, 8.0, 9.0], 5.0, 8.0), ([1.0], 5.0, None), ([], 5.0, None)],
)
def test_zero_is_the_first_route_after_she_left(
    routes: list[float], left: float, expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same router had her before, and NetworkManager makes the route again when it has found the internet."""
    made: Mapping[str, list[float]] = {"192.168.3.1": routes}
    monkeypatch.setattr(roam_guest, "routes_made_at", lambda _, gateway: made[gateway])
    assert roam_guest.usable_at(cast(Laptop, None), "192.168.3", left) == expected
