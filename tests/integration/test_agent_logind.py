# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

import pytest

from tests.integration.buses import PrivateBus
from tests.integration.scripted_logind import ScriptedLogind
from wgsd_nm.agent.logind import Logind
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus

DEADLINE = 10.0


class Stage:
    """A scripted logind, not on the bus at first, and an adapter that is not started."""

    def __init__(self, address: str, environment: Mapping[str, str]) -> None:
        self.server = Bus(system=True, address=address)
        self.client = Bus(system=True, address=address)
        self.logind = ScriptedLogind(self.server)
        self.heard: list[str] = []
        self.adapter = Logind(
            self.client,
            lambda: self.hear("wake"),
            lambda active: self.hear("active" if active else "inactive"),
            environment,
        )
        self._news = asyncio.Event()

    def hear(self, word: str) -> None:
        self.heard.append(word)
        self._news.set()

    async def until(self, *words: str) -> None:
        """Exactly these have been heard."""
        try:
            async with asyncio.timeout(DEADLINE):
                while self.heard != list(words):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pytest.fail(f"waited in vain for {words}, heard {self.heard}")

    async def flush(self) -> None:
        """All that logind said before has been heard: what it says next comes behind it."""
        self.logind.prepare_for_sleep(False)
        await self.until(*self.heard, "wake")
        self.heard.pop()


@pytest.fixture
def address() -> Iterator[str]:
    with PrivateBus(system=True, names=[names.LOGIN1]) as bus:
        yield bus.address


def run(address: str, test: Callable[[Stage], Coroutine[Any, Any, None]], session_id: str = "") -> None:
    async def main() -> None:
        stage = Stage(address, {"XDG_SESSION_ID": session_id} if session_id else {})
        await stage.server.connect()
        await stage.client.connect()
        try:
            await test(stage)
        finally:
            await stage.adapter.close()
            await stage.client.close()
            await stage.server.close()

    asyncio.run(main())


def test_a_wake_up(address: str) -> None:
    async def test(stage: Stage) -> None:
        await stage.logind.appear()
        await stage.adapter.start()
        await stage.until("active")
        stage.logind.prepare_for_sleep(True)
        stage.logind.prepare_for_sleep(False)
        await stage.until("active", "wake")

    run(address, test)


def test_without_logind_we_are_active(address: str) -> None:
    async def test(stage: Stage) -> None:
        await stage.adapter.start()
        await stage.until("active")

    run(address, test)


@pytest.mark.parametrize("by", ["environment", "stale environment", "display", "process"])
def test_our_session(address: str, by: str) -> None:
    async def test(stage: Stage) -> None:
        await stage.logind.appear()
        stage.logind.add("7", False)
        stage.logind.add("8", True)
        stage.logind.display = "7" if by in ("display", "stale environment") else "8" if by == "environment" else ""
        stage.logind.of_process = "7" if by == "process" else "8"
        await stage.adapter.start()
        await stage.until("inactive")
        stage.logind.set_active("8", False)
        stage.logind.set_active("7", True)
        await stage.until("inactive", "active")
        stage.logind.set_active("8", True)
        stage.logind.idle("7")
        await stage.flush()
        stage.logind.set_active("7", False)
        await stage.until("inactive", "active", "inactive")

    run(address, test, session_id={"environment": "7", "stale environment": "5"}.get(by, ""))


def test_no_session_counts_as_active_until_one_comes(address: str) -> None:
    async def test(stage: Stage) -> None:
        await stage.logind.appear()
        await stage.adapter.start()
        await stage.until("active")
        stage.logind.display = "7"
        stage.logind.add("7", False)
        await stage.until("active", "inactive")
        stage.logind.add("8", True)
        stage.logind.display = "8"
        stage.logind.remove("7")
        await stage.until("active", "inactive", "active")

    run(address, test)


@pytest.mark.parametrize("before", ["3", ""], ids=["from afar", "none"])
def test_the_display_is_another_session_from_now_on(address: str, before: str) -> None:
    """A session without a seat is active for ever; the one at the screen comes later, and goes by the seat."""

    async def test(stage: Stage) -> None:
        if before:
            stage.logind.add(before, True)
            stage.logind.display = before
        await stage.logind.appear()
        await stage.adapter.start()
        await stage.until("active")
        stage.logind.add("4", True)
        await stage.flush()
        stage.logind.elect("4")
        stage.logind.set_active("4", False)
        await stage.until("active", "inactive")
        stage.logind.set_active("4", True)
        await stage.until("active", "inactive", "active")
        stage.logind.set_active("4", False)
        await stage.until("active", "inactive", "active", "inactive")
        stage.logind.elect(before)
        await stage.until("active", "inactive", "active", "inactive", "active")

    run(address, test)


async def begins_with(stage: Stage, session: str) -> None:
    """The adapter starts while this session is the user's display, and active."""
    stage.logind.add(session, True)
    stage.logind.display = session
    await stage.logind.appear()
    await stage.adapter.start()
    await stage.until("active")


def test_the_session_that_is_left_for_another_of_ours_does_not_count(address: str) -> None:
    """The user at a text console logs in at the screen too: as logind tells of it, and also when it says less."""

    async def test(stage: Stage) -> None:
        await begins_with(stage, "1")
        stage.logind.add("4", True)
        stage.logind.elect("4")
        stage.logind.set_active("1", False)
        await stage.flush()
        stage.logind.set_active("4", False)
        await stage.until("active", "inactive")
        stage.logind.display = "5"
        stage.logind.add("5", True)
        await stage.until("active", "inactive", "active")

    run(address, test)


def test_the_session_of_the_environment_counts_whatever_the_display_is(address: str) -> None:
    async def test(stage: Stage) -> None:
        await begins_with(stage, "7")
        stage.logind.add("8", False)
        stage.logind.elect("8")
        await stage.flush()
        stage.logind.set_active("7", False)
        await stage.until("active", "inactive")

    run(address, test, session_id="7")


def test_a_logind_that_is_started_again(address: str) -> None:
    async def test(stage: Stage) -> None:
        await stage.logind.appear()
        stage.logind.add("7", False)
        stage.logind.display = "7"
        await stage.adapter.start()
        await stage.until("inactive")
        await stage.logind.vanish()
        stage.logind.sessions["7"] = True
        await stage.logind.appear()
        await stage.until("inactive", "active")
        stage.logind.prepare_for_sleep(False)
        await stage.until("inactive", "active", "wake")

    run(address, test)


def test_a_logind_that_comes_later(address: str) -> None:
    async def test(stage: Stage) -> None:
        await stage.adapter.start()
        await stage.until("active")
        assert not stage.adapter.present
        stage.logind.add("7", False)
        stage.logind.display = "7"
        await stage.logind.appear()
        await stage.until("active", "inactive")
        assert stage.adapter.present

    run(address, test)
