# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry's sockets: opened here, as root if need be, or taken over from systemd. Knows nothing of DNS.

All tell the interface by which a packet came in: of a datagram in its ancillary data, of a connection when asked.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from wgsd_nm.core.errors import AddressUnusable
from wgsd_nm.core.model import Endpoint
from wgsd_nm.registry.access import LOOPBACK

BACKLOG = 128
MAX_QUERY = 4096
"""Octets that are received; no query is longer."""

_IP_FREEBIND = 15  # linux/in.h, which Python's socket module does not name
_IP_PKTINFO = 8
_IP_PKTOPTIONS = 9
_IPV6_2292PKTOPTIONS = 6  # linux/in6.h
_IPV6_FREEBIND = 78
_SO_MEMINFO = 55  # asm-generic/socket.h
_MEMINFO = struct.Struct("=9I")
_MEMINFO_DROPS = 8  # SK_MEMINFO_DROPS, linux/sock_diag.h
_IN_PKTINFO = struct.Struct("=i4s4s")
_IN6_PKTINFO = struct.Struct("=16si")
_CMSG = struct.Struct("@nii")

Ancillary = list[tuple[int, int, bytes]]
"""Control messages as recvmsg() and sendmsg() have them: level, type, data."""


@dataclass(frozen=True, slots=True)
class Listener:
    """The bound sockets of one address; either may be missing where systemd passed them."""

    address: Endpoint
    udp: socket.socket | None
    tcp: socket.socket | None

    def close(self) -> None:
        for bound in (self.udp, self.tcp):
            if bound is not None:
                bound.close()


def listen(addresses: Iterable[Endpoint]) -> tuple[Listener, ...]:
    """Bind UDP and TCP at each address, whether this machine has it already or not. Raises AddressUnusable."""
    listeners: list[Listener] = []
    try:
        for address in addresses:
            udp = _bound(address, socket.SOCK_DGRAM)
            try:
                tcp = _bound(address, socket.SOCK_STREAM)
            except AddressUnusable:
                udp.close()
                raise
            listeners.append(Listener(address, udp, tcp))
    except AddressUnusable:
        for listener in listeners:
            listener.close()
        raise
    return tuple(listeners)


def adopt(sockets: Iterable[socket.socket]) -> tuple[Listener, ...]:
    """Take over bound sockets that somebody else opened, UDP and TCP of one address together.

    Raises AddressUnusable, and has taken none over.
    """
    halves: dict[Endpoint, list[tuple[socket.socket | None, socket.socket | None]]] = {}
    for given in sockets:
        address = _adopted(given)
        pairs = halves.setdefault(address, [])
        udp, tcp = pairs.pop() if pairs else (None, None)
        is_udp = given.type == socket.SOCK_DGRAM
        if (udp if is_udp else tcp) is not None:
            pairs.append((udp, tcp))
            udp = tcp = None
        pairs.append((given, tcp) if is_udp else (udp, given))
    return tuple(Listener(address, udp, tcp) for address, pairs in halves.items() for udp, tcp in pairs)


def arrival(connection: socket.socket) -> int:
    """The index of the interface by which an accepted connection's packets come in, 0 where the kernel does not say.

    For IPv4 it is that of the handshake (net/ipv4/ip_sockglue.c, IP_PKTOPTIONS on a stream), for IPv6 that of the
    latest packet too (net/ipv6/ipv6_sockglue.c, IPV6_2292PKTOPTIONS).
    """
    six = connection.family == socket.AF_INET6
    level, option = (socket.IPPROTO_IPV6, _IPV6_2292PKTOPTIONS) if six else (socket.IPPROTO_IP, _IP_PKTOPTIONS)
    try:
        octets = connection.getsockopt(level, option, 256)
        asked, source = connection.getsockname()[0], connection.getpeername()[0]
    except OSError:
        return 0
    return arrival_of(control_messages(octets), source, asked)


def arrival_of(ancillary: Ancillary, source: str, asked: str = "") -> int:
    """The index of the interface by which a packet came in, by its control messages; 0 where they do not say.

    What a machine sends to an address of its own comes by the loopback device, but the kernel names the device of that
    address (ipv4_pktinfo_prepare()). It is known by a source that is the address `asked`, by default the message's.
    Whoever forges that from outside, as IPv6 lets him, has the answer sent to this machine itself.
    """
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(data) == _IN_PKTINFO.size:
            index, _, destination = _IN_PKTINFO.unpack(data)
            own = asked or str(IPv4Address(destination))
        elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(data) == _IN6_PKTINFO.size:
            destination, index = _IN6_PKTINFO.unpack(data)
            own = asked or _text(IPv6Address(destination))
        else:
            continue
        return LOOPBACK if own == source else int(index)
    return 0


