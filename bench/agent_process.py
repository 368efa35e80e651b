# SPDX-License-Identifier: GPL-2.0-or-later
"""The real agent, which also prints the time (CLOCK_MONOTONIC, ns) and number of endpoints at each acknowledgement."""

from __future__ import annotations

import time

from wgsd_nm.agent.__main__ import main
from wgsd_nm.agent.loop import Loop
from wgsd_nm.core.events import EndpointsSet, Event

handle = Loop.handle


def timed(self: Loop, event: Event) -> None:
    now = time.monotonic_ns()
    handle(self, event)
    if isinstance(event, EndpointsSet):
        print(now, sum(change.wanted is not None for change in event.changes), flush=True)


if __name__ == "__main__":
    Loop.handle = timed  # type: ignore[method-assign]  # what is measured is the agent as it is
    main()
