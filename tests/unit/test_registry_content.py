# SPDX-License-Identifier: GPL-2.0-or-later
"""When the device is read: for those who wait, one read at a time, and never for nobody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

import pytest

from tests.unit.registry_objects import ALICE, BOB, NOW, device
from wgsd_nm.core.dnssd import parse_zone
from wgsd_nm.core.errors import NoSuchDevice, ReaderLost
from wgsd_nm.core.model import Device
from wgsd_nm.registry import content as module
from wgsd_nm.registry.content import MAX_AGE, MAX_WAITING, Content
from wgsd_nm.registry.zone import Zone


class World:
    """A clock that stands still and a reader that answers when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.reads: list[asyncio.Future[Device]] = []
        self.zone = Zone(parse_zone("wg.example.com"))
        self.content = Content(self.zone, self._fetch, clock=lambda: self.now, epoch=lambda: NOW)
        self.told: list[bool] = []

    async def _fetch(self) -> Device:
        self.reads.append(asyncio.get_running_loop().create_future())
        return await self.reads[-1]

    def ask(self) -> None:
        self.content.wait(self.told.append)

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def run(story: Callable[[World], Coroutine[None, None, None]]) -> None:
    async def play() -> None:
        world = World()
        await story(world)
        for read in world.reads:
            if not read.done():
                read.set_result(device())
        await world.settle()

    asyncio.run(play())


def test_the_first_query_waits_for_a_read_and_the_next_do_not() -> None:
    async def story(world: World) -> None:
        assert not world.content.fresh
        world.ask()
        await world.settle()
        assert (len(world.reads), world.told) == (1, [])
        world.reads[0].set_result(device(ALICE))
        await world.settle()
        assert world.told == [True]
        assert world.zone.serial == NOW
        world.ask()
        assert world.told == [True, True]
        assert await world.content.available()
        assert len(world.reads) == 1

    run(story)


def test_all_who_wait_share_one_read() -> None:
    async def story(world: World) -> None:
        for _ in range(100):
            world.ask()
        waiting = asyncio.create_task(world.content.available())
        await world.settle()
        assert len(world.reads) == 1
        world.reads[0].set_result(device())
        assert await waiting
        assert world.told == [True] * 100

    run(story)


def test_age_counts_from_the_beginning_of_the_read_and_nothing_is_read_for_nobody() -> None:
    async def story(world: World) -> None:
        world.ask()
        await world.settle()
        world.now += 0.1
        world.reads[0].set_result(device())
        await world.settle()
        world.now = 1000 + MAX_AGE - 0.001
        assert world.content.fresh
        world.now = 1000 + MAX_AGE
        assert not world.content.fresh
        await world.settle()
        assert len(world.reads) == 1
        world.ask()
        await world.settle()
        assert len(world.reads) == 2

    run(story)


def test_a_device_that_is_slow_to_read_is_read_half_of_the_time() -> None:
    async def story(world: World) -> None:
        world.ask()
        await world.settle()
        world.now += 1
        world.reads[0].set_result(device())
        await world.settle()
        world.now = 1001.9
        assert world.content.fresh
        world.now = 1002
        assert not world.content.fresh

    run(story)


def test_a_failure_is_told_and_logged_once_and_recovered_from(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def story(world: World) -> None:
        for number in range(3):
            world.ask()
            await world.settle()
            world.reads[number].set_exception(NoSuchDevice("there is no network interface wg0"))
            await world.settle()
            world.ask()  # at once: not worth another read
            assert len(world.reads) == number + 1
            world.now += MAX_AGE
        assert world.told == [False] * 6
        assert caplog.messages == ["answering SERVFAIL: there is no network interface wg0"]
        world.ask()
        await world.settle()
        world.reads[3].set_result(device(BOB))
        await world.settle()
        assert world.told[6:] == [True]
        assert caplog.messages[1:] == ["wg0 can be read again"]

    run(story)


def test_a_reader_that_has_ended_is_a_failure() -> None:
    async def story(world: World) -> None:
        world.ask()
        await world.settle()
        world.reads[0].set_exception(ReaderLost("the registry's reader has ended"))
        await world.settle()
        assert world.told == [False]

    run(story)


def test_a_read_that_takes_too_long_fails_those_who_wait_and_its_result_is_still_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "READ_TIMEOUT", 0)

    async def story(world: World) -> None:
        assert not await world.content.available()
        world.now += 100
        assert not await world.content.available()
        assert len(world.reads) == 1
        world.reads[0].set_result(device(ALICE))
        await world.settle()
        assert await world.content.available()
        assert len(world.reads) == 1

    run(story)


def test_no_more_than_a_bounded_number_wait() -> None:
    async def story(world: World) -> None:
        for _ in range(MAX_WAITING + 1):
            world.ask()
        assert world.told == [False]

    run(story)


def test_one_who_left_while_waiting_disturbs_nobody() -> None:
    async def story(world: World) -> None:
        leaving = asyncio.create_task(world.content.available())
        await world.settle()
        world.ask()
        leaving.cancel()
        await world.settle()
        world.reads[0].set_result(device())
        await world.settle()
        assert world.told == [True]

    run(story)
