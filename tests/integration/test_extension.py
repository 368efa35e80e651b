# SPDX-License-Identifier: GPL-2.0-or-later
"""What the GNOME Shell extension does without a Shell, in a real gjs on a real bus: tests/extension has the tests."""

from __future__ import annotations

import re
import subprocess

from tests.contract.texts import ROOT

TIMEOUT = 60
"""Seconds."""


def test_all_of_it() -> None:
    done = subprocess.run(
        ["gjs", "-m", "tests/extension/run.js"], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d{2,} passed, 0 failed\n", done.stdout), done.stdout
