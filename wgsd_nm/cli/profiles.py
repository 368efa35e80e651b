# SPDX-License-Identifier: GPL-2.0-or-later
"""A connection's profile, for the doctor and setup: its values as NetworkManager tells them, the section of the
configuration that is about it, the registry's peer in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_interface, ip_network
from typing import Any, Final

from wgsd_nm.cli.facts import ConnectionFacts
from wgsd_nm.core import discovery
from wgsd_nm.core.config import Config, TunnelConfig, parse_server
from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import IPAddress, IPInterface, IPNetwork, ProfilePeer, PublicKey, Tunnel

_EXTERNAL: Final = 0x80  # NM_ACTIVATION_STATE_FLAG_EXTERNAL


def is_external(active: Mapping[str, Any]) -> bool:
    """Whether the device of an active connection was made by others than NetworkManager, wg-quick for one."""
    return bool(active.get("StateFlags", 0) & _EXTERNAL)


def peers_of(entries: Iterable[Mapping[str, Any]]) -> Iterator[ProfilePeer]:
    """The peers of NetworkManager's setting wireguard.peers that make sense."""
    for entry in entries:
        try:
            yield ProfilePeer(
                PublicKey.parse(str(entry.get("public-key", ""))),
                str(entry.get("endpoint", "")),
                int(entry.get("persistent-keepalive", 0)),
                tuple(_networks(entry.get("allowed-ips", ()))),
            )
        except InvalidValue:
            continue


def addresses_of(entries: Iterable[Mapping[str, Any]]) -> Iterator[IPInterface]:
    """NetworkManager's AddressData, or address-data of a profile, as far as it makes sense."""
    for entry in entries:
        try:
            yield ip_interface(f"{entry.get('address')}/{entry.get('prefix')}")
        except ValueError:
            continue


def _networks(texts: Iterable[str]) -> Iterator[IPNetwork]:
    for text in texts:
        try:
            yield ip_network(text, strict=False)
        except ValueError:
            continue


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
