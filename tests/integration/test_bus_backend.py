# SPDX-License-Identifier: GPL-2.0-or-later
"""Each defect of dbus-next that would harm a daemon, met on purpose: on a real bus, and on one that misbehaves."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.buses import PrivateBus
from tests.integration.fake_bus import BUS, Client, error, fake_bus, message, signal
from tests.integration.waiting import Recorder, run
from wgsd_nm.bus import backend
from wgsd_nm.bus.backend import Link
from wgsd_nm.bus.marshal import Variant
from wgsd_nm.bus.message import Kind, Message
from wgsd_nm.core.errors import BusLost, InvalidValue


def say(link: Link, signature: str = "", *values: object, to: str | None = None) -> None:
    """Sends the signal a.B.C."""
    link.send(Kind.SIGNAL, signature, values, destination=to, path="/a", interface="a.B", member="C")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # no Path for each of them


@asynccontextmanager
async def linked(address: str) -> AsyncIterator[tuple[Link, Recorder[Message]]]:
    """A connection, and the messages that come in on it."""
    received: Recorder[Message] = Recorder()
    link = await Link.open(address, received)
    try:
        yield link, received
    finally:
        link.close()


async def refused(address: str) -> str:
    """Why there is no connection."""
    with pytest.raises(BusLost) as caught:
        await Link.open(address, lambda _: None)
    return str(caught.value)


def from_us(seen: list[Message]) -> list[Message]:
    return [each for each in seen if each.interface == "a.B"]


def test_a_burst_into_a_bus_that_hangs_arrives_whole(session_bus: PrivateBus) -> None:
    """The socket's buffer is full (EAGAIN) after some hundred messages."""

    async def main() -> None:
        async with linked(session_bus.address) as (link, received):
            session_bus.pause()
            for number in range(5000):
                say(link, "u", number, to=link.name)
            await asyncio.sleep(0)  # the writer's turn
            session_bus.resume()
            await received.until(lambda seen: len(from_us(seen)) == 5000)
            assert [each.body() for each in from_us(received.seen)] == [[number] for number in range(5000)]

    run(main())


