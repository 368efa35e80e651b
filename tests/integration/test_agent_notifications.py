# SPDX-License-Identifier: GPL-2.0-or-later
"""What the desktop is had to show on a real bus, by servers that behave and servers that do not."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.buses import PrivateBus
from tests.integration.desktop import PEERS, Desktop
from tests.integration.scripted_notifications import ScriptedNotifications
from tests.integration.waiting import DEADLINE, Recorder, run
from wgsd_nm.agent import notifications as module
from wgsd_nm.agent.notifications import Notifications
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus
from wgsd_nm.core import notices
from wgsd_nm.core.config import Config, NotificationConfig
from wgsd_nm.core.errors import CallFailed
from wgsd_nm.core.model import PublicKey, State
from wgsd_nm.core.reason import Reason
from wgsd_nm.core.status import AgentStatus
from wgsd_nm.core.troubles import Fact, Subject, View
from wgsd_nm.core.watch import AgentWatch

BOB, CAROL = PublicKey(bytes(32)), PublicKey(bytes(31) + b"\1")
NAMES = {BOB: "bob", CAROL: "carol"}


class Stage:
    """The adapter on a bus, and the facts that it is to hear of."""

    def __init__(self, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.address = address
        self.bus = Bus(system=False, address=address)
        self.again: Recorder[None] = Recorder()
        self.adapter = Notifications(self.bus, lambda: self.again(None))
        self.owners: Recorder[str] = Recorder()
        self._view = View()
        monkeypatch.setattr(notices, "FAILED", 0.0)
        monkeypatch.setattr(notices, "failures", lambda *_: self._view)

    def fails(self, *keys: PublicKey, why: str = "Nothing comes back.") -> None:
        """These peers are not reached, and the agent has told the adapter."""
        facts: dict[Subject, Fact] = {("wg0", key): Fact(Reason.NO_REPLY, NAMES[key], why, "Look") for key in keys}
        self._view = View(facts)
        self.looks()

    def looks(self) -> None:
        config = Config(notifications=NotificationConfig())
        self.adapter.look(AgentWatch(config=config), AgentStatus(State.OK, (), ()))

    async def has_told(self, server: ScriptedNotifications, times: int, *keys: PublicKey) -> None:
        """These peers are not reached, and the server was told that many times by now."""
        self.fails(*keys)
        await server.told.count(times)
        await self.done()

    def due(self) -> float:
        """When time alone has the adapter look again, by the loop's clock."""
        timer = self.adapter._timer  # noqa: SLF001  # an hour is too long to wait for
        assert timer is not None
        return timer.when()

    @asynccontextmanager
    async def server(self, **how: Any) -> AsyncIterator[ScriptedNotifications]:
        """A server, for as long as it lives."""
        capabilities = how.pop("says", ["body"])
        server = ScriptedNotifications(self.address, capabilities)
        await server.appear(**how)
        try:
            yield server
        finally:
            await server.bus.close()

    async def done(self) -> None:
        """The adapter has nothing under way, and has heard all that the bus said before."""
        await self.bus.call(names.DBUS, names.DBUS_PATH, names.DBUS, "GetId")
        tasks = {task for task in asyncio.all_tasks() if "_make_so" in repr(task.get_coro())}
        if tasks:
            await asyncio.wait(tasks)
        await self.bus.call(names.DBUS, names.DBUS_PATH, names.DBUS, "GetId")


