# SPDX-License-Identifier: GPL-2.0-or-later
"""Without setting the clock, which tests/lab does."""

from __future__ import annotations

import asyncio
import ctypes
import os
from pathlib import Path

import pytest

from wgsd_nm.agent import clock
from wgsd_nm.agent.clock import WallClock


def never() -> None:
    pytest.fail("the clock was not set")


def timers() -> int:
    """The timers that this process has open."""
    return sum(
        str(each.readlink()) == "anon_inode:[timerfd]" for each in Path("/proc/self/fd").iterdir() if each.is_symlink()
    )


def test_it_holds_one_timer_which_never_runs_out() -> None:
    async def main() -> None:
        watch = WallClock(never)
        before = timers()
        watch.start()
        assert timers() == before + 1
        for _ in range(5):
            await asyncio.sleep(0)
        watch.close()
        assert timers() == before
        watch.close()

    asyncio.run(main())


@pytest.mark.parametrize("error", [OSError(38, "Function not implemented"), MemoryError("no"), AttributeError("x")])
def test_where_nobody_can_tell_it_says_so_and_goes_on(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", fail)

    async def main() -> None:
        watch = WallClock(never)
        watch.start()
        watch.close()

    asyncio.run(main())
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize(
    ("leads", "jumps"), [([100, 105.0], 0), ([100, 105.1], 1), ([100, 104, 108, 112], 0), ([100, 40, 44, 50], 1)]
)
def test_only_a_leap_ahead_counts(leads: list[float], jumps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's word is played by a file that cannot be read, the two clocks by their difference."""
    heard: list[bool] = []
    monkeypatch.setattr(clock, "_lead", lambda: leads.pop(0))

    def cancelled(_file: int, _count: int) -> bytes:
        raise OSError(125, "Operation canceled")

    async def main() -> None:
        watch = WallClock(lambda: heard.append(True))
        watch.start()
        with monkeypatch.context() as patch:
            patch.setattr(os, "read", cancelled)
            while leads:
                watch._readable()  # noqa: SLF001  # what the event loop calls
        watch.close()

    asyncio.run(main())
    assert len(heard) == jumps
