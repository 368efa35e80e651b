# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line as a whole: its commands, its usage, its end."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import pytest

from wgsd_nm import __version__
from wgsd_nm.cli import __main__ as program
from wgsd_nm.cli import refresh


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int | str | None:
    """The exit status."""
    monkeypatch.setattr(sys, "argv", ["wgsd-nm", *words])
    with pytest.raises(SystemExit) as ended:
        program.main()
    return ended.value.code


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"wgsd-nm {__version__}\n"


def test_every_command_is_in_the_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--help") == 0
    said = capsys.readouterr().out
    for command in program.COMMANDS:
        name = command.__name__.rpartition(".")[2]
        assert f"\n    {name} " in said
        assert run(monkeypatch, name, "--help") == 0


@pytest.mark.parametrize("words", [(), ("dance",), ("refresh", "wg0", "wg1"), ("status", "--xml")])
def test_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert run(monkeypatch, *words) == 2
    assert "usage: wgsd-nm" in capsys.readouterr().err


def test_the_status_of_a_command_is_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[argparse.Namespace] = []

    def work(arguments: argparse.Namespace) -> int:
        seen.append(arguments)
        return 7

    monkeypatch.setattr(refresh, "run", work)
    assert run(monkeypatch, "refresh", "wg0") == 7
    assert seen[0].interface == "wg0"


def test_a_person_who_loses_patience_sees_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(refresh, "run", interrupted)
    assert run(monkeypatch, "refresh") == 130
    assert capsys.readouterr().err == ""


def test_a_reader_who_is_gone_is_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        words = ["key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="]
        ended = subprocess.run(
            [sys.executable, "-m", "wgsd_nm.cli", *words], stdout=pipe, stderr=subprocess.PIPE, timeout=20, check=False
        )
    assert (ended.returncode, ended.stderr) == (program.NO_READER, b"")


KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def ended(command: str) -> subprocess.CompletedProcess[str]:
    """The program as a shell starts it, in which every warning is an error; its output is buffered."""
    return subprocess.run(
        ["/bin/sh", "-c", f"exec {sys.executable} -W error -m wgsd_nm.cli {command}"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )


@pytest.mark.parametrize("words", [f"key {KEY}", f"key x {KEY}", "--version", "key --help"])
def test_an_output_that_is_full_is_one_line(words: str) -> None:
    full = ended(f"{words} >/dev/full")
    assert full.returncode == program.FAILED
    assert full.stderr.splitlines()[-1] == "wgsd-nm: cannot read or write: No space left on device"
    assert "Traceback" not in full.stderr
    assert ended(f"{words} >/dev/full 2>&1").returncode == program.FAILED


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_an_output_that_is_closed_takes_nothing(closed: str) -> None:
    done = ended(f"key {KEY} {closed}")
    assert (done.returncode, done.stderr) == (0, "")
    wrong = ended(f"key x {closed}")
    assert (wrong.returncode, wrong.stdout) == (2, ""), "a complaint is no output"


def test_what_the_outputs_encoding_lacks_is_a_question_mark() -> None:
    script = (
        "import sys; from wgsd_nm.cli import __main__ as program, key; key.converted = lambda _: 'Zo\\xeb'; "
        "sys.argv = ['wgsd-nm', 'key', 'x']; program.main()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Zo?\n", "")
