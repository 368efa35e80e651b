# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual of the command line: it names what there is, and nothing else."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.contract.texts import ROOT
from wgsd_nm.cli import __main__ as program

PAGE = ROOT / "man" / "wgsd-nm.1"


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command."""
    (choices,) = (
        each.choices
        for each in program.command_line()._actions  # noqa: SLF001  # argparse has no other way
        if isinstance(each.choices, dict)
    )
    return dict(choices)


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:  # noqa: SLF001
        yield from (option for option in action.option_strings if option.startswith("--"))


def plain(roff: str) -> str:
    """Without fonts and line breaks."""
    return re.sub(r"\s+", " ", re.sub(r"\\f[BIRP]|\\[&|]|\\~", " ", roff)).replace(r"\-", "-")


def section(name: str) -> str:
    """One section of the page."""
    return PAGE.read_text().partition(f".SH {name}\n")[2].partition("\n.SH ")[0]


def test_it_has_each_command_and_no_other() -> None:
    headings = re.findall(r"^\.SS (.+)$", section("COMMANDS"), re.MULTILINE)
    assert headings == list(commands())


def test_it_has_each_option_and_no_other() -> None:
    described = re.findall(r"^\.TP\n\S+ \\-\\-(\w+(?:\\-\w+)*)", section("OPTIONS"), re.MULTILINE)
    known = {option for parser in (program.command_line(), *commands().values()) for option in options(parser)}
    assert {"--" + name.replace("\\-", "-") for name in described} == known


@pytest.mark.parametrize("name", sorted(commands()))
def test_the_synopsis_has_the_options_of_each_command(name: str) -> None:
    synopses = [plain(each).partition(".YS")[0] for each in section("SYNOPSIS").split(".SY ")]
    (synopsis,) = (each for each in synopses if re.search(rf"\.B {name}( |$)", each))
    assert set(re.findall(r"--[a-z-]+", synopsis)) == set(options(commands()[name])) - {"--help"}


def test_it_says_which_commands_start_the_agent() -> None:
    for name, parser in commands().items():
        said = plain(section("COMMANDS").partition(f".SS {name}\n")[2].partition("\n.SS ")[0])
        help_says = "not running is started" in plain(parser.description or "")
        starts = name in ("status", "monitor", "refresh")
        assert help_says is starts, name
        assert ("not running is started" in said) is starts, name


def test_it_has_each_exit_status() -> None:
    statuses = [int(number) for number in re.findall(r"^\.TP\n(\d+)$", section("EXIT STATUS"), re.MULTILINE)]
    assert statuses == [0, 1, 2, program.INTERRUPTED, program.NO_READER]


def test_it_is_a_manual_page_and_groff_has_nothing_to_complain_of() -> None:
    groff = shutil.which("groff")
    assert groff, "expected groff: install the package groff-base"
    shown = subprocess.run(
        [groff, "-man", "-Tascii", "-P-bcu", "-ww", PAGE], capture_output=True, text=True, check=True
    )
    assert not shown.stderr
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "FILES", "SEE ALSO"):
        assert heading in shown.stdout
