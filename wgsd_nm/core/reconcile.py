# SPDX-License-Identifier: GPL-2.0-or-later
"""The policy of what may be overwritten: what the registry says against what the kernel has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, ip_network
from typing import Final, Self

from wgsd_nm.core.model import Endpoint, IPAddress, IPNetwork, Network, Peer, Tunnel
from wgsd_nm.core.reason import Reason
from wgsd_nm.core.schedule import TRIAL_WITH_SESSION, TRIAL_WITHOUT_SESSION
from wgsd_nm.core.watch import PeerWatch, Trial

BROADCAST: Final = IPv4Address("255.255.255.255")
RESERVED: Final = ip_network("240.0.0.0/4")
WHOLE: Final = 1
"""Prefixes up to this length stand for "everything"; policy routing keeps WireGuard's own packets out of them."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where we stand: what decides whether an endpoint can be reached at all."""

    own: frozenset[IPAddress]
    inside: Mapping[tuple[int, int], frozenset[int]]
    """What lies inside the tunnel: by IP version and number of host bits, the numbers that the other bits make."""
    versions: frozenset[int]
    """IP versions with a default route beside the tunnel."""
    on_link: tuple[IPNetwork, ...]

    @classmethod
    def of(cls, network: Network, tunnel: Tunnel, peers: Iterable[Peer]) -> Self:
        inside: dict[tuple[int, int], set[int]] = {}
        for peer in peers:
            for prefix in peer.allowed_ips:
                if prefix.prefixlen > WHOLE or not tunnel.fwmark:
                    bits = prefix.max_prefixlen - prefix.prefixlen
                    inside.setdefault((prefix.version, bits), set()).add(int(prefix.network_address) >> bits)
        interfaces = [address for uplink in network.uplinks for address in uplink.addresses]
        return cls(
            own=frozenset(address.ip for address in (*interfaces, *tunnel.addresses)),
            inside={kind: frozenset(numbers) for kind, numbers in inside.items()},
            versions=frozenset(v for v in (4, 6) if any(uplink.reaches(v) for uplink in network.uplinks)),
            on_link=tuple(address.network for address in interfaces if not address.is_link_local),
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
        if self._is_inside(address):
            return Reason.INSIDE_TUNNEL
        if address.version not in self.versions and not any(address in prefix for prefix in self.on_link):
            return Reason.NO_ROUTE
        return None

    def _is_inside(self, address: IPAddress) -> bool:
        number = int(address)
        return any(
            version == address.version and number >> bits in numbers for (version, bits), numbers in self.inside.items()
        )


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
    if address == BROADCAST or address in RESERVED:
        return Reason.RESERVED_ADDRESS
    return None


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do for one peer now: set `endpoint`, or only poke, or wait for a trial to end, or nothing."""

    endpoint: Endpoint | None = None
    reason: Reason | None = None
    poke: bool = False
    trial: Trial | None = None


def candidates(peer: PeerWatch, ground: Ground) -> tuple[list[Endpoint], Reason | None]:
    """The registry's endpoints that can work from here, best first; and why the first of the others cannot."""
    usable: list[Endpoint] = []
    refused: Reason | None = None
    for endpoint in peer.record.endpoints if peer.record is not None else ():
        refusal = ground.refusal(endpoint)
        if refusal is None:
            usable.append(endpoint)
        else:
            refused = refused or refusal
    return usable, refused


def decide(peer: PeerWatch, ground: Ground, now: float) -> Decision:
    """The policy for a peer whose endpoint is ours to set."""
    usable, _ = candidates(peer, ground)
    current, wanted = peer.endpoint, peer.wanted(now)
    poke = Decision(poke=peer.poke_due and wanted and current is not None)
    if not usable or current in usable:
        return poke
    if current is None:
        return Decision(usable[0], Reason.FOUND)
    if current == peer.followed:
        return Decision(usable[0], Reason.MOVED)
    if peer.evidence.alive or not wanted:
        return poke
    trial = peer.trial
    if trial is None or trial.endpoint != current:
        patience = TRIAL_WITH_SESSION if peer.evidence.has_session(now) else TRIAL_WITHOUT_SESSION
        return Decision(poke=True, trial=Trial(current, now + patience))
    if now < trial.until:
        return Decision(poke=poke.poke, trial=trial)
    return Decision(usable[0], Reason.SILENT)
