# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may ask what: by the interface that a packet came in by, and by its source. Knows neither DNS nor sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from wgsd_nm.core.model import IPAddress, IPNetwork, Peer, unmapped
from wgsd_nm.registry.addresses import is_default_route
from wgsd_nm.registry.zone import Zone

LOOPBACK = 1
"""The interface index of `lo` (linux/if.h has none; LOOPBACK_IFINDEX in net/flow.h)."""
NAME_AGE = 1.0
"""Seconds for which the name of an interface index is remembered: a device may be renamed, or made anew."""
MAX_NAMES = 256

STRANGER_INTERVAL = 0.2
"""Seconds that an answer to strangers of one network costs ..."""
STRANGER_BURST = 10
"""... of which so many may be had in advance."""
OVERALL_INTERVAL = 0.005
OVERALL_BURST = 100
"""The same for strangers altogether."""
_STRANGER_LIMIT = (STRANGER_BURST + 0.5) * STRANGER_INTERVAL
_OVERALL_LIMIT = (OVERALL_BURST + 0.5) * OVERALL_INTERVAL
"""Seconds until a bucket is full again; half an answer more than there are, because sums of seconds are not exact."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One zone: for what comes in by its WireGuard device, and for sources in these networks by any interface.

    WireGuard lets only packets in whose source is among the AllowedIPs of the peer that they came from
    (drivers/net/wireguard/receive.c), so that by that interface the source is proven. In `networks` it is not.
    """

    zone: Zone
    device: str
    networks: tuple[IPNetwork, ...] = ()


class Access:
    """What is granted to whom. A machine may ask itself everything."""

    def __init__(
        self,
        grants: Iterable[Grant],
        *,
        name_of: Callable[[int], str] = socket.if_indextoname,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`name_of` tells an interface's name by its index, or raises OSError where there is none."""
        self._grants = tuple(grants)
        self._name_of = name_of
        self._clock = clock
        self._names: dict[int, str] = {}
        self._names_until = float("-inf")
        self._all = tuple(dict.fromkeys(grant.zone for grant in self._grants))
        self._known: dict[tuple[Zone, ...], tuple[Zone, ...]] = {}

    def zones(self, interface: int, source: str) -> tuple[Zone, ...]:
        """The zones that a packet's sender may ask for; equal ones are the same object. 0 is an unknown interface.

        Raises ValueError where `source` is no IP address.
        """
        if interface == LOOPBACK:
            return self._all
        name = self._name(interface)
        address = parse_source(source)
        found = dict.fromkeys(
            grant.zone for grant in self._grants if grant.device == name or _contains(grant.networks, address)
        )
        zones = tuple(found)
        return self._known.setdefault(zones, zones)

    def _name(self, interface: int) -> str:
        """ "" where there is no such interface (any more)."""
        if self._clock() >= self._names_until or len(self._names) >= MAX_NAMES:
            self._names.clear()
            self._names_until = self._clock() + NAME_AGE
        name = self._names.get(interface)
        if name is None:
            try:
                name = self._name_of(interface) if interface else ""
            except OSError:
                name = ""
            self._names[interface] = name
        return name


class RateLimit:
    """How many answers those get who may not ask: a token bucket for each of their networks, and one over all.

    Kept as the time at which a bucket will be full again (the generic cell rate algorithm). A network is remembered
    only until then, so that the bucket over all bounds how many are.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full: dict[str | bytes, float] = {}
        self._all_full = float("-inf")
        self._sweep = float("-inf")

    def permits(self, source: str) -> bool:
        """Whether one more answer may go to this source; if so, it counts. Raises ValueError if that is no address."""
        now = self._clock()
        network = network_of(source)
        full = max(now, self._full.get(network, now)) + STRANGER_INTERVAL
        all_full = max(now, self._all_full) + OVERALL_INTERVAL
        if full > now + _STRANGER_LIMIT or all_full > now + _OVERALL_LIMIT:
            return False
        if now >= self._sweep:
            self._sweep = now + _STRANGER_LIMIT
            self._full = {network: time for network, time in self._full.items() if time > now}
        self._full[network] = full
        self._all_full = all_full
        return True

    @property
    def remembered(self) -> int:
        """How many networks are."""
        return len(self._full)


def parse_source(text: str) -> IPAddress:
    """A packet's source as its socket names it; IPv4-mapped is IPv4. Raises ValueError."""
    return unmapped(ip_address(text))


def network_of(source: str) -> str | bytes:
    """The network of which a source counts as one stranger: /24 or /56. Raises ValueError."""
    if ":" not in source:
        return source.rpartition(".")[0]
    address = parse_source(source)
    return str(address).rpartition(".")[0] if address.version == 4 else address.packed[:7]


def overlap(networks: Iterable[IPNetwork], peers: Iterable[Peer]) -> tuple[IPNetwork, IPNetwork] | None:
    """The first of these networks with addresses of the tunnel, and the allowed IPs that are so; None if there is none.

    Granted to all interfaces, these are no longer proven by theirs. A full tunnel's allowed IPs are not meant.
    """
    tunnel = [allowed for peer in peers for allowed in peer.allowed_ips if not is_default_route(allowed)]
    for network in networks:
        if not is_default_route(network):  # that one lets everybody in, which is said of it at once
            for allowed in tunnel:
                if network.version == allowed.version and network.overlaps(allowed):
                    return network, allowed
    return None


def _contains(networks: Iterable[IPNetwork], address: IPAddress) -> bool:
    for network in networks:
        if isinstance(network, IPv4Network) and isinstance(address, IPv4Address):
            if address in network:
                return True
        elif isinstance(network, IPv6Network) and isinstance(address, IPv6Address) and address in network:
            return True
    return False
