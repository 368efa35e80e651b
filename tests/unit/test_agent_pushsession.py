# SPDX-License-Identifier: GPL-2.0-or-later
"""Push sessions over loopback, with a registry that says what a test wants. What is said is tested in the core."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import ChainMap
from collections.abc import Callable, Coroutine, Iterable, Sequence
from ipaddress import ip_address
from typing import Any, TypeVar

import dns.rcode
import pytest

from tests.unit.core_story import BOB, CAROL, HOME, OFFICE, SELF, key
from tests.unit.nameserver import SOA, NameServer, reply
from wgsd_nm.agent import exchange
from wgsd_nm.agent import pushsession as module
from wgsd_nm.agent.pushsession import UNACKNOWLEDGED, PushSessions
from wgsd_nm.core import dnssd, dso, push, reconnect, subscriber
from wgsd_nm.core.dso import Keepalive, Message, RetryDelay
from wgsd_nm.core.errors import NoSuchPeer
from wgsd_nm.core.events import Event, Follow, Following, RecordsPushed, SessionChanged
from wgsd_nm.core.model import Advertisement, Endpoint, PublicKey, Server
from wgsd_nm.core.push import IN, Add, Subscribe, Unsubscribe, encode_pushes
from wgsd_nm.registry.push import Session
from wgsd_nm.registry.records import Record
from wgsd_nm.registry.subscriptions import Subscriptions

DEADLINE = 10.0
ZONE = "wg.example.com."
WIRE = dnssd.wire(dnssd.parse_zone(ZONE))
TIMEOUTS = Keepalive(15_000, 60_000)
A, SRV = 1, 33
Kind = TypeVar("Kind", bound=Event)


class Registry(NameServer):
    """It names the port of its push service, denies that there is one, or refuses to say."""

    def __init__(self, port: int | None, rcode: dns.rcode.Rcode = dns.rcode.NXDOMAIN) -> None:
        super().__init__(with_tcp=False)
        self.push_port = port
        self.rcode = rcode
        self.is_silent = False
        self.on_request: Callable[[], object] = lambda: None

    def handle(self, request: bytes, tcp: bool) -> Sequence[bytes]:  # noqa: ARG002  # it has no TCP
        self.on_request()
        if self.is_silent:
            return []
        if self.push_port is None:
            return [reply(request, authority=[SOA.format(zone=ZONE)], rcode=self.rcode)]
        assert push.SERVICE.split(".")[0].encode() in request.lower()
        return [reply(request, answer=[f"@ 0 IN SRV 0 0 {self.push_port} host.{ZONE}"])]


class Client:
    """One connection of the agent's, seen from the registry."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def hears(self) -> Message:
        (length,) = struct.unpack("!H", await self._reader.readexactly(2))
        return dso.parse(await self._reader.readexactly(length))

    def says(self, *messages: Message | bytes) -> None:
        octets = [each if isinstance(each, bytes) else each.encode() for each in messages]
        self._writer.write(b"".join(struct.pack("!H", len(each)) + each for each in octets))

    async def trickles(self, message: bytes) -> None:
        for octet in struct.pack("!H", len(message)) + message:
            self._writer.write(bytes((octet,)))
            await self._writer.drain()
            await asyncio.sleep(0)

    async def grants(self, number: int) -> list[Message]:
        """Answer so many requests with yes."""
        heard = [await self.hears() for _ in range(number)]
        for message in heard:
            about = (TIMEOUTS.tlv(),) if message.primary.type == dso.KEEPALIVE else ()
            if message.identifier:
                self.says(dso.response(message.identifier, dso.NOERROR, *about))
        return heard

    async def begins(self, number: int = 2) -> list[Message]:
        """The session, and as many subscriptions; all are granted. What was heard but for the Keepalives."""
        await self.grants(1)
        heard = await self.grants(number + 1)
        assert heard[-1].primary.type == dso.KEEPALIVE
        return heard[:-1]

    async def ended(self) -> bool:
        """When the agent has closed the connection: whether in order, without a reset."""
        try:
            while await self._reader.read(4096):
                pass
        except ConnectionResetError:
            return False
        return True

    def leave(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        opened = self._writer.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


class Scene:
    """The sessions, a registry, and what was told."""

    def __init__(self, registry: Registry) -> None:
        self.events: list[Event] = []
        self.sessions = PushSessions(self._heard)
        self.registry = registry
        self.clients: asyncio.Queue[Client] = asyncio.Queue()
        self._told = asyncio.Event()
        self._open: list[Client] = []
        self.resets = False
        self.on_event: Callable[[], None] = lambda: None
        running = asyncio.get_running_loop()
        registry.on_request = lambda: running.call_soon_threadsafe(self._told.set)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(reader, writer)
        if self.resets:
            client.reset()
        self._open.append(client)
        self.clients.put_nowait(client)

    def leave(self) -> None:
        for client in self._open:
            client.leave()

    def _heard(self, event: Event) -> None:
        self.events.append(event)
        self._told.set()
        self.on_event()

    async def told(self, kind: type[Kind], number: int = 1) -> Kind:
        while len(found := [event for event in self.events if isinstance(event, kind)]) < number:
            self._told.clear()
            await self._told.wait()
        return found[number - 1]

    async def asked(self, number: int) -> None:
        """Wait until the registry was asked for its port so often."""
        while len(self.registry.requests) < number:
            self._told.clear()
            await self._told.wait()

    async def rests(self) -> bool:
        """When the try under way has ended: whether there is none right behind it."""
        under_way = self.sessions._tasks  # noqa: SLF001  # that nothing happens cannot be waited for
        await asyncio.gather(*under_way)
        for _ in range(20):
            await asyncio.sleep(0)
        return not under_way

    @property
    def server(self) -> Server:
        return self.registry.server

    def order(self, *keys: PublicKey, activation: str = "/1", may_work: bool = True, zone: str = ZONE) -> Follow:
        return Follow((Following("wg0", activation, (self.server,), zone, frozenset(keys)),), may_work)

    def follow(self, *keys: PublicKey, activation: str = "/1", may_work: bool = True) -> None:
        self.sessions.follow(self.order(*keys, activation=activation, may_work=may_work))

    async def begin(self) -> Client:
        """A session in which Bob and we are followed, and nothing is known of either."""
        self.follow(BOB, SELF)
        client = await self.clients.get()
        await client.begins()
        await self.told(SessionChanged)
        return client


def play(scene: Callable[[Scene], Coroutine[Any, Any, None]], *, denies: bool = False, **how: Any) -> None:
    async def main() -> None:
        with Registry(None, **how) as registry:
            world = Scene(registry)
            serving = await asyncio.start_server(world.accept, "127.0.0.1", 0)
            if not denies:
                registry.push_port = serving.sockets[0].getsockname()[1]
            try:
                async with asyncio.timeout(DEADLINE):
                    await scene(world)
            finally:
                await world.sessions.close()
                serving.close()
                world.leave()
        mine = {task for task in asyncio.all_tasks() if "PushSessions" in repr(task) or "_Registry" in repr(task)}
        assert mine == set(), "something goes on after close()"

    asyncio.run(main())


def of(owner: bytes, at: Endpoint) -> list[Add]:
    """The records of a peer that is there."""
    return [
        Add(owner, SRV, IN, 0, b"\0\0\0\0" + at.port.to_bytes(2) + owner),
        Add(owner, A, IN, 0, at.address.packed),
    ]


def pushed(public_key: PublicKey, at: Endpoint) -> bytes:
    (message,) = encode_pushes(of(name(public_key), at))
    return message


def names(messages: Iterable[Message]) -> set[bytes]:
    return {Subscribe.read(message.primary).name for message in messages}


def name(public_key: PublicKey) -> bytes:
    return dnssd.instance_wire(public_key, WIRE)


def at(event: RecordsPushed) -> dict[PublicKey, Endpoint | None]:
    """The endpoints that it tells, None for a denial."""
    return {each: answer.endpoints[0] if isinstance(answer, Advertisement) else None for each, answer in event.answers}


class TestSession:
    def test_the_port_is_asked_for_and_all_is_told_before_it_counts_as_followed(self) -> None:
        async def scene(world: Scene) -> None:
            world.follow(BOB, SELF)
            client = await world.clients.get()
            assert names(await client.begins()) == {name(BOB), name(SELF)}
            event = await world.told(SessionChanged)
            assert event == SessionChanged("wg0", str(world.server), frozenset([BOB, SELF]))
            first, second = world.events
            assert isinstance(first, RecordsPushed)
            assert isinstance(second, SessionChanged)
            assert (first.interface, first.source) == ("wg0", str(world.server))
            assert {each: type(answer) for each, answer in first.answers} == {BOB: NoSuchPeer, SELF: NoSuchPeer}
            assert len(world.registry.requests) == 1

        play(scene)

    def test_it_does_not_count_as_followed_before_the_last_answer(self) -> None:
        async def scene(world: Scene) -> None:
            world.follow(BOB, SELF)
            client = await world.clients.get()
            await client.grants(1)
            *subscriptions, behind = [await client.hears() for _ in range(3)]
            client.says(*(dso.response(each.identifier, dso.NOERROR) for each in subscriptions), pushed(BOB, HOME))
            assert at(await world.told(RecordsPushed)) == {BOB: HOME}
            client.says(pushed(BOB, OFFICE))
            await world.told(RecordsPushed, 2)
            assert [type(event) for event in world.events] == [RecordsPushed, RecordsPushed]
            client.says(dso.response(behind.identifier, dso.NOERROR, TIMEOUTS.tlv()))
            await world.told(SessionChanged)

        play(scene)

    def test_what_is_pushed_soon_after_each_other_is_told_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def scene(world: Scene) -> None:
            client = await world.begin()
            monkeypatch.setattr(module, "BREATH", 0.1)
            client.says(pushed(BOB, HOME))
            await world.told(RecordsPushed, 2)
            for each in (SELF, BOB):
                client.says(pushed(each, OFFICE))
                for _ in range(5):
                    await asyncio.sleep(0)
            assert set(at(await world.told(RecordsPushed, 3))) == {SELF, BOB}

        play(scene)

    def test_what_is_pushed_together_is_told_together(self) -> None:
        async def scene(world: Scene) -> None:
            client = await world.begin()
            client.says(pushed(BOB, HOME), pushed(SELF, OFFICE), pushed(BOB, OFFICE))
            event = await world.told(RecordsPushed, 2)
            assert at(event)[SELF] == OFFICE
            assert len(event.answers) == 2

        play(scene)

    def test_a_message_may_come_octet_by_octet(self) -> None:
        async def scene(world: Scene) -> None:
            client = await world.begin()
            await client.trickles(pushed(BOB, HOME))
            assert at(await world.told(RecordsPushed, 2)) == {BOB: HOME}

        play(scene)

    def test_records_that_lead_elsewhere_are_to_be_asked_for(self) -> None:
        async def scene(world: Scene) -> None:
            client = await world.begin()
            (message,) = encode_pushes([Add(name(BOB), SRV, IN, 0, b"\0\0\0\0\0\1" + WIRE)])
            client.says(message)
            event = await world.told(RecordsPushed, 2)
            assert (event.answers, event.ask) == ((), (BOB,))

        play(scene)

    def test_a_registry_that_never_ends_to_push_is_heard_and_does_not_keep_us_from_all_else(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "BREATH", 0.001)

        async def scene(world: Scene) -> None:
            client = await world.begin()
            for _ in range(2000):
                client.says(*(pushed(BOB, Endpoint(HOME.address, port)) for port in (1, 2, 3)))
            client.says(pushed(SELF, OFFICE))
            number = 1
            while at(await world.told(RecordsPushed, number)).get(SELF) != OFFICE:
                number += 1
            assert number < 500, "each reading is told of once"

        play(scene)

    def test_a_reading_has_an_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "BREATH", 0.0)

        async def scene(world: Scene) -> None:
            client = await world.begin()
            changes = [Add(name(BOB), A, IN, ttl, HOME.address.packed) for ttl in range(2000)]
            messages = [message for change in changes for message in encode_pushes([change])]
            client.says(*messages, pushed(SELF, OFFICE))
            number = 1
            while at(await world.told(RecordsPushed, number)).get(SELF) != OFFICE:
                number += 1
            assert number > sum(map(len, messages)) // module.READING

        play(scene)

    def test_a_registry_that_takes_no_answers_to_its_requests_is_dead(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def scene(world: Scene) -> None:
            client = await world.begin()
            monkeypatch.setattr(module, "MAX_UNSENT", -1)
            client.says(dso.request(9, dso.Tlv(0xF800)))
            assert (await world.told(SessionChanged, 2)).following == frozenset()
            assert not await client.ended(), "it is reset"

        play(scene)

    def test_others_are_followed_in_the_same_session(self) -> None:
        async def scene(world: Scene) -> None:
            client = await world.begin()
            world.follow(CAROL, SELF)
            left, *heard = await client.grants(3)
            assert left.primary.type == push.UNSUBSCRIBE
            assert Unsubscribe.read(left.primary).identifier
            assert names(heard[:1]) == {name(CAROL)}
            assert (await world.told(SessionChanged, 2)).following == frozenset([CAROL, SELF])
            assert world.clients.empty()

        play(scene)

    def test_the_kernel_gives_up_what_is_not_acknowledged_and_the_socket_is_bound_like_that_for_questions(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options: list[tuple[object, ...]] = []

        class Noted(socket.socket):
            def setsockopt(self, *option: Any) -> None:
                options.append(option)
                super().setsockopt(*option)

        async def scene(world: Scene) -> None:
            monkeypatch.setattr(socket, "socket", Noted)
            bound = Server(world.server.address, world.server.port, "lo")
            world.sessions.follow(Follow((Following("wg0", "/1", (bound,), ZONE, frozenset([BOB])),), may_work=True))
            await world.clients.get()
            assert options.count((socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")) == 2
            assert (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED) in options

        play(scene)


class Table:
    """Where the peers of a registry are."""

    def __init__(self, **peers: Endpoint) -> None:
        self.peers = {name(key(who)): endpoint for who, endpoint in peers.items()}

    def records(self, owner: bytes) -> Iterable[Record]:
        if owner in self.peers:
            yield from (Record(each.rdtype, each.ttl, each.rdata) for each in of(owner, self.peers[owner]))


class TestBothEnds:
    def test_a_move_goes_from_the_registrys_own_end_to_ours(self) -> None:
        async def scene(world: Scene) -> None:
            world.follow(BOB, SELF)
            client = await world.clients.get()
            table = Table(bob=HOME)
            hub: Subscriptions[Session] = Subscriptions(table)
            session = Session(hub, "10.0.0.2", 0.0)
            for _ in range(4):
                client.says(*session.receive((await client.hears()).encode(), lambda _: dso.NOERROR, 0.0))
            await world.told(SessionChanged)
            known = [at(event) for event in world.events if isinstance(event, RecordsPushed)]
            assert dict(ChainMap(*reversed(known))) == {BOB: HOME, SELF: None}
            table.peers[name(BOB)] = OFFICE
            for _, messages in hub.update():
                client.says(*messages)
            number = 2
            while at(await world.told(RecordsPushed, number)) != {BOB: OFFICE}:
                number += 1
            client.says(*session.shut_down(0, 0.0))
            assert (await world.told(SessionChanged, 2)).following == frozenset()
            assert await client.ended()

        play(scene)


class TestNetwork:
    def test_a_network_event_pings_and_the_session_goes_on(self) -> None:
        async def scene(world: Scene) -> None:
            client = await world.begin()
            world.sessions.network_changed()
            (ping,) = await client.grants(1)
            assert ping.primary.type == dso.KEEPALIVE
            client.says(pushed(BOB, HOME))
            assert at(await world.told(RecordsPushed, 2)) == {BOB: HOME}
            assert [type(event) for event in world.events].count(SessionChanged) == 1
            assert world.clients.empty()

        play(scene)

    def test_while_nothing_may_be_done_nothing_is_asked_or_said(self) -> None:
        async def scene(world: Scene) -> None:
            world.follow(BOB, SELF, may_work=False)
            assert await world.rests()
            world.sessions.network_changed()
            assert await world.rests()
            assert world.registry.requests == []
            client = await world.begin()
            assert len(world.registry.requests) == 1
            world.sessions.network_changed()
            world.follow(BOB, SELF, CAROL, may_work=False)
            for _ in range(10):
                await asyncio.sleep(0)
            world.follow(BOB, SELF, CAROL)
            first, _ = await client.grants(2)
            assert names([first]) == {name(CAROL)}, "no ping came before"

        play(scene)

    def test_a_session_that_does_not_answer_any_more_is_dead(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reconnect, "SETTLED", 0.0)

        async def scene(world: Scene) -> None:
            client = await world.begin()
            patient = subscriber.ANSWER
            monkeypatch.setattr(subscriber, "ANSWER", 0.05)
            world.sessions.network_changed()
            assert (await world.told(SessionChanged, 2)).following == frozenset()
            monkeypatch.setattr(subscriber, "ANSWER", patient)
            assert not await client.ended(), "it is reset"
            await (await world.clients.get()).begins()
            assert (await world.told(SessionChanged, 3)).following == frozenset([BOB, SELF])

        play(scene)

    def test_one_whose_registry_answers_by_datagram_is_dead_soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reconnect, "SETTLED", 0.0)
        monkeypatch.setattr(subscriber, "PROOF", 0.0)

        async def scene(world: Scene) -> None:
            client = await world.begin()
            world.sessions.network_changed()
            assert (await client.hears()).primary.type == dso.KEEPALIVE
            world.sessions.answered("wg1", str(world.server))
            world.sessions.answered("wg0", "192.0.2.53")
            for _ in range(10):
                await asyncio.sleep(0)
            assert [type(event) for event in world.events].count(SessionChanged) == 1, "it was another registry"
            world.sessions.answered("wg0", str(world.server))
            assert (await world.told(SessionChanged, 2)).following == frozenset()
            assert not await client.ended(), "it is reset"
            await (await world.clients.get()).begins()
            assert (await world.told(SessionChanged, 3)).following == frozenset([BOB, SELF])

        play(scene)

    def test_one_that_is_not_followed_in_yet_is_not_hurried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(subscriber, "PROOF", 0.0)

        async def scene(world: Scene) -> None:
            world.follow(BOB, SELF)
            client = await world.clients.get()
            await client.grants(1)
            await client.hears()
            world.sessions.answered("wg0", str(world.server))
            await client.grants(1)
            await client.grants(1)
            client.says(dso.unidirectional(RetryDelay(60_000).tlv()))
            assert await client.ended(), "in order"

        play(scene)

    def test_a_registry_that_was_silent_is_tried_again_when_it_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reconnect, "jittered", lambda _delay, _chance: 3600.0)

        async def scene(world: Scene) -> None:
            world.registry.is_silent = True
            with monkeypatch.context() as hurry:
                hurry.setattr(exchange, "FIRST_TIMEOUT", 0.001)
                world.follow(BOB, SELF)
                await world.asked(exchange.TRIES)
                assert await world.rests()
            world.registry.is_silent = False
            world.sessions.answered("wg0", str(world.server))
            await (await world.clients.get()).begins()

        play(scene)

    def test_on_another_network_what_failed_is_tried_at_once(self) -> None:
        async def scene(world: Scene) -> None:
            port, world.registry.push_port = world.registry.push_port, 1
            world.follow(BOB, SELF)
            await world.asked(1)
            assert await world.rests()
            world.registry.push_port = port
            world.sessions.network_changed()
            await (await world.clients.get()).begins()

        play(scene)

    def test_a_session_that_is_not_established_yet_is_begun_anew(self) -> None:
        async def scene(world: Scene) -> None:
            world.follow(BOB, SELF)
            client = await world.clients.get()
            await client.hears()
            world.sessions.network_changed()
            assert await client.ended()
            await (await world.clients.get()).begins()
            assert (await world.told(SessionChanged)).following == frozenset([BOB, SELF])

        play(scene)


class TestEnd:
    @pytest.mark.parametrize("how", ["leave", "reset"])
    def test_a_session_that_is_lost_is_made_again(self, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reconnect, "SETTLED", 0.0)

        async def scene(world: Scene) -> None:
            client = await world.begin()
            getattr(client, how)()
            assert (await world.told(SessionChanged, 2)).following == frozenset()
            await (await world.clients.get()).begins()
            assert (await world.told(SessionChanged, 3)).following == frozenset([BOB, SELF])

        play(scene)

    def test_who_is_dismissed_comes_back_after_the_delay_and_not_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reconnect, "SETTLED", 0.0)

        async def scene(world: Scene) -> None:
            client = await world.begin()
            now = asyncio.get_running_loop().time
            began = now()
            client.says(dso.unidirectional(RetryDelay(200).tlv()))
            assert (await world.told(SessionChanged, 2)).following == frozenset()
            assert await client.ended()
            world.sessions.network_changed()
            await world.clients.get()
            assert now() - began >= 0.2

        play(scene)

    def test_its_delay_outlives_another_users_turn_and_another_activation(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reconnect, "SETTLED", 0.0)

        async def scene(world: Scene) -> None:
            client = await world.begin()
            now = asyncio.get_running_loop().time
            began = now()
            client.says(dso.unidirectional(RetryDelay(200).tlv()))
            await world.told(SessionChanged, 2)
            world.sessions.follow(Follow())
            world.sessions.follow(Follow())
            world.follow(BOB, SELF, activation="/2")
            await world.clients.get()
            assert now() - began >= 0.2

        play(scene)

    def test_a_registry_that_breaks_the_protocol_is_left_alone(self, caplog: pytest.LogCaptureFixture) -> None:
        async def scene(world: Scene) -> None:
            client = await world.begin()
            client.says(pushed(BOB, HOME), dso.unidirectional(Subscribe(name(BOB), 255).tlv()))
            assert (await world.told(SessionChanged, 2)).following == frozenset()
            assert at(await world.told(RecordsPushed, 2)) == {BOB: HOME}, "what was said before counts"
            assert not await client.ended(), "it is reset"
            world.sessions.network_changed()
            assert await world.rests()

        with caplog.at_level(logging.WARNING):
            play(scene)
        assert "breaks the push protocol" in caplog.text

    def test_what_is_not_wanted_any_more_ends_without_a_word(self) -> None:
        async def scene(world: Scene) -> None:
            client = await world.begin()
            before = len(world.events)
            world.sessions.follow(Follow((), may_work=True))
            client.says(pushed(BOB, HOME))
            assert await client.ended() in (True, False)
            assert len(world.events) == before
            assert world.clients.empty()

        play(scene)

    def test_a_session_may_end_while_it_is_heard(self) -> None:
        async def scene(world: Scene) -> None:
            client = await world.begin()
            before = len(world.events)
            world.on_event = lambda: world.sessions.follow(Follow((), may_work=True))
            client.says(pushed(BOB, HOME), dso.unidirectional(RetryDelay(1).tlv()))
            await client.ended()
            assert len(world.events) == before + 1

        play(scene)

    def test_over_a_device_that_was_made_anew_there_is_another_one(self) -> None:
        async def scene(world: Scene) -> None:
            client = await world.begin()
            world.follow(BOB, SELF, activation="/2")
            assert await client.ended()
            await (await world.clients.get()).begins()
            assert (await world.told(SessionChanged, 2)).following == frozenset([BOB, SELF])

        play(scene)

    @pytest.mark.parametrize("when", ["asking", "connecting", "beginning"])
    def test_close_at_any_time(self, when: str) -> None:
        async def scene(world: Scene) -> None:
            world.follow(BOB, SELF)
            if when == "asking":
                await asyncio.sleep(0)
            elif when == "connecting":
                await world.asked(1)
            else:
                await world.clients.get()

        play(scene)
        play(scene, denies=when != "beginning")


class TestWithout:
    def test_a_registry_without_push_is_found_out_once_and_asked_again_on_another_network(self) -> None:
        async def scene(world: Scene) -> None:
            world.follow(BOB, SELF)
            await world.asked(1)
            assert await world.rests()
            world.follow(BOB, SELF, CAROL)
            assert await world.rests()
            assert len(world.registry.requests) == 1
            world.sessions.network_changed()
            await world.asked(2)
            assert world.events == []
            assert world.clients.empty()

        play(scene, denies=True)

    def test_and_after_an_hour(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reconnect, "NO_PUSH", 0.05)

        async def scene(world: Scene) -> None:
            world.follow(BOB, SELF)
            await world.asked(3)

        play(scene, denies=True)

    def test_one_that_refuses_or_is_silent_for_a_moment_is_asked_again_soon(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reconnect, "MOST", 0.01)

        async def scene(world: Scene) -> None:
            world.follow(BOB, SELF)
            await world.asked(3)

        play(scene, denies=True, rcode=dns.rcode.SERVFAIL)

    def test_a_server_that_speaks_no_dso_is_left_alone(self) -> None:
        async def scene(world: Scene) -> None:
            world.follow(BOB, SELF)
            client = await world.clients.get()
            first = await client.hears()
            client.says(dso.response(first.identifier, dso.NOTIMP))
            assert await client.ended()
            world.sessions.network_changed()
            assert await world.rests()
            assert world.events == []
            assert len(world.registry.requests) == 1

        play(scene)

    def test_nor_is_one_tried_for_a_third_time_that_closes_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reconnect, "SPREAD", 0.0)

        async def scene(world: Scene) -> None:
            world.resets = True
            world.follow(BOB, SELF)
            for _ in range(2):
                await world.clients.get()
            assert await world.rests()
            assert world.clients.empty()
            assert world.events == []
            world.resets = False
            world.sessions.network_changed()
            await (await world.clients.get()).begins()

        play(scene)

    def test_one_that_closes_before_we_begin_is_one_that_closes_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        opens = module._Registry._open  # noqa: SLF001  # no other way to have the reset come just then

        async def slowly(registry: Any, name_server: Any, port: int) -> Any:
            connection = await opens(registry, name_server, port)
            while not connection._is_over:  # noqa: SLF001, ASYNC110
                await asyncio.sleep(0)
            return connection

        monkeypatch.setattr(module._Registry, "_open", slowly)  # noqa: SLF001
        monkeypatch.setattr(reconnect, "SPREAD", 0.0)

        async def scene(world: Scene) -> None:
            world.resets = True
            world.follow(BOB, SELF)
            for _ in range(2):
                await world.clients.get()
            assert await world.rests()
            assert world.clients.empty()

        play(scene)

    def test_one_that_has_had_a_session_has_push(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reconnect, "SPREAD", 0.0)
        monkeypatch.setattr(reconnect, "SETTLED", 0.0)

        async def scene(world: Scene) -> None:
            world.resets = True
            world.follow(BOB, SELF)
            await world.clients.get()
            world.resets = False
            client = await world.clients.get()
            await client.begins()
            await world.told(SessionChanged)
            world.resets = True
            client.leave()
            await world.clients.get()
            world.resets = False
            await (await world.clients.get()).begins()

        play(scene)

    def test_nobody_to_follow_needs_no_session(self) -> None:
        async def scene(world: Scene) -> None:
            world.follow()
            assert await world.rests()
            assert world.registry.requests == []

        play(scene)

    def test_where_nobody_can_be_asked_nothing_breaks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reconnect, "MOST", 0.001)

        async def scene(world: Scene) -> None:
            nowhere = Server(ip_address("127.0.0.1"), 1, "no-such-device")
            order = Follow((Following("wg0", "/1", (nowhere, world.server), ZONE, frozenset([BOB, SELF])),), True)
            world.sessions.follow(order)
            await (await world.clients.get()).begins()
            assert (await world.told(SessionChanged)).source == str(world.server)

        play(scene)
