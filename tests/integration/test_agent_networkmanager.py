# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter on a real bus. What is played there is held to the real NetworkManager by tests/lab."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from tests.integration.buses import PrivateBus
from tests.integration.nm_objects import STATISTICS
from tests.integration.scripted_nm import (
    REGISTRY,
    TUNNEL_UUID,
    UPLINK_UUID,
    ScriptedNetworkManager,
    peer_key,
    wireguard_profile,
)
from wgsd_nm.agent.networkmanager import NetworkManager
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus
from wgsd_nm.bus.message import Kind, Message
from wgsd_nm.core.model import Connectivity, Network, ProfilePeer, Tunnel, Uplink

DEADLINE = 10.0
PEERS = 2

UPLINK = Uplink(
    interface="eth0",
    connection_uuid=UPLINK_UUID,
    addresses=(ip_interface("192.168.1.10/24"),),
    gateways=(ip_address("192.168.1.1"),),
    metric=100,
    name_servers=(ip_address("192.168.1.1"),),
)
TUNNEL = Tunnel(
    interface="wg0",
    connection_id="tunnel",
    connection_uuid=TUNNEL_UUID,
    activation="",  # another one each time
    public_key=peer_key(-1),
    addresses=(ip_interface("10.77.0.1/16"),),
    peers=(
        ProfilePeer(peer_key(REGISTRY), "203.0.113.254:51820", 25, (ip_network("10.77.0.2/32"),)),
        ProfilePeer(peer_key(1), "", 25, (ip_network("10.77.0.3/32"),)),
        ProfilePeer(peer_key(2), "", 25, (ip_network("10.77.0.4/32"),)),
    ),
    dns=(ip_address("10.77.0.2"),),
    search=("example.com",),
)
NETWORK = Network(
    available=True,
    connectivity=Connectivity.FULL,
    uplinks=(UPLINK,),
    tunnels=(TUNNEL,),
    carrier=frozenset({"eth0"}),
)


def anonymous(network: Network) -> Network:
    """The snapshot without the paths that NetworkManager counts up."""
    return replace(network, tunnels=tuple(replace(tunnel, activation="") for tunnel in network.tunnels))


class CountingBus(Bus):
    """A bus that keeps which signals arrived, each of which wakes the process, and which calls are under way."""

    def __init__(self, *, system: bool, address: str) -> None:
        super().__init__(system=system, address=address)
        self.signals: list[str] = []
        self._under_way: set[asyncio.Future[list[Any]]] = set()

    async def call(self, *arguments: Any, **options: Any) -> list[Any]:
        reply = asyncio.ensure_future(super().call(*arguments, **options))
        self._under_way.add(reply)
        reply.add_done_callback(self._under_way.discard)
        return await reply

    async def replies(self) -> None:
        """Every call that is under way has been answered, and its caller has had its turn."""
        await asyncio.gather(*self._under_way, return_exceptions=True)
        for _ in range(5):
            await asyncio.sleep(0)

    def _receive(self, message: Message) -> None:
        if message.kind is Kind.SIGNAL:
            self.signals.append(message.member)
        super()._receive(message)


class Watcher:
    """An adapter on a connection of its own, and what it told."""

    def __init__(self, address: str) -> None:
        self.bus = CountingBus(system=True, address=address)
        self.networks: list[Network] = []
        self.times: list[int] = []
        self.adapter = NetworkManager(self.bus, self._heard)
        self._news = asyncio.Event()

    def _heard(self, network: Network) -> None:
        self.networks.append(network)
        self.times.append(time.monotonic_ns())
        self._news.set()

    async def until(self, predicate: Callable[[Network], bool], what: str, deadline: float = DEADLINE) -> Network:
        """The last snapshot, as soon as it is such a one."""
        try:
            async with asyncio.timeout(deadline):
                while not self.networks or not predicate(self.networks[-1]):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pytest.fail(f"waited in vain for {what}; the snapshots were {self.networks}")
        return self.networks[-1]

    async def quiet(self) -> None:
        """All that NetworkManager said before has been heard, and what it was asked for thereupon."""
        for _ in range(2):
            await self.bus.call(names.NM, names.NM_PATH, names.PEER, "Ping")
            await self.bus.replies()


