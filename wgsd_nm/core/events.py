# SPDX-License-Identifier: GPL-2.0-or-later
"""What the controller hears (events, in the past tense) and what it orders (actions, in the imperative)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wgsd_nm.core.config import Config
from wgsd_nm.core.errors import LookupFailed, WgsdError
from wgsd_nm.core.memory import Memory
from wgsd_nm.core.model import (
    Advertisement,
    ChangeResult,
    Endpoint,
    EndpointChange,
    IPAddress,
    Network,
    Peer,
    PublicKey,
    Server,
    Uplink,
)
from wgsd_nm.core.reason import Reason


@dataclass(frozen=True, slots=True)
class ConfigLoaded:
    """The configuration was read; `config` is None if it is wrong (`error` says why) and the last good one stays."""

    config: Config | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class NetworkSeen:
    """NetworkManager's state differs from the last one seen."""

    network: Network


@dataclass(frozen=True, slots=True)
class Woke:
    """The machine woke up: the kernel has wiped every session."""


@dataclass(frozen=True, slots=True)
class SeatChanged:
    """Our login session became active, or another user's did."""

    active: bool


@dataclass(frozen=True, slots=True)
class PeersRead:
    """The helper read a device. `clock` is the wall clock in microseconds at the time."""

    interface: str
    peers: tuple[Peer, ...]
    clock: int


@dataclass(frozen=True, slots=True)
class ReadFailed:
    interface: str
    error: WgsdError


@dataclass(frozen=True, slots=True)
class LookupsAnswered:
    """Lookups ended: each with what the registry `source` said of one peer, or why it said nothing."""

    interface: str
    source: str
    answers: tuple[tuple[PublicKey, Advertisement | LookupFailed], ...]


@dataclass(frozen=True, slots=True)
class RecordsPushed:
    """The registry `source` told of changed records unasked, as a lookup would have. It answers no lookup under way.

    `ask` are peers whose records changed, and lead to other names: a lookup has to find out.
    """

    interface: str
    source: str
    answers: tuple[tuple[PublicKey, Advertisement | LookupFailed], ...]
    ask: tuple[PublicKey, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionChanged:
    """These are the peers whose changes the registry `source` pushes now: none where there is no session with it."""

    interface: str
    source: str
    following: frozenset[PublicKey]


@dataclass(frozen=True, slots=True)
class HostResolved:
    """What the host name of a registry's own peer stands for, or why that is not known."""

    interface: str
    public_key: PublicKey
    host: str
    answer: tuple[Endpoint, ...] | LookupFailed


@dataclass(frozen=True, slots=True)
class EndpointsSet:
    """The kernel acknowledged. `reasons` are those that came with the order."""

    interface: str
    changes: tuple[EndpointChange, ...]
    reasons: Mapping[PublicKey, Reason]
    results: Mapping[PublicKey, ChangeResult]


@dataclass(frozen=True, slots=True)
class SetFailed:
    interface: str
    error: WgsdError


@dataclass(frozen=True, slots=True)
class RefreshRequested:
    """Somebody asked to look all peers up now: of one tunnel, or of all with interface ""."""

    token: int
    interface: str = ""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The time for which `controller.due` asked has come."""


Event = (
    ConfigLoaded
    | NetworkSeen
    | Woke
    | SeatChanged
    | PeersRead
    | ReadFailed
    | LookupsAnswered
    | RecordsPushed
    | SessionChanged
    | HostResolved
    | EndpointsSet
    | SetFailed
    | RefreshRequested
    | TimePassed
)


@dataclass(frozen=True, slots=True)
class ReadPeers:
    """Have the helper read the device; answer with PeersRead or ReadFailed."""

    interface: str


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask every server for every key, all at once; answer each pair once, in LookupsAnswered."""

    interface: str
    servers: tuple[Server, ...]
    zone: str
    keys: tuple[PublicKey, ...]


@dataclass(frozen=True, slots=True)
class Resolve:
    """Resolve the host name of a registry's own peer beside the tunnel; answer with HostResolved."""

    interface: str
    public_key: PublicKey
    host: str
    port: int
    uplinks: tuple[Uplink, ...]


@dataclass(frozen=True, slots=True)
class SetEndpoints:
    """Have the helper set and poke; answer with EndpointsSet or SetFailed."""

    interface: str
    changes: tuple[EndpointChange, ...]
    reasons: Mapping[PublicKey, Reason]


@dataclass(frozen=True, slots=True)
class Probe:
    """Send one small datagram through the tunnel to each address, so that a live path has something to answer."""

    interface: str
    addresses: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True)
class ForgetServers:
    """End all lookups under way, without answers; drop the sockets to the registries and what was learnt of them.

    Push sessions go on, for the addresses inside of a tunnel stay; but whether they live has to be found out at once.
    """


@dataclass(frozen=True, slots=True)
class Following:
    """What is to be followed of one tunnel: these peers in this zone, at each of the servers that has push.

    `activation` is the tunnel's: sessions over a device that was made anew are dead.
    """

    interface: str
    activation: str
    servers: tuple[Server, ...]
    zone: str
    keys: frozenset[PublicKey]


@dataclass(frozen=True, slots=True)
class Follow:
    """Keep push sessions for all of these, and no others; tell what comes of them in SessionChanged and RecordsPushed.

    Unless `may_work`, those that there are go on, and nothing is asked or sent.
    """

    tunnels: tuple[Following, ...] = ()
    may_work: bool = False


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep this for the next start."""

    memory: Memory


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell that a peer's endpoint changed."""

    interface: str
    public_key: PublicKey
    old: Endpoint | None
    new: Endpoint | None
    reason: Reason


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer a caller of Refresh."""

    token: int
    error: WgsdError | None = None


Action = ReadPeers | LookUp | Resolve | SetEndpoints | Probe | ForgetServers | Follow | Remember | Announce | Reply
