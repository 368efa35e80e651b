# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's WireGuard devices over netlink: read peers, set and poke endpoints. Knows nothing of policy.

The messages are those of linux/wireguard.h (generic netlink family "wireguard", version 1). pyroute2 gives the socket
and the constants; the messages are read and written here, because only a few attributes are wanted, no private or
preshared key may ever become a Python object, and pyroute2 needs 0.15 ms to decode one peer.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Self

from pyroute2.netlink import (
    CTRL_ATTR_FAMILY_ID,
    CTRL_ATTR_FAMILY_NAME,
    CTRL_CMD_GETFAMILY,
    GENL_ID_CTRL,
    NETLINK_GENERIC,
    NETLINK_ROUTE,
    NLA_F_NESTED,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
)
from pyroute2.netlink.generic.wireguard import (
    WG_CMD_GET_DEVICE,
    WG_CMD_SET_DEVICE,
    WG_GENL_NAME,
    WG_GENL_VERSION,
    WG_KEY_LEN,
    WGALLOWEDIP_A_CIDR_MASK,
    WGALLOWEDIP_A_FAMILY,
    WGALLOWEDIP_A_IPADDR,
    WGDEVICE_A_FWMARK,
    WGDEVICE_A_IFNAME,
    WGDEVICE_A_LISTEN_PORT,
    WGDEVICE_A_PEERS,
    WGDEVICE_A_PUBLIC_KEY,
    WGPEER_F_UPDATE_ONLY,
)
from pyroute2.netlink.rtnl import RTM_GETLINK
from pyroute2.netns import create_socket

from wgsd_nm.core.errors import DeviceError, InvalidValue, NoSuchDevice, NotPermitted, NotWireGuard
from wgsd_nm.core.model import (
    ChangeResult,
    Device,
    Endpoint,
    EndpointChange,
    IPNetwork,
    Peer,
    PublicKey,
    parse_interface,
    shown,
)

# linux/wireguard.h, enum wgpeer_attribute (pyroute2 names them inside of a class only)
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

# linux/if_link.h
IFLA_IFNAME = 3
IFLA_LINKINFO = 18
IFLA_INFO_KIND = 1

MESSAGE_LIMIT = 60_000
"""No message to the kernel is longer, in octets: its list of peers is one attribute, whose length has 16 bits."""

REPLY_BUFFER = 1 << 16
"""Octets; the kernel's dumps come in pieces of at most 32 KiB (net/netlink/af_netlink.c, netlink_recvmsg())."""

KERNEL_TIMEOUT = 10.0
"""Seconds without an answer after which something is badly wrong; the kernel answers at once."""

DUMP_ATTEMPTS = 10
"""So often a dump is asked for again if peers came or went meanwhile (NLM_F_DUMP_INTR)."""

CACHED = 1 << 15
"""Keys, endpoints and allowed IPs to remember: enough for 10,000 peers that are read again and again."""

_MESSAGE = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
_GENERIC = struct.Struct("=BBxx")  # struct genlmsghdr: command, version
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length with this header, type
_ATTRIBUTE_TYPE = 0x3FFF  # NLA_TYPE_MASK
_ERROR = struct.Struct("=i")
_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_TIMESPEC = struct.Struct("=qq")  # struct __kernel_timespec
_SOCKADDR_IN = struct.Struct("=H2s4s8x")
_SOCKADDR_IN6 = struct.Struct("=H2sI16sI")  # family, port, flow label, address, scope id in the host's byte order

_PEER_HEAD = struct.Struct("=I32s I32x Iqq IH2x IQ IQ I4x".replace(" ", ""))
"""A peer's first attributes as drivers/net/wireguard/netlink.c, get_peer() writes them, each behind its header."""


def _header(kind: int, size: int) -> int:
    """The header of an attribute with a value of `size` octets, as one number."""
    (number,) = _U32.unpack(_ATTRIBUTE.pack(_ATTRIBUTE.size + size, kind))
    return int(number)


_PEER_HEAD_LAYOUT = (
    _header(WGPEER_A_PUBLIC_KEY, WG_KEY_LEN),
    _header(WGPEER_A_PRESHARED_KEY, WG_KEY_LEN),
    _header(WGPEER_A_LAST_HANDSHAKE_TIME, 16),
    _header(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, 2),
    _header(WGPEER_A_TX_BYTES, 8),
    _header(WGPEER_A_RX_BYTES, 8),
    _header(WGPEER_A_PROTOCOL_VERSION, 4),
)


