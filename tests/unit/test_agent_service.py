# SPDX-License-Identifier: GPL-2.0-or-later
"""When clients are told, and of what. What the entries are called is compared with the XML in tests/contract."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from tests.unit.core_story import BOB, CAFE, CAROL, HOME, REGISTRY, Story, kernel_peer
from wgsd_nm import __version__
from wgsd_nm.agent import service as module
from wgsd_nm.agent.loop import Loop
from wgsd_nm.agent.service import Service
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus, Caller, Interface
from wgsd_nm.bus.wire import Variant
from wgsd_nm.core.config import Config
from wgsd_nm.core.errors import ConfigError, InvalidValue
from wgsd_nm.core.events import Announce, ConfigLoaded, Woke
from wgsd_nm.core.reason import Reason

DEADLINE = 5.0
CALLER = Caller(":1.7", interactive=False)


class Told:
    """A bus that keeps what is said on it."""

    def __init__(self) -> None:
        self.exported: dict[str, Interface] = {}
        self.changes: list[tuple[str, ...]] = []
        self.signals: list[tuple[object, ...]] = []
        self._changed = asyncio.Event()

    def export(self, path: str, interface: Interface) -> None:
        self.exported[path] = interface

    def changed(self, path: str, interface: str, *properties: str) -> None:
        assert (path, interface) == (names.AGENT_PATH, names.AGENT)
        self.changes.append(properties)
        self._changed.set()

    def emit(self, path: str, interface: str, *signal: object) -> None:
        assert (path, interface) == (names.AGENT_PATH, names.AGENT)
        self.signals.append(signal)

    async def until_changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()


class World:
    """A loop whose watch is a story's."""

    def __init__(self) -> None:
        self.story = Story.settled(
            kernel_peer(BOB, "10.0.0.2/32", keepalive=25), kernel_peer(CAROL, "10.0.0.3/32"), bob=HOME
        )
        self.refreshed: list[str] = []

    @property
    def watch(self) -> object:
        return self.story.watch

    def now(self) -> float:
        return self.story.now

    async def refresh(self, interface: str = "") -> None:
        self.refreshed.append(interface)


Scene = Callable[[Service, Told, World], Coroutine[Any, Any, None]]


