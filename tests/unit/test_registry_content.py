# SPDX-License-Identifier: GPL-2.0-or-later
"""When the device is read: for those who wait, one read at a time, and never for nobody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

import pytest

from tests.unit.registry_objects import ALICE, BOB, device
from wgsd_nm.core.errors import NoSuchDevice, ReaderLost
from wgsd_nm.core.model import Device
from wgsd_nm.registry import content as module
from wgsd_nm.registry.content import LARGE, MAX_AGE, MAX_WAITING, SMALL, Content


class World:
    """A clock that stands still and a reader that answers when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.reads: list[asyncio.Future[Device]] = []
        self.taken: list[Device] = []
        self.content = Content("wg0", self._fetch, self.taken.append, clock=lambda: self.now)
        self.told: list[bool] = []

    async def _fetch(self, interface: str) -> Device:
        assert interface == "wg0"
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
        world.content.keep(lambda: False)
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
        assert world.taken == [device(ALICE)]
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


def test_a_device_that_is_slow_to_read_is_read_half_of_the_time_and_nobody_waits() -> None:
    async def story(world: World) -> None:
        world.ask()
        await world.settle()
        world.now += 0.5
        world.reads[0].set_result(device(ALICE))
        await world.settle()
        world.now = 1000.99
        assert world.content.use()
        await world.settle()
        assert len(world.reads) == 1
        world.now = 1001
        for _ in range(2):
            assert world.content.use()
            await world.settle()
        assert len(world.reads) == 2
        world.now = 1001.49
        assert world.content.use()
        world.now = 1001.5
        assert not world.content.use()
        assert not world.content.fresh

    run(story)


@pytest.mark.parametrize(
    ("peers", "lasts"), [(1, MAX_AGE), (SMALL, MAX_AGE), (5500, 1.125), (LARGE, 2.0), (20_000, 2.0)]
)
def test_content_may_be_as_old_as_the_device_is_large(peers: int, lasts: float) -> None:
    async def story(world: World) -> None:
        world.ask()
        await world.settle()
        world.reads[0].set_result(device(*(ALICE,) * peers))
        await world.settle()
        world.now = 1000 + lasts - 0.001
        assert world.content.fresh
        world.now = 1000 + lasts
        assert not world.content.fresh

    run(story)


def test_a_large_device_is_renewed_in_time_if_somebody_asks() -> None:
    async def story(world: World) -> None:
        world.ask()
        await world.settle()
        world.reads[0].set_result(device(*(ALICE,) * LARGE))
        await world.settle()
        world.now = 1000.999
        assert world.content.use()
        await world.settle()
        assert len(world.reads) == 1
        world.now = 1001
        assert world.content.use()
        await world.settle()
        assert len(world.reads) == 2
        world.reads[1].set_result(device(BOB))
        await world.settle()
        assert world.taken[1:] == [device(BOB)]
        assert world.told == [True]

    run(story)


def test_a_renewal_that_hangs_fails_those_who_come_when_what_is_known_is_too_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(world: World) -> None:
        world.ask()
        await world.settle()
        world.reads[0].set_result(device(*(ALICE,) * LARGE))
        await world.settle()
        monkeypatch.setattr(module, "READ_TIMEOUT", 0)
        world.now = 1001
        assert world.content.use()
        overdue = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.001, overdue.set_result, None)
        await overdue
        assert world.content.use()
        world.now = 1002
        assert not await world.content.available()
        world.reads[1].set_result(device(BOB))
        await world.settle()
        assert await world.content.available()

    run(story)


def test_a_failed_renewal_is_nobodys_trouble_while_what_is_known_is_good(caplog: pytest.LogCaptureFixture) -> None:
    async def story(world: World) -> None:
        world.ask()
        await world.settle()
        world.reads[0].set_result(device(*(ALICE,) * LARGE))
        await world.settle()
        world.now = 1001
        assert world.content.use()
        await world.settle()
        world.reads[1].set_exception(NoSuchDevice("there is no network interface wg0"))
        await world.settle()
        assert world.content.use()
        await world.settle()
        assert (len(world.reads), world.content.failures, caplog.messages) == (2, 1, [])
        world.now += MAX_AGE
        assert world.content.use()
        await world.settle()
        world.now = 1002
        world.ask()
        world.reads[2].set_exception(NoSuchDevice("there is no network interface wg0"))
        await world.settle()
        assert world.told == [True, False]
        assert caplog.messages == ["answering SERVFAIL: there is no network interface wg0"]

    run(story)


def test_what_was_read_is_counted() -> None:
    async def story(world: World) -> None:
        content = world.content
        assert (content.reads, content.failures, content.peers, content.age) == (0, 0, 0, None)
        world.ask()
        assert content.waiting == 1
        await world.settle()
        world.now += 0.1
        world.reads[0].set_result(device(ALICE, BOB))
        await world.settle()
        assert (content.reads, content.failures, content.peers, content.waiting) == (1, 0, 2, 0)
        assert content.age == pytest.approx(0.1)
        world.now += 10
        world.ask()
        await world.settle()
        world.reads[1].set_exception(NoSuchDevice("there is no network interface wg0"))
        await world.settle()
        assert (content.reads, content.failures, content.peers) == (2, 1, 2)
        assert content.age == pytest.approx(10.1)  # a failure makes nothing younger

    run(story)


