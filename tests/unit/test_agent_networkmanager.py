# SPDX-License-Identifier: GPL-2.0-or-later
"""What the adapter makes of replies and signals that cross each other; against a bus: tests/integration."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from tests.unit import nm_objects as nm
from wgsd_nm.agent.networkmanager import NetworkManager
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus
from wgsd_nm.core.errors import AccessDenied, BusError, CallFailed, CallTimedOut, InvalidValue, WgsdError
from wgsd_nm.core.model import Network

Handler = Callable[[str, list[Any]], None]
SLEEP = asyncio.sleep
"""The true one, while the adapter's is patched."""


@dataclass
class TimedBus:
    """A bus on which the test says when a reply comes, and when its caller's turn is."""

    rules: list[tuple[Handler, dict[str, str | None]]] = field(default_factory=list)
    owner: Callable[[str], None] = print
    calls: list[tuple[str, str, asyncio.Future[list[Any]]]] = field(default_factory=list)

    async def subscribe(self, handler: Handler, **rule: str | None) -> None:
        self.rules.append((handler, rule))

    async def watch_owner(self, name: str, handler: Callable[[str], None]) -> None:
        assert name == names.NM
        self.owner = handler

    async def call(self, destination: str, path: str, interface: str, member: str, *, autostart: bool) -> list[Any]:
        assert (destination, autostart) == (names.NM, False)
        assert interface in (names.OBJECT_MANAGER, names.NM_PROFILE)
        reply: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.calls.append((path, member, reply))
        return await reply

    def emit(self, path: str, interface: str, member: str, *body: Any) -> int:
        """The number of handlers that were called."""
        called = 0
        for handler, rule in self.rules:
            folder = rule.get("arg0path")
            if (
                (rule["sender"], rule["interface"], rule["member"]) == (names.NM, interface, member)
                and rule.get("path") in (None, path)
                and (rule.get("arg0") is None or rule["arg0"] == body[0])
                and (folder is None or body[0].startswith(folder))
            ):
                handler(path, list(body))
                called += 1
        return called

    def change(self, path: str, interface: str, **properties: Any) -> int:
        return self.emit(path, names.PROPERTIES, "PropertiesChanged", interface, properties, [])


class Bench:
    """An adapter, the bus under it, and the snapshots that came out of it."""

    def __init__(self) -> None:
        self.bus = TimedBus()
        self.networks: list[Network] = []
        self.adapter = NetworkManager(cast(Bus, self.bus), self.networks.append)

    async def turn(self) -> None:
        """Let everything run that can."""
        for _ in range(20):
            await SLEEP(0)

    async def calls(self, *expected: tuple[str, str]) -> list[asyncio.Future[list[Any]]]:
        """Exactly these calls are made next, in any order; their replies, in the order given."""
        await self.turn()
        made = {(path, member): reply for path, member, reply in self.bus.calls}
        self.bus.calls.clear()
        assert made.keys() == set(expected)
        return [made[call] for call in expected]

    async def load(self) -> None:
        (objects,) = await self.calls(OBJECTS)
        objects.set_result([nm.laptop()])
        (settings,) = await self.calls(SETTINGS)
        settings.set_result([nm.settings()])
        await self.turn()

    async def start(self) -> None:
        await self.adapter.start()
        self.bus.owner(":1.5")
        await self.load()
        assert self.networks == [nm.NETWORK]
        self.networks.clear()


OBJECTS = (names.NM_ROOT_PATH, "GetManagedObjects")
SETTINGS = (nm.TUNNEL_PROFILE, "GetSettings")


