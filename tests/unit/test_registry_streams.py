# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP on loopback: conversations, places, and clients that stall, drip, flood or do not read."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Iterable, Iterator

import dns.asyncquery
import dns.message
import pytest
from dns.rcode import NOERROR, REFUSED, SERVFAIL
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.registry_objects import PEERS, many, query
from tests.unit.registry_running import (
    ALICE,
    LENGTH,
    STRANGER,
    Running,
    framed,
    free_port,
    own_address,
    serve,
    take,
    until,
)
from wgsd_nm.core.model import Endpoint
from wgsd_nm.registry import sockets
from wgsd_nm.registry import streams as module
from wgsd_nm.registry.access import STRANGER_BURST, Access, Grant
from wgsd_nm.registry.config import Secondary
from wgsd_nm.registry.responder import Question
from wgsd_nm.registry.signing import Keyring
from wgsd_nm.registry.site import Site
from wgsd_nm.registry.sockets import MAX_QUERY, adopt
from wgsd_nm.registry.streams import MAX_OF_CLIENT, MAX_STRANGERS
from wgsd_nm.registry.transfer import Transfers

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def ask(stream: Stream, asked: dns.message.Message) -> dns.message.Message:
    reader, writer = stream
    writer.write(framed(asked))
    return await take(reader)


async def works(stream: Stream) -> bool:
    try:
        return bool((await ask(stream, query(ALICE, "A"))).answer)
    except (OSError, EOFError):
        return False


async def ends(stream: Stream) -> bool:
    """When it has ended: whether that was without a word."""
    try:
        return await stream[0].read() == b""
    except ConnectionError:
        return True


async def connect_from(source: str, running: Running) -> Stream:
    reader, writer = await asyncio.open_connection(running.host, running.port, local_addr=(source, 0))
    running.writers.append(writer)
    return reader, writer


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """All connections come in by an interface of which nothing is known, but for those from 127.0.0.1."""
    known = sockets.arrival

    def arrival(connection: socket.socket) -> int:
        return known(connection) if connection.getpeername()[0] == "127.0.0.1" else STRANGER

    monkeypatch.setattr(module, "arrival", arrival)


def test_tcp_answers_as_udp_does() -> None:
    async def story(running: Running) -> None:
        asked = query(ALICE, "SRV", payload=1232)
        over_tcp = await dns.asyncquery.tcp(asked, running.host, port=running.port, timeout=5)
        assert over_tcp == await running.udp(asked)
        assert (running.statistics.tcp, running.statistics.udp, running.reads) == (1, 1, 1)
        assert running.statistics.rcodes[NOERROR] == 2

    serve(story)


@pytest.mark.parametrize(("bind", "host"), [("[::1]", "::1"), ("[::]", "::1"), ("0.0.0.0", "127.0.0.9")])
def test_other_addresses_answer(bind: str, host: str) -> None:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET

    async def story(running: Running) -> None:
        reply = await dns.asyncquery.tcp(query(ALICE, "A"), host, port=running.port, timeout=5)
        assert reply.rcode() == NOERROR

    serve(story, Endpoint.parse(f"{bind}:{free_port(family)}"))


def test_pipelined_queries_are_answered_in_turn() -> None:
    async def story(running: Running) -> None:
        reader, writer = await running.connect()
        asked = [query(ALICE, rdtype) for rdtype in ("SRV", "A", "TXT", "AAAA") * 100]
        octets = b"".join(framed(one) for one in asked)
        assert len(octets) > 3 * MAX_QUERY
        writer.write(octets[:-7])
        for one in asked[:-1]:
            assert one.is_response(await take(reader))
        writer.write(octets[-7:])
        assert asked[-1].is_response(await take(reader))
        assert running.statistics.tcp == len(asked)

    serve(story)


def test_queries_sent_before_the_clients_end_are_answered() -> None:
    async def story(running: Running) -> None:
        reader, writer = await running.connect()
        asked = [query(ALICE, "A") for _ in range(3)]
        writer.write(b"".join(map(framed, asked)))
        writer.write_eof()
        for one in asked:
            assert one.is_response(await take(reader))
        assert await reader.read() == b""

    serve(story)


