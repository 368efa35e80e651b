# SPDX-License-Identifier: GPL-2.0-or-later
"""UDP on loopback: who is answered, when, from where, and how often."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_network

import dns.flags
import dns.message
import pytest
from dns.rcode import BADVERS, NOERROR, NXDOMAIN, REFUSED, SERVFAIL

from tests.unit.registry_objects import label, many, query
from tests.unit.registry_running import ALICE, STRANGER, Running, free_port, own_address, serve, settle, until
from wgsd_nm.core.model import Endpoint
from wgsd_nm.registry import datagrams as module
from wgsd_nm.registry.access import LOOPBACK, STRANGER_BURST, Access, Grant
from wgsd_nm.registry.batch import Batch
from wgsd_nm.registry.content import MAX_AGE
from wgsd_nm.registry.datagrams import BURST, FEW, MAX_VERDICTS, Datagrams
from wgsd_nm.registry.site import Site
from wgsd_nm.registry.sockets import Ancillary, adopt
from wgsd_nm.registry.zone import Zone


class Client:
    """A socket of its own, to see that nothing comes."""

    def __init__(self, running: Running, source: str = "") -> None:
        family = socket.AF_INET6 if ":" in running.host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect((running.host, running.port))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, asked: dns.message.Message) -> None:
        self.socket.send(asked.to_wire())

    async def reply(self) -> dns.message.Message:
        return dns.message.from_wire(await asyncio.get_running_loop().sock_recv(self.socket, 4096))

    async def replies(self, asked: Iterable[dns.message.Message]) -> dict[int, dns.message.Message]:
        """By id, when each of these has one."""
        waiting = {one.id for one in asked}
        found: dict[int, dns.message.Message] = {}
        while waiting - found.keys():
            reply = await self.reply()
            found[reply.id] = reply
        return found

    def said_nothing(self) -> bool:
        try:
            self.socket.recv(4096)
        except BlockingIOError:
            return True
        return False


@pytest.fixture(autouse=True, params=["few", "many"])
def _reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Datagrams are read one by one at first, or in batches always."""
    if request.param == "many":
        monkeypatch.setattr(Datagrams, "_few", lambda self: self._many())


