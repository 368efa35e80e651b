# SPDX-License-Identifier: GPL-2.0-or-later
"""The project, as pyproject.toml describes it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent


def project() -> dict[str, object]:
    """The table [project] of pyproject.toml."""
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def scripts() -> dict[str, str]:
    """The programs, and the function that each calls."""
    found = project()["scripts"]
    assert isinstance(found, dict)
    return {str(name): str(function) for name, function in found.items()}


def requirements() -> list[str]:
    """The packages that ours needs, as pyproject.toml has them."""
    found = project()["dependencies"]
    assert isinstance(found, list)
    return [str(each) for each in found]


def version() -> str:
    """The project's."""
    return str(project()["version"])
