# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm setup: its usage, and the file that it writes. What it sees of the system is given here."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from wgsd_nm.agent import configfile
from wgsd_nm.cli import __main__ as program
from wgsd_nm.cli import setup_checks
from wgsd_nm.cli.finding import Finding, ok, problem
from wgsd_nm.cli.setup import Wish
from wgsd_nm.cli.setup_checks import Checked

BOB = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
WORDS = ("wg0", "--zone", "wg.example.com", "--registry", "10.0.0.254")
WRITTEN = '[tunnel.wg0]\nzone = "wg.example.com"\nregistry = "10.0.0.254"\n'
NO_AGENT = 2
"""There is no session bus here, so that is how each run ends that has written."""


class Desktop:
    """A home, and what the checks find."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "config" / "wgsd-nm" / "config.toml"
        self.system_file = folder / "system.toml"
        self.found: tuple[Finding, ...] = (ok("connection", "It is well."),)
        self.section = "wg0"
        self.wishes: list[Wish] = []
        self._monkeypatch = monkeypatch
        monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={folder}/nobody")
        monkeypatch.setattr(configfile, "SYSTEM_FILE", self.system_file)
        monkeypatch.setattr(setup_checks, "check", self._check)

    async def _check(self, wish: Wish, _text: str, _source: str) -> Checked:
        self.wishes.append(wish)
        return Checked(self.found, self.section)

    def setup(self, *words: str) -> int | str | None:
        """The exit status."""
        self._monkeypatch.setattr(sys, "argv", ["wgsd-nm", "setup", *words])
        with pytest.raises(SystemExit) as ended:
            program.main()
        return ended.value.code

    def write(self, text: str) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(text)


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desktop:
    return Desktop(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "the following arguments are required: CONNECTION, --zone, --registry"),
        (("wg0", "--zone", "local", "--registry", "10.0.0.254"), ".local belongs to multicast DNS"),
        (("wg0", "--zone", "auto", "--registry", "10.0.0.254"), '"auto" can be written into the file by hand'),
        (("wg0", "--zone", "wg.example.com", "--registry", "dns"), "'dns' is not a DNS server's address"),
        ((*WORDS, "--name", "bob"), "'bob': expected NAME=KEY"),
        ((*WORDS, "--name", f"={BOB}"), "expected NAME=KEY"),
        ((*WORDS, "--name", "bob=x"), "'x' is not"),
    ],
)
def test_wrong_usage(
    desktop: Desktop, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], complaint: str
) -> None:
    assert desktop.setup(*words) == 2
    assert complaint in capsys.readouterr().err
    assert not desktop.wishes


@pytest.mark.parametrize("other", [f"ben={BOB}", "bob=" + "A" * 43 + "="])
def test_a_peer_has_one_name_and_a_name_one_peer(
    desktop: Desktop, capsys: pytest.CaptureFixture[str], other: str
) -> None:
    assert desktop.setup(*WORDS, "--name", f"bob={BOB}", "--name", other) == 1
    assert capsys.readouterr().err == f"wgsd-nm: --name {other}: each name, and each key, is expected once\n"
    assert not desktop.file.exists()


def test_a_new_file_is_its_owners_alone(desktop: Desktop, capsys: pytest.CaptureFixture[str]) -> None:
    assert desktop.setup(*WORDS, "--name", f"bob={BOB}") == NO_AGENT
    assert desktop.file.read_text() == f'{WRITTEN}\n[tunnel.wg0.names]\nbob = "{BOB}"\n'
    assert stat.S_IMODE(desktop.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(desktop.file.parent.stat().st_mode) == 0o700
    assert [path.name for path in desktop.file.parent.iterdir()] == ["config.toml"]
    said = capsys.readouterr()
    assert f"{desktop.file}: [tunnel.wg0] is written" in said.out
    assert "by ssh, first: export DBUS_SESSION_BUS_ADDRESS" in said.err.replace("By", "by")


def test_what_is_there_stays(desktop: Desktop) -> None:
    desktop.write('# mine\n[tunnel.wg1]\nzone = "auto"\n')
    desktop.file.chmod(0o640)
    desktop.setup(*WORDS)
    assert desktop.file.read_text() == f'# mine\n[tunnel.wg1]\nzone = "auto"\n\n{WRITTEN}'
    assert stat.S_IMODE(desktop.file.stat().st_mode) == 0o640


def test_a_link_stays_one(desktop: Desktop, tmp_path: Path) -> None:
    desktop.write("")
    target = desktop.file.rename(tmp_path / "dotfiles.toml")
    desktop.file.symlink_to(target)
    desktop.setup(*WORDS)
    assert desktop.file.is_symlink()
    assert target.read_text() == WRITTEN


def test_the_section_that_is_in_force_is_written(desktop: Desktop) -> None:
    desktop.section = "My VPN"
    desktop.setup(*WORDS)
    assert desktop.file.read_text().startswith('[tunnel."My VPN"]\n')


def test_nothing_is_written_twice(desktop: Desktop, capsys: pytest.CaptureFixture[str]) -> None:
    desktop.write(WRITTEN)
    before = desktop.file.stat()
    desktop.setup(*WORDS)
    assert desktop.file.stat().st_ino == before.st_ino
    assert "[tunnel.wg0] is so already" in capsys.readouterr().out


def test_the_systems_file_is_copied_for_it_counts_no_more(desktop: Desktop, capsys: pytest.CaptureFixture[str]) -> None:
    desktop.system_file.write_text('# all\n[tunnel.wg1]\nzone = "auto"\n')
    desktop.setup(*WORDS)
    assert desktop.file.read_text() == f'# all\n[tunnel.wg1]\nzone = "auto"\n\n{WRITTEN}'
    said = capsys.readouterr().out
    assert f"It began as a copy of {desktop.system_file}, which does not count for you any more" in said


@pytest.mark.parametrize("text", ["[tunnel", "[tunnel.wg1]\nzone = 7\n", '[tunnel]\nwg0 = {zone = "auto"}\n'])
def test_a_file_that_cannot_be_changed_is_refused_in_one_line(
    desktop: Desktop, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    desktop.write(text)
    assert desktop.setup(*WORDS, "--force") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"wgsd-nm: {desktop.file}: ")
    assert desktop.file.read_text() == text


def test_a_file_that_is_none_is_refused(desktop: Desktop, capsys: pytest.CaptureFixture[str]) -> None:
    desktop.file.parent.mkdir(parents=True)
    os.mkfifo(desktop.file)
    assert desktop.setup(*WORDS) == 1
    assert f"{desktop.file}: cannot be read: a regular file is expected" in capsys.readouterr().err


def test_a_disk_that_takes_nothing(
    desktop: Desktop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    desktop.write("# mine\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert desktop.setup(*WORDS) == 1
    assert f"{desktop.file}: cannot be written: No space left on device" in capsys.readouterr().err
    assert desktop.file.read_text() == "# mine\n"
    assert [path.name for path in desktop.file.parent.iterdir()] == ["config.toml"]


def test_a_check_that_failed(desktop: Desktop, capsys: pytest.CaptureFixture[str]) -> None:
    desktop.found = (problem("registry", "It is silent.", "Switch it on"),)
    assert desktop.setup(*WORDS) == 1
    said = capsys.readouterr()
    assert "problem  registry  It is silent.\n" in said.out
    assert "-> Switch it on\n" in said.out
    assert said.err == "wgsd-nm: nothing is written, for a check failed; --force writes it all the same\n"
    assert not desktop.file.exists()
    desktop.system_file.write_text("# all\n")
    desktop.setup(*WORDS)
    assert "copy" not in capsys.readouterr().out
    desktop.system_file.unlink()
    assert desktop.setup(*WORDS, "--force") == NO_AGENT
    assert desktop.file.read_text() == WRITTEN
