# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry's sockets: UDP and TCP (RFC 7766). Knows nothing of what queries mean.

A query that needs the device waits until its content is fresh. Sockets are opened by `listen()`, as root if need be,
and served later by `Server`, without any privilege.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from wgsd_nm.core.errors import AddressUnusable
from wgsd_nm.core.model import Endpoint
from wgsd_nm.registry.content import Content
from wgsd_nm.registry.responder import Responder

BURST = 64
"""Datagrams that are read in one turn of the event loop."""
MAX_QUERY = 4096
"""Octets; no query is longer."""
MAX_CONNECTIONS = 256
IDLE_TIMEOUT = 10.0
"""Seconds that a client has for each query over TCP, and to take its answer."""

_IP_FREEBIND = 15  # linux/in.h, which Python's socket module does not name
_IP_PKTINFO = 8
_IPV6_FREEBIND = 78  # linux/in6.h
_IN_PKTINFO = struct.Struct("=i4s4s")
_IN6_PKTINFO = struct.Struct("=16si")
_LENGTH = struct.Struct("!H")


@dataclass(frozen=True, slots=True)
class Listener:
    """The bound sockets of one address."""

    address: Endpoint
    udp: socket.socket
    tcp: socket.socket


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
            listener.udp.close()
            listener.tcp.close()
        raise
    return tuple(listeners)


def _bound(address: Endpoint, kind: socket.SocketKind) -> socket.socket:
    six = address.address.version == 6
    bound = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
    try:
        bound.setblocking(False)
        if six:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            bound.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif address.address.is_unspecified:
            # An answer has to come from the address that was asked, which such a socket learns packet by packet.
            if six:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            else:
                bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        bound.bind((str(address.address), address.port))
        if kind == socket.SOCK_STREAM:
            bound.listen(128)
    except OSError as error:
        bound.close()
        raise AddressUnusable(_unusable(address, kind, error)) from error
    return bound


def _unusable(address: Endpoint, kind: socket.SocketKind, error: OSError) -> str:
    where = f"{'UDP' if kind == socket.SOCK_DGRAM else 'TCP'} port {address.port} of {address.address}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{where} is taken by another program: stop it, or listen at another address or port"
        case errno.EACCES | errno.EPERM:
            return f"{where} needs a privilege that this user does not have: start the registry as root"
        case errno.EAFNOSUPPORT:
            return f"{where} cannot be used: this machine has no IPv{address.address.version}"
    return f"{where} cannot be used: {os.strerror(error.errno or 0)}"


class Server:
    """Answers at bound sockets until it is closed."""

    def __init__(self, responder: Responder, content: Content) -> None:
        self._responder = responder
        self._content = content
        self._datagrams: list[_Datagrams] = []
        self._streams: list[asyncio.Server] = []
        self._connections: set[asyncio.StreamWriter] = set()

    async def serve(self, listeners: Sequence[Listener]) -> None:
        """Begin to answer. Takes the sockets over."""
        for listener in listeners:
            make = _AnyAddressDatagrams if listener.address.address.is_unspecified else _Datagrams
            self._datagrams.append(make(listener.udp, self._responder, self._content))
            self._streams.append(await asyncio.start_server(self._converse, sock=listener.tcp, limit=MAX_QUERY))

    def close(self) -> None:
        """No answer is sent any more."""
        for datagrams in self._datagrams:
            datagrams.close()
        for stream in self._streams:
            stream.close()
        for writer in self._connections:
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(writer)
        writer.transport.set_write_buffer_limits(0)  # drained is: the kernel has it all, there is nothing to linger for
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, EOFError, TimeoutError):
            pass  # the client has left, or is too slow
        finally:
            self._connections.discard(writer)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One query and its answer; whether another may follow. Some may have come already (RFC 7766, 6.2.1.1)."""
        async with asyncio.timeout(IDLE_TIMEOUT):
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            if length > MAX_QUERY:
                return False
            query = await reader.readexactly(length)
        if self._content.fresh or not self._responder.asks_zone(query) or await self._content.available():
            answer = self._responder.respond(query, datagram=False)
        else:
            answer = self._responder.fail(query)
        if answer is None:
            return False
        writer.write(_LENGTH.pack(len(answer)) + answer)
        async with asyncio.timeout(IDLE_TIMEOUT):
            await writer.drain()
        return True


class _Datagrams:
    """One UDP socket. A client is what `_receive` gave for it and `_send` takes."""

    def __init__(self, udp: socket.socket, responder: Responder, content: Content) -> None:
        self._socket = udp
        self._responder = responder
        self._content = content
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(udp, self._readable)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _receive(self) -> tuple[bytes, Any]:
        return self._socket.recvfrom(MAX_QUERY)

    def _send(self, answer: bytes, client: Any) -> None:
        self._socket.sendto(answer, client)

    def _readable(self) -> None:
        respond = self._responder.respond
        receive = self._receive
        fresh = self._content.fresh
        for _ in range(BURST):
            try:
                query, client = receive()
            except BlockingIOError:
                return
            except OSError:
                continue  # what the kernel has to say of an answer sent before
            if fresh or not self._responder.asks_zone(query):
                self._answer(respond(query, datagram=True), client)
            else:
                self._postpone(query, client)
                fresh = self._content.fresh

    def _postpone(self, query: bytes, client: Any) -> None:
        def told(fresh: bool) -> None:
            if self._socket.fileno() >= 0:
                answer = self._responder.respond(query, datagram=True) if fresh else self._responder.fail(query)
                self._answer(answer, client)

        self._content.wait(told)

    def _answer(self, answer: bytes | None, client: Any) -> None:
        if answer is not None:
            try:
                self._send(answer, client)
            except OSError:
                pass  # no room, no route, a firewall: the client asks again


class _AnyAddressDatagrams(_Datagrams):
    """One UDP socket bound to the unspecified address, that answers from the address that was asked."""

    def _receive(self) -> tuple[bytes, Any]:
        query, ancillary, _, client = self._socket.recvmsg(MAX_QUERY, 64)
        return query, (client, [self._source(*item) for item in ancillary])

    def _send(self, answer: bytes, client: Any) -> None:
        address, ancillary = client
        self._socket.sendmsg((answer,), ancillary, 0, address)

    def _source(self, level: int, kind: int, data: bytes) -> tuple[int, int, bytes]:
        """The control message that sends from where a packet went to; by which interface is routing's business."""
        if level == socket.IPPROTO_IPV6:
            address, interface = _IN6_PKTINFO.unpack(data)
            link_local = address[0] == 0xFE and address[1] & 0xC0 == 0x80
            return level, kind, _IN6_PKTINFO.pack(address, interface if link_local else 0)
        _, local, destination = _IN_PKTINFO.unpack(data)
        return level, kind, _IN_PKTINFO.pack(0, local, destination)
