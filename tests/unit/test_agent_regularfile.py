# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read of a file, and what is no file."""

from __future__ import annotations

import os
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