class TestKept:
    """For those who want to hear of each change."""

    @pytest.fixture(autouse=True)
    def at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever is due is due at the time that stands still."""
        monkeypatch.setattr(module, "MAX_AGE", 0.0)

    def test_it_is_read_again_and_again_until_nobody_wants_it(self) -> None:
        async def story(world: World) -> None:
            wanted = True
            world.content.keep(lambda: wanted)
            for number in range(1, 4):
                await world.settle()
                assert len(world.reads) == number  # one at a time
                world.reads[-1].set_result(device(ALICE))
            await world.settle()
            wanted = False
            world.reads[-1].set_result(device(BOB))
            await world.settle()
            assert len(world.reads) == 4
            assert world.taken[-1] == device(BOB)
            wanted = True  # which nobody tells it
            await world.settle()
            assert len(world.reads) == 4
            world.content.keep(lambda: wanted)
            await world.settle()
            assert len(world.reads) == 5

        run(story)

    def test_a_failure_does_not_end_it(self) -> None:
        async def story(world: World) -> None:
            world.content.keep(lambda: len(world.reads) < 3)
            await world.settle()
            for _ in range(2):
                world.reads[-1].set_exception(NoSuchDevice("there is no network interface wg0"))
                await world.settle()
            assert (len(world.reads), world.content.failures) == (3, 2)

        run(story)

    def test_the_last_who_wants_it_is_asked(self) -> None:
        async def story(world: World) -> None:
            world.content.keep(lambda: True)
            world.content.keep(lambda: False)
            await world.settle()
            assert not world.reads

        run(story)


def test_what_is_kept_is_read_when_it_is_due_whoever_asked_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    due: list[float] = []

    async def story(world: World) -> None:
        loop = asyncio.get_running_loop()
        later = loop.call_later

        def call_later(delay: float, callback: Callable[..., object], *arguments: object) -> asyncio.TimerHandle:
            if callback == world.content._renew:  # noqa: SLF001 - when it is to be called is the subject
                due.append(delay)
            return later(delay, callback, *arguments)

        monkeypatch.setattr(loop, "call_later", call_later)
        world.content.keep(lambda: True)
        await world.settle()
        assert due == [0.0]
        world.now += 0.1
        world.reads[0].set_result(device())
        await world.settle()
        assert due[1:] == [pytest.approx(MAX_AGE - 0.1)]
        world.now += MAX_AGE
        world.ask()
        await world.settle()
        assert len(world.reads) == 2
        world.now += 0.05
        world.reads[1].set_result(device())
        await world.settle()
        world.content._renew()  # noqa: SLF001 - the first timer ends
        assert len(world.reads) == 2
        assert due[2:] == [pytest.approx(MAX_AGE - 0.05)]
        world.now += MAX_AGE
        world.content._renew()  # noqa: SLF001 - and the second
        await world.settle()
        world.now += 0.05
        world.reads[2].set_exception(NoSuchDevice("there is no network interface wg0"))
        await world.settle()
        assert due[3:] == [pytest.approx(MAX_AGE - 0.05)]  # a device that is not there is not asked for all the time

    run(story)


class TestDefects:
    """Nobody waits forever, whatever is wrong with us."""

    def test_one_in_taking_is_told_and_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        async def story(world: World) -> None:
            def take(_: Device) -> None:
                raise KeyError("label")

            taken, world.content.take = world.content.take, take
            for number in range(2):
                world.ask()
                await world.settle()
                world.reads[number].set_result(device())
                await world.settle()
                assert world.told == [False] * (number + 1)
                assert not world.content.fresh
                world.now += MAX_AGE
            (line,) = caplog.messages
            assert line.startswith("answering SERVFAIL: a defect: KeyError: 'label' (test_registry_content.py:")
            assert line.endswith("): report it, with this line")
            assert world.content.failures == 2
            world.content.take = taken
            world.ask()
            await world.settle()
            world.reads[2].set_result(device())
            await world.settle()
            assert world.told == [False, False, True]

        run(story)

    def test_one_in_fetching_is_told(self) -> None:
        async def story(world: World) -> None:
            world.ask()
            await world.settle()
            world.reads[0].set_exception(ZeroDivisionError("x"))
            await world.settle()
            assert world.told == [False]

        run(story)

    def test_a_cancelled_read_is_told(self) -> None:
        async def story(world: World) -> None:
            waiting = asyncio.create_task(world.content.available())
            await world.settle()
            world.reads[0].cancel()
            await world.settle()
            assert waiting.done()
            assert not waiting.result()
            world.ask()
            await world.settle()
            assert len(world.reads) == 2

        run(story)

    def test_one_in_answering_is_not_the_others(self) -> None:
        async def story(world: World) -> None:
            reported: list[object] = []
            asyncio.get_running_loop().set_exception_handler(
                lambda _, context: reported.append(context.get("exception"))
            )
            wrong = ValueError("wrong")

            def told(_: bool) -> None:
                raise wrong

            world.content.wait(told)
            world.ask()
            await world.settle()
            world.reads[0].set_result(device())
            await world.settle()
            assert world.told == [True]
            assert reported == [wrong]

        run(story)


def test_a_read_that_hangs_does_not_keep_the_process() -> None:
    async def play() -> World:
        world = World()
        world.ask()
        await world.settle()
        return world

    world = asyncio.run(asyncio.wait_for(play(), 20))
    assert world.reads[0].cancelled()


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
        world.now += 1
        assert not await world.content.available()
        assert (len(world.reads), world.content.failures) == (1, 1)
        world.reads[0].set_result(device(ALICE))
        await world.settle()
        assert await world.content.available()
        assert len(world.reads) == 1

    run(story)


def test_a_read_fails_once_however_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_TIMEOUT", 0)

    async def story(world: World) -> None:
        assert not await world.content.available()
        world.reads[0].set_exception(NoSuchDevice("there is no network interface wg0"))
        await world.settle()
        assert (world.content.reads, world.content.failures) == (1, 1)
        world.now += MAX_AGE
        assert not await world.content.available()
        assert (world.content.reads, world.content.failures) == (2, 2)

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
