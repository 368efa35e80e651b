# SPDX-License-Identifier: GPL-2.0-or-later
"""Every scenario of the lab is run by a target of the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

from lab.image import SUITES
from lab.installed import BOOTS
from lab.trees import SHELLS
from lab.trees import SUITES as TREES

ROOT = Path(__file__).parents[2]


def variables(pattern: str) -> dict[str, list[str]]:
    """The words of the Makefile's variables whose names match."""
    text = (ROOT / "Makefile").read_text()
    return {name: words.split() for name, words in re.findall(rf"^({pattern}) *:= *(.*)$", text, re.MULTILINE)}


def scenarios(folder: str = "") -> list[str]:
    """The scenarios below tests/lab, as the Makefile names them."""
    top = ROOT / "tests/lab"
    names = [path.with_name(path.stem.removeprefix("test_")) for path in top.rglob("test_*.py")]
    return sorted(str(name.relative_to(top)) for name in names if name.is_relative_to(top / folder))


def test_every_scenario_has_its_machine() -> None:
    machines = variables("scenarios_[a-z]+")
    alone = scenarios("installed")
    expected = [name for name in scenarios() if name not in alone]
    assert sorted(name for each in machines.values() for name in each) == expected
    names = {f"scenarios_{name}" for name in variables("MACHINES")["MACHINES"] if not name.startswith("installed-")}
    assert set(machines) == names


def test_the_package_is_installed_on_every_debian_with_all_its_scenarios() -> None:
    there = [name for name in variables("MACHINES")["MACHINES"] if name.startswith("installed-")]
    assert there == [f"installed-{suite}" for suite in SUITES]
    assert sorted(f"installed/{name}" for boot in BOOTS for name in boot) == scenarios("installed")


def test_every_debian_tree_is_made_before_it_is_needed() -> None:
    assert variables("TREES")["TREES"] == list(TREES)
    assert f"lab.trees {' '.join(tree.suite for tree in SHELLS.values())}\n" in (ROOT / "Makefile").read_text()
