# SPDX-License-Identifier: GPL-2.0-or-later
"""One event after another, and after each the question whether everything holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import islice

from lab.soak.company import Company
from lab.soak.events import Event, Events
from lab.soak.invariants import Invariants
from lab.world import Laptop, NotInTimeError, World, wait_for

MEETING = 120.0
"""Seconds for three agents that have just started to bring all together."""


class SoakFailedError(AssertionError):
    """Something does not hold. The text has the seed, and the events so far."""


def soak(world: World, laptops: Mapping[str, Laptop], seed: int, count: int, tell: Callable[[str], None]) -> None:
    """Let so many events happen; `tell` gets a line for each. Raises SoakFailedError."""
    told: list[str] = []

    def note(line: str) -> None:
        told.append(line)
        tell(line)

    note(f"seed {seed}, {count} events")
    with Company(world, laptops) as company:
        try:
            _settle(company, Event("three agents start", lambda: None, MEETING), note, 0)
            invariants = Invariants(company)
            for number, event in enumerate(islice(Events(company, seed), count), start=1):
                _settle(company, event, note, number)
                for violation in invariants.violations():
                    raise SoakFailedError(violation)
        except Exception as error:
            history = "\n".join(told)
            raise SoakFailedError(f"{error}\nSEED={seed} EVENTS={count} gives the same events:\n{history}") from error


def _settle(company: Company, event: Event, note: Callable[[str], None], number: int) -> None:
    """Let it happen, and wait until all who can hear each other steadily do. Raises NotInTimeError."""
    begin = time.time()
    event.happen()
    happened = time.time()

    def deaf() -> str:
        """Those who do not yet hear each other; "" when all do."""
        pairs = [pair for pair in company.reachable() if not company.is_steady(pair, happened)]
        return ", ".join(sorted(" and ".join(sorted(pair)) for pair in pairs))

    try:
        wait_for(lambda: not deaf(), event.limit, "all to hear each other", 0.2)
    except NotInTimeError:
        note(f"{number:4}  {event.text}: after {event.limit:g} s still deaf: {deaf()}")
        raise
    heard, pairs = company.first_heard(happened), len(company.reachable())
    note(f"{number:4}  {event.text} ({happened - begin:.1f} s); {pairs} pairs hear each other after {heard:.1f} s")
