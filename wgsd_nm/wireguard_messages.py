# SPDX-License-Identifier: GPL-2.0-or-later
"""The messages of the kernel's WireGuard: values to octets and octets to values. Knows nothing of sockets.

They are those of linux/wireguard.h: generic netlink, family "wireguard", version 1. A message here is what follows
struct nlmsghdr. No private or preshared key becomes an object: they are passed over in the buffer.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from types import MappingProxyType
from typing import NamedTuple

from wgsd_nm.core.errors import DeviceError, InvalidValue
from wgsd_nm.core.model import KEY_LENGTH, Device, Endpoint, IPNetwork, Peer, PublicKey, parse_interface, shown

FAMILY = "wireguard"  # linux/wireguard.h, WG_GENL_NAME
VERSION = 1  # WG_GENL_VERSION

WG_CMD_GET_DEVICE = 0
WG_CMD_SET_DEVICE = 1

WGDEVICE_A_IFINDEX = 1
WGDEVICE_A_IFNAME = 2
WGDEVICE_A_PUBLIC_KEY = 4
WGDEVICE_A_LISTEN_PORT = 6
WGDEVICE_A_FWMARK = 7
WGDEVICE_A_PEERS = 8

WGPEER_F_UPDATE_ONLY = 1 << 2

WGPEER_A_PUBLIC_KEY = 1
WGPEER_A_PRESHARED_KEY = 2
WGPEER_A_FLAGS = 3
WGPEER_A_ENDPOINT = 4
WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL = 5
WGPEER_A_LAST_HANDSHAKE_TIME = 6
WGPEER_A_RX_BYTES = 7
WGPEER_A_TX_BYTES = 8
WGPEER_A_ALLOWEDIPS = 9
WGPEER_A_PROTOCOL_VERSION = 10

WGALLOWEDIP_A_FAMILY = 1
WGALLOWEDIP_A_IPADDR = 2
WGALLOWEDIP_A_CIDR_MASK = 3

CTRL_CMD_GETFAMILY = 3  # linux/genetlink.h
CTRL_ATTR_FAMILY_ID = 1
CTRL_ATTR_FAMILY_NAME = 2

MESSAGE_LIMIT = 60_000
"""No message to the kernel is longer, in octets: its list of peers is one attribute, whose length has 16 bits."""


HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
_GENERIC = struct.Struct("=BBxx")  # struct genlmsghdr: command, version
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length with this header, type
_NESTED = 1 << 15  # NLA_F_NESTED
_TYPE_MASK = 0x3FFF  # NLA_TYPE_MASK
_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_TIMESPEC = struct.Struct("=qq")  # struct __kernel_timespec
_SOCKADDR_IN = struct.Struct("=H2s4s8x")  # family, port, address
_SOCKADDR_IN6 = struct.Struct("=H2sI16sI")  # family, port, flow label, address, scope id in the host's byte order

UNREADABLE = "the kernel's answer is not one of its WireGuard messages: this kernel may be newer than the program"


class Path(NamedTuple):
    """What setting an endpoint must know of a peer: its endpoint as encode_endpoint() writes it, and its keepalive."""

    sockaddr: bytes | None
    keepalive: int


def split(buffer: memoryview, length: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Each message's type, flags and sequence number, and where its payload starts and stops. Raises DeviceError."""
    start = 0
    while start < length:
        if length - start < HEADER.size:
            raise DeviceError(UNREADABLE)
        size, kind, flags, sequence, _ = HEADER.unpack_from(buffer, start)
        stop = start + size
        if size < HEADER.size or stop > length:
            raise DeviceError(UNREADABLE)
        yield kind, flags, sequence, start + HEADER.size, stop
        start = stop + -size % 4


