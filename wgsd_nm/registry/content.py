# SPDX-License-Identifier: GPL-2.0-or-later
"""A device's content, as fresh as queries need it. Knows neither packets nor zones, nor where devices come from.

The device is read when somebody waits for it and what is known is too old, one read at a time, or as often as it may
be for those who want to hear of each change; when nobody asks, nothing is read. A large device takes long to read: what
is known of it may be older, and is renewed while it is still good, so that nobody waits as long as somebody asks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from wgsd_nm.core.errors import DeviceError, ReaderLost
from wgsd_nm.core.model import Device

MAX_AGE = 0.25
"""Seconds since the read began after which content is too old to answer with: four reads a second at the most."""
SMALL, LARGE = 1000, 10_000
"""Peers up to which MAX_AGE holds, and those from which LARGE_MAX_AGE does; in between it grows with their number."""
LARGE_MAX_AGE = 2.0
"""Seconds."""
MAX_SHARE = 0.5
"""Reads that take long take no more than this share of the time, and content is as old as that makes it."""
READ_TIMEOUT = 2.0
"""Seconds after which those who wait are told that there is no content. The read itself goes on."""
MAX_WAITING = 4096

_log = logging.getLogger(__name__)

Waiter = Callable[[bool], None]
"""Is told once whether the content is fresh now (True) or not to be had (False)."""


class Content:
    """Keeps what depends on one device; to be used when `use()` or a waiter is told so.

    `take` is what each device read is given to. `reads` and `failures` count, `peers` are the last device's.
    """

    def __init__(
        self,
        interface: str,
        fetch: Callable[[str], Awaitable[Device]],
        take: Callable[[Device], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fetch` raises DeviceError or ReaderLost where the device cannot be read."""
        self.interface = interface
        self.take = take
        self.reads = self.failures = self.peers = 0
        self._fetch = fetch
        self._clock = clock
        self._began: float | None = None
        self._fresh_until = self._due = self._failed_until = float("-inf")
        self._waiting: list[Waiter] = []
        self._reading: asyncio.Task[None] | None = None
        self._wanted: Callable[[], bool] | None = None
        self._next: asyncio.TimerHandle | None = None
        self._trouble = ""
        self._overdue = False

    @property
    def fresh(self) -> bool:
        """Whether the content may be used now."""
        return self._clock() < self._fresh_until

    def use(self) -> bool:
        """Whether the content may be used now. As somebody uses it, it is renewed before it is too old."""
        now = self._clock()
        if now >= self._fresh_until:
            return False
        if now >= self._due:
            self._begin()
        return True

    @property
    def age(self) -> float | None:
        """Seconds since the last good read began, None before the first."""
        return None if self._began is None else self._clock() - self._began

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def wait(self, told: Waiter) -> None:
        """Have `told` called when the content is fresh or not to be had, at the latest after READ_TIMEOUT."""
        if self.fresh:
            told(True)
        elif self._clock() < self._failed_until or len(self._waiting) >= MAX_WAITING:
            told(False)
        else:
            self._waiting.append(told)
            self._begin()

    def keep(self, wanted: Callable[[], bool]) -> None:
        """Read the device as often as it may be although nobody asks, until `wanted`, asked before each read, is False.

        Whoever called this before is not asked any more.
        """
        self._wanted = wanted
        self._arm()

    def _arm(self) -> None:
        if self._wanted is not None and self._next is None and self._reading is None:
            due = max(self._due, self._failed_until)
            self._next = asyncio.get_running_loop().call_later(max(due - self._clock(), 0.0), self._renew)

    def _renew(self) -> None:
        self._next = None
        if self._wanted is None or not self._wanted():
            self._wanted = None
        elif self._clock() < max(self._due, self._failed_until):
            self._arm()  # somebody asked meanwhile
        else:
            self._begin()

    async def available(self) -> bool:
        """As wait()."""
        if self.fresh:
            return True
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def told(fresh: bool) -> None:
            if not future.done():
                future.set_result(fresh)

        self.wait(told)
        return await future

    def _begin(self) -> None:
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        began = self._clock()
        self.reads += 1
        self._overdue = False
        deadline = asyncio.get_running_loop().call_later(READ_TIMEOUT, self._give_up)
        try:
            device = await self._fetch(self.interface)
            self.take(device)
        except (DeviceError, ReaderLost) as error:
            self._fail(str(error), began + MAX_AGE)
        except Exception as error:  # a defect of ours, which must not leave those who wait without an answer
            self._fail(f"a defect: {_place(error)}: report it, with this line", self._clock() + MAX_AGE)
        else:
            self._succeed(device, began)
        finally:
            deadline.cancel()
            self._reading = None
            self._tell(False)  # those who are left where the read was cancelled
            self._arm()

    def _succeed(self, device: Device, began: float) -> None:
        took = self._clock() - began
        period = max(MAX_AGE, took / MAX_SHARE)
        size = min(max(len(device.peers) - SMALL, 0) / (LARGE - SMALL), 1)
        lasts = MAX_AGE + size * (LARGE_MAX_AGE - MAX_AGE)
        if period > MAX_AGE:
            lasts = max(lasts, period + took)
        self._began = began
        self._due = began + max(period, lasts / 2)
        self._fresh_until = began + lasts
        self._failed_until = float("-inf")
        self.peers = len(device.peers)
        if self._trouble:
            self._trouble = ""
            _log.info("%s can be read again", self.interface)
        self._tell(True)

    def _give_up(self) -> None:
        self._fail(f"{self.interface} was not read within {READ_TIMEOUT:g} s", float("inf"))
        self._overdue = True

    def _fail(self, trouble: str, until: float) -> None:
        if not self._overdue:  # a read fails once
            self.failures += 1
        self._failed_until = until
        if self.fresh:
            self._due = self._clock() + MAX_AGE  # what is known does for now
            return
        if trouble != self._trouble:
            self._trouble = trouble
            _log.error("answering SERVFAIL: %s", trouble)
        self._tell(False)

    def _tell(self, fresh: bool) -> None:
        waiting, self._waiting = self._waiting, []
        for told in waiting:
            try:
                told(fresh)
            except Exception as error:  # one query's defect is not the others'
                handler = asyncio.get_running_loop().call_exception_handler
                handler({"message": "a query was not answered", "exception": error})


def _place(error: Exception) -> str:
    """What was raised, and by which line."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    where = f" ({Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno})" if at is not None else ""
    return f"{type(error).__name__}: {error}{where}"