@pytest.fixture
def play(
    session_bus: PrivateBus, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[Stage], Coroutine[Any, Any, None]]], None]:
    """Runs a test with a stage, and looks afterwards whether anything of the adapter's is left."""

    def play(test: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
        async def scenario() -> None:
            stage = Stage(session_bus.address, monkeypatch)
            await stage.bus.connect()
            await stage.bus.watch_owner(names.NOTIFICATIONS, stage.owners)
            try:
                await test(stage)
            finally:
                await stage.adapter.close()
                await stage.bus.close()
            left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            assert not left

        run(scenario())

    return play


Play = Callable[[Callable[[Stage], Coroutine[Any, Any, None]]], None]


def test_a_notice_is_shown_and_taken_back_when_it_is_over(play: Play) -> None:
    async def test(stage: Stage) -> None:
        async with stage.server() as server:
            stage.fails(BOB)
            (told,) = await server.told.count(1)
            assert (told.replaces, told.summary) == (0, "Cannot reach bob")
            assert told.body == "Nothing comes back. Look."
            assert told.hints == {
                "desktop-entry": "io.github.wgsd_nm",
                "category": "network.error",
                "urgency": 1,
                "transient": False,
            }
            for _ in range(5):
                stage.looks()
            await stage.done()
            assert len(server.told.seen) == 1
            stage.fails()
            await server.closed.count(1)
            assert server.standing == {}

    play(test)


@pytest.mark.parametrize(
    ("capabilities", "shown"), [(["body"], "<b>&'\""), (["body-markup", "body"], "&lt;b&gt;&amp;&apos;&quot;")]
)
def test_markup_is_escaped_where_the_server_reads_it_and_only_there(
    play: Play, capabilities: list[str], shown: str
) -> None:
    async def test(stage: Stage) -> None:
        async with stage.server(says=capabilities) as server:
            stage.fails(BOB, why="<b>&'\".")
            (told,) = await server.told.count(1)
            assert told.body == f"{shown}. Look."

    play(test)


def test_news_replace_what_stands_and_less_is_told_in_its_place_too(play: Play) -> None:
    async def test(stage: Stage) -> None:
        async with stage.server() as server:
            await stage.has_told(server, 1, BOB)
            await stage.has_told(server, 2, BOB, CAROL)
            (number,) = server.standing
            assert server.told.seen[1].replaces == number
            stage.fails(CAROL)
            stage.looks()
            told = await server.told.count(3)
            assert (told[2].replaces, told[2].summary) == (number, "Cannot reach carol")
            await stage.done()
            assert server.standing == {number: "Cannot reach carol"}

    play(test)


def test_what_people_have_dismissed_is_not_shown_again_but_for_news(play: Play) -> None:
    async def test(stage: Stage) -> None:
        async with stage.server() as server:
            await stage.has_told(server, 1, BOB, CAROL)
            (number,) = server.standing
            server.dismiss(number)
            await server.bus.drain()
            await stage.done()
            stage.fails(BOB)
            stage.looks()
            await stage.done()
            assert len(server.told.seen) == 1
            stage.fails()
            await stage.done()
            assert server.closed.seen == []

    play(test)


def test_a_server_that_comes_late_is_told_what_still_stands(play: Play) -> None:
    async def test(stage: Stage) -> None:
        stage.fails(BOB)
        await stage.done()
        async with stage.server() as server:
            (told,) = await server.told.count(1)
            assert told.summary == "Cannot reach bob"

    play(test)


def test_the_hour_begins_when_the_server_was_told(play: Play) -> None:
    async def test(stage: Stage) -> None:
        stage.fails(BOB)
        await stage.done()
        async with stage.server() as server:
            await server.told.count(1)
            heard = asyncio.get_running_loop().time()
            await stage.done()
            stage.fails()
            stage.fails(BOB)
            assert stage.due() >= heard + notices.INTERVAL

    play(test)


def test_a_server_that_comes_late_is_not_told_what_is_over(play: Play) -> None:
    async def test(stage: Stage) -> None:
        stage.fails(BOB)
        await stage.done()
        stage.fails()
        async with stage.server() as server:
            await stage.owners.until(lambda seen: seen[-1] != "")
            await stage.done()
            assert server.told.seen == []

    play(test)


def test_the_numbers_of_a_server_that_is_gone_are_void(play: Play) -> None:
    async def test(stage: Stage) -> None:
        async with stage.server() as server:
            await stage.has_told(server, 1, BOB)
        async with stage.server() as another:
            await stage.owners.until(lambda seen: len(seen) >= 4)
            stage.fails(BOB, CAROL)
            (told,) = await another.told.count(1)
            assert (told.replaces, told.summary) == (0, "Cannot reach bob and carol")

    play(test)


def test_a_server_that_was_told_and_starts_again_is_not_told_again(play: Play) -> None:
    async def test(stage: Stage) -> None:
        async with stage.server() as server:
            await stage.has_told(server, 1, BOB)
        async with stage.server() as another:
            await stage.owners.until(lambda seen: len(seen) >= 4)
            stage.looks()
            await stage.done()
            stage.fails()
            await stage.done()
            assert (another.told.seen, another.closed.seen) == ([], [])

    play(test)


def test_a_server_that_refuses_is_asked_once(play: Play) -> None:
    async def test(stage: Stage) -> None:
        async with stage.server() as server:
            server.refusal = CallFailed("org.example.Full", "no room")
            stage.fails(BOB)
            await server.told.count(1)
            for _ in range(5):
                stage.looks()
                await stage.done()
            assert len(server.told.seen) == 1
            server.refusal = None
            stage.fails(BOB, CAROL)
            await server.told.count(2)

    play(test)


def test_servers_that_die_of_a_notice_are_not_killed_for_ever(play: Play) -> None:
    async def test(stage: Stage) -> None:
        stage.fails(BOB)
        await stage.done()
        for number in range(5):
            seen = len(stage.owners.seen)
            async with stage.server() as server:
                server.go_on.clear()
                await stage.owners.count(seen + 1)
                if number < module.TRIES - 1:
                    await server.told.count(1)
                else:
                    await stage.done()
                    assert server.told.seen == []
            await stage.owners.count(seen + 2)
            await stage.done()

    play(test)


@pytest.mark.parametrize("nonsense", [{"number": "s"}, {"number": "b"}, {"number": "as"}])
def test_a_server_without_numbers_is_told_once_and_nothing_is_closed(play: Play, nonsense: dict[str, str]) -> None:
    async def test(stage: Stage) -> None:
        async with stage.server(**nonsense) as server:
            await stage.has_told(server, 1, BOB)
            stage.looks()
            await stage.done()
            stage.fails()
            await stage.done()
            assert (len(server.told.seen), server.closed.seen) == (1, [])

    play(test)


def test_a_server_that_does_not_say_what_it_can_is_told_nothing(play: Play) -> None:
    async def test(stage: Stage) -> None:
        async with stage.server(says="body", capabilities="s") as server:
            stage.fails(BOB)
            await stage.done()
            assert server.told.seen == []

    play(test)


def test_what_a_server_shows_late_is_taken_back_if_it_is_over_by_then(play: Play) -> None:
    async def test(stage: Stage) -> None:
        async with stage.server() as server:
            server.go_on.clear()
            stage.fails(BOB)
            await server.told.count(1)
            stage.fails()
            server.go_on.set()
            await server.closed.count(1)
            assert server.standing == {}

    play(test)


def test_what_stands_is_taken_back_in_the_end_and_a_server_that_hangs_does_not_keep_us(play: Play) -> None:
    async def test(stage: Stage) -> None:
        async with stage.server() as server:
            await stage.has_told(server, 1, BOB)
            assert server.standing
            server.go_on.clear()
            stage.fails(BOB, CAROL)
            await server.told.count(2)
            server.go_on.set()
            await stage.adapter.close()
            assert server.standing == {}
            stage.fails(BOB)
            await stage.done()
            assert len(server.told.seen) == 2

    async def hangs(stage: Stage) -> None:
        async with stage.server() as server:
            server.go_on.clear()
            stage.fails(BOB)
            await server.told.count(1)
            await stage.adapter.close()
            server.go_on.set()

    with pytest.MonkeyPatch.context() as patient:
        patient.setattr(module, "FAREWELL", DEADLINE)
        play(test)
    play(hangs)


def test_time_alone_brings_a_look(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(stage: Stage) -> None:
        async with stage.server() as server:
            monkeypatch.setattr(notices, "FAILED", 0.05)
            stage.fails(BOB)
            await stage.again.count(1)
            stage.looks()
            await server.told.count(1)

    play(test)


def test_nobody_is_asked_anything_while_there_is_nothing_to_show(session_bus: PrivateBus) -> None:
    async def scenario() -> None:
        adapter = Notifications(Bus(system=False, address=session_bus.address), lambda: None)
        adapter.look(AgentWatch(), AgentStatus(State.IDLE, (), ()))
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await adapter.close()

    run(scenario())


def test_the_agent_tells_that_peers_are_reached_if_people_want_that_and_takes_it_back_when_it_ends(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            server = ScriptedNotifications(desktop.session_bus.address)
            await server.appear()
            desktop.configure(f"{desktop.config}\n[notifications]\nsuccesses = true\n")
            await desktop.activate()
            agent = await desktop.start_agent()
            await desktop.client.moves.count(len(PEERS))
            await desktop.answer()
            (told,) = await server.told.count(1)
            assert told.summary.endswith(" are reached directly")
            assert told.hints["transient"]
            agent.process.send_signal(signal.SIGTERM)
            assert await agent.ended() == 0
            await server.closed.count(1)
            assert server.standing == {}
            await server.bus.close()
            assert "Traceback" not in agent.text()

    run(scenario())
