# SPDX-License-Identifier: GPL-2.0-or-later
"""Where we stand: what can be reached from here at all, and what cannot. It knows nothing of peers' paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, ip_network
from typing import Final, Self

from wgsd_nm.core.model import Endpoint, IPAddress, IPNetwork, Network, Peer, Tunnel, Way
from wgsd_nm.core.reason import Reason

BROADCAST: Final = IPv4Address("255.255.255.255")
RESERVED: Final = ip_network("240.0.0.0/4")
THIS_NETWORK: Final = ip_network("0.0.0.0/8")
PRIVATE: Final = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)  # RFC 1918, RFC 6598, RFC 4193
WHOLE: Final = 1
"""Prefixes up to this length stand for "everything"; policy routing keeps WireGuard's own packets out of them."""
HAS_BROADCAST: Final = 30
"""IPv4 networks with prefixes longer than this have no broadcast address (RFC 3021)."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What decides whether an endpoint can be reached."""

    own: frozenset[IPAddress]
    inside: Mapping[tuple[int, int], frozenset[int]]
    """What lies inside the tunnel: by IP version and number of host bits, the numbers that the other bits make."""
    versions: frozenset[int]
    """IP versions with a default route beside the tunnel."""
    on_link: tuple[IPNetwork, ...]
    broadcast: frozenset[IPAddress]
    public: frozenset[IPAddress]
    """Where the registries see us."""

    @classmethod
    def of(cls, network: Network, tunnel: Tunnel, peers: Iterable[Peer], seen: Iterable[Endpoint] = ()) -> Self:
        inside: dict[tuple[int, int], set[int]] = {}
        for peer in peers:
            for prefix in peer.allowed_ips:
                if prefix.prefixlen > WHOLE or not tunnel.fwmark:
                    bits = prefix.max_prefixlen - prefix.prefixlen
                    inside.setdefault((prefix.version, bits), set()).add(int(prefix.network_address) >> bits)
        interfaces = [address for uplink in network.uplinks for address in uplink.addresses]
        on_link = tuple(address.network for address in interfaces if not address.is_link_local)
        return cls(
            own=frozenset(address.ip for address in (*interfaces, *tunnel.addresses)),
            inside={kind: frozenset(numbers) for kind, numbers in inside.items()},
            versions=frozenset(v for v in (4, 6) if any(uplink.reaches(v) for uplink in network.uplinks)),
            on_link=on_link,
            broadcast=frozenset(
                prefix.broadcast_address
                for prefix in on_link
                if prefix.version == 4 and prefix.prefixlen <= HAS_BROADCAST
            ),
            public=frozenset(endpoint.address for endpoint in seen),
        )

    def refusal(self, endpoint: Endpoint) -> Reason | None:
        """Why nothing can be reached at that endpoint from here; None if something may."""
        address = endpoint.address
        if endpoint.port == 0:
            return Reason.PORT_ZERO
        nature = _nature(address)
        if nature is not None:
            return nature
        if address in self.own:
            return Reason.OWN_ADDRESS
        if address in self.broadcast:
            return Reason.BROADCAST
        if self._is_inside(address):
            return Reason.INSIDE_TUNNEL
        if address.version not in self.versions and not self._is_on_link(address):
            return Reason.NO_ROUTE
        return None

    def way(self, endpoint: Endpoint) -> Way:
        """By what the endpoint is reached: a network that we are on, somebody's private one, or the internet.

        A program on this machine may stand for the peer and carry its packets on: by what, nobody can tell.
        """
        address = endpoint.address
        if address.is_loopback:
            return Way.NONE
        if address.is_link_local or self._is_on_link(address):
            return Way.LINK
        return Way.PRIVATE if _is_private(address) else Way.INTERNET

    def is_far_and_private(self, endpoint: Endpoint, others: Iterable[Endpoint]) -> bool:
        """Whether it is in somebody's private network, which neither is on our link nor seems to lie behind our NAT.

        `others` are the peer's other endpoints: one with our own public address means one NAT for both.
        """
        address = endpoint.address
        if not _is_private(address) or self._is_on_link(address):
            return False
        return not any(other.address in self.public for other in others)

    def _is_on_link(self, address: IPAddress) -> bool:
        return any(address in prefix for prefix in self.on_link)

    def _is_inside(self, address: IPAddress) -> bool:
        number = int(address)
        return any(
            version == address.version and number >> bits in numbers for (version, bits), numbers in self.inside.items()
        )


@lru_cache(maxsize=4096)
def _is_private(address: IPAddress) -> bool:
    return any(address in prefix for prefix in PRIVATE)


@lru_cache(maxsize=4096)
def _nature(address: IPAddress) -> Reason | None:
    """Why nobody can ever be reached at an address of that kind."""
    if address.is_unspecified:
        return Reason.UNSPECIFIED
    if address.is_loopback:
        return Reason.LOOPBACK
    if address.is_multicast:
        return Reason.MULTICAST
    if address.is_link_local:
        return Reason.LINK_LOCAL
    if address == BROADCAST or address in RESERVED or address in THIS_NETWORK:
        return Reason.RESERVED_ADDRESS
    return None
