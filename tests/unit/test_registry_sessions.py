# SPDX-License-Identifier: GPL-2.0-or-later
"""Push sessions on loopback: who gets one, what is told when, and what ends them."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import dns.message
import pytest
from dns.edns import GenericOption, OptionType
from dns.rcode import NOERROR
from dns.rcode import REFUSED as REFUSED_RCODE
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.registry_objects import BOB, CAROL, PEERS, key, many, peer, query
from tests.unit.registry_running import ALICE, LENGTH, STRANGER, Running, framed, serve, settle, until
from wgsd_nm.core import dso, push
from wgsd_nm.core.dnssd import instance_wire, parse_zone, wire
from wgsd_nm.core.dso import Keepalive, Message, RetryDelay
from wgsd_nm.core.model import Peer
from wgsd_nm.core.push import ANY, IN, Add, Change, RemoveAll, Subscribe, Unsubscribe, parse_push
from wgsd_nm.registry import access, streams
from wgsd_nm.registry import connection as connection_module
from wgsd_nm.registry import push as push_module
from wgsd_nm.registry import sessions as module
from wgsd_nm.registry.access import STRANGER_BURST, Access, Grant
from wgsd_nm.registry.push import RESTART, Session, retry_delay
from wgsd_nm.registry.responder import Responder
from wgsd_nm.registry.sessions import CROWDED, MAX_OF_CLIENT, SEND_BUFFER, USER_TIMEOUT, refusal
from wgsd_nm.registry.signing import Keyring
from wgsd_nm.registry.site import Site
from wgsd_nm.registry.transfer import Transfers

APEX = wire(parse_zone("wg.example.com"))
SRV = 33


def name_of(one: str) -> bytes:
    return instance_wire(key(one), APEX)


class Client:
    """Says and reads one message at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def of(cls, running: Running, source: str = "127.0.0.1") -> Client:
        made = await asyncio.open_connection(running.host, running.port, local_addr=(source, 0))
        running.writers.append(made[1])
        return cls(*made)

    def send(self, *messages: Message | bytes) -> None:
        for one in messages:
            octets = one if isinstance(one, bytes) else one.encode()
            self.writer.write(LENGTH.pack(len(octets)) + octets)

    async def receive(self) -> bytes:
        (length,) = LENGTH.unpack(await self.reader.readexactly(LENGTH.size))
        return await self.reader.readexactly(length)

    async def hear(self) -> Message:
        return dso.parse(await self.receive())

    async def ask(self, message: Message | bytes) -> Message:
        self.send(message)
        return await self.hear()

    async def begin(self) -> Message:
        return await self.ask(dso.request(0xFFFF, Keepalive(0, 0).tlv()))

    async def subscribe(self, name: bytes, identifier: int = 1, rdtype: int = ANY) -> Message:
        return await self.ask(dso.request(identifier, Subscribe(name, rdtype).tlv()))

    async def changes(self) -> tuple[Change, ...]:
        return parse_push(await self.receive())

    async def was_reset(self) -> bool:
        """When it has ended: whether by an abort."""
        try:
            while await self.reader.read(1 << 16):
                pass
        except ConnectionResetError:
            return True
        return False


async def change(running: Running, *peers: Peer) -> None:
    """The device is another one, and is read."""
    running.peers = peers
    running.now += 1
    for content in running.site.devices:
        assert await content.available()


def moved(number: int) -> Peer:
    return peer("alice", f"192.0.2.1:{number}", "10.0.0.1/32", "fd00::1/128")


def ports(changes: tuple[Change, ...]) -> list[int]:
    return [int.from_bytes(one.rdata[4:6]) for one in changes if isinstance(one, Add) and one.rdtype == SRV]


