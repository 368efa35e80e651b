# SPDX-License-Identifier: GPL-2.0-or-later
"""The zone's content, as fresh as its queries need it. Knows neither packets nor where devices come from.

The device is read when somebody waits for it and what is known is too old, one read at a time; when nobody asks,
nothing is read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from wgsd_nm.core.errors import DeviceError, ReaderLost
from wgsd_nm.core.model import Device
from wgsd_nm.registry.zone import Zone

MAX_AGE = 0.25
"""Seconds since the read began after which content is too old to answer with: four reads a second at the most."""
MAX_SHARE = 0.5
"""A device so large that a read takes longer than this share of MAX_AGE is read less often: this share of the time."""
READ_TIMEOUT = 2.0
"""Seconds after which those who wait are told that there is no content. The read itself goes on."""
MAX_WAITING = 4096

_log = logging.getLogger(__name__)

Waiter = Callable[[bool], None]
"""Is told once whether the content is fresh now (True) or not to be had (False)."""


class Content:
    """Keeps one zone, which is to be asked while `fresh` or when a waiter is told so."""

    def __init__(
        self,
        zone: Zone,
        fetch: Callable[[], Awaitable[Device]],
        *,
        clock: Callable[[], float] = time.monotonic,
        epoch: Callable[[], float] = time.time,
    ) -> None:
        self.zone = zone
        self._fetch = fetch
        self._clock = clock
        self._epoch = epoch
        self._fresh_until = self._failed_until = float("-inf")
        self._waiting: list[Waiter] = []
        self._reading: asyncio.Task[None] | None = None
        self._trouble = ""

    @property
    def fresh(self) -> bool:
        """Whether the zone may be asked now."""
        return self._clock() < self._fresh_until

    def wait(self, told: Waiter) -> None:
        """Have `told` called when the content is fresh or not to be had, at the latest after READ_TIMEOUT."""
        if self.fresh:
            told(True)
        elif self._clock() < self._failed_until or len(self._waiting) >= MAX_WAITING:
            told(False)
        else:
            self._waiting.append(told)
            if self._reading is None:
                self._reading = asyncio.get_running_loop().create_task(self._read())

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

    async def _read(self) -> None:
        began = self._clock()
        deadline = asyncio.get_running_loop().call_later(READ_TIMEOUT, self._overdue)
        try:
            device = await self._fetch()
        except (DeviceError, ReaderLost) as error:
            self._fail(str(error), began + MAX_AGE)
        else:
            self.zone.update(device, int(self._epoch()))
            self._fresh_until = began + max(MAX_AGE, (self._clock() - began) / MAX_SHARE)
            self._failed_until = float("-inf")
            if self._trouble:
                self._trouble = ""
                _log.info("%s can be read again", device.interface)
            self._tell(True)
        finally:
            deadline.cancel()
            self._reading = None

    def _overdue(self) -> None:
        self._fail(f"the device was not read within {READ_TIMEOUT:g} s", float("inf"))

    def _fail(self, trouble: str, until: float) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            _log.error("answering SERVFAIL: %s", trouble)
        self._failed_until = until
        self._tell(False)

    def _tell(self, fresh: bool) -> None:
        waiting, self._waiting = self._waiting, []
        for told in waiting:
            told(fresh)
