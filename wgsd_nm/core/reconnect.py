# SPDX-License-Identifier: GPL-2.0-or-later
"""When to connect to a registry's push service again (RFC 8490 section 6.6.3). It reads no clock.

All times are seconds, `chance` is from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Final, Self

from wgsd_nm.core.schedule import jittered
from wgsd_nm.core.subscriber import End, Why

NO_PUSH: Final = 3600.0
"""For so long a server that has no push, or speaks it wrongly, is not tried (RFC 8490 section 6.6.3.3)."""
SPREAD: Final = 0.5
"""Within so many seconds those return whose sessions a registry has lost without a word."""
MOST: Final = 300.0
"""Between two tries."""
SETTLED: Final = 30.0
"""A session that lasted so long was no failure."""
DROPS: Final = 2
"""So many connections in a row that end before a session is established show a server without push."""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """What is known of one registry. `no_push`: it was found to have none.

    Not before `earliest`, which a change of the network takes back, and not before `ordered`, which it does not.
    """

    no_push: bool = False
    earliest: float = -inf
    ordered: float = -inf
    failures: int = 0
    drops: int = 0
    silent: bool = False
    """The last try failed because it did not even answer a question."""

    @property
    def due(self) -> float:
        """When the next connection may be made."""
        return max(self.earliest, self.ordered)

    def established(self) -> Self:
        """A session is there: it has push."""
        return replace(self, no_push=False, drops=0, silent=False)

    def absent(self, now: float, chance: float) -> Self:
        """The registry says that it has no push: another one may be asked in another network."""
        return replace(self, no_push=True, earliest=now + jittered(NO_PUSH, chance), failures=0, drops=0, silent=False)

    def unreachable(self, now: float, chance: float, *, silent: bool = False) -> Self:
        """No connection could be made; it was silent when it was asked for its port, or not."""
        return replace(self._failed(now, chance), silent=silent)

    def answers(self, now: float, chance: float) -> Self:
        """It has answered a question by UDP: one that was silent is there again."""
        if not self.silent:
            return self
        return replace(self, silent=False, earliest=min(self.earliest, now + SPREAD * chance))

    def lost(self, lasted: float | None, now: float, chance: float) -> Self:
        """The connection ended without a word, or is dead; its session had lasted so long, None: there was none yet."""
        if lasted is None:
            if self.drops + 1 >= DROPS:
                return replace(self, no_push=True, earliest=now + NO_PUSH, drops=0)
            return replace(self, drops=self.drops + 1, earliest=now + SPREAD * chance)
        if lasted >= SETTLED:
            return replace(self, failures=0, earliest=now + SPREAD * chance)
        return self._failed(now, chance)

    def ended(self, end: End, lasted: float | None, now: float, chance: float) -> Self:
        """The session wanted the connection closed."""
        match end.why:
            case Why.NO_PUSH:
                return self._without(now + max(end.delay, NO_PUSH))
            case Why.DISMISSED:  # a server spreads its clients itself (RFC 8490 section 6.6.3), but not in a circle
                settled = lasted is not None and lasted >= SETTLED
                state = replace(self, failures=0, earliest=-inf) if settled else self._failed(now, chance)
                return replace(state, ordered=now + end.delay)
            case Why.IDLE:
                return replace(self, failures=0, ordered=now + end.delay)
        return self.lost(lasted, now, chance)

    def broken(self, now: float) -> Self:
        """The server broke the protocol, and the connection was aborted (RFC 8490 section 6.6.3.1)."""
        return self._without(now + NO_PUSH)

    def network_changed(self) -> Self:
        """The network is another one: what failed before may work now."""
        return replace(self, earliest=-inf, failures=0, drops=0)

    def _without(self, until: float) -> Self:
        return replace(self, no_push=True, ordered=until, failures=0, drops=0, silent=False)

    def _failed(self, now: float, chance: float) -> Self:
        """After the first, second, third … failure: 1, 2, 4 … 300 s, and up to a quarter more."""
        delay = min(2.0 ** min(self.failures, 9), MOST)
        return replace(self, failures=self.failures + 1, earliest=now + jittered(delay, chance))
