# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-client run again and again on a host, as cron, a timer or a loop of the shell does. Knows nothing of figures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Event, Thread
from typing import Self

from lab.world import Host

NOT_STARTED = (126, 127)
"""What nsenter(1) ends with if it cannot execute a program."""


class TimedClient:
    """A context manager: the client runs every `period` seconds, for the first time after `phase` seconds.

    A run that takes longer than the period delays those after it; two never run at once. How a run ends means nothing
    to the next one; what it says is in the host's log.
    """

    def __init__(self, host: Host, command: Sequence[str], period: float, phase: float) -> None:
        self._host, self._command = host, command
        self._period, self._phase = period, phase
        self._stopped = Event()
        self._startable = True
        self._thread = Thread(target=self._run, name=f"{host.name}'s client")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Returns when the last run has ended. Raises AssertionError if the client could not be started."""
        self._stopped.set()
        self._thread.join()
        if not self._startable:
            raise AssertionError(f"{self._command[0]} cannot be started on {self._host.name}")

    def _run(self) -> None:
        due = time.monotonic() + self._phase
        while not self._stopped.wait(due - time.monotonic()):
            ended = self._host.run(self._command, check=False)
            if ended.status in NOT_STARTED:
                self._startable = False
            with self._host.log("wgsd-client").open("a") as log:
                log.write(ended.stderr)
            due = max(due + self._period, time.monotonic())
