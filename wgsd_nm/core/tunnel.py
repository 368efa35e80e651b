# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of one tunnel: its passes, readings, lookups and writes. It knows nothing of other tunnels.

A *pass* answers the one question: read the device and look all peers up, both at once; set what differs and poke whom
the kernel must reach; read again to see what came of it. Events during a pass are served by one further pass.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from operator import attrgetter
from typing import Any, Final

from wgsd_nm.core import following, schedule
from wgsd_nm.core.discovery import discover
from wgsd_nm.core.errors import LookupFailed, NoAnswer, RegistryUnreachable, WgsdError
from wgsd_nm.core.events import (
    Action,
    Announce,
    EndpointsSet,
    HostResolved,
    LookUp,
    LookupsAnswered,
    PeersRead,
    Probe,
    ReadPeers,
    RecordsPushed,
    Resolve,
    SessionChanged,
    SetEndpoints,
)
from wgsd_nm.core.ground import Ground
from wgsd_nm.core.lookups import at_rest, resolution_scheduled, scheduled, told
from wgsd_nm.core.memory import Memory
from wgsd_nm.core.model import (
    Advertisement,
    ChangeResult,
    Endpoint,
    EndpointChange,
    Network,
    Peer,
    PublicKey,
)
from wgsd_nm.core.reason import Reason
from wgsd_nm.core.reconcile import decide, patience
from wgsd_nm.core.watch import PeerWatch, Trial, TunnelWatch

_FROM_SCRATCH: Final[Mapping[str, Any]] = {
    "trial": None,
    "tried": (),
    "rounds": 0,
    "trying_since": None,
    "next_lookup": None,
}
"""A peer's fields when what was tried, and for how long, does not count any more."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a tunnel's turn depends on beside the tunnel. `now` and `chance` as in `controller.advance`."""

    now: float
    chance: float
    network: Network
    place: str
    may_work: bool


def due(tunnel: TunnelWatch) -> float:
    """When the tunnel wants a turn, if nothing else happens before; inf for never."""
    times = [peer.next_lookup for peer in tunnel.peers.values() if peer.next_lookup is not None]
    if tunnel.reading_since is None:
        times.append(tunnel.next_check)
        if tunnel.settle_at is not None and not tunnel.writing:
            times.append(tunnel.settle_at)
    if tunnel.pass_queued and tunnel.pass_started is None:
        times.append(tunnel.last_pass + schedule.BURST)
    return min(times, default=inf)