@dataclass
class Stage:
    """A scripted NetworkManager that is up, and a watcher that has seen it."""

    address: str
    network_manager: ScriptedNetworkManager
    watcher: Watcher


@asynccontextmanager
async def staged(address: str, peers: int = PEERS) -> AsyncIterator[Stage]:
    bus = Bus(system=True, address=address)
    await bus.connect()
    network_manager = ScriptedNetworkManager(bus, wireguard_profile(peers))
    await network_manager.appear()
    watcher = Watcher(address)
    await watcher.bus.connect()
    await watcher.adapter.start()
    try:
        await watcher.until(lambda network: bool(network.tunnels), "the tunnel")
        yield Stage(address, network_manager, watcher)
    finally:
        await watcher.adapter.close()
        await watcher.bus.close()
        await bus.close()


@pytest.fixture
def address() -> Iterator[str]:
    with PrivateBus(system=True, names=[names.NM]) as bus:
        yield bus.address


def run(address: str, test: Callable[[Stage], Coroutine[Any, Any, None]], peers: int = PEERS) -> None:
    async def main() -> None:
        async with staged(address, peers) as stage:
            await test(stage)

    asyncio.run(main())


def test_the_first_snapshot_is_whole(address: str) -> None:
    async def test(stage: Stage) -> None:
        assert [anonymous(network) for network in stage.watcher.networks] == [NETWORK]

    run(address, test)


def test_a_tunnel_comes_and_goes_in_one_step_each(address: str) -> None:
    async def test(stage: Stage) -> None:
        watcher = stage.watcher
        first = watcher.networks[-1].tunnels[0].activation
        await stage.network_manager.deactivate()
        assert await watcher.until(lambda network: not network.tunnels, "no tunnel") == replace(NETWORK, tunnels=())
        await stage.network_manager.begin_activation()
        await watcher.quiet()  # in which the real one takes a second
        await stage.network_manager.complete_activation()
        await watcher.until(lambda network: bool(network.tunnels), "the tunnel")
        await watcher.quiet()
        assert [anonymous(network) for network in watcher.networks] == [NETWORK, replace(NETWORK, tunnels=()), NETWORK]
        assert watcher.networks[-1].tunnels[0].activation not in ("", first)

    run(address, test)


def test_a_reconnect_is_another_activation(address: str) -> None:
    async def test(stage: Stage) -> None:
        watcher = stage.watcher
        first = watcher.networks[-1].tunnels[0].activation
        await stage.network_manager.reconnect()
        await watcher.until(lambda network: bool(network.tunnels) and network.tunnels[0].activation != first, "another")
        assert [len(network.tunnels) for network in watcher.networks] == [1, 0, 1]

    run(address, test)


def test_another_network(address: str) -> None:
    async def test(stage: Stage) -> None:
        watcher = stage.watcher
        await stage.network_manager.cable_pulled()
        offline = await watcher.until(lambda network: network.connectivity is Connectivity.LIMITED, "no connectivity")
        assert anonymous(offline) == replace(
            NETWORK, uplinks=(), carrier=frozenset(), connectivity=Connectivity.LIMITED
        )
        await stage.network_manager.uplink("192.168.3.77/24", "192.168.3.1")
        online = await watcher.until(lambda network: bool(network.uplinks) and network.uplinks[0].metric == 100, "all")
        assert [len(network.uplinks) for network in watcher.networks] == [1, 1, 0, 0, 1, 1, 1]
        moved = replace(
            UPLINK,
            addresses=(ip_interface("192.168.3.77/24"),),
            gateways=(ip_address("192.168.3.1"),),
            name_servers=(ip_address("192.168.3.1"),),
        )
        assert anonymous(online) == replace(NETWORK, uplinks=(moved,))
        assert all(len(network.tunnels) == 1 for network in watcher.networks), "the tunnel is left alone"

    run(address, test)


