# SPDX-License-Identifier: GPL-2.0-or-later
"""Every scenario of the lab is run by a target of the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def variables(pattern: str) -> dict[str, list[str]]:
    """The words of the Makefile's variables whose names match."""
    text = (ROOT / "Makefile").read_text()
    return {name: words.split() for name, words in re.findall(rf"^({pattern}) *:= *(.*)$", text, re.MULTILINE)}


def test_every_scenario_has_its_machine() -> None:
    machines = variables("scenarios_[a-z]+")
    there = [path.relative_to(ROOT / "tests/lab") for path in (ROOT / "tests/lab").rglob("test_*.py")]
    names = [str(path.with_name(path.stem.removeprefix("test_"))) for path in there]
    assert sorted(name for scenarios in machines.values() for name in scenarios) == sorted(names)
    assert sorted(machines) == sorted(f"scenarios_{name}" for name in variables("MACHINES")["MACHINES"])
