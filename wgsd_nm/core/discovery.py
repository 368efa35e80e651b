# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom to ask for a tunnel's peers, by which way, and which peers the answers never touch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address

from wgsd_nm.core.config import TunnelConfig
from wgsd_nm.core.dnssd import parse_zone
from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import IPAddress, Network, ProfilePeer, PublicKey, Server, Tunnel, Uplink
from wgsd_nm.core.reconcile import WHOLE
from wgsd_nm.core.watch import Discovery


def ways_out(network: Network) -> tuple[Uplink, ...]:
    """The uplinks with a default route; all, if none has one. A bridge of containers comes, goes, and leads nowhere."""
    return tuple(uplink for uplink in network.uplinks if uplink.gateways) or network.uplinks


def has_usable_uplink(network: Network) -> bool:
    """Whether some device has an address to send from. What NetworkManager thinks of it does not matter."""
    return any(not address.is_link_local for uplink in network.uplinks for address in uplink.addresses)


def discover(tunnel: Tunnel, settings: TunnelConfig, uplinks: tuple[Uplink, ...]) -> Discovery:
    """Zone and registries of a tunnel, each registry with the device that its questions must leave by."""
    zone, servers = settings.zone, settings.registries
    if not zone:
        domains = [domain for domain in tunnel.search if domain.strip("~.")]
        if not domains:
            return Discovery(problem='zone = "auto" needs a DNS search domain in the NetworkManager profile')
        try:
            zone = parse_zone(domains[0].lstrip("~")).to_text()
        except InvalidValue as error:
            return Discovery(problem=f"the NetworkManager profile's search domain: {error}")
    if not servers:
        servers = tuple(Server(address) for address in tunnel.dns)
    if not servers:
        return Discovery(problem="no registry is configured, and the NetworkManager profile has no DNS server")
    return Discovery(zone, tuple(replace(server, device=_way_to(server, tunnel, uplinks)) for server in servers))


def _way_to(server: Server, tunnel: Tunnel, uplinks: tuple[Uplink, ...]) -> str:
    """The device to bind to: the tunnel for a registry inside it, else the best uplink of the address's family."""
    if _leading_to(server.address, tunnel) is not None:
        return tunnel.interface
    return next((uplink.interface for uplink in uplinks if uplink.reaches(server.address.version)), "")


def _leading_to(address: IPAddress, tunnel: Tunnel) -> ProfilePeer | None:
    """The peer that WireGuard sends to for that address: the one with the longest prefix; None if it lies outside.

    Prefixes that stand for "everything" lead only to what belongs to the tunnel's own networks.
    """
    own = any(address in interface.network for interface in tunnel.addresses)
    prefixes = [
        (prefix.prefixlen, number)
        for number, peer in enumerate(tunnel.peers)
        for prefix in peer.allowed_ips
        if (own or prefix.prefixlen > WHOLE) and address in prefix
    ]
    return tunnel.peers[max(prefixes)[1]] if prefixes else None


def registry_peers(tunnel: Tunnel, servers: Iterable[Server]) -> frozenset[PublicKey]:
    """The peers that registries are reached through, or that are registries by their own public address."""
    addresses = {server.address for server in servers}
    leading = [_leading_to(address, tunnel) for address in addresses]
    return frozenset(peer.public_key for peer in tunnel.peers if peer in leading or _profile_address(peer) in addresses)


def _profile_address(peer: ProfilePeer) -> IPAddress | None:
    host = peer.endpoint.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host)
    except ValueError:
        return None