def test_a_quick_cable_move(address: str) -> None:
    async def test(stage: Stage) -> None:
        watcher = stage.watcher
        await stage.network_manager.cable_moved_quickly()
        await watcher.until(lambda network: network.connectivity is Connectivity.LIMITED, "limited connectivity")
        bare = replace(NETWORK, carrier=frozenset())
        assert [anonymous(network) for network in watcher.networks] == [
            NETWORK,
            bare,
            replace(bare, connectivity=Connectivity.NONE),
            replace(NETWORK, connectivity=Connectivity.NONE),
            replace(NETWORK, connectivity=Connectivity.LIMITED),
        ]

    run(address, test)


def test_a_captive_portal(address: str) -> None:
    async def test(stage: Stage) -> None:
        watcher = stage.watcher
        await stage.network_manager.connectivity("2")
        found = await watcher.until(lambda network: network.uplinks[0].metric == 20100, "the penalty")
        assert found.connectivity is Connectivity.PORTAL
        await stage.network_manager.connectivity("4")
        await watcher.until(lambda network: anonymous(network) == NETWORK, "the network as it was")

    run(address, test)


def test_noise_wakes_nobody(address: str) -> None:
    async def test(stage: Stage) -> None:
        watcher = stage.watcher
        await watcher.quiet()
        watcher.bus.signals.clear()
        await stage.network_manager.wifi_noise("30")
        await watcher.quiet()
        assert watcher.bus.signals == []
        assert len(watcher.networks) == 1

    run(address, test)


def test_noise_can_be_heard_at_all(address: str) -> None:
    async def test(stage: Stage) -> None:
        heard: list[str] = []
        await stage.watcher.bus.subscribe(
            lambda path, _: heard.append(path),
            sender=names.NM,
            interface=names.PROPERTIES,
            member="PropertiesChanged",
            arg0=STATISTICS,
        )
        await stage.network_manager.wifi_noise("3")
        await stage.watcher.quiet()
        assert len(heard) == 6
        assert len(stage.watcher.bus.signals) > 6

    run(address, test)


def test_a_changed_profile(address: str) -> None:
    async def test(stage: Stage) -> None:
        profile = wireguard_profile(PEERS + 1, search="~example.net")
        await stage.network_manager.update_profile(profile)
        found = await stage.watcher.until(lambda network: len(network.tunnels[0].peers) == PEERS + 2, "a peer more")
        assert found.tunnels[0].search == ("example.net",)

    run(address, test)


def test_a_restart_of_networkmanager(address: str) -> None:
    async def test(stage: Stage) -> None:
        watcher = stage.watcher
        await stage.network_manager.vanish()
        assert await watcher.until(lambda network: not network.available, "its absence") == Network()
        watcher.networks.clear()
        await stage.network_manager.appear()
        await watcher.until(lambda network: anonymous(network) == NETWORK, "the network as it was")

    run(address, test)


def test_sleep_and_wake(address: str) -> None:
    async def test(stage: Stage) -> None:
        watcher = stage.watcher
        await stage.network_manager.sleep()
        await watcher.until(lambda network: not network.uplinks, "no uplink")
        await stage.network_manager.wake()
        await watcher.until(lambda network: anonymous(network) == NETWORK, "the network as it was")
        assert len({network.tunnels[0].activation for network in watcher.networks}) == 1

    run(address, test)


def test_a_tunnel_that_networkmanager_leaves_alone(address: str) -> None:
    async def test(stage: Stage) -> None:
        watcher = stage.watcher
        activations = []
        for _ in range(2):
            del watcher.networks[:-1]
            await stage.network_manager.foreign()
            await watcher.quiet()
            _, tunnel = watcher.networks[-1].tunnels
            activations.append(tunnel.activation)
            assert replace(tunnel, activation="") == Tunnel(
                "wg7", "wg7", "", "", peer_key(-1), addresses=(ip_interface("10.78.0.1/24"),)
            )
        assert len(set(activations)) == 2, "the link was made anew"
        await stage.network_manager.foreign_gone()
        await watcher.until(lambda network: anonymous(network) == NETWORK, "one tunnel")

    run(address, test)


