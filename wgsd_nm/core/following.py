# SPDX-License-Identifier: GPL-2.0-or-later
"""What push decides: which sessions there are to be, and what follows from what they tell. It knows no messages.

A push is a registry's word like an answer, but nobody asked for it: it ends no lookup. While every registry that knows
a peer pushes its changes, lookups of that peer by time are rare.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from wgsd_nm.core import schedule
from wgsd_nm.core.errors import LookupFailed, NegativeAnswer
from wgsd_nm.core.events import Follow, Following, RecordsPushed, SessionChanged
from wgsd_nm.core.lookups import delay, scheduled, told
from wgsd_nm.core.model import Advertisement, PublicKey
from wgsd_nm.core.reason import Reason
from wgsd_nm.core.watch import Discovery, PeerWatch, TunnelWatch

_BY_RECORD = (Reason.FOUND, Reason.MOVED, Reason.SILENT)


def wanted(tunnels: Iterable[TunnelWatch], *, may_work: bool) -> Follow:
    """The sessions that there are to be: whom a pass would look up is followed."""
    return Follow(
        tuple(
            Following(
                tunnel.tunnel.interface,
                tunnel.tunnel.activation,
                tunnel.discovery.servers,
                tunnel.discovery.zone,
                tunnel.keys,
            )
            for tunnel in tunnels
            if tunnel.discovery.servers and tunnel.keys
        ),
        may_work,
    )


def kept(tunnel: TunnelWatch, discovery: Discovery) -> Mapping[str, frozenset[PublicKey]]:
    """The sessions that stay when a tunnel's registries are these from now on."""
    if not tunnel.sessions or discovery.zone != tunnel.discovery.zone:
        return {}
    same = {str(server) for server in discovery.servers if server in tunnel.discovery.servers}
    return {source: keys for source, keys in tunnel.sessions.items() if source in same}


def session_changed(tunnel: TunnelWatch, event: SessionChanged, now: float, chance: float) -> TunnelWatch:
    """Lookups by time become rare for whoever is followed now, and return for whoever is not."""
    if not _is_asked(tunnel, event.source):
        return tunnel
    before = tunnel.sessions.get(event.source, frozenset())
    sessions = {source: keys for source, keys in tunnel.sessions.items() if source != event.source}
    if event.following:
        sessions[event.source] = event.following
    lost_at = now if before - event.following else tunnel.session_lost_at
    tunnel = replace(tunnel, sessions=sessions, session_lost_at=lost_at)
    peers = dict(tunnel.peers)
    for key in (event.following ^ before) & peers.keys():
        peer = peers[key]
        if peer.next_lookup is not None and peer.next_lookup > now:
            peers[key] = scheduled(tunnel, peer._replace(next_lookup=None), now, chance)
    return replace(tunnel, peers=peers)


def pushed(tunnel: TunnelWatch, event: RecordsPushed, now: float) -> TunnelWatch:
    """After what a registry said unasked of peers that are ours to set, and of ourselves."""
    if not _is_asked(tunnel, event.source):
        return tunnel
    peers, seen = dict(tunnel.peers), tunnel.seen
    for key, answer in event.answers:
        if key == tunnel.tunnel.public_key:
            if isinstance(answer, Advertisement):
                places = dict(seen) | {event.source: answer.endpoints[0]}
                seen = tuple(places.items())
        elif key in peers and tunnel.managed(key):
            peers[key] = _told(peers[key], event.source, answer, now)
    return replace(tunnel, peers=peers, seen=seen)


def newest(
    tunnel: TunnelWatch, peer: PeerWatch, source: str, answer: Advertisement | LookupFailed
) -> Advertisement | LookupFailed:
    """An answer to a lookup; what was pushed in its place, if that came after the question.

    Datagrams overtake each other; and what was pushed is not pushed once more.
    """
    if peer.public_key not in tunnel.sessions.get(source, ()) or not isinstance(answer, Advertisement | NegativeAnswer):
        return answer
    record = next((each for each in peer.records if each.source == source), None)
    return record.told if record is not None and record.pushed_at > tunnel.asked_at else answer


def overtaken(peer: PeerWatch, reason: Reason) -> PeerWatch:
    """A peer whose endpoint was just set for that reason; it goes on at once if its record changed meanwhile."""
    if reason in _BY_RECORD and peer.endpoint not in peer.reported:
        return peer._replace(followed=peer.endpoint)
    return peer


def polling_interval(tunnel: TunnelWatch, now: float) -> float:
    """Seconds between two lookups of a peer that is not reached, the shortest now; 0 if all changes are pushed."""
    polled = tunnel.polled
    if not polled and tunnel.sessions.keys() >= {str(server) for server in tunnel.discovery.servers}:
        return 0.0
    trying = [peer for peer in polled if peer.trying_since is not None]
    if trying:
        shortest = min(delay(tunnel, peer, now - (peer.trying_since or now)) for peer in trying)
        return max(shortest, schedule.NEGATIVE_LEAST)  # nothing is waited for after a failure of long ago
    ttls = [record.told.ttl for peer in polled for record in peer.records]
    return schedule.after_answer(min(ttls, default=0), 0, 0.0)


def _is_asked(tunnel: TunnelWatch, source: str) -> bool:
    return any(str(server) == source for server in tunnel.discovery.servers)


def _told(peer: PeerWatch, source: str, answer: Advertisement | LookupFailed, now: float) -> PeerWatch:
    """As after a lookup, but the registry's place among others stays, and no other one is heard after it."""
    sources = [record.source for record in peer.records]
    if not isinstance(answer, Advertisement) and any(each != source for each in sources):
        return peer
    rank = sources.index(source) if source in sources else len(sources)
    peer = told(peer, source, answer, rank=rank, ended_at=None)
    records = (record._replace(pushed_at=now) if record.source == source else record for record in peer.records)
    return peer._replace(records=tuple(records))
