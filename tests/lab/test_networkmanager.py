# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter and the real NetworkManager; and the scripted NetworkManager, held to the real one scene by scene."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

import pytest

from lab.world import Laptop, World, wait_for
from tests.integration.buses import PrivateBus
from tests.integration.scripted_nm import ScriptedNetworkManager, wireguard_profile
from tests.integration.test_agent_networkmanager import Watcher
from wgsd_nm.bus import names
from wgsd_nm.core.model import Connectivity, Network, Tunnel

DEADLINE = 60.0
SCENES = ("deactivate", "activate", "reconnect", "move")


class Score:
    """What NetworkManager said of all that a Network is made of but the connectivity, which is checked in between."""

    def __init__(self, watcher: Watcher, devices: dict[str, str]) -> None:
        self.lines: list[str] = []
        self._watcher = watcher
        self._devices = devices
        self._news = asyncio.Event()

    async def until(self, line: str) -> None:
        """That was said."""
        try:
            async with asyncio.timeout(DEADLINE):
                while line not in self.lines:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pytest.fail(f"waited in vain for {line}, heard {self.lines}")

    def _hear(self, line: str) -> None:
        self.lines.append(line)
        self._news.set()

    async def start(self) -> None:
        subscribe = self._watcher.bus.subscribe
        for arg0 in (names.NM_DEVICE, names.NM_WIRED, names.NM_WIREGUARD, names.NM_IP4):
            await subscribe(
                self._changed, sender=names.NM, interface=names.PROPERTIES, member="PropertiesChanged", arg0=arg0
            )
        for member in ("InterfacesAdded", "InterfacesRemoved"):
            await subscribe(
                partial(self._came_or_went, member),
                sender=names.NM,
                interface=names.OBJECT_MANAGER,
                member=member,
                arg0path=f"{names.NM_PATH}/ActiveConnection/",
            )
        await subscribe(
            lambda *_: self._hear("profile Updated"),
            sender=names.NM,
            interface=names.NM_PROFILE,
            member="Updated",
        )

    def _came_or_went(self, member: str, _path: str, _body: list[Any]) -> None:
        self._hear(f"activation {member}")

    def _changed(self, path: str, body: list[Any]) -> None:
        _, values, _ = body
        device = self._devices.get(path, "configuration")
        for name in ("IpInterface", "ActiveConnection", "State", "Carrier", "PublicKey", "AddressData"):
            if name in values:
                value = values[name]
                match name:
                    case "State" | "Carrier" | "IpInterface":
                        shown = str(value)
                    case "PublicKey":
                        shown = "set" if any(value) else "none"
                    case "AddressData":
                        shown = str(len(value))
                    case _:
                        shown = "none" if value == "/" else "set"
                self._hear(f"{device} {name}={shown}")


class Stage:
    """A NetworkManager with eth0 and wg0 up, an adapter that has heard so, and the score."""

    def __init__(self, watcher: Watcher, score: Score) -> None:
        self.watcher = watcher
        self.score = score

    async def play(self, scene: str) -> tuple[list[str], list[str]]:
        """The score of a scene, and what the adapter made of it."""
        last = "wg0 State=10" if scene == "deactivate" else "eth0 State=100" if scene == "move" else "wg0 State=100"
        self.score.lines.clear()
        del self.watcher.networks[:-1]
        await getattr(self, scene)()
        await self.score.until(last)
        if scene == "move":
            await self.watcher.until(is_online, "the laptop to be online", DEADLINE)
        await self.watcher.quiet()
        return list(self.score.lines), [shape for shape, _ in groupby(map(outline, self.watcher.networks))]

    async def deactivate(self) -> None:
        raise NotImplementedError

    async def activate(self) -> None:
        raise NotImplementedError

    async def reconnect(self) -> None:
        raise NotImplementedError

    async def move(self) -> None:
        raise NotImplementedError


