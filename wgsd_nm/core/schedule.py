# SPDX-License-Identifier: GPL-2.0-or-later
"""When to look again. All times are seconds; it reads no clock and draws no random numbers: `chance` is from 0 to 1."""

from __future__ import annotations

from typing import Final

CHECK_EAGER: Final = 1.0
"""Between two readings of the device while a handshake that was just begun can be expected to end."""
CHECK_BUSY: Final = 5.0
"""Between two readings of the device while a wanted peer is not proven or traffic flows."""
CHECK_QUIET: Final = 15.0
"""Between two readings of the device when all is well. So long it may go unnoticed that traffic has begun, and with it
that a peer does not answer."""

REFUSED_MOST: Final = 30.0
"""Between two tries of a helper that refuses, at the most."""

SESSION: Final = 180.0
"""WireGuard's REJECT_AFTER_TIME: a session older than this carries nothing."""
INITIATION_SLOT: Final = 5.0
"""WireGuard's REKEY_TIMEOUT: the kernel starts at most one handshake with a peer in this time."""
INITIATIONS: Final = 100.0
"""For so long the kernel repeats an initiation that something of ours began (MAX_TIMER_HANDSHAKES, 18 slots)."""
SUSPICION: Final = 5.0
"""Sending for so long without hearing anything asks the registry again."""
STALE: Final = 15.0
"""Sending for so long without hearing anything is evidence against the path."""
TRIAL: Final = 15.0
"""What an endpoint that a registry reported, or that we set, gets to prove itself while a session lives."""
TRIAL_OF_ROAMED: Final = 2.0
"""The same for one learnt otherwise, before the registry's word replaces it."""
TRIAL_WITHOUT_SESSION: Final = 5.5
"""The same without a session: one of the kernel's slots for an initiation, and a round trip."""
REST: Final = 300.0
"""Seconds after which endpoints that were all tried in vain are tried again."""
CONTEST: Final = 60.0
"""Overruled twice within so many seconds we stand down."""
WANTED: Final = 180.0
"""A peer to which something was sent within this time is wanted; so is one for this long after a Refresh."""

SETTLE: Final = 0.02
"""Answers that come within this time after the first are written together with it."""
HURRY: Final = 1.0
"""Seconds after a question from which on no poke or write waits for its answer any more."""
TOGETHER: Final = 1.0
"""Lookups that are due within this time after one that is due now are made with it."""
BURST: Final = 0.25
"""Events within this time after the start of a pass are served by one further pass."""
REFRESH: Final = 20.0
"""A caller of Refresh is answered within this time."""

TTL_LEAST: Final = 5.0
TTL_MOST: Final = 300.0
NEGATIVE_LEAST: Final = 1.0
NEGATIVE_MOST: Final = 60.0
BACKOFF_MOST: Final = 60.0
FOLLOWED: Final = 300.0
"""Between two lookups of a peer whose changes are pushed."""
PATIENCE: Final = 3600.0
"""After so long without success a lookup is tried every TTL_MOST seconds."""
JITTER: Final = 0.25


def jittered(delay: float, chance: float) -> float:
    """The delay, prolonged by up to a quarter."""
    return delay * (1 + JITTER * chance)


def backoff(failures: int) -> float:
    """After the first, second, third … failure: 1, 2, 4 … 60 s."""
    return min(2.0 ** min(failures - 1, 6), BACKOFF_MOST) if failures > 0 else 0.0


def after_answer(ttl: int, rounds: int, trying_for: float) -> float:
    """When a peer that is still not connected is looked up again, after `rounds` answers that did not help."""
    if trying_for >= PATIENCE:
        return TTL_MOST
    return min(max(float(ttl), TTL_LEAST, backoff(rounds)), TTL_MOST)


def after_absence(negative_ttl: int, trying_for: float) -> float:
    """When a peer that the registry does not know (RFC 2308, NXDOMAIN or NODATA) is looked up again."""
    if trying_for >= PATIENCE:
        return TTL_MOST
    return min(max(float(negative_ttl), NEGATIVE_LEAST), NEGATIVE_MOST)


def after_failure(failures: int, trying_for: float) -> float:
    """When a lookup without a usable answer is tried again."""
    return TTL_MOST if trying_for >= PATIENCE else backoff(failures)
