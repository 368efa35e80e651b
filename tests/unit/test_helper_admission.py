# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls are counted by user, not by connection."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Caller, Interface, Method
from wgsd_nm.core.errors import CallFailed
from wgsd_nm.helper import admission
from wgsd_nm.helper.admission import MAX_CALLS_OF_A_USER, Admission

SOON = 10.0
"""Seconds within which a call that is refused has been refused."""


class Stage:
    """A method that waits, behind the limit. Callers are named after their user: "mallory:1"."""

    def __init__(self) -> None:
        self.users = {"mallory": 1001, "alice": 1000}
        self.asked: list[str] = []
        self.at_work = 0
        self.go_on = asyncio.Event()
        interface = Interface(
            "a.b", {"Wait": Method(self.wait, (("text", "s"),), (("text", "s"),)), "No": Method(self.no)}
        )
        self.told: set[str] = set()
        self.limited = Admission(self.uid_of).limited(interface)

    async def uid_of(self, caller: Caller) -> int:
        self.asked.append(caller.name)
        await asyncio.sleep(0)
        return self.users[caller.name.partition(":")[0]]

    async def wait(self, caller: Caller, text: str) -> Sequence[object]:
        self.told.add(str(caller))
        self.at_work += 1
        await self.go_on.wait()
        self.at_work -= 1
        return [text]

    async def no(self, _: Caller) -> Sequence[object]:
        raise CallFailed("a.b.No", "no")

    def call(self, caller: str, member: str = "Wait", *arguments: object) -> asyncio.Future[Any]:
        handler = self.limited.methods[member].handler
        return asyncio.ensure_future(
            handler(Caller(caller, False), *(arguments or (("x",) if member == "Wait" else ())))
        )

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def refused(call: asyncio.Future[Any]) -> str:
    with pytest.raises(CallFailed) as raised:
        async with asyncio.timeout(SOON):
            await call
    return raised.value.name


def test_a_user_has_so_many_calls_by_however_many_connections() -> None:
    async def main() -> None:
        stage = Stage()
        flood = [stage.call(f"mallory:{number % 7}") for number in range(MAX_CALLS_OF_A_USER)]
        await stage.settle()
        assert stage.at_work == MAX_CALLS_OF_A_USER
        assert await refused(stage.call("mallory:8")) == names.ERROR_LIMITS_EXCEEDED
        assert await refused(stage.call("mallory:1")) == names.ERROR_LIMITS_EXCEEDED
        served = stage.call("alice:1", "Wait", "hello")
        await stage.settle()
        assert stage.at_work == MAX_CALLS_OF_A_USER + 1
        stage.go_on.set()
        assert await served == ["hello"]
        await asyncio.gather(*flood)
        assert await stage.call("mallory:8") == ["x"]
        assert {"user 1000 (alice:1)", "user 1001 (mallory:8)"} <= stage.told

    asyncio.run(main())


def test_a_call_that_failed_or_was_given_up_gives_its_place_back() -> None:
    async def main() -> None:
        stage = Stage()
        for _ in range(MAX_CALLS_OF_A_USER + 1):
            assert await refused(stage.call("mallory:1", "No")) == "a.b.No"
            given_up = stage.call("mallory:1")
            await stage.settle()
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
        stage.go_on.set()
        assert await stage.call("mallory:1") == ["x"]

    asyncio.run(main())


def test_the_bus_is_asked_once_for_a_caller_that_calls_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "REMEMBERED", 2)

    async def main() -> None:
        stage = Stage()
        stage.go_on.set()
        for name in ("alice:1", "alice:2", "alice:1", "alice:3", "alice:1", "alice:2"):
            assert await stage.call(name) == ["x"]
        assert stage.asked == ["alice:1", "alice:2", "alice:3", "alice:2"]

    asyncio.run(main())


def test_a_caller_whose_user_is_not_known_is_refused() -> None:
    async def main() -> None:
        stage = Stage()
        with pytest.raises(KeyError):
            await stage.call("nobody:1")
        assert stage.at_work == 0

    asyncio.run(main())


def test_all_else_of_the_interface_stays() -> None:
    async def main() -> None:
        stage = Stage()
        assert stage.limited.name == "a.b"
        assert stage.limited.methods["Wait"].arguments == (("text", "s"),)
        assert stage.limited.methods["Wait"].results == (("text", "s"),)

    asyncio.run(main())
