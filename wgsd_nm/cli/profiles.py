# SPDX-License-Identifier: GPL-2.0-or-later
"""What a connection's profile means for the doctor: its section of the configuration, the registry's peer in it."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from wgsd_nm.cli.facts import ConnectionFacts
from wgsd_nm.core.config import Config, TunnelConfig, parse_server
from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import IPAddress, ProfilePeer, Tunnel


def section_of(config: Config, connection: ConnectionFacts) -> TunnelConfig | None:
    """The section about a connection, as the agent finds it."""
    return config.section(Tunnel(connection.interface, connection.id, connection.uuid, ""))


def registry_peers(connection: ConnectionFacts, registries: Iterable[str]) -> tuple[ProfilePeer, ...]:
    """The peers that lead to registries: by the longest of their allowed IPs, or by their own public address."""
    found = {}
    for text in registries:
        try:
            address = parse_server(text).address
        except InvalidValue:
            continue  # a newer agent's way to write it
        for peer in _leading_to(address, connection.peers):
            found[peer.public_key] = peer
    return tuple(found.values())


def _leading_to(address: IPAddress, peers: Iterable[ProfilePeer]) -> list[ProfilePeer]:
    routes = [
        (prefix.prefixlen, number, peer)
        for number, peer in enumerate(peers)
        for prefix in peer.allowed_ips
        if prefix.prefixlen and address in prefix
    ]
    inside = [max(routes, key=lambda route: route[:2])[2]] if routes else []
    return inside or [peer for peer in peers if _host(peer.endpoint) == address]


def _host(endpoint: str) -> IPAddress | None:
    """The address of a profile's endpoint, None for a host name."""
    try:
        return ip_address(endpoint.rpartition(":")[0].strip("[]"))
    except ValueError:
        return None
