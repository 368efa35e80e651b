# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm doctor: its lines, its JSON, its exit status."""

from __future__ import annotations

import argparse
import json

import pytest

from tests.unit.test_cli_findings import agent, facts
from wgsd_nm.cli import doctor, examination
from wgsd_nm.cli.facts import AgentFacts, Facts
from wgsd_nm.cli.finding import Finding, Result
from wgsd_nm.cli.terminal import Style, columns

LONG = "A sentence of some length that needs more than a line of a terminal to be said in full, as they do."
FOUND = [
    Finding("agent", Result.OK, "It runs."),
    Finding("registry", Result.PROBLEM, "No answer.", "Do this", "wg0"),
    Finding("peer", Result.CANNOT_TELL, LONG, LONG, "wg0", "bob"),
]


def run(monkeypatch: pytest.MonkeyPatch, situation: Facts, *options: str) -> int:
    async def look() -> Facts:
        return situation

    monkeypatch.setattr(examination, "look", look)
    parser = argparse.ArgumentParser()
    doctor.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["doctor", *options])
    status: int = arguments.run(arguments)
    return status


def test_a_step_is_a_line_and_what_to_do_stands_below() -> None:
    assert list(doctor.report(FOUND, Style())) == [
        "ok           agent         It runs.",
        "problem      wg0 registry  No answer.",
        "                           -> Do this",
        f"cannot tell  wg0 peer bob  {LONG}",
        f"                           -> {LONG}",
    ]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_it_fits(width: int) -> None:
    shown = list(doctor.report(FOUND, Style(width=width)))
    assert max(map(columns, shown)) <= width
    assert " ".join(" ".join(shown).split()).count(LONG) == 2


@pytest.mark.parametrize("width", [0, 80])
def test_what_would_command_a_terminal_is_replaced(width: int) -> None:
    evil = "ev\x1b]0;owned\x07il\x1b[2K"
    shown = list(doctor.report([Finding("peer", Result.OK, evil, evil, evil, evil)], Style(width=width)))
    assert all(line.isprintable() for line in shown)
    assert sum(line.count("ev\ufffd]0;owned\ufffdil\ufffd[2K") for line in shown) == 4


def test_colours_change_nothing_else() -> None:
    painted = list(doctor.report(FOUND, Style(colours=True, width=80)))
    assert [line.partition("\x1b[0m")[0] for line in painted if "\x1b" in line] == [
        "\x1b[32mok",
        "\x1b[31mproblem",
        "\x1b[33mcannot tell",
    ]
    for code in (0, 31, 32, 33):
        painted = [line.replace(f"\x1b[{code}m", "") for line in painted]
    assert painted == list(doctor.report(FOUND, Style(width=80)))


@pytest.mark.parametrize(
    ("situation", "status"),
    [
        (facts(), doctor.WELL),
        (facts(AgentFacts()), doctor.ILL),
        (facts(agent(State="offline")), doctor.ILL),
        (facts(AgentFacts(running=True, problem="no answer")), doctor.BLIND),
        (facts(AgentFacts(), session_bus_problem="no such file"), doctor.BLIND),
        (facts(network_manager=None, network_manager_problem="no answer"), doctor.BLIND),
    ],
)
def test_the_exit_status(monkeypatch: pytest.MonkeyPatch, situation: Facts, status: int) -> None:
    assert run(monkeypatch, situation) == status


def test_what_cannot_be_told_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, facts(manager={"check_available": False})) == doctor.WELL


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, facts(AgentFacts()), "--json") == doctor.ILL
    first, *_ = json.loads(capsys.readouterr().out)
    assert first == {
        "step": "agent",
        "result": "problem",
        "text": "The agent is not running.",
        "advice": "Start it: systemctl --user enable --now wgsd-nm-agent",
        "interface": "",
        "name": "",
    }