class WireGuard:
    """A netlink socket to the kernel's WireGuard, in the network namespace of the process.

    Calls block for the microseconds that the kernel needs, also within a running event loop. One call at a time.
    """

    def __init__(self) -> None:
        """Raises DeviceError where the kernel has no WireGuard."""
        self._netlink = _Netlink(NETLINK_GENERIC)
        try:
            self._family = self._find_family()
        except BaseException:
            self._netlink.close()
            raise

    def close(self) -> None:
        self._netlink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, interface: str) -> Device:
        """The device and its peers, in the kernel's order.

        Raises InvalidValue, NoSuchDevice, NotWireGuard, NotPermitted, DeviceError.
        """
        name = _interface_attribute(interface)
        request = _GENERIC.pack(WG_CMD_GET_DEVICE, WG_GENL_VERSION) + name
        for _ in range(DUMP_ATTEMPTS):
            decoder = DeviceDecoder(interface)
            try:
                if self._netlink.request(self._family, NLM_F_DUMP, request, decoder.add):
                    return decoder.device()
            except OSError as error:
                raise _device_error(interface, error) from error
        raise DeviceError(f"the peers of {interface} change faster than they can be read: try again")

    def set_endpoints(self, interface: str, changes: Sequence[EndpointChange]) -> dict[PublicKey, ChangeResult]:
        """Set and poke the peers whose endpoint is the expected one; what became of each change, in their order.

        A *poke* has the kernel send at once: a keepalive packet, or a handshake initiation without a session (nothing
        while the device is down). A peer's keepalive interval is afterwards what it was. A peer that already has the
        endpoint wanted is only poked, so that it is not set back if it roams this instant. No peer is ever created.

        Raises InvalidValue (a key twice, a scope that is no interface) before anything is written, and what read()
        raises; a DeviceError in the midst says how many peers were written.
        """
        targets = {change.public_key: _target(change) for change in changes}
        if len(targets) != len(changes):
            raise InvalidValue("each peer can be named once in a call: send one change for each public key")
        peers = {peer.public_key: peer for peer in self.read(interface).peers} if changes else {}
        results: dict[PublicKey, ChangeResult] = {}
        entries: list[bytes] = []
        for change in changes:
            peer = peers.get(change.public_key)
            result = results[change.public_key] = _judge(change, peer)
            if peer is not None and result in (ChangeResult.CHANGED, ChangeResult.POKED):
                address = targets[change.public_key] if result is ChangeResult.CHANGED else b""
                entries.append(encode_poke(peer.public_key, address, peer.persistent_keepalive))
        written = 0
        for count, message in encode_messages(interface, entries):
            try:
                self._netlink.request(self._family, NLM_F_ACK, message)
            except (OSError, DeviceError) as error:
                cause = _device_error(interface, error) if isinstance(error, OSError) else error
                if not written:
                    raise cause from error
                raise type(cause)(
                    f"only {written} of {len(entries)} peers of {interface} were written: {cause}"
                ) from error
            written += count
        return results

    def interfaces(self) -> tuple[str, ...]:
        """The names of all WireGuard devices in the network namespace. Raises DeviceError. Needs no capability."""
        names: list[str] = []

        def add(message: memoryview) -> None:
            name = wireguard_link(message)
            if name is not None:
                names.append(name)

        route = _Netlink(NETLINK_ROUTE)
        try:
            for _ in range(DUMP_ATTEMPTS):
                names.clear()
                if route.request(RTM_GETLINK, NLM_F_DUMP, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0), add):
                    return tuple(names)
        except OSError as error:
            raise DeviceError(f"the kernel does not list its network interfaces: {error.strerror}") from error
        finally:
            route.close()
        raise DeviceError("the network interfaces change faster than they can be read: try again")

    def _find_family(self) -> int:
        """The message type of WireGuard's messages. The kernel loads the module for this question if it can."""
        found: list[int] = []

        def add(message: memoryview) -> None:
            found.extend(
                _number(_U16, message, start, stop)
                for kind, start, stop in _attributes(message, _GENERIC.size, len(message))
                if kind == CTRL_ATTR_FAMILY_ID
            )

        name = _attribute(CTRL_ATTR_FAMILY_NAME, WG_GENL_NAME.encode() + b"\0")
        try:
            self._netlink.request(GENL_ID_CTRL, NLM_F_ACK, _GENERIC.pack(CTRL_CMD_GETFAMILY, 1) + name, add)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise DeviceError(f"the kernel does not say whether it has WireGuard: {error.strerror}") from error
        if not found:
            raise DeviceError("this kernel has no WireGuard: load its module (modprobe wireguard) or install it")
        return found[0]


