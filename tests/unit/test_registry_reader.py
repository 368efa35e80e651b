# SPDX-License-Identifier: GPL-2.0-or-later
"""Both ends of the socket between server and reader, each against the other and against one that breaks the rules."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable

import pytest

from tests.unit.registry_objects import ALICE, PEERS, device, many
from wgsd_nm.core.errors import DeviceError, InvalidValue, NoSuchDevice, NotPermitted, ReaderLost
from wgsd_nm.core.model import Device
from wgsd_nm.registry import snapshot
from wgsd_nm.registry.link import Link
from wgsd_nm.registry.reader import Reader


class Script:
    """A netlink that says one thing after the other, and counts how often it was opened and closed."""

    def __init__(self, *outcomes: Device | DeviceError) -> None:
        self.outcomes = list(outcomes)
        self.opened = 0
        self.closed = 0

    def connect(self) -> Script:
        self.opened += 1
        return self

    def read(self, interface: str) -> Device:
        assert interface == "wg0"
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, DeviceError):
            raise outcome
        return outcome

    def close(self) -> None:
        self.closed += 1


def talk(script: Script, story: Callable[[Link], Awaitable[None]]) -> None:
    """A story with a reader in a thread, which has to end when the story does."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs:
            Reader("wg0", script.connect).serve(theirs)

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
        assert await link.fetch() == device(*PEERS)
        assert (await link.fetch()).peers == large.peers
        assert await link.fetch() == device(ALICE)
        assert not link.lost.done()

    script = Script(device(*PEERS), large, device(ALICE))
    talk(script, story)
    assert (script.opened, script.closed) == (1, 0)


def test_errors_arrive_and_end_nothing() -> None:
    async def story(link: Link) -> None:
        for kind in (NoSuchDevice, NotPermitted):
            with pytest.raises(kind, match="wg0"):
                await link.fetch()
        assert await link.fetch() == device()

    script = Script(NoSuchDevice("no wg0"), NotPermitted("not wg0"), device())
    talk(script, story)
    assert (script.opened, script.closed) == (1, 0)


def test_a_netlink_socket_that_failed_is_replaced() -> None:
    async def story(link: Link) -> None:
        with pytest.raises(DeviceError, match="netlink"):
            await link.fetch()
        assert await link.fetch() == device()

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
            await link.fetch()
        assert await link.fetch() == device()

    talk(Missing(device()), story)


@pytest.mark.parametrize("octets", [b"\x09\x01\0\0", b"\x01\x07\0\0", b"\x01\x01\0"])
def test_the_reader_ends_where_it_is_not_understood(octets: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(octets)
        ours.shutdown(socket.SHUT_WR)
        with pytest.raises(InvalidValue):
            Reader("wg0", Script().connect).serve(theirs)


WHOLE = snapshot.reply(1, device(ALICE))


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"", "has ended"),
        (WHOLE[:30], "has ended"),
        (snapshot.reply(2, device(ALICE)), "not of this version"),
        (b"\x02" + WHOLE[1:], "not of this version"),
        (WHOLE[:8] + bytes(len(WHOLE) - 8), "not of this version"),
    ],
)
def test_the_link_is_lost_where_the_reader_breaks_the_rules(reply: bytes, why: str) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            link = await Link.over(ours)
            theirs.sendall(reply)
            asking = asyncio.create_task(link.fetch())
            if "ended" in why:
                theirs.shutdown(socket.SHUT_WR)
            with pytest.raises(ReaderLost, match=why):
                await asyncio.wait_for(asking, 10)
            assert why in str(await link.lost)
            with pytest.raises(ReaderLost, match=why):
                await link.fetch()

    asyncio.run(run())


def test_a_reply_that_came_before_is_not_taken_again() -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            link = await Link.over(ours)
            for wanted in (device(ALICE), None):
                theirs.sendall(WHOLE)
                if wanted:
                    assert await link.fetch() == wanted
                else:
                    with pytest.raises(ReaderLost, match="not of this version"):
                        await link.fetch()

    asyncio.run(run())
