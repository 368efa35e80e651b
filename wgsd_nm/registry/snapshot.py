# SPDX-License-Identifier: GPL-2.0-or-later
"""What the reader and the server say to each other: one WireGuard device, as octets. Knows neither sockets nor netlink.

Numbers are big-endian. The server asks, the reader answers, one at a time:

    request   version u8 | kind u8 (1: a snapshot) | sequence u16 | interface, 15 octets, filled up with zeros
    reply     version u8 | status u8 | sequence u16 | length of the body u32 | body

With status 0 the body is a device:

    u8 length, interface | u8 has a key, 32 octets | listen port u16 | fwmark u32 | number of peers u32 | peers
    peer      u32 length of the rest | public key, 32 octets | latest handshake, us u64
              | endpoint: u8 family (0 none, 4, 6), address, port u16
              | the rest: allowed IPs, each u8 family, address, u8 prefix length

With any other status it is one sentence of UTF-8. Private keys, preshared keys and counters have no place in it. The
scope of a link-local endpoint stays behind: DNS has no words for it.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import compress, count
from operator import is_not

from wgsd_nm.core.errors import DeviceError, InvalidValue, NoSuchDevice, NotPermitted, NotWireGuard
from wgsd_nm.core.model import (
    KEY_LENGTH,
    MAX_INTERFACE_LENGTH,
    Device,
    Endpoint,
    IPNetwork,
    Peer,
    PublicKey,
    parse_interface,
)

VERSION = 2
SNAPSHOT = 1
MAX_BODY = 16 * 1024 * 1024
"""Octets; some 150,000 peers with two allowed IPs each."""
GARBAGE = 100_000
"""Objects made before cycles among them are sought: at either end 10,000 new peers make as many, and no cycle."""

_REQUEST = struct.Struct(f"!BBH{MAX_INTERFACE_LENGTH}s")
_REPLY = struct.Struct("!BBHI")
_LENGTH = struct.Struct("!I")
_DEVICE = struct.Struct("!B32sHII")
_PEER = struct.Struct("!32sQB")
_PORT = struct.Struct("!H")
REQUEST_LENGTH = _REQUEST.size
REPLY_LENGTH = _REPLY.size

_FAILURES: tuple[type[DeviceError], ...] = (DeviceError, NoSuchDevice, NotWireGuard, NotPermitted)
"""By status, from 1."""


def request(sequence: int, interface: str) -> bytes:
    """The question for a snapshot. `interface` is a name that parse_interface() takes."""
    return _REQUEST.pack(VERSION, SNAPSHOT, sequence, interface.encode())


def parse_request(octets: bytes) -> tuple[int, str]:
    """The sequence number of a request, and the interface that it is about. Raises InvalidValue."""
    version, kind, sequence, name = _REQUEST.unpack(octets)
    if (version, kind) != (VERSION, SNAPSHOT):
        raise InvalidValue(f"request {kind} of version {version} is unknown: expected {SNAPSHOT} of version {VERSION}")
    try:
        return int(sequence), parse_interface(name.rstrip(b"\0").decode())
    except UnicodeDecodeError as error:
        raise InvalidValue(f"{name!r} is not a network interface name: expected UTF-8") from error


def reply(sequence: int, outcome: Device | DeviceError, encoder: Encoder | None = None) -> bytes:
    """The answer to a request: a device, by the encoder of the device before if there is one, or why there is none."""
    match outcome:
        case Device():
            status, body = 0, (encoder or Encoder()).encode(outcome)
            if len(body) > MAX_BODY:
                return reply(
                    sequence,
                    DeviceError(f"{outcome.interface} has more peers and allowed IPs than fit {MAX_BODY} octets"),
                )
        case DeviceError():
            kind = type(outcome)
            status = 1 + (_FAILURES.index(kind) if kind in _FAILURES else 0)
            body = str(outcome).encode()[:1024]
    return _REPLY.pack(VERSION, status, sequence, len(body)) + body


def parse_reply_header(octets: bytes, sequence: int) -> tuple[int, int]:
    """Status and length of the body that follows. Raises InvalidValue if this is no answer to that request."""
    version, status, answered, length = _REPLY.unpack(octets)
    if version != VERSION or answered != sequence or status > len(_FAILURES) or length > MAX_BODY:
        raise InvalidValue(
            f"reply {answered} of version {version}, status {status}, {length} octets: "
            f"expected reply {sequence} of version {VERSION}"
        )
    return int(status), int(length)


def failure(status: int, body: bytes) -> DeviceError:
    """The error that a reply with a status other than 0 tells of."""
    return _FAILURES[status - 1](body.decode(errors="replace"))


class Encoder:
    """Makes bodies of devices. A peer that is the same object as in the device before is not encoded again."""

    def __init__(self) -> None:
        self._peers: tuple[Peer, ...] = ()
        self._records: list[bytes] = []

    def encode(self, device: Device) -> bytes:
        before, self._peers = self._peers, device.peers
        if len(before) == len(device.peers):
            for number in compress(count(), map(is_not, before, device.peers)):
                self._records[number] = _encode_peer(device.peers[number])
        else:
            self._records = list(map(_encode_peer, device.peers))
        interface = device.interface.encode()
        key = device.public_key
        start = _DEVICE.pack(
            key is not None, key.raw if key else bytes(KEY_LENGTH), device.listen_port, device.fwmark, len(device.peers)
        )
        return b"".join((bytes((len(interface),)), interface, start, *self._records))


def _encode_peer(peer: Peer) -> bytes:
    """With its length."""
    endpoint = peer.endpoint
    parts = [_PEER.pack(peer.public_key.raw, peer.latest_handshake, endpoint.address.version if endpoint else 0)]
    if endpoint:
        parts += (endpoint.address.packed, _PORT.pack(endpoint.port))
    for network in peer.allowed_ips:
        parts += (bytes((network.version,)), network.network_address.packed, bytes((network.prefixlen,)))
    record = b"".join(parts)
    return _LENGTH.pack(len(record)) + record


class Decoder:
    """Makes devices of bodies. A peer that is as it was in the body before is the same object, not made again."""

    def __init__(self) -> None:
        self._peers: dict[bytes, Peer] = {}

    def decode(self, body: bytes) -> Device:
        """Raises InvalidValue."""
        try:
            at = 1 + body[0]
            interface = body[1:at].decode()
            has_key, raw, listen_port, fwmark, count = _DEVICE.unpack_from(body, at)
            at += _DEVICE.size
            before, self._peers = self._peers, {}
            peers = []
            for _ in range(count):
                (length,) = _LENGTH.unpack_from(body, at)
                at += _LENGTH.size
                record = body[at : at + length]
                at += length
                peer = self._peers[record] = before.get(record) or _decode_peer(record)
                peers.append(peer)
        except (struct.error, IndexError, ValueError) as error:
            raise InvalidValue(f"a snapshot is malformed: {error}") from error
        if at != len(body):
            raise InvalidValue(f"a snapshot has {len(body)} octets where {at} were expected")
        return Device(interface, PublicKey(raw) if has_key else None, listen_port, fwmark, tuple(peers))


def _decode_peer(record: bytes) -> Peer:
    key, handshake, family = _PEER.unpack_from(record)
    at = _PEER.size
    endpoint = None
    if family:
        size = _address_size(family)
        packed = record[at : at + size]
        (port,) = _PORT.unpack_from(record, at + size)
        endpoint = Endpoint(IPv4Address(packed) if family == 4 else IPv6Address(packed), port)
        at += size + _PORT.size
    allowed: list[IPNetwork] = []
    while at < len(record):
        size = _address_size(record[at])
        packed, prefix = record[at + 1 : at + 1 + size], record[at + 1 + size]
        allowed.append(IPv4Network((packed, prefix)) if size == 4 else IPv6Network((packed, prefix)))
        at += size + 2
    return Peer(PublicKey(key), endpoint, handshake, allowed_ips=tuple(allowed))


def _address_size(family: int) -> int:
    match family:
        case 4:
            return 4
        case 6:
            return 16
    raise ValueError(f"an address family is 4 or 6, not {family}")