def _attribute(kind: int, value: bytes) -> bytes:
    """An attribute, padded to four octets."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _interface_attribute(interface: str) -> bytes:
    return _attribute(WGDEVICE_A_IFNAME, parse_interface(interface).encode() + b"\0")


_KEEPALIVE_1 = _attribute(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, _U16.pack(1))
_NO_KEEPALIVE = _attribute(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, _U16.pack(0))
_UPDATE_ONLY = _attribute(WGPEER_A_FLAGS, _U32.pack(WGPEER_F_UPDATE_ONLY))


def encode_find_family() -> bytes:
    """CTRL_CMD_GETFAMILY for WireGuard: the kernel also loads its module for it if it can."""
    return _GENERIC.pack(CTRL_CMD_GETFAMILY, 1) + _attribute(CTRL_ATTR_FAMILY_NAME, FAMILY.encode() + b"\0")


def encode_get(interface: str) -> bytes:
    """WG_CMD_GET_DEVICE. Raises InvalidValue."""
    return _GENERIC.pack(WG_CMD_GET_DEVICE, VERSION) + _interface_attribute(interface)


def encode_endpoint(endpoint: Endpoint) -> bytes:
    """As struct sockaddr_in or sockaddr_in6. Raises InvalidValue if its scope is not an interface of ours."""
    port = endpoint.port.to_bytes(2, "big")
    if isinstance(endpoint.address, IPv4Address):
        return _SOCKADDR_IN.pack(socket.AF_INET, port, endpoint.address.packed)
    return _SOCKADDR_IN6.pack(socket.AF_INET6, port, 0, endpoint.address.packed, _scope_id(endpoint))


def _scope_id(endpoint: Endpoint) -> int:
    scope = endpoint.address.scope_id if isinstance(endpoint.address, IPv6Address) else None
    if scope is None:
        return 0
    try:
        return socket.if_nametoindex(scope)
    except (OSError, ValueError):
        if scope.isascii() and scope.isdigit() and int(scope) < 1 << 32:
            return int(scope)
        raise InvalidValue(
            f"the scope of {shown(str(endpoint))} is not a network interface: expected its name or index"
        ) from None


def encode_poke(key: bytes, sockaddr: bytes | None, keepalive: int) -> bytes:
    """The entries of the peer with that key that set its endpoint (None: leave it) and have the kernel send at once.

    wg_set_device() works off the entries of a message in order and under one lock, and sends a keepalive packet when
    the interval leaves 0: so it goes to 0, to what it was or 1, and to 0 if it was that.
    """
    peer = key + _UPDATE_ONLY
    first = b"" if sockaddr is None else _attribute(WGPEER_A_ENDPOINT, sockaddr)
    poke = _entry_header(len(first)), peer, first, _NO_KEEPALIVE, _entry_header(0), peer
    if keepalive:
        return b"".join((*poke, _attribute(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, _U16.pack(keepalive))))
    return b"".join((*poke, _KEEPALIVE_1, _entry_header(0), peer, _NO_KEEPALIVE))


def encode_quiet(key: bytes, sockaddr: bytes) -> bytes:
    """The entry of the peer with that key that sets its endpoint and has nothing sent."""
    rest = _UPDATE_ONLY + _attribute(WGPEER_A_ENDPOINT, sockaddr)
    return _attribute(_NESTED, _attribute(WGPEER_A_PUBLIC_KEY, key) + rest)


@lru_cache
def _entry_header(extra: int) -> bytes:
    """The headers of an entry and of the key in it; it has `extra` octets beside key, flags and keepalive."""
    size = 2 * _ATTRIBUTE.size + KEY_LENGTH + len(_UPDATE_ONLY) + len(_NO_KEEPALIVE) + extra
    return _ATTRIBUTE.pack(size, _NESTED) + _ATTRIBUTE.pack(_ATTRIBUTE.size + KEY_LENGTH, WGPEER_A_PUBLIC_KEY)


def encode_set(interface: str, entries: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """WG_CMD_SET_DEVICE messages, with the number of entries in each, as few as fit into MESSAGE_LIMIT."""
    start = _GENERIC.pack(WG_CMD_SET_DEVICE, VERSION) + _interface_attribute(interface)
    room = MESSAGE_LIMIT - HEADER.size - len(start) - _ATTRIBUTE.size
    batch: list[bytes] = []
    size = 0
    for entry in entries:
        if batch and size + len(entry) > room:
            yield len(batch), start + _attribute(_NESTED | WGDEVICE_A_PEERS, b"".join(batch))
            batch, size = [], 0
        batch.append(entry)
        size += len(entry)
    if batch:
        yield len(batch), start + _attribute(_NESTED | WGDEVICE_A_PEERS, b"".join(batch))


def _attributes(data: memoryview, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Each attribute's type and where its value starts and stops. Raises DeviceError."""
    while start < stop:
        if stop - start < _ATTRIBUTE.size:
            raise DeviceError(UNREADABLE)
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        end = start + length
        if length < _ATTRIBUTE.size or end > stop:
            raise DeviceError(UNREADABLE)
        yield kind & _TYPE_MASK, start + _ATTRIBUTE.size, end
        start = end + -length % 4


