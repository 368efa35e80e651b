# SPDX-License-Identifier: GPL-2.0-or-later
"""What the agent remembers: of one peer, of one tunnel, of all. Only `controller.advance` makes new ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from wgsd_nm.core.config import Config, TunnelConfig
from wgsd_nm.core.errors import LookupFailed, WgsdError
from wgsd_nm.core.evidence import Evidence
from wgsd_nm.core.model import Advertisement, Endpoint, Network, Peer, PublicKey, Server, Tunnel
from wgsd_nm.core.schedule import WANTED


@dataclass(frozen=True, slots=True)
class Trial:
    """A path that may prove itself until `until` before the registry's word replaces it."""

    endpoint: Endpoint
    until: float


class PeerWatch(NamedTuple):
    """One peer of a tunnel. Times are seconds of the agent's monotonic clock.

    A tuple, because a pass over a thousand peers makes ten thousand of these, and nothing else is made as fast.
    """

    public_key: PublicKey
    kernel: Peer | None = None
    evidence: Evidence = Evidence()
    record: Advertisement | None = None
    """What a registry last said; an answer without an endpoint does not take it away."""
    followed: Endpoint | None = None
    """The endpoint in use when the record changed, if it was what the registry had said before."""
    error: LookupFailed | None = None
    """Why the last lookup gave no endpoint."""
    answered_at: float = -inf
    rounds: int = 0
    """Lookups since the last event, or since the peer was last connected."""
    trying_since: float | None = None
    next_lookup: float | None = None
    trial: Trial | None = None
    poke_due: bool = False
    named_until: float = -inf
    """Until when the peer is wanted because a person asked for it."""

    @property
    def endpoint(self) -> Endpoint | None:
        return None if self.kernel is None else self.kernel.endpoint

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


@dataclass(frozen=True, slots=True)
class Discovery:
    """Whom to ask for a tunnel's peers: the zone (absolute, lower case) and the registries; or why nobody."""

    zone: str = ""
    servers: tuple[Server, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class TunnelWatch:
    """One configured tunnel that is up."""

    tunnel: Tunnel
    settings: TunnelConfig
    discovery: Discovery
    registry_peers: frozenset[PublicKey] = frozenset()
    """Peers that lead to the registries; never written from any zone."""
    pinned: frozenset[PublicKey] = frozenset()
    """Peers whose profile names an endpoint, and who are left alone for that."""
    peers: Mapping[PublicKey, PeerWatch] = field(default_factory=dict)
    pending: Mapping[PublicKey, int] = field(default_factory=dict)
    """Lookups under way: for each peer the number of registries that have not answered yet."""
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
    public_endpoint: Endpoint | None = None
    """What a registry sees of ourselves."""
    lookup_error: LookupFailed | None = None
    """Why no registry answered in the last pass."""

    @property
    def at_work(self) -> bool:
        """Whether the helper has an order of ours that it has not answered."""
        return self.reading_since is not None or self.writing

    def managed(self, key: PublicKey) -> bool:
        """Whether the peer's endpoint is ours to set."""
        return key not in self.registry_peers and key not in self.pinned

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
    tunnels: Mapping[str, TunnelWatch] = field(default_factory=dict)
    gone: Mapping[str, TunnelWatch] = field(default_factory=dict)
    """Tunnels that have gone, while the helper is still at work for them."""
    waiting: tuple[Waiting, ...] = ()