def test_a_subscription_has_the_device_read_once_and_is_told_what_is_there() -> None:
    async def story(running: Running) -> None:
        client = await Client.of(running)
        await client.begin()
        assert running.reads == 0
        client.send(*(dso.request(n, Subscribe(name_of(one), ANY).tlv()) for n, one in ((1, "alice"), (2, "nobody"))))
        assert await client.hear() == dso.response(1, NOERROR)
        assert ports(await client.changes()) == [51820]
        assert await client.hear() == dso.response(2, NOERROR)
        assert running.reads == 1
        statistics = running.statistics
        assert (statistics.sessions, statistics.subscriptions, statistics.pushes, statistics.tcp) == (1, 2, 0, 0)
        assert "; push: 1 sessions with 2 subscriptions, 0 pushes, " in running.server.line()

    serve(story)


def test_a_change_is_told_to_those_who_want_to_know_and_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    encode = push.encode_pushes

    def encode_pushes(changes: Iterable[Change]) -> list[bytes]:
        encoded.append(tuple(changes))
        return encode(encoded[-1])

    turn = 0
    told_in_turn: Counter[int] = Counter()

    async def story(running: Running) -> None:
        loop, tell = asyncio.get_running_loop(), running.server.sessions._tell  # noqa: SLF001 - who tells nobody

        def count() -> None:
            nonlocal turn
            turn += 1
            loop.call_soon(count)

        def tell_and_count(session: Session, messages: Sequence[bytes]) -> None:
            told_in_turn[turn] += 1
            tell(session, messages)

        clients = [await Client.of(running, f"127.0.1.{number + 1}") for number in range(20)]
        for client in clients:
            await client.subscribe(name_of("alice"))
            await client.changes()
        other = await Client.of(running)
        await other.subscribe(name_of("bob"))
        await other.changes()
        monkeypatch.setattr(push, "encode_pushes", encode_pushes)
        monkeypatch.setattr(running.server.sessions, "_tell", tell_and_count)
        count()
        await change(running, moved(7), BOB)
        told = {await client.receive() for client in clients}
        assert len(told) == 1
        assert max(told_in_turn.values()) == module.BURST
        assert ports(parse_push(told.pop())) == [7]
        assert len(encoded) == 1
        assert running.statistics.pushes == 20
        await change(running, moved(7), BOB, CAROL)
        await change(running, moved(7))
        assert await other.changes() == (RemoveAll(name_of("bob"), ANY, IN),)
        assert running.statistics.pushes == 21

    monkeypatch.setattr(module, "BURST", 3)
    serve(story)


def test_a_device_is_kept_fresh_while_somebody_follows_it_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(running: Running) -> None:
        (content,) = running.site.devices
        wanted: list[Callable[[], bool]] = []
        monkeypatch.setattr(content, "keep", wanted.append)
        one, other = await Client.of(running), await Client.of(running)
        await one.begin()
        assert (await one.subscribe(b"\3www\7example\3org\0")).rcode == dso.NOTAUTH
        assert not wanted
        for client, name in ((one, "alice"), (one, "nobody"), (other, "bob")):
            identifier = 5 if name == "nobody" else 4
            assert (await client.subscribe(name_of(name), identifier)).rcode == NOERROR
            if name != "nobody":
                await client.changes()
        (is_wanted,) = wanted
        assert is_wanted()
        one.send(*(dso.unidirectional(Unsubscribe(number).tlv()) for number in (4, 5)))
        await one.begin()
        assert is_wanted()  # by the other
        other.writer.close()
        await until(lambda: len(running.server.sessions) == 1)
        assert not is_wanted()
        await one.subscribe(name_of("alice"), 9)
        assert len(wanted) == 2
        assert wanted[1]()

    serve(story)


def test_without_a_device_it_is_said_and_what_was_told_stays() -> None:
    async def story(running: Running) -> None:
        client = await Client.of(running)
        await client.subscribe(name_of("alice"))
        await client.changes()
        running.peers = None
        running.now += 1
        refused = dso.response(2, dso.SERVFAIL, RetryDelay(60_000).tlv())
        assert await client.subscribe(name_of("bob"), 2) == refused
        running.now += 1
        await change(running, moved(8))
        assert ports(await client.changes()) == [8]

    serve(story)