def by(running: Running, interface: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on all packets come in by this interface."""
    monkeypatch.setattr(module, "arrival_of", lambda *_: interface)
    running.server.use(running.site)  # what was judged before is forgotten


def test_a_query_is_answered_again_and_again() -> None:
    async def story(running: Running) -> None:
        for payload in (None, 1232, None, 1232):
            reply = await running.udp(query(ALICE, "SRV", payload=payload))
            assert reply.answer[0][0].port == 51820
        assert running.reads == 1
        assert running.statistics.udp == 4
        assert running.statistics.rcodes[NOERROR] == 4

    serve(story)


def test_ipv6_answers() -> None:
    async def story(running: Running) -> None:
        for _ in range(3):
            assert (await running.udp(query(ALICE, "A"))).rcode() == NOERROR

    serve(story, Endpoint.parse(f"[::1]:{free_port(socket.AF_INET6, '::1')}"))


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "[::]"])
def test_the_unspecified_address_answers_from_the_address_that_was_asked(wildcard: str) -> None:
    family, loopback = (socket.AF_INET6, "::1") if "[" in wildcard else (socket.AF_INET, str(own_address().address))

    async def story(running: Running) -> None:
        running.host = loopback
        # dnspython, like every resolver, refuses an answer from another address than the one it asked
        for name in (ALICE, ALICE, "www.example.org"):
            assert (await running.udp(query(name, "A"))).rcode() in (NOERROR, REFUSED)

    serve(story, Endpoint.parse(f"{wildcard}:{free_port(family)}"))


def test_a_burst_is_answered_whole_with_one_read() -> None:
    async def story(running: Running) -> None:
        running.hold.clear()
        asked = [query(f"{label(name)}._wireguard._udp.wg.example.com", "SRV") for name in ("alice", "bob") * 75]
        with Client(running) as client:
            for one in asked:
                client.ask(one)
            await until(lambda: running.site.contents[next(iter(running.site.contents))].waiting >= len(asked))
            running.hold.set()
            assert all(reply.answer for reply in (await client.replies(asked)).values())
        assert running.reads == 1
        assert running.statistics.udp == len(asked)

    serve(story)


def test_batches_are_for_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = 0
    receive = Batch.receive

    def counting(batch: Batch) -> Iterator[tuple[int, bytes, bytes]]:
        nonlocal batches
        batches += 1
        return receive(batch)

    monkeypatch.undo()
    monkeypatch.setattr(Batch, "receive", counting)

    async def story(running: Running) -> None:
        for _ in range(FEW + 1):
            await running.udp(query(ALICE, "SRV"))
        assert not batches
        asked = [query(ALICE, "SRV") for _ in range(FEW + 5)]
        with Client(running) as client:
            for one in asked:
                client.ask(one)
            await client.replies(asked)
        assert 0 < batches <= 2
        await running.udp(query(ALICE, "SRV"))
        before = batches
        for _ in range(FEW - 1):
            await running.udp(query(ALICE, "SRV"))
        assert batches == before

    serve(story)


def test_a_flood_leaves_time_for_others() -> None:
    async def story(running: Running) -> None:
        await running.udp(query(ALICE, "SRV"))
        with Client(running) as client:
            for _ in range(4 * BURST):
                client.ask(query(ALICE, "SRV"))
            await until(lambda: running.statistics.udp > 1)
            assert running.statistics.udp < 2 * BURST
            await until(lambda: running.statistics.udp > 4 * BURST)

    serve(story)


def test_only_questions_for_a_zone_have_the_device_read() -> None:
    async def story(running: Running) -> None:
        assert (await running.udp(query("www.example.com", "A"))).rcode() == REFUSED
        assert running.reads == 0
        assert (await running.udp(query("wg.example.com", "SOA"))).rcode() == NOERROR
        assert running.reads == 1

    serve(story)


def test_without_a_device_the_answer_is_servfail() -> None:
    async def story(running: Running) -> None:
        running.peers = None
        assert (await running.udp(query(ALICE, "SRV"))).rcode() == SERVFAIL
        assert running.statistics.rcodes[SERVFAIL] == 1

    serve(story)


def test_a_version_of_edns_that_is_not_known_counts_as_such() -> None:
    async def story(running: Running) -> None:
        asked = query(ALICE, "SRV")
        asked.use_edns(1)
        assert (await running.udp(asked)).rcode() == BADVERS
        assert (running.statistics.rcodes[NOERROR], running.statistics.rcodes[BADVERS]) == (0, 1)

    serve(story)


def test_what_is_no_query_is_left_unanswered_and_disturbs_nobody() -> None:
    async def story(running: Running) -> None:
        with Client(running) as client:
            answer = query(ALICE, "SRV")
            answer.flags |= dns.flags.QR
            for octets in (b"", b"x", bytes(11), answer.to_wire()):
                client.socket.send(octets)
            client.ask(query(ALICE, "SRV"))
            assert (await client.reply()).answer
            assert client.said_nothing()
        assert running.statistics.unanswered == 4

    serve(story)


def test_stale_content_is_read_again_and_not_answered_from() -> None:
    async def story(running: Running) -> None:
        assert (await running.udp(query(ALICE, "SRV"))).answer
        running.peers = ()
        running.now += MAX_AGE
        assert (await running.udp(query(ALICE, "SRV"))).rcode() == NXDOMAIN
        assert running.reads == 2

    serve(story)


class TestAccess:
    def test_strangers_are_refused_whatever_they_send_and_read_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def story(running: Running) -> None:
            assert (await running.udp(query(ALICE, "SRV"))).rcode() == NOERROR  # so that the answer is known
            by(running, STRANGER, monkeypatch)
            assert (await running.udp(query(ALICE, "SRV"))).rcode() == REFUSED
            assert (await running.udp(query("www.example.org", "A"))).rcode() == REFUSED
            assert running.reads == 1
            assert running.statistics.strangers == 2

        serve(story)

    def test_strangers_have_a_rate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def story(running: Running) -> None:
            by(running, STRANGER, monkeypatch)
            asked = [query(ALICE, "SRV") for _ in range(STRANGER_BURST + 50)]
            with Client(running) as client:
                for one in asked:
                    client.ask(one)
                await until(lambda: running.statistics.udp >= len(asked))
                replies = await client.replies(asked[:STRANGER_BURST])
                assert all(reply.rcode() == REFUSED for reply in replies.values())
                assert client.said_nothing()
            assert running.statistics.limited == 50
            by(running, LOOPBACK, monkeypatch)  # others are not concerned
            assert (await running.udp(query(ALICE, "SRV"))).rcode() == NOERROR

        serve(story)

    def test_a_zone_of_another_device_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def story(running: Running) -> None:
            site = running.make_site("wg.example.com", "other.example.com")
            own, other = site.contents
            running.interfaces[5] = "wg0"
            access = Access([Grant(own, "wg0"), Grant(other, "wg1")], name_of=running.name_of)
            running.site = Site(site.responder, access, site.contents, site.transfers)
            by(running, LOOPBACK, monkeypatch)
            for name in ("wg.example.com", "other.example.com"):
                assert (await running.udp(query(name, "SOA"))).rcode() == NOERROR
            by(running, 5, monkeypatch)
            assert (await running.udp(query("wg.example.com", "SOA"))).rcode() == NOERROR
            assert (await running.udp(query("other.example.com", "SOA"))).rcode() == REFUSED
            assert running.statistics.strangers == 1
            for _ in range(STRANGER_BURST):
                reply = await running.udp(query("www.example.org", "A"))
                assert reply.rcode() == REFUSED  # who may ask something is told so as often as it asks
            assert running.statistics.strangers == 1

        serve(story)

    def test_sources_of_granted_networks_may_ask(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def story(running: Running) -> None:
            site = running.site
            for network, rcode in (("127.0.0.0/8", NOERROR), ("10.0.0.0/8", REFUSED)):
                access = Access([Grant(zone, "wg0", (ip_network(network),)) for zone in site.contents])
                running.site = Site(site.responder, access, site.contents, site.transfers)
                by(running, STRANGER, monkeypatch)
                for _ in range(2):
                    assert (await running.udp(query(ALICE, "SRV"))).rcode() == rcode

        serve(story)

    def test_in_one_burst_each_gets_what_is_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            module, "arrival_of", lambda _, source: LOOPBACK if source.startswith("127.8.") else STRANGER
        )

        async def story(running: Running) -> None:
            with Client(running, "127.8.0.1") as known, Client(running, "127.9.0.1") as stranger:
                for client in (known, stranger):  # so that both are judged and the answer is known
                    client.ask(query(ALICE, "SRV"))
                    await client.reply()
                for burst in ((known, stranger), (stranger, known), (known, stranger, known)):
                    for client in burst:
                        client.ask(query(ALICE, "SRV"))
                    for client in burst:
                        assert (await client.reply()).rcode() == (NOERROR if client is known else REFUSED)

        serve(story)

    def test_what_was_judged_is_remembered_for_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 1000.0
        monkeypatch.setattr(module, "monotonic", lambda: now)
        judged: list[str] = []

        def arrival_of(_: object, source: str) -> int:
            judged.append(source)
            return LOOPBACK

        monkeypatch.setattr(module, "arrival_of", arrival_of)

        async def story(running: Running) -> None:
            nonlocal now
            for _ in range(3):
                await running.udp(query(ALICE, "SRV"))
            assert judged == ["127.0.0.1"]
            now += module.VERDICT_AGE
            await running.udp(query(ALICE, "SRV"))
            assert judged == ["127.0.0.1"] * 2

        serve(story)

    def test_a_bounded_number_of_sources_is_remembered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_VERDICTS", 4)
        assert MAX_VERDICTS > 4

        async def story(running: Running) -> None:
            (datagrams,) = running.server.datagrams
            for number in range(20):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.setblocking(False)
                    client.bind((f"127.9.9.{number + 1}", 0))
                    client.connect((running.host, running.port))
                    client.send(query(ALICE, "SRV").to_wire())
                    assert await asyncio.get_running_loop().sock_recv(client, 4096)
                assert 0 < datagrams.remembered <= 4

        serve(story)

    def test_with_other_control_messages_nothing_is_remembered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.setsockopt(socket.SOL_SOCKET, 29, 1)  # SO_TIMESTAMP, asm-generic/socket.h
        udp.bind((str(own_address().address), 0))

        async def story(running: Running) -> None:
            (datagrams,) = running.server.datagrams
            for _ in range(2):
                assert (await running.udp(query(ALICE, "SRV"))).answer
            assert not datagrams.remembered
            monkeypatch.setattr(module, "arrival_of", lambda *_: STRANGER)
            assert (await running.udp(query(ALICE, "SRV"))).rcode() == REFUSED

        serve(story, listeners=adopt([udp]))


class TestReload:
    def test_new_queries_are_answered_from_the_new_site(self) -> None:
        async def story(running: Running) -> None:
            assert (await running.udp(query("wg.example.com", "SOA"))).rcode() == NOERROR
            running.server.use(running.make_site("new.example.com"))
            assert (await running.udp(query("wg.example.com", "SOA"))).rcode() == REFUSED
            assert (await running.udp(query("new.example.com", "SOA"))).rcode() == NOERROR

        serve(story)

    def test_a_query_that_waits_is_answered_from_the_site_that_it_was_asked_of(self) -> None:
        async def story(running: Running) -> None:
            running.hold.clear()
            waiting = asyncio.create_task(running.udp(query(ALICE, "SRV")))
            await until(lambda: running.reads)
            running.server.use(running.make_site("new.example.com"))
            running.hold.set()
            assert (await waiting).answer

        serve(story)


def test_after_the_end_nothing_is_sent() -> None:
    async def story(running: Running) -> None:
        running.hold.clear()
        with Client(running) as client:
            client.ask(query(ALICE, "SRV"))
            await until(lambda: running.reads)
            running.server.close()
            running.hold.set()
            await settle()
            assert client.said_nothing()
        assert not any(running.statistics.rcodes)

    serve(story)


def test_an_answer_that_cannot_be_sent_is_counted_and_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def answering(ancillary: Ancillary) -> Ancillary:
        (message,) = ancillary
        if message[2].endswith(socket.inet_aton("127.8.0.2")):
            return [(*message[:2], bytes(4) + socket.inet_aton("198.51.100.9") * 2)]  # no address of any machine
        return [(*message[:2], bytes(4) + message[2][4:])]

    monkeypatch.setattr(module, "answering", answering)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", 0))

    async def story(running: Running) -> None:
        clients = []
        for number in range(1, 4):
            running.host = f"127.8.0.{number}"
            clients.append(Client(running))
        for unsent, name in (
            (1, ALICE),
            (2, ALICE),
            (3, "www.example.org"),
        ):  # the long way, the quick one, and no zone
            for client in clients:
                client.ask(query(name, "SRV"))
            for client in (clients[0], clients[2]):
                assert (await client.reply()).rcode() == (NOERROR if name == ALICE else REFUSED)
            assert running.statistics.unsent == unsent
            assert clients[1].said_nothing()
        for client in clients:
            client.socket.close()

    serve(story, listeners=adopt([udp]))


def test_a_query_that_fails_takes_none_of_its_burst_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[BaseException] = []

    async def story(running: Running) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
        await running.udp(query(ALICE, "SRV"))
        (datagrams,) = running.server.datagrams
        quick = running.site.responder.quick

        def failing(octets: bytes, zones: Collection[Zone]) -> bytes | None:
            if b"\3bad" in octets:
                raise ZeroDivisionError
            return quick(octets, zones)

        monkeypatch.setattr(running.site.responder, "quick", failing)
        datagrams.use(running.site)
        with Client(running) as client:
            asked = [query(name, "SRV") for name in (ALICE, "bad.example.com", ALICE, "bad.example.com", ALICE)]
            for one in asked:
                client.ask(one)
            assert all(reply.answer for reply in (await client.replies(asked[::2])).values())
            assert client.said_nothing()
        assert [type(error) for error in errors] == [ZeroDivisionError] * 2

    serve(story)


def test_a_large_answer_is_cut_for_udp() -> None:
    async def story(running: Running) -> None:
        running.peers = many(800)
        reply = await running.udp(query("_wireguard._udp.wg.example.com", "PTR", payload=1232))
        assert reply.flags & dns.flags.TC

    serve(story)
