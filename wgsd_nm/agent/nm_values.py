# SPDX-License-Identifier: GPL-2.0-or-later
"""What single values of NetworkManager's D-Bus interface mean. It knows nothing of objects, signals or a bus.

Each function takes a plain value, as it came, and gives a value of ours. One that cannot be used raises InvalidValue;
an entry of a list that cannot be used is complained about and left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_network
from typing import Any, Final, Literal, TypeVar

from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import Connectivity, IPAddress, IPInterface, IPNetwork, PublicKey, shown

Complain = Callable[[str], None]
"""Takes one sentence about something that was left out."""

Version = Literal[4, 6]

_T = TypeVar("_T")

_MAIN_TABLE: Final = 254  # RT_TABLE_MAIN, linux/rtnetlink.h
_UNSPECIFIED: Final[Mapping[Version, IPAddress]] = {4: IPv4Address(0), 6: IPv6Address(0)}


@dataclass(frozen=True, slots=True, order=True)
class DefaultRoute:
    """A default route of the main table. Without a next hop `gateway` is the unspecified address of its family."""

    metric: int
    version: Version
    gateway: IPAddress


def number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _unexpected("a number", value)
    return value


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _unexpected("true or false", value)
    return value


def text(value: object) -> str:
    if not isinstance(value, str):
        raise _unexpected("a text", value)
    return value


def entries(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _unexpected("a list", value)
    return value


def mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unexpected("a dictionary", value)
    return value


def connectivity(value: object) -> Connectivity:
    """The manager's Connectivity (NMConnectivityState)."""
    try:
        return Connectivity(number(value))
    except ValueError:
        raise _unexpected("an NMConnectivityState", value) from None


def public_key(value: object) -> PublicKey | None:
    """Device.WireGuard's PublicKey: None while the device has no private key yet (zeroes during the activation)."""
    if not isinstance(value, bytes):
        raise _unexpected("octets", value)
    return PublicKey(value) if any(value) else None


def addresses(version: Version, value: object, complain: Complain) -> tuple[IPInterface, ...]:
    """AddressData of an IP4Config or IP6Config, in its order."""

    def decode(entry: object) -> IPInterface:
        fields = mapping(entry)
        pair = (text(fields.get("address")), number(fields.get("prefix")))
        return IPv4Interface(pair) if version == 4 else IPv6Interface(pair)

    return tuple(_usable(value, decode, complain))


def default_routes(version: Version, value: object, complain: Complain) -> tuple[DefaultRoute, ...]:
    """The default routes in RouteData of an IP4Config or IP6Config: unicast, in the main table."""

    def decode(entry: object) -> DefaultRoute | None:
        fields = mapping(entry)
        if (
            number(fields.get("prefix")) != 0
            or fields.get("table", _MAIN_TABLE) != _MAIN_TABLE
            or fields.get("type", "unicast") != "unicast"
        ):
            return None
        hop = fields.get("next-hop")
        gateway = _UNSPECIFIED[version] if hop is None else ip_address(text(hop))
        return DefaultRoute(number(fields.get("metric", 0)), version, gateway)

    return tuple(route for route in _usable(value, decode, complain) if route is not None)


def networks(value: object, complain: Complain) -> tuple[IPNetwork, ...]:
    """Allowed IPs of a profile's peer: an address alone stands for itself; bits behind the prefix do not count."""
    return tuple(_usable(value, lambda entry: ip_network(text(entry), strict=False), complain))


def dns_servers(version: Version, setting: Mapping[str, Any], complain: Complain) -> tuple[IPAddress, ...]:
    """The name servers of setting `ipv4` or `ipv6` that speak plain DNS on port 53, in their order.

    They stand in `dns-data` (since NetworkManager 1.42; addresses, or URIs since 1.52), before that in `dns` alone.
    """
    if "dns-data" in setting:
        return tuple(
            server
            for server in _usable(setting["dns-data"], _dns_data, complain)
            if server and server.version == version
        )
    return tuple(_usable(setting.get("dns", []), _legacy_dns4 if version == 4 else _legacy_dns6, complain))


def name_servers(version: Version, value: object, complain: Complain) -> tuple[IPAddress, ...]:
    """The servers in NameserverData of an IP4Config, or in Nameservers of an IP6Config, that speak plain DNS."""

    def decode(entry: object) -> IPAddress | None:
        return _dns_data(mapping(entry).get("address")) if version == 4 else _legacy_dns6(entry)

    return tuple(server for server in _usable(value, decode, complain) if server is not None)


def search_domains(setting: Mapping[str, Any], complain: Complain) -> tuple[str, ...]:
    """The domains of `dns-search`, without the `~` of those that only route questions, and without the root."""
    domains = _usable(setting.get("dns-search", []), text, complain)
    return tuple(domain for domain in (domain.removeprefix("~") for domain in domains) if domain.strip("."))


def _dns_data(entry: object) -> IPAddress | None:
    """One entry of `dns-data`: `ADDRESS`, `ADDRESS#NAME`, `dns+udp://ADDRESS[:PORT]`; None for other transports."""
    scheme, found, rest = text(entry).rpartition("://")
    if found and scheme != "dns+udp":
        return None
    host = rest.partition("#")[0]
    if not found:
        return ip_address(host)
    bracketed, _, behind = host.removeprefix("[").rpartition("]")
    if bracketed:
        host, port = bracketed, behind.removeprefix(":")
    else:
        host, _, port = host.partition(":")
    return ip_address(host) if port in ("", "53") else None


def _legacy_dns4(entry: object) -> IPAddress:
    """An IPv4 address as a number whose octets in memory are in network order."""
    return IPv4Address(number(entry).to_bytes(4, sys.byteorder))


def _legacy_dns6(entry: object) -> IPAddress:
    if not isinstance(entry, bytes):
        raise _unexpected("octets", entry)
    return IPv6Address(entry)


def _usable(value: object, decode: Callable[[object], _T], complain: Complain) -> Iterator[_T]:
    for entry in entries(value):
        try:
            yield decode(entry)
        except (ValueError, OverflowError) as error:  # InvalidValue is a ValueError
            complain(f"left out {shown(str(entry))}: {error}")


def _unexpected(expected: str, value: object) -> InvalidValue:
    return InvalidValue(f"expected {expected}, not {shown(str(value))}")
