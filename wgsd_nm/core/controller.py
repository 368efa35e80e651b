# SPDX-License-Identifier: GPL-2.0-or-later
"""advance(watch, event, now, chance) -> (watch, actions): the only place where the agent's state changes.

Control is level-triggered. Whatever happened, the question is the same: what should the endpoints be now, and what are
they? What that means for one tunnel is `tunnel`'s affair; here is what concerns all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from typing import assert_never

from wgsd_nm.core import following, schedule
from wgsd_nm.core.config import Config, TunnelConfig
from wgsd_nm.core.discovery import discover, has_usable_uplink, place, ways_out
from wgsd_nm.core.errors import InvalidArguments, NoAnswer, ServiceUnavailable, WgsdError
from wgsd_nm.core.events import (
    Action,
    ConfigLoaded,
    EndpointsSet,
    Event,
    ForgetServers,
    HostResolved,
    LookupsAnswered,
    NetworkSeen,
    PeersRead,
    ReadFailed,
    RecordsPushed,
    RefreshRequested,
    Remember,
    Reply,
    SeatChanged,
    SessionChanged,
    SetFailed,
    TimePassed,
    Woke,
)
from wgsd_nm.core.model import Connectivity, Network, Tunnel, Uplink
from wgsd_nm.core.tunnel import Scene, TunnelTurn
from wgsd_nm.core.tunnel import due as tunnel_due
from wgsd_nm.core.watch import AgentWatch, TunnelWatch, Waiting


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
        times += map(tunnel_due, watch.tunnels.values())
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
            case PeersRead(interface):
                self._on(interface, lambda tunnel: tunnel.peers_read(event), reading_since=None)
            case ReadFailed(interface):
                self._on(interface, lambda tunnel: tunnel.read_failed(event.error), reading_since=None)
            case EndpointsSet(interface):
                self._on(interface, lambda tunnel: tunnel.endpoints_set(event), writing=False)
            case SetFailed(interface):
                self._on(interface, lambda tunnel: tunnel.set_failed(event.error), writing=False)
            case LookupsAnswered(interface):
                self._on(interface, lambda tunnel: tunnel.lookups_answered(event))
            case RecordsPushed(interface):
                self._on(interface, lambda tunnel: tunnel.records_pushed(event))
            case SessionChanged(interface):
                self._on(interface, lambda tunnel: tunnel.session_changed(event))
            case HostResolved(interface):
                self._on(interface, lambda tunnel: tunnel.host_resolved(event))
            case RefreshRequested(token, interface):
                self._refresh_requested(token, interface)
            case TimePassed():
                pass
            case _:
                assert_never(event)
        self._let_time_pass()
        if isinstance(event, ConfigLoaded | NetworkSeen | SeatChanged | PeersRead):
            self._follow()

    # --- the world changed -------------------------------------------------------------------------------------------

    def _config_loaded(self, config: Config | None, error: str) -> None:
        self.watch = replace(self.watch, config=config or self.watch.config, config_error=error)
        self._adopt_tunnels()

    def _network_seen(self, network: Network) -> None:
        before, could_work = self.watch.network, may_work(self.watch)
        self.watch = replace(self.watch, network=network)
        plugged = {uplink.interface for uplink in ways_out(network)} & (network.carrier - before.carrier)
        moved = _path(network) != _path(before) or bool(plugged)
        self._give_up_waiting()
        self._adopt_tunnels(moved=moved, resumed=not could_work, hint=network.connectivity > before.connectivity)

    def _woke(self) -> None:
        self.actions.append(ForgetServers())
        for interface in self.watch.tunnels:
            with self._turn(interface) as tunnel:
                tunnel.sessions_wiped()
                tunnel.path_changed()

    def _seat_changed(self, active: bool) -> None:
        became = active and not self.watch.seat_active
        self.watch = replace(self.watch, seat_active=active)
        if became:
            self.actions.append(ForgetServers())
            for interface in self.watch.tunnels:
                with self._turn(interface) as tunnel:
                    tunnel.resume()
        self._give_up_waiting()

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
            if old is not None and old.tunnel.activation != tunnel.activation:
                old = None
            if old is None or old.settings != settings:
                new.add(tunnel.interface)
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
        redirected = {
            interface
            for interface in kept.keys() & self.watch.tunnels.keys()
            if _asks(kept[interface]) != _asks(self.watch.tunnels[interface])
        }
        self.watch = replace(self.watch, tunnels=kept, gone=gone)
        self._waited(former.keys() - kept.keys(), None)
        if moved or resumed or abandoned:
            self.actions.append(ForgetServers())
        for interface, watched in kept.items():
            with self._turn(interface) as turn:
                if moved or interface in new:
                    turn.path_changed()
                elif resumed:
                    turn.resume()
                elif (abandoned and watched.pending) or interface in redirected:
                    turn.begin_anew()
                elif hint:
                    turn.start_pass()

    def _follow(self) -> None:
        """Order other push sessions than there are, where others are wanted."""
        watch = self.watch
        tunnels = watch.tunnels if watch.seat_active else {}
        order = following.wanted(tunnels.values(), may_work=may_work(watch))
        if order == watch.follow:
            return
        followed = {each.interface for each in order.tunnels}
        ended = {
            interface: replace(tunnel, sessions={})
            for interface, tunnel in watch.tunnels.items()
            if tunnel.sessions and interface not in followed
        }
        self.watch = replace(watch, tunnels={**watch.tunnels, **ended}, follow=order)
        self.actions.append(order)

    # --- callers of Refresh ------------------------------------------------------------------------------------------

    def _refresh_requested(self, token: int, interface: str) -> None:
        interfaces = frozenset([interface] if interface else self.watch.tunnels)
        error = self._why_not(interfaces)
        if error is not None or not interfaces:
            self.actions.append(Reply(token, error))
            return
        self.watch = replace(self.watch, waiting=(*self.watch.waiting, Waiting(token, interfaces, self.now)))
        for name in interfaces:
            with self._turn(name) as turn:
                turn.refresh()

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

    def _give_up_waiting(self) -> None:
        """Nothing can be done now, so nobody is to wait for it."""
        if not may_work(self.watch):
            for waiting in self.watch.waiting:
                self.actions.append(Reply(waiting.token, self._why_not(waiting.interfaces)))
            self.watch = replace(self.watch, waiting=())

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

    # --- tunnels -----------------------------------------------------------------------------------------------------

    def _on(self, interface: str, work: Callable[[TunnelTurn], None], **ended: object) -> None:
        """A tunnel's work. The last order for one that has gone was carried out, or failed; nobody cares which."""
        if interface in self.watch.tunnels:
            with self._turn(interface) as turn:
                work(turn)
        elif interface in self.watch.gone:
            tunnel = replace(self.watch.gone[interface], **ended)  # type: ignore[arg-type]  # names are checked at run time
            gone = {**self.watch.gone, interface: tunnel}
            self.watch = replace(self.watch, gone={name: each for name, each in gone.items() if each.at_work})

    @contextmanager
    def _turn(self, interface: str) -> Iterator[TunnelTurn]:
        """A turn of a tunnel's; afterwards it is taken over what came of it."""
        watch = self.watch
        scene = Scene(self.now, self.chance, watch.network, place(watch.network), may_work(watch))
        turn = TunnelTurn(watch.tunnels[interface], scene, watch.memory)
        yield turn
        self.watch = replace(watch, tunnels={**watch.tunnels, interface: turn.watch}, memory=turn.memory)
        self.actions += turn.actions
        if turn.memory is not watch.memory:
            self.actions.append(Remember(turn.memory))
        for started, error in turn.ended:
            self._waited(frozenset([interface]), error, started)

    def _let_time_pass(self) -> None:
        for waiting in self.watch.waiting:
            if self.now >= waiting.asked_at + schedule.REFRESH:
                error = waiting.error or NoAnswer("not all lookups ended in time; the peers tell which did")
                self.watch = replace(self.watch, waiting=tuple(w for w in self.watch.waiting if w is not waiting))
                self.actions.append(Reply(waiting.token, error))
        if not may_work(self.watch):
            return
        for interface, tunnel in self.watch.tunnels.items():
            if tunnel_due(tunnel) <= self.now:
                with self._turn(interface) as turn:
                    turn.let_time_pass()


def _asks(tunnel: TunnelWatch) -> object:
    """Whom a tunnel's lookups go to, and for what."""
    return tunnel.discovery.servers, tunnel.discovery.zone


def _adopted(
    old: TunnelWatch | None, tunnel: Tunnel, settings: TunnelConfig, uplinks: tuple[Uplink, ...]
) -> TunnelWatch:
    discovery = discover(tunnel, settings, uplinks, old.kernel_peers if old is not None else ())
    pinned = frozenset(
        peer.public_key for peer in tunnel.peers if peer.endpoint and not settings.replace_profile_endpoints
    )
    if old is None:
        return TunnelWatch(tunnel, settings, discovery, pinned)
    sessions = following.kept(old, discovery)
    if old.settings != settings:
        return TunnelWatch(tunnel, settings, discovery, pinned, sessions=sessions)
    return replace(old, tunnel=tunnel, discovery=discovery, pinned=pinned, sessions=sessions)