def _number(form: struct.Struct, data: memoryview, start: int, stop: int) -> int:
    if stop - start != form.size:
        raise DeviceError(UNREADABLE)
    (number,) = form.unpack_from(data, start)
    return int(number)


def _key(data: memoryview, start: int, stop: int) -> PublicKey:
    if stop - start != KEY_LENGTH:
        raise DeviceError(UNREADABLE)
    return PublicKey(data[start:stop].tobytes())


def decode_endpoint(sockaddr: bytes) -> Endpoint:
    """From struct sockaddr_in or sockaddr_in6. Raises DeviceError."""
    family = _U16.unpack_from(sockaddr)[0] if len(sockaddr) >= _U16.size else socket.AF_UNSPEC
    if family == socket.AF_INET and len(sockaddr) == _SOCKADDR_IN.size:
        _, port, address = _SOCKADDR_IN.unpack(sockaddr)
        return Endpoint(IPv4Address(address), int.from_bytes(port, "big"))
    if family == socket.AF_INET6 and len(sockaddr) == _SOCKADDR_IN6.size:
        _, port, _, address, scope = _SOCKADDR_IN6.unpack(sockaddr)
        host = IPv6Address(address)
        return Endpoint(IPv6Address(f"{host}%{_scope_name(scope)}") if scope else host, int.from_bytes(port, "big"))
    raise DeviceError(UNREADABLE)


def _scope_name(index: int) -> str:
    """As `wg` prints it: the interface's name, its number if it is gone."""
    try:
        return socket.if_indextoname(index)
    except (OSError, OverflowError):
        return str(index)


def decode_allowed_ips(nested: bytes) -> tuple[IPNetwork, ...]:
    """From the value of WGPEER_A_ALLOWEDIPS. Raises DeviceError."""
    networks: list[IPNetwork] = []
    at = 0
    try:
        while usual := _USUAL_NETWORKS.get(nested[at : at + _ATTRIBUTE.size]):
            form, layout, make = usual
            a, prefix, b, family, c, address = form.unpack_from(nested, at)
            if (a, b, family, c) != layout:
                break
            networks.append(make((int.from_bytes(address), prefix)))
            at += form.size
    except (struct.error, ValueError) as error:
        raise DeviceError(UNREADABLE) from error
    if at < len(nested):
        data = memoryview(nested)
        networks += (_network(data, start, stop) for _, start, stop in _attributes(data, at, len(data)))
    return tuple(networks)


def _network(data: memoryview, start: int, stop: int) -> IPNetwork:
    family, prefix, address = 0, -1, b""
    for kind, first, end in _attributes(data, start, stop):
        if kind == WGALLOWEDIP_A_FAMILY:
            family = _number(_U16, data, first, end)
        elif kind == WGALLOWEDIP_A_CIDR_MASK:
            prefix = data[first] if end > first else -1
        elif kind == WGALLOWEDIP_A_IPADDR:
            address = data[first:end].tobytes()
    try:
        if family == socket.AF_INET and len(address) == 4:
            return IPv4Network((address, prefix))
        if family == socket.AF_INET6 and len(address) == 16:
            return IPv6Network((address, prefix))
    except ValueError as error:
        raise DeviceError(UNREADABLE) from error
    raise DeviceError(UNREADABLE)


