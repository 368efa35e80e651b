# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses and networks as an administrator writes them. Pure; knows nothing of what they are for."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import Endpoint, IPAddress, IPNetwork, shown, unmapped

DNS_PORT: Final = 53

_NOT_PUBLIC: Final[tuple[IPNetwork, ...]] = (
    *map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")),
    *map(IPv4Network, ("169.254.0.0/16", "127.0.0.0/8")),
    *map(IPv6Network, ("fc00::/7", "fe80::/10", "::1/128")),
)


def is_public(network: IPNetwork) -> bool:
    """Whether its addresses may come out of the Internet (RFC 6890)."""
    return not any(network.version == known.version and network.subnet_of(known) for known in _NOT_PUBLIC)  # type: ignore[arg-type]  # equal versions


def is_default_route(network: IPNetwork) -> bool:
    """Whether it is the whole Internet or half of it, as the allowed IPs of a full tunnel are (wg-quick(8))."""
    return network.prefixlen <= 1


def parse_listen(text: str) -> Endpoint:
    """From `192.0.2.1`, `192.0.2.1:53`, `2001:db8::1` or `[2001:db8::1]:53`; port 53 if none is given.

    Raises InvalidValue.
    """
    try:
        address, port = _split(text)
    except InvalidValue:
        address, port = None, None
    if address is None or address.is_multicast:
        raise InvalidValue(
            f"{shown(text)} is not an address to listen at: expected an IP address with or without a port, "
            "like 10.0.0.1, 10.0.0.1:53 or [fd00::1]:53"
        )
    return Endpoint(address, port or DNS_PORT)


def parse_address(text: str) -> tuple[IPAddress, int | None]:
    """An address with or without a port, which is not 0; IPv4-mapped addresses become IPv4. Raises InvalidValue."""
    try:
        address, port = _split(text)
    except InvalidValue:
        raise InvalidValue(
            f"{shown(text)} is not an address with or without a port: expected one like 10.0.0.2 or [fd00::2]:53"
        ) from None
    return unmapped(address), port


def _split(text: str) -> tuple[IPAddress, int | None]:
    for form, has_port in ((text, True), (f"{text}:{DNS_PORT}", False), (f"[{text}]:{DNS_PORT}", False)):
        try:
            endpoint = Endpoint.parse(form)
        except InvalidValue:
            continue
        if endpoint.port:
            return endpoint.address, endpoint.port if has_port else None
    raise InvalidValue


def parse_network(text: str) -> IPNetwork:
    """From `192.0.2.0/24` or `192.0.2.1`; IPv4-mapped networks become IPv4. Raises InvalidValue."""
    try:
        network = ip_network(text, strict=False)
        if "%" in text:
            raise ValueError
    except ValueError:
        raise InvalidValue(
            f"{shown(text)} is not a network: expected one like 192.0.2.0/24, 2001:db8::/32 or 192.0.2.1"
        ) from None
    try:
        ip_network(text)
    except ValueError:
        raise InvalidValue(f"{shown(text)} is an address inside a network: expected {network}") from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return IPv4Network((mapped, network.prefixlen - 96)) if mapped else network
