# SPDX-License-Identifier: GPL-2.0-or-later
"""Every supported version of Python is tested, and all texts name the same ones."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from lab.trees import PYTHONS
from tools.pythons import TESTED, own, packages

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_classifiers_name_the_versions_that_are_tested() -> None:
    prefix = "Programming Language :: Python :: "
    named = [each.removeprefix(prefix) for each in PROJECT["project"]["classifiers"] if each.startswith(prefix)]
    assert named == list(PYTHONS)


def test_the_oldest_version_is_the_one_that_is_asked_for() -> None:
    oldest = min(PYTHONS, key=lambda version: [int(part) for part in version.split(".")])
    assert PROJECT["project"]["requires-python"] == f">={oldest}"
    assert PROJECT["tool"]["mypy"]["python_version"] == oldest
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_the_documents_name_the_versions_that_are_tested(name: str) -> None:
    first, *more, last = PYTHONS
    words = f"{', '.join((first, *more))} and {last} are"
    assert re.search(rf"{re.escape(words)}[a-z ]* tested", (ROOT / name).read_text())


def test_what_is_tested_is_there() -> None:
    assert "tests/unit" in TESTED
    assert not [each for each in TESTED if not (ROOT / each).exists()]


def test_the_packages_are_our_dependencies_and_what_runs_tests() -> None:
    names = {re.split("[=<>]", each)[0] for each in packages()}
    assert names == {"dbus-next", "dnspython", "pyroute2", "hypothesis", "pytest", "pytest-xdist"}


def test_this_interpreter_is_named_as_the_versions_are() -> None:
    assert re.fullmatch(r"3\.\d+", own())