class TestWhoMayAsk:
    @pytest.fixture
    def strangers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streams, "arrival", lambda _: STRANGER)

    @pytest.mark.usefixtures("strangers")
    def test_strangers_are_refused_at_their_rate(self) -> None:
        async def story(running: Running) -> None:
            client = await Client.of(running)
            for _ in range(STRANGER_BURST):
                assert (await client.begin()).rcode == dso.REFUSED
            assert running.statistics.strangers == STRANGER_BURST
            client.send(dso.request(1, Subscribe(name_of("alice"), ANY).tlv()))
            assert not await client.was_reset()
            assert (running.reads, len(running.server.sessions), running.statistics.limited) == (0, 0, 1)

        serve(story)

    @pytest.mark.usefixtures("strangers")
    def test_what_is_no_request_is_not_answered(self) -> None:
        async def story(running: Running) -> None:
            client = await Client.of(running)
            client.send(dso.unidirectional(Unsubscribe(1).tlv()))
            assert not await client.was_reset()
            assert running.statistics.unanswered == 1

        serve(story)

    @pytest.mark.usefixtures("strangers")
    def test_a_zone_of_another_device_is_refused_and_not_read(self) -> None:
        async def story(running: Running) -> None:
            running.interfaces[STRANGER] = "wg1"
            own = running.make_site("own.example.com", device="wg1")
            site = running.make_site("wg.example.com")
            running.server.use(joined(running, own, site))
            client = await Client.of(running)
            refused = dso.response(1, dso.REFUSED, RetryDelay(300_000).tlv())
            assert await client.subscribe(name_of("alice")) == refused
            assert running.reads == 0
            own_name = instance_wire(key("alice"), wire(parse_zone("own.example.com")))
            assert (await client.subscribe(own_name, 2)).rcode == NOERROR
            assert running.reads == 1

        serve(story)

    def test_a_session_whose_device_was_made_anew_is_told_to_come_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its connection came in by an interface that is no more."""
        former, present = 7, 8
        came_by = former
        monkeypatch.setattr(access, "NAME_AGE", 0.0)
        monkeypatch.setattr(streams, "arrival", lambda _: came_by)

        async def story(running: Running) -> None:
            nonlocal came_by
            running.interfaces[former] = "wg0"
            client = await Client.of(running)
            await client.subscribe(name_of("alice"))
            await client.changes()
            del running.interfaces[former]
            running.interfaces[present], came_by = "wg0", present
            assert await client.begin() == dso.unidirectional(RetryDelay(RESTART).tlv(), rcode=dso.REFUSED)
            client.send(dso.request(2, Keepalive(0, 0).tlv()))
            again = await Client.of(running)
            assert (await again.subscribe(name_of("alice"))).rcode == NOERROR
            assert running.server.sessions.subscribed == 1
            client.writer.write_eof()
            assert await client.reader.read() == b""
            assert running.statistics.strangers == 0

        serve(story)

    def test_refusals(self) -> None:
        request = dso.request(7, Keepalive(0, 0).tlv()).encode()
        assert refusal(request, REFUSED_RCODE) == dso.response(7, dso.REFUSED).encode()
        assert refusal(request, 2, 9) == dso.response(7, 2, RetryDelay(9).tlv()).encode()
        assert refusal(dso.unidirectional(RetryDelay(0).tlv()).encode(), 5) is None


def joined(running: Running, *sites: Site) -> Site:
    """One with the zones of all."""
    contents = {zone: content for site in sites for zone, content in site.contents.items()}
    grants = [Grant(zone, content.interface) for zone, content in contents.items()]
    return Site(Responder(list(contents)), Access(grants, name_of=running.name_of), contents, Transfers(Keyring(), {}))


class TestPlaces:
    def test_sessions_take_no_places_of_connections_and_are_not_displaced(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streams, "MAX_CONNECTIONS", 1)

        async def story(running: Running) -> None:
            clients = [await Client.of(running, f"127.0.1.{number + 1}") for number in range(1)]
            for number in range(5):
                await clients[-1].begin()
                clients.append(await Client.of(running, f"127.0.2.{number + 1}"))
            await clients[-1].begin()
            for client in clients:
                assert (await client.begin()).rcode == NOERROR
            assert not running.statistics.displaced
            for number in range(2):
                plain = await Client.of(running)
                plain.send(query(ALICE, "A").to_wire())
                assert dns.message.from_wire(await plain.receive()).answer
                await until(lambda: running.statistics.displaced == number)  # noqa: B023 - it is awaited here
            for client in clients:
                assert (await client.begin()).rcode == NOERROR

        serve(story)

    def test_a_session_is_not_under_the_idle_timeout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streams, "IDLE_TIMEOUT", 0.05)

        async def story(running: Running) -> None:
            client, plain = await Client.of(running), await Client.of(running)
            await client.begin()
            assert not await plain.was_reset()
            assert running.statistics.timed_out == 1
            other = await Client.of(running)
            await other.reader.read()
            assert (await client.begin()).rcode == NOERROR

        serve(story)

    def test_the_oldest_of_a_client_makes_room_and_is_told_so(self) -> None:
        async def story(running: Running) -> None:
            clients = [await Client.of(running) for _ in range(MAX_OF_CLIENT)]
            for client in clients:
                await client.begin()
            for number in range(2):
                newest = await Client.of(running)
                assert (await newest.begin()).rcode == NOERROR
                dismissal = dso.unidirectional(RetryDelay(CROWDED).tlv(), rcode=dso.SERVFAIL)
                assert await clients[number].hear() == dismissal
                for client in clients[number + 1 :]:
                    assert (await client.begin()).rcode == NOERROR
            assert running.statistics.sessions_displaced == 2

        serve(story)

    def test_when_all_places_are_taken_a_newcomer_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_SESSIONS", 1)

        async def story(running: Running) -> None:
            first, second = await Client.of(running), await Client.of(running)
            await first.begin()
            answer = await second.begin()
            assert answer == dso.response(0xFFFF, dso.SERVFAIL, RetryDelay(CROWDED).tlv())
            second.send(query(ALICE, "A").to_wire())  # it may ask
            assert dns.message.from_wire(await second.receive()).answer
            assert running.statistics.sessions_refused == 1
            second.send(dso.unidirectional(Unsubscribe(1).tlv()))
            assert await second.was_reset()
            first.writer.close()
            await until(lambda: not len(running.server.sessions))
            assert (await (await Client.of(running)).begin()).rcode == NOERROR

        serve(story)

    def test_the_kernel_holds_little_for_a_client_and_gives_up_one_who_acknowledges_nothing(self) -> None:
        async def story(running: Running) -> None:
            await (await Client.of(running)).begin()
            (connection,) = running.server.sessions._sessions  # noqa: SLF001 - its socket is the subject
            assert connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == USER_TIMEOUT
            assert connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * SEND_BUFFER

        serve(story)


TLVS = st.lists(
    st.builds(
        lambda dso_type, data: dso_type.to_bytes(2) + len(data).to_bytes(2) + data,
        st.sampled_from((1, 2, 3, 0x40, 0x41, 0x42, 0x43, 0xF800)),
        st.one_of(st.binary(max_size=12), st.just(name_of("alice") + b"\0\xff\0\1"), st.just(bytes(8))),
    ),
    max_size=3,
)
MESSAGES = st.lists(
    st.builds(
        lambda identifier, flags, tlvs: identifier.to_bytes(2) + flags + bytes(8) + b"".join(tlvs),
        st.integers(0, 3),
        st.sampled_from((b"\x30\0", b"\x30\0", b"\x30\0", b"\xb0\0", b"\x37\xff")),
        TLVS,
    ),
    max_size=8,
)


@settings(max_examples=60)
@given(MESSAGES, MESSAGES)
def test_whatever_is_said_others_have_their_sessions_and_nothing_is_left(one: list[bytes], other: list[bytes]) -> None:
    async def story(running: Running) -> None:
        reported: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        good = await Client.of(running)
        await good.subscribe(name_of("bob"))
        await good.changes()
        for messages in (one, other):
            bad = await Client.of(running)
            await bad.begin()
            bad.send(*messages)
            await change(running, *PEERS[len(messages) % 2 :])
            bad.writer.close()
        assert (await good.begin()).rcode == NOERROR
        await until(lambda: len(running.server.sessions) == running.server.sessions.subscribed == 1)
        assert not reported

    serve(story)


async def looked_at(running: Running) -> None:
    """When the sessions that are over by now have been found."""
    sessions = running.server.sessions
    before = sessions._look  # noqa: SLF001 - nothing else tells
    await until(lambda: sessions._look not in (None, before))  # noqa: SLF001


class TestEnds:
    @pytest.fixture(autouse=True)
    def often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "LOOK", 0.01)

    def test_one_that_breaks_the_protocol_is_aborted(self) -> None:
        async def story(running: Running) -> None:
            client = await Client.of(running)
            await client.begin()
            client.send(dso.unidirectional(Keepalive(0, 0).tlv()))
            assert await client.was_reset()
            await until(lambda: not len(running.server.sessions))
            assert running.statistics.sessions_broken == 1

        serve(story)

    def test_edns_keepalive_is_fatal_in_a_session_only(self) -> None:
        """RFC 8490 section 7.1.2."""
        option = GenericOption(OptionType.make(11), b"")
        asked = dns.message.make_query(ALICE, "SRV", use_edns=0, options=[option]).to_wire()

        async def story(running: Running) -> None:
            client = await Client.of(running)
            client.send(asked)
            assert dns.message.from_wire(await client.receive()).answer
            client.send(query(ALICE, "SRV", payload=1232).to_wire())
            await client.receive()
            assert (await client.subscribe(b"\3www\7example\3org\0")).rcode == dso.NOTAUTH  # which begins nothing
            client.send(asked)
            assert dns.message.from_wire(await client.receive()).answer
            await client.begin()
            client.send(query(ALICE, "SRV", payload=1232).to_wire())
            assert dns.message.from_wire(await client.receive()).answer
            client.send(asked)
            assert await client.was_reset()

        serve(story)

    def test_silence_ends_it_and_other_messages_are_none(self) -> None:
        now = 0.0

        async def story(running: Running) -> None:
            nonlocal now
            running.server.sessions._clock = lambda: now  # noqa: SLF001 - nobody is to wait for two minutes
            client = await Client.of(running)
            await client.begin()
            await client.subscribe(name_of("alice"))
            await client.changes()
            now = 119.0
            client.send(query(ALICE, "A").to_wire())
            await client.receive()
            now = 119.0 + 119.0
            await looked_at(running)
            await change(running, moved(3))
            await client.changes()
            now += 119.0
            await looked_at(running)
            assert (await client.begin()).rcode == NOERROR
            now += 120.0
            assert await client.was_reset()
            assert running.statistics.sessions_idle == 1
            await until(lambda: not len(running.server.sessions))
            assert running.server.sessions.subscribed == 0

        serve(story)

    def test_one_who_does_not_take_what_it_is_told_is_aborted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection_module, "PATIENCE", 0.1)
        slow_story(changes=True)

    def test_one_for_whom_too_much_waits_is_aborted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_UNSENT", 20_000)
        slow_story(changes=True)

    def test_one_who_does_not_take_the_first_answers_is_aborted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection_module, "PATIENCE", 0.1)
        slow_story(changes=False)

    def test_one_that_was_told_to_leave_and_stays_is_aborted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(push_module, "PATIENCE", 0.05)
        monkeypatch.setattr(module, "MAX_OF_CLIENT", 1)

        async def story(running: Running) -> None:
            first = await Client.of(running)
            await first.begin()
            await (await Client.of(running)).begin()
            assert (await first.hear()).primary.type == dso.RETRY_DELAY
            assert await first.was_reset()
            assert running.statistics.sessions_idle == 0

        serve(story)

    def test_a_defect_in_pushing_sends_all_away_and_harms_no_query(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def story(running: Running) -> None:
            client = await Client.of(running)
            await client.subscribe(name_of("alice"))
            await client.changes()

            def tell(*_: object) -> None:
                raise KeyError("x")

            monkeypatch.setattr(running.server.sessions, "_tell", tell)
            await change(running, moved(3))
            assert await client.hear() == dso.unidirectional(RetryDelay(CROWDED).tlv(), rcode=dso.SERVFAIL)
            assert "pushing failed, and all push sessions end" in caplog.text
            assert (await running.udp(query(ALICE, "SRV"))).answer
            monkeypatch.undo()
            again = await Client.of(running)
            await again.subscribe(name_of("alice"))
            assert ports(await again.changes()) == [3]
            await change(running, moved(4))
            assert ports(await again.changes()) == [4]

        serve(story)

    def test_the_end_of_the_server_tells_all_when_to_come_back(self) -> None:
        async def story(running: Running) -> None:
            clients = [await Client.of(running, f"127.0.1.{number + 1}") for number in range(3)]
            for client in clients:
                await client.begin()
            silent = await Client.of(running)
            silent.send(query(ALICE, "A").to_wire())
            await silent.receive()
            running.server.close()
            for number, client in enumerate(clients):
                assert await client.hear() == dso.unidirectional(RetryDelay(retry_delay(number)).tlv())
                assert not await client.was_reset()
            assert await silent.reader.read() == b""

        serve(story)


def slow_story(*, changes: bool) -> None:
    """One client of two reads nothing, and loses its session; with changes, or by what it asks for."""

    async def story(running: Running) -> None:
        crowd = many(400)
        running.peers = (*PEERS, *crowd)
        names = [instance_wire(one.public_key, APEX) for one in crowd]
        client = await Client.of(running)
        await client.subscribe(name_of("alice"))
        await client.changes()
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            slow.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(slow, (running.host, running.port))
            wanted = [dso.request(number, Subscribe(name, ANY).tlv()) for number, name in enumerate(names, 1)]
            if not changes:
                browse = b"\x0a_wireguard\x04_udp" + APEX
                for number in range(len(wanted) + 1, 2 * len(wanted)):
                    wanted.append(dso.request(number, Subscribe(browse, ANY).tlv()))
                    wanted.append(dso.unidirectional(Unsubscribe(number).tlv()))
            aborted = False
            for message in wanted:
                octets = message.encode()
                try:
                    await asyncio.wait_for(loop.sock_sendall(slow, LENGTH.pack(len(octets)) + octets), 0.2)
                except TimeoutError:
                    break
                except ConnectionError:
                    aborted = True
                    break
            number = 0
            while not running.statistics.sessions_slow:
                number += 1
                if changes:
                    await change(running, moved(number), *many(400 - number % 2 * 399))
                    assert ports(await client.changes()) == [number]
                await asyncio.sleep(0)
            await until(lambda: len(running.server.sessions) == 1)
            assert aborted or await was_reset(slow)
        assert (await client.begin()).rcode == NOERROR

    serve(story)


async def was_reset(client: socket.socket) -> bool:
    """When all that has come was read: whether an abort is what follows."""
    try:
        while await asyncio.get_running_loop().sock_recv(client, 1 << 16):
            pass
    except ConnectionError:
        return True
    return False


class TestReload:
    def test_a_session_goes_on_with_what_the_new_site_says_as_soon_as_it_can(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "LOOK", 0.01)

        async def story(running: Running) -> None:
            client = await Client.of(running)
            for number, one in enumerate(("alice", "bob"), 1):
                assert (await client.subscribe(name_of(one), number)).rcode == NOERROR
                await client.changes()
            (former,) = running.site.devices
            is_former_wanted = former._wanted  # noqa: SLF001 - a read that is due tells nobody
            running.site = running.make_site()  # the same names, and nothing is known of them yet
            running.peers = None
            (content,) = running.site.devices
            wanted: list[Callable[[], bool]] = []
            for device in (former, content):
                monkeypatch.setattr(device, "keep", wanted.append)
            running.server.use(running.site)
            assert [is_wanted() for is_wanted in wanted] == [True]
            assert is_former_wanted is not None
            assert not is_former_wanted()
            await until(lambda: content.failures)
            await settle()
            running.peers = (moved(9),)
            running.now += 1
            told = [*await client.changes()]
            while len({one.name for one in told}) < 2:
                told += await client.changes()
            assert ports(tuple(told)) == [9]
            assert RemoveAll(name_of("bob"), ANY, IN) in told
            await change(running, moved(10))
            assert ports(await client.changes()) == [10]

        serve(story)

    def test_a_read_for_the_former_site_tells_nothing_of_a_new_one_that_is_not_read_yet(self) -> None:
        async def story(running: Running) -> None:
            client = await Client.of(running)
            await client.subscribe(name_of("alice"))
            await client.changes()
            (former,) = running.site.devices
            held = running.hold
            held.clear()
            running.peers = (moved(9),)
            running.now += 1
            reading = asyncio.create_task(former.available())
            await until(lambda: running.reads == 2)
            running.hold = asyncio.Event()
            running.server.use(running.make_site())
            held.set()
            assert await reading
            await settle()
            running.hold.set()
            assert ports(await client.changes()) == [9]

        serve(story)

    def test_a_change_that_is_not_told_yet_is_told_when_the_new_site_is_read(self) -> None:
        async def story(running: Running) -> None:
            client = await Client.of(running)
            await client.subscribe(name_of("alice"))
            await client.changes()
            running.peers = (moved(9),)
            running.hold.clear()
            running.server.changed([name_of("alice")])
            running.server.use(running.make_site())
            await settle()
            running.hold.set()
            assert ports(await client.changes()) == [9]

        serve(story)

    def test_a_subscription_that_waits_is_told_what_the_new_site_says(self) -> None:
        async def story(running: Running) -> None:
            held = running.hold
            held.clear()
            client = await Client.of(running)
            client.send(dso.request(1, Subscribe(name_of("alice"), ANY).tlv()))
            await until(lambda: running.reads)
            running.hold = asyncio.Event()
            running.site = running.make_site()
            running.server.use(running.site)
            held.set()
            await until(lambda: running.reads == 2)
            running.peers = (moved(9),)
            running.hold.set()
            assert (await client.hear()).rcode == NOERROR
            assert ports(await client.changes()) == [9]

        serve(story)

    def test_what_a_new_site_does_not_permit_ends(self) -> None:
        async def story(running: Running) -> None:
            running.server.use(running.make_site("wg.example.com", "b.example"))
            client = await Client.of(running)
            await client.subscribe(name_of("alice"))
            await client.changes()
            running.server.use(running.make_site("b.example"))
            assert await client.hear() == dso.response(1, dso.NOTAUTH, RetryDelay(300_000).tlv())
            assert running.server.sessions.subscribed == 0
            assert len(running.server.sessions) == 1

        serve(story)

    def test_a_subscription_that_waits_is_answered_from_the_new_site(self) -> None:
        async def story(running: Running) -> None:
            running.hold.clear()
            client = await Client.of(running)
            await client.begin()
            client.send(dso.request(1, Subscribe(name_of("alice"), ANY).tlv()))
            await until(lambda: running.reads)
            running.server.use(running.make_site("new.example.com"))
            running.hold.set()
            assert (await client.hear()).rcode == dso.NOTAUTH

        serve(story)


def test_sessions_are_counted_by_what_they_are() -> None:
    async def story(running: Running) -> None:
        client = await Client.of(running)
        await client.begin()
        (session,) = running.server.sessions._connections  # noqa: SLF001 - what it holds is the subject
        assert isinstance(session, Session)
        client.writer.close()
        await until(lambda: not len(running.server.sessions))
        client = await Client.of(running)
        client.writer.write(framed(query(ALICE, "A")))
        await client.receive()
        assert len(running.server.sessions) == 0

    serve(story)
