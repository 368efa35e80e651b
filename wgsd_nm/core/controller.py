# SPDX-License-Identifier: GPL-2.0-or-later
"""advance(watch, event, now, chance) -> (watch, actions): the only place where the agent's state changes.

Control is level-triggered. Whatever happened, the question is the same: what should the endpoints be now, and what are
they? A *pass* over a tunnel answers it: read the device and look all peers up, both at once; set what differs and poke
whom the kernel must reach; read again to see what came of it. Events during a pass are served by one further pass.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from math import inf
from operator import attrgetter
from typing import assert_never

from wgsd_nm.core import schedule
from wgsd_nm.core.config import Config, TunnelConfig
from wgsd_nm.core.discovery import discover, has_usable_uplink, registry_peers, ways_out
from wgsd_nm.core.errors import (
    InvalidArguments,
    LookupFailed,
    NoAnswer,
    NoEndpoint,
    NoSuchPeer,
    RegistryUnreachable,
    ServiceUnavailable,
    WgsdError,
)
from wgsd_nm.core.events import (
    Action,
    Announce,
    ConfigLoaded,
    EndpointsSet,
    Event,
    ForgetServers,
    LookUp,
    LookupsAnswered,
    NetworkSeen,
    PeersRead,
    Probe,
    ReadFailed,
    ReadPeers,
    RefreshRequested,
    Reply,
    SeatChanged,
    SetEndpoints,
    SetFailed,
    TimePassed,
    Woke,
)
from wgsd_nm.core.model import (
    Advertisement,
    ChangeResult,
    Connectivity,
    EndpointChange,
    IPNetwork,
    Network,
    Peer,
    PublicKey,
    Tunnel,
    Uplink,
)
from wgsd_nm.core.reason import Reason
from wgsd_nm.core.reconcile import Ground, decide
from wgsd_nm.core.watch import AgentWatch, PeerWatch, TunnelWatch, Waiting


def advance(watch: AgentWatch, event: Event, now: float, chance: float) -> tuple[AgentWatch, tuple[Action, ...]]:
    """What the agent knows after an event, and what it does about it.

    `now` is monotonic, in seconds; `chance` is random, from 0 to 1, and spreads the timers.
    """
    turn = _Turn(watch, now, chance)
    turn.take(event)
    return turn.watch, tuple(turn.actions)


def due(watch: AgentWatch) -> float:
    """When TimePassed is wanted, if nothing else happens before; inf for never."""
    times = [waiting.asked_at + schedule.REFRESH for waiting in watch.waiting]
    if may_work(watch):
        times += [_tunnel_due(tunnel) for tunnel in watch.tunnels.values()]
    return min(times, default=inf)


def may_work(watch: AgentWatch) -> bool:
    """Whether lookups and writes make sense now: somewhere to send, no captive portal, and our turn at the seat."""
    return (
        watch.seat_active and watch.network.connectivity is not Connectivity.PORTAL and has_usable_uplink(watch.network)
    )


def _path(network: Network) -> object:
    """What our packets' way out consists of: when it differs, every NAT on the way may be another one."""
    return [
        (uplink.interface, uplink.connection_uuid, uplink.addresses, uplink.gateways) for uplink in ways_out(network)
    ]


def _tunnel_due(tunnel: TunnelWatch) -> float:
    times = [peer.next_lookup for peer in tunnel.peers.values() if peer.next_lookup is not None]
    if tunnel.reading_since is None:
        times.append(tunnel.next_check)
        if tunnel.settle_at is not None and not tunnel.writing:
            times.append(tunnel.settle_at)
    if tunnel.pass_queued and tunnel.pass_started is None:
        times.append(tunnel.last_pass + schedule.BURST)
    return min(times, default=inf)