def test_a_query_may_come_octet_by_octet() -> None:
    async def story(running: Running) -> None:
        reader, writer = await running.connect()
        writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in framed(query(ALICE, "A")):
            writer.write(bytes((octet,)))
            await asyncio.sleep(0)
        assert (await take(reader)).answer

    serve(story)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 400), max_size=8), st.lists(st.binary(max_size=40), max_size=3))
def test_queries_may_be_cut_anywhere_and_garbage_may_follow(cuts: list[int], garbage: list[bytes]) -> None:
    async def story(running: Running) -> None:
        reader, writer = await running.connect()
        asked = [query(ALICE, "A"), query("www.example.org", "SRV"), query(ALICE, "TXT", payload=1232)]
        octets = b"".join(map(framed, asked)) + b"".join(LENGTH.pack(len(one)) + one for one in garbage)
        ends_at = [*sorted(cuts), len(octets)]
        for start, end in zip([0, *ends_at], ends_at, strict=False):
            writer.write(octets[start:end])
            await asyncio.sleep(0)
        for one in asked:
            assert one.is_response(await take(reader))
        writer.close()
        assert await works(await running.connect())

    serve(story)


def test_a_large_browse_is_whole() -> None:
    async def story(running: Running) -> None:
        running.peers = many(400)
        asked = query("_wireguard._udp.wg.example.com", "PTR", payload=1232)
        reply, over_tcp = await dns.asyncquery.udp_with_fallback(asked, running.host, port=running.port, timeout=5)
        assert over_tcp
        assert len(reply.answer[0]) == 400

    serve(story)


def test_only_questions_for_a_zone_have_the_device_read() -> None:
    async def story(running: Running) -> None:
        stream = await running.connect()
        assert (await ask(stream, query("www.example.com", "A"))).rcode() == REFUSED
        assert running.reads == 0
        assert (await ask(stream, query("wg.example.com", "SOA"))).rcode() == NOERROR
        assert running.reads == 1

    serve(story)


def test_without_a_device_the_answer_is_servfail() -> None:
    async def story(running: Running) -> None:
        running.peers = None
        stream = await running.connect()
        for _ in range(2):
            assert (await ask(stream, query(ALICE, "SRV"))).rcode() == SERVFAIL

    serve(story)


@pytest.mark.parametrize("octets", [LENGTH.pack(3) + b"abc", LENGTH.pack(0), LENGTH.pack(MAX_QUERY + 1)])
def test_what_is_no_query_ends_the_connection(octets: bytes) -> None:
    async def story(running: Running) -> None:
        stream = await running.connect()
        stream[1].write(octets)
        assert await ends(stream)
        assert not running.statistics.timed_out
        assert await works(await running.connect())

    serve(story)


