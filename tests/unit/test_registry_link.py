# SPDX-License-Identifier: GPL-2.0-or-later
"""The link to the reader, against a reader and against what breaks the rules; and how it outlives readers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.unit.registry_objects import ALICE, BOB, PEERS, device, many
from tests.unit.scripted_netlink import Script
from wgsd_nm.core.errors import DeviceError, NoSuchDevice, NotPermitted, NotWireGuard, ReaderLost
from wgsd_nm.core.model import Device
from wgsd_nm.registry import link as module
from wgsd_nm.registry import snapshot
from wgsd_nm.registry.link import LastingLink, Link
from wgsd_nm.registry.reader import Permitted, Reader


def talk(script: Script, story: Callable[[Link], Awaitable[None]]) -> None:
    """A story with a reader in a thread, which has to end when the story does."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs:
            Reader(Permitted(["wg0", "wg1"]), script.connect).serve(theirs)

    thread = threading.Thread(target=serve)
    thread.start()

    async def run() -> None:
        link = await Link.over(ours)
        try:
            await story(link)
        finally:
            link.close()
            await link.lost

    asyncio.run(run())
    thread.join(10)
    assert not thread.is_alive()


def test_devices_arrive_one_by_one() -> None:
    large = device(*many(3000, "10.0.0.0/24", "fd00::/64"))  # more than any socket buffer takes at once

    async def story(link: Link) -> None:
        assert await link.fetch("wg0") == device(*PEERS)
        assert (await link.fetch("wg0")).peers == large.peers
        assert await link.fetch("wg0") == device(ALICE)
        assert not link.lost.done()

    script = Script(device(*PEERS), large, device(ALICE))
    talk(script, story)
    assert (script.opened, script.closed) == (1, 0)


def test_a_reader_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wgsd_nm.registry.link.ANSWER_TIMEOUT", 0)

    async def story() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            link = await Link.over(ours)
            with pytest.raises(ReaderLost, match="has not answered for 0 s"):
                await link.fetch("wg0")
            assert "has not answered" in str(await link.lost)
            theirs.setblocking(False)
            loop = asyncio.get_running_loop()
            assert await loop.sock_recv(theirs, 100) == snapshot.request(1, "wg0")
            assert await loop.sock_recv(theirs, 1) == b"", "it is to end"

    asyncio.run(story())


def test_a_reader_that_answers_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(link: Link) -> None:
        deadlines: list[asyncio.TimerHandle] = []
        loop = asyncio.get_running_loop()
        call_later = loop.call_later

        def recorded(delay: float, callback: Callable[..., None], *arguments: object) -> asyncio.TimerHandle:
            deadlines.append(call_later(delay, callback, *arguments))
            return deadlines[-1]

        monkeypatch.setattr(loop, "call_later", recorded)
        for number in (1, 2):
            await link.fetch("wg0")
            assert [deadline.cancelled() for deadline in deadlines] == [True] * number

    talk(Script(device(), device()), story)


def test_errors_arrive_and_end_nothing() -> None:
    async def story(link: Link) -> None:
        for kind in (NoSuchDevice, NotWireGuard):
            with pytest.raises(kind, match="wg0"):
                await link.fetch("wg0")
        assert await link.fetch("wg0") == device()

    script = Script(NoSuchDevice("no wg0"), NotWireGuard("not wg0"), device())
    talk(script, story)
    assert (script.opened, script.closed) == (1, 0)


def test_a_netlink_socket_that_failed_is_replaced() -> None:
    async def story(link: Link) -> None:
        with pytest.raises(DeviceError, match="netlink"):
            await link.fetch("wg0")
        assert await link.fetch("wg0") == device()

    script = Script(DeviceError("netlink failed"), device())
    talk(script, story)
    assert (script.opened, script.closed) == (2, 1)


def test_a_kernel_without_wireguard_is_asked_again() -> None:
    class Missing(Script):
        def connect(self) -> Script:
            super().connect()
            if self.opened == 1:
                raise DeviceError("this kernel has no WireGuard")
            return self

    async def story(link: Link) -> None:
        with pytest.raises(DeviceError, match="no WireGuard"):
            await link.fetch("wg0")
        assert await link.fetch("wg0") == device()

    talk(Missing(device()), story)


