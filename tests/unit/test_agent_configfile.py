# SPDX-License-Identifier: GPL-2.0-or-later
"""Which file is read, and what is said of one that cannot be."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from wgsd_nm.agent import configfile
from wgsd_nm.core.config import Config
from wgsd_nm.core.errors import ConfigError

TUNNEL = '[tunnel.{}]\nzone = "auto"\n'


@pytest.fixture(autouse=True)
def _own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(configfile, "SYSTEM_FILE", tmp_path / "etc.toml")
    configfile.user_file().parent.mkdir()


def tunnels() -> list[str]:
    return [tunnel.connection for tunnel in configfile.load().tunnels]


def complaint() -> str:
    """What is said of the user's file, after its name."""
    with pytest.raises(ConfigError) as raised:
        configfile.load()
    name, _, rest = str(raised.value).partition(": ")
    assert name == str(configfile.user_file())
    return rest


def test_the_users_file_is_where_the_xdg_specification_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert configfile.user_file() == tmp_path / "wgsd-nm" / "config.toml"
    monkeypatch.setenv("HOME", "/home/anna")
    for unusable in ("", "relative/path"):
        monkeypatch.setenv("XDG_CONFIG_HOME", unusable)
        assert configfile.user_file() == Path("/home/anna/.config/wgsd-nm/config.toml")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert configfile.user_file() == Path("/home/anna/.config/wgsd-nm/config.toml")


def test_the_users_file_counts_before_the_systems_and_without_either_nothing_is_configured() -> None:
    assert configfile.load() == Config()
    configfile.SYSTEM_FILE.write_text(TUNNEL.format("everybodys"))
    assert tunnels() == ["everybodys"]
    configfile.user_file().write_text(TUNNEL.format("mine"))
    assert tunnels() == ["mine"]
    configfile.user_file().write_text("")
    assert tunnels() == []


def test_a_wrong_file_of_the_user_is_not_passed_over() -> None:
    configfile.SYSTEM_FILE.write_text(TUNNEL.format("everybodys"))
    configfile.user_file().write_text("[tunnel.mine]\nzone = 5\n")
    assert complaint().startswith("tunnel.mine.zone: a DNS zone")


def test_a_directory() -> None:
    configfile.user_file().mkdir()
    assert complaint() == "cannot be read: Is a directory"


def test_a_fifo_does_not_hold_us() -> None:
    os.mkfifo(configfile.user_file())
    assert complaint() == "cannot be read: a regular file is expected"


def test_a_link_to_itself() -> None:
    configfile.user_file().symlink_to(configfile.user_file())
    assert complaint() == "cannot be read: Too many levels of symbolic links"


def test_a_file_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)  # root may read everything
    assert complaint() == "cannot be read: Permission denied"


def test_a_file_that_is_not_utf_8() -> None:
    configfile.user_file().write_bytes(b"# caf\xe9\n")
    assert complaint() == "not UTF-8 at octet 5"


def test_a_file_has_a_greatest_size() -> None:
    text = "#" * configfile.MAX_SIZE
    configfile.user_file().write_text(text)
    assert configfile.load() == Config()
    configfile.user_file().write_text(text + "#")
    assert re.fullmatch(r"at most \d+ octets are expected", complaint())