def answering(ancillary: Ancillary) -> Ancillary:
    """The control messages that send from where a packet went to; by which interface is routing's business."""
    found: Ancillary = []
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            _, local, destination = _IN_PKTINFO.unpack(data)
            found.append((level, kind, _IN_PKTINFO.pack(0, local, destination)))
        elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            address, interface = _IN6_PKTINFO.unpack(data)
            link_local = address[0] == 0xFE and address[1] & 0xC0 == 0x80
            found.append((level, kind, _IN6_PKTINFO.pack(address, interface if link_local else 0)))
    return found


def control_messages(octets: bytes) -> Ancillary:
    """As the kernel writes them into a buffer (cmsg(3))."""
    found: Ancillary = []
    header = socket.CMSG_LEN(0)
    at = 0
    while at + header <= len(octets):
        length, level, kind = _CMSG.unpack_from(octets, at)
        if not header <= length <= len(octets) - at:
            break
        found.append((level, kind, octets[at + header : at + length]))
        at += socket.CMSG_SPACE(length - header)
    return found


def control_octets(ancillary: Ancillary) -> bytes:
    """The reverse of control_messages(): as the kernel reads them from a buffer."""
    return b"".join(
        (_CMSG.pack(socket.CMSG_LEN(len(data)), level, kind) + data).ljust(socket.CMSG_SPACE(len(data)), b"\0")
        for level, kind, data in ancillary
    )


def allow(count: int) -> None:
    """Let this process have so many descriptors, as far as it may (getrlimit(2)); systemd's units say it themselves."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count and soft != resource.RLIM_INFINITY:
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def dropped(bound: socket.socket) -> int:
    """How many datagrams found no room in the socket's queue (SO_MEMINFO), modulo 2**32."""
    try:
        octets = bound.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
    except OSError:
        return 0
    return int(_MEMINFO.unpack(octets)[_MEMINFO_DROPS]) if len(octets) == _MEMINFO.size else 0


def _bound(address: Endpoint, kind: socket.SocketKind) -> socket.socket:
    six = address.address.version == 6
    bound = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
    try:
        if six:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            bound.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _prepare(bound)
        bound.bind((str(address.address), address.port))
        if kind == socket.SOCK_STREAM:
            bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise AddressUnusable(_unusable(address, kind, error)) from error
    return bound


def _prepare(bound: socket.socket) -> None:
    """What every socket needs, and an unprivileged process may ask for. Raises OSError.

    What a listening socket is told holds for the connections that it takes, too.
    """
    bound.setblocking(False)
    if bound.type == socket.SOCK_STREAM:
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or pipelined answers wait for each other's ACK
    if bound.family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def _adopted(given: socket.socket) -> Endpoint:
    """The address of a socket that can be adopted, prepared. Raises AddressUnusable."""
    if given.family not in (socket.AF_INET, socket.AF_INET6) or given.type not in (
        socket.SOCK_DGRAM,
        socket.SOCK_STREAM,
    ):
        raise AddressUnusable(
            f"descriptor {given.fileno()} is no UDP or TCP socket: "
            "expected only ListenDatagram= and ListenStream= with IP addresses in the socket unit"
        )
    name = given.getsockname()
    scope = f"%{name[3]}" if given.family == socket.AF_INET6 and name[3] else ""
    address = Endpoint.parse(f"[{name[0]}{scope}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}")
    if given.type == socket.SOCK_STREAM and not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise AddressUnusable(
            f"the TCP socket at {address} does not listen: expected Accept=no, which is the default, in the socket unit"
        )
    try:
        _prepare(given)
    except OSError as error:
        raise AddressUnusable(_unusable(address, given.type, error)) from error
    return address


def _unusable(address: Endpoint, kind: int, error: OSError) -> str:
    where = f"{'UDP' if kind == socket.SOCK_DGRAM else 'TCP'} port {address.port} of {address.address}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{where} is taken by another program: stop it, or listen at another address or port"
        case errno.EACCES | errno.EPERM:
            return f"{where} needs a privilege that this user does not have: start the registry as root"
        case errno.EAFNOSUPPORT:
            return f"{where} cannot be used: this machine has no IPv{address.address.version}"
    return f"{where} cannot be used: {os.strerror(error.errno or 0)}"


def _text(address: IPv6Address) -> str:
    """As a socket's name has it: an IPv4-mapped address ends in dotted decimals."""
    return socket.inet_ntop(socket.AF_INET6, address.packed)
