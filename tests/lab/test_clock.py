# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter to the wall clock, on a machine whose clock can be set."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from wgsd_nm.agent.clock import WallClock

DEADLINE = 20.0


@pytest.fixture(autouse=True)
def _clock_as_before() -> Iterator[None]:
    lead = time.time() - time.monotonic()
    yield
    time.clock_settime(time.CLOCK_REALTIME, time.monotonic() + lead)


class Watch:
    """A WallClock, and how often it called."""

    def __init__(self) -> None:
        self.jumps = 0
        self.clock = WallClock(self._jumped)
        self._news = asyncio.Event()

    def _jumped(self) -> None:
        self.jumps += 1
        self._news.set()

    async def count(self, number: int) -> None:
        """Exactly so many jumps are told."""
        async with asyncio.timeout(DEADLINE):
            while self.jumps < number:
                self._news.clear()
                await self._news.wait()
        assert self.jumps == number


def turn(seconds: float) -> None:
    """Set the wall clock ahead or back."""
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)


def run(test: Callable[[Watch], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        watch = Watch()
        watch.clock.start()
        try:
            await test(watch)
        finally:
            watch.clock.close()

    asyncio.run(main())


def test_every_leap_ahead_is_told() -> None:
    async def test(watch: Watch) -> None:
        for number in (1, 2, 3):
            turn(60)
            await watch.count(number)

    run(test)


def test_a_correction_or_a_step_back_is_none() -> None:
    async def test(watch: Watch) -> None:
        for _ in range(10):
            turn(4)
            await _heard()
        turn(-40)
        await _heard()
        assert watch.jumps == 0
        turn(6)
        await watch.count(1)

    run(test)


def test_another_thread_or_program_may_have_set_it() -> None:
    async def test(watch: Watch) -> None:
        now = await asyncio.create_subprocess_exec("date", "-s", "+1 hour", stdout=asyncio.subprocess.DEVNULL)
        assert await now.wait() == 0
        await watch.count(1)

    run(test)


def test_nothing_is_told_after_the_end() -> None:
    async def main() -> None:
        watch, witness = Watch(), Watch()
        watch.clock.start()
        witness.clock.start()
        watch.clock.close()
        watch.clock.close()
        turn(60)
        await witness.count(1)
        assert watch.jumps == 0
        witness.clock.close()

    asyncio.run(main())


async def _heard() -> None:
    """The event loop has polled since the clock was set, which makes the timer readable before the setting returns."""
    for _ in range(3):
        await asyncio.sleep(0)
