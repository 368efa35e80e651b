# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read of a file, what is no file, and how one is replaced."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from wgsd_nm.agent import regularfile
from wgsd_nm.core.errors import InvalidValue


@pytest.mark.parametrize(("most", "octets"), [(2, b"oc"), (6, b"octets"), (7, b"octets")])
def test_no_more_than_so_many_octets(tmp_path: Path, most: int, octets: bytes) -> None:
    (tmp_path / "file").write_bytes(b"octets")
    assert regularfile.read(tmp_path / "file", most) == octets


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        regularfile.read(tmp_path / "file", 1)


def test_a_fifo_holds_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "file")
    with pytest.raises(InvalidValue, match="regular file"):
        regularfile.read(tmp_path / "file", 1)


def test_a_new_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "made" / "for it" / "file"
    for mode, octets in ((0o600, b"one"), (0o640, b"two")):
        regularfile.replace(file, octets, mode)
        assert file.read_bytes() == octets
        assert stat.S_IMODE(file.stat().st_mode) == mode
        assert list(file.parent.iterdir()) == [file]
    assert [stat.S_IMODE(each.stat().st_mode) for each in (file.parent, tmp_path / "made")] == [0o700, 0o700]


def test_a_file_that_cannot_be_replaced_is_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        regularfile.replace(file, b"two", 0o600)
    assert file.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [file]
