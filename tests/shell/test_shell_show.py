# SPDX-License-Identifier: GPL-2.0-or-later
"""make demo-desktop, without a display: it tells what happens, and leaves the pictures that it names."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from lab import trees
from tests.shell import show

PNG = b"\x89PNG\r\n\x1a\n"


def test_the_demo_leaves_pictures_where_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.shell.scene.FOLDER", tmp_path / "pictures")
    monkeypatch.setattr(show, "FOLDER", tmp_path / "pictures")
    asyncio.run(show.show(max(trees.SHELLS), tmp_path, display=""))
    named = re.findall(r": (/\S+\.png)$", capsys.readouterr().out, re.MULTILINE)
    assert len(named) == 2
    for name in named:
        assert Path(name).read_bytes().startswith(PNG)