def play(scene: Scene, reload: Callable[[], None] = lambda: None) -> None:
    async def main() -> None:
        bus, world = Told(), World()
        service = Service(cast("Bus", bus), reload, lambda _watch, _status: None)
        service.start(cast("Loop", world))
        async with asyncio.timeout(DEADLINE):
            await scene(service, bus, world)

    asyncio.run(main())


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client is told in the next turn of the event loop."""
    monkeypatch.setattr(module, "PUBLISH_INTERVAL", 0.0)


async def turns() -> None:
    """Whatever is due now has happened: a timer that was set before a later one comes before it."""
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(0.001, passed.set)
    await passed.wait()


def value(bus: Told, name: str) -> Any:
    return bus.exported[names.AGENT_PATH].properties[name].get()


def entry(entries: list[dict[str, Variant]], key: object) -> dict[str, Any]:
    """The plain entry of a peer."""
    (found,) = [each for each in entries if each["PublicKey"].value == str(key)]
    return {name: variant.value for name, variant in found.items()}


def test_many_changes_in_a_moment_are_told_once() -> None:
    async def scene(service: Service, bus: Told, world: World) -> None:
        for _ in range(5):
            service.changed()
        world.story.hear(ConfigLoaded(Config()))
        service.changed()
        await bus.until_changed()
        await turns()
        assert bus.changes == [("State", "Tunnels", "Peers")]
        assert [value(bus, name) for name in ("Version", "State", "Tunnels", "Peers")] == [__version__, "idle", [], []]

    play(scene)


def test_the_first_change_is_told_at_once_and_the_next_not_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(service: Service, bus: Told, world: World) -> None:
        monkeypatch.setattr(module, "PUBLISH_INTERVAL", 3600.0)
        world.story.connects(BOB)
        service.changed()
        await turns()
        assert bus.changes == [("Peers",)]
        world.story.hear(ConfigLoaded(None, "the file is wrong"))
        service.changed()
        await turns()
        assert bus.changes == [("Peers",)]

    play(scene)


def test_what_changes_nothing_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(service: Service, bus: Told, world: World) -> None:
        monkeypatch.setattr(module, "PUBLISH_INTERVAL", 3600.0)
        service.changed()
        await turns()
        world.story.connects(BOB)
        service.changed()
        await turns()
        assert bus.changes == [("Peers",)]

    play(scene)


def test_only_what_differs_is_told() -> None:
    async def scene(service: Service, bus: Told, world: World) -> None:
        world.story.connects(BOB)
        service.changed()
        await bus.until_changed()
        world.story.hear(ConfigLoaded(None, "the file is wrong"))
        service.changed()
        await bus.until_changed()
        assert bus.changes == [("Peers",), ("LastError",)]
        assert value(bus, "LastError") == "the file is wrong"

    play(scene)


def test_a_check_that_shows_nothing_new_but_times_is_not_told() -> None:
    async def scene(service: Service, bus: Told, world: World) -> None:
        world.story.connects(BOB)
        service.changed()
        await bus.until_changed()
        world.story.shakes(BOB)
        world.story.check()
        service.changed()
        await turns()
        assert len(bus.changes) == 1
        assert entry(value(bus, "Peers"), BOB)["LatestHandshake"] == world.story.kernel[BOB].latest_handshake

    play(scene)


def test_properties_are_as_of_now_even_before_clients_were_told() -> None:
    async def scene(_service: Service, bus: Told, world: World) -> None:
        assert entry(value(bus, "Peers"), BOB)["State"] == "probing"
        world.story.connects(BOB)
        assert entry(value(bus, "Peers"), BOB)["State"] == "connected"

    play(scene)


def test_what_time_alone_changes_is_seen() -> None:
    async def scene(_service: Service, bus: Told, world: World) -> None:
        assert entry(value(bus, "Peers"), BOB)["State"] == "probing"
        world.story.now += 60
        assert entry(value(bus, "Peers"), BOB)["State"] == "unreachable"

    play(scene)


def test_times_are_microseconds_since_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(_service: Service, bus: Told, world: World) -> None:
        monkeypatch.setattr(Loop, "now", staticmethod(world.now))
        answered = world.story.now - world.story.peer(BOB).answered_at
        for shown in (entry(value(bus, "Peers"), BOB), {"LastLookup": value(bus, "Tunnels")[0]["LastLookup"].value}):
            assert shown["LastLookup"] == pytest.approx((time.time() - answered) * 1e6, abs=1e6 * DEADLINE)
        assert entry(value(bus, "Peers"), REGISTRY)["LastLookup"] == 0, "nobody asks about the registry's own peer"

    play(scene)


def test_changed_endpoints_are_told_with_what_follows_from_them() -> None:
    async def scene(service: Service, bus: Told, world: World) -> None:
        world.story.connects(BOB)
        service.announce(Announce("wg0", BOB, None, CAFE, Reason.FOUND))
        service.announce(Announce("wg0", BOB, CAFE, HOME, Reason.MOVED))
        service.announce(Announce("wg0", BOB, HOME, None, Reason.ROAMED))
        await bus.until_changed()
        assert bus.changes == [("Peers",)]
        assert bus.signals == [
            ("EndpointChanged", "wg0", str(BOB), "", str(CAFE), "found"),
            ("EndpointChanged", "wg0", str(BOB), str(CAFE), str(HOME), "moved"),
            ("EndpointChanged", "wg0", str(BOB), str(HOME), "", "roamed"),
        ]
        service.changed()
        await turns()
        assert len(bus.signals) == 3, "each is told once"

    play(scene)


def test_clients_wait_while_a_pass_is_young_and_hear_of_one_that_takes_its_time() -> None:
    async def scene(service: Service, bus: Told, world: World) -> None:
        world.story.hear(Woke())
        service.changed()
        await turns()
        assert not bus.changes
        world.story.now += module.HASTE
        await bus.until_changed()
        assert value(bus, "State") == "looking-up"

    play(scene)


def test_refresh_of_all_and_of_one() -> None:
    async def scene(service: Service, _bus: Told, world: World) -> None:
        methods = service.interface().methods
        assert await methods["Refresh"].handler(CALLER) == ()
        assert await methods["RefreshTunnel"].handler(CALLER, "wg0") == ()
        for wrong in ("", "two words", "a" * 16, "a/b"):
            with pytest.raises(InvalidValue):
                await methods["RefreshTunnel"].handler(CALLER, wrong)
        assert world.refreshed == ["", "wg0"]

    play(scene)


def test_reload_tells_what_is_wrong() -> None:
    def reload() -> None:
        raise ConfigError("config.toml: zone: expected")

    async def scene(service: Service, _bus: Told, _world: World) -> None:
        with pytest.raises(ConfigError, match="zone: expected"):
            await service.interface().methods["Reload"].handler(CALLER)

    play(scene, reload)
