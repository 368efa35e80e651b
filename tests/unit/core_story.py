# SPDX-License-Identifier: GPL-2.0-or-later
"""A small world for the controller: a laptop with one tunnel, its kernel, its helper and its registry, without clocks.

The tunnel wg0 has the registry's peer, to which 10.0.0.254 leads, and the peers that a test names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import TypeVar

from wgsd_nm.core import config
from wgsd_nm.core.controller import advance, due
from wgsd_nm.core.errors import LookupFailed, NoSuchPeer
from wgsd_nm.core.events import (
    Action,
    ConfigLoaded,
    EndpointsSet,
    Event,
    Follow,
    LookupsAnswered,
    NetworkSeen,
    PeersRead,
    RecordsPushed,
    SessionChanged,
    SetEndpoints,
    TimePassed,
)
from wgsd_nm.core.model import (
    Advertisement,
    ChangeResult,
    Connectivity,
    Endpoint,
    EndpointChange,
    Network,
    Peer,
    ProfilePeer,
    PublicKey,
    Server,
    Tunnel,
    Uplink,
)
from wgsd_nm.core.watch import AgentWatch, PeerWatch, TunnelWatch

Kind = TypeVar("Kind", bound=Action)
EPOCH = 1_790_000_000.0


def key(name: str) -> PublicKey:
    return PublicKey(hashlib.sha256(name.encode()).digest())


SELF, REGISTRY, BOB, CAROL = key("me"), key("registry"), key("bob"), key("carol")
REGISTRY_AT = Endpoint.parse("203.0.113.254:51820")
HOME, OFFICE, CAFE = (Endpoint.parse(f"198.51.100.{n}:51820") for n in (1, 2, 3))
SERVER = Server(ip_address("10.0.0.254"), device="wg0")
CONFIG = config.parse('[tunnel.home]\nzone = "wg.example.com"\nregistry = "10.0.0.254"\n', "test")


def uplink(address: str = "192.0.2.10/24", gateway: str = "192.0.2.1", interface: str = "eth0") -> Uplink:
    return Uplink(interface, f"uuid-{interface}", (ip_interface(address),), (ip_address(gateway),))


def profile(public_key: PublicKey, host: str, endpoint: str = "") -> ProfilePeer:
    return ProfilePeer(public_key, endpoint, 0, (ip_network(host),))


def tunnel(*peers: ProfilePeer, activation: str = "/active/1", interface: str = "wg0") -> Tunnel:
    registry = profile(REGISTRY, "10.0.0.254/32", str(REGISTRY_AT))
    return Tunnel(
        interface,
        "home",
        "uuid-home",
        activation,
        public_key=SELF,
        addresses=(ip_interface("10.0.0.10/32"),),
        peers=(registry, *peers),
    )


def network(
    *uplinks: Uplink, tunnels: Iterable[Tunnel] = (), connectivity: Connectivity = Connectivity.FULL
) -> Network:
    return Network(True, connectivity, uplinks, tuple(tunnels), frozenset(each.interface for each in uplinks))


def advertised(public_key: PublicKey, *endpoints: Endpoint, ttl: int = 0) -> Advertisement:
    return Advertisement(public_key, endpoints, ttl)


def kernel_peer(public_key: PublicKey, host: str, endpoint: Endpoint | None = None, keepalive: int = 0) -> Peer:
    return Peer(public_key, endpoint, persistent_keepalive=keepalive, allowed_ips=(ip_network(host),))


@dataclass
class Story:
    """Events in, actions out. Nothing answers by itself: a test tells what comes, and when.

    Orders of push sessions are kept apart from what else is done, in `follows`.
    """

    now: float = 100.0
    chance: float = 0.0
    watch: AgentWatch = field(default_factory=AgentWatch)
    network: Network = field(default_factory=Network)
    kernel: dict[PublicKey, Peer] = field(default_factory=dict)
    done: list[Action] = field(default_factory=list)
    follows: list[Follow] = field(default_factory=list)
    at_each_turn: Callable[[Event, tuple[Action, ...]], None] = field(default=lambda _event, _actions: None)

    @classmethod
    def of(cls, *peers: Peer) -> Story:
        """A laptop at home whose tunnel is just about to come up, with those peers beside the registry's."""
        story = cls()
        listed = tuple(ProfilePeer(peer.public_key, allowed_ips=peer.allowed_ips) for peer in peers)
        registry = kernel_peer(REGISTRY, "10.0.0.254/32", REGISTRY_AT, keepalive=25)
        story.kernel = {peer.public_key: peer for peer in (registry, *peers)}
        story.hear(ConfigLoaded(CONFIG))
        story.network = network(uplink(), tunnels=[tunnel(*listed)])
        return story

    @classmethod
    def settled(cls, *peers: Peer, **records: Endpoint) -> Story:
        """The same after its first pass, in which the registry told the `records`, and a quiet second."""
        story = cls.of(*peers)
        story.starts()
        story.works()
        story.answers(**records)
        story.works()
        story.sleeps(0.5)
        assert story.tunnel.pass_started is None
        return story

    # What happens.

    def hear(self, event: Event) -> tuple[Action, ...]:
        self.watch, ordered = advance(self.watch, event, self.now, self.chance)
        self.follows += of_kind(Follow, ordered)
        actions = tuple(action for action in ordered if not isinstance(action, Follow))
        self.done += actions
        self.at_each_turn(event, actions)
        return actions

    def starts(self) -> tuple[Action, ...]:
        return self.hear(NetworkSeen(self.network))

    def sees(self, *uplinks: Uplink, connectivity: Connectivity = Connectivity.FULL) -> tuple[Action, ...]:
        """NetworkManager shows other uplinks."""
        self.network = network(*uplinks, tunnels=self.network.tunnels, connectivity=connectivity)
        return self.hear(NetworkSeen(self.network))

    def sleeps(self, seconds: float) -> tuple[Action, ...]:
        """Time passes, and nothing else happens."""
        end, actions = self.now + seconds, list[Action]()
        while (at := due(self.watch)) <= end:
            self.now = max(self.now, at)
            actions += self.hear(TimePassed())
            assert due(self.watch) > self.now, "TimePassed is wanted again at once, and for ever"
        self.now = end
        return tuple(actions)

    def reads(self) -> tuple[Action, ...]:
        """The helper answers a reading with what the kernel has now."""
        self.now += 0.002
        return self.hear(PeersRead("wg0", tuple(self.kernel.values()), self.clock))

    def answers(self, **records: Endpoint | LookupFailed) -> tuple[Action, ...]:
        """The registry answers all that is asked of it: what it does not know with NoSuchPeer."""
        self.now += 0.01
        return self.tells("10.0.0.254", **records)

    def tells(self, source: str, **records: Endpoint | LookupFailed) -> tuple[Action, ...]:
        """As `answers`, of one of several registries."""
        known = {key(name): answer for name, answer in records.items()}
        answers = tuple(_answer(each, known.get(each)) for each in self.tunnel.pending)
        return self.hear(LookupsAnswered("wg0", source, answers))

    def hears_of(self, name: str, answer: Endpoint | LookupFailed) -> tuple[Action, ...]:
        """One answer comes, before those to other questions."""
        return self.hear(LookupsAnswered("wg0", "10.0.0.254", (_answer(key(name), answer),)))

    def is_pushed(self, source: str = "10.0.0.254", **records: Endpoint | LookupFailed) -> tuple[Action, ...]:
        """A registry tells of peers unasked."""
        return self.hear(RecordsPushed("wg0", source, tuple(_answer(key(name), at) for name, at in records.items())))

    def is_followed(self, *keys: PublicKey, source: str = "10.0.0.254") -> tuple[Action, ...]:
        """There is a push session in which these peers are followed; without any, there is none."""
        return self.hear(SessionChanged("wg0", source, frozenset(keys)))

    def acknowledges(self) -> bool:
        """The helper carries the order under way out as the real one does; whether there was one."""
        orders = [action for action in self.done if isinstance(action, SetEndpoints)]
        if not self.tunnel.writing:
            return False
        self.now += 0.002
        self.acknowledge(orders[-1], {change.public_key: self.carry_out(change) for change in orders[-1].changes})
        return True

    def acknowledge(self, order: SetEndpoints, results: dict[PublicKey, ChangeResult]) -> None:
        self.hear(EndpointsSet(order.interface, order.changes, order.reasons, results))

    def works(self) -> tuple[Action, ...]:
        """The helper does all that it has been ordered to."""
        before = len(self.done)
        while self.tunnel.at_work:
            if not self.acknowledges():
                self.reads()
        return tuple(self.done[before:])

    def carry_out(self, change: EndpointChange) -> ChangeResult:
        peer = self.kernel.get(change.public_key)
        if peer is None:
            return ChangeResult.UNKNOWN_PEER
        if peer.endpoint != change.expected:
            return ChangeResult.STALE
        if change.wanted is None:
            return ChangeResult.POKED if peer.endpoint is not None else ChangeResult.NO_ENDPOINT
        self.kernel[change.public_key] = replace(peer, endpoint=change.wanted)
        return ChangeResult.CHANGED

    # What the kernel sees meanwhile.

    @property
    def clock(self) -> int:
        return int((EPOCH + self.now) * 1e6)

    def shakes(self, public_key: PublicKey, endpoint: Endpoint | None = None) -> None:
        """A handshake with the peer is completed, from `endpoint` if that is another one."""
        peer = self.kernel[public_key]
        self.kernel[public_key] = replace(
            peer,
            latest_handshake=self.clock,
            rx_bytes=peer.rx_bytes + 92,
            tx_bytes=peer.tx_bytes + 148,
            endpoint=endpoint or peer.endpoint,
        )

    def receives(self, public_key: PublicKey, endpoint: Endpoint | None = None, octets: int = 1000) -> None:
        peer = self.kernel[public_key]
        self.kernel[public_key] = replace(peer, rx_bytes=peer.rx_bytes + octets, endpoint=endpoint or peer.endpoint)

    def sends(self, public_key: PublicKey, octets: int = 1000) -> None:
        peer = self.kernel[public_key]
        self.kernel[public_key] = replace(peer, tx_bytes=peer.tx_bytes + octets)

    # What there is to see.

    @property
    def tunnel(self) -> TunnelWatch:
        return self.watch.tunnels["wg0"]

    def peer(self, public_key: PublicKey) -> PeerWatch:
        return self.tunnel.peers[public_key]

    def connects(self, public_key: PublicKey, endpoint: Endpoint | None = None) -> None:
        """The peer's path is proven: a handshake, and a reading that shows it."""
        self.sleeps(0.5)
        self.shakes(public_key, endpoint)
        self.check()
        assert self.peer(public_key).connected(self.now)

    def check(self) -> tuple[Action, ...]:
        """Wait for the next reading of the device, and let it come."""
        before = len(self.done)
        while self.tunnel.reading_since is None:
            self.sleeps(max(0.0, due(self.watch) - self.now))
        self.works()
        return tuple(self.done[before:])


def _answer(
    public_key: PublicKey, answer: Endpoint | LookupFailed | None
) -> tuple[PublicKey, Advertisement | LookupFailed]:
    match answer:
        case None:
            return public_key, NoSuchPeer("the registry does not know this peer", 60)
        case Endpoint():
            return public_key, advertised(public_key, answer)
        case _:
            return public_key, answer


def of_kind(kind: type[Kind], actions: Iterable[Action]) -> list[Kind]:
    return [action for action in actions if isinstance(action, kind)]