def run(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        bench = Bench()
        try:
            await test(bench)
        finally:
            await bench.adapter.close()
            await bench.turn()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_the_first_snapshot_is_a_whole_one() -> None:
    async def test(bench: Bench) -> None:
        await bench.start()

    run(test)


def test_without_networkmanager_there_is_no_network() -> None:
    async def test(bench: Bench) -> None:
        await bench.adapter.start()
        bench.bus.owner("")
        assert bench.networks == [Network(available=False)]
        await bench.calls()

    run(test)


def test_a_signal_is_a_snapshot_in_the_same_turn() -> None:
    async def test(bench: Bench) -> None:
        await bench.start()
        bench.bus.change(nm.ETH0, names.NM_WIRED, Carrier=False)
        assert bench.networks == [replace(nm.NETWORK, carrier=frozenset())]
        bench.bus.change(nm.ETH0, names.NM_WIRED, Carrier=True)
        assert bench.networks[1:] == [nm.NETWORK]
        await bench.calls()

    run(test)


def test_what_is_as_it_was_is_not_told() -> None:
    async def test(bench: Bench) -> None:
        await bench.start()
        bench.bus.change(nm.ETH0, names.NM_DEVICE, State=100, Metered=1)
        bench.bus.change(nm.WG0, names.NM_DEVICE, Interface="other, but IpInterface counts")
        assert bench.networks == []

    run(test)


@pytest.mark.parametrize(
    "interface", ["AccessPoint", "Device.Wireless", "Device.Statistics", "DnsManager", "DHCP4Config"]
)
def test_interfaces_that_mean_nothing_here_wake_nobody(interface: str) -> None:
    async def test(bench: Bench) -> None:
        await bench.start()
        assert bench.bus.change(nm.ETH0, f"{names.NM}.{interface}", Bitrate=1) == 0
        path = f"{nm.ROOT}/{interface.rpartition('.')[2]}/77"
        assert bench.bus.emit(names.NM_ROOT_PATH, names.OBJECT_MANAGER, "InterfacesAdded", path, {}) == 0
        assert bench.bus.emit(names.NM_ROOT_PATH, names.OBJECT_MANAGER, "InterfacesRemoved", path, []) == 0

    run(test)


def test_the_profile_is_read_before_the_device_is_up() -> None:
    async def test(bench: Bench) -> None:
        await bench.start()
        bench.bus.change(nm.WG0, names.NM_DEVICE, State=30, ActiveConnection="/")
        bench.bus.emit(nm.TUNNEL_PROFILE, names.NM_PROFILE, "Updated")
        bench.networks.clear()
        bench.bus.change(nm.WG0, names.NM_DEVICE, State=40, ActiveConnection=nm.TUNNEL)
        (settings,) = await bench.calls(SETTINGS)
        settings.set_result([nm.settings()])
        await bench.turn()
        assert bench.networks == []
        bench.bus.change(nm.WG0, names.NM_DEVICE, State=100)
        assert bench.networks == [nm.NETWORK]

    run(test)


def test_a_profile_updated_while_it_is_read_is_read_once_more() -> None:
    async def test(bench: Bench) -> None:
        await bench.start()
        bench.bus.emit(nm.TUNNEL_PROFILE, names.NM_PROFILE, "Updated")
        (old,) = await bench.calls(SETTINGS)
        older = nm.settings()
        older["connection"]["id"] = "Old"
        old.set_result([older])
        # The reply has come, and before its caller's turn so does the signal behind it.
        bench.bus.emit(nm.TUNNEL_PROFILE, names.NM_PROFILE, "Updated")
        (new,) = await bench.calls(SETTINGS)
        bench.bus.change(nm.ROOT, names.NM, Connectivity=3)
        assert [network.tunnels[0].connection_id for network in bench.networks] == ["Home"], "the old reply is void"
        bench.networks.clear()
        newer = nm.settings()
        newer["connection"]["id"] = "New"
        new.set_result([newer])
        await bench.turn()
        assert [network.tunnels[0].connection_id for network in bench.networks] == ["New"]

    run(test)


def test_a_profile_that_may_not_be_read_leaves_its_tunnel_out(caplog: pytest.LogCaptureFixture) -> None:
    async def test(bench: Bench) -> None:
        await bench.adapter.start()
        bench.bus.owner(":1.5")
        (objects,) = await bench.calls(OBJECTS)
        objects.set_result([nm.laptop()])
        (settings,) = await bench.calls(SETTINGS)
        settings.set_exception(AccessDenied("not you"))
        await bench.turn()
        assert bench.networks == [replace(nm.NETWORK, tunnels=())]
        assert [record.levelname for record in caplog.records] == ["WARNING"]

    run(test)


def test_a_path_that_is_none_leaves_its_tunnel_out_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """The bus refuses to send a call to it."""

    async def test(bench: Bench) -> None:
        await bench.start()
        active = nm.laptop()[nm.TUNNEL][names.NM_ACTIVE]
        new = f"{names.NM_PATH}/ActiveConnection/9"
        bench.bus.emit(names.NM_ROOT_PATH, names.OBJECT_MANAGER, "InterfacesAdded", new, {names.NM_ACTIVE: active})
        bench.bus.change(new, names.NM_ACTIVE, Connection="no path")
        bench.bus.change(nm.WG0, names.NM_DEVICE, ActiveConnection=new)
        (settings,) = await bench.calls(("no path", "GetSettings"))
        settings.set_exception(InvalidValue("cannot be the path of a D-Bus message"))
        await bench.turn()
        assert bench.networks[-1].tunnels == ()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        bench.bus.change(nm.WG0, names.NM_DEVICE, ActiveConnection=nm.TUNNEL)
        (settings,) = await bench.calls(SETTINGS)
        settings.set_result([nm.settings()])
        await bench.turn()
        assert bench.networks[-1] == nm.NETWORK

    run(test)


@pytest.mark.parametrize("first", ["the reply", "the signal"])
def test_a_reply_does_not_undo_a_signal_that_came_after_its_request(first: str) -> None:
    async def test(bench: Bench) -> None:
        await bench.adapter.start()
        bench.bus.owner(":1.5")
        (objects,) = await bench.calls(OBJECTS)
        if first == "the reply":
            objects.set_result([nm.laptop()])
        bench.bus.change(nm.ETH0, names.NM_WIRED, Carrier=False)
        if first == "the signal":
            objects.set_result([nm.laptop()])
        (settings,) = await bench.calls(SETTINGS)
        gone = [nm.WG0, [names.NM_DEVICE, names.NM_WIREGUARD]]
        bench.bus.emit(names.NM_ROOT_PATH, names.OBJECT_MANAGER, "InterfacesRemoved", *gone)
        settings.set_result([nm.settings()])
        await bench.turn()
        assert bench.networks == [replace(nm.NETWORK, carrier=frozenset(), tunnels=())]

    run(test)


def test_signals_before_the_first_reply_count() -> None:
    async def test(bench: Bench) -> None:
        await bench.adapter.start()
        bench.bus.owner(":1.5")
        (objects,) = await bench.calls(OBJECTS)
        bench.bus.change(nm.WG0, names.NM_DEVICE, State=110)
        bench.bus.change(nm.WG0, names.NM_DEVICE, State=30, ActiveConnection="/")
        objects.set_result([nm.laptop()])
        await bench.turn()
        for _, _, reply in bench.bus.calls:
            reply.set_result([nm.settings()])
        await bench.turn()
        assert bench.networks == [replace(nm.NETWORK, tunnels=())]

    run(test)


def test_a_restart_of_networkmanager_voids_all_that_was_known() -> None:
    async def test(bench: Bench) -> None:
        await bench.start()
        bench.bus.owner("")
        assert bench.networks == [Network(available=False)]
        bench.bus.owner(":1.9")
        await bench.load()
        assert bench.networks[1:] == [nm.NETWORK]

    run(test)


def test_a_new_owner_without_a_gap_is_a_restart_too() -> None:
    async def test(bench: Bench) -> None:
        await bench.start()
        bench.bus.owner(":1.9")
        await bench.load()
        assert bench.networks == [Network(available=False), nm.NETWORK]

    run(test)


@pytest.mark.parametrize("while_reading", ["objects", "profiles"])
def test_a_reply_of_the_networkmanager_before_is_not_used(while_reading: str) -> None:
    async def test(bench: Bench) -> None:
        await bench.adapter.start()
        bench.bus.owner(":1.5")
        (old,) = await bench.calls(OBJECTS)
        if while_reading == "profiles":
            old.set_result([nm.laptop()])
            await bench.calls(SETTINGS)
        bench.bus.owner(":1.9")
        if not old.done():
            old.set_result([{}])
        (new,) = await bench.calls(OBJECTS)
        bench.bus.change(nm.ETH0, names.NM_WIRED, Carrier=False)
        new.set_result([nm.laptop()])
        (settings,) = await bench.calls(SETTINGS)
        settings.set_result([nm.settings()])
        await bench.turn()
        assert bench.networks == [replace(nm.NETWORK, carrier=frozenset())]

    run(test)


def test_after_its_end_it_tells_nothing() -> None:
    async def test(bench: Bench) -> None:
        await bench.start()
        await bench.adapter.close()
        bench.bus.change(nm.ETH0, names.NM_WIRED, Carrier=False)
        bench.bus.owner("")
        bench.bus.owner(":1.9")
        await bench.calls()
        assert bench.networks == []

    run(test)


@contextmanager
def no_pauses() -> Iterator[list[float]]:
    """The pauses that the adapter makes, each of which is over at once."""
    pauses: list[float] = []

    async def pass_over(delay: float) -> None:
        pauses.append(delay)
        await SLEEP(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wgsd_nm.agent.networkmanager.asyncio.sleep", pass_over)
        yield pauses


async def next_call(bench: Bench) -> asyncio.Future[list[Any]]:
    """The one call that is made next."""
    for _ in range(100):
        if bench.bus.calls:
            break
        await SLEEP(0)
    ((_, _, reply),) = bench.bus.calls
    bench.bus.calls.clear()
    return reply


def test_a_networkmanager_that_hangs_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    async def test(bench: Bench) -> None:
        await bench.adapter.start()
        bench.bus.owner(":1.5")
        with no_pauses() as pauses:
            for _ in range(7):
                (await next_call(bench)).set_exception(CallTimedOut("no reply within 25 s"))
            (await next_call(bench)).set_result([nm.laptop()])
            (await next_call(bench)).set_result([nm.settings()])
        await bench.turn()
        assert bench.networks == [nm.NETWORK]
        assert pauses == [1, 2, 4, 8, 16, 30, 30]
        assert len(caplog.records) == 1, "the same complaint is made once"

    caplog.set_level(logging.WARNING)
    run(test)


@pytest.mark.parametrize("error", [CallTimedOut("no reply"), CallFailed(f"{names.NM}.Failed", "busy")], ids=str)
@pytest.mark.parametrize("when", ["at first", "later"])
def test_a_profile_that_could_not_be_read_is_read_again(
    error: BusError, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(bench: Bench) -> None:
        if when == "at first":
            await bench.adapter.start()
            bench.bus.owner(":1.5")
            (objects,) = await bench.calls(OBJECTS)
            objects.set_result([nm.laptop()])
            (settings,) = await bench.calls(SETTINGS)
            settings.set_exception(error)
        else:
            await bench.start()
            bench.bus.change(nm.WG0, names.NM_DEVICE, State=30, ActiveConnection="/")
            bench.bus.emit(nm.TUNNEL_PROFILE, names.NM_PROFILE, "Updated")
            bench.bus.change(nm.WG0, names.NM_DEVICE, State=100, ActiveConnection=nm.TUNNEL)
        with no_pauses() as pauses:
            for _ in range(7):
                (await next_call(bench)).set_exception(error)
            assert bench.networks[-1] == replace(nm.NETWORK, tunnels=())
            (await next_call(bench)).set_result([nm.settings()])
        await bench.turn()
        assert bench.networks[-1] == nm.NETWORK
        assert pauses == [1, 2, 4, 8, 16, 30, 30]
        assert len(caplog.records) == 1

    caplog.set_level(logging.WARNING)
    run(test)


@pytest.mark.parametrize(
    "error",
    [
        AccessDenied("not you"),
        CallFailed(f"{names.NM_SETTINGS}.PermissionDenied", "not you"),
        CallFailed(names.ERROR_UNKNOWN_METHOD, "gone"),
        CallFailed(names.ERROR_UNKNOWN_OBJECT, "gone"),
        InvalidValue("cannot be the path of a D-Bus message"),
    ],
    ids=str,
)
def test_a_profile_that_is_not_for_us_is_read_again_when_it_changes(error: WgsdError) -> None:
    async def test(bench: Bench) -> None:
        await bench.adapter.start()
        bench.bus.owner(":1.5")
        (objects,) = await bench.calls(OBJECTS)
        objects.set_result([nm.laptop()])
        with no_pauses() as pauses:
            (settings,) = await bench.calls(SETTINGS)
            settings.set_exception(error)
            await bench.turn()
            await bench.calls()
        assert pauses.count(1) == 0
        bench.bus.emit(nm.TUNNEL_PROFILE, names.NM_PROFILE, "Updated")
        (settings,) = await bench.calls(SETTINGS)
        settings.set_result([nm.settings()])
        await bench.turn()
        assert bench.networks[-1] == nm.NETWORK

    run(test)
