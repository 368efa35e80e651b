# SPDX-License-Identifier: GPL-2.0-or-later
"""The policy of what may be overwritten, and by what: docs/policy.md in code.

It knows one peer, the ground that we stand on, and the time.
"""

from __future__ import annotations

from dataclasses import dataclass

from wgsd_nm.core.ground import Ground
from wgsd_nm.core.model import Endpoint
from wgsd_nm.core.reason import Reason
from wgsd_nm.core.schedule import CONTEST, REST, SESSION, TRIAL, TRIAL_OF_ROAMED, TRIAL_WITHOUT_SESSION
from wgsd_nm.core.watch import PeerWatch, Trial


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do for one peer now: set `endpoint`, or only poke, or wait for a trial to end, or nothing.

    `tried`, `trial` and `stood_down` are the peer's from now on.
    """

    endpoint: Endpoint | None = None
    reason: Reason | None = None
    poke: bool = False
    trial: Trial | None = None
    tried: tuple[Endpoint, ...] = ()
    stood_down: bool = False


def candidates(peer: PeerWatch, ground: Ground) -> tuple[list[Endpoint], Reason | None]:
    """What can be tried, best first; and why the first of the registries' other endpoints cannot.

    That is what the registries say, what last worked on this network, what was in use before; private addresses that
    are probably somebody else's come last.
    """
    usable: list[Endpoint] = []
    refused: Reason | None = None
    reported = peer.reported
    for endpoint in reported:
        refusal = ground.refusal(endpoint)
        if refusal is None:
            usable.append(endpoint)
        else:
            refused = refused or refusal
    for other in (peer.recalled, peer.former):
        if other is not None and other not in usable and ground.refusal(other) is None:
            usable.append(other)
    if len(usable) > 1:
        usable.sort(key=lambda endpoint: ground.is_far_and_private(endpoint, reported))
    return usable, refused


def decide(peer: PeerWatch, ground: Ground, now: float, *, wanted: bool) -> Decision:
    """The policy for a peer whose endpoint is ours to set; `wanted` is whether anybody cares for it."""
    usable, _ = candidates(peer, ground)
    current, tried = peer.endpoint, peer.tried
    poke = peer.poke_due and wanted and current is not None
    if current is None and usable:
        return Decision(usable[0], Reason.FOUND if usable[0] in peer.reported else Reason.CACHED)
    if current is None or not usable or peer.stood_down:
        return Decision(poke=poke, tried=tried, stood_down=peer.stood_down)
    if current == peer.followed and current not in usable[:1]:
        return Decision(usable[0], Reason.MOVED)
    if peer.connected(now) or not wanted or usable == [current]:
        return Decision(poke=poke)
    trial = peer.trial if peer.trial is not None and peer.trial.endpoint == current else None
    resting = current in tried and all(endpoint in tried for endpoint in usable)
    if trial is not None and now < trial.until and (resting or current not in tried):
        return Decision(poke=poke, trial=trial, tried=tried)
    if trial is None and current not in tried and ground.refusal(current) is None:
        return Decision(poke=True, trial=Trial(current, now + patience(peer, now)), tried=tried)
    if resting and trial is not None:
        tried = ()  # all begins anew
    if current not in tried:
        tried = (*(each for each in tried if each in usable), current)
    chosen = next((endpoint for endpoint in usable if endpoint not in tried), usable[0])
    if chosen != current and is_contested(peer):
        return Decision(poke=poke, stood_down=True)
    if chosen != current:
        return Decision(chosen, _reason(peer, chosen), tried=tried)
    return Decision(poke=poke, trial=Trial(current, now + REST) if len(usable) > 1 else None, tried=tried)


def patience(peer: PeerWatch, now: float) -> float:
    """How long the path in use gets to prove itself.

    Without a session the kernel has to make one. With one, a peer that is there answers a probe at once; but its NAT
    may let us through only when it has learnt of us. One without an address of its own cannot be probed: it has until
    the session ends.
    """
    if not peer.evidence.has_session(now):
        return TRIAL_WITHOUT_SESSION
    if peer.kernel is not None and not peer.kernel.hosts:
        return peer.evidence.handshake_at + SESSION - now + TRIAL_WITHOUT_SESSION
    return TRIAL if peer.endpoint == peer.written or peer.endpoint in peer.reported else TRIAL_OF_ROAMED


def is_contested(peer: PeerWatch) -> bool:
    """Whether something else insists on another endpoint than ours, for the second time."""
    return peer.usurped_at is not None and peer.usurped_at - peer.overruled_at < CONTEST


def _reason(peer: PeerWatch, chosen: Endpoint) -> Reason:
    if chosen in peer.reported:
        return Reason.SILENT
    return Reason.ROLLED_BACK if chosen == peer.former else Reason.CACHED
