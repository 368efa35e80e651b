# SPDX-License-Identifier: GPL-2.0-or-later
"""The policy: what is tried, in which order, and what may be overwritten."""

from __future__ import annotations

from math import inf

import pytest

from tests.unit.core_story import BOB, CAFE, HOME, OFFICE, advertised, kernel_peer
from tests.unit.test_core_ground import ONLY_6, ground
from wgsd_nm.core.evidence import Evidence
from wgsd_nm.core.model import Endpoint
from wgsd_nm.core.reason import Reason
from wgsd_nm.core.reconcile import Decision, candidates, decide
from wgsd_nm.core.schedule import REST
from wgsd_nm.core.watch import PeerWatch, Record, Trial

NOW = 1000.0
BAD = Endpoint.parse("10.0.0.2:1")
PRIVATE = Endpoint.parse("192.168.1.20:51820")


def records(*told: tuple[Endpoint, ...]) -> tuple[Record, ...]:
    return tuple(Record(f"registry {n}", advertised(BOB, *endpoints)) for n, endpoints in enumerate(told))


def test_candidates_are_what_can_work_in_the_registries_order() -> None:
    peer = PeerWatch(BOB, records=records((BAD, OFFICE, HOME)))
    assert candidates(peer, ground()) == ([OFFICE, HOME], Reason.INSIDE_TUNNEL)
    assert candidates(PeerWatch(BOB), ground()) == ([], None)


def test_after_the_registries_come_what_worked_here_and_what_was_in_use() -> None:
    peer = PeerWatch(BOB, records=records((HOME,), (OFFICE, HOME)), recalled=CAFE, former=PRIVATE)
    assert candidates(peer, ground())[0] == [HOME, OFFICE, CAFE, PRIVATE]
    assert candidates(peer._replace(recalled=BAD, former=HOME), ground())[0] == [HOME, OFFICE]


def test_a_private_address_comes_last() -> None:
    peer = PeerWatch(BOB, records=records((PRIVATE, HOME)), recalled=CAFE)
    assert candidates(peer, ground())[0] == [HOME, CAFE, PRIVATE]


def watched(
    current: Endpoint | None,
    *record: Endpoint,
    alive: bool = False,
    session: bool = False,
    keepalive: int = 25,
    **more: object,
) -> PeerWatch:
    """A peer with what a test says of it; `record` is what the registry says."""
    peer = PeerWatch(
        BOB,
        kernel_peer(BOB, "10.0.0.2/32", current, keepalive),
        Evidence(handshake_at=NOW - 10 if session else -inf, alive_since=NOW - 5 if alive else None),
        records=records(record) if record else (),
    )
    return peer._replace(**more)  # type: ignore[arg-type]  # names are checked at run time


NOTHING, POKE = Decision(), Decision(poke=True)


def waits(endpoint: Endpoint, seconds: float, *tried: Endpoint, poke: bool = False) -> Decision:
    return Decision(trial=Trial(endpoint, NOW + seconds), tried=tried, poke=poke)


