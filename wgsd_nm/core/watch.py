# SPDX-License-Identifier: GPL-2.0-or-later
"""What the agent remembers: of one peer, of one tunnel, of all. Only `controller.advance` makes new ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from wgsd_nm.core.config import Config, TunnelConfig
from wgsd_nm.core.errors import LookupFailed, WgsdError
from wgsd_nm.core.events import Follow
from wgsd_nm.core.evidence import Evidence
from wgsd_nm.core.memory import Memory
from wgsd_nm.core.model import Advertisement, Endpoint, IPAddress, Network, Peer, PublicKey, Server, Tunnel
from wgsd_nm.core.schedule import WANTED


@dataclass(frozen=True, slots=True)
class Trial:
    """A path that may prove itself until `until`."""

    endpoint: Endpoint
    until: float


class Record(NamedTuple):
    """What one registry last said of a peer; or, of the registry's own peer, what its host name stands for."""

    source: str
    """The registry's address, or the host name."""
    told: Advertisement
    pushed_at: float = -inf
    """When it was last told unasked."""


class PeerWatch(NamedTuple):
    """One peer of a tunnel. Times are seconds of the agent's monotonic clock.

    A tuple, because a pass over a thousand peers makes ten thousand of these, and nothing else is made as fast.
    """

    public_key: PublicKey
    kernel: Peer | None = None
    evidence: Evidence = Evidence()

    records: tuple[Record, ...] = ()
    """The one that came first in the last round is first. An answer without an endpoint does not take one away."""
    recalled: Endpoint | None = None
    """What last worked on the network where we are now."""
    former: Endpoint | None = None
    """What was in use before we set another one, until that is proven."""
    followed: Endpoint | None = None
    """The endpoint in use when a registry's record changed, if it was what that registry had said before."""

    written: Endpoint | None = None
    """What we set last, as long as nobody has set another one."""
    usurped_at: float | None = None
    """When something else took the place of what we had set, which may yet prove to be the peer's own roaming."""
    overruled_at: float = -inf
    """When something else did so last, and proved nothing, so that we set ours again."""
    ordered: Endpoint | None = None
    """What the helper was told to set, as long as it has not said what came of it."""
    stood_down: bool = False
    trial: Trial | None = None
    tried: tuple[Endpoint, ...] = ()
    """Those that have had their trial in vain, since the last event that made it worth trying."""

    error: LookupFailed | None = None
    """Why the last lookup gave no endpoint."""
    answered_at: float = -inf
    rounds: int = 0
    """Lookups since the last event, or since the peer was last connected."""
    trying_since: float | None = None
    next_lookup: float | None = None
    poke_due: bool = False
    stirred_at: float = -inf
    """When we last had the kernel send to it."""
    named_until: float = -inf
    """Until when the peer is wanted because a person asked for it."""

    @property
    def endpoint(self) -> Endpoint | None:
        return None if self.kernel is None else self.kernel.endpoint

    @property
    def reported(self) -> tuple[Endpoint, ...]:
        """What the registries say, best first."""
        if len(self.records) == 1:
            return self.records[0].told.endpoints
        return tuple(dict.fromkeys(endpoint for record in self.records for endpoint in record.told.endpoints))

    @property
    def name(self) -> str:
        """What the registries call the peer; "" for nothing."""
        return next((record.told.name for record in self.records if record.told.name), "")

    @property
    def symmetric(self) -> bool:
        """Whether two registries see one address with different ports: the NAT gives each destination another one."""
        return is_symmetric((record.source, record.told.endpoints[0]) for record in self.records)

    def connected(self, now: float) -> bool:
        return self.evidence.alive and self.evidence.has_session(now)

    def lookup_due(self, now: float) -> bool:
        return self.next_lookup is not None and self.next_lookup <= now

    def wanted(self, now: float) -> bool:
        """Whether anybody cares: keepalive on, something sent of late, or asked for by a person."""
        return (
            (self.kernel is not None and self.kernel.persistent_keepalive > 0)
            or now - self.evidence.sent_at < WANTED
            or now < self.named_until
        )


def is_symmetric(seen: Iterable[tuple[str, Endpoint]]) -> bool:
    """Whether the sources see the same address at different ports."""
    ports: dict[IPAddress, int] = {}
    return any(ports.setdefault(endpoint.address, endpoint.port) != endpoint.port for _, endpoint in seen)


