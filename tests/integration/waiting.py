# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for what happens, with a deadline, and never for time to pass."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Generic, TypeVar

import pytest

DEADLINE = 60
"""Seconds that a test may take on a busy machine"""

T = TypeVar("T")


def run(test: Coroutine[Any, Any, T]) -> T:
    """asyncio.run() that fails at the deadline, even where the event loop is frozen."""

    def too_late(_signal: int, _frame: FrameType | None) -> None:
        pytest.fail(f"the test is not over after {DEADLINE} s")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, DEADLINE, 1)
    try:
        return asyncio.run(test)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Recorder(Generic[T]):
    """A list that can be waited for."""

    def __init__(self) -> None:
        self.seen: list[T] = []
        self._changed = asyncio.Event()

    def __call__(self, item: T) -> None:
        self.seen.append(item)
        self._changed.set()

    async def until(self, enough: Callable[[list[T]], bool]) -> list[T]:
        """Returns what was seen, as soon as it is enough."""
        async with asyncio.timeout(DEADLINE):
            while not enough(self.seen):
                self._changed.clear()
                await self._changed.wait()
        return self.seen

    async def count(self, number: int) -> list[T]:
        """Returns when at least that many were seen."""
        return await self.until(lambda seen: len(seen) >= number)