WHOLE = snapshot.reply(1, device(ALICE))


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"", "has ended"),
        (WHOLE[:30], "has ended"),
        (snapshot.reply(2, device(ALICE)), "not of this version"),
        (b"\x01" + WHOLE[1:], "not of this version"),
        (WHOLE[:8] + bytes(len(WHOLE) - 8), "not of this version"),
    ],
)
def test_the_link_is_lost_where_the_reader_breaks_the_rules(reply: bytes, why: str) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            link = await Link.over(ours)
            theirs.sendall(reply)
            asking = asyncio.create_task(link.fetch("wg0"))
            if "ended" in why:
                theirs.shutdown(socket.SHUT_WR)
            with pytest.raises(ReaderLost, match=why):
                await asyncio.wait_for(asking, 10)
            assert why in str(await link.lost)
            with pytest.raises(ReaderLost, match=why):
                await link.fetch("wg0")

    asyncio.run(run())


def test_a_reply_that_came_before_is_not_taken_again() -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            link = await Link.over(ours)
            for wanted in (device(ALICE), None):
                theirs.sendall(WHOLE)
                if wanted:
                    assert await link.fetch("wg0") == wanted
                else:
                    with pytest.raises(ReaderLost, match="not of this version"):
                        await link.fetch("wg0")

    asyncio.run(run())


def test_whoever_calls_meanwhile_waits_for_his_turn() -> None:
    async def story(link: Link) -> None:
        first, second, third = await asyncio.gather(*(link.fetch(name) for name in ("wg0", "wg1", "wg0")))
        assert [first.peers, second.peers, third.peers] == [(ALICE,), (BOB,), (ALICE,)]
        assert third.peers[0] is first.peers[0]

    script = Script(device(ALICE), device(BOB), device(ALICE))
    talk(script, story)
    assert script.asked == ["wg0", "wg1", "wg0"]


def test_whoever_leaves_takes_nothing_from_the_others() -> None:
    async def story(link: Link) -> None:
        left, stayed = asyncio.create_task(link.fetch("wg0")), asyncio.create_task(link.fetch("wg1"))
        await asyncio.sleep(0)
        left.cancel()
        assert (await stayed).peers == (BOB,)
        assert left.cancelled()

    talk(Script(device(ALICE), device(BOB)), story)


def test_a_reader_without_permission_is_as_good_as_lost() -> None:
    async def story(link: Link) -> None:
        for _ in range(2):
            with pytest.raises(NotPermitted, match="not wg0"):
                await link.fetch("wg0")
        assert isinstance(link.lost.result(), NotPermitted)

    script = Script(NotPermitted("not wg0"))
    talk(script, story)
    assert len(script.asked) == 1


class Readers:
    """A socket's path at which each connection gets what the next answer says, or is closed where that is None."""

    def __init__(self, path: Path, *answers: Device | DeviceError | None) -> None:
        self.path = path
        self.answers = list(answers)
        self.connections: list[asyncio.StreamWriter] = []
        self._conversations: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async with await asyncio.start_unix_server(self._accept, str(self.path)):
            yield
            self.end()
            await asyncio.gather(*self._conversations)

    def end(self) -> None:
        for writer in self.connections:
            writer.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        self._conversations.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while request := await reader.readexactly(snapshot.REQUEST_LENGTH):
                sequence, _ = snapshot.parse_request(request)
                answer = self.answers.pop(0)
                if answer is None:
                    break
                writer.write(snapshot.reply(sequence, answer))
        writer.close()


def lasting(story: Callable[[LastingLink], Awaitable[None]], readers: Readers) -> None:
    async def run() -> None:
        link = await LastingLink.to(readers.path)
        async with readers.listening():
            await story(link)
            assert not link.lost.done()
            link.close()

    asyncio.run(run())


async def gone(link: LastingLink) -> None:
    """Until the end of the present reader was heard of."""
    assert link.reader is not None
    await asyncio.wait_for(asyncio.shield(link.reader.lost), 10)