def test_a_lost_bus_is_a_lost_networkmanager() -> None:
    async def test(stage: Stage, bus: PrivateBus) -> None:
        watcher = stage.watcher
        bus.stop()
        assert await watcher.until(lambda network: not network.available, "its absence") == Network()
        bus.start()
        watcher.networks.clear()
        again = Bus(system=True, address=bus.address)
        await again.connect()
        await ScriptedNetworkManager(again, wireguard_profile(PEERS)).appear()
        await watcher.bus.connect()
        await watcher.until(lambda network: anonymous(network) == NETWORK, "the network as it was")
        await again.close()

    async def main(bus: PrivateBus) -> None:
        async with staged(bus.address) as stage:
            await test(stage, bus)

    with PrivateBus(system=True, names=[names.NM]) as bus:
        asyncio.run(main(bus))


def test_a_networkmanager_that_comes_later(address: str) -> None:
    async def main() -> None:
        watcher = Watcher(address)
        await watcher.adapter.start()
        await watcher.bus.connect()
        assert await watcher.until(lambda network: not network.available, "its absence") == Network()
        bus = Bus(system=True, address=address)
        await bus.connect()
        await ScriptedNetworkManager(bus, wireguard_profile(PEERS)).appear()
        await watcher.until(lambda network: anonymous(network) == NETWORK, "the network")
        await watcher.adapter.close()
        await watcher.bus.close()
        await bus.close()

    asyncio.run(main())


def test_signals_while_the_objects_are_read(address: str) -> None:
    """However reads and signals cross, the last snapshot is the truth."""

    async def test(stage: Stage) -> None:
        for number in range(30):
            watcher = Watcher(address)
            await watcher.bus.connect()
            await watcher.adapter.start()
            for _ in range(number % 7):
                await asyncio.sleep(0)
            if number % 2:
                await stage.network_manager.cable_pulled()
                await watcher.quiet()
                assert watcher.networks[-1].uplinks == ()
                assert watcher.networks[-1].connectivity is Connectivity.LIMITED
                await stage.network_manager.uplink("192.168.1.10/24", "192.168.1.1")
            else:
                await stage.network_manager.reconnect()
                await stage.network_manager.deactivate()
                await stage.network_manager.activate()
            active = stage.network_manager.objects.get(
                ScriptedNetworkManager.TUNNEL, names.NM_DEVICE, "ActiveConnection"
            )
            expected = replace(NETWORK, tunnels=(replace(TUNNEL, activation=active),))
            for each in (watcher, stage.watcher):
                await each.until(lambda network, expected=expected: network == expected, "the network as it is")  # type: ignore[misc]
            await watcher.adapter.close()
            await watcher.bus.close()

    run(address, test)


def test_a_program_of_its_own() -> None:
    with PrivateBus(system=True, names=[names.NM]) as bus:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.scripted_nm", "--peers", "5", "--down"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **bus.environment},
        )
        with process:
            assert process.stdin is not None
            assert process.stdout is not None

            def play(line: str) -> list[str]:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(line + "\n")
                process.stdin.flush()
                return process.stdout.readline().split()

            async def main() -> None:
                watcher = Watcher(bus.address)
                await watcher.bus.connect()
                await watcher.adapter.start()
                await watcher.until(lambda network: network.available, "NetworkManager")
                assert await asyncio.to_thread(play, "uplink 192.0.2.7/24 192.0.2.1") != []
                await watcher.until(lambda network: bool(network.uplinks), "the uplink")
                before = time.monotonic_ns()
                done, command, mark = await asyncio.to_thread(play, "activate")
                assert (done, command) == ("ok", "activate")
                assert before < int(mark) < time.monotonic_ns()
                found = await watcher.until(lambda network: bool(network.tunnels), "the tunnel")
                assert len(found.tunnels[0].peers) == 6
                assert (await asyncio.to_thread(play, "dance"))[0] == "error"
                assert (await asyncio.to_thread(play, "uplink"))[0] == "error"
                await watcher.adapter.close()
                await watcher.bus.close()

            assert process.stdout.readline() == "ready\n"
            asyncio.run(main())
            process.stdin.close()
        assert process.returncode == 0
