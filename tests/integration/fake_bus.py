# SPDX-License-Identifier: GPL-2.0-or-later
"""A bus that says exactly what a test wants it to say. The real one is in buses.py; this is for its misbehaviour."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from wgsd_nm.bus.marshal import Variant, marshal
from wgsd_nm.bus.message import Kind, Message, Splitter

BUS = "org.freedesktop.DBus"
OUR_NAME = ":1.7"

Script = Callable[["Client"], Awaitable[None]]


class Client:
    """Who has connected to the fake bus."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._splitter = Splitter()
        self._received: list[Message] = []

    async def authenticate(self) -> None:
        """As a bus does (D-Bus Specification, "Authentication Protocol")."""
        assert (await self.reader.readline()).startswith(b"\0AUTH EXTERNAL ")
        self.writer.write(b"OK 0123456789abcdef0123456789abcdef\r\n")
        assert await self.reader.readline() == b"BEGIN\r\n"

    async def welcome(self) -> None:
        """Authenticates, and answers Hello."""
        await self.authenticate()
        hello = await self.receive()
        assert hello.member == "Hello"
        self.writer.write(reply(hello, "s", OUR_NAME))

    async def receive(self) -> Message:
        """The next message of the client."""
        while not self._received:
            octets = await self.reader.read(4096)
            if not octets:
                raise EOFError
            for message in self._splitter.feed(octets):
                assert isinstance(message, Message)
                self._received.append(message)
        return self._received.pop(0)

    def agree(self, call: Message) -> None:
        """The reply to a call that nothing depends on."""
        self.writer.write(reply(call, "s", BUS) if call.member == "GetNameOwner" else reply(call, "u", 1))

    async def attend(self) -> None:
        """Says yes to everything until the client hangs up."""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                self.agree(await self.receive())


@contextlib.asynccontextmanager
async def fake_bus(script: Script) -> AsyncIterator[str]:
    """The address of a bus that plays the script to each client, and hangs up at its end."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(Client(reader, writer))
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()

    with tempfile.TemporaryDirectory(prefix="fake-bus-") as directory:
        path = Path(directory, "socket")
        server = await asyncio.start_unix_server(serve, path)
        try:
            yield f"unix:path={path}"
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def message(kind: int, fields: Sequence[tuple[int, Variant]], signature: str = "", *values: object) -> bytes:
    """Any message at all, by its header fields."""
    body = marshal(signature, values)
    every = [*fields, (8, Variant("g", signature))] if signature else list(fields)
    head = marshal("yyyyuua(yv)", (0x6C, kind, 1, 1, len(body), 1, every))
    return head + bytes(-len(head) % 8) + body


def reply(to: Message, signature: str = "", *values: object) -> bytes:
    """A method return of the bus."""
    return message(Kind.REPLY, [(5, Variant("u", to.serial)), (7, Variant("s", BUS))], signature, *values)


def error(to: Message, name: str, text: str) -> bytes:
    """An error reply of the bus."""
    fields = [(4, Variant("s", name)), (5, Variant("u", to.serial)), (7, Variant("s", BUS))]
    return message(Kind.ERROR, fields, "s", text)


def signal(sender: str, path: str, interface: str, member: str, signature: str = "", *values: object) -> bytes:
    """A signal of anybody."""
    fields = [
        (1, Variant("o", path)),
        (2, Variant("s", interface)),
        (3, Variant("s", member)),
        (7, Variant("s", sender)),
    ]
    return message(Kind.SIGNAL, fields, signature, *values)


def owner_changed(name: str, before: str, after: str) -> bytes:
    """NameOwnerChanged."""
    return signal(BUS, "/org/freedesktop/DBus", BUS, "NameOwnerChanged", "sss", name, before, after)
