# SPDX-License-Identifier: GPL-2.0-or-later
"""Every scenario of the lab is run by a target of the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def listed(*names: str) -> list[str]:
    """The words of these variables of the Makefile."""
    text = (ROOT / "Makefile").read_text()
    return [word for name in names for word in re.findall(rf"^{name} *:= *(.*)$", text, re.MULTILINE)[0].split()]


def scenarios(folder: str) -> list[str]:
    return sorted(path.stem.removeprefix("test_") for path in (ROOT / folder).glob("test_*.py"))


def test_every_scenario_has_its_machine() -> None:
    assert sorted(listed("PARTS", "MOVES", "WAYS", "LONG")) == scenarios("tests/lab")
    assert sorted(listed("UNITS", "LONG_UNITS")) == scenarios("tests/lab/systemd")