@pytest.mark.parametrize(
    ("peer", "decision"),
    [
        # Nothing to try, nothing to do.
        (watched(None), NOTHING),
        (watched(None, poke_due=True), NOTHING),
        (watched(CAFE, BAD), NOTHING),
        (watched(CAFE, BAD, poke_due=True), POKE),
        (watched(HOME, HOME), NOTHING),
        (watched(HOME, HOME, poke_due=True), POKE),
        (watched(HOME, HOME, poke_due=True, keepalive=0), NOTHING),
        # None is in use.
        (watched(None, HOME), Decision(HOME, Reason.FOUND)),
        (watched(None, HOME, keepalive=0), Decision(HOME, Reason.FOUND)),
        (watched(None, recalled=CAFE), Decision(CAFE, Reason.CACHED)),
        (watched(None, HOME, recalled=CAFE), Decision(HOME, Reason.FOUND)),
        # The registry's endpoint is in use, and its record changes.
        (watched(HOME, OFFICE, followed=HOME), Decision(OFFICE, Reason.MOVED)),
        (watched(HOME, OFFICE, followed=HOME, alive=True, session=True), Decision(OFFICE, Reason.MOVED)),
        (watched(HOME, OFFICE, followed=HOME, keepalive=0), Decision(OFFICE, Reason.MOVED)),
        (watched(CAFE, OFFICE, followed=HOME, alive=True, session=True), NOTHING),
        # Another one is in use, and works, or nobody cares.
        (watched(CAFE, HOME, alive=True, session=True), NOTHING),
        (watched(CAFE, HOME, alive=True, session=True, poke_due=True), POKE),
        (watched(CAFE, HOME, trial=Trial(CAFE, NOW), tried=(OFFICE,), alive=True, session=True), NOTHING),
        (watched(CAFE, HOME, keepalive=0), NOTHING),
        # Another one is in use and proves nothing: it gets its trial, then the registry's word counts.
        (watched(CAFE, HOME, session=True), waits(CAFE, 2, poke=True)),
        (watched(CAFE, HOME), waits(CAFE, 5.5, poke=True)),
        (watched(CAFE, HOME, alive=True), waits(CAFE, 5.5, poke=True)),
        (watched(CAFE, HOME, trial=Trial(CAFE, NOW + 1)), waits(CAFE, 1)),
        (watched(CAFE, HOME, trial=Trial(CAFE, NOW + 1), poke_due=True), waits(CAFE, 1, poke=True)),
        (watched(CAFE, HOME, trial=Trial(CAFE, NOW)), Decision(HOME, Reason.SILENT, tried=(CAFE,))),
        (watched(CAFE, HOME, trial=Trial(OFFICE, NOW)), waits(CAFE, 5.5, poke=True)),
        # What we set, or a registry reported, gets longer while a session lives; then the next one has its turn.
        (watched(HOME, HOME, OFFICE, session=True), waits(HOME, 15, poke=True)),
        (watched(HOME, HOME, OFFICE), waits(HOME, 5.5, poke=True)),
        (watched(HOME, HOME, OFFICE, trial=Trial(HOME, NOW)), Decision(OFFICE, Reason.SILENT, tried=(HOME,))),
        (watched(CAFE, HOME, session=True, written=CAFE), waits(CAFE, 15, poke=True)),
        (watched(HOME, HOME, former=CAFE, trial=Trial(HOME, NOW)), Decision(CAFE, Reason.ROLLED_BACK, tried=(HOME,))),
        (watched(HOME, HOME, recalled=CAFE, trial=Trial(HOME, NOW)), Decision(CAFE, Reason.CACHED, tried=(HOME,))),
        # All were tried in vain: the registry's best stays, and all begins anew after a rest.
        (
            watched(CAFE, HOME, former=CAFE, tried=(HOME,), trial=Trial(CAFE, NOW)),
            Decision(HOME, Reason.SILENT, tried=(HOME, CAFE)),
        ),
        (watched(HOME, HOME, former=CAFE, tried=(CAFE, HOME)), waits(HOME, REST, CAFE, HOME)),
        (
            watched(HOME, HOME, former=CAFE, tried=(CAFE, HOME), trial=Trial(HOME, NOW)),
            Decision(CAFE, Reason.ROLLED_BACK, tried=(HOME,)),
        ),
        # A record that comes when the one in use has had its trial is tried at once.
        (watched(CAFE, HOME, tried=(CAFE,)), Decision(HOME, Reason.SILENT, tried=(CAFE,))),
        # Somebody else insists.
        (watched(CAFE, HOME, stood_down=True), Decision(stood_down=True)),
        (watched(CAFE, HOME, stood_down=True, poke_due=True), Decision(poke=True, stood_down=True)),
        (
            watched(CAFE, HOME, trial=Trial(CAFE, NOW), usurped_at=NOW - 5, overruled_at=NOW - 64),
            Decision(stood_down=True),
        ),
        (
            watched(CAFE, HOME, trial=Trial(CAFE, NOW), usurped_at=NOW - 5, overruled_at=NOW - 65),
            Decision(HOME, Reason.SILENT, tried=(CAFE,)),
        ),
        (watched(CAFE, HOME, trial=Trial(CAFE, NOW + 1), usurped_at=NOW - 5, overruled_at=NOW - 9), waits(CAFE, 1)),
        (
            watched(CAFE, HOME, trial=Trial(CAFE, NOW), overruled_at=NOW - 9),
            Decision(HOME, Reason.SILENT, tried=(CAFE,)),
        ),
    ],
)
def test_what_may_be_overwritten(peer: PeerWatch, decision: Decision) -> None:
    assert decide(peer, ground(), NOW, wanted=peer.wanted(NOW)) == decision


def test_what_cannot_be_reached_at_all_gets_no_trial() -> None:
    six = Endpoint.parse("[2001:db8:2::1]:51820")
    decision = decide(watched(HOME, HOME, six), ground(ONLY_6), NOW, wanted=True)
    assert decision == Decision(six, Reason.SILENT, tried=(HOME,))


def test_what_a_session_proves_ends_with_it() -> None:
    peer = watched(CAFE, HOME)._replace(evidence=Evidence(alive_since=NOW - 500, handshake_at=NOW - 181))
    assert decide(peer, ground(), NOW, wanted=peer.wanted(NOW)) == waits(CAFE, 5.5, poke=True)
