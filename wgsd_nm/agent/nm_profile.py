# SPDX-License-Identifier: GPL-2.0-or-later
"""NetworkManager's profile of a WireGuard connection, from the reply of GetSettings. It knows nothing of a bus.

Secrets are never in that reply; they stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from wgsd_nm.agent import nm_values as values
from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import IPAddress, ProfilePeer, PublicKey


@dataclass(frozen=True, slots=True)
class Profile:
    """What a profile says of its tunnel (settings connection, wireguard, ipv4 and ipv6)."""

    id: str
    uuid: str
    peers: tuple[ProfilePeer, ...] = ()
    dns: tuple[IPAddress, ...] = ()
    search: tuple[str, ...] = ()

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], complain: values.Complain) -> Self:
        """From GetSettings (`a{sa{sv}}` in plain values). Raises InvalidValue where it is no profile at all."""
        connection = values.mapping(settings.get("connection"))
        ipv4 = values.mapping(settings.get("ipv4", {}))
        ipv6 = values.mapping(settings.get("ipv6", {}))
        return cls(
            id=values.text(connection.get("id")),
            uuid=values.text(connection.get("uuid")),
            peers=_peers(values.mapping(settings.get("wireguard", {})).get("peers", []), complain),
            dns=values.dns_servers(4, ipv4, complain) + values.dns_servers(6, ipv6, complain),
            search=tuple(dict.fromkeys(values.search_domains(ipv4, complain) + values.search_domains(ipv6, complain))),
        )


def _peers(value: object, complain: values.Complain) -> tuple[ProfilePeer, ...]:
    """Those of `wireguard.peers` that can be used, each key once."""
    found: dict[PublicKey, ProfilePeer] = {}
    for entry in values.entries(value):
        try:
            peer = _peer(values.mapping(entry), complain)
        except InvalidValue as error:
            complain(f"left out a peer: {error}")
        else:
            found[peer.public_key] = peer
    return tuple(found.values())


def _peer(fields: Mapping[str, Any], complain: values.Complain) -> ProfilePeer:
    return ProfilePeer(
        public_key=PublicKey.parse(values.text(fields.get("public-key"))),
        endpoint=values.text(fields.get("endpoint", "")),
        persistent_keepalive=values.number(fields.get("persistent-keepalive", 0)),
        allowed_ips=values.networks(fields.get("allowed-ips", []), complain),
    )
