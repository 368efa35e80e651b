# SPDX-License-Identifier: GPL-2.0-or-later
"""Our values <-> what goes over D-Bus, as the interface of the helper describes it. It knows nothing of connections.

To the wire goes a Variant for each D-Bus v; from the wire come plain values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, Final

from wgsd_nm.bus.marshal import Variant
from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import Endpoint, EndpointChange, IPNetwork, Peer, PublicKey, endpoint_text, shown

__all__ = ["Variant", "change_from_wire", "change_to_wire", "peer_from_wire", "peer_to_wire"]

_UINT16: Final = (1 << 16) - 1
_UINT64: Final = (1 << 64) - 1
_TEXTS_KEPT: Final = 4096  # the same peers come again with every check


def peer_to_wire(peer: Peer) -> dict[str, Variant]:
    """One peer of GetPeers, an a{sv}."""
    return {
        "PublicKey": Variant("s", str(peer.public_key)),
        "Endpoint": Variant("s", endpoint_text(peer.endpoint)),
        "LatestHandshake": Variant("t", peer.latest_handshake),
        "RxBytes": Variant("t", peer.rx_bytes),
        "TxBytes": Variant("t", peer.tx_bytes),
        "PersistentKeepalive": Variant("q", peer.persistent_keepalive),
        "AllowedIPs": Variant("as", [_network_text(network) for network in peer.allowed_ips]),
    }


def peer_from_wire(value: Mapping[str, Any]) -> Peer:
    """One peer of GetPeers. What it does not know is left out, what is missing or wrong raises InvalidValue."""
    allowed_ips = value.get("AllowedIPs")
    if not isinstance(allowed_ips, list) or not all(isinstance(text, str) for text in allowed_ips):
        raise InvalidValue(f"the AllowedIPs of a peer are a list of texts, not {allowed_ips!a:.64}")
    return Peer(
        public_key=_key(_text(value, "PublicKey")),
        endpoint=_endpoint(_text(value, "Endpoint")),
        latest_handshake=_number(value, "LatestHandshake", _UINT64),
        rx_bytes=_number(value, "RxBytes", _UINT64),
        tx_bytes=_number(value, "TxBytes", _UINT64),
        persistent_keepalive=_number(value, "PersistentKeepalive", _UINT16),
        allowed_ips=tuple(_network(text) for text in allowed_ips),
    )


def change_to_wire(change: EndpointChange) -> list[str]:
    """One entry of SetEndpoints, a (sss)."""
    return [str(change.public_key), endpoint_text(change.expected), endpoint_text(change.wanted)]


def change_from_wire(value: Sequence[str]) -> EndpointChange:
    """One entry of SetEndpoints. Raises InvalidValue."""
    if len(value) != 3 or not all(isinstance(text, str) for text in value):
        raise InvalidValue("a change of an endpoint is three texts: public key, endpoint expected, endpoint wanted")
    key, expected, wanted = value
    return EndpointChange(_key(key), _endpoint(expected), _endpoint(wanted))


def _text(value: Mapping[str, Any], name: str) -> str:
    text = value.get(name)
    if not isinstance(text, str):
        raise InvalidValue(f"the {name} of a peer is a text, not {text!a:.64}")
    return text


def _number(value: Mapping[str, Any], name: str, most: int) -> int:
    number = value.get(name)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= most:
        raise InvalidValue(f"the {name} of a peer is a number from 0 to {most}, not {number!a:.64}")
    return number


@lru_cache(maxsize=_TEXTS_KEPT)
def _key(text: str) -> PublicKey:
    return PublicKey.parse(text)


@lru_cache(maxsize=_TEXTS_KEPT)
def _endpoint(text: str) -> Endpoint | None:
    return Endpoint.parse(text) if text else None


@lru_cache(maxsize=_TEXTS_KEPT)
def _network(text: str) -> IPNetwork:
    try:
        return ip_network(text)
    except ValueError:
        raise InvalidValue(f"{shown(text)} is not an IP network: expected ADDRESS/LENGTH, like 192.0.2.0/24") from None


@lru_cache(maxsize=_TEXTS_KEPT)
def _network_text(network: IPNetwork) -> str:
    return str(network)
