# SPDX-License-Identifier: GPL-2.0-or-later
"""A name server on loopback that does what a test wants, UDP and TCP on one port. It runs in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Self

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from dns.rdataclass import IN
from dns.rdatatype import AAAA, OPT, SRV, TXT, A

from wgsd_nm.core.dnsbytes import HEADER
from wgsd_nm.core.dnssd import instance_name, parse_zone, wire
from wgsd_nm.core.model import Endpoint, PublicKey, Server

MAX_DATAGRAM = 4096


class NameServer:
    """`handle` gives the replies to a request, sent after `delay` seconds.

    `requests` are all that came, with whether it was over TCP; `clients` the ports that they came from.
    """

    def __init__(self, address: str = "127.0.0.1", *, port: int = 0, delay: float = 0.0, with_tcp: bool = True) -> None:
        self.delay = delay
        self.requests: list[tuple[bytes, bool]] = []
        self.clients: list[int] = []
        self._with_tcp = with_tcp
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._udp, self._tcp = _sockets(self._family, address, port)
        self.address, self.port = self._udp.getsockname()[:2]
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="name server")

    def handle(self, request: bytes, tcp: bool) -> Sequence[bytes]:
        """The replies to a request: none, one, or many."""
        raise NotImplementedError

    @property
    def server(self) -> Server:
        """Where it is, as the resolver takes it."""
        return Server(ip_address(self.address), self.port)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._udp.close()
        self._tcp.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.add_reader(self._udp, self._readable)
        if self._with_tcp:
            accepting = self._loop.run_until_complete(asyncio.start_server(self._serve, sock=self._tcp))
        else:
            self._tcp.close()
        self._loop.call_soon(self._started.set)
        self._loop.run_forever()
        self._loop.remove_reader(self._udp)
        if self._with_tcp:
            accepting.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _readable(self) -> None:
        try:
            for _ in range(64):
                request, client = self._udp.recvfrom(MAX_DATAGRAM)
                self.requests.append((request, False))
                self.clients.append(client[1])
                replies = self.handle(request, False)
                if self.delay:
                    self._loop.call_later(self.delay, self._reply, replies, client)
                else:
                    self._reply(replies, client)
        except BlockingIOError:
            pass

    def _reply(self, replies: Sequence[bytes], client: tuple[Any, ...]) -> None:
        for reply in replies:
            self._udp.sendto(reply, client)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                request = await reader.readexactly(length)
                self.requests.append((request, True))
                self.clients.append(writer.get_extra_info("peername")[1])
                await asyncio.sleep(self.delay)
                for reply in self.handle(request, True):
                    writer.write(struct.pack("!H", len(reply)) + reply)
                await writer.drain()
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()


def _sockets(family: socket.AddressFamily, address: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a listening TCP socket on one port."""
    for _ in range(100):
        tcp = socket.socket(family, socket.SOCK_STREAM)
        udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((address, port))
            tcp.listen()
            udp.bind(tcp.getsockname()[:2])
        except OSError:
            tcp.close()
            udp.close()
            if port:
                raise
        else:
            return udp, tcp
    raise OSError(f"no port of {address} is free for both UDP and TCP")


def reply(
    request: bytes,
    answer: Sequence[str] = (),
    additional: Sequence[str] = (),
    authority: Sequence[str] = (),
    *,
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR,
    flags: int = 0,
) -> bytes:
    """A reply to a request, with records as lines of a zone file: `name. ttl IN TYPE data`; `@` is the name asked."""
    query = dns.message.from_wire(request)
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA | flags
    response.set_rcode(rcode)
    for section, lines in (
        (response.answer, answer),
        (response.authority, authority),
        (response.additional, additional),
    ):
        for line in lines:
            name, ttl, rdclass, rdtype, data = line.replace("@", str(query.question[0].name).lower()).split(" ", 4)
            section.append(dns.rrset.from_text(name, int(ttl), rdclass, rdtype, data))
    return response.to_wire(max_size=65535)


class Registry(NameServer):
    """A well-behaved registry, quick enough for a bench: answers for its peers as wgsd does, in any letter case."""

    def __init__(
        self,
        zone: str,
        peers: Mapping[PublicKey, Endpoint],
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        delay: float = 0.0,
    ) -> None:
        super().__init__(address, port=port, delay=delay)
        self._zone = parse_zone(zone)
        self._records: dict[bytes, tuple[bytes, bytes]] = {}
        for key, endpoint in peers.items():
            self.add(key, endpoint)

    def add(self, key: PublicKey, endpoint: Endpoint) -> None:
        """Serve an endpoint for a peer from now on."""
        name = wire(instance_name(key, self._zone))
        strings = b"".join(bytes((len(text),)) + text for text in (b"txtvers=1", f"pub={key}".encode(), b"allowed="))
        srv = _record(name, SRV, struct.pack("!HHH", 0, 0, endpoint.port) + name)
        address = _record(name, AAAA if endpoint.address.version == 6 else A, endpoint.address.packed)
        self._records[name] = srv, address + _record(name, TXT, strings)

    def remove(self, key: PublicKey) -> None:
        """Know a peer no more."""
        del self._records[wire(instance_name(key, self._zone))]

    def handle(self, request: bytes, tcp: bool) -> Sequence[bytes]:  # noqa: ARG002  # the same over both
        """SRV with address and TXT for a known peer, NXDOMAIN for another name."""
        end = request.index(0, HEADER) + 5
        records = self._records.get(request[HEADER : end - 4].lower())
        if records is None:
            return [reply(request, authority=[SOA.format(zone=self._zone)], rcode=dns.rcode.NXDOMAIN)]
        answer, additional = records
        opt = b"\0" + struct.pack("!HHIH", OPT, 1232, 0, 0) if request[11] else b""
        header = request[:2] + struct.pack("!HHHHH", 0x8400, 1, 1, 0, 3 if opt else 2)
        return [header + request[HEADER:end] + answer + additional + opt]


def _record(name: bytes, rdtype: int, data: bytes) -> bytes:
    return name + struct.pack("!HHIH", rdtype, IN, 0, len(data)) + data


SOA = "{zone} 60 IN SOA ns1.{zone} postmaster.{zone} 1 86400 7200 3600000 60"