def test_a_reader_that_ends_while_nobody_asks_is_not_missed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    readers = Readers(tmp_path / "reader", device(ALICE), device(BOB), device())

    async def story(link: LastingLink) -> None:
        assert await link.fetch("wg0") == device(ALICE)
        readers.end()
        await gone(link)
        assert await link.fetch("wg0") == device(BOB)
        assert await link.fetch("wg0") == device()

    caplog.set_level(logging.INFO)
    lasting(story, readers)
    assert len(readers.connections) == 2
    assert caplog.messages == [
        "the registry's reader has ended: the next query calls another one",
        f"the reader at {readers.path} is back",
    ]


def test_a_query_that_runs_into_the_end_is_asked_of_the_next_reader(tmp_path: Path) -> None:
    async def story(link: LastingLink) -> None:
        assert await link.fetch("wg0") == device(ALICE)
        one, other = await asyncio.gather(link.fetch("wg0"), link.fetch("wg1"))
        assert {one, other} == {device(BOB), device(ALICE)}

    readers = Readers(tmp_path / "reader", device(ALICE), None, device(BOB), device(ALICE))
    lasting(story, readers)
    assert len(readers.connections) == 2


def test_readers_that_end_at_once_are_called_ever_less_often(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    readers = Readers(tmp_path / "reader", *[None] * 7)

    async def story(link: LastingLink) -> None:
        nonlocal now
        for pause in (0.25, 0.5, 1, 2, 4, 5, 5):
            with pytest.raises(ReaderLost, match="the registry's reader has ended"):
                await link.fetch("wg0")
            called = len(readers.connections)
            now += pause - 0.01
            with pytest.raises(ReaderLost, match="the registry's reader has ended"):
                await link.fetch("wg0")
            assert len(readers.connections) == called
            now += 0.02
        readers.answers = [device(ALICE), None, device(BOB)]
        assert await link.fetch("wg0") == device(ALICE)
        assert await link.fetch("wg0") == device(BOB)
        readers.answers = [None, None, device(ALICE)]
        with pytest.raises(ReaderLost):
            await link.fetch("wg0")
        now += module.RETRY_FIRST
        assert await link.fetch("wg0") == device(ALICE)

    async def run() -> None:
        link = LastingLink(readers.path, clock=lambda: now)
        async with readers.listening():
            await story(link)
            link.close()

    asyncio.run(run())
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3


def test_nobody_is_called_any_more_when_it_is_closed(tmp_path: Path) -> None:
    readers = Readers(tmp_path / "reader", device(ALICE), device(ALICE))

    async def story(link: LastingLink) -> None:
        await link.fetch("wg0")
        asking = asyncio.create_task(link.fetch("wg0"))
        await asyncio.sleep(0)
        link.close()
        with pytest.raises(ReaderLost):
            await asking

    lasting(story, readers)
    assert len(readers.connections) == 1


def test_where_nobody_listens_it_is_said_what_to_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        link = await LastingLink.to(tmp_path / "reader")
        for _ in range(2):  # between two tries the reason is the same, or the log would tell them in turns
            with pytest.raises(ReaderLost, match=r"no reader at .*: start wgsd-nm-registry-reader.socket"):
                await link.fetch("wg0")

    asyncio.run(run())
    assert len(caplog.messages) == 1


def test_a_reader_without_permission_may_be_followed_by_one_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(link: LastingLink) -> None:
        with pytest.raises(NotPermitted, match="not wg0"):
            await link.fetch("wg0")
        assert await link.fetch("wg0") == device(ALICE)

    monkeypatch.setattr(module, "RETRY_FIRST", 0.0)
    lasting(story, Readers(tmp_path / "reader", NotPermitted("not wg0"), device(ALICE)))


def test_the_reason_stays_the_same_until_the_next_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(link: LastingLink) -> None:
        for _ in range(2):
            with pytest.raises(NotPermitted, match="not wg0"):
                await link.fetch("wg0")

    monkeypatch.setattr(module, "RETRY_FIRST", 600.0)
    monkeypatch.setattr(module, "RETRY_MOST", 600.0)
    readers = Readers(tmp_path / "reader", NotPermitted("not wg0"))
    lasting(story, readers)
    assert len(readers.connections) == 1