def test_a_bus_that_reads_nothing_is_given_up(session_bus: PrivateBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise everything that is sent piles up in our memory."""
    monkeypatch.setattr(backend, "MAX_UNSENT", 1 << 20)

    async def main() -> None:
        async with linked(session_bus.address) as (link, _):
            session_bus.pause()
            body = "x" * (1 << 16)
            sent = 0
            with pytest.raises(BusLost):  # noqa: PT012  # which one of them is not known
                while True:
                    say(link, "s", body, to=link.name)
                    sent += 1
            assert link.ended.done()
            assert 16 <= sent <= 18

    try:
        run(main())
    finally:
        session_bus.resume()


def test_drain_returns_when_all_is_sent(session_bus: PrivateBus) -> None:
    async def main() -> None:
        async with (
            linked(session_bus.address) as (receiver, received),
            linked(session_bus.address) as (sender, _),
        ):
            for number in range(2000):
                say(sender, "u", number, to=receiver.name)
            await sender.drain()
            sender.close()
            await sender.drain()
            await received.until(lambda seen: len(from_us(seen)) == 2000)

    run(main())


def test_drain_ends_with_the_connection(session_bus: PrivateBus) -> None:
    async def main() -> None:
        async with linked(session_bus.address) as (link, _):
            session_bus.pause()
            for _ in range(1000):
                say(link, "s", "x" * 1000, to=link.name)
            draining = asyncio.ensure_future(link.drain())
            await asyncio.sleep(0)
            assert not draining.done()
            session_bus.stop()
            await draining
            assert link.ended.done()

    run(main())


async def hang_up(_client: Client) -> None:
    """At once."""


async def hang_up_when_asked(client: Client) -> None:
    await client.reader.readline()


async def hang_up_within_the_answer(client: Client) -> None:
    await client.reader.readline()
    client.writer.write(b"OK 0123")


async def hang_up_after_hello(client: Client) -> None:
    await client.authenticate()
    await client.receive()


async def reject(client: Client) -> None:
    await client.reader.readline()
    client.writer.write(b"REJECTED EXTERNAL\r\n")
    await client.reader.read()


async def babble(client: Client) -> None:
    await client.reader.readline()
    client.writer.write(b"WHO?\r\n")
    await client.reader.read()


async def never_end(client: Client) -> None:
    await client.reader.readline()
    while True:
        client.writer.write(b"x" * 4096)
        await client.writer.drain()


async def refuse_hello(client: Client) -> None:
    await client.authenticate()
    client.writer.write(error(await client.receive(), "a.B.Full", "there is no room"))
    await client.reader.read()


async def speak_nonsense(client: Client) -> None:
    await client.authenticate()
    client.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await client.reader.read()


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (hang_up, ""),
        (hang_up_when_asked, "hung up"),
        (hang_up_within_the_answer, "hung up"),
        (hang_up_after_hello, "closed the connection"),
        (reject, "REJECTED"),
        (babble, "WHO?"),
        (never_end, "endless line"),
        (refuse_hello, "a.B.Full"),
        (speak_nonsense, "where a message begins"),
    ],
)
def test_a_bus_that_does_not_let_us_in(script: Any, text: str) -> None:
    """dbus-next froze for ever in the first three, and took the error for its name in `refuse_hello`."""

    async def main() -> None:
        async with fake_bus(script) as address:
            before = open_files()
            assert text in await refused(address)
            assert open_files() <= before + 1  # the fake bus' end may be open still

    run(main())


def test_a_bus_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "CONNECT_TIMEOUT", 0.05)

    async def say_nothing(client: Client) -> None:
        await client.reader.read()

    async def main() -> None:
        async with fake_bus(say_nothing) as address:
            assert "did not answer within" in await refused(address)

    run(main())


def test_a_bus_that_is_full() -> None:
    async def main(address: str) -> None:
        async with linked(address):
            assert "LimitsExceeded" in await refused(address)

    with PrivateBus(limits={"max_completed_connections": 1}) as bus:
        run(main(bus.address))


def test_a_bus_that_does_not_accept_is_not_waited_for() -> None:
    """dbus-next connects with a blocking socket."""

    async def main() -> None:
        with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(Path(directory, "socket")))
            listening.listen(0)
            others = []
            try:
                while True:
                    other = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                    others.append(other)
                    other.connect(str(Path(directory, "socket")))
            except BlockingIOError:
                pass
            before = open_files()
            await refused(f"unix:path={directory}/socket")
            assert open_files() == before
            for other in others:
                other.close()

    run(main())


@pytest.mark.parametrize("address", ["unix:path=/nonexistent/bus", "tcp:host=localhost,port=1", "nonsense", "unix:x"])
def test_addresses_without_a_bus(address: str) -> None:
    assert address in run(refused(address))


def test_the_first_address_that_answers(session_bus: PrivateBus) -> None:
    async def main() -> None:
        async with linked(f"unix:path=/nonexistent/bus;{session_bus.address}") as (link, _):
            assert link.name.startswith(":1.")

    run(main())


def test_what_strangers_may_send_does_no_harm() -> None:
    """dbus-daemon filters these out; dbus-broker passes unknown header fields on."""

    async def script(client: Client) -> None:
        await client.welcome()
        fields = [(1, Variant("o", "/a")), (2, Variant("s", "a.B")), (3, Variant("s", "C"))]
        client.writer.write(message(Kind.SIGNAL, [*fields, (77, Variant("s", "new"))], "u", 1))
        client.writer.write(message(Kind.SIGNAL, [*fields, (7, Variant("s", "..not a name"))], "u", 2))
        client.writer.write(message(Kind.SIGNAL, [(1, Variant("u", 5)), *fields[1:]], "u", 3))
        client.writer.write(message(9, fields, "u", 4))
        client.writer.write(message(Kind.SIGNAL, [*fields, (8, Variant("g", "s"))]) + signal(BUS, "/a", "a.B", "C"))
        await client.reader.read()

    async def main() -> None:
        async with fake_bus(script) as address, linked(address) as (link, received):
            await received.until(lambda seen: any(each.sender == BUS and each.interface == "a.B" for each in seen))
            assert [each.body() for each in from_us(received.seen) if each.signature == "u"] == [[1], [2]]
            assert not link.ended.done()

    run(main())


def test_a_flood_lets_the_event_loop_have_its_turn() -> None:
    """dbus-next reads until there is nothing left to read."""
    one = signal(BUS, "/a", "a.B", "C")

    async def script(client: Client) -> None:
        await client.welcome()
        client.writer.write(one * 5000)
        await client.reader.read()

    async def main() -> None:
        turn = 0
        turns: list[int] = []
        done = asyncio.Event()

        def receive(_: Message) -> None:
            turns.append(turn)
            if len(turns) == 5000:
                done.set()

        async def count() -> None:
            nonlocal turn
            while not done.is_set():
                turn += 1
                await asyncio.sleep(0)

        async with fake_bus(script) as address:
            link = await Link.open(address, receive)
            await count()
            link.close()
            assert max(turns.count(each) for each in set(turns)) < 1000

    run(main())


def test_nobody_can_exhaust_our_file_descriptors(session_bus: PrivateBus) -> None:
    """Any local user may send us signals with some, on the system bus too."""
    from dbus_next.aio.message_bus import MessageBus  # made importable by backend
    from dbus_next.constants import MessageType
    from dbus_next.message import Message as LibraryMessage

    async def main() -> None:
        async with linked(session_bus.address) as (link, received):
            sender: Any = await MessageBus(session_bus.address, negotiate_unix_fd=True).connect()
            with Path("/dev/null").open() as null:  # noqa: ASYNC230  # it does not block
                before = open_files()
                for number in range(50):
                    await sender.send(
                        LibraryMessage(
                            message_type=MessageType.SIGNAL,
                            destination=link.name,
                            unix_fds=[null.fileno()] if number < 49 else [],
                            signature="h" if number < 49 else "",
                            body=[0] if number < 49 else [],
                            path="/a",
                            interface="a.B",
                            member="C",
                        )
                    )
                await received.until(lambda seen: any(each.signature == "" for each in from_us(seen)))
                assert open_files() == before
            sender.disconnect()
            for closable in (sender._stream, sender._sock):  # noqa: SLF001  # the library leaves them open
                closable.close()

    run(main())


def test_a_nul_is_caught_before_the_bus_sees_it(session_bus: PrivateBus) -> None:
    """The bus would disconnect us."""

    async def main() -> None:
        async with linked(session_bus.address) as (link, received):
            with pytest.raises(InvalidValue):
                say(link, "s", "a\0b")
            say(link, "s", "a", to=link.name)
            await received.until(lambda seen: bool(from_us(seen)))

    run(main())


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": "no/slash"},
        {"interface": "nodot"},
        {"member": "a-b"},
        {"destination": "..", "path": "/a"},
        {"path": "/a\0"},
        {"path": "/a\n"},
        {"member": "C\n"},
        {"interface": "a.B\n"},
        {"destination": "a.B\n"},
        {"destination": ":1.1\n"},
        {"destination": "x." + "x" * 254},
    ],
)
def test_wrong_names_are_caught_before_the_bus_sees_them(session_bus: PrivateBus, wrong: dict[str, str]) -> None:
    given: dict[str, Any] = {"path": "/a", "interface": "a.B", "member": "C"}

    async def main() -> None:
        async with linked(session_bus.address) as (link, received):
            with pytest.raises(InvalidValue):
                link.send(Kind.SIGNAL, **(given | wrong))
            say(link, to=link.name)
            await received.until(lambda seen: bool(from_us(seen)))

    run(main())


def test_nothing_is_sent_after_the_end(session_bus: PrivateBus) -> None:
    """dbus-next takes the call and never answers it."""

    async def main() -> None:
        async with linked(session_bus.address) as (link, _):
            session_bus.stop()
            await link.ended
            with pytest.raises(BusLost):
                say(link)

    run(main())


def test_no_connection_leaves_a_file_descriptor_behind(session_bus: PrivateBus) -> None:
    """Even while somebody holds on to the object."""

    async def main() -> None:
        before = open_files()
        kept = []
        for number in range(10):
            link = await Link.open(session_bus.address, lambda _: None)
            kept.append(link)
            if number % 2:
                link.close()
            else:
                session_bus.stop()
                session_bus.start()
            await link.ended
        assert open_files() == before
        assert len(kept) == 10

    run(main())