def _judge(change: EndpointChange, peer: Peer | None) -> ChangeResult:
    """What is to become of a change: compare, then set."""
    if peer is None:
        return ChangeResult.UNKNOWN_PEER
    if not _same(peer.endpoint, change.expected):
        return ChangeResult.STALE
    if change.wanted is not None and not _same(peer.endpoint, change.wanted):
        return ChangeResult.CHANGED
    return ChangeResult.NO_ENDPOINT if peer.endpoint is None else ChangeResult.POKED


def _same(one: Endpoint | None, other: Endpoint | None) -> bool:
    """Whether the kernel would hold both alike: `%2` and `%eth0` may be the same scope."""
    if one == other or one is None or other is None:
        return one == other
    try:
        return one.port == other.port and encode_endpoint(one) == encode_endpoint(other)
    except InvalidValue:
        return False


def _target(change: EndpointChange) -> bytes:
    return b"" if change.wanted is None else encode_endpoint(change.wanted)


def _device_error(interface: str, error: OSError) -> DeviceError:
    """The kernel's refusal (drivers/net/wireguard/netlink.c, lookup_interface()) as ours."""
    match error.errno:
        case errno.ENODEV:
            return NoSuchDevice(f"there is no network interface {interface}: expected a WireGuard device of that name")
        case errno.EOPNOTSUPP:
            return NotWireGuard(f"the network interface {interface} is not a WireGuard device")
        case errno.EPERM | errno.EACCES:
            return NotPermitted(f"the WireGuard device {interface} is closed to this process: it needs CAP_NET_ADMIN")
        case _:
            return DeviceError(f"the kernel refused to work on the WireGuard device {interface}: {error.strerror}")


# Out: values to octets


def _attribute(kind: int, value: bytes) -> bytes:
    """An attribute, padded to four octets."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _interface_attribute(interface: str) -> bytes:
    return _attribute(WGDEVICE_A_IFNAME, parse_interface(interface).encode() + b"\0")


_NO_KEEPALIVE = _attribute(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, _U16.pack(0))
_UPDATE_ONLY = _attribute(WGPEER_A_FLAGS, _U32.pack(WGPEER_F_UPDATE_ONLY))


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


def encode_poke(key: PublicKey, sockaddr: bytes, keepalive: int) -> bytes:
    """The entries of one peer that set its endpoint (b"": leave it) and have the kernel send at once.

    wg_set_device() works off the entries of a message in order and under one lock, and sends a keepalive packet when
    the interval leaves 0: so it goes to 0, to what it was or 1, and to 0 if it was that.
    """
    peer = _attribute(WGPEER_A_PUBLIC_KEY, key.raw) + _UPDATE_ONLY
    endpoint = _attribute(WGPEER_A_ENDPOINT, sockaddr) if sockaddr else b""
    started = _attribute(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, _U16.pack(keepalive or 1))
    entries = [endpoint + _NO_KEEPALIVE, started] if keepalive else [endpoint + _NO_KEEPALIVE, started, _NO_KEEPALIVE]
    return b"".join(_attribute(NLA_F_NESTED, peer + entry) for entry in entries)


def encode_messages(interface: str, entries: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """WG_CMD_SET_DEVICE messages, with the number of entries in each, as few as fit into MESSAGE_LIMIT."""
    start = _GENERIC.pack(WG_CMD_SET_DEVICE, WG_GENL_VERSION) + _interface_attribute(interface)
    room = MESSAGE_LIMIT - _MESSAGE.size - len(start) - _ATTRIBUTE.size
    batch: list[bytes] = []
    size = 0
    for entry in entries:
        if batch and size + len(entry) > room:
            yield len(batch), start + _attribute(NLA_F_NESTED | WGDEVICE_A_PEERS, b"".join(batch))
            batch, size = [], 0
        batch.append(entry)
        size += len(entry)
    if batch:
        yield len(batch), start + _attribute(NLA_F_NESTED | WGDEVICE_A_PEERS, b"".join(batch))


# In: octets to values


def _attributes(data: memoryview, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Each attribute's type and where its value starts and stops. Raises DeviceError."""
    while start < stop:
        if stop - start < _ATTRIBUTE.size:
            raise DeviceError(_UNREADABLE)
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        end = start + length
        if length < _ATTRIBUTE.size or end > stop:
            raise DeviceError(_UNREADABLE)
        yield kind & _ATTRIBUTE_TYPE, start + _ATTRIBUTE.size, end
        start = end + -length % 4


_UNREADABLE = "the kernel's answer is not one of its WireGuard messages: this kernel may be newer than the program"


def _number(form: struct.Struct, data: memoryview, start: int, stop: int) -> int:
    if stop - start != form.size:
        raise DeviceError(_UNREADABLE)
    (number,) = form.unpack_from(data, start)
    return int(number)


