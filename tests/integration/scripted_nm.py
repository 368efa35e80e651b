# SPDX-License-Identifier: GPL-2.0-or-later
"""A NetworkManager that plays what the real one was seen to do: an Ethernet uplink, a WireGuard connection.

The order of its signals is that of NetworkManager 1.42; tests/lab/test_networkmanager.py holds it to the real one.
It moves no packet. In the process of a test it is the class ScriptedNetworkManager; as a program it reads commands:

    python3 -m tests.integration.scripted_nm --peers 20

on the bus of DBUS_SYSTEM_BUS_ADDRESS. It says `ready` when it owns its name. Each line of its input is a command (the
name of a scene below, and its arguments); after each it says `ok COMMAND NANOSECONDS`, the CLOCK_MONOTONIC time just
before the signal that completed the change, or `error TEXT`. It ends with its input.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import inspect
import sys
import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface
from typing import Final

from tests.integration.nm_objects import (
    ACCESS_POINT,
    NONE,
    SETTINGS_PATH,
    STATISTICS,
    WIRELESS,
    Objects,
    Profile,
)
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus
from wgsd_nm.bus.marshal import Variant
from wgsd_nm.core.model import PublicKey

ETHERNET, WIFI, WIREGUARD, LOOPBACK = 1, 2, 29, 32  # NMDeviceType
UNKNOWN, NO_INTERNET, PORTAL, LIMITED, FULL = range(5)  # NMConnectivityState
PENALTY: Final = 20000  # what NetworkManager adds to the metric of a default route without connectivity
METRIC: Final = 100

UPLINK_UUID: Final = "11111111-1111-4111-8111-111111111111"
TUNNEL_UUID: Final = "22222222-2222-4222-8222-222222222222"
REGISTRY: Final = 0
"""The number of the registry's peer."""


def peer_key(number: int) -> PublicKey:
    """The public key of peer `number`; of the laptop itself for -1."""
    return PublicKey(hashlib.sha256(f"scripted peer {number}".encode()).digest())


def peer_address(number: int) -> IPv4Address:
    """The address of peer `number` in the tunnel: the laptop's is 10.77.0.1, the registry's 10.77.0.2, and so on."""
    return IPv4Address("10.77.0.2") + number


def wireguard_profile(
    peers: int, registry_endpoint: str = "203.0.113.254:51820", search: str = "example.com", keepalive: int = 25
) -> Profile:
    """The profile of a tunnel: the registry with its endpoint, and peers 1 to `peers` without."""

    def peer(number: int, endpoint: str = "") -> dict[str, Variant]:
        return {
            "public-key": Variant("s", str(peer_key(number))),
            "allowed-ips": Variant("as", [f"{peer_address(number)}/32"]),
            "persistent-keepalive": Variant("u", keepalive),
        } | ({"endpoint": Variant("s", endpoint)} if endpoint else {})

    registry = [int.from_bytes(peer_address(REGISTRY).packed, sys.byteorder)]
    return {
        "connection": {
            "id": Variant("s", "tunnel"),
            "uuid": Variant("s", TUNNEL_UUID),
            "type": Variant("s", "wireguard"),
            "interface-name": Variant("s", "wg0"),
            "permissions": Variant("as", []),
        },
        "wireguard": {
            "listen-port": Variant("u", 51820),
            "peers": Variant(
                "aa{sv}", [peer(REGISTRY, registry_endpoint), *(peer(number) for number in range(1, peers + 1))]
            ),
        },
        "ipv4": {
            "method": Variant("s", "manual"),
            "dns": Variant("au", registry),
            "dns-search": Variant("as", [search]),
        },
        "ipv6": {"method": Variant("s", "disabled"), "dns": Variant("aay", []), "dns-search": Variant("as", [])},
    }


def _ethernet_profile() -> Profile:
    return {
        "connection": {
            "id": Variant("s", "uplink"),
            "uuid": Variant("s", UPLINK_UUID),
            "type": Variant("s", "802-3-ethernet"),
        },
        "ipv4": {"method": Variant("s", "auto")},
    }