@dataclass(frozen=True, slots=True)
class Discovery:
    """Whom to ask for a tunnel's peers: the zone (absolute, lower case) and the registries; or why nobody.

    `registry_peers` are those that lead to the registries: never written from any zone. `hosts` are those of them whose
    profile names a host, with its port.
    """

    zone: str = ""
    servers: tuple[Server, ...] = ()
    problem: str = ""
    registry_peers: frozenset[PublicKey] = frozenset()
    hosts: Mapping[PublicKey, tuple[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TunnelWatch:
    """One configured tunnel that is up."""

    tunnel: Tunnel
    settings: TunnelConfig
    discovery: Discovery
    pinned: frozenset[PublicKey] = frozenset()
    """Peers whose profile names an endpoint, and who are left alone for that."""
    peers: Mapping[PublicKey, PeerWatch] = field(default_factory=dict)
    pending: Mapping[PublicKey, int] = field(default_factory=dict)
    """Lookups under way: for each peer the number of registries that have not answered yet."""
    asked_at: float = -inf
    """When the last lookups began."""
    reading_since: float | None = None
    """When the reading under way was asked for; -inf if for a tunnel that has gone, so that it tells nothing."""
    writing: bool = False
    settle_at: float | None = None
    pass_started: float | None = None
    """When the pass under way began."""
    last_pass: float = -inf
    """When the last pass began."""
    pass_queued: bool = False
    next_check: float = -inf
    answered_at: float = -inf
    """When any registry last said anything, be it that it does not know the name."""
    read_error: WgsdError | None = None
    read_failures: int = 0
    """Readings that failed since the last that did not."""
    write_error: WgsdError | None = None
    write_failures: int = 0
    """Writes that failed since the last that did not: who may read need not be allowed to write."""
    write_after: float = -inf
    """After a failure nothing is written before this time."""
    seen: tuple[tuple[str, Endpoint], ...] = ()
    """Where each registry sees ourselves, the first to answer first."""
    lookup_error: LookupFailed | None = None
    """Why no registry answered in the last pass."""
    sessions: Mapping[str, frozenset[PublicKey]] = field(default_factory=dict)
    """The registries with which there is a push session, by address, and the peers whose changes each pushes."""
    session_lost_at: float = -inf
    """When there was last one less, or it followed less."""

    @property
    def at_work(self) -> bool:
        """Whether the helper has an order of ours that it has not answered."""
        return self.reading_since is not None or self.writing

    @property
    def kernel_peers(self) -> list[Peer]:
        """As they were last read."""
        return [peer.kernel for peer in self.peers.values() if peer.kernel is not None]

    def wants(self, peer: PeerWatch, now: float) -> bool:
        """Whether anybody cares for a peer; for one that leads to a registry we do."""
        return peer.wanted(now) or peer.public_key in self.discovery.registry_peers

    def managed(self, key: PublicKey) -> bool:
        """Whether the peer's endpoint is ours to set from the zone."""
        return key not in self.discovery.registry_peers and key not in self.pinned

    def follows(self, peer: PeerWatch) -> bool:
        """Whether every registry that has told endpoints of a peer, or all if none has, pushes its changes."""
        if not self.sessions:
            return False
        servers = [str(server) for server in self.discovery.servers]
        telling = {record.source for record in peer.records}.intersection(servers) or servers
        return all(peer.public_key in self.sessions.get(source, ()) for source in telling)

    @property
    def polled(self) -> list[PeerWatch]:
        """The peers that are ours to set and whose changes are not pushed."""
        return [peer for key, peer in self.peers.items() if self.managed(key) and not self.follows(peer)]

    @property
    def registry_error(self) -> LookupFailed | None:
        """Why no registry answered; none while they tell of every change unasked."""
        if self.lookup_error is None or (self.sessions and not self.polled):
            return None
        return self.lookup_error

    @property
    def refusal(self) -> WgsdError | None:
        """Why the helper does not do what it is told."""
        return self.read_error or self.write_error

    @property
    def keys(self) -> frozenset[PublicKey]:
        """Whom a pass looks up: all peers that are ours to set, and ourselves, to learn what the NAT gave us."""
        known = {*self.peers, *(peer.public_key for peer in self.tunnel.peers)}
        own = () if self.tunnel.public_key is None else (self.tunnel.public_key,)
        return frozenset([*filter(self.managed, known), *own])


@dataclass(frozen=True, slots=True)
class Waiting:
    """A caller of Refresh: `interfaces` are the tunnels whose pass, begun at `asked_at` or later, has not ended yet."""

    token: int
    interfaces: frozenset[str]
    asked_at: float
    error: WgsdError | None = None


@dataclass(frozen=True, slots=True)
class AgentWatch:
    """Everything."""

    config: Config = field(default_factory=Config)
    config_error: str = ""
    network: Network = field(default_factory=Network)
    seat_active: bool = True
    memory: Memory = field(default_factory=Memory)
    tunnels: Mapping[str, TunnelWatch] = field(default_factory=dict)
    gone: Mapping[str, TunnelWatch] = field(default_factory=dict)
    """Tunnels that have gone, while the helper is still at work for them."""
    waiting: tuple[Waiting, ...] = ()
    follow: Follow = field(default_factory=Follow)
    """The push sessions that were last ordered."""