class TestBadClients:
    """Each loses its connection, and nobody else anything."""

    def test_one_that_says_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "IDLE_TIMEOUT", 0.05)

        async def story(running: Running) -> None:
            silent, halfway = await running.connect(), await running.connect()
            halfway[1].write(b"\0\x20half")
            assert await ends(silent)
            assert await ends(halfway)
            assert running.statistics.timed_out == 2

        serve(story)

    def test_one_that_drips(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "IDLE_TIMEOUT", 0.1)

        async def story(running: Running) -> None:
            reader, writer = await running.connect()
            writer.write(LENGTH.pack(MAX_QUERY))
            ended = asyncio.create_task(ends((reader, writer)))
            while not ended.done():
                writer.write(b"\0")
                await asyncio.wait((ended,), timeout=0.01)
            assert await ended

        serve(story)

    def test_one_that_takes_no_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "IDLE_TIMEOUT", 0.2)

        async def story(running: Running) -> None:
            running.peers = (*PEERS, *many(800))
            loop = asyncio.get_running_loop()
            with socket.socket() as client:
                client.setblocking(False)
                await loop.sock_connect(client, (running.host, running.port))
                asked = framed(query("_wireguard._udp.wg.example.com", "PTR"))
                with pytest.raises(ConnectionError):
                    await loop.sock_sendall(client, asked * 1_000_000)
            assert running.statistics.timed_out == 1
            assert await works(await running.connect())

        serve(story)

    def test_one_that_floods_leaves_the_others_their_turn(self) -> None:
        async def story(running: Running) -> None:
            reader, writer = await running.connect()
            octets = framed(query(ALICE, "A")) * 2000

            async def flood() -> None:
                while True:
                    writer.write(octets)
                    await writer.drain()

            async def swallow() -> None:
                while await reader.read(1 << 16):
                    pass

            tasks = [asyncio.create_task(flood()), asyncio.create_task(swallow())]
            await until(lambda: running.statistics.tcp >= 1000)
            for _ in range(5):
                before = running.statistics.tcp
                assert (await running.udp(query(ALICE, "SRV"))).answer
                # one query in each turn of the event loop, however many were read: many connections may flood
                assert running.statistics.tcp - before < 20
            (connection,) = running.server.streams._connections  # noqa: SLF001 - what it holds is the subject
            assert len(connection.received) <= 2 * MAX_QUERY
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        serve(story)


