# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells when the wall clock has leapt ahead, as it does while a machine sleeps. It knows nothing of what follows.

The kernel says when the wall clock was set, also by waking up (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET): no timer of
ours ever runs out. CLOCK_MONOTONIC stands still while the machine sleeps, so the difference of both has grown by then.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import Callable
from typing import Final

LEAP: Final = 5.0
"""Seconds by which the wall clock must have advanced at once. Corrections of a clock that is nearly right are less."""

_TFD_TIMER_ABSTIME: Final = 1  # linux/timerfd.h
_TFD_TIMER_CANCEL_ON_SET: Final = 2

_log = logging.getLogger(__name__)


class WallClock:
    """Calls `on_jump` each time when the wall clock has leapt ahead."""

    def __init__(self, on_jump: Callable[[], None]) -> None:
        self._on_jump = on_jump
        self._timer = -1
        self._lead = 0.0

    def start(self) -> None:
        """Begin, in the running event loop. Where the kernel does not tell, it is logged, and nothing is ever told."""
        try:
            self._timer = _cancelled_when_set()
        except (ImportError, AttributeError, MemoryError, OSError) as error:
            _log.warning("nobody tells when the wall clock is set: %s", error)
            return
        self._lead = _lead()
        asyncio.get_running_loop().add_reader(self._timer, self._readable)

    def close(self) -> None:
        if self._timer >= 0:
            asyncio.get_running_loop().remove_reader(self._timer)
            os.close(self._timer)
            self._timer = -1

    def _readable(self) -> None:
        try:
            os.read(self._timer, 8)
        except OSError as error:
            if error.errno != errno.ECANCELED:
                return
        before, self._lead = self._lead, _lead()
        if self._lead - before > LEAP:
            self._on_jump()


def _lead() -> float:
    """Seconds that the wall clock is ahead of CLOCK_MONOTONIC; slewing (adjtimex(2)) leaves it as it is."""
    return (time.time_ns() - time.clock_gettime_ns(time.CLOCK_MONOTONIC)) / 1e9


def _cancelled_when_set() -> int:
    """A timer that never runs out, and is readable when the wall clock was set.

    Raises OSError, and what ctypes raises where a system's rules do not let it work. Python has timerfd since 3.13.
    """
    import ctypes

    class Timespec(ctypes.Structure):
        _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))

    class Itimerspec(ctypes.Structure):
        _fields_ = (("it_interval", Timespec), ("it_value", Timespec))

    never = (1 << (8 * ctypes.sizeof(ctypes.c_long) - 1)) - 1
    libc = ctypes.CDLL(None, use_errno=True)
    timer: int = libc.timerfd_create(time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
    if timer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    when = Itimerspec(Timespec(0, 0), Timespec(never, 0))
    if libc.timerfd_settime(timer, _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET, ctypes.byref(when), None) < 0:
        number = ctypes.get_errno()
        os.close(timer)
        raise OSError(number, os.strerror(number))
    return timer
