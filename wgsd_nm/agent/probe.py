# SPDX-License-Identifier: GPL-2.0-or-later
"""One small datagram through a tunnel, so that a peer whose path works has something to answer.

WireGuard does not answer an empty keepalive. To a datagram for a port where nobody listens the peer's kernel replies
with ICMP "port unreachable" inside the tunnel, and octets received are a proof.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable
from typing import Final

from wgsd_nm.core.model import IPAddress

DISCARD_PORT: Final = 9  # RFC 863

_log = logging.getLogger(__name__)


def probe(interface: str, addresses: Iterable[IPAddress]) -> None:
    """Send to each address through the interface and no other. What cannot be sent is left unproven."""
    for address in addresses:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        try:
            with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
                sock.sendto(b"", (str(address), DISCARD_PORT))
        except OSError as error:
            _log.debug("no probe of %s through %s: %s", address, interface, error)