def _key(data: memoryview, start: int, stop: int) -> PublicKey:
    if stop - start != WG_KEY_LEN:
        raise DeviceError(_UNREADABLE)
    return _public_key(data[start:stop].tobytes())


_public_key = lru_cache(CACHED)(PublicKey)


def decode_endpoint(sockaddr: bytes) -> Endpoint:
    """From struct sockaddr_in or sockaddr_in6. Raises DeviceError."""
    if len(sockaddr) == _SOCKADDR_IN6.size and sockaddr[-4:] != b"\0\0\0\0":
        return _decode_endpoint(sockaddr)  # not from the cache: an interface may get another name
    return _cached_endpoint(sockaddr)


def _decode_endpoint(sockaddr: bytes) -> Endpoint:
    family = _U16.unpack_from(sockaddr)[0] if len(sockaddr) >= _U16.size else socket.AF_UNSPEC
    if family == socket.AF_INET and len(sockaddr) == _SOCKADDR_IN.size:
        _, port, address = _SOCKADDR_IN.unpack(sockaddr)
        return Endpoint(IPv4Address(address), int.from_bytes(port, "big"))
    if family == socket.AF_INET6 and len(sockaddr) == _SOCKADDR_IN6.size:
        _, port, _, address, scope = _SOCKADDR_IN6.unpack(sockaddr)
        host = IPv6Address(address)
        return Endpoint(IPv6Address(f"{host}%{_scope_name(scope)}") if scope else host, int.from_bytes(port, "big"))
    raise DeviceError(_UNREADABLE)


_cached_endpoint = lru_cache(CACHED)(_decode_endpoint)


def _scope_name(index: int) -> str:
    """As `wg` prints it: the interface's name, its number if it is gone."""
    try:
        return socket.if_indextoname(index)
    except (OSError, OverflowError):
        return str(index)


@lru_cache(CACHED)
def decode_allowed_ips(nested: bytes) -> tuple[IPNetwork, ...]:
    """From the value of WGPEER_A_ALLOWEDIPS. Raises DeviceError."""
    data = memoryview(nested)
    return tuple(_network(data, start, stop) for _, start, stop in _attributes(data, 0, len(data)))


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
        raise DeviceError(_UNREADABLE) from error
    raise DeviceError(_UNREADABLE)


class DeviceDecoder:
    """Makes a Device of the messages of one WG_CMD_GET_DEVICE dump.

    The kernel cuts the list of peers, and a peer's list of allowed IPs, wherever a message is full: the next message
    then starts with that peer's key and the rest of its allowed IPs. Private and preshared keys are passed over.
    """

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._public_key: PublicKey | None = None
        self._listen_port = 0
        self._fwmark = 0
        self._peers: dict[PublicKey, Peer] = {}

    def device(self) -> Device:
        return Device(self._interface, self._public_key, self._listen_port, self._fwmark, tuple(self._peers.values()))

    def add(self, message: memoryview) -> None:
        """One message without its netlink header. Nothing of it is kept but the values. Raises DeviceError."""
        peers = self._peers
        for kind, start, stop in _attributes(message, _GENERIC.size, len(message)):
            if kind == WGDEVICE_A_PEERS:
                for _, first, end in _attributes(message, start, stop):
                    peer = _decode_peer(message, first, end)
                    known = peers.get(peer.public_key)
                    if known is not None:
                        peer = replace(known, allowed_ips=known.allowed_ips + peer.allowed_ips)
                    peers[peer.public_key] = peer
            elif kind == WGDEVICE_A_PUBLIC_KEY:
                self._public_key = _key(message, start, stop)
            elif kind == WGDEVICE_A_LISTEN_PORT:
                self._listen_port = _number(_U16, message, start, stop)
            elif kind == WGDEVICE_A_FWMARK:
                self._fwmark = _number(_U32, message, start, stop)


def _decode_peer(data: memoryview, start: int, stop: int) -> Peer:
    """A peer's attributes; those that come in the kernel's usual layout are taken in one step. Raises DeviceError."""
    public_key: PublicKey | None = None
    endpoint: Endpoint | None = None
    handshake = keepalive = tx = rx = 0
    allowed_ips: tuple[IPNetwork, ...] = ()
    if stop - start >= _PEER_HEAD.size:
        a, key, b, c, seconds, nanoseconds, d, interval, e, sent, f, received, g = _PEER_HEAD.unpack_from(data, start)
        if (a, b, c, d, e, f, g) == _PEER_HEAD_LAYOUT:
            public_key, handshake = _public_key(key), seconds * 1_000_000 + nanoseconds // 1000
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
                raise DeviceError(_UNREADABLE)
            seconds, nanoseconds = _TIMESPEC.unpack_from(data, first)
            handshake = seconds * 1_000_000 + nanoseconds // 1000
        elif kind == WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
            keepalive = _number(_U16, data, first, end)
        elif kind == WGPEER_A_TX_BYTES:
            tx = _number(_U64, data, first, end)
        elif kind == WGPEER_A_RX_BYTES:
            rx = _number(_U64, data, first, end)
    if public_key is None:
        raise DeviceError(_UNREADABLE)
    return Peer(public_key, endpoint, handshake, rx, tx, keepalive, allowed_ips)


