# SPDX-License-Identifier: GPL-2.0-or-later
"""ping(8) going on in the background, and when it was answered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Self

from lab.world.host import Host

PINGS = 5
"""A second."""


class Pinging:
    """Pings of one address by one host; a context manager that stops them."""

    def __init__(self, host: Host, address: str, rate: float = PINGS) -> None:
        """Start them, so many a second."""
        self._host, self._name = host, f"ping-{address}"
        host.spawn(["ping", "-n", "-D", "-O", "-i", f"{1 / rate:g}", address], name=self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def first_answer_after(self, moment: float) -> float | None:
        """When the first answer came after a moment, both in seconds since the epoch; None if none has come."""
        return next((at for at in self._answers() if at > moment), None)

    def longest_silence(self, begin: float, end: float) -> float:
        """The most seconds without an answer between two moments, both in seconds since the epoch."""
        moments = [begin, *(at for at in self._answers() if begin < at < end), end]
        return max(later - earlier for earlier, later in pairwise(moments))

    def _answers(self) -> Iterator[float]:
        text = self._host.log(self._name).read_text(errors="replace")
        for line in re.finditer(r"^\[(\d+\.\d+)\] \d+ bytes from", text, re.MULTILINE):
            yield float(line[1])

    def stop(self) -> None:
        """Ping no more."""
        self._host.stop(self._name)