class TestPlaces:
    def test_one_client_has_a_share_and_its_idlest_makes_room(self) -> None:
        async def story(running: Running) -> None:
            streams = [await running.connect() for _ in range(MAX_OF_CLIENT)]
            for stream in streams:
                assert await works(stream)
            assert await works(streams[0])  # the idlest is the second now
            assert await works(await running.connect())
            assert await ends(streams[1])
            for stream in (streams[0], *streams[2:]):
                assert await works(stream)
            assert running.statistics.displaced == 1

        serve(story)

    def test_one_client_does_not_displace_another(self) -> None:
        async def story(running: Running) -> None:
            other = await connect_from("127.0.0.2", running)
            assert await works(other)
            for _ in range(3 * MAX_OF_CLIENT):
                assert await works(await running.connect())
            assert await works(other)

        serve(story)

    def test_when_all_places_are_taken_the_idlest_of_all_goes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_CONNECTIONS", 4)

        async def story(running: Running) -> None:
            streams = [await connect_from(f"127.0.0.{number}", running) for number in range(2, 6)]
            for stream in streams:
                assert await works(stream)
            assert await works(await running.connect())
            assert await ends(streams[0])
            assert await works(streams[1])
            assert not running.statistics.timed_out

        serve(story)

    def test_one_that_is_owed_an_answer_is_not_displaced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_CONNECTIONS", 2)

        async def story(running: Running) -> None:
            running.hold.clear()
            waiting = [await running.connect() for _ in range(2)]
            for _, writer in waiting:
                writer.write(framed(query(ALICE, "A")))
            await until(lambda: running.statistics.tcp >= 2)
            assert await ends(await running.connect())
            assert (running.statistics.turned_away, running.statistics.timed_out) == (1, 0)
            running.hold.set()
            for reader, _ in waiting:
                assert (await take(reader)).answer

        serve(story)

    @pytest.mark.usefixtures("strangers")
    def test_strangers_have_few_places_and_leave_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def story(running: Running) -> None:
            known = await running.connect()
            assert await works(known)
            streams = [await connect_from(f"127.1.{number}.1", running) for number in range(MAX_STRANGERS + 5)]
            for stream in streams[:5]:
                assert await ends(stream)
            assert len(running.server.streams) == MAX_STRANGERS + 1
            monkeypatch.setattr(module, "MAX_CONNECTIONS", MAX_STRANGERS + 1)
            assert await works(await running.connect())
            assert await ends(streams[5])
            assert await works(known)
            assert not running.statistics.timed_out

        serve(story)

    @pytest.mark.usefixtures("strangers")
    def test_strangers_of_one_network_share(self) -> None:
        async def story(running: Running) -> None:
            streams = [await connect_from(f"127.1.1.{number + 1}", running) for number in range(MAX_OF_CLIENT + 1)]
            assert await ends(streams[0])
            assert not running.statistics.timed_out

        serve(story)

    @pytest.mark.usefixtures("strangers")
    @pytest.mark.parametrize("name", [ALICE, "www.example.org"])
    def test_strangers_are_refused_at_a_rate_and_read_nothing(self, name: str) -> None:
        async def story(running: Running) -> None:
            stream = await connect_from("127.1.1.1", running)
            for _ in range(STRANGER_BURST):
                assert (await ask(stream, query(name, "SRV"))).rcode() == REFUSED
            stream[1].write(framed(query(name, "SRV")))
            assert await ends(stream)
            assert running.reads == 0
            assert (running.statistics.strangers, running.statistics.limited) == (STRANGER_BURST, 1)
            assert not running.statistics.timed_out

        serve(story)

    @pytest.mark.usefixtures("strangers")
    def test_a_zone_of_another_device_is_refused_at_the_strangers_rate(self) -> None:
        async def story(running: Running) -> None:
            running.interfaces[STRANGER] = "wg0"
            site = running.make_site("wg.example.com", "other.example.com")
            own, other = site.contents
            access = Access([Grant(own, "wg0"), Grant(other, "wg1")], name_of=running.name_of)
            running.server.use(Site(site.responder, access, site.contents, site.transfers))
            stream = await connect_from("127.1.1.1", running)
            for _ in range(STRANGER_BURST):
                assert (await ask(stream, query("wg.example.com", "SOA"))).rcode() == NOERROR
                assert (await ask(stream, query("www.example.org", "A"))).rcode() == REFUSED
                assert (await ask(stream, query("other.example.com", "SOA"))).rcode() == REFUSED
            assert running.statistics.strangers == STRANGER_BURST
            stream[1].write(framed(query("other.example.com", "SOA")))
            assert await ends(stream)

        serve(story)

    def test_without_descriptors_it_pauses_and_goes_on(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(module, "ACCEPT_PAUSE", 0.05)
        caplog.set_level(logging.INFO)

        class Exhausted(socket.socket):
            """Finds no descriptor for the first connection that it is to accept."""

            tries = 0

            def accept(self) -> tuple[socket.socket, object]:
                self.tries += 1
                if self.tries == 1:
                    raise OSError(errno.EMFILE, "Too many open files")
                return super().accept()

        async def story(running: Running) -> None:
            assert await works(await running.connect())
            assert caplog.messages == ["no TCP connection can be taken for 0.05 s: Too many open files"]

        tcp = Exhausted(socket.AF_INET, socket.SOCK_STREAM)
        tcp.bind((str(own_address().address), 0))
        tcp.listen()
        serve(story, listeners=adopt([tcp]))


class TestTransfers:
    def permitted(self, running: Running) -> None:
        secondary = Secondary(Endpoint.parse("127.0.0.1:53"), None)
        running.server.use(running.make_site(secondaries=(secondary,)))

    def test_a_secondary_has_the_zone(self) -> None:
        async def story(running: Running) -> None:
            running.peers = (*PEERS, *many(300))
            self.permitted(running)
            reader, writer = await running.connect()
            writer.write(framed(query("wg.example.com", "AXFR")))
            records = messages = 0
            ends_seen = 0
            while ends_seen < 2:
                message = await take(reader)
                messages += 1
                for rrset in message.answer:
                    records += len(rrset)
                ends_seen += sum(rrset.rdtype == 6 for rrset in message.answer)
            assert messages > 1
            assert records > 900
            assert await works((reader, writer))  # and may ask on
            assert running.statistics.transfers == 1
            assert not running.server.streams.transferring

        serve(story)

    def test_others_are_refused(self) -> None:
        async def story(running: Running) -> None:
            stream = await running.connect()
            assert (await ask(stream, query("wg.example.com", "AXFR"))).rcode() == REFUSED
            assert await works(stream)
            assert running.statistics.transfers_refused == 1

        serve(story)

    def test_without_a_device_there_is_none(self) -> None:
        async def story(running: Running) -> None:
            self.permitted(running)
            running.peers = None
            assert (await ask(await running.connect(), query("wg.example.com", "AXFR"))).rcode() == SERVFAIL

        serve(story)

    def test_one_that_is_not_taken_ends_and_holds_up_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "IDLE_TIMEOUT", 0.2)

        async def story(running: Running) -> None:
            endless(running)
            _, writer = await running.connect()
            writer.write(framed(query("wg.example.com", "AXFR")))
            while not running.statistics.transfers_failed:
                assert (await running.udp(query(ALICE, "SRV"))).answer
            assert running.statistics.timed_out == 1

        serve(story)

    def test_others_have_their_turn_between_messages_that_nothing_holds_up(self) -> None:
        turn = 0
        sent_in: list[int] = []

        async def count() -> None:
            nonlocal turn
            while True:
                turn += 1
                await asyncio.sleep(0)

        class Short(Transfers):
            def permits(self, question: Question, source: str) -> bool:  # noqa: ARG002 - as Transfers has it
                return True

            def messages(self, question: Question) -> Iterator[bytes]:
                for _ in range(5):
                    sent_in.append(turn)
                    yield question.query[:2] + bytes(10)

        async def story(running: Running) -> None:
            site = running.site
            running.server.use(Site(site.responder, site.access, site.contents, Short(Keyring(), {})))
            counting = asyncio.create_task(count())
            reader, writer = await running.connect()
            writer.write(framed(query("wg.example.com", "AXFR")))
            for _ in range(5):
                await take(reader)
            counting.cancel()
            assert len(set(sent_in)) == 5

        serve(story)

    def test_one_that_lasts_too_long_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "TRANSFER_TIMEOUT", 0.2)

        async def story(running: Running) -> None:
            endless(running)
            reader, writer = await running.connect()
            writer.write(framed(query("wg.example.com", "AXFR")))
            try:
                while await reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass
            assert running.statistics.transfers_failed == 1

        serve(story)

    def test_a_bounded_number_runs_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_TRANSFERS", 2)

        async def story(running: Running) -> None:
            endless(running)
            for _ in range(2):
                _, writer = await running.connect()
                writer.write(framed(query("wg.example.com", "AXFR")))
            await until(lambda: running.server.streams.transferring >= 2)
            assert (await ask(await running.connect(), query("wg.example.com", "AXFR"))).rcode() == SERVFAIL

        serve(story)