class RealStage(Stage):
    laptop: Laptop
    world: World

    async def deactivate(self) -> None:
        await self._nmcli("connection", "down", "wg0")

    async def activate(self) -> None:
        await self._nmcli("connection", "up", "wg0")

    async def reconnect(self) -> None:
        await self._nmcli("connection", "up", "wg0")

    async def move(self) -> None:
        await asyncio.to_thread(self.laptop.move, self.world.nat_c)
        await self.score.until("eth0 State=100")
        await asyncio.to_thread(self.laptop.connectivity, check=True)

    async def _nmcli(self, *arguments: str) -> None:
        await asyncio.to_thread(self.laptop.nmcli, *arguments)


class ScriptedStage(Stage):
    network_manager: ScriptedNetworkManager

    async def deactivate(self) -> None:
        await self.network_manager.deactivate()

    async def activate(self) -> None:
        await self.network_manager.begin_activation()
        await self.watcher.quiet()
        await self.network_manager.complete_activation()

    async def reconnect(self) -> None:
        await self.network_manager.reconnect()

    async def move(self) -> None:
        await self.network_manager.cable_pulled()
        await self.network_manager.uplink("192.168.3.10/24", "192.168.3.1")


def is_online(network: Network) -> bool:
    """Nothing more is to come."""
    return (
        network.connectivity is Connectivity.FULL
        and [uplink.metric for uplink in network.uplinks] == [100]
        and network.carrier == {"eth0"}
        and [tunnel.interface for tunnel in network.tunnels] == ["wg0"]
    )


def outline(network: Network) -> str:
    """The parts of a snapshot that are the same for every NetworkManager."""
    uplinks = ",".join(
        f"{uplink.interface}{'' if uplink.interface in network.carrier else ' without carrier'}"
        for uplink in network.uplinks
    )
    return f"uplinks [{uplinks}] tunnels [{','.join(tunnel.interface for tunnel in network.tunnels)}]"


def address_of(laptop: Laptop) -> str:
    """The laptop's system bus, as it is reached from here."""
    return f"unix:path={laptop.path('/run/dbus/system_bus_socket')}"


@asynccontextmanager
async def watching(address: str) -> AsyncIterator[Watcher]:
    """An adapter that has seen the laptop online."""
    watcher = Watcher(address)
    await watcher.bus.connect()
    await watcher.adapter.start()
    try:
        await watcher.until(is_online, "the laptop to be online", DEADLINE)
        yield watcher
    finally:
        await watcher.adapter.close()
        await watcher.bus.close()


@asynccontextmanager
async def staged(address: str, kind: type[Stage]) -> AsyncIterator[Stage]:
    async with watching(address) as watcher:
        (objects,) = await watcher.bus.call(names.NM, names.NM_ROOT_PATH, names.OBJECT_MANAGER, "GetManagedObjects")
        devices = {
            path: interfaces[names.NM_DEVICE]["Interface"]
            for path, interfaces in objects.items()
            if names.NM_DEVICE in interfaces
        }
        score = Score(watcher, devices)
        await score.start()
        yield kind(watcher, score)


async def play_real(laptop: Laptop, world: World) -> dict[str, tuple[list[str], list[str]]]:
    async with staged(address_of(laptop), RealStage) as stage:
        assert isinstance(stage, RealStage)
        stage.laptop, stage.world = laptop, world
        return {scene: await stage.play(scene) for scene in SCENES}


async def play_scripted(address: str) -> dict[str, tuple[list[str], list[str]]]:
    bus = Watcher(address).bus
    await bus.connect()
    network_manager = ScriptedNetworkManager(bus, wireguard_profile(2))
    await network_manager.appear()
    try:
        async with staged(address, ScriptedStage) as stage:
            assert isinstance(stage, ScriptedStage)
            stage.network_manager = network_manager
            return {scene: await stage.play(scene) for scene in SCENES}
    finally:
        await bus.close()


@dataclass
class Played:
    """Each scene's score and outlines, as the real and as the scripted NetworkManager played it."""

    real: dict[str, tuple[list[str], list[str]]]
    scripted: dict[str, tuple[list[str], list[str]]]