class _Turn:
    """One event's work. `watch` is always a whole, valid state; every method leaves it so."""

    def __init__(self, watch: AgentWatch, now: float, chance: float) -> None:
        self.watch = watch
        self.now = now
        self.chance = chance
        self.actions: list[Action] = []

    def take(self, event: Event) -> None:
        match event:
            case ConfigLoaded(config, error):
                self._config_loaded(config, error)
            case NetworkSeen(network):
                self._network_seen(network)
            case Woke():
                self._woke()
            case SeatChanged(active):
                self._seat_changed(active)
            case PeersRead():
                self._peers_read(event)
            case ReadFailed(interface, error):
                self._read_failed(interface, error)
            case LookupsAnswered():
                self._lookups_answered(event)
            case EndpointsSet():
                self._endpoints_set(event)
            case SetFailed(interface, error):
                self._set_failed(interface, error)
            case RefreshRequested(token, interface):
                self._refresh_requested(token, interface)
            case TimePassed():
                pass
            case _:
                assert_never(event)
        self._let_time_pass()

    # --- the world changed -------------------------------------------------------------------------------------------

    def _config_loaded(self, config: Config | None, error: str) -> None:
        self.watch = replace(self.watch, config=config or self.watch.config, config_error=error)
        self._adopt_tunnels()

    def _network_seen(self, network: Network) -> None:
        before, could_work = self.watch.network, may_work(self.watch)
        self.watch = replace(self.watch, network=network)
        plugged = {uplink.interface for uplink in ways_out(network)} & (network.carrier - before.carrier)
        moved = _path(network) != _path(before) or bool(plugged)
        self._adopt_tunnels(moved=moved, resumed=not could_work, hint=network.connectivity > before.connectivity)

    def _woke(self) -> None:
        self.actions.append(ForgetServers())
        for interface, tunnel in self.watch.tunnels.items():
            peers = {key: peer._replace(evidence=peer.evidence.forget_session()) for key, peer in tunnel.peers.items()}
            self._update(interface, peers=peers)
            self._path_changed(interface)

    def _seat_changed(self, active: bool) -> None:
        became = active and not self.watch.seat_active
        self.watch = replace(self.watch, seat_active=active)
        if became:
            self.actions.append(ForgetServers())
            for interface in self.watch.tunnels:
                self._begin_anew(interface)

    def _refresh_requested(self, token: int, interface: str) -> None:
        interfaces = frozenset([interface] if interface else self.watch.tunnels)
        error = self._why_not(interfaces)
        if error is not None or not interfaces:
            self.actions.append(Reply(token, error))
            return
        self.watch = replace(self.watch, waiting=(*self.watch.waiting, Waiting(token, interfaces, self.now)))
        for name in interfaces:
            peers = self.watch.tunnels[name].peers
            until = self.now + schedule.WANTED
            self._update(name, peers={key: peer._replace(named_until=until) for key, peer in peers.items()})
            self._start_pass(name)

    def _why_not(self, interfaces: frozenset[str]) -> WgsdError | None:
        for name in interfaces:
            if name not in self.watch.tunnels:
                return InvalidArguments(f"{name!a} is not a configured WireGuard tunnel that is up")
        if not self.watch.network.available:
            return ServiceUnavailable("NetworkManager is not running")
        if interfaces and not may_work(self.watch):
            if not self.watch.seat_active:
                return ServiceUnavailable("another user's login session is active")
            if not has_usable_uplink(self.watch.network):
                return ServiceUnavailable("there is no network connection")
            return ServiceUnavailable("the network wants a login first (captive portal)")
        return None

    def _adopt_tunnels(self, *, moved: bool = False, resumed: bool = False, hint: bool = False) -> None:
        """Keep the watches of tunnels that stay, make those of new ones, and start the passes that this calls for.

        What is under way for a tunnel that has gone, or whose device was made anew, tells nothing about the new one.
        """
        config, network, former = self.watch.config, self.watch.network, {**self.watch.gone, **self.watch.tunnels}
        kept: dict[str, TunnelWatch] = {}
        new: set[str] = set()
        for tunnel in network.tunnels:
            settings = config.section(tunnel)
            if settings is None:
                continue
            old = self.watch.tunnels.get(tunnel.interface)
            if old is None or old.tunnel.activation != tunnel.activation or old.settings != settings:
                new.add(tunnel.interface)
                old = None
            kept[tunnel.interface] = _adopted(old, tunnel, settings, network.uplinks)
        for interface in new & former.keys():
            reading_since = None if former[interface].reading_since is None else -inf
            kept[interface] = replace(kept[interface], reading_since=reading_since, writing=former[interface].writing)
        gone = {
            interface: replace(tunnel, pending={})
            for interface, tunnel in former.items()
            if interface not in kept and tunnel.at_work
        }
        abandoned = any(former[interface].pending for interface in former.keys() - (kept.keys() - new))
        self.watch = replace(self.watch, tunnels=kept, gone=gone)
        self._waited(former.keys() - kept.keys(), None)
        if moved or resumed or abandoned:
            self.actions.append(ForgetServers())
        for interface, watched in kept.items():
            if moved or interface in new:
                self._path_changed(interface)
            elif resumed or (abandoned and watched.pending):
                self._begin_anew(interface)
            elif hint:
                self._start_pass(interface)

    # --- passes ------------------------------------------------------------------------------------------------------

    def _path_changed(self, interface: str) -> None:
        """Evidence against every peer's path; all are poked in the pass that follows. What the NAT gave us is void."""
        peers = {
            key: peer._replace(
                evidence=peer.evidence.against(self.now), poke_due=True, rounds=0, trying_since=None, trial=None
            )
            for key, peer in self.watch.tunnels[interface].peers.items()
        }
        self._update(interface, peers=peers, public_endpoint=None)
        self._begin_anew(interface)

    def _begin_anew(self, interface: str) -> None:
        """Give up a pass under way, and all lookups: whoever waits for it waits for the one that follows."""
        self._update(interface, pass_started=None, pending={}, settle_at=None, write_after=-inf)
        self._start_pass(interface)

    def _start_pass(self, interface: str) -> None:
        """Now, or when the pass under way has ended; not more often than bursts of events are worth."""
        tunnel = self.watch.tunnels[interface]
        if not may_work(self.watch):
            self._update(interface, pass_queued=False)
        elif tunnel.pass_started is not None or self.now < tunnel.last_pass + schedule.BURST:
            self._update(interface, pass_queued=True)
        else:
            self._update(interface, pass_started=self.now, last_pass=self.now, pass_queued=False)
            self._read(interface)
            self._look_up(interface, tunnel.keys)

    def _end_pass_if_quiet(self, interface: str) -> None:
        tunnel = self.watch.tunnels[interface]
        started = tunnel.pass_started
        if started is None or tunnel.reading_since is not None or tunnel.writing or tunnel.pending:
            return
        silent = tunnel.lookup_error is not None and tunnel.answered_at < started
        error: WgsdError | None = tunnel.refusal or (tunnel.lookup_error if silent else None)
        if not tunnel.discovery.servers:
            error = error or NoAnswer(tunnel.discovery.problem)
        self._update(interface, pass_started=None, lookup_error=tunnel.lookup_error if silent else None)
        self._waited(frozenset([interface]), error, started)
        if tunnel.pass_queued:
            self._start_pass(interface)

    def _waited(self, interfaces: Iterable[str], error: WgsdError | None, started: float = inf) -> None:
        """A pass begun at `started` has ended: those who waited for it have one reason less to wait."""
        still: list[Waiting] = []
        for waiting in self.watch.waiting:
            done = waiting.interfaces.intersection(interfaces) if waiting.asked_at <= started else frozenset()
            left = waiting.interfaces - done
            cause = waiting.error or (error if done else None)
            if left:
                still.append(replace(waiting, interfaces=left, error=cause))
            else:
                self.actions.append(Reply(waiting.token, cause))
        self.watch = replace(self.watch, waiting=tuple(still))

    # --- asking ------------------------------------------------------------------------------------------------------

    def _read(self, interface: str) -> None:
        """A reading asked for while an earlier one is under way begins when that one has ended."""
        tunnel = self.watch.tunnels[interface]
        if tunnel.reading_since is None:
            self._update(interface, reading_since=self.now)
            self.actions.append(ReadPeers(interface))
        elif tunnel.reading_since < self.now:
            self._update(interface, next_check=self.now)

    def _read_again(self, tunnel: TunnelWatch) -> bool:
        """Whether a reading was asked for while the one that ended now was under way."""
        asked_at = tunnel.reading_since
        return asked_at is not None and asked_at < tunnel.next_check <= self.now and may_work(self.watch)

    def _look_up(self, interface: str, keys: Iterable[PublicKey]) -> None:
        tunnel = self.watch.tunnels[interface]
        discovery = tunnel.discovery
        asked = tuple(sorted((key for key in keys if key not in tunnel.pending), key=attrgetter("raw")))
        if not asked:
            return
        peers = dict(tunnel.peers)
        for key in asked:
            if key not in peers and key != tunnel.tunnel.public_key:
                peers[key] = PeerWatch(key)
            elif key in peers and peers[key].next_lookup is not None:
                peers[key] = peers[key]._replace(next_lookup=None)
        if not discovery.servers:
            self._update(interface, peers=peers)
            return
        pending = {**tunnel.pending, **dict.fromkeys(asked, len(discovery.servers))}
        self._update(interface, peers=peers, pending=pending)
        self.actions.append(LookUp(interface, discovery.servers, discovery.zone, asked))

    def _peers_read(self, event: PeersRead) -> None:
        tunnel = self.watch.tunnels.get(event.interface)
        if tunnel is None:
            self._ended_for_gone(event.interface, reading_since=None)
            return
        asked_at = tunnel.reading_since
        if asked_at is None:
            return
        if asked_at == -inf:
            self._update(event.interface, reading_since=None)
            if may_work(self.watch):
                self._read(event.interface)
            return
        peers: dict[PublicKey, PeerWatch] = {}
        unknown: list[PublicKey] = []
        for kernel in event.peers:
            old = tunnel.peers.get(kernel.public_key)
            peer = old or PeerWatch(kernel.public_key)
            evidence = peer.evidence if peer.kernel is not None else peer.evidence.against(asked_at)
            poke_due, followed = peer.poke_due or peer.kernel is None, peer.followed
            if old is None and tunnel.managed(kernel.public_key):
                unknown.append(kernel.public_key)
            evidence = evidence.observe(kernel, asked_at, self.now, event.clock)
            if peer.endpoint is not None and kernel.endpoint is None:
                evidence = evidence.against(self.now)
            if evidence.silence(self.now) >= schedule.STALE:
                evidence = evidence.against(self.now)
            if peer.endpoint is not None and kernel.endpoint not in (None, peer.endpoint):
                self.actions.append(
                    Announce(event.interface, kernel.public_key, peer.endpoint, kernel.endpoint, Reason.ROAMED)
                )
                followed = None
            if kernel != peer.kernel or evidence is not peer.evidence:
                peer = peer._replace(kernel=kernel, evidence=evidence, poke_due=poke_due, followed=followed)
            peers[kernel.public_key] = self._scheduled(tunnel, peer)
        again = self._read_again(tunnel)
        self._update(
            event.interface,
            peers=peers,
            pending={key: n for key, n in tunnel.pending.items() if key in peers or key == tunnel.tunnel.public_key},
            reading_since=None,
            read_error=None,
            read_failures=0,
            next_check=self._next_check(peers.values()),
        )
        if unknown and may_work(self.watch):
            self._look_up(event.interface, unknown)
        if again:
            self._read(event.interface)
        self._probe(event.interface)
        self._write(event.interface, only_pokes=True)
        self._settle(event.interface)

    def _next_check(self, peers: Collection[PeerWatch]) -> float:
        interval = schedule.CHECK_QUIET
        for peer in peers:
            if peer.wanted(self.now) and not peer.evidence.alive:
                eager = self.now - peer.evidence.against_at < schedule.INITIATION_SLOT
                interval = min(interval, schedule.CHECK_EAGER if eager else schedule.CHECK_BUSY)
            elif self.now - peer.evidence.sent_at < schedule.CHECK_QUIET:
                interval = min(interval, schedule.CHECK_BUSY)
        return min(self.now + schedule.jittered(interval, self.chance), self._next_verdict(peers))

    def _next_verdict(self, peers: Iterable[PeerWatch]) -> float:
        """When the first of the trials under way ends; inf without any."""
        trials = (peer.trial for peer in peers if peer.trial is not None)
        return min((trial.until for trial in trials if trial.until > self.now), default=inf)

    def _scheduled(self, tunnel: TunnelWatch, peer: PeerWatch) -> PeerWatch:
        """Lookups by time: for wanted peers that are not connected, or that we send to without hearing them.

        Without an endpoint the kernel refuses to send at all, so that nobody can be seen to want the peer: such are
        looked up too, rarely.
        """
        suspect = peer.evidence.silence(self.now) >= schedule.SUSPICION
        if not tunnel.managed(peer.public_key) or not tunnel.discovery.servers or peer.public_key in tunnel.pending:
            return peer if peer.next_lookup is None else peer._replace(next_lookup=None)
        wanted = peer.wanted(self.now)
        nobody_asks = not wanted and (peer.kernel is None or peer.endpoint is not None)
        if nobody_asks or (peer.connected(self.now) and not suspect):
            idle = peer.next_lookup is None and peer.trying_since is None and peer.rounds == 0
            return peer if idle else peer._replace(next_lookup=None, trying_since=None, rounds=0)
        trying_since = self.now if peer.trying_since is None else peer.trying_since
        if peer.answered_at == -inf or (suspect and peer.trying_since is None):
            return peer._replace(trying_since=trying_since, next_lookup=self.now)
        delay = self._lookup_delay(peer, self.now - trying_since) if wanted else schedule.TTL_MOST
        at = max(self.now, peer.answered_at + schedule.jittered(delay, self._spread(peer.public_key)))
        if peer.next_lookup is not None and peer.next_lookup <= at:
            return peer
        return peer._replace(trying_since=trying_since, next_lookup=at)

    def _lookup_delay(self, peer: PeerWatch, trying_for: float) -> float:
        match peer.error:
            case None:
                ttl = peer.record.ttl if peer.record is not None else 0
                return schedule.after_answer(ttl, peer.rounds, trying_for)
            case NoSuchPeer(ttl=ttl) | NoEndpoint(ttl=ttl):
                return schedule.after_absence(ttl, trying_for)
            case _:
                return schedule.after_failure(peer.rounds, trying_for)

    def _spread(self, key: PublicKey) -> float:
        return (self.chance + key.raw[0] / 256) % 1

    def _lookups_answered(self, event: LookupsAnswered) -> None:
        tunnel = self.watch.tunnels.get(event.interface)
        if tunnel is None:
            return
        peers, pending = dict(tunnel.peers), dict(tunnel.pending)
        answered_at, lookup_error, seen = tunnel.answered_at, tunnel.lookup_error, tunnel.public_endpoint
        ended: list[PublicKey] = []
        for key, answer in event.answers:
            if key not in pending:
                continue
            pending[key] -= 1
            if isinstance(answer, NoAnswer | RegistryUnreachable):
                lookup_error = answer
            else:
                answered_at = self.now
            first = pending[key] == len(tunnel.discovery.servers) - 1
            last = pending[key] == 0
            if key in peers:
                peers[key] = _told(peers[key], answer, first=first, ended_at=self.now if last else None)
            elif isinstance(answer, Advertisement):
                seen = answer.endpoints[0]
            if last:
                del pending[key]
                ended.append(key)
        if answered_at == self.now:
            lookup_error = None
        settle_at = tunnel.settle_at
        if settle_at is None and pending:
            settle_at = self.now + schedule.SETTLE
        tunnel = replace(tunnel, pending=pending)
        for key in ended:
            if key in peers:
                peers[key] = self._scheduled(tunnel, peers[key])
        self._update(
            event.interface,
            peers=peers,
            pending=pending,
            settle_at=settle_at,
            answered_at=answered_at,
            lookup_error=lookup_error,
            public_endpoint=seen,
        )
        self._settle(event.interface)

    # --- acting ------------------------------------------------------------------------------------------------------

    def _settle(self, interface: str) -> None:
        """Write when all answers are there, or those that came first have waited long enough for the others."""
        tunnel = self.watch.tunnels[interface]
        if tunnel.reading_since is not None or tunnel.writing or not may_work(self.watch):
            return
        if tunnel.pending and (tunnel.settle_at is None or self.now < tunnel.settle_at):
            return
        self._update(interface, settle_at=None)
        self._write(interface)
        self._end_pass_if_quiet(interface)

    def _write(self, interface: str, *, only_pokes: bool = False) -> None:
        """Order every change that the policy wants; the registry's own peer comes first.

        `only_pokes` are those that need no lookup: of the registry's peer, of peers that are not ours to set, and of
        those with a live session, to whom a poke costs one empty packet and tells our new address.
        """
        tunnel = self.watch.tunnels[interface]
        if tunnel.writing or self.now < tunnel.write_after or not may_work(self.watch):
            return
        ground = Ground.of(self.watch.network, tunnel.tunnel, (p.kernel for p in tunnel.peers.values() if p.kernel))
        peers = dict(tunnel.peers)
        changes: list[EndpointChange] = []
        reasons: dict[PublicKey, Reason] = {}
        for key, peer in tunnel.peers.items():
            managed = tunnel.managed(key)
            if peer.kernel is None:
                continue
            if not managed or only_pokes:
                wanted = key in tunnel.registry_peers or peer.wanted(self.now)
                free = not managed or peer.evidence.has_session(self.now)
                if peer.poke_due and wanted and free and peer.endpoint is not None:
                    changes.append(EndpointChange(key, peer.endpoint, None))
                    peers[key] = peer._replace(poke_due=False)
                continue
            if key in tunnel.pending:
                continue
            decision = decide(peer, ground, self.now)
            if decision.endpoint is not None or decision.poke:
                changes.append(EndpointChange(key, peer.endpoint, decision.endpoint))
                if decision.endpoint is not None and decision.reason is not None:
                    reasons[key] = decision.reason
            if peer.poke_due or peer.trial != decision.trial:
                peers[key] = peer._replace(trial=decision.trial, poke_due=False)
        next_check = min(tunnel.next_check, self._next_verdict(peers.values()))
        self._update(interface, peers=peers, next_check=next_check)
        if changes:
            changes.sort(key=lambda change: change.public_key not in tunnel.registry_peers)
            self._update(interface, writing=True)
            self.actions.append(SetEndpoints(interface, tuple(changes), reasons))

    def _endpoints_set(self, event: EndpointsSet) -> None:
        tunnel = self.watch.tunnels.get(event.interface)
        if tunnel is None:
            self._ended_for_gone(event.interface, writing=False)
            return
        peers, surprised = dict(tunnel.peers), False
        for change in event.changes:
            peer, result = peers.get(change.public_key), event.results.get(change.public_key)
            surprised = surprised or result not in (ChangeResult.CHANGED, ChangeResult.POKED)
            if peer is None or peer.kernel is None:
                continue
            if result is ChangeResult.STALE:
                peers[change.public_key] = peer._replace(poke_due=True)
            if result is not ChangeResult.CHANGED or change.wanted is None:
                continue
            reason = event.reasons.get(change.public_key, Reason.FOUND)
            self.actions.append(Announce(event.interface, change.public_key, change.expected, change.wanted, reason))
            peers[change.public_key] = peer._replace(
                kernel=replace(peer.kernel, endpoint=change.wanted),
                evidence=peer.evidence.against(self.now),
                followed=None,
                trial=None,
            )
        self._update(event.interface, peers=peers, writing=False, write_error=None, write_failures=0)
        if surprised:
            self._read(event.interface)  # what is in use decides, and we did not know it
        self._settle(event.interface)
        if ChangeResult.CHANGED in event.results.values():
            self._read(event.interface)  # proof of the new paths is what differs from this reading

    def _set_failed(self, interface: str, error: WgsdError) -> None:
        tunnel = self.watch.tunnels.get(interface)
        if tunnel is None:
            self._ended_for_gone(interface, writing=False)
            return
        failures = tunnel.write_failures + 1
        self._update(
            interface,
            peers={key: peer._replace(poke_due=True) for key, peer in tunnel.peers.items()},
            writing=False,
            write_error=error,
            write_failures=failures,
            write_after=self.now + self._pause(failures),
        )
        self._end_pass_if_quiet(interface)

    def _pause(self, failures: int) -> float:
        return schedule.jittered(min(schedule.backoff(failures), schedule.CHECK_QUIET), self.chance)

    def _read_failed(self, interface: str, error: WgsdError) -> None:
        tunnel = self.watch.tunnels.get(interface)
        if tunnel is None:
            self._ended_for_gone(interface, reading_since=None)
            return
        void = tunnel.reading_since == -inf
        again = void or self._read_again(tunnel)
        failures = tunnel.read_failures + 1
        self._update(
            interface,
            read_error=None if void else error,
            read_failures=failures,
            next_check=self.now if again else self.now + self._pause(failures),
            reading_since=None,
        )
        if again and may_work(self.watch):
            self._read(interface)
        self._end_pass_if_quiet(interface)

    def _ended_for_gone(self, interface: str, **ended: object) -> None:
        """The last order for a tunnel that has gone was carried out, or failed; nobody cares which."""
        if interface in self.watch.gone:
            tunnel = replace(self.watch.gone[interface], **ended)  # type: ignore[arg-type]  # as in _update
            gone = {**self.watch.gone, interface: tunnel}
            self.watch = replace(self.watch, gone={name: each for name, each in gone.items() if each.at_work})

    def _probe(self, interface: str) -> None:
        """Wanted peers that could answer at once, and have not proven their path, get something to answer."""
        tunnel = self.watch.tunnels[interface]
        addresses = [
            prefix.network_address
            for peer in tunnel.peers.values()
            if peer.kernel is not None
            and peer.endpoint is not None
            and not peer.evidence.alive
            and peer.evidence.has_session(self.now)
            and peer.wanted(self.now)
            for prefix in _hosts(peer.kernel)[:1]
        ]
        if addresses and may_work(self.watch):
            self.actions.append(Probe(interface, tuple(addresses)))

    # --- time --------------------------------------------------------------------------------------------------------

    def _let_time_pass(self) -> None:
        for waiting in self.watch.waiting:
            if self.now >= waiting.asked_at + schedule.REFRESH:
                error = waiting.error or NoAnswer("not all lookups ended in time; the peers tell which did")
                self.watch = replace(self.watch, waiting=tuple(w for w in self.watch.waiting if w is not waiting))
                self.actions.append(Reply(waiting.token, error))
        if not may_work(self.watch):
            return
        for interface in self.watch.tunnels:
            tunnel = self.watch.tunnels[interface]
            if tunnel.pass_queued and tunnel.pass_started is None:
                self._start_pass(interface)
            tunnel = self.watch.tunnels[interface]
            if tunnel.next_check <= self.now and tunnel.reading_since is None:
                self._read(interface)
            self._look_up(interface, [key for key, peer in tunnel.peers.items() if peer.lookup_due(self.now)])
            if tunnel.settle_at is not None and self.now >= tunnel.settle_at:
                self._settle(interface)

    def _update(self, interface: str, **changes: object) -> None:
        tunnel = replace(self.watch.tunnels[interface], **changes)  # type: ignore[arg-type]  # names are checked at run time
        self.watch = replace(self.watch, tunnels={**self.watch.tunnels, interface: tunnel})


