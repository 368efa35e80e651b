# SPDX-License-Identifier: GPL-2.0-or-later
"""The shells' completions: made of the program's own options, and bash's tried in bash."""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import pytest

from tools.completions import FOLDER, SHELLS
from wgsd_nm.cli.__main__ import command_line

PARSERS: dict[str, argparse.ArgumentParser] = next(
    dict(action.choices)
    for action in command_line()._actions  # noqa: SLF001  # argparse has no other way
    if isinstance(action.choices, dict)
)


def completed(words: list[str], tools: Path | None = None) -> list[str]:
    """What bash offers for the last word, as it would insert it; programs in `tools` go before the system's."""
    script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _wgsd_nm; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", FOLDER / "wgsd-nm.bash", "wgsd-nm", *words],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": f"{tools}:/usr/bin:/bin" if tools else "/usr/bin:/bin"},
    )
    assert not done.stderr
    return done.stdout.split("\n")[:-1] if done.stdout.strip() else []


def network_manager(folder: Path, *lines: str) -> Path:
    """An nmcli that prints these lines."""
    program = folder / "nmcli"
    program.write_text("#!/bin/sh\ncat <<'END'\n" + "".join(f"{line}\n" for line in lines) + "END\n")
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize("shell", SHELLS)
def test_the_files_are_what_the_options_make_of_them(shell: str) -> None:
    assert (FOLDER / f"wgsd-nm.{shell}").read_text() == SHELLS[shell](), "run: python3 -m tools.completions"


@pytest.mark.parametrize("shell", SHELLS)
def test_each_command_and_option_is_there(shell: str) -> None:
    text = (FOLDER / f"wgsd-nm.{shell}").read_text()
    for name, parser in PARSERS.items():
        assert name in text
        for action in parser._actions:  # noqa: SLF001
            assert all(flag.lstrip("-") in text for flag in action.option_strings)


def test_bash_offers_each_command() -> None:
    assert completed([""]) == list(PARSERS)
    assert completed(["re"]) == ["refresh"]
    assert completed(["--v"]) == ["--version"]


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_bash_offers_the_options_of_each_command(name: str) -> None:
    flags = [flag for action in PARSERS[name]._actions for flag in action.option_strings]  # noqa: SLF001
    assert completed([name, "-"]) == flags


def test_bash_offers_nothing_where_it_knows_nothing() -> None:
    assert completed(["lookup", "--dns", ""]) == []
    assert completed(["key", ""]) == []


def test_bash_offers_connections_of_wireguard_as_they_have_to_be_typed(tmp_path: Path) -> None:
    tools = network_manager(tmp_path, "wireguard:wg0", "wifi:home", r"wireguard:at\:the\\office 2")
    assert completed(["setup", ""], tools) == ["wg0", r"at:the\\office\ 2"]
    for begun in ("at", r"at:the\\off", r"at:the\\office\ "):
        assert completed(["setup", begun], tools) == [r"at:the\\office\ 2"]


def test_bash_runs_nothing_that_a_connection_is_called(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    tools = network_manager(tmp_path, f"wireguard:$(touch {trap})", f"wireguard:`touch {trap}`", "wireguard:*")
    assert len(completed(["setup", ""], tools)) == 3
    assert not trap.exists()
