# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import asyncio
import time

from lab.world import Laptop, World
from tests.integration.test_agent_networkmanager import Watcher
from wgsd_nm.core.model import Network


def outline(network: Network) -> str:
    return (
        f"{'+' if network.available else '-'} {network.connectivity.name:8} "
        f"up={[(u.interface, str(u.addresses[0]), [str(g) for g in u.gateways], u.metric) for u in network.uplinks]} carrier={sorted(network.carrier)} "
        f"tun={[(t.interface, t.activation.rpartition('/')[2], str(t.public_key)[:4], [str(a) for a in t.addresses], len(t.peers), t.dns, t.fwmark) for t in network.tunnels]}"
    )


def test_explore(world: World, alice: Laptop) -> None:
    async def main() -> None:
        watcher = Watcher(f"unix:path={alice.path('/run/dbus/system_bus_socket')}")
        await watcher.bus.connect()
        await watcher.adapter.start()
        await watcher.until(lambda n: bool(n.tunnels) and n.connectivity == 4, "tunnel")
        print("START"); [print("   ", outline(n)) for n in watcher.networks]

        async def scene(name, work, wait=None, timeout=40):
            watcher.networks.clear(); watcher.times.clear()
            t0 = time.monotonic_ns()
            r = await asyncio.to_thread(work)
            t1 = time.monotonic_ns()
            if wait:
                import tests.integration.test_agent_networkmanager as m
                m.DEADLINE = timeout
                try:
                    await watcher.until(wait, name)
                except BaseException as e:
                    print("TIMEOUT", name)
            await asyncio.sleep(3)
            before = len(watcher.networks)
            await watcher.adapter.refresh()
            print(name, f"took {(t1-t0)/1e9:.2f}", "REFRESH FOUND MORE" if len(watcher.networks) != before else "")
            for n, t in zip(watcher.networks, watcher.times): print(f"   {(t-t0)/1e9:.3f}", outline(n))

        await scene("DOWN", lambda: alice.nmcli("connection", "down", "wg0"))
        await scene("UP", lambda: alice.nmcli("connection", "up", "wg0"))
        await scene("RECONNECT", lambda: alice.nmcli("connection", "up", "wg0"))
        await scene("MODIFY", lambda: alice.nmcli("connection", "modify", "wg0", "ipv4.dns", "10.0.0.254", "ipv4.dns-search", "~example.com"))
        await scene("REAPPLY", lambda: alice.nmcli("device", "reapply", "wg0"))
        await scene("UNPLUG", alice.unplug, lambda n: not n.uplinks)
        await scene("PLUG", lambda: alice.plug(world.nat_c), lambda n: n.connectivity == 4)
        def quick():
            alice.unplug(); alice.plug(world.nat_a)
        await scene("QUICK", quick)
        await scene("SLOW", lambda: alice.move(world.nat_a), lambda n: bool(n.uplinks) and n.connectivity == 4)
        await scene("PORTAL", lambda: (world.nat_a.set_captive(True), alice.connectivity(check=True)), lambda n: n.connectivity == 2)
        await scene("PORTAL END", lambda: (world.nat_a.set_captive(False), alice.connectivity(check=True)), lambda n: n.connectivity == 4)
        await scene("SLEEP", lambda: alice.busctl("call", "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager", "org.freedesktop.NetworkManager", "Sleep", "b", "true"))
        await scene("WAKE", lambda: alice.busctl("call", "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager", "org.freedesktop.NetworkManager", "Sleep", "b", "false"), lambda n: n.connectivity == 4)
        await scene("EXTERNAL", lambda: alice.ip("link add wg1 type wireguard", "addr add 10.9.0.1/24 dev wg1", "link set wg1 up"))
        await scene("EXTERNAL GONE", lambda: alice.ip("link del wg1"))
        await scene("DUMMY", lambda: alice.ip("link add dum0 type dummy", "addr add 10.8.0.1/24 dev dum0", "link set dum0 up"))
        await scene("DUMMY GONE", lambda: alice.ip("link del dum0"))
        await scene("STOP", lambda: alice.stop("NetworkManager"))
        await scene("START", alice.start_network_manager, lambda n: bool(n.tunnels) and n.connectivity == 4)
        await watcher.adapter.close()
        await watcher.bus.close()
    asyncio.run(main())
