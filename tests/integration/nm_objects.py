# SPDX-License-Identifier: GPL-2.0-or-later
"""NetworkManager's objects on a bus: what it exports of them, and the signals as they change.

It knows nothing of when anything changes: scripted_nm plays that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus, Caller, Interface, Method, Property, Signal
from wgsd_nm.bus.marshal import Variant
from wgsd_nm.core.errors import CallFailed

SETTINGS_PATH: Final = f"{names.NM_PATH}/Settings"
ACCESS_POINT: Final = f"{names.NM}.AccessPoint"
WIRELESS: Final = f"{names.NM_DEVICE}.Wireless"
STATISTICS: Final = f"{names.NM_DEVICE}.Statistics"
NONE: Final = "/"

PROPERTIES: Final[Mapping[str, Mapping[str, str]]] = {
    names.NM: {
        "ActivatingConnection": "o", "ActiveConnections": "ao", "AllDevices": "ao", "Connectivity": "u",
        "Devices": "ao", "Metered": "u", "NetworkingEnabled": "b", "PrimaryConnection": "o",
        "PrimaryConnectionType": "s", "Startup": "b", "State": "u", "Version": "s",
    },
    names.NM_DEVICE: {
        "ActiveConnection": "o", "AvailableConnections": "ao", "DeviceType": "u", "Interface": "s",
        "Ip4Config": "o", "Ip4Connectivity": "u", "Ip6Config": "o", "Ip6Connectivity": "u", "IpInterface": "s",
        "Managed": "b", "Metered": "u", "Mtu": "u", "Real": "b", "State": "u", "StateReason": "(uu)",
    },
    names.NM_WIRED: {"Carrier": "b", "HwAddress": "s", "Speed": "u"},
    names.NM_WIREGUARD: {"FwMark": "u", "ListenPort": "q", "PublicKey": "ay"},
    WIRELESS: {"AccessPoints": "ao", "ActiveAccessPoint": "o", "Bitrate": "u", "LastScan": "x"},
    STATISTICS: {"RefreshRateMs": "u", "RxBytes": "t", "TxBytes": "t"},
    ACCESS_POINT: {"LastSeen": "i", "Ssid": "ay", "Strength": "y"},
    names.NM_ACTIVE: {
        "Connection": "o", "Default": "b", "Default6": "b", "Devices": "ao", "Id": "s", "Ip4Config": "o",
        "Ip6Config": "o", "State": "u", "StateFlags": "u", "Type": "s", "Uuid": "s", "Vpn": "b",
    },
    names.NM_IP4: {"AddressData": "aa{sv}", "Gateway": "s", "NameserverData": "aa{sv}", "RouteData": "aa{sv}"},
    names.NM_IP6: {"AddressData": "aa{sv}", "Gateway": "s", "Nameservers": "aay", "RouteData": "aa{sv}"},
    names.NM_SETTINGS: {"CanModify": "b", "Connections": "ao", "Hostname": "s"},
    names.NM_PROFILE: {"Filename": "s", "Flags": "u", "Unsaved": "b"},
}  # fmt: skip
"""The signatures of the properties, of each interface that is played."""

SIGNALS: Final[Mapping[str, Mapping[str, str]]] = {
    names.NM: {"StateChanged": "u", "DeviceAdded": "o", "DeviceRemoved": "o"},
    names.NM_DEVICE: {"StateChanged": "uuu"},
    names.NM_ACTIVE: {"StateChanged": "uu"},
    WIRELESS: {"AccessPointAdded": "o", "AccessPointRemoved": "o"},
    names.NM_PROFILE: {"Updated": "", "Removed": ""},
}

_DEFAULTS: Final[Mapping[str, object]] = {"b": False, "s": "", "o": NONE, "(uu)": [0, 0], "ay": b""}

Profile = dict[str, dict[str, Variant]]
"""A profile as GetSettings returns it."""


class Objects:
    """The objects under /org/freedesktop, each by its path."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._values: dict[str, dict[str, dict[str, Any]]] = {}
        self._profiles: dict[str, Profile] = {}
        self.settings_read = 0
        """How often GetSettings was called."""
        bus.export(
            names.NM_ROOT_PATH,
            Interface(
                names.OBJECT_MANAGER,
                methods={"GetManagedObjects": Method(self._managed, results=(("objects", "a{oa{sa{sv}}}"),))},
                signals={
                    "InterfacesAdded": Signal((("path", "o"), ("interfaces", "a{sa{sv}}"))),
                    "InterfacesRemoved": Signal((("path", "o"), ("interfaces", "as"))),
                },
            ),
        )

    def __contains__(self, path: str) -> bool:
        return path in self._values

    def get(self, path: str, interface: str, name: str) -> Any:
        """A property's value. Raises CallFailed, as a caller is to be told, if the object is gone."""
        try:
            return self._values[path][interface][name]
        except KeyError:
            raise CallFailed(names.ERROR_UNKNOWN_OBJECT, f"no {interface} at {path}") from None

    def paths(self, interface: str) -> list[str]:
        """All objects that have the interface."""
        return [path for path, interfaces in self._values.items() if interface in interfaces]

    def add(self, path: str, interfaces: Mapping[str, Mapping[str, object]]) -> None:
        """A new object: interface -> its properties that differ from the defaults. Says InterfacesAdded."""
        self._values[path] = {
            interface: {
                name: values.get(
                    name, [] if signature.startswith("aa") or signature == "ao" else _DEFAULTS.get(signature, 0)
                )
                for name, signature in PROPERTIES[interface].items()
            }
            for interface, values in interfaces.items()
        }
        for interface in interfaces:
            self._bus.export(path, self._interface(path, interface))
        self._say("InterfacesAdded", path, self._shown(path))

    def add_profile(self, path: str, profile: Profile) -> None:
        """A new profile."""
        self._profiles[path] = profile
        self.add(path, {names.NM_PROFILE: {"Filename": f"{path}.nmconnection"}})

    def profile(self, path: str) -> Profile:
        """What GetSettings returns."""
        return self._profiles[path]

    def set_profile(self, path: str, profile: Profile) -> None:
        """Another text of a profile, and Updated."""
        self._profiles[path] = profile
        self.signal(path, names.NM_PROFILE, "Updated")

    def remove(self, path: str) -> None:
        """An object goes. Says InterfacesRemoved."""
        interfaces = list(self._values.pop(path))
        self._profiles.pop(path, None)
        self._say("InterfacesRemoved", path, interfaces)

    def clear(self) -> None:
        """All go, and nobody is told: NetworkManager has ended."""
        self._values.clear()
        self._profiles.clear()

    async def set(self, path: str, interface: str, **values: object) -> None:
        """New values of properties, in a PropertiesChanged of their own."""
        known = self._values[path][interface]
        unknown = values.keys() - known.keys()
        assert not unknown, f"{interface} has no {unknown}"
        known.update(values)
        self._bus.changed(path, interface, *values)
        await asyncio.sleep(0)  # the bus sends what changed at the end of this turn

    def signal(self, path: str, interface: str, member: str, *arguments: object) -> None:
        """Another signal of an object."""
        self._bus.emit(path, interface, member, *arguments)

    def _say(self, member: str, *arguments: object) -> None:
        self._bus.emit(names.NM_ROOT_PATH, names.OBJECT_MANAGER, member, *arguments)

    def _shown(self, path: str) -> dict[str, dict[str, Variant]]:
        return {
            interface: {name: Variant(PROPERTIES[interface][name], value) for name, value in values.items()}
            for interface, values in self._values[path].items()
        }

    async def _managed(self, _: Caller) -> Sequence[object]:
        return [{path: self._shown(path) for path in self._values}]

    def _interface(self, path: str, interface: str) -> Interface:
        return Interface(
            interface,
            methods=self._methods(path, interface),
            properties={
                name: Property(signature, self._getter(path, interface, name))
                for name, signature in PROPERTIES[interface].items()
            },
            signals={
                member: Signal(tuple((f"argument{number}", each) for number, each in enumerate(signature)))
                for member, signature in SIGNALS.get(interface, {}).items()
            },
        )

    def _getter(self, path: str, interface: str, name: str) -> Callable[[], object]:
        return lambda: self.get(path, interface, name)

    def _methods(self, path: str, interface: str) -> dict[str, Method]:
        async def get_settings(_: Caller) -> Sequence[object]:
            if path not in self._profiles:
                raise CallFailed(names.ERROR_UNKNOWN_OBJECT, f"no profile at {path}")
            self.settings_read += 1
            return [self._profiles[path]]

        async def list_connections(_: Caller) -> Sequence[object]:
            return [self.paths(names.NM_PROFILE)]

        async def get_device_by_ip_iface(_: Caller, interface: str) -> Sequence[object]:
            for device in self.paths(names.NM_DEVICE):
                if interface and self.get(device, names.NM_DEVICE, "IpInterface") == interface:
                    return [device]
            raise CallFailed(f"{names.NM}.UnknownDevice", "No device found for the requested iface.")

        match interface:
            case names.NM_PROFILE:
                return {"GetSettings": Method(get_settings, results=(("settings", "a{sa{sv}}"),))}
            case names.NM_SETTINGS:
                return {"ListConnections": Method(list_connections, results=(("connections", "ao"),))}
            case names.NM:
                return {
                    "GetDeviceByIpIface": Method(
                        get_device_by_ip_iface, arguments=(("iface", "s"),), results=(("device", "o"),)
                    )
                }
            case _:
                return {}