_PEER_HEAD = struct.Struct("=I32s I32x Iqq IH2x IQ IQ I4x")
"""A peer's first attributes as drivers/net/wireguard/netlink.c, get_peer() writes them, each behind its header."""


_PEER_START = struct.Struct("=HHI32s I32x")
"""The header around them, and the first two of them: the key is read, the preshared key is not."""
_RECORD = struct.Struct("=32s Iqq IH2x IQ IQ I4x")
"""The same without the preshared key, and without the key's header: a peer's *record*, up to its endpoint."""


def _header(kind: int, size: int) -> int:
    """The header of an attribute with a value of `size` octets, as one number."""
    (number,) = _U32.unpack(_ATTRIBUTE.pack(_ATTRIBUTE.size + size, kind))
    return int(number)


_PEER_HEAD_LAYOUT = (
    _header(WGPEER_A_PUBLIC_KEY, KEY_LENGTH),
    _header(WGPEER_A_PRESHARED_KEY, KEY_LENGTH),
    _header(WGPEER_A_LAST_HANDSHAKE_TIME, 16),
    _header(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, 2),
    _header(WGPEER_A_TX_BYTES, 8),
    _header(WGPEER_A_RX_BYTES, 8),
    _header(WGPEER_A_PROTOCOL_VERSION, 4),
)


_RECORD_LAYOUT = _PEER_HEAD_LAYOUT[2:]

_NETWORK = "=4xIB3xIH2xI"
"""An allowed IP as drivers/net/wireguard/netlink.c, get_allowedips() writes it, but for the address at its end."""
_USUAL_NETWORKS = {
    _U32.pack(_header(_NESTED, form.size - _ATTRIBUTE.size)): (
        form,
        (
            _header(WGALLOWEDIP_A_CIDR_MASK, 1),
            _header(WGALLOWEDIP_A_FAMILY, 2),
            family,
            _header(WGALLOWEDIP_A_IPADDR, form.size - struct.calcsize(_NETWORK)),
        ),
        make,
    )
    for form, family, make in (
        (struct.Struct(f"{_NETWORK}4s"), socket.AF_INET, IPv4Network),
        (struct.Struct(f"{_NETWORK}16s"), socket.AF_INET6, IPv6Network),
    )
}
"""By its header: its form, the numbers that make it the usual one, and what it is made into."""


