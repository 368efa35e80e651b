# SPDX-License-Identifier: GPL-2.0-or-later
"""What the agent's properties say, as values. Keys that are missing, as an older agent's are, have their default.

All text is printable: it may be shown as it is. It knows nothing of how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from wgsd_nm.cli.terminal import printable

Properties = Mapping[str, Any]
T = TypeVar("T", int, list[Any])


@dataclass(frozen=True, slots=True)
class TunnelView:
    """An entry of Agent1's Tunnels."""

    interface: str
    connection_id: str = ""
    connection_uuid: str = ""
    zone: str = ""
    registries: tuple[str, ...] = ()
    state: str = ""
    public_endpoint: str = ""
    public_endpoints: tuple[str, ...] = ()
    last_lookup: int = 0
    last_error: str = ""
    updates: str = ""
    polling_interval: int = 0

    @classmethod
    def of(cls, entry: Properties) -> Self:
        endpoint = _text(entry, "PublicEndpoint")
        return cls(
            interface=_text(entry, "Interface"),
            connection_id=_text(entry, "ConnectionId"),
            connection_uuid=_text(entry, "ConnectionUuid"),
            zone=_text(entry, "Zone"),
            registries=_texts(entry, "Registries"),
            state=_text(entry, "State"),
            public_endpoint=endpoint,
            public_endpoints=_texts(entry, "PublicEndpoints") or ((endpoint,) if endpoint else ()),
            last_lookup=_value(entry, "LastLookup", 0),
            last_error=_text(entry, "LastError"),
            updates=_text(entry, "Updates"),
            polling_interval=_value(entry, "PollingInterval", 0),
        )

    @property
    def learns_by(self) -> str:
        """How the agent learns that a peer has moved: push, or polling every 5 s; "" where it does not say."""
        return f"{self.updates} every {self.polling_interval} s" if self.polling_interval else self.updates

    @property
    def title(self) -> str:
        """The interface, and the connection's name where that is another."""
        named = self.connection_id not in ("", self.interface)
        return f"{self.interface} ({self.connection_id})" if named else self.interface

    @property
    def is_behind_symmetric_nat(self) -> bool:
        """Whether two registries see us at one address with different ports."""
        addresses = [endpoint.rpartition(":")[0] for endpoint in set(self.public_endpoints)]
        return len(set(addresses)) < len(addresses)


@dataclass(frozen=True, slots=True)
class PeerView:
    """An entry of Agent1's Peers. `persistent_keepalive` is None where the agent does not say."""

    interface: str
    public_key: str
    name: str = ""
    endpoint: str = ""
    source: str = ""
    state: str = ""
    reason: str = ""
    text: str = ""
    latest_handshake: int = 0
    connected_since: int = 0
    last_error: str = ""
    candidates: tuple[str, ...] = ()
    persistent_keepalive: int | None = None

    @classmethod
    def of(cls, entry: Properties) -> Self:
        key = _text(entry, "PublicKey")
        return cls(
            interface=_text(entry, "Interface"),
            public_key=key,
            name=_text(entry, "Name") or key[:8],
            endpoint=_text(entry, "Endpoint"),
            source=_text(entry, "Source"),
            state=_text(entry, "State"),
            reason=_text(entry, "Reason"),
            text=_text(entry, "ReasonText"),
            latest_handshake=_value(entry, "LatestHandshake", 0),
            connected_since=_value(entry, "ConnectedSince", 0),
            last_error=_text(entry, "LastError"),
            candidates=_texts(entry, "Candidates"),
            persistent_keepalive=_value(entry, "PersistentKeepalive", 0) if "PersistentKeepalive" in entry else None,
        )


@dataclass(frozen=True, slots=True)
class AgentView:
    """Agent1's properties."""

    version: str = ""
    state: str = ""
    last_error: str = ""
    tunnels: tuple[TunnelView, ...] = ()
    peers: tuple[PeerView, ...] = field(default=())

    @classmethod
    def of(cls, properties: Properties) -> Self:
        return cls(
            version=_text(properties, "Version"),
            state=_text(properties, "State"),
            last_error=_text(properties, "LastError"),
            tunnels=tuple(map(TunnelView.of, _value(properties, "Tunnels", []))),
            peers=tuple(map(PeerView.of, _value(properties, "Peers", []))),
        )

    def peers_of(self, tunnel: TunnelView) -> tuple[PeerView, ...]:
        return tuple(peer for peer in self.peers if peer.interface == tunnel.interface)


def _text(entry: Properties, key: str) -> str:
    value = entry.get(key)
    return printable(value) if isinstance(value, str) else ""


def _texts(entry: Properties, key: str) -> tuple[str, ...]:
    return tuple(printable(text) for text in _value(entry, key, []) if isinstance(text, str))


def _value(entry: Properties, key: str, default: T) -> T:
    value = entry.get(key)
    return value if isinstance(value, type(default)) else default
