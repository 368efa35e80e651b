# SPDX-License-Identifier: GPL-2.0-or-later
"""Log lines about what others do wrong, each at most once in a while. Knows nothing of what they are about."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

INTERVAL = 60.0
"""Seconds for which the same line is not said again."""
MAX_REMEMBERED = 256


class Complaints:
    """Warnings that whoever sends packets can provoke, without that these can fill a disk or the memory."""

    def __init__(self, log: logging.Logger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._said: dict[str, float] = {}

    def __call__(self, text: str) -> None:
        """Say it, unless it was said within INTERVAL, or too much else was."""
        now = self._clock()
        if now < self._said.get(text, now):
            return
        if len(self._said) >= MAX_REMEMBERED:
            self._said = {known: until for known, until in self._said.items() if now < until}
            if len(self._said) >= MAX_REMEMBERED:
                return
        self._said[text] = now + INTERVAL
        self._log.warning("%s", text)
