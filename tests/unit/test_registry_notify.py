# SPDX-License-Identifier: GPL-2.0-or-later
"""NOTIFY: each new serial is told until it is acknowledged. The secondary is a script behind a socket on loopback."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.tsig
import pytest
from dns.rcode import NOERROR, NOTAUTH, REFUSED, Rcode
from dns.rdatatype import SOA

from tests.unit.registry_objects import PEERS, zone_of
from wgsd_nm.core.model import Endpoint
from wgsd_nm.registry import notify
from wgsd_nm.registry.config import Secondary
from wgsd_nm.registry.notify import INTERVAL, Notifier
from wgsd_nm.registry.signing import Keyring
from wgsd_nm.registry.zone import Zone

KEY = dns.tsig.Key("a.key.", "A" * 43 + "=")
KEYS = Keyring({KEY.name: KEY})
DEADLINE = 20.0
"""Seconds after which what a test waits for has failed to come."""
NOW = 1_790_000_000


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is repeated because this machine is slow."""
    monkeypatch.setattr(notify, "FIRST_LIMIT", 2 * DEADLINE)


@pytest.fixture
def _haste(_patience: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not answered is soon repeated."""
    for name, seconds in (("FIRST_LIMIT", 0.01), ("PATIENCE", 0.02), ("MAX_LIMIT", 0.04)):
        monkeypatch.setattr(notify, name, seconds)


def run(test: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(DEADLINE):
            await test

    asyncio.run(limited())


class Pace:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._asked = asyncio.Event()
        self._turn = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        self._asked.set()
        await self._turn.acquire()

    async def until_asked(self, times: int) -> None:
        while len(self.asked) < times:
            self._asked.clear()
            await self._asked.wait()

    def pass_(self) -> None:
        self._turn.release()


class Freshness:
    """A content that is fresh, or not to be had."""

    def __init__(self) -> None:
        self.there = True

    async def available(self) -> bool:
        return self.there


class Server:
    """A secondary's socket. What is sent to it is to be taken with `told()` and answered with `reply()`."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))
        self.endpoint = Endpoint.parse(f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}")
        self.client: Any = None

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    async def octets(self) -> bytes:
        wire, self.client = await asyncio.get_running_loop().sock_recvfrom(self.socket, 4096)
        return wire

    async def told(self) -> dns.message.Message:
        return dns.message.from_wire(await self.octets(), keyring={KEY.name: KEY})

    def send(self, wire: bytes) -> None:
        self.socket.sendto(wire, self.client)

    def acknowledge(self, message: dns.message.Message, rcode: Rcode = NOERROR) -> None:
        reply = dns.message.make_response(message)
        reply.set_rcode(rcode)
        self.send(reply.to_wire())

    async def acknowledged(self) -> int:
        """The serial of the next message, which is acknowledged."""
        message = await self.told()
        self.acknowledge(message)
        return int(message.answer[0][0].serial)

    def silent(self) -> bool:
        """Whether nothing has come."""
        try:
            return not self.socket.recv(4096, socket.MSG_PEEK)
        except BlockingIOError:
            return True


class Told(list[bool]):
    """What a Notifier reports."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def __call__(self, acknowledged: bool) -> None:
        self.append(acknowledged)
        self._changed.set()

    async def until(self, enough: Callable[[list[bool]], object]) -> None:
        while not enough(self):
            self._changed.clear()
            await self._changed.wait()


Reply = Callable[[Server, dns.message.Message], None]


async def comes_through(server: Server, told: Told, reply: Reply | None = None) -> int:
    """The serial that was acknowledged first; before each acknowledgement goes this reply."""
    serials: list[int] = []

    async def acknowledge() -> None:
        while True:
            message = await server.told()
            if reply is not None:
                reply(server, message)
            server.acknowledge(message)
            serials.append(int(message.answer[0][0].serial))

    acknowledging = asyncio.create_task(acknowledge())
    await told.until(lambda seen: any(seen))
    acknowledging.cancel()
    await asyncio.wait((acknowledging,))
    return serials[-1]


@asynccontextmanager
async def notifying(
    zone: Zone, *servers: Server, key: dns.tsig.Key | None = None, **options: Any
) -> AsyncIterator[tuple[Pace, Told]]:
    pace, told = Pace(), Told()
    content = options.pop("content", Freshness())
    secondaries = [Secondary(server.endpoint, None if key is None else key.name) for server in servers]
    notifier = Notifier(zone, content, secondaries, KEYS, sleep=pace, told=told, **options)
    running = asyncio.create_task(notifier.run())
    try:
        yield pace, told
        assert not running.done() or running.exception() is None
    finally:
        running.cancel()
        await asyncio.wait((running,))
        for server in servers:
            server.socket.close()


def change(zone: Zone) -> int:
    """The new serial."""
    zone.update(PEERS[: zone.serial % 2 + 1], zone.serial + 1)
    return zone.serial


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("key", [None, KEY])
def test_a_message_has_what_rfc_1996_wants(host: str, key: dns.tsig.Key | None) -> None:
    async def test() -> None:
        zone, server = zone_of(*PEERS), Server(host)
        async with notifying(zone, server, key=key) as (_, told):
            message = await server.told()
            assert message.had_tsig == (key is not None)
            assert message.opcode() == dns.opcode.NOTIFY
            assert dns.flags.to_text(message.flags & 0x87FF) == "AA"
            (question,) = message.question
            assert (question.name, question.rdtype, question.rdclass) == (zone.name, SOA, 1)
            (soa,) = message.answer
            assert (soa.name, soa.rdtype, soa[0].serial) == (zone.name, SOA, zone.serial)
            assert not message.authority
            assert not message.additional
            server.acknowledge(message)
            await told.until(lambda seen: seen == [True])

    run(test())


def test_each_new_serial_is_told_once_and_to_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def test() -> None:
        zone, servers = zone_of(*PEERS), [Server(), Server()]
        async with notifying(zone, *servers) as (pace, told):
            for _ in range(3):
                for server in servers:
                    assert await server.acknowledged() == zone.serial
                await told.until(lambda seen: seen and len(seen) % len(servers) == 0)
                pace.pass_()  # nothing is new
                change(zone)
                pace.pass_()
            assert all(told)
        assert set(pace.asked) == {INTERVAL}
        assert not caplog.messages

    run(test())


def test_identifiers_cannot_be_guessed() -> None:
    async def test() -> None:
        zone, server, seen = zone_of(*PEERS), Server(), set()
        async with notifying(zone, server) as (pace, _):
            for _ in range(8):
                message = await server.told()
                seen.add((message.id, server.client[1]))
                server.acknowledge(message)
                change(zone)
                pace.pass_()
        assert len({number for number, _ in seen}) > 4
        assert len({port for _, port in seen}) > 4

    run(test())


def test_nothing_is_told_before_there_is_content() -> None:
    async def test() -> None:
        zone, server, content = zone_of(), Server(), Freshness()
        content.there = False
        async with notifying(zone, server, content=content) as (pace, told):
            for _ in range(3):
                pace.pass_()
            await pace.until_asked(4)
            assert server.silent()
            assert not told
            content.there = True
            pace.pass_()
            assert await server.acknowledged() == zone.serial

    run(test())


@pytest.mark.usefixtures("_haste")
def test_a_message_is_repeated_until_it_is_acknowledged_and_has_the_newest_serial() -> None:
    async def test() -> None:
        zone, server = zone_of(*PEERS), Server()
        async with notifying(zone, server) as (pace, told):
            first = await server.told()
            again = await server.told()
            assert again.answer == first.answer
            newest = change(zone)
            pace.pass_()
            while (await server.told()).answer[0][0].serial != newest:
                pass
            assert not any(told)
            assert await comes_through(server, told) == newest

    run(test())


def other_id(server: Server, message: dns.message.Message) -> None:
    reply = dns.message.make_response(message)
    reply.id ^= 1
    server.send(reply.to_wire())


def a_query(server: Server, message: dns.message.Message) -> None:
    reply = dns.message.make_response(message)
    reply.flags &= ~dns.flags.QR
    server.send(reply.to_wire())


def other_opcode(server: Server, message: dns.message.Message) -> None:
    reply = dns.message.make_response(message)
    reply.set_opcode(dns.opcode.QUERY)
    server.send(reply.to_wire())


def refused(server: Server, message: dns.message.Message) -> None:
    server.acknowledge(message, REFUSED)


def octets(server: Server, message: dns.message.Message) -> None:
    for length in (0, 1, 3, 11):
        server.send(dns.message.make_response(message).to_wire()[:length])


def cut_off(server: Server, message: dns.message.Message) -> None:
    server.send(dns.message.make_response(message).to_wire()[:-1])


def another_sender(server: Server, message: dns.message.Message) -> None:
    with Server().socket as other:
        other.sendto(dns.message.make_response(message).to_wire(), server.client)


@pytest.mark.usefixtures("_haste")
@pytest.mark.parametrize("reply", [other_id, a_query, other_opcode, refused, octets, another_sender])
def test_what_is_no_acknowledgement_is_not_taken_for_one(reply: Reply) -> None:
    async def test() -> None:
        zone, server = zone_of(*PEERS), Server()
        async with notifying(zone, server) as (_, told):
            reply(server, await server.told())
            await told.until(lambda seen: seen)
            assert told == [False]
            await comes_through(server, told, reply)

    run(test())


def unsigned(server: Server, message: dns.message.Message) -> None:
    reply = dns.message.make_response(message)
    reply.tsig = None
    server.send(reply.to_wire())


def signed_with_another(server: Server, message: dns.message.Message) -> None:
    reply = dns.message.make_response(message)
    reply.use_tsig(dns.tsig.Key("a.key.", "B" * 44))
    reply.request_mac = message.mac or b""
    server.send(reply.to_wire())


def signed_for_another(server: Server, message: dns.message.Message) -> None:
    reply = dns.message.make_response(message)
    reply.request_mac = bytes(32)
    server.send(reply.to_wire())


@pytest.mark.usefixtures("_haste")
@pytest.mark.parametrize("reply", [unsigned, signed_with_another, signed_for_another, octets, cut_off])
def test_an_acknowledgement_has_to_be_signed_where_there_is_a_key(reply: Reply) -> None:
    async def test() -> None:
        zone, server = zone_of(*PEERS), Server()
        async with notifying(zone, server, key=KEY) as (_, told):
            reply(server, await server.told())
            await told.until(lambda seen: seen)
            assert told == [False]
            await comes_through(server, told)

    run(test())


@pytest.mark.usefixtures("_haste")
def test_a_secondary_that_comes_back_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        zone, server = zone_of(*PEERS), Server()
        async with notifying(zone, server) as (pace, told):
            assert await comes_through(server, told) == zone.serial
            caplog.clear()
            told.clear()
            port = server.port
            server.socket.close()  # the kernel answers that nobody is there
            serial = change(zone)
            pace.pass_()
            await told.until(lambda seen: len(seen) == 6)
            assert not any(told)
            server.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            server.socket.setblocking(False)
            server.socket.bind(("127.0.0.1", port))
            assert await comes_through(server, told) == serial
        assert caplog.messages == [
            f"secondary {server.endpoint} of wg.example.com: notifications are not answered; trying on",
            f"secondary {server.endpoint} of wg.example.com is told of changes again",
        ]

    caplog.set_level(logging.INFO)
    run(test())


@pytest.mark.parametrize(
    ("key", "rcode", "text"),
    [
        (None, REFUSED, "notifications without a key are not accepted (REFUSED)"),
        (KEY, NOTAUTH, "notifications signed with the key a.key are not accepted (NOTAUTH)"),
    ],
)
def test_a_refusal_is_named_once(
    key: dns.tsig.Key | None,
    rcode: Rcode,
    text: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("FIRST_LIMIT", "PATIENCE", "MAX_LIMIT"):
        monkeypatch.setattr(notify, name, 0.5)

    async def test() -> None:
        zone, server = zone_of(*PEERS), Server()
        async with notifying(zone, server, key=key) as (_, told):
            while len(told) < 2:
                server.acknowledge(await server.told(), rcode)
        assert caplog.messages == [f"secondary {server.endpoint} of wg.example.com: {text}; trying on"]

    run(test())


@pytest.mark.usefixtures("_haste")
def test_an_address_that_cannot_be_reached_is_tried_at_the_same_pace() -> None:
    async def test() -> None:
        zone, server = zone_of(*PEERS), Server()
        server.endpoint = Endpoint.parse("255.255.255.255:53")  # which needs SO_BROADCAST
        async with notifying(zone, server) as (pace, told):
            for _ in range(5):
                await pace.until_asked(2)
                pace.pass_()
                pace.pass_()
                await told.until(lambda seen: seen)
                told.clear()
                pace.asked.remove(INTERVAL)

    run(test())


def test_the_registry_speaks_from_its_own_address_if_it_can() -> None:
    async def test() -> None:
        sources = [Endpoint.parse(text).address for text in ("[::1]:1", "192.0.2.53:1", "127.0.0.53:1", "127.0.0.54:1")]
        zone, server = zone_of(*PEERS), Server()
        async with notifying(zone, server, sources=sources):
            await server.acknowledged()
            assert server.client[0] == "127.0.0.53"

    run(test())


def test_the_pace_slows_down_and_starts_anew(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    limits: list[float] = []

    class Messenger:
        about = "secondary"

        def __init__(self, *_: object) -> None:
            pass

        async def tell(self, limit: float) -> str:
            limits.append(limit)
            if len(limits) in (9, 11):
                change(zone)
                return ""
            if len(limits) > 11:
                done.set()
                await asyncio.get_running_loop().create_future()
            return "gone"

    done = asyncio.Event()
    monkeypatch.undo()
    monkeypatch.setattr(notify, "_Messenger", Messenger)
    zone = zone_of(*PEERS)

    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    async def test() -> None:
        notifier = Notifier(zone, Freshness(), [Secondary(Endpoint.parse("192.0.2.1:53"))], KEYS, sleep=sleep)
        running = asyncio.create_task(notifier.run())
        await done.wait()
        running.cancel()
        await asyncio.wait((running,))

    run(test())
    assert limits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 0.5, 1, 0.5]
    assert caplog.messages == ["secondary: gone; trying on", "secondary is told of changes again"]


def test_without_secondaries_there_is_nothing_to_do() -> None:
    async def never() -> bool:
        raise AssertionError("the content was asked for")

    content = Freshness()
    content.available = never  # type: ignore[method-assign]
    run(Notifier(zone_of(), content, (), KEYS).run())
