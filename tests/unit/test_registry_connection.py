# SPDX-License-Identifier: GPL-2.0-or-later
"""One connection's octets: messages cut out of what comes, and sent in order however slowly they are taken."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgsd_nm.registry.connection import PATIENCE, Connection
from wgsd_nm.registry.sockets import MAX_QUERY

Story = Callable[[Connection, socket.socket], Awaitable[None]]


def play(story: Story, *, buffer: int = 0) -> None:
    """With both ends of a connection; the client's does not block."""

    async def run() -> None:
        ours, theirs = tcp_pair(buffer)
        connection = Connection(ours, "127.0.0.1", 1, "127.0.0.1", is_stranger=False, since=0.0)
        with theirs:
            try:
                await asyncio.wait_for(story(connection, theirs), 20)
            finally:
                connection.close()

    asyncio.run(run())


def tcp_pair(buffer: int) -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.socket()
        if buffer:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        theirs.connect(listening.getsockname())
        ours, _ = listening.accept()
    if buffer:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    for one in (ours, theirs):
        one.setblocking(False)
    return ours, theirs


def fill(ours: socket.socket) -> None:
    """Until the kernel takes no more."""
    try:
        while True:
            ours.send(bytes(10_000))
    except BlockingIOError:
        pass


def framed(*messages: bytes) -> bytes:
    return b"".join(len(one).to_bytes(2) + one for one in messages)


async def exactly(theirs: socket.socket, count: int) -> bytes:
    octets = b""
    while len(octets) < count:
        octets += await asyncio.get_running_loop().sock_recv(theirs, count - len(octets))
    return octets


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.lists(st.integers(1, 1500), max_size=6))
def test_messages_are_cut_out_wherever_they_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    async def story(connection: Connection, theirs: socket.socket) -> None:
        async def say() -> None:
            octets = framed(*messages)
            places = [0, *sorted(cuts), len(octets)]
            for start, end in pairwise(places):
                theirs.send(octets[start:end])
                await asyncio.sleep(0)
            theirs.shutdown(socket.SHUT_WR)

        saying = asyncio.create_task(say())
        assert [await connection.receive(20) for _ in messages] == messages
        assert await connection.receive(20) is None
        await saying

    play(story)


def test_one_that_is_too_long_is_none() -> None:
    async def story(connection: Connection, theirs: socket.socket) -> None:
        theirs.send((MAX_QUERY + 1).to_bytes(2))
        assert await connection.receive(None) is None

    play(story)


def test_silence_has_a_limit() -> None:
    async def story(connection: Connection, _: socket.socket) -> None:
        with pytest.raises(TimeoutError):
            await connection.receive(0.01)

    play(story)


def test_what_is_posted_is_sent_in_order_as_it_is_taken() -> None:
    messages = [bytes((number,)) * 9_000 for number in range(200)]

    async def story(connection: Connection, theirs: socket.socket) -> None:
        for message in messages:
            connection.post(message)
        assert connection.unsent > 1_000_000
        expected = framed(*messages)
        half = await exactly(theirs, len(expected) // 2)
        connection.post(b"last")
        flushed = asyncio.create_task(connection.flushed())
        assert half + await exactly(theirs, len(expected) - len(half) + 6) == expected + framed(b"last")
        await flushed
        assert connection.unsent == 0
        connection.post(b"at once")
        assert connection.unsent == 0
        await connection.flushed()

    play(story, buffer=4096)


def test_what_is_posted_is_not_copied() -> None:
    shared = bytes(1 << 16)[:-1]

    async def story(connection: Connection, _: socket.socket) -> None:
        for _number in range(50):
            connection.post(shared)
        waiting = [part.obj for part in connection._parts if len(part) > 2]  # noqa: SLF001 - what it holds
        assert len(waiting) > 40
        assert all(part is shared for part in waiting)

    play(story, buffer=4096)


def test_one_who_takes_nothing_is_stuck_and_one_who_takes_little_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("wgsd_nm.registry.connection.monotonic", lambda: now)

    async def story(connection: Connection, theirs: socket.socket) -> None:
        nonlocal now
        assert not connection.is_stuck(now + 10 * PATIENCE)
        for _ in range(100):
            connection.post(bytes(10_000))
        assert not connection.is_stuck(now + PATIENCE - 1)
        assert connection.is_stuck(now + PATIENCE)
        now += PATIENCE
        before = connection.unsent
        while connection.unsent == before:
            await asyncio.get_running_loop().sock_recv(theirs, 1 << 16)
        assert not connection.is_stuck(now + PATIENCE - 1)
        with pytest.raises(TimeoutError):
            await connection.flushed(0.01)

    play(story, buffer=4096)


def test_one_for_whom_nothing_waited_has_its_time_from_when_something_does(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("wgsd_nm.registry.connection.monotonic", lambda: now)

    async def story(connection: Connection, theirs: socket.socket) -> None:
        nonlocal now
        connection.post(b"x")
        await exactly(theirs, 3)
        fill(connection.socket)
        now += 10 * PATIENCE
        connection.post(b"x")
        assert connection.unsent
        assert not connection.is_stuck(now + PATIENCE - 1)
        assert connection.is_stuck(now + PATIENCE)

    play(story, buffer=4096)


def test_a_client_that_has_left_is_told_of_and_nothing_waits_for_it() -> None:
    async def story(connection: Connection, theirs: socket.socket) -> None:
        for _ in range(100):
            connection.post(bytes(10_000))
        flushed = asyncio.create_task(connection.flushed())
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, 0))
        theirs.close()
        with pytest.raises(ConnectionError):
            await flushed
        connection.post(b"more")
        assert connection.unsent == 0
        with pytest.raises(ConnectionError):
            await connection.flushed()

    play(story, buffer=4096)


def test_a_reset_is_told_to_the_client() -> None:
    async def story(connection: Connection, theirs: socket.socket) -> None:
        connection.reset()
        connection.close()
        connection.close()
        connection.post(b"nothing")
        with pytest.raises(ConnectionResetError):
            await asyncio.get_running_loop().sock_recv(theirs, 1)

    play(story)


def test_an_end_is_its_conversations() -> None:
    async def story(connection: Connection, _: socket.socket) -> None:
        connection.end()
        connection.task = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
        connection.end()
        with pytest.raises(asyncio.CancelledError):
            await connection.task

    play(story)
