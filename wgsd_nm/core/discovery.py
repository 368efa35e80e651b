# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom to ask for a tunnel's peers, by which way, and which peers the answers never touch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

from wgsd_nm.core.config import TunnelConfig
from wgsd_nm.core.dnssd import parse_zone
from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.ground import WHOLE
from wgsd_nm.core.model import IPAddress, Network, Peer, ProfilePeer, Server, Tunnel, Uplink
from wgsd_nm.core.watch import Discovery

MAX_PORT: Final = 0xFFFF


def ways_out(network: Network) -> tuple[Uplink, ...]:
    """The uplinks with a default route; all, if none has one. A bridge of containers comes, goes, and leads nowhere."""
    return tuple(uplink for uplink in network.uplinks if uplink.gateways) or network.uplinks


def has_usable_uplink(network: Network) -> bool:
    """Whether some device has an address to send from. What NetworkManager thinks of it does not matter."""
    return any(not address.is_link_local for uplink in network.uplinks for address in uplink.addresses)


def place(network: Network) -> str:
    """The network where we are, to know it again: its connection and its router; "" for none."""
    for uplink in ways_out(network):
        if uplink.gateways:
            return f"{uplink.connection_uuid} {uplink.gateways[0]}"
    return ""


def discover(
    tunnel: Tunnel, settings: TunnelConfig, uplinks: tuple[Uplink, ...], kernel_peers: Iterable[Peer] = ()
) -> Discovery:
    """Zone and registries of a tunnel, each registry with the device that its questions must leave by.

    The kernel's AllowedIPs stand in for those that the profile lacks, as that of a device made by somebody else does.
    """
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
    peers = _merged(tunnel.peers, kernel_peers)
    if not any(peer.allowed_ips for peer in peers):
        return Discovery(zone, problem="the device has not been read yet")
    routes = routes_to((server.address for server in servers), tunnel, peers)
    ways = {
        server.address: tunnel.interface if routes[server.address] else _way_out(server, uplinks) for server in servers
    }
    registries = registry_peers(routes, peers)
    return Discovery(
        zone,
        tuple(replace(server, device=ways[server.address]) for server in servers),
        registry_peers=frozenset(peer.public_key for peer in registries),
        hosts={peer.public_key: host for peer in registries if (host := _host(peer)) is not None},
    )


def _merged(profile: tuple[ProfilePeer, ...], kernel: Iterable[Peer]) -> tuple[ProfilePeer, ...]:
    """The profile's peers, with the kernel's where the profile says nothing."""
    peers = {peer.public_key: peer for peer in profile}
    for each in kernel:
        known = peers.get(each.public_key, ProfilePeer(each.public_key))
        if not known.allowed_ips:
            peers[each.public_key] = replace(known, allowed_ips=each.allowed_ips)
    return tuple(peers.values())


def _way_out(server: Server, uplinks: tuple[Uplink, ...]) -> str:
    """The best uplink of the address's family."""
    return next((uplink.interface for uplink in uplinks if uplink.reaches(server.address.version)), "")


def routes_to(
    addresses: Iterable[IPAddress], tunnel: Tunnel, peers: Sequence[ProfilePeer]
) -> dict[IPAddress, ProfilePeer | None]:
    """For each registry's address the peer that leads to it inside of the tunnel, None for one outside."""
    return {address: _leading_to(address, tunnel, peers) for address in addresses}


def registry_peers(
    routes: Mapping[IPAddress, ProfilePeer | None], peers: Iterable[ProfilePeer]
) -> tuple[ProfilePeer, ...]:
    """The peers through which those registries are reached, or which are registries by their own public address."""
    return tuple(peer for peer in peers if peer in routes.values() or _literal(peer) in routes)


def _leading_to(address: IPAddress, tunnel: Tunnel, peers: Sequence[ProfilePeer]) -> ProfilePeer | None:
    """The peer that WireGuard sends to for that address: the one with the longest prefix; None if it lies outside.

    Prefixes that stand for "everything" lead only to what belongs to the tunnel's own networks.
    """
    own = any(address in interface.network for interface in tunnel.addresses)
    prefixes = [
        (prefix.prefixlen, number)
        for number, peer in enumerate(peers)
        for prefix in peer.allowed_ips
        if (own or prefix.prefixlen > WHOLE) and address in prefix
    ]
    return peers[max(prefixes)[1]] if prefixes else None


def _literal(peer: ProfilePeer) -> IPAddress | None:
    """The address of the profile's endpoint, where it is not a host name."""
    try:
        return ip_address(peer.endpoint.rpartition(":")[0].strip("[]"))
    except ValueError:
        return None


def _host(peer: ProfilePeer) -> tuple[str, int] | None:
    """Host name and port of the profile's endpoint, where it is no address."""
    host, _, port = peer.endpoint.rpartition(":")
    if not host or _literal(peer) is not None or not (port.isascii() and port.isdigit() and 0 < int(port) <= MAX_PORT):
        return None
    return host, int(port)