class ScriptedNetworkManager:
    """NetworkManager's name and objects on a bus. The public coroutines but `appear` and `vanish` are its scenes."""

    LOOPBACK = f"{names.NM_PATH}/Devices/1"
    UPLINK = f"{names.NM_PATH}/Devices/2"
    TUNNEL = f"{names.NM_PATH}/Devices/3"
    WIRELESS = f"{names.NM_PATH}/Devices/4"
    UPLINK_PROFILE = f"{SETTINGS_PATH}/1"
    TUNNEL_PROFILE = f"{SETTINGS_PATH}/2"

    def __init__(self, bus: Bus, profile: Profile) -> None:
        self.objects = Objects(bus)
        self.mark = 0
        """CLOCK_MONOTONIC, in nanoseconds, just before the signal that completed the last scene's change."""
        self._bus = bus
        self._profile = profile
        self._count = 0
        self._foreign = NONE
        self._access_points: list[str] = []

    async def appear(self, *, up: bool = True) -> None:
        """NetworkManager starts; with `up` it brings up the uplink and the tunnel."""
        await self._bus.request_name(names.NM)
        self._count = 0
        self._access_points = []
        add = self.objects.add
        add(SETTINGS_PATH, {names.NM_SETTINGS: {"CanModify": True}})
        add(names.NM_PATH, {names.NM: {"NetworkingEnabled": True, "State": 20, "Version": "1.42.4", "Metered": 4}})
        self.objects.add_profile(self.UPLINK_PROFILE, _ethernet_profile())
        self.objects.add_profile(self.TUNNEL_PROFILE, self._profile)
        self._add_device(self.LOOPBACK, LOOPBACK, "lo", {STATISTICS: {}}, State=10)
        wired = {"Carrier": True, "HwAddress": "02:00:00:00:00:01", "Speed": 1000}
        self._add_device(self.UPLINK, ETHERNET, "eth0", {names.NM_WIRED: wired, STATISTICS: {}}, State=20)
        tunnel = {names.NM_DEVICE: {"DeviceType": WIREGUARD, "Interface": "wg0", "State": 10}}
        add(self.TUNNEL, {**tunnel, names.NM_WIREGUARD: {"PublicKey": bytes(32)}, STATISTICS: {}})
        self._add_device(
            self.WIRELESS, WIFI, "wlan0", {WIRELESS: {"ActiveAccessPoint": NONE}, STATISTICS: {}}, State=30
        )
        await self._device(self.UPLINK, IpInterface="")
        if up:
            await self.uplink("192.168.1.10/24", "192.168.1.1")
            await self.activate()

    async def vanish(self) -> None:
        """NetworkManager ends. The kernel's devices would stay."""
        await self._bus.release_name(names.NM)
        self.objects.clear()

    # Scenes

    async def restart(self) -> None:
        """NetworkManager is started again, and takes over what is up."""
        await self.vanish()
        await self.appear()

    async def uplink(self, address: str, gateway: str) -> None:
        """The card has a link: a lease with this ADDRESS/PREFIX, and the way out through this gateway."""
        device, active = self.UPLINK, self._new("ActiveConnection")
        if not self.objects.get(device, names.NM_WIRED, "Carrier"):
            await self.objects.set(device, names.NM_WIRED, Carrier=True)
        await self._state(device, 30)
        self._add_active(active, "uplink", UPLINK_UUID, "802-3-ethernet", self.UPLINK_PROFILE, device)
        await self._tell_actives()
        await self._device(device, ActiveConnection=active)
        await self._state(device, 40)
        await self.objects.set(active, names.NM_ACTIVE, State=1)
        await self._manager_state(40)
        await self._state(device, 50, 70)
        await self._device(device, Metered=4)
        await self.objects.set(active, names.NM_ACTIVE, Default=True)
        await self._manager(PrimaryConnection=active)
        await self._manager(PrimaryConnectionType="802-3-ethernet")
        await self._manager(Metered=4)
        online = self.objects.get(names.NM_PATH, names.NM, "Connectivity") in (UNKNOWN, FULL)
        await self._configure(device, IPv4Interface(address), gateway, METRIC if online else METRIC + PENALTY)
        self._now()
        await self._state(device, 80)
        await self._device(device, IpInterface="eth0")
        await self._device(device, Ip4Connectivity=FULL)
        await self._manager(Connectivity=FULL)
        await self._state(device, 90)
        await self._activated(device)
        await self._manager_state(70)
        await self.objects.set(active, names.NM_ACTIVE, Ip4Config=self._config_of(device))
        await self._set_metric(METRIC)

    async def cable_pulled(self) -> None:
        """The link is away for longer than carrier-wait-timeout."""
        device = self.UPLINK
        active = self.objects.get(device, names.NM_DEVICE, "ActiveConnection")
        self._now()
        await self.objects.set(device, names.NM_WIRED, Carrier=False)
        await self._device(device, AvailableConnections=[])
        await self._device(device, Metered=0)
        await self._manager(Metered=0)
        await self.objects.set(active, names.NM_ACTIVE, Default=False)
        await self._release(device, active, 20, reason=40)
        await self._manager(PrimaryConnection=NONE)
        await self._manager(PrimaryConnectionType="")
        await self._unconfigure(device)
        self.objects.remove(active)
        await self._tell_actives()
        await self._device(device, Ip4Connectivity=NO_INTERNET)
        await self._manager_state(50)
        await self._manager(Connectivity=LIMITED)

    async def cable_moved_quickly(self) -> None:
        """The link blinks: nothing changes but Carrier and Connectivity, and no lease comes."""
        self._now()
        await self.objects.set(self.UPLINK, names.NM_WIRED, Carrier=False)
        await self._device(self.UPLINK, Ip4Connectivity=NO_INTERNET)
        await self._manager_state(60)
        await self._manager(Connectivity=NO_INTERNET)
        await self.objects.set(self.UPLINK, names.NM_WIRED, Carrier=True)
        await self._device(self.UPLINK, Ip4Connectivity=LIMITED)
        await self._manager(Connectivity=LIMITED)

    async def connectivity(self, value: str) -> None:
        """The check finds another: 2 a captive portal, 3 limited, 4 full. Without full the metric rises."""
        found = int(value)
        await self._device(self.UPLINK, Ip4Connectivity=found)
        await self._manager_state(70 if found == FULL else 60)
        self._now()
        await self._manager(Connectivity=found)
        await self._set_metric(METRIC if found == FULL else METRIC + PENALTY)

    async def activate(self) -> None:
        """`nmcli connection up` of the tunnel."""
        await self.begin_activation()
        await self.complete_activation()

    async def begin_activation(self) -> None:
        """The greater part of `activate`, in which the real one spends nearly all of its time."""
        device, active = self.TUNNEL, self._new("ActiveConnection")
        configs = {"Ip4Config": self._new("IP4Config"), "Ip6Config": self._new("IP6Config")}
        self._add_configs(**configs)
        await self._device(device, IpInterface="wg0", Mtu=1420, Real=True, **configs)
        await self.objects.set(device, names.NM_WIREGUARD, PublicKey=bytes(32), ListenPort=0)
        self.objects.signal(names.NM_PATH, names.NM, "DeviceAdded", device)
        await self._state(device, 20)
        await self._device(device, IpInterface="")
        await self._device(device, Managed=True)
        await self._state(device, 30)
        self._add_active(active, "tunnel", TUNNEL_UUID, "wireguard", self.TUNNEL_PROFILE, device)
        await self._tell_actives()
        await self.objects.set(device, names.NM_WIREGUARD, ListenPort=40001)
        await self._prepare_tunnel(active)

    async def complete_activation(self) -> None:
        """The rest of `activate`: the device is activated, and what follows that."""
        self._now()
        await self._activated(self.TUNNEL)
        await self._device(self.TUNNEL, Metered=4)
        await self._device(self.TUNNEL, Ip4Connectivity=LIMITED)

    async def deactivate(self) -> None:
        """`nmcli connection down` of the tunnel."""
        device = self.TUNNEL
        active = self.objects.get(device, names.NM_DEVICE, "ActiveConnection")
        configs = [self.objects.get(device, names.NM_DEVICE, name) for name in ("Ip6Config", "Ip4Config")]
        self._now()
        await self._disconnect(device, active, reason=39)
        await self._device(device, Metered=0)
        await self._release(device, active, 30, reason=39)
        await self._unconfigure(device)
        await self._device(device, Ip4Config=NONE, Ip6Config=NONE, Mtu=0, Real=False)
        self.objects.signal(names.NM_PATH, names.NM, "DeviceRemoved", device)
        await self._state(device, 10)
        await self._device(device, Managed=False)
        self.objects.remove(active)
        await self._tell_actives()
        for config in configs:
            self.objects.remove(config)

    async def reconnect(self) -> None:
        """`nmcli connection up` while the tunnel is up: the kernel's peers are made anew."""
        device, active = self.TUNNEL, self._new("ActiveConnection")
        before = self.objects.get(device, names.NM_DEVICE, "ActiveConnection")
        await self._disconnect(device, before, reason=60)
        self._add_active(active, "tunnel", TUNNEL_UUID, "wireguard", self.TUNNEL_PROFILE, device)
        await self._tell_actives()
        await self._device(device, Metered=0)
        await self._release(device, before, 30, reason=60)
        await self._unconfigure(device)
        self.objects.remove(before)
        await self._tell_actives()
        await self._prepare_tunnel(active)
        await self.complete_activation()

    async def now_external(self) -> None:
        """The tunnel's device turns out to be one that others made, and NetworkManager only watches."""
        active = self.objects.get(self.TUNNEL, names.NM_DEVICE, "ActiveConnection")
        await self.objects.set(active, names.NM_ACTIVE, StateFlags=0xCC)

    async def update_profile(self, profile: Profile) -> None:
        """`nmcli connection modify` of the tunnel."""
        self._profile = profile
        self._now()
        self.objects.set_profile(self.TUNNEL_PROFILE, profile)
        active = self.objects.get(self.TUNNEL, names.NM_DEVICE, "ActiveConnection")
        if active != NONE:
            await self._name_again(active)

    async def foreign(self) -> None:
        """Somebody makes a WireGuard device that NetworkManager was told to leave alone; takes the place of one."""
        if self._foreign in self.objects:
            await self.foreign_gone()
        self._foreign = self._new("Devices")
        configs = {"Ip4Config": self._new("IP4Config"), "Ip6Config": self._new("IP6Config")}
        self._add_configs(**configs)
        device = {"DeviceType": WIREGUARD, "Interface": "wg7", "IpInterface": "wg7", "State": 10, **configs}
        self.objects.add(self._foreign, {names.NM_DEVICE: device, names.NM_WIREGUARD: {"PublicKey": bytes(32)}})
        await self._device(self._foreign, Real=True)
        await self._configure(self._foreign, IPv4Interface("10.78.0.1/24"))
        self._now()
        await self.objects.set(self._foreign, names.NM_WIREGUARD, PublicKey=peer_key(-1).raw, ListenPort=7777)

    async def foreign_gone(self) -> None:
        """The device of `foreign` is deleted."""
        device = self._foreign
        configs = [self.objects.get(device, names.NM_DEVICE, name) for name in ("Ip6Config", "Ip4Config")]
        await self._unconfigure(device)
        self._now()
        await self._device(device, Ip4Config=NONE, Ip6Config=NONE, Real=False)
        for path in (device, *configs):
            self.objects.remove(path)

    async def wifi_noise(self, times: str = "20") -> None:
        """What a wireless card says all day: access points, their strength, bit rates, statistics."""
        self._now()
        for number in range(int(times)):
            point = self._new("AccessPoint")
            self.objects.add(point, {ACCESS_POINT: {"Ssid": b"cafe", "Strength": 40}})
            self._access_points.append(point)
            await self.objects.set(self.WIRELESS, WIRELESS, AccessPoints=list(self._access_points), LastScan=number)
            await self.objects.set(point, ACCESS_POINT, Strength=number % 100, LastSeen=number)
            await self.objects.set(self.WIRELESS, WIRELESS, Bitrate=1000 * number)
            for device in (self.UPLINK, self.WIRELESS):
                await self.objects.set(device, STATISTICS, RxBytes=number, TxBytes=number)
            if len(self._access_points) > 5:
                self.objects.remove(self._access_points.pop(0))

    async def sleep(self) -> None:
        """The laptop goes to sleep: the card is let go, the tunnel is left alone."""
        device = self.UPLINK
        active = self.objects.get(device, names.NM_DEVICE, "ActiveConnection")
        self._now()
        await self._manager_state(10)
        await self._disconnect(device, active, reason=37)
        await self._release(device, active, 30, reason=37)
        await self._unconfigure(device)
        self.objects.remove(active)
        await self._tell_actives()
        await self._state(device, 10, reason=37)
        await self._device(device, Managed=False)
        await self._manager(PrimaryConnection=NONE)
        await self._manager(Connectivity=NO_INTERNET)
        await self.objects.set(device, names.NM_WIRED, Carrier=False)

    async def wake(self) -> None:
        """The laptop wakes up where it was."""
        await self._device(self.UPLINK, Managed=True)
        await self._state(self.UPLINK, 20)
        await self.uplink("192.168.1.10/24", "192.168.1.1")

    # What scenes are made of

    def _now(self) -> None:
        self.mark = time.monotonic_ns()

    def _new(self, folder: str) -> str:
        self._count += 1
        return f"{names.NM_PATH}/{folder}/{self._count}"

    def _config_of(self, device: str) -> str:
        path: str = self.objects.get(device, names.NM_DEVICE, "Ip4Config")
        return path

    def _add_configs(self, *, Ip4Config: str, Ip6Config: str) -> None:  # noqa: N803  # as the properties are called
        self.objects.add(Ip4Config, {names.NM_IP4: {}})
        self.objects.add(Ip6Config, {names.NM_IP6: {}})

    def _add_device(
        self, path: str, kind: int, interface: str, others: Mapping[str, Mapping[str, object]], **values: object
    ) -> None:
        """A device that exists, with its configurations."""
        configs = {"Ip4Config": self._new("IP4Config"), "Ip6Config": self._new("IP6Config")}
        self._add_configs(**configs)
        device = {"DeviceType": kind, "Interface": interface, "IpInterface": interface, "Managed": True, "Real": True}
        self.objects.add(path, {names.NM_DEVICE: {**device, **configs, **values}, **others})

    def _add_active(self, path: str, name: str, uuid: str, kind: str, profile: str, device: str) -> None:
        values = {"Id": name, "Uuid": uuid, "Type": kind, "Connection": profile, "Devices": [device]}
        self.objects.add(path, {names.NM_ACTIVE: values})

    async def _device(self, path: str, **values: object) -> None:
        await self.objects.set(path, names.NM_DEVICE, **values)

    async def _manager(self, **values: object) -> None:
        await self.objects.set(names.NM_PATH, names.NM, **values)

    async def _manager_state(self, state: int) -> None:
        await self._manager(State=state)
        self.objects.signal(names.NM_PATH, names.NM, "StateChanged", state)

    async def _tell_actives(self) -> None:
        await self._manager(ActiveConnections=self.objects.paths(names.NM_ACTIVE))

    async def _state(self, path: str, *states: int, reason: int = 0) -> None:
        """A device passes through these states; each comes as three messages."""
        for state in states:
            before = self.objects.get(path, names.NM_DEVICE, "State")
            await self._device(path, State=state)
            await self._device(path, StateReason=[state, reason])
            self.objects.signal(path, names.NM_DEVICE, "StateChanged", state, before, reason)

    async def _active_state(self, path: str, state: int, reason: int) -> None:
        self.objects.signal(path, names.NM_ACTIVE, "StateChanged", state, reason)
        await self.objects.set(path, names.NM_ACTIVE, State=state)

    async def _name_again(self, active: str) -> None:
        """An activation says its name whenever its profile was updated."""
        await self.objects.set(active, names.NM_ACTIVE, Id="tunnel")
        await self.objects.set(active, names.NM_ACTIVE, Type="wireguard")

    async def _prepare_tunnel(self, active: str) -> None:
        """From DISCONNECTED to SECONDARIES."""
        device = self.TUNNEL
        await self._device(device, ActiveConnection=active)
        await self._state(device, 40)
        await self.objects.set(active, names.NM_ACTIVE, State=1)
        await self._manager(ActivatingConnection=active)
        await self._state(device, 50, 60)
        self.objects.signal(self.TUNNEL_PROFILE, names.NM_PROFILE, "Updated")
        await self._name_again(active)
        await self._state(device, 40, 50)
        if self.objects.get(device, names.NM_WIREGUARD, "PublicKey") != peer_key(-1).raw:
            await self.objects.set(device, names.NM_WIREGUARD, PublicKey=peer_key(-1).raw, ListenPort=51820)
        await self._state(device, 70, 80)
        await self._device(device, IpInterface="wg0")
        await self._configure(device, IPv4Interface("10.77.0.1/16"))
        await self._state(device, 90)

    async def _activated(self, device: str) -> None:
        active = self.objects.get(device, names.NM_DEVICE, "ActiveConnection")
        await self._state(device, 100)
        await self._active_state(active, 2, 0)
        await self._manager(ActivatingConnection=NONE)
        await self.objects.set(active, names.NM_ACTIVE, Ip4Config=self._config_of(device))

    async def _disconnect(self, device: str, active: str, reason: int) -> None:
        await self._state(device, 110, reason=reason)
        await self._active_state(active, 3, 2)

    async def _release(self, device: str, active: str, state: int, reason: int) -> None:
        """A device and its activation part."""
        await self._device(device, ActiveConnection=NONE)
        await self._state(device, state, reason=reason)
        await self._active_state(active, 4, 2)
        await self.objects.set(active, names.NM_ACTIVE, Devices=[])

    async def _configure(self, device: str, address: IPv4Interface, gateway: str = "", metric: int = 50) -> None:
        """Addresses and routes, as the kernel has them now; the gateway is the name server too."""
        routes = [_route(str(address.network.network_address), address.network.prefixlen, metric % PENALTY)]
        await self.objects.set(
            self._config_of(device),
            names.NM_IP4,
            AddressData=[{"address": Variant("s", str(address.ip)), "prefix": Variant("u", address.network.prefixlen)}],
            Gateway=gateway,
            NameserverData=[{"address": Variant("s", gateway)}] if gateway else [],
            RouteData=[*routes, *([_route("0.0.0.0", 0, metric, gateway)] if gateway else [])],
        )

    async def _unconfigure(self, device: str) -> None:
        await self._device(device, IpInterface="")
        await self.objects.set(
            self._config_of(device), names.NM_IP4, AddressData=[], Gateway="", NameserverData=[], RouteData=[]
        )

    async def _set_metric(self, metric: int) -> None:
        """Another metric of the uplink's default route."""
        config = self._config_of(self.UPLINK)
        network, default = self.objects.get(config, names.NM_IP4, "RouteData")
        if default["metric"].value != metric:
            default = {**default, "metric": Variant("u", metric)}
            await self.objects.set(config, names.NM_IP4, RouteData=[network, default])


