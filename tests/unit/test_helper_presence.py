# SPDX-License-Identifier: GPL-2.0-or-later
"""Who waits for a caller's leaving is told of it, once and soon, and nothing is kept afterwards."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from tests.unit.helper_bus import HelperBus
from wgsd_nm.bus.connection import Bus, Caller
from wgsd_nm.helper.presence import Presence

SOON = 10.0
CALLER = Caller(":1.7", True)


async def waiting(bus: HelperBus, presence: Presence, times: int = 1) -> list[asyncio.Future[None]]:
    """So many wait for the caller, who is there."""
    tasks: list[asyncio.Future[None]] = [asyncio.ensure_future(presence.until_gone(CALLER)) for _ in range(times)]
    await bus.until("NameHasOwner")
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    return tasks


def test_all_who_wait_hear_of_the_leaving() -> None:
    async def main() -> None:
        bus = HelperBus()
        presence = Presence(cast("Bus", bus))
        tasks = await waiting(bus, presence, 3)
        bus.leave(":1.8")
        bus.join(":1.9")
        await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        tasks.pop().cancel()
        bus.leave(":1.7")
        bus.leave(":1.7")
        async with asyncio.timeout(SOON):
            await asyncio.gather(*tasks)

    asyncio.run(main())


def test_one_that_had_left_before_is_not_waited_for() -> None:
    async def main() -> None:
        bus = HelperBus()
        bus.here.clear()
        async with asyncio.timeout(SOON):
            await Presence(cast("Bus", bus)).until_gone(CALLER)

    asyncio.run(main())


def test_there_is_one_match_rule_however_many_are_waited_for() -> None:
    async def main() -> None:
        bus = HelperBus()
        presence = Presence(cast("Bus", bus))
        assert not bus.rules
        tasks = await waiting(bus, presence, 5)
        assert bus.rules == ["NameOwnerChanged"]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not presence._awaited  # noqa: SLF001 - what strangers can make it remember is the subject

    asyncio.run(main())


@pytest.mark.parametrize("leaves", [True, False])
def test_nothing_is_remembered_of_who_was_waited_for(leaves: bool) -> None:
    async def main() -> None:
        bus = HelperBus()
        presence = Presence(cast("Bus", bus))
        (task,) = await waiting(bus, presence)
        if leaves:
            bus.leave(":1.7")
        else:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not presence._awaited  # noqa: SLF001 - as above

    asyncio.run(main())
