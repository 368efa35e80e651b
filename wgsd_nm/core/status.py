# SPDX-License-Identifier: GPL-2.0-or-later
"""What people are shown: the agent's watch as plain values, each peer with the reason for its state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Self

from wgsd_nm.core.discovery import has_usable_uplink
from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.following import polling_interval
from wgsd_nm.core.ground import Ground
from wgsd_nm.core.model import Connectivity, Endpoint, PeerState, PublicKey, Source, State, Updates, Way
from wgsd_nm.core.reason import Reason, of_failure, sentence
from wgsd_nm.core.reconcile import candidates
from wgsd_nm.core.schedule import STALE
from wgsd_nm.core.watch import AgentWatch, PeerWatch, TunnelWatch, is_symmetric


@dataclass(frozen=True, slots=True)
class TunnelStatus:
    """One entry of Agent1's Tunnels. `last_lookup` is monotonic, -inf for never."""

    interface: str
    connection_id: str
    connection_uuid: str
    zone: str
    registries: tuple[str, ...]
    state: State
    public_key: PublicKey | None
    public_endpoints: tuple[Endpoint, ...]
    last_lookup: float
    last_error: str
    updates: Updates
    polling_interval: float
    """Seconds, 0 unless it is polling."""

    def differs(self, other: TunnelStatus) -> bool:
        """Whether clients are told: in anything but the times."""
        return self._told() != other._told()

    def _told(self) -> Self:
        return replace(self, last_lookup=0.0, polling_interval=0.0)


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One entry of Agent1's Peers. Times are monotonic, -inf for never; handshake and keepalive are as in Peer."""

    interface: str
    public_key: PublicKey
    name: str
    endpoint: Endpoint | None
    source: Source
    way: Way
    state: PeerState
    reason: Reason
    text: str
    candidates: tuple[Endpoint, ...]
    persistent_keepalive: int
    latest_handshake: int
    connected_since: float
    last_lookup: float
    last_error: str

    def differs(self, other: PeerStatus) -> bool:
        """Whether clients are told: in anything but the times, which are as of the last check."""
        return self._told() != other._told()

    def _told(self) -> Self:
        return replace(self, latest_handshake=0, connected_since=0.0, last_lookup=0.0, text="")


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """Agent1's properties."""

    state: State
    tunnels: tuple[TunnelStatus, ...]
    peers: tuple[PeerStatus, ...]
    last_error: str = ""


def status(watch: AgentWatch, now: float) -> AgentStatus:
    """As of now."""
    tunnels, peers = [], []
    for tunnel in watch.tunnels.values():
        public = tuple(dict.fromkeys(endpoint for _, endpoint in tunnel.seen))
        ground = Ground.of(watch.network, tunnel.tunnel, tunnel.kernel_peers, public)
        profile = {peer.public_key: peer.endpoint for peer in tunnel.tunnel.peers}
        shown = [
            _peer(tunnel, peer, ground, profile.get(key, ""), now)
            for key, peer in tunnel.peers.items()
            if peer.kernel is not None
        ]
        peers += shown
        tunnels.append(_tunnel(watch, tunnel, shown, public, now))
    return AgentStatus(_state(watch, tunnels), tuple(tunnels), tuple(peers), watch.config_error)


def _state(watch: AgentWatch, tunnels: list[TunnelStatus]) -> State:
    common = _common_state(watch)
    if common is not None:
        return common
    states = {tunnel.state for tunnel in tunnels}
    return next((state for state in State if state in states), State.IDLE)


def _common_state(watch: AgentWatch) -> State | None:
    """What holds for every tunnel alike."""
    if not watch.network.available or not watch.seat_active:
        return State.UNAVAILABLE
    if not has_usable_uplink(watch.network):
        return State.OFFLINE
    if watch.network.connectivity is Connectivity.PORTAL:
        return State.CAPTIVE_PORTAL
    return None


def _tunnel(
    watch: AgentWatch, watched: TunnelWatch, peers: list[PeerStatus], public: tuple[Endpoint, ...], now: float
) -> TunnelStatus:
    tunnel, discovery = watched.tunnel, watched.discovery
    error = str(watched.refusal or watched.registry_error or "") or discovery.problem
    interval = polling_interval(watched, now) if discovery.servers else 0.0
    return TunnelStatus(
        interface=tunnel.interface,
        connection_id=tunnel.connection_id,
        connection_uuid=tunnel.connection_uuid,
        zone=discovery.zone,
        registries=tuple(str(server) for server in discovery.servers),
        state=_tunnel_state(watch, watched, peers, now),
        public_key=tunnel.public_key,
        public_endpoints=public,
        last_lookup=watched.answered_at,
        last_error=error,
        updates=_updates(watched, interval),
        polling_interval=interval,
    )


def _updates(tunnel: TunnelWatch, interval: float) -> Updates:
    if not tunnel.discovery.servers:
        return Updates.NONE
    return Updates.POLLING if interval else Updates.PUSH


