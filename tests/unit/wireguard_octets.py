# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's side of WireGuard's messages, written from linux/wireguard.h and drivers/net/wireguard/netlink.c."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from wgsd_nm.core.model import Device, Endpoint, Peer, PublicKey

SECRET = bytes(range(200, 232))
KEY = PublicKey(bytes(range(32)))
OTHER = PublicKey(bytes(range(1, 33)))
GENERIC = b"\0\1\0\0"


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(0x8000 | kind, b"".join(attributes))


def sockaddr(endpoint: Endpoint, scope: int = 0) -> bytes:
    packed = endpoint.address.packed
    if endpoint.address.version == 4:
        return struct.pack("=H", socket.AF_INET) + struct.pack("!H", endpoint.port) + packed + bytes(8)
    return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", endpoint.port, 0) + packed + struct.pack("=I", scope)


def allowed(networks: Iterable[IPv4Network | IPv6Network]) -> bytes:
    """The order of get_allowedips() in drivers/net/wireguard/netlink.c."""
    return nested(
        9,
        *(
            nested(
                0,
                attribute(3, bytes([network.prefixlen])),
                attribute(1, struct.pack("=H", socket.AF_INET if network.version == 4 else socket.AF_INET6)),
                attribute(2, network.network_address.packed),
            )
            for network in networks
        ),
    )


def parts(peer: Peer, scope: int = 0) -> list[bytes]:
    """A peer's attributes in the order of get_peer() in drivers/net/wireguard/netlink.c."""
    seconds, micros = divmod(peer.latest_handshake, 1_000_000)
    return [
        attribute(1, peer.public_key.raw),
        attribute(2, SECRET),
        attribute(6, struct.pack("=qq", seconds, micros * 1000 + 999)),
        attribute(5, struct.pack("=H", peer.persistent_keepalive)),
        attribute(8, struct.pack("=Q", peer.tx_bytes)),
        attribute(7, struct.pack("=Q", peer.rx_bytes)),
        attribute(10, struct.pack("=I", 1)),
        *([] if peer.endpoint is None else [attribute(4, sockaddr(peer.endpoint, scope))]),
        *([allowed(peer.allowed_ips)] if peer.allowed_ips else []),
    ]


def dump(
    device: Device, *, scope: int = 0, shuffle: Callable[[list[bytes]], list[bytes]] = lambda attributes: attributes
) -> bytes:
    return GENERIC + b"".join(
        [
            attribute(6, struct.pack("=H", device.listen_port)),
            attribute(7, struct.pack("=I", device.fwmark)),
            attribute(1, struct.pack("=I", device.index)),
            attribute(2, device.interface.encode() + b"\0"),
            attribute(3, SECRET),
            *([] if device.public_key is None else [attribute(4, device.public_key.raw)]),
            nested(8, *(nested(0, *shuffle(parts(peer, scope))) for peer in device.peers)),
        ]
    )


SAMPLE = Device(
    "wg0",
    OTHER,
    51820,
    0xCA6C,
    (
        Peer(
            KEY,
            Endpoint(IPv4Address("192.0.2.1"), 51820),
            1_700_000_000_123_456,
            180,
            2**40,
            25,
            (IPv4Network("10.0.0.0/24"), IPv6Network("fd00::1/128")),
        ),
        Peer(OTHER, Endpoint(IPv6Address("2001:db8::1"), 443)),
    ),
    7,
)