@pytest.fixture(scope="module")
def played(laptops: tuple[Laptop, Laptop], world: World) -> Played:
    with PrivateBus(system=True, names=[names.NM]) as bus:
        scripted = asyncio.run(play_scripted(bus.address))
    return Played(asyncio.run(play_real(laptops[0], world)), scripted)


@pytest.mark.parametrize("scene", SCENES)
def test_the_script_is_true(played: Played, scene: str) -> None:
    assert played.scripted[scene][0] == played.real[scene][0]


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        ("deactivate", ["uplinks [eth0] tunnels [wg0]", "uplinks [eth0] tunnels []"]),
        ("activate", ["uplinks [eth0] tunnels []", "uplinks [eth0] tunnels [wg0]"]),
        (
            "reconnect",
            ["uplinks [eth0] tunnels [wg0]", "uplinks [eth0] tunnels []", "uplinks [eth0] tunnels [wg0]"],
        ),
        (
            "move",
            [
                "uplinks [eth0] tunnels [wg0]",
                "uplinks [eth0 without carrier] tunnels [wg0]",
                "uplinks [] tunnels [wg0]",
                "uplinks [eth0] tunnels [wg0]",
            ],
        ),
    ],
)
def test_the_adapter_makes_the_same_of_both(played: Played, scene: str, expected: list[str]) -> None:
    assert played.real[scene][1] == expected
    assert played.scripted[scene][1] == expected


