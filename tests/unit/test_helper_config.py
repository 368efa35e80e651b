# SPDX-License-Identifier: GPL-2.0-or-later
"""helper.toml: what it may say, and whose it must be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from wgsd_nm.core.errors import ConfigError
from wgsd_nm.helper import config

ROOT_ONLY = stat.S_IFREG | 0o644


def status(mode: int = ROOT_ONLY, uid: int = 0) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, uid, 0, 10, 0, 0, 0))


def test_the_interfaces_that_root_names() -> None:
    assert config.parse('interfaces = ["wg1", "wg-home"]') == {"wg1", "wg-home"}


@pytest.mark.parametrize("text", ["", "# nothing yet", "interfaces = []"])
def test_none_named(text: str) -> None:
    assert config.parse(text) == frozenset()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("interfaces = [", "not TOML"),
        ('interfaces = "wg1"', "interfaces: expected a list of interface names"),
        ("interfaces = [1]", "interfaces: expected a list of interface names"),
        ("interfaces = {wg1 = true}", "interfaces: expected a list of interface names"),
        ('interfaces = ["wg1", "../etc"]', "interfaces: '../etc' is not a network interface name"),
        ('interfaces = ["*"]\nusers = ["u"]', "'users' is not a key of this file"),
        ('[interfaces]\nname = "wg1"', "interfaces: expected a list"),
    ],
)
def test_a_complaint_names_file_and_key(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config.parse(text, Path("/etc/x.toml"))
    assert str(raised.value).startswith("/etc/x.toml")
    assert complaint in str(raised.value)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_a_file_of_root_alone_is_trusted(mode: int) -> None:
    config.require_trusted(config.PATH, status(stat.S_IFREG | mode))


@pytest.mark.parametrize(
    ("untrusted", "complaint"),
    [
        (status(uid=1000), "root as its owner"),
        (status(stat.S_IFREG | 0o664), "only root can write"),
        (status(stat.S_IFREG | 0o646), "only root can write"),
        (status(stat.S_IFDIR | 0o755), "regular file"),
        (status(stat.S_IFIFO | 0o600), "regular file"),
    ],
)
def test_a_file_that_others_could_have_written_is_not(untrusted: os.stat_result, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        config.require_trusted(config.PATH, untrusted)


def test_no_file_names_nothing(tmp_path: Path) -> None:
    assert config.load(tmp_path / "helper.toml") == frozenset()


def test_a_file_is_read_only_once_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "helper.toml"
    path.write_text('interfaces = ["wg1"]')
    monkeypatch.setattr(os, "fstat", lambda _: status())
    assert config.load(path) == {"wg1"}
    monkeypatch.setattr(os, "fstat", lambda _: status(uid=1000))
    with pytest.raises(ConfigError, match="root as its owner"):
        config.load(path)


def test_a_fifo_does_not_hold_the_helper_up(tmp_path: Path) -> None:
    path = tmp_path / "helper.toml"
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="regular file"):
        config.load(path)


def test_a_file_that_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "helper.toml"
    path.write_bytes(b"\xff\xfe")
    monkeypatch.setattr(os, "fstat", lambda _: status())
    with pytest.raises(ConfigError, match="UTF-8"):
        config.load(path)


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    loop = tmp_path / "helper.toml"
    loop.symlink_to(loop)
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(loop)