class DeviceDecoder:
    """Makes a Device of the messages of one WG_CMD_GET_DEVICE dump.

    The kernel cuts the list of peers, and a peer's list of allowed IPs, wherever a message is full: the next message
    then starts with that peer's key and the rest of its allowed IPs. Private and preshared keys are passed over.

    `records` are the peers by their keys, with their records. Given to the decoder of the next dump, they make it five
    times as fast for every peer that is as it was, which is the same object then.
    """

    def __init__(self, interface: str, known: Mapping[bytes, tuple[bytes, Peer]] = MappingProxyType({})) -> None:
        self.records: dict[bytes, tuple[bytes, Peer]] = {}
        self._known = known
        self._interface = interface
        self._public_key: PublicKey | None = None
        self._listen_port = 0
        self._fwmark = 0
        self._index = 0
        self._peers: dict[bytes, Peer] = {}

    def device(self) -> Device:
        peers = tuple(self._peers.values())
        return Device(self._interface, self._public_key, self._listen_port, self._fwmark, peers, self._index)

    def add(self, message: memoryview) -> None:
        """One message without its netlink header. Nothing of it is kept but the values. Raises DeviceError."""
        for kind, start, stop in _attributes(message, _GENERIC.size, len(message)):
            if kind == WGDEVICE_A_PEERS:
                for _, first, end in _attributes(message, self._add_usual(message, start, stop), stop):
                    peer = _decode_peer(message, first, end)
                    self._add(peer.public_key.raw, peer)
            elif kind == WGDEVICE_A_PUBLIC_KEY:
                self._public_key = _key(message, start, stop)
            elif kind == WGDEVICE_A_LISTEN_PORT:
                self._listen_port = _number(_U16, message, start, stop)
            elif kind == WGDEVICE_A_FWMARK:
                self._fwmark = _number(_U32, message, start, stop)
            elif kind == WGDEVICE_A_IFINDEX:
                self._index = _number(_U32, message, start, stop)

    def _add(self, key: bytes, peer: Peer) -> None:
        first = self._peers.get(key)
        self._peers[key] = peer if first is None else replace(first, allowed_ips=first.allowed_ips + peer.allowed_ips)

    def _add_usual(self, data: memoryview, at: int, stop: int) -> int:
        """Add the peers that come in the kernel's usual layout, up to the first that does not; returns where that is.

        This is nearly all that is done with a device of which little has changed, and so all in one loop.
        """
        unpack_from, size, layout = _PEER_START.unpack_from, _PEER_START.size, _PEER_HEAD_LAYOUT[:2]
        peers, records, known = self._peers, self.records, self._known
        while stop - at >= size:
            length, _, a, key, b = unpack_from(data, at)
            end = at + length
            if (a, b) != layout or length < size or end > stop:
                break
            record = key + data[at + size : end].tobytes()
            before = known.get(key)
            if before is not None and before[0] == record:
                peer, records[key] = before[1], before
            else:
                peer = _decode_record(record, before) or _decode_peer(data, at + _ATTRIBUTE.size, end)
                if not _has_scope(peer):
                    records[key] = record, peer
            if key in peers:
                self._add(key, peer)
            else:
                peers[key] = peer
            at = end + -length % 4
        return at


def _has_scope(peer: Peer) -> bool:
    """Whether an interface is part of its endpoint: that may get another name, while the octets stay the same."""
    return peer.endpoint is not None and getattr(peer.endpoint.address, "scope_id", None) is not None


def _decode_record(record: bytes, known: tuple[bytes, Peer] | None) -> Peer | None:
    """A peer whose attributes are in the kernel's usual layout. Raises DeviceError.

    What is in the octets as it was in the record `known` is taken over from its peer: mostly all but the counters.
    """
    if len(record) < _RECORD.size:
        return None
    key, a, seconds, nanoseconds, b, keepalive, c, tx, d, rx, e = _RECORD.unpack_from(record)
    if (a, b, c, d, e) != _RECORD_LAYOUT:
        return None
    rest = record[_RECORD.size :]
    handshake = seconds * 1_000_000 + nanoseconds // 1000
    if known is not None and known[0][_RECORD.size :] == rest:
        peer = known[1]
        return Peer(peer.public_key, peer.endpoint, handshake, rx, tx, keepalive, peer.allowed_ips)
    endpoint: Endpoint | None = None
    allowed_ips: tuple[IPNetwork, ...] = ()
    at = 0
    while at < len(rest):
        if len(rest) - at < _ATTRIBUTE.size:
            raise DeviceError(UNREADABLE)
        length, kind = _ATTRIBUTE.unpack_from(rest, at)
        value = rest[at + _ATTRIBUTE.size : at + length]
        if length != _ATTRIBUTE.size + len(value):
            raise DeviceError(UNREADABLE)
        if kind == WGPEER_A_ENDPOINT:
            endpoint = decode_endpoint(value)
        elif kind == _NESTED | WGPEER_A_ALLOWEDIPS:
            allowed_ips = decode_allowed_ips(value)
        else:
            return None
        at += length + -length % 4
    return Peer(PublicKey(key), endpoint, handshake, rx, tx, keepalive, allowed_ips)


