# SPDX-License-Identifier: GPL-2.0-or-later
"""The values that everything else speaks of. They know nothing of where they come from.

Each is frozen and validates itself; whoever holds one need not check again.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
)
from typing import Self

from wgsd_nm.core.errors import InvalidValue

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network

KEY_LENGTH = 32
MAX_INTERFACE_LENGTH = 15  # IFNAMSIZ - 1, linux/if.h


@dataclass(frozen=True, slots=True, order=True)
class PublicKey:
    """A peer's Curve25519 public key: 32 octets, written as 44 letters of base64 as `wg` does."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != KEY_LENGTH:
            raise InvalidValue(f"a WireGuard public key has {KEY_LENGTH} octets, not {len(self.raw)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From base64 as `wg` prints it. Raises InvalidValue."""
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != KEY_LENGTH or base64.b64encode(raw).decode() != text:
            raise InvalidValue(f"{shown(text)} is not a WireGuard public key: expected 44 letters of base64")
        return cls(raw)

    def __hash__(self) -> int:
        return hash(self.raw)  # which the octets remember: keys are looked up by the thousand

    def __str__(self) -> str:
        return base64.b64encode(self.raw).decode()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The UDP address of a peer as the kernel holds it: an IP address (link-local: with its scope) and a port."""

    address: IPAddress
    port: int

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 0xFFFF:
            raise InvalidValue(f"a port is a number from 0 to 65535, not {self.port}")
        scope = getattr(self.address, "scope_id", None)
        if scope is not None:
            parse_interface(scope)  # ipaddress takes any text; ours is an interface's name or index

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `192.0.2.1:51820` or `[2001:db8::1]:51820`, as `wg` prints it. Raises InvalidValue."""
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        try:
            if not colon or not (port.isascii() and port.isdigit() and len(port) <= 5):
                raise ValueError
            address = ip_address(host[1:-1] if bracketed else host)
            if bracketed != (address.version == 6):
                raise ValueError
            return cls(address, int(port))
        except ValueError:
            raise InvalidValue(
                f"{shown(text)} is not an endpoint: expected ADDRESS:PORT, like 192.0.2.1:51820 or [2001:db8::1]:51820"
            ) from None

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


def unmapped(address: IPAddress) -> IPAddress:
    """An IPv4-mapped address (RFC 4291 section 2.5.5.2) as the IPv4 address that it stands for."""
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def endpoint_text(endpoint: Endpoint | None) -> str:
    """As the bus shows it: "" for none."""
    return "" if endpoint is None else str(endpoint)


def parse_interface(text: str) -> str:
    """A network interface's name (linux dev_valid_name()). Raises InvalidValue."""
    if (
        not 0 < len(text.encode()) <= MAX_INTERFACE_LENGTH
        or text in (".", "..")
        or any(letter in "/:" or letter.isspace() or not letter.isprintable() for letter in text)
    ):
        raise InvalidValue(
            f"{shown(text)} is not a network interface name: expected 1 to {MAX_INTERFACE_LENGTH} octets "
            "without slashes, colons or spaces"
        )
    return text


def shown(text: str) -> str:
    """A text from outside as an error message may show it: quoted, escaped and short."""
    return ascii(text if len(text) <= 64 else text[:61] + "...")


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer of a kernel WireGuard device (linux/wireguard.h, WGPEER_A_*), without its preshared key.

    Times are microseconds since the epoch, 0 for never; counters are octets; the keepalive is in seconds, 0 for off.
    """

    public_key: PublicKey
    endpoint: Endpoint | None = None
    latest_handshake: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0
    persistent_keepalive: int = 0
    allowed_ips: tuple[IPNetwork, ...] = ()

    @property
    def hosts(self) -> tuple[IPAddress, ...]:
        """Its own addresses: the first single one of each family among its AllowedIPs."""
        single = (prefix for prefix in self.allowed_ips if prefix.prefixlen == prefix.max_prefixlen)
        return tuple({prefix.version: prefix.network_address for prefix in reversed(tuple(single))}.values())


@dataclass(frozen=True, slots=True)
class Device:
    """A kernel WireGuard device (linux/wireguard.h, WGDEVICE_A_*), without its private key.

    `public_key` is None while the device has no private key. `index` is the interface's, 0 where it is not known.
    """

    interface: str
    public_key: PublicKey | None
    listen_port: int
    fwmark: int
    peers: tuple[Peer, ...]
    index: int = 0


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """A wish for one peer: `expected` is what the caller believes is in use, `wanted` None only pokes."""

    public_key: PublicKey
    expected: Endpoint | None
    wanted: Endpoint | None


class ChangeResult(StrEnum):
    """What became of an EndpointChange."""

    CHANGED = "changed"
    """The endpoint is set, and the peer is poked if its keepalive is on."""
    POKED = "poked"
    """The peer is poked; its endpoint is as it was."""
    STALE = "stale"
    """Nothing was written: the peer's endpoint is not the expected one, it has roamed meanwhile."""
    UNKNOWN_PEER = "unknown-peer"
    """The device has no such peer."""
    NO_ENDPOINT = "no-endpoint"
    """A poke of a peer that has no endpoint."""


class Connectivity(IntEnum):
    """NetworkManager's Connectivity property (NMConnectivityState)."""

    UNKNOWN = 0
    NONE = 1
    PORTAL = 2
    LIMITED = 3
    FULL = 4


@dataclass(frozen=True, slots=True)
class Uplink:
    """An active connection that can carry WireGuard's packets: no WireGuard, no tun, no loopback.

    `gateways` are the next hops of its default routes, best first; a default route without a next hop counts as the
    unspecified address of its family. `addresses` are the device's own. `metric` is the best default route's.
    `name_servers` are the DNS servers that the network or the profile gave that device.
    """

    interface: str
    connection_uuid: str
    addresses: tuple[IPInterface, ...]
    gateways: tuple[IPAddress, ...]
    metric: int = 0
    name_servers: tuple[IPAddress, ...] = ()

    def reaches(self, version: int) -> bool:
        """Whether a default route of that IP version leads out here, with an address to send from."""
        return any(gateway.version == version for gateway in self.gateways) and any(
            address.version == version and not address.is_link_local for address in self.addresses
        )


@dataclass(frozen=True, slots=True)
class ProfilePeer:
    """A peer of NetworkManager's profile (setting wireguard.peers). `endpoint` is its text, possibly a host name."""

    public_key: PublicKey
    endpoint: str = ""
    persistent_keepalive: int = 0
    allowed_ips: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class Tunnel:
    """An activated WireGuard device and the NetworkManager profile that made it.

    `activation` is any text; another one means that the kernel's peers were made anew.
    `dns` and `search` are the profile's own, for `zone = "auto"`.
    """

    interface: str
    connection_id: str
    connection_uuid: str
    activation: str
    public_key: PublicKey | None = None
    fwmark: int = 0
    addresses: tuple[IPInterface, ...] = ()
    peers: tuple[ProfilePeer, ...] = ()
    dns: tuple[IPAddress, ...] = ()
    search: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Network:
    """All that NetworkManager says and that matters here, as one snapshot. Uplinks are best default route first.

    `carrier` holds the interface names of the uplinks that have a link: a quickly moved cable shows only there.
    """

    available: bool = False
    connectivity: Connectivity = Connectivity.UNKNOWN
    uplinks: tuple[Uplink, ...] = ()
    tunnels: tuple[Tunnel, ...] = ()
    carrier: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Server:
    """A DNS server by its address. `device` is the interface that its socket is bound to, "" for none."""

    address: IPAddress
    port: int = 53
    device: str = ""

    def __str__(self) -> str:
        return str(self.address) if self.port == 53 else str(Endpoint(self.address, self.port))


@dataclass(frozen=True, slots=True)
class Advertisement:
    """What a registry says of one peer (RFC 6763): endpoints, best first, the TXT record, seconds to keep it."""

    public_key: PublicKey
    endpoints: tuple[Endpoint, ...]
    ttl: int
    name: str = ""
    txt: tuple[tuple[str, str], ...] = ()


class State(StrEnum):
    """The agent's and a tunnel's state, the first that holds (in this order)."""

    UNAVAILABLE = "unavailable"
    OFFLINE = "offline"
    CAPTIVE_PORTAL = "captive-portal"
    LOOKING_UP = "looking-up"
    DEGRADED = "degraded"
    OK = "ok"
    IDLE = "idle"


class Updates(StrEnum):
    """How the agent learns that a peer has moved."""

    PUSH = "push"
    POLLING = "polling"
    NONE = ""


class Source(StrEnum):
    """Where the endpoint in use came from."""

    REGISTRY = "registry"
    ROAMED = "roamed"
    PROFILE = "profile"
    CACHE = "cache"
    NONE = "none"


class Way(StrEnum):
    """By what an endpoint is reached from here, as its address tells."""

    LINK = "link"
    PRIVATE = "private"
    INTERNET = "internet"
    NONE = ""


class PeerState(StrEnum):
    """How a peer is reached."""

    CONNECTED = "connected"
    PROBING = "probing"
    STALE = "stale"
    UNREACHABLE = "unreachable"
    IDLE = "idle"
    UNKNOWN = "unknown"
