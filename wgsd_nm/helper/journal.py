# SPDX-License-Identifier: GPL-2.0-or-later
"""How much the helper writes to the journal: its callers provoke the lines, and none of them may fill a disk.

It knows nothing of what the lines say.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

REPEATED_AFTER: Final = 600.0
"""Seconds for which a warning is not repeated."""
REMEMBERED: Final = 64
"""Warnings that are remembered for that."""
WARNINGS_AN_HOUR: Final = 100
NOTES_AN_HOUR: Final = 300
"""Lines about what was done, which take an authorised caller. So many may also come at once."""


class Ration(logging.Filter):
    """Lets so many lines an hour through, of warnings and of other lines apart; critical ones always.

    The first line after some were left out says how many. `clock` gives seconds and never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: OrderedDict[str, float] = OrderedDict()
        self._warnings = _Supply(WARNINGS_AN_HOUR, clock())
        self._notes = _Supply(NOTES_AN_HOUR, clock())

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.CRITICAL:
            return True
        now = self._clock()
        is_warning = record.levelno >= logging.WARNING
        if is_warning and self._was_said(record.getMessage(), now):
            return False
        left_out = (self._warnings if is_warning else self._notes).take(now)
        if left_out:
            record.msg = f"{record.getMessage()} (before this, {left_out} lines were too many and left out)"
            record.args = None
        return left_out is not None

    def _was_said(self, text: str, now: float) -> bool:
        since = self._said.get(text)
        if since is not None and now - since < REPEATED_AFTER:
            return True
        self._said[text] = now
        self._said.move_to_end(text)
        if len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        return False


class _Supply:
    """What is left of an hour's lines: it comes back evenly."""

    def __init__(self, an_hour: int, now: float) -> None:
        self._most = self._rest = float(an_hour)
        self._now = now
        self._left_out = 0

    def take(self, now: float) -> int | None:
        """None if no line is left, else how many lines have gone without since the last one."""
        self._rest = min(self._most, self._rest + (now - self._now) * self._most / 3600)
        self._now = now
        if self._rest < 1:
            self._left_out += 1
            return None
        self._rest -= 1
        left_out, self._left_out = self._left_out, 0
        return left_out


def begin() -> None:
    """Lines go to standard error, which systemd hands to the journal."""
    handler = logging.StreamHandler()
    handler.addFilter(Ration())
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", handlers=[handler])