def _decode_peer(data: memoryview, start: int, stop: int) -> Peer:
    """A peer's attributes; those that come in the kernel's usual layout are taken in one step. Raises DeviceError."""
    public_key: PublicKey | None = None
    endpoint: Endpoint | None = None
    handshake = keepalive = tx = rx = 0
    allowed_ips: tuple[IPNetwork, ...] = ()
    if stop - start >= _PEER_HEAD.size:
        a, key, b, c, seconds, nanoseconds, d, interval, e, sent, f, received, g = _PEER_HEAD.unpack_from(data, start)
        if (a, b, c, d, e, f, g) == _PEER_HEAD_LAYOUT:
            public_key, handshake = PublicKey(key), seconds * 1_000_000 + nanoseconds // 1000
            keepalive, tx, rx = interval, sent, received
            start += _PEER_HEAD.size
    for kind, first, end in _attributes(data, start, stop):
        if kind == WGPEER_A_ENDPOINT:
            endpoint = decode_endpoint(data[first:end].tobytes())
        elif kind == WGPEER_A_ALLOWEDIPS:
            allowed_ips = decode_allowed_ips(data[first:end].tobytes())
        elif kind == WGPEER_A_PUBLIC_KEY:
            public_key = _key(data, first, end)
        elif kind == WGPEER_A_LAST_HANDSHAKE_TIME:
            if end - first != _TIMESPEC.size:
                raise DeviceError(UNREADABLE)
            seconds, nanoseconds = _TIMESPEC.unpack_from(data, first)
            handshake = seconds * 1_000_000 + nanoseconds // 1000
        elif kind == WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
            keepalive = _number(_U16, data, first, end)
        elif kind == WGPEER_A_TX_BYTES:
            tx = _number(_U64, data, first, end)
        elif kind == WGPEER_A_RX_BYTES:
            rx = _number(_U64, data, first, end)
    if public_key is None:
        raise DeviceError(UNREADABLE)
    return Peer(public_key, endpoint, handshake, rx, tx, keepalive, allowed_ips)


def decode_paths(message: memoryview) -> list[tuple[bytes, Path]]:
    """The raw key and the path of each peer in one message; all else is passed over. Raises DeviceError.

    A peer that goes on in the next message comes again there, without its path: the first one counts.
    """
    return [
        _decode_path(message, first, end)
        for kind, start, stop in _attributes(message, _GENERIC.size, len(message))
        if kind == WGDEVICE_A_PEERS
        for _, first, end in _attributes(message, start, stop)
    ]


def _decode_path(data: memoryview, start: int, stop: int) -> tuple[bytes, Path]:
    if stop - start >= _PEER_HEAD.size:
        a, key, b, c, _, _, d, keepalive, e, _, f, _, g = _PEER_HEAD.unpack_from(data, start)
        if (a, b, c, d, e, f, g) == _PEER_HEAD_LAYOUT:
            for kind, first, end in _attributes(data, start + _PEER_HEAD.size, stop):
                if kind == WGPEER_A_ENDPOINT:
                    return key, Path(_without_the_rest(data[first:end].tobytes()), keepalive)
            return key, Path(None, keepalive)
    peer = _decode_peer(data, start, stop)
    sockaddr = None if peer.endpoint is None else encode_endpoint(peer.endpoint)
    return peer.public_key.raw, Path(sockaddr, peer.persistent_keepalive)


def _without_the_rest(sockaddr: bytes) -> bytes:
    """As encode_endpoint() writes it: without what a program may have left in sin_zero or sin6_flowinfo."""
    if len(sockaddr) == _SOCKADDR_IN.size:
        return sockaddr[:8] + bytes(8)
    return sockaddr[:4] + bytes(4) + sockaddr[8:]


def decode_family(message: memoryview) -> int:
    """The message type of the family that was asked for. Raises DeviceError."""
    for kind, start, stop in _attributes(message, _GENERIC.size, len(message)):
        if kind == CTRL_ATTR_FAMILY_ID:
            return _number(_U16, message, start, stop)
    raise DeviceError(UNREADABLE)
