# SPDX-License-Identifier: GPL-2.0-or-later
"""When a peer is looked up again by time, and what an answer changes. It knows nothing of devices and writes."""

from __future__ import annotations

from math import inf

from wgsd_nm.core import schedule
from wgsd_nm.core.errors import LookupFailed, NegativeAnswer
from wgsd_nm.core.ground import Ground
from wgsd_nm.core.model import Advertisement
from wgsd_nm.core.watch import PeerWatch, Record, TunnelWatch


def scheduled(tunnel: TunnelWatch, peer: PeerWatch, now: float, chance: float) -> PeerWatch:
    """Lookups by time: for wanted peers that are not connected, or that we send to without hearing them.

    Without an endpoint the kernel refuses to send at all, so that nobody can be seen to want the peer: such are
    looked up too, rarely. `chance` is from 0 to 1.
    """
    if not tunnel.managed(peer.public_key) or not tunnel.discovery.servers or peer.public_key in tunnel.pending:
        return peer if peer.next_lookup is None else peer._replace(next_lookup=None)
    suspect = peer.evidence.silence(now) >= schedule.SUSPICION
    wanted = peer.wanted(now)
    nobody_asks = not wanted and (peer.kernel is None or peer.endpoint is not None)
    if nobody_asks or (peer.connected(now) and not suspect):
        return at_rest(peer)
    trying_since = now if peer.trying_since is None else peer.trying_since
    if peer.answered_at == -inf or (suspect and peer.trying_since is None):
        return peer._replace(trying_since=trying_since, next_lookup=now)
    interval = delay(tunnel, peer, now - trying_since) if wanted else schedule.TTL_MOST
    since = max(peer.answered_at, tunnel.session_lost_at)
    at = max(now, since + schedule.jittered(interval, _spread(peer, chance)))
    if peer.next_lookup is not None and peer.next_lookup <= at:
        return peer
    return peer._replace(trying_since=trying_since, next_lookup=at)


def resolution_scheduled(tunnel: TunnelWatch, peer: PeerWatch, ground: Ground, now: float, chance: float) -> PeerWatch:
    """When the host of a registry's own peer is resolved again: when its path is dead; at once if it cannot live."""
    if peer.public_key in tunnel.pending:
        return peer if peer.next_lookup is None else peer._replace(next_lookup=None)
    trying_since = now if peer.trying_since is None else peer.trying_since
    impossible = peer.endpoint is None or ground.refusal(peer.endpoint) is not None
    patience = schedule.TRIAL_OF_ROAMED if peer.evidence.has_session(now) else schedule.TRIAL_WITHOUT_SESSION
    at = now if impossible else max(now, peer.evidence.against_at + patience)
    if peer.rounds:
        at = max(at, peer.answered_at + schedule.jittered(schedule.backoff(peer.rounds), _spread(peer, chance)))
    if peer.next_lookup is not None and peer.next_lookup <= at:
        return peer
    return peer._replace(trying_since=trying_since, next_lookup=at)


def at_rest(peer: PeerWatch) -> PeerWatch:
    """One that needs no lookup."""
    idle = peer.next_lookup is None and peer.trying_since is None and peer.rounds == 0
    return peer if idle else peer._replace(next_lookup=None, trying_since=None, rounds=0)


def told(
    peer: PeerWatch, source: str, answer: Advertisement | LookupFailed, *, rank: int, ended_at: float | None
) -> PeerWatch:
    """After what one source said. `rank` counts those that answered before it in this round.

    The first to know an endpoint is acted on, or the one that has told of the endpoint in use and now tells another;
    what others say are the next candidates. `ended_at` is given if this was the last to answer.
    """
    if ended_at is not None:
        peer = peer._replace(answered_at=ended_at, rounds=peer.rounds + 1)
    if not isinstance(answer, Advertisement):
        return peer._replace(error=answer) if rank == 0 or peer.error is not None else peer
    before = next((record.told for record in peer.records if record.source == source), None)
    others = [record for record in peer.records if record.source != source]
    rank = 0 if peer.error is not None else min(rank, len(others))
    followed = peer.followed
    if before is not None and (peer.endpoint in before.endpoints) != (peer.endpoint in answer.endpoints):
        rank, followed = (0, peer.endpoint) if peer.endpoint in before.endpoints else (rank, None)
    records = (*others[:rank], Record(source, answer), *others[rank:])
    return peer._replace(records=records, error=None, followed=followed)


def delay(tunnel: TunnelWatch, peer: PeerWatch, trying_for: float) -> float:
    """Seconds between a lookup of a peer that is wanted and not reached, and the next one, without jitter."""
    match peer.error:
        case None | NegativeAnswer() if tunnel.follows(peer):
            return schedule.FOLLOWED
        case None:
            ttl = peer.records[0].told.ttl if peer.records else 0
            return schedule.after_answer(ttl, peer.rounds, trying_for)
        case NegativeAnswer(ttl=ttl):
            return schedule.after_absence(ttl, trying_for)
        case _:
            return schedule.after_failure(peer.rounds, trying_for)


def _spread(peer: PeerWatch, chance: float) -> float:
    """So that a thousand peers are not looked up in one moment."""
    return (chance + peer.public_key.raw[0] / 256) % 1