class TunnelTurn:
    """One event's work on one tunnel.

    `watch` is always a whole, valid state; every method leaves it so. `actions` are to be carried out, `ended` tells
    each pass that has ended: when it had begun, and what was wrong; `memory` is what is known of networks now.
    """

    def __init__(self, watch: TunnelWatch, scene: Scene, memory: Memory) -> None:
        self.watch = watch
        self.memory = memory
        self.actions: list[Action] = []
        self.ended: list[tuple[float, WgsdError | None]] = []
        self._scene = scene
        self._now = scene.now
        self._interface = watch.tunnel.interface

    # --- passes ------------------------------------------------------------------------------------------------------

    def path_changed(self) -> None:
        """Evidence against every peer's path; all are poked in the pass that follows. What the NAT gave us is void."""
        self._update(
            seen=(),
            peers={
                key: peer._replace(
                    evidence=peer.evidence.against(self._now),
                    recalled=self._recall(key),
                    poke_due=True,
                    **_FROM_SCRATCH,
                    usurped_at=None,
                    overruled_at=-inf,
                    stood_down=False,
                )
                for key, peer in self.watch.peers.items()
            },
        )
        self.begin_anew()

    def sessions_wiped(self) -> None:
        """The machine woke up: the kernel has forgotten its keys."""
        peers = self.watch.peers.items()
        self._update(peers={key: peer._replace(evidence=peer.evidence.forget_session()) for key, peer in peers})

    def resume(self) -> None:
        """Work makes sense again: the time in between does not count, neither for a trial nor for a back-off."""
        peers = {key: peer._replace(**_FROM_SCRATCH) for key, peer in self.watch.peers.items()}
        self._update(peers=peers)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Give up a pass under way, and all lookups: whoever waits for it waits for the one that follows."""
        self._update(pass_started=None, pending={}, settle_at=None, write_after=-inf)
        self.start_pass()

    def refresh(self) -> None:
        """A person wants to know of all peers, and that what was tried in vain is tried again."""
        peers = {
            key: peer._replace(
                named_until=self._now + schedule.WANTED,
                poke_due=peer.poke_due or not peer.wanted(self._now),
                tried=(),
                trial=None,
            )
            for key, peer in self.watch.peers.items()
        }
        self._update(peers=peers)
        self.start_pass()

    def start_pass(self) -> None:
        """Now, or when the pass under way has ended; not more often than bursts of events are worth."""
        tunnel = self.watch
        if not self._scene.may_work:
            self._update(pass_queued=False)
        elif tunnel.pass_started is not None or self._now < tunnel.last_pass + schedule.BURST:
            self._update(pass_queued=True)
        else:
            self._update(pass_started=self._now, last_pass=self._now, pass_queued=False)
            self._read()
            self._look_up(tunnel.keys)

    def _end_pass_if_quiet(self) -> None:
        tunnel = self.watch
        started = tunnel.pass_started
        if started is None or tunnel.at_work or tunnel.pending:
            return
        silent = tunnel.lookup_error is not None and tunnel.answered_at < started
        error: WgsdError | None = tunnel.refusal or (tunnel.lookup_error if silent else None)
        if not tunnel.discovery.servers:
            error = error or NoAnswer(tunnel.discovery.problem)
        self._update(pass_started=None, lookup_error=tunnel.lookup_error if silent else None)
        self.ended.append((started, error))
        if tunnel.pass_queued:
            self.start_pass()

    # --- reading -----------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """A reading asked for while an earlier one is under way begins when that one has ended."""
        tunnel = self.watch
        if not self._scene.may_work:
            return
        if tunnel.reading_since is None:
            self._update(reading_since=self._now)
            self.actions.append(ReadPeers(self._interface))
        elif tunnel.reading_since < self._now:
            self._update(next_check=self._now)

    def _read_again(self) -> bool:
        """Whether a reading was asked for while the one that ended now was under way."""
        asked_at = self.watch.reading_since
        return asked_at is not None and asked_at < self.watch.next_check <= self._now

    def peers_read(self, event: PeersRead) -> None:
        tunnel = self.watch
        asked_at = tunnel.reading_since
        if asked_at is None:
            return
        if asked_at == -inf:
            self._update(reading_since=None)
            self._read()
            return
        peers = {kernel.public_key: self._seen(kernel, asked_at, event.clock) for kernel in event.peers}
        own = tunnel.tunnel.public_key
        unknown = [key for key in peers if key not in tunnel.peers and tunnel.managed(key)]
        answers_again = tunnel.lookup_error is not None and any(
            key in peers and peers[key].evidence.alive and not tunnel.peers[key].evidence.alive
            for key in tunnel.discovery.registry_peers & tunnel.peers.keys()
        )
        again = self._read_again()
        self._update(
            peers={key: scheduled(tunnel, peer, self._now, self._scene.chance) for key, peer in peers.items()},
            pending={key: n for key, n in tunnel.pending.items() if key in peers or key == own},
            reading_since=None,
            read_error=None,
            read_failures=0,
            next_check=self._next_check(peers.values()),
        )
        if self._rediscovered(event.peers):
            return
        self._remember()
        self._schedule_resolutions()
        if unknown and self._scene.may_work:
            self._look_up(unknown)
        if again:
            self._read()
        self._probe()
        self._write(only_pokes=True)
        self._settle()
        if answers_again:
            self.start_pass()

    def _seen(self, kernel: Peer, asked_at: float, clock: int) -> PeerWatch:
        """The peer after a reading that was asked for at `asked_at`."""
        peer = self.watch.peers.get(kernel.public_key)
        if peer is None:
            peer = PeerWatch(kernel.public_key, recalled=self._recall(kernel.public_key))
        evidence = peer.evidence if peer.kernel is not None else peer.evidence.against(asked_at)
        observed = evidence.observe(kernel, asked_at, self._now, clock, peer.stirred_at)
        if peer.endpoint is not None and kernel.endpoint is None:
            observed = observed.against(self._now)
        if observed.silence(self._now) >= schedule.STALE:
            observed = observed.against(self._now)
            peer = peer._replace(trial=peer.trial and replace(peer.trial, until=self._now))
        if kernel == peer.kernel and observed is peer.evidence:
            return peer
        if kernel.endpoint is not None and kernel.endpoint == peer.ordered and not self.watch.writing:
            peer = self._set(peer, EndpointChange(peer.public_key, peer.endpoint, peer.ordered), Reason.FOUND)
            observed = observed.against(self._now)
        elif peer.endpoint is not None and kernel.endpoint not in (None, peer.endpoint):
            peer = self._roamed(peer, kernel.endpoint)
        if peer.usurped_at is not None and observed.proven_at > peer.usurped_at:
            peer = peer._replace(usurped_at=None, overruled_at=-inf, stood_down=False)
        if observed.alive and (peer.tried or peer.former):
            peer = peer._replace(tried=(), former=None, trial=None)
        return peer._replace(kernel=kernel, evidence=observed, poke_due=peer.poke_due or peer.kernel is None)

    def _roamed(self, peer: PeerWatch, endpoint: Endpoint | None) -> PeerWatch:
        """The endpoint changed without us: the peer was heard from there, or somebody else has set it."""
        self.actions.append(Announce(self._interface, peer.public_key, peer.endpoint, endpoint, Reason.ROAMED))
        return peer._replace(
            followed=None,
            written=None,
            ordered=None,
            usurped_at=self._now if peer.endpoint == peer.written else peer.usurped_at,
            tried=tuple(each for each in peer.tried if each != endpoint),
            trial=None,
        )

    def _next_check(self, peers: Collection[PeerWatch]) -> float:
        interval = schedule.CHECK_QUIET
        for peer in peers:
            if self.watch.wants(peer, self._now) and not peer.evidence.alive:
                eager = self._now - peer.evidence.against_at < schedule.INITIATION_SLOT
                interval = min(interval, schedule.CHECK_EAGER if eager else schedule.CHECK_BUSY)
            elif self._now - peer.evidence.sent_at < schedule.CHECK_QUIET or peer.evidence.sending_since is not None:
                interval = min(interval, schedule.CHECK_BUSY)
        return min(self._now + schedule.jittered(interval, self._scene.chance), self._next_verdict(peers))

    def _next_verdict(self, peers: Iterable[PeerWatch]) -> float:
        """When the first of the trials under way ends; inf without any."""
        trials = (peer.trial for peer in peers if peer.trial is not None)
        return min((trial.until for trial in trials if trial.until > self._now), default=inf)

    def _rediscovered(self, peers: tuple[Peer, ...]) -> bool:
        """Where the profile does not tell which peer leads to the registries, the kernel does: then all begins anew."""
        tunnel = self.watch
        if all(peer.allowed_ips for peer in tunnel.tunnel.peers) and tunnel.tunnel.peers:
            return False
        found = discover(tunnel.tunnel, tunnel.settings, self._scene.network.uplinks, peers)
        if found == tunnel.discovery:
            return False
        self._update(discovery=found, sessions=following.kept(tunnel, found), last_pass=-inf)
        self.begin_anew()
        return True

    def _remember(self) -> None:
        """What works on this network is kept for the day when no registry can be asked."""
        tunnel, place = self.watch, self._scene.place
        if not place:
            return
        news = {
            key: peer.endpoint
            for key, peer in tunnel.peers.items()
            if peer.endpoint not in (None, peer.recalled) and peer.connected(self._now) and tunnel.managed(key)
        }
        if news:
            self.memory = self.memory.remember(place, tunnel.tunnel.connection_uuid, news)
            recalled = {key: tunnel.peers[key]._replace(recalled=endpoint) for key, endpoint in news.items()}
            self._update(peers={**tunnel.peers, **recalled})

    def _recall(self, key: PublicKey) -> Endpoint | None:
        return self.memory.recall(self._scene.place, self.watch.tunnel.connection_uuid, key)

    def read_failed(self, error: WgsdError) -> None:
        tunnel = self.watch
        void = tunnel.reading_since == -inf
        again = void or self._read_again()
        failures = tunnel.read_failures + 1
        self._update(
            read_error=None if void else error,
            read_failures=failures,
            next_check=self._now if again else self._now + self._pause(failures),
            reading_since=None,
        )
        if again:
            self._read()
        self._end_pass_if_quiet()

    def _probe(self) -> None:
        """Wanted peers that could answer at once, and have not proven their path, get something to answer."""
        if not self._scene.may_work:
            return
        probed = {
            key: peer.kernel.hosts
            for key, peer in self.watch.peers.items()
            if peer.kernel is not None
            and peer.kernel.hosts
            and peer.endpoint is not None
            and not peer.evidence.alive
            and peer.evidence.has_session(self._now)
            and self.watch.wants(peer, self._now)
        }
        if probed:
            stirred = {key: self.watch.peers[key]._replace(stirred_at=self._now) for key in probed}
            self._update(peers={**self.watch.peers, **stirred})
            self.actions.append(Probe(self._interface, tuple(host for hosts in probed.values() for host in hosts)))

    # --- asking ------------------------------------------------------------------------------------------------------

    def _look_up(self, keys: Iterable[PublicKey]) -> None:
        tunnel = self.watch
        discovery = tunnel.discovery
        asked = tuple(sorted((key for key in keys if key not in tunnel.pending), key=attrgetter("raw")))
        if not asked:
            return
        peers = dict(tunnel.peers)
        for key in asked:
            if key not in peers and key != tunnel.tunnel.public_key:
                peers[key] = PeerWatch(key, recalled=self._recall(key))
            elif key in peers and peers[key].next_lookup is not None:
                peers[key] = peers[key]._replace(next_lookup=None)
        if not discovery.servers:
            self._update(peers=peers)
            return
        self._update(
            peers=peers,
            pending={**tunnel.pending, **dict.fromkeys(asked, len(discovery.servers))},
            asked_at=tunnel.asked_at if tunnel.pending else self._now,
            settle_at=self._now + schedule.HURRY if tunnel.settle_at is None else tunnel.settle_at,
        )
        self.actions.append(LookUp(self._interface, discovery.servers, discovery.zone, asked))

    def lookups_answered(self, event: LookupsAnswered) -> None:
        tunnel = self.watch
        peers, pending = dict(tunnel.peers), dict(tunnel.pending)
        answered_at, lookup_error, seen = tunnel.answered_at, tunnel.lookup_error, tunnel.seen
        ended: list[PublicKey] = []
        for key, answer in event.answers:
            if key not in pending:
                continue
            rank = len(tunnel.discovery.servers) - pending[key]
            pending[key] -= 1
            last = pending[key] == 0
            if not isinstance(answer, NoAnswer | RegistryUnreachable):
                answered_at = self._now
            elif answered_at < tunnel.asked_at:
                lookup_error = answer
            if key in peers:
                ended_at = self._now if last else None
                answer = following.newest(tunnel, peers[key], event.source, answer)
                peers[key] = told(peers[key], event.source, answer, rank=rank, ended_at=ended_at)
            elif isinstance(answer, Advertisement):
                seen = (*(each for each in seen if each[0] != event.source), (event.source, answer.endpoints[0]))
            if last:
                del pending[key]
                ended.append(key)
        if answered_at == self._now:
            lookup_error = None
        tunnel = replace(tunnel, pending=pending)
        for key in ended:
            if key in peers:
                peers[key] = scheduled(tunnel, peers[key], self._now, self._scene.chance)
        self._update(
            peers=peers,
            pending=pending,
            settle_at=min(tunnel.settle_at or inf, self._now + schedule.SETTLE) if pending else tunnel.settle_at,
            answered_at=answered_at,
            lookup_error=lookup_error,
            seen=seen,
        )
        self._settle()

    def records_pushed(self, event: RecordsPushed) -> None:
        """What is new is acted on at once: a lookup under way is neither ended by it nor waited for."""
        self.watch = following.pushed(self.watch, event, self._now)
        if not self.watch.at_work:
            self._write()
        if self._scene.may_work:
            self._look_up(key for key in event.ask if key in self.watch.keys)

    def session_changed(self, event: SessionChanged) -> None:
        self.watch = following.session_changed(self.watch, event, self._now, self._scene.chance)

    def _schedule_resolutions(self) -> None:
        """For the registries' own peers whose profile names a host."""
        tunnel = self.watch
        for key in tunnel.discovery.hosts:
            peer = self.watch.peers.get(key)
            if peer is None:
                continue
            if peer.connected(self._now):
                scheduled_peer = at_rest(peer)
            else:
                scheduled_peer = resolution_scheduled(tunnel, peer, self._ground, self._now, self._scene.chance)
            if scheduled_peer is not peer:
                self._update(peers={**self.watch.peers, key: scheduled_peer})

    def _resolve(self, key: PublicKey) -> None:
        tunnel = self.watch
        host, port = tunnel.discovery.hosts[key]
        peer = tunnel.peers[key]._replace(next_lookup=None)
        self._update(peers={**tunnel.peers, key: peer}, pending={**tunnel.pending, key: 1})
        self.actions.append(Resolve(self._interface, key, host, port, self._scene.network.uplinks))

    def host_resolved(self, event: HostResolved) -> None:
        """The answer is a record like a registry's: the host name is its source."""
        tunnel, key = self.watch, event.public_key
        if key not in tunnel.pending or key not in tunnel.discovery.hosts or key not in tunnel.peers:
            return
        answer = event.answer if isinstance(event.answer, LookupFailed) else Advertisement(key, event.answer, 0)
        peer = told(tunnel.peers[key], event.host, answer, rank=0, ended_at=self._now)
        if peer.endpoint is not None:
            peer = peer._replace(trial=Trial(peer.endpoint, self._now))  # which has had its time already
        pending = {other: n for other, n in tunnel.pending.items() if other != key}
        self._update(peers={**tunnel.peers, key: peer}, pending=pending)
        self._schedule_resolutions()
        self._write()
        self._end_pass_if_quiet()

    # --- acting ------------------------------------------------------------------------------------------------------

    @property
    def _hurried(self) -> bool:
        """Whether answers that are still to come have been waited for long enough."""
        return self._now >= self.watch.asked_at + schedule.HURRY

    def _settle(self) -> None:
        """Write when all answers are there, or those that came first have waited long enough for the others.

        What was pushed of an endpoint in use waits for no answer.
        """
        tunnel = self.watch
        if tunnel.at_work or not self._scene.may_work:
            return
        if tunnel.pending and tunnel.settle_at is not None and self._now < tunnel.settle_at:
            soon = tunnel.settle_at <= self._now + schedule.SETTLE
            if not soon and any(peer.followed is not None for peer in tunnel.peers.values()):
                self._write()
            return
        more = bool(tunnel.pending) and not self._hurried
        self._update(settle_at=tunnel.asked_at + schedule.HURRY if more else None)
        self._write()
        self._end_pass_if_quiet()

    def _write(self, *, only_pokes: bool = False) -> None:
        """Order every change that the policy wants; the registry's own peer comes first.

        `only_pokes` are those that need no lookup: of the registry's peer, of peers that are not ours to set, and of
        those with a live session, to whom a poke costs one empty packet and tells our new address.
        """
        tunnel = self.watch
        if tunnel.writing or self._now < tunnel.write_after or not self._scene.may_work:
            return
        peers = dict(tunnel.peers)
        changes: list[EndpointChange] = []
        reasons: dict[PublicKey, Reason] = {}
        for key, peer in tunnel.peers.items():
            ours = tunnel.managed(key) or (key in tunnel.discovery.hosts and bool(peer.records))
            if peer.kernel is None:
                continue
            if not ours or only_pokes:
                free = not ours or peer.evidence.has_session(self._now)
                if peer.poke_due and tunnel.wants(peer, self._now) and free and peer.endpoint is not None:
                    changes.append(EndpointChange(key, peer.endpoint, None))
                    peers[key] = peer._replace(poke_due=False, stirred_at=self._now)
                continue
            if self._awaits(peer) and not self._hurried:
                continue
            decision = decide(peer, self._ground, self._now, wanted=tunnel.wants(peer, self._now))
            acts = decision.endpoint is not None or decision.poke
            if acts:
                changes.append(EndpointChange(key, peer.endpoint, decision.endpoint))
                if decision.endpoint is not None and decision.reason is not None:
                    is_host = key in tunnel.discovery.registry_peers
                    reasons[key] = Reason.RESOLVED if is_host else decision.reason
            then = (decision.trial, decision.tried, decision.stood_down)
            if acts or peer.poke_due or (peer.trial, peer.tried, peer.stood_down) != then:
                trial, tried, stood_down = then
                peers[key] = peer._replace(
                    ordered=decision.endpoint if acts else peer.ordered,
                    stirred_at=self._now if acts else peer.stirred_at,
                    trial=trial,
                    tried=tried,
                    stood_down=stood_down,
                    poke_due=False,
                )
        self._update(peers=peers, next_check=min(tunnel.next_check, self._next_verdict(peers.values())))
        if not changes and not only_pokes:
            self._update(write_error=None)
        if changes:
            changes.sort(key=lambda change: change.public_key not in tunnel.discovery.registry_peers)
            self._update(writing=True)
            self.actions.append(SetEndpoints(self._interface, tuple(changes), reasons))

    def _awaits(self, peer: PeerWatch) -> bool:
        """Whether a lookup is under way that has not told anything yet, and nothing else has."""
        left = 0 if peer.followed is not None else self.watch.pending.get(peer.public_key, 0)
        return left > 0 and (left == len(self.watch.discovery.servers) or peer.error is not None)

    @cached_property
    def _ground(self) -> Ground:
        tunnel = self.watch
        return Ground.of(self._scene.network, tunnel.tunnel, tunnel.kernel_peers, (at for _, at in tunnel.seen))

    def endpoints_set(self, event: EndpointsSet) -> None:
        peers, surprised = dict(self.watch.peers), False
        for change in event.changes:
            peer, result = peers.get(change.public_key), event.results.get(change.public_key)
            surprised = surprised or result not in (ChangeResult.CHANGED, ChangeResult.POKED)
            if peer is None or peer.kernel is None:
                continue
            if result is ChangeResult.CHANGED and change.wanted is not None:
                reason = event.reasons.get(change.public_key, Reason.FOUND)
                peer = following.overtaken(self._set(peer, change, reason), reason)
            else:
                peer = peer._replace(ordered=None, poke_due=peer.poke_due or result is ChangeResult.STALE)
            peers[change.public_key] = peer
        self._update(peers=peers, writing=False, write_error=None, write_failures=0)
        if surprised:
            self._read()  # what is in use decides, and we did not know it
        self._settle()
        if ChangeResult.CHANGED in event.results.values():
            self._read()  # proof of the new paths is what differs from this reading

    def _set(self, peer: PeerWatch, change: EndpointChange, reason: Reason) -> PeerWatch:
        """The peer after its endpoint was set. The kernel pokes one with a keepalive; another one is, if wanted."""
        assert peer.kernel is not None
        assert change.wanted is not None
        self.actions.append(Announce(self._interface, peer.public_key, change.expected, change.wanted, reason))
        wanted = self.watch.wants(peer, self._now)
        peer = peer._replace(
            kernel=replace(peer.kernel, endpoint=change.wanted),
            evidence=peer.evidence.against(self._now),
            written=change.wanted,
            ordered=None,
            former=peer.former or change.expected,
            usurped_at=None,
            overruled_at=peer.overruled_at if peer.usurped_at is None else peer.usurped_at,
            followed=None,
            poke_due=wanted and not peer.kernel.persistent_keepalive,
        )
        lasts = schedule.REST if change.wanted in peer.tried else patience(peer, self._now)
        return peer._replace(trial=Trial(change.wanted, self._now + lasts) if wanted else None)

    def set_failed(self, error: WgsdError) -> None:
        failures = self.watch.write_failures + 1
        self._update(
            peers={key: peer._replace(poke_due=True) for key, peer in self.watch.peers.items()},
            writing=False,
            write_error=error,
            write_failures=failures,
            write_after=self._now + self._pause(failures),
        )
        self._end_pass_if_quiet()

    def _pause(self, failures: int) -> float:
        return schedule.jittered(min(schedule.backoff(failures), schedule.REFUSED_MOST), self._scene.chance)

    # --- time --------------------------------------------------------------------------------------------------------

    def let_time_pass(self) -> None:
        """What is due now. To be called only when work makes sense."""
        if self.watch.pass_queued and self.watch.pass_started is None:
            self.start_pass()
        tunnel = self.watch
        if tunnel.next_check <= self._now and tunnel.reading_since is None:
            self._read()
        if any(peer.lookup_due(self._now) for peer in tunnel.peers.values()):
            soon = self._now + schedule.TOGETHER
            keys = [key for key, peer in tunnel.peers.items() if peer.lookup_due(soon)]
            if tunnel.tunnel.public_key is not None:
                keys.append(tunnel.tunnel.public_key)  # our NAT may have become another without a word
            self._look_up([key for key in keys if key not in tunnel.discovery.hosts])
            for key in keys:
                if key in tunnel.discovery.hosts and tunnel.peers[key].lookup_due(self._now):
                    self._resolve(key)
        if tunnel.settle_at is not None and self._now >= tunnel.settle_at:
            self._settle()

    def _update(self, **changes: object) -> None:
        self.watch = replace(self.watch, **changes)  # type: ignore[arg-type]  # names are checked at run time
