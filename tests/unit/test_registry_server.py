# SPDX-License-Identifier: GPL-2.0-or-later
"""Real sockets on loopback: datagrams, streams, and addresses that are taken, wrong, or not there yet."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable

import dns.asyncquery
import dns.flags
import dns.message
import pytest
from dns.rcode import NOERROR, REFUSED, SERVFAIL

from tests.unit.registry_objects import PEERS, device, label, many, query
from wgsd_nm.core.dnssd import parse_zone
from wgsd_nm.core.errors import AddressUnusable, NoSuchDevice
from wgsd_nm.core.model import Device, Endpoint
from wgsd_nm.registry import server as module
from wgsd_nm.registry.content import Content
from wgsd_nm.registry.responder import Responder
from wgsd_nm.registry.server import MAX_CONNECTIONS, MAX_QUERY, Listener, Server, listen
from wgsd_nm.registry.zone import Zone

PORT = 53530
ALICE = f"{label('alice')}._wireguard._udp.wg.example.com."
LENGTH = struct.Struct("!H")


class Running:
    """A served zone. `devices` is what the next read finds; `reads` counts them."""

    def __init__(self, listeners: tuple[Listener, ...]) -> None:
        self.host = str(listeners[0].address.address)
        self.port = listeners[0].address.port
        self.device: Device | None = device(*PEERS)
        self.reads = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self._writers: list[asyncio.StreamWriter] = []

    async def fetch(self) -> Device:
        self.reads += 1
        await self.hold.wait()
        if self.device is None:
            raise NoSuchDevice("there is no network interface wg0")
        return self.device

    async def udp(self, asked: dns.message.Message) -> dns.message.Message:
        return await dns.asyncquery.udp(asked, self.host, port=self.port, timeout=5)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        self._writers.append(writer)
        return reader, writer

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)


def own_address(port: int = PORT) -> Endpoint:
    """An address that no other test uses."""
    octets = secrets.token_bytes(3)
    return Endpoint.parse(f"127.{octets[0]}.{octets[1]}.{octets[2] | 1}:{port}")


def serve(story: Callable[[Running], Awaitable[None]], *addresses: Endpoint) -> None:
    async def run() -> None:
        listeners = listen(addresses or (own_address(),))
        running = Running(listeners)
        zone = Zone(parse_zone("wg.example.com"))
        server = Server(Responder(zone), Content(zone, running.fetch))
        await server.serve(listeners)
        try:
            await asyncio.wait_for(story(running), 20)
        finally:
            await running.close()
            server.close()

    asyncio.run(run())


def framed(asked: dns.message.Message) -> bytes:
    wire = asked.to_wire()
    return LENGTH.pack(len(wire)) + wire


async def take(reader: asyncio.StreamReader) -> dns.message.Message:
    (length,) = LENGTH.unpack(await reader.readexactly(2))
    return dns.message.from_wire(await reader.readexactly(length))


def test_udp_and_tcp_answer() -> None:
    async def story(running: Running) -> None:
        asked = query(ALICE, "SRV", payload=1232)
        over_udp = await running.udp(asked)
        over_tcp = await dns.asyncquery.tcp(asked, running.host, port=running.port, timeout=5)
        assert over_udp == over_tcp
        assert over_udp.answer[0][0].port == 51820
        assert running.reads == 1

    serve(story)


def test_ipv6_answers() -> None:
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        port = probe.getsockname()[1]

    async def story(running: Running) -> None:
        assert (await running.udp(query(ALICE, "A"))).rcode() == NOERROR
        reply = await dns.asyncquery.tcp(query(ALICE, "A"), "::1", port=port, timeout=5)
        assert reply.rcode() == NOERROR

    serve(story, Endpoint.parse(f"[::1]:{port}"))


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "[::]"])
def test_the_unspecified_address_answers_from_the_address_that_was_asked(wildcard: str) -> None:
    family, loopback = (socket.AF_INET6, "::1") if "[" in wildcard else (socket.AF_INET, str(own_address().address))
    with socket.socket(family) as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]

    async def story(running: Running) -> None:
        running.host = loopback
        # dnspython, like every resolver, refuses an answer from another address than the one it asked
        assert (await running.udp(query(ALICE, "A"))).rcode() == NOERROR
        for _ in range(3):
            assert (await running.udp(query(ALICE, "A"))).rcode() == NOERROR

    serve(story, Endpoint.parse(f"{wildcard}:{port}"))


def test_a_burst_is_answered_whole_with_one_read() -> None:
    async def story(running: Running) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect((running.host, running.port))
            asked = [query(f"{label(name)}._wireguard._udp.wg.example.com", "SRV") for name in ("alice", "bob") * 75]
            running.hold.clear()
            for one in asked:
                await loop.sock_sendall(client, one.to_wire())
            await asyncio.sleep(0)
            running.hold.set()
            waiting = {one.id for one in asked}
            while waiting:
                waiting.discard(dns.message.from_wire(await loop.sock_recv(client, 4096)).id)
            assert running.reads == 1

    serve(story)


def test_only_questions_for_the_zone_have_the_device_read() -> None:
    async def story(running: Running) -> None:
        assert (await running.udp(query("www.example.com", "A"))).rcode() == REFUSED
        reader, writer = await running.connect()
        writer.write(framed(query("www.example.com", "A")))
        assert (await take(reader)).rcode() == REFUSED
        assert running.reads == 0
        assert (await running.udp(query("wg.example.com", "SOA"))).rcode() == NOERROR
        assert running.reads == 1

    serve(story)


def test_without_a_device_the_answer_is_servfail() -> None:
    async def story(running: Running) -> None:
        running.device = None
        assert (await running.udp(query(ALICE, "SRV"))).rcode() == SERVFAIL
        reader, writer = await running.connect()
        writer.write(framed(query(ALICE, "SRV")))
        assert (await take(reader)).rcode() == SERVFAIL

    serve(story)


def test_what_is_no_query_is_left_unanswered_and_disturbs_nobody() -> None:
    async def story(running: Running) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect((running.host, running.port))
            answer = query(ALICE, "SRV")
            answer.flags |= dns.flags.QR
            for octets in (b"", b"x", bytes(11), answer.to_wire()):
                client.send(octets)
            client.send(query(ALICE, "SRV").to_wire())
            client.setblocking(False)
            reply = await asyncio.get_running_loop().sock_recv(client, 4096)
            assert dns.message.from_wire(reply).answer
        reader, writer = await running.connect()
        writer.write(LENGTH.pack(3) + b"abc")
        assert await reader.read() == b""

    serve(story)


class TestStreams:
    def test_pipelined_queries_are_answered_in_turn(self) -> None:
        async def story(running: Running) -> None:
            reader, writer = await running.connect()
            asked = [query(ALICE, rdtype) for rdtype in ("SRV", "A", "TXT", "AAAA") * 25]
            octets = b"".join(framed(one) for one in asked)
            writer.write(octets[:-7])
            for one in asked[:-1]:
                assert one.is_response(await take(reader))
            writer.write(octets[-7:])
            assert asked[-1].is_response(await take(reader))

        serve(story)

    def test_a_large_browse_is_whole(self) -> None:
        async def story(running: Running) -> None:
            running.device = device(*many(800))
            asked = query("_wireguard._udp.wg.example.com", "PTR", payload=1232)
            reply, over_tcp = await dns.asyncquery.udp_with_fallback(asked, running.host, port=running.port, timeout=5)
            assert over_tcp
            assert len(reply.answer[0]) == 800

        serve(story)

    def test_a_client_that_says_nothing_is_let_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "IDLE_TIMEOUT", 0.05)

        async def story(running: Running) -> None:
            silent, _ = await running.connect()
            halfway, writer = await running.connect()
            writer.write(b"\0\x20half")
            assert await silent.read() == b""
            assert await halfway.read() == b""

        serve(story)

    def test_a_client_that_takes_no_answers_is_let_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "IDLE_TIMEOUT", 0.2)

        async def story(running: Running) -> None:
            running.device = device(*many(800))
            loop = asyncio.get_running_loop()
            with socket.socket() as client:
                client.setblocking(False)
                await loop.sock_connect(client, (running.host, running.port))
                asked = framed(query("_wireguard._udp.wg.example.com", "PTR"))
                try:
                    while True:
                        await loop.sock_sendall(client, asked)
                except ConnectionError:
                    pass
            assert (await running.udp(query(ALICE, "SRV"))).id

        serve(story)

    def test_a_query_longer_than_any_ends_the_connection(self) -> None:
        async def story(running: Running) -> None:
            reader, writer = await running.connect()
            writer.write(LENGTH.pack(MAX_QUERY + 1))
            assert await reader.read() == b""

        serve(story)

    def test_connections_are_bounded_and_places_become_free(self) -> None:
        async def story(running: Running) -> None:
            async def works(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
                try:
                    writer.write(framed(query(ALICE, "A")))
                    return bool((await take(reader)).answer)
                except (OSError, EOFError):
                    return False

            streams = [await running.connect() for _ in range(MAX_CONNECTIONS)]
            assert await works(*streams[-1])
            assert not await works(*await running.connect())
            streams[0][1].close()
            while not await works(*await running.connect()):
                pass

        serve(story)


class TestListen:
    def test_an_address_that_is_not_there_yet_can_be_listened_at(self) -> None:
        for text in ("198.51.100.77:53530", "[2001:db8:77::1]:53530"):
            (listener,) = listen([Endpoint.parse(text)])
            listener.udp.close()
            listener.tcp.close()

    @pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
    def test_a_port_that_is_taken_is_named(self, kind: socket.SocketKind) -> None:
        address, free = own_address(), own_address()
        with socket.socket(socket.AF_INET, kind) as other:
            other.bind((str(address.address), address.port))
            if kind == socket.SOCK_STREAM:
                other.listen()
            protocol = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
            with pytest.raises(AddressUnusable, match=f"{protocol} port 53530 of {address.address} is taken"):
                listen([free, address])
        for listener in listen([free, address]):  # nothing was left behind
            listener.udp.close()
            listener.tcp.close()
