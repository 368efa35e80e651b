# SPDX-License-Identifier: GPL-2.0-or-later
"""What a connection's profile means for the doctor: its section of the configuration, the registry's peer in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wgsd_nm.cli.facts import ConnectionFacts
from wgsd_nm.core import discovery
from wgsd_nm.core.config import Config, TunnelConfig, parse_server
from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import IPAddress, ProfilePeer, Tunnel


def section_of(config: Config, connection: ConnectionFacts) -> TunnelConfig | None:
    """The section about a connection, as the agent finds it."""
    return config.section(_tunnel(connection))


def registry_peers(connection: ConnectionFacts, registries: Iterable[str]) -> tuple[ProfilePeer, ...]:
    """The peers that lead to registries, as the agent finds them."""
    routes = discovery.routes_to(_addresses(registries), _tunnel(connection), connection.peers)
    return discovery.registry_peers(routes, connection.peers)


def _tunnel(connection: ConnectionFacts) -> Tunnel:
    return Tunnel(connection.interface, connection.id, connection.uuid, "", addresses=connection.addresses)


def _addresses(registries: Iterable[str]) -> Iterator[IPAddress]:
    for text in registries:
        try:
            yield parse_server(text).address
        except InvalidValue:
            continue  # a newer agent's way to write it
