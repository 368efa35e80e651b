# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for something to become true, with a deadline and a sentence for when it does not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class NotInTimeError(AssertionError):
    """What was waited for did not come before the deadline."""


def wait_for(predicate: Callable[[], T], timeout: float, what: str, interval: float = 0.05) -> T:
    """The first true value of `predicate`; raises NotInTimeError with `what` and the last value after `timeout` s.

    Between two looks it waits for `interval` seconds, or for four times the processor time of a look if that is longer:
    looking slows the machine.
    """
    deadline = time.monotonic() + timeout
    while True:
        before = _processor_time()
        value = predicate()
        now = time.monotonic()
        if value:
            return value
        if now >= deadline:
            raise NotInTimeError(f"waited {timeout:g} s in vain for {what}; the last answer was {value!r}")
        time.sleep(min(max(interval, 4 * (_processor_time() - before)), deadline - now))


def _processor_time() -> float:
    """Seconds that this process and the children that it has waited for have taken."""
    return sum(os.times()[:4])
