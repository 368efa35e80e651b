# SPDX-License-Identifier: GPL-2.0-or-later
"""This machine's public addresses, as its routing table has them. Sends nothing and knows nothing of WireGuard."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from wgsd_nm.core.model import IPAddress

_SOMEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses of documentation (RFC 5737, RFC 3849): routed as the Internet is, and nobody's."""
_PORT = 9


def public_addresses() -> tuple[IPAddress, ...]:
    """The addresses that packets to the Internet leave from, IPv4 first; only those that are global themselves.

    connect() of a UDP socket chooses the source address and sends nothing (connect(2)). Behind a NAT there is none.
    """
    found = (_source(family, somewhere) for family, somewhere in _SOMEWHERE)
    return tuple(address for address in found if address is not None and address.is_global)


def _source(family: socket.AddressFamily, somewhere: str) -> IPAddress | None:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as towards:
            towards.connect((somewhere, _PORT))
            return ip_address(towards.getsockname()[0])
    except (OSError, ValueError):
        return None