def wireguard_link(message: memoryview) -> str | None:
    """The name in an RTM_NEWLINK message if it is of a WireGuard device. Raises DeviceError."""
    name, kind_of_link = None, b""
    for kind, start, stop in _attributes(message, _LINK.size, len(message)):
        if kind == IFLA_IFNAME:
            name = os.fsdecode(message[start:stop].tobytes().rstrip(b"\0"))
        elif kind == IFLA_LINKINFO:
            for inner, first, end in _attributes(message, start, stop):
                if inner == IFLA_INFO_KIND:
                    kind_of_link = message[first:end].tobytes().rstrip(b"\0")
    return name if kind_of_link == WG_GENL_NAME.encode() else None


# The socket


class _Netlink:
    """A netlink socket that sends one request and takes all of its replies before the next.

    pyroute2's own sockets run an event loop inside, which Python forbids within a running one: this takes the plain
    socket that they are built on.
    """

    def __init__(self, protocol: int) -> None:
        self._protocol = protocol
        self._buffer = bytearray(REPLY_BUFFER)
        self._sequence = 0
        self._socket = self._open()

    def _open(self) -> socket.socket:
        try:
            netlink: socket.socket = create_socket(
                family=socket.AF_NETLINK, socket_type=socket.SOCK_RAW | socket.SOCK_CLOEXEC, proto=self._protocol
            )
            netlink.settimeout(KERNEL_TIMEOUT)
            netlink.bind((0, 0))
        except OSError as error:
            raise DeviceError(f"no netlink socket to the kernel could be opened: {error.strerror}") from error
        return netlink

    def close(self) -> None:
        self._socket.close()

    def request(
        self, kind: int, flags: int, payload: bytes, on_message: Callable[[memoryview], None] = lambda _: None
    ) -> bool:
        """Send it and give each reply's payload to `on_message`, which keeps no reference, until the kernel is done.

        False if a dump is not consistent. Raises OSError with the kernel's errno, DeviceError, and what on_message
        raises; after the latter two the socket is made anew, for replies may be left in the old one.
        """
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        header = _MESSAGE.pack(_MESSAGE.size + len(payload), kind, flags | NLM_F_REQUEST, self._sequence, 0)
        try:
            self._socket.sendto(header + payload, (0, 0))
            consistent, refusal = self._receive(on_message)
        except BaseException as error:
            self._socket.close()
            self._socket = self._open()
            if isinstance(error, TimeoutError):
                raise DeviceError("the kernel does not answer on its netlink socket") from error
            raise
        finally:
            self._buffer[:] = bytes(REPLY_BUFFER)
        if refusal:
            raise OSError(refusal, os.strerror(refusal))
        return consistent

    def _receive(self, on_message: Callable[[memoryview], None]) -> tuple[bool, int]:
        """Whether all replies were consistent, and the errno with which they ended, 0 for none."""
        consistent = True
        with memoryview(self._buffer) as buffer:
            while True:
                length, _, recv_flags, (port, _) = self._socket.recvmsg_into([buffer])
                if recv_flags & socket.MSG_TRUNC:
                    raise DeviceError(_UNREADABLE)
                if port:
                    continue  # not from the kernel
                start = 0
                while start < length:
                    if length - start < _MESSAGE.size:
                        raise DeviceError(_UNREADABLE)
                    size, kind, flags, sequence, _ = _MESSAGE.unpack_from(buffer, start)
                    stop, first = start + size, start + _MESSAGE.size
                    if size < _MESSAGE.size or stop > length:
                        raise DeviceError(_UNREADABLE)
                    if sequence == self._sequence:
                        consistent &= not flags & NLM_F_DUMP_INTR
                        if kind in (NLMSG_DONE, NLMSG_ERROR):
                            return consistent, -_number(_ERROR, buffer, first, min(stop, first + _ERROR.size))
                        with buffer[first:stop] as payload:
                            on_message(payload)
                    start = stop + -size % 4
