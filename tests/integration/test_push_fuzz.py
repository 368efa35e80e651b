# SPDX-License-Identifier: GPL-2.0-or-later
"""A hundred thousand hostile messages to both ends of a push session. `python -m tests.fuzz.push` sends more."""

from __future__ import annotations

import gc
from pathlib import Path

from tests.fuzz.push import Run

MESSAGES = 100_000
SEED = 20_260_101
MAX_GROWTH = 4096
"""kB of resident memory from the first quarter to the end."""


def resident() -> int:
    """kB of this process."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def test_every_promise_is_kept() -> None:
    run = Run(SEED).until(MESSAGES // 4)
    warm = resident()
    run.until(MESSAGES)
    assert resident() - warm < MAX_GROWTH
    assert run.ended["aborted by the registry"] > 1000
    assert run.ended["aborted by the agent"] > 1000
    assert run.ended["Advertisement"] > 1000