def _tunnel_state(watch: AgentWatch, tunnel: TunnelWatch, peers: list[PeerStatus], now: float) -> State:
    common = _common_state(watch)
    if common is not None:
        return common
    if tunnel.refusal is not None:
        return State.UNAVAILABLE
    if tunnel.pass_started is not None:
        return State.LOOKING_UP
    wanted = {key for key, peer in tunnel.peers.items() if peer.wanted(now)}
    reached = all(peer.state is PeerState.CONNECTED for peer in peers if peer.public_key in wanted)
    return State.OK if reached and tunnel.discovery.servers and tunnel.registry_error is None else State.DEGRADED


def _peer(tunnel: TunnelWatch, peer: PeerWatch, ground: Ground, profile_endpoint: str, now: float) -> PeerStatus:
    assert peer.kernel is not None
    usable, refused = candidates(peer, ground)
    state, reason, about = _verdict(tunnel, peer, ground, now, usable=usable, refused=refused)
    since = peer.evidence.alive_since if state is PeerState.CONNECTED else None
    return PeerStatus(
        interface=tunnel.tunnel.interface,
        public_key=peer.public_key,
        name=tunnel.settings.names.get(peer.public_key) or peer.name or str(peer.public_key)[:8],
        endpoint=peer.endpoint,
        source=_source(peer, profile_endpoint),
        way=ground.way(peer.endpoint) if peer.endpoint else Way.NONE,
        state=state,
        reason=reason,
        text=_text(peer, reason, about),
        candidates=tuple(usable),
        persistent_keepalive=peer.kernel.persistent_keepalive,
        latest_handshake=peer.kernel.latest_handshake,
        connected_since=-inf if since is None else since,
        last_lookup=peer.answered_at,
        last_error=str(peer.error or ""),
    )


def _verdict(
    tunnel: TunnelWatch,
    peer: PeerWatch,
    ground: Ground,
    now: float,
    *,
    usable: list[Endpoint],
    refused: Reason | None,
) -> tuple[PeerState, Reason, Endpoint | None]:
    """The peer's state, why, and about which endpoint."""
    current, key = peer.endpoint, peer.public_key
    if peer.connected(now):
        return PeerState.CONNECTED, Reason.CONNECTED, current
    if not peer.wanted(now):
        return PeerState.IDLE, Reason.NOT_WANTED, current
    tried = now - max(peer.evidence.against_at, -inf if peer.trying_since is None else peer.trying_since)
    fresh = tried < STALE and not peer.tried
    if key in tunnel.discovery.registry_peers:
        return (
            (PeerState.PROBING, Reason.UNPROVEN, current)
            if fresh
            else (PeerState.STALE, Reason.REGISTRY_SILENT, current)
        )
    if key in tunnel.pinned:
        return (PeerState.PROBING if fresh else PeerState.UNREACHABLE), Reason.PROFILE_ENDPOINT, current
    if key in tunnel.pending and current is None:
        return PeerState.UNKNOWN, Reason.LOOKING_UP, None
    if peer.stood_down:
        return PeerState.UNREACHABLE, Reason.STOOD_DOWN, current
    if not usable:
        if peer.error is not None:
            return PeerState.UNREACHABLE, of_failure(peer.error), None
        if refused is not None:
            return PeerState.UNREACHABLE, refused, peer.reported[0]
        return PeerState.UNKNOWN, Reason.LOOKING_UP, None
    if fresh or current is None:
        return PeerState.PROBING, Reason.UNPROVEN, current or usable[0]
    heard = peer.evidence.handshake != 0
    return (PeerState.STALE if heard else PeerState.UNREACHABLE), _obstacle(tunnel, peer, ground), current


def _obstacle(tunnel: TunnelWatch, peer: PeerWatch, ground: Ground) -> Reason:
    """What probably keeps packets from coming back."""
    ours = is_symmetric(tunnel.seen)
    if peer.symmetric:
        return Reason.BOTH_SYMMETRIC if ours else Reason.SYMMETRIC_NAT
    if any(endpoint.address in ground.public for endpoint in peer.reported):
        return Reason.SAME_PUBLIC_ADDRESS
    return Reason.OWN_SYMMETRIC_NAT if ours else Reason.NO_REPLY


def _text(peer: PeerWatch, reason: Reason, about: Endpoint | None) -> str:
    """The reason's sentence, and what it rests on."""
    text = sentence(reason, about)
    if reason is Reason.CONNECTED:
        proof = "a handshake" if peer.evidence.by_handshake else "packets received"
        return f"{text.removesuffix('.')}, as {proof} proved."
    others = [str(endpoint) for endpoint in peer.tried if endpoint != about]
    return f"{text} Tried in vain: {', '.join(others)}." if others else text


def _source(peer: PeerWatch, profile_endpoint: str) -> Source:
    if peer.endpoint is None:
        return Source.NONE
    if profile_endpoint and (profile_endpoint == str(peer.endpoint) or not _is_literal(profile_endpoint)):
        return Source.PROFILE
    if peer.endpoint in peer.reported:
        return Source.REGISTRY
    return Source.CACHE if peer.endpoint == peer.written else Source.ROAMED


def _is_literal(text: str) -> bool:
    """Whether a profile's endpoint is an address, not a host name."""
    try:
        Endpoint.parse(text)
    except InvalidValue:
        return False
    return True