def run(laptop: Laptop, test: Callable[[Watcher], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with watching(address_of(laptop)) as watcher:
            await test(watcher)
            await watcher.quiet()
            async with watching(address_of(laptop)) as another:
                assert another.networks[-1] == watcher.networks[-1], "the mirror is true"

    asyncio.run(main())


def test_a_snapshot_is_what_the_laptop_has(world: World, alice: Laptop) -> None:
    async def test(watcher: Watcher) -> None:
        network = watcher.networks[-1]
        (uplink,), (tunnel,) = network.uplinks, network.tunnels
        assert [str(address) for address in uplink.addresses] == ["192.168.1.10/24"]
        assert [str(gateway) for gateway in uplink.gateways] == ["192.168.1.1"]
        assert str(tunnel.public_key) == world.keys["alice"].public
        assert [str(address) for address in tunnel.addresses] == ["10.0.0.1/24"]
        assert {str(peer.public_key): peer.endpoint for peer in tunnel.peers} == {
            world.keys["registry"].public: "203.0.113.254:51820",
            world.keys["bob"].public: "",
        }
        assert tunnel.connection_id == "wg0"

    run(alice, test)


def test_a_quick_cable_move_is_seen(world: World, alice: Laptop) -> None:
    async def test(watcher: Watcher) -> None:
        await asyncio.to_thread(alice.move, world.nat_a, quick=True)
        await asyncio.to_thread(alice.connectivity, check=True)
        await watcher.until(
            lambda network: is_online(network) and any(not before.carrier for before in watcher.networks),
            "the carrier to go and to be back",
            DEADLINE,
        )

    run(alice, test)


def test_a_captive_portal_is_seen(world: World, alice: Laptop) -> None:
    async def test(watcher: Watcher) -> None:
        def check() -> bool:
            alice.connectivity(check=True)
            network = watcher.networks[-1]
            metrics = [uplink.metric for uplink in network.uplinks]
            return (network.connectivity, metrics) == (Connectivity.PORTAL, [20100])

        world.nat_a.set_captive(True)
        try:
            await asyncio.to_thread(
                wait_for, check, DEADLINE, "the portal to be seen, and its route to be put last", 0.5
            )
        finally:
            world.nat_a.set_captive(False)
        await asyncio.to_thread(alice.connectivity, check=True)
        await watcher.until(is_online, "the laptop to be online", DEADLINE)

    run(alice, test)


def test_a_changed_profile_is_seen(alice: Laptop) -> None:
    async def test(watcher: Watcher) -> None:
        await asyncio.to_thread(
            alice.nmcli, "connection", "modify", "wg0", "ipv4.dns", "10.0.0.254", "ipv4.dns-search", "~example.com"
        )
        found = await watcher.until(lambda network: bool(network.tunnels[0].dns), "the name server", DEADLINE)
        assert [str(server) for server in found.tunnels[0].dns] == ["10.0.0.254"]
        assert found.tunnels[0].search == ("example.com",)
        await asyncio.to_thread(alice.nmcli, "connection", "modify", "wg0", "ipv4.dns", "", "ipv4.dns-search", "")
        await watcher.until(lambda network: network.tunnels[0].search == (), "the profile as it was", DEADLINE)

    run(alice, test)


def test_a_device_of_somebody_else_is_seen(alice: Laptop) -> None:
    async def test(watcher: Watcher) -> None:
        await asyncio.to_thread(
            alice.ip, "link add wg1 type wireguard", "addr add 10.9.0.1/24 dev wg1", "link set wg1 up"
        )
        found = await watcher.until(lambda network: len(network.tunnels) == 2, "a second tunnel", DEADLINE)
        assert [str(address) for address in found.tunnels[1].addresses] == ["10.9.0.1/24"]
        await asyncio.to_thread(alice.ip, "link del wg1")
        await watcher.until(is_online, "one tunnel", DEADLINE)

    run(alice, test)


def test_a_device_that_networkmanager_leaves_alone_is_seen(alice: Laptop) -> None:
    make = (
        "link add wg7 type wireguard",
        "addr add 10.9.0.1/24 dev wg7",
        "link set wg7 up",
    )
    key = "wg genkey > /run/wg7.key && wg set wg7 private-key /run/wg7.key && wg show wg7 public-key"

    async def test(watcher: Watcher) -> None:
        found: list[Tunnel] = []
        for _ in range(2):
            await asyncio.to_thread(alice.ip, *make)
            public_key = (await asyncio.to_thread(alice.run, ["sh", "-c", key])).stdout.strip()
            await asyncio.to_thread(alice.ip, "link set wg7 down", "link set wg7 up")
            network = await watcher.until(lambda network: len(network.tunnels) == 2, "a second tunnel", DEADLINE)
            found.append(network.tunnels[1])
            assert found[-1].connection_id == "wg7"
            assert str(found[-1].public_key) == public_key
            assert [str(address) for address in found[-1].addresses] == ["10.9.0.1/24"]
            await asyncio.to_thread(alice.ip, "link del wg7")
            await watcher.until(is_online, "one tunnel", DEADLINE)
        assert found[0].activation != found[1].activation

    alice.write("/etc/NetworkManager/conf.d/wg7.conf", "[keyfile]\nunmanaged-devices=interface-name:wg7\n")
    alice.nmcli("general", "reload")
    run(alice, test)


def test_a_bridge_of_containers_is_no_uplink_and_a_lease_names_the_name_servers(alice: Laptop) -> None:
    async def test(watcher: Watcher) -> None:
        await asyncio.to_thread(
            alice.ip, "link add docker0 type bridge", "addr add 172.17.0.1/16 dev docker0", "link set docker0 up"
        )
        await asyncio.to_thread(alice.wait_state, "docker0", "connected (externally)")
        await watcher.quiet()
        (uplink,) = watcher.networks[-1].uplinks
        assert [str(server) for server in uplink.name_servers] == ["192.168.1.1"]
        await asyncio.to_thread(alice.ip, "link del docker0")

    run(alice, test)


def test_a_restart_of_networkmanager_is_seen(alice: Laptop) -> None:
    async def test(watcher: Watcher) -> None:
        before = watcher.networks[-1]
        await asyncio.to_thread(alice.stop, "NetworkManager")
        await watcher.until(lambda network: not network.available, "its absence", DEADLINE)
        await asyncio.to_thread(alice.start_network_manager)
        after = await watcher.until(is_online, "the laptop to be online", DEADLINE)
        assert replace(after, tunnels=()) == replace(before, tunnels=())

    run(alice, test)
