# SPDX-License-Identifier: GPL-2.0-or-later
"""A signal and a reply that cross each other; against a bus: tests/integration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from wgsd_nm.agent.logind import Logind
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus
from wgsd_nm.core.errors import InvalidValue

SESSION = f"{names.LOGIN1_PATH}/session/_37"


class TimedBus:
    """A bus on which session 7 is ours, and the test says when its property is read."""

    def __init__(self) -> None:
        self.owner: Callable[[str], None] = print
        self.on_changed: Callable[[str, list[Any]], None] = print
        self.reply: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

    async def subscribe(self, handler: Callable[[str, list[Any]], None], **rule: str) -> None:
        if rule.get("arg0") == names.LOGIN1_SESSION:
            self.on_changed = handler

    async def watch_owner(self, _name: str, handler: Callable[[str], None]) -> None:
        self.owner = handler

    async def call(
        self, _to: str, _path: str, _interface: str, member: str, *_: object, **_options: object
    ) -> list[Any]:
        return [SESSION] if member == "GetSession" else await self.reply


def test_a_reply_does_not_undo_a_signal_that_overtook_it() -> None:
    async def main() -> None:
        bus, heard = TimedBus(), list[bool]()
        adapter = Logind(cast(Bus, bus), print, heard.append, {"XDG_SESSION_ID": "7"})
        await adapter.start()
        bus.owner(":1.2")
        for _ in range(5):
            await asyncio.sleep(0)
        bus.reply.set_result([True])
        bus.on_changed(SESSION, [f"{names.LOGIN1}.Session", {"Active": False}, []])
        for _ in range(5):
            await asyncio.sleep(0)
        assert heard == [False]
        await adapter.close()

    asyncio.run(main())


@pytest.mark.parametrize("refused", ["GetUser", "Get"])
def test_a_path_that_is_none_is_no_session(refused: str) -> None:
    """The bus refuses to send a call to it, or one with such a text in it."""

    class Odd(TimedBus):
        async def call(
            self, _to: str, _path: str, _interface: str, member: str, *_: object, **_options: object
        ) -> list[Any]:
            if member == refused:
                raise InvalidValue("cannot be sent")
            return ["no path"]

    async def main() -> None:
        bus, heard = Odd(), list[bool]()
        adapter = Logind(cast(Bus, bus), print, heard.append, {})
        await adapter.start()
        bus.owner(":1.2")
        for _ in range(10):
            await asyncio.sleep(0)
        assert heard == [True]
        await adapter.close()

    asyncio.run(main())