def _route(destination: str, prefix: int, metric: int, gateway: str = "") -> dict[str, Variant]:
    hop = {"next-hop": Variant("s", gateway)} if gateway else {}
    return {
        "dest": Variant("s", destination),
        "prefix": Variant("u", prefix),
        "metric": Variant("u", metric),
        **hop,
    }


SCENES: Final = (
    "appear", "vanish", "restart", "uplink", "cable_pulled", "cable_moved_quickly", "connectivity", "activate",
    "begin_activation", "complete_activation", "deactivate", "reconnect", "foreign", "foreign_gone", "wifi_noise",
    "sleep", "wake",
)  # fmt: skip
"""What can be played by a line of text."""


async def _play(network_manager: ScriptedNetworkManager, words: Sequence[str]) -> str:
    """Plays one command, and returns the line that answers it."""
    if not words or words[0] not in SCENES:
        return f"error expected one of {', '.join(SCENES)}"
    scene = getattr(network_manager, words[0])
    try:
        inspect.signature(scene).bind(*words[1:])
    except TypeError as error:
        return f"error {words[0]}: {error}"
    try:
        await scene(*words[1:])
    except (ValueError, KeyError, AssertionError) as error:
        return f"error {words[0]}: {error!r}"
    return f"ok {words[0]} {network_manager.mark}"


async def _serve(options: argparse.Namespace) -> None:
    bus = Bus(system=True)
    await bus.connect()
    profile = wireguard_profile(options.peers, options.registry_endpoint, options.search, options.keepalive)
    network_manager = ScriptedNetworkManager(bus, profile)
    await network_manager.appear(up=not options.down)
    print("ready", flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        print(await _play(network_manager, line.decode().split()), flush=True)
    await bus.close()


def main() -> None:
    """Do what the command line and the input say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=int, default=3, help="peers of the tunnel beside the registry (%(default)s)")
    parser.add_argument("--registry-endpoint", default="203.0.113.254:51820", metavar="ADDRESS:PORT")
    parser.add_argument(
        "--search", default="example.com", metavar="ZONE", help="the profile's dns-search (%(default)s)"
    )
    parser.add_argument("--keepalive", type=int, default=25, metavar="SECONDS", help="of all peers (%(default)s)")
    parser.add_argument("--down", action="store_true", help="begin with nothing activated")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