def endless(running: Running) -> None:
    """From now on everybody may transfer, and no transfer ends."""

    class Endless(Transfers):
        def permits(self, question: Question, source: str) -> bool:  # noqa: ARG002 - as Transfers has it
            return True

        def messages(self, question: Question) -> Iterator[bytes]:
            while True:
                yield question.query[:2] + bytes(16_000)

    site = running.site
    running.server.use(Site(site.responder, site.access, site.contents, Endless(Keyring(), {})))


class TestReload:
    def test_a_query_that_waits_is_answered_from_the_site_that_it_was_asked_of(self) -> None:
        async def story(running: Running) -> None:
            running.hold.clear()
            stream = await running.connect()
            stream[1].write(framed(query(ALICE, "A")))
            await until(lambda: running.reads)
            running.server.use(running.make_site("new.example.com"))
            running.hold.set()
            assert (await take(stream[0])).answer
            assert (await ask(stream, query(ALICE, "A"))).rcode() == REFUSED
            assert (await ask(stream, query("new.example.com", "SOA"))).rcode() == NOERROR

        serve(story)


def test_the_end_is_the_end_of_all_connections() -> None:
    async def story(running: Running) -> None:
        running.hold.clear()
        streams: Iterable[Stream] = [await running.connect() for _ in range(3)]
        for _, writer in streams:
            writer.write(framed(query(ALICE, "A")))
        await until(lambda: running.statistics.tcp >= 3)
        running.server.close()
        running.hold.set()
        for stream in streams:
            assert await ends(stream)
        with pytest.raises(OSError, match="Connect call failed"):
            await running.connect()

    serve(story)