def _hosts(peer: Peer) -> list[IPNetwork]:
    """The single addresses among a peer's AllowedIPs."""
    return [prefix for prefix in peer.allowed_ips if prefix.prefixlen == prefix.max_prefixlen]


def _told(peer: PeerWatch, answer: Advertisement | LookupFailed, *, first: bool, ended_at: float | None) -> PeerWatch:
    """The first registry that knows an endpoint is believed; those that answer after it add and take away nothing.

    `ended_at` is given if this was the last to answer.
    """
    answered_at, rounds = (peer.answered_at, peer.rounds) if ended_at is None else (ended_at, peer.rounds + 1)
    if not first and peer.error is None:
        return peer._replace(answered_at=answered_at, rounds=rounds)
    if not isinstance(answer, Advertisement):
        return peer._replace(error=answer, answered_at=answered_at, rounds=rounds)
    followed = peer.followed
    if peer.record is not None and peer.endpoint in peer.record.endpoints:
        followed = peer.endpoint
    return peer._replace(record=answer, error=None, followed=followed, answered_at=answered_at, rounds=rounds)


def _adopted(
    old: TunnelWatch | None, tunnel: Tunnel, settings: TunnelConfig, uplinks: tuple[Uplink, ...]
) -> TunnelWatch:
    discovery = discover(tunnel, settings, uplinks)
    registry = registry_peers(tunnel, discovery.servers)
    pinned = frozenset(
        peer.public_key for peer in tunnel.peers if peer.endpoint and not settings.replace_profile_endpoints
    )
    if old is None:
        return TunnelWatch(tunnel, settings, discovery, registry, pinned)
    return replace(old, tunnel=tunnel, discovery=discovery, registry_peers=registry, pinned=pinned)
