# SPDX-License-Identifier: GPL-2.0-or-later
"""The documents for people: what they name is there, and the hooks before a commit and a push are `make check`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.contract import texts
from tests.contract.texts import ROOT
from wgsd_nm import __version__
from wgsd_nm.bus import names

DOCUMENTS = sorted(
    path for folder in (ROOT, ROOT / "docs", ROOT / "lab", ROOT / "packaging") for path in folder.glob("*.md")
)
MAKEFILE = (ROOT / "Makefile").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
HOOKS = (ROOT / ".pre-commit-config.yaml").read_text()

KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
"""Keep a Changelog's."""


def recipe(target: str) -> list[str]:
    """What a target runs after those that it needs, as somebody would type it."""
    needed, lines = re.findall(rf"^{target}:([^#\n]*).*\n((?:\t.*\n)*)", MAKEFILE, re.MULTILINE)[0]
    commands = re.findall(r'^\t@\$\(TIMED\) "[^"]*" (.*)$', lines, re.MULTILINE)
    own = [command.replace("$(BIN)", ".venv/bin") for command in commands]
    return [*(each for name in needed.split() if name != "setup" for each in recipe(name)), *own]


def hooks() -> list[tuple[str, str]]:
    """Each hook's command, and its stages if it is not run at all."""
    entries = re.findall(r"^ +entry: (.*)\n +pass_filenames: false\n(?: +stages: (.*)\n)?", HOOKS, re.MULTILINE)
    assert len(entries) == HOOKS.count("- id: ") == HOOKS.count("language: system")
    return entries


def test_the_hooks_run_what_make_check_runs() -> None:
    checks = recipe("check")
    assert len(checks) >= 5
    assert sorted(command for command, _ in hooks()) == sorted(checks)


def test_style_and_types_are_checked_at_each_commit_and_all_before_each_push() -> None:
    assert "default_install_hook_types: [pre-commit, pre-push]" in HOOKS
    assert "default_stages" not in HOOKS
    for command, stages in hooks():
        assert stages == ("[pre-push]" if "pytest" in command else ""), command


def test_the_newest_version_of_the_changelog_is_the_projects() -> None:
    versions = re.findall(r"^## (\d+\.\d+\.\d+) - (unreleased|\d{4}-\d{2}-\d{2})$", CHANGELOG, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert versions[0][0] == project["version"] == __version__
    assert len(versions) == len(re.findall(r"^## ", CHANGELOG, re.MULTILINE))
    assert "unreleased" not in [date for _, date in versions[1:]]
    assert set(re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)) <= KINDS


@pytest.mark.parametrize("name", [names.AGENT, names.HELPER])
def test_each_member_of_an_interface_is_in_the_changelog_of_its_version(name: str) -> None:
    for member in texts.contract(name).members:
        (since,) = re.findall(r"Since (\d+\.\d+\.\d+)\.", " ".join(member.text.paragraphs()))
        news = CHANGELOG.partition(f"\n## {since} - ")[2].partition("\n## ")[0]
        assert f"`{member.name}`" in news, member.name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files_that_are_there(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)\)", path.read_text()):
        assert re.match(r"https?://", link) or (path.parent / link).exists(), link


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_targets_that_are_named_are_there(name: str) -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / name).read_text(), re.MULTILINE))
    assert named
    assert named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_files_that_contributing_names_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text().replace("NAME.xml", f"{names.AGENT}.xml")
    named = set(re.findall(r"(?<![\w/])((?:tests|lab|docs|data|tools)/[\w./]+\w)", text))
    assert len(named) > 5
    assert not [path for path in named if not (ROOT / path).exists()]
