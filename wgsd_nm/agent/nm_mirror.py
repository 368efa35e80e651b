# SPDX-License-Identifier: GPL-2.0-or-later
"""A mirror of NetworkManager's objects, as far as they matter here, and the Network that they make.

It is fed with the bodies of the ObjectManager's reply and signals, and knows nothing of a bus, of time or of waiting.
What cannot be understood is complained about and left out; nothing here raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from wgsd_nm.agent import nm_values as values
from wgsd_nm.agent.nm_profile import Profile
from wgsd_nm.bus import names
from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import (
    Connectivity,
    IPAddress,
    IPInterface,
    Network,
    PublicKey,
    Tunnel,
    Uplink,
    parse_interface,
    shown,
)

_R = TypeVar("_R")

_UNMANAGED: Final = 10  # NM_DEVICE_STATE_UNMANAGED and so on
_IP_CHECK: Final = 80
_ACTIVATED: Final = 100
_WIREGUARD: Final = 29  # NM_DEVICE_TYPE_WIREGUARD
_TUNNELS_OF_OTHERS: Final = frozenset({16, 32})  # NM_DEVICE_TYPE_TUN, NM_DEVICE_TYPE_LOOPBACK
_CARDS: Final = frozenset({1, 2, 5, 8, 9, 10, 11, 15})
"""Ethernet, Wi-Fi, Bluetooth, modem, InfiniBand, and the bond, VLAN and team that are made of them (NMDeviceType)."""

_NO_OBJECT: Final = ("", "/")


@dataclass(slots=True)
class _Manager:
    connectivity: Connectivity = Connectivity.UNKNOWN
    starting: bool = False


@dataclass(slots=True)
class _Device:
    type: int = 0
    state: int = 0
    real: bool = True
    interface: str = ""
    ip_interface: str = ""
    active: str = ""
    ip4: str = ""
    ip6: str = ""


@dataclass(slots=True)
class _Wired:
    carrier: bool = True


@dataclass(slots=True)
class _WireGuard:
    public_key: PublicKey | None = None
    fwmark: int = 0


@dataclass(slots=True)
class _Active:
    uuid: str = ""
    profile: str = ""


@dataclass(slots=True)
class _Config:
    addresses: tuple[IPInterface, ...] = ()
    routes: tuple[values.DefaultRoute, ...] = ()
    name_servers: tuple[IPAddress, ...] = ()


_Decode = Callable[[object, values.Complain], object]


def _plain(decode: Callable[[object], object]) -> _Decode:
    return lambda value, _complain: decode(value)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How an interface is mirrored: the record of an object, and per property its field and meaning."""

    record: Callable[[], object]
    properties: Mapping[str, tuple[str, _Decode]]


_KINDS: Final[Mapping[str, _Kind]] = {
    names.NM: _Kind(
        _Manager,
        {"Connectivity": ("connectivity", _plain(values.connectivity)), "Startup": ("starting", _plain(values.flag))},
    ),
    names.NM_DEVICE: _Kind(
        _Device,
        {
            "DeviceType": ("type", _plain(values.number)),
            "State": ("state", _plain(values.number)),
            "Real": ("real", _plain(values.flag)),
            "Interface": ("interface", _plain(values.text)),
            "IpInterface": ("ip_interface", _plain(values.text)),
            "ActiveConnection": ("active", _plain(values.text)),
            "Ip4Config": ("ip4", _plain(values.text)),
            "Ip6Config": ("ip6", _plain(values.text)),
        },
    ),
    names.NM_WIRED: _Kind(_Wired, {"Carrier": ("carrier", _plain(values.flag))}),
    names.NM_WIREGUARD: _Kind(
        _WireGuard,
        {"PublicKey": ("public_key", _plain(values.public_key)), "FwMark": ("fwmark", _plain(values.number))},
    ),
    names.NM_ACTIVE: _Kind(
        _Active, {"Uuid": ("uuid", _plain(values.text)), "Connection": ("profile", _plain(values.text))}
    ),
    names.NM_IP4: _Kind(
        _Config,
        {
            "AddressData": ("addresses", partial(values.addresses, 4)),
            "RouteData": ("routes", partial(values.default_routes, 4)),
            "NameserverData": ("name_servers", partial(values.name_servers, 4)),
        },
    ),
    names.NM_IP6: _Kind(
        _Config,
        {
            "AddressData": ("addresses", partial(values.addresses, 6)),
            "RouteData": ("routes", partial(values.default_routes, 6)),
            "Nameservers": ("name_servers", partial(values.name_servers, 6)),
        },
    ),
}

INTERFACES: Final = tuple(_KINDS)
"""The interfaces whose PropertiesChanged the mirror must hear."""

FOLDERS: Final = tuple(
    f"{names.NM_PATH}/{folder}/" for folder in ("Devices", "ActiveConnection", "IP4Config", "IP6Config", "Settings")
)
"""The paths below which objects matter as they come and go."""


@dataclass(slots=True)
class _Object:
    """What is known of one object. `unusable` are its properties, by interface, that came with no usable value."""

    records: dict[str, object] = field(default_factory=dict)
    unusable: set[tuple[str, str]] = field(default_factory=set)


class Mirror:
    """NetworkManager's objects. The methods that take a message tell whether anything changed that matters."""

    def __init__(self, complain: values.Complain) -> None:
        self._complain = complain
        self._objects: dict[str, _Object] = {}
        self._profiles: dict[str, Profile] = {}
        self._asked: dict[str, str] = {}
        self._outdated: set[str] = set()

    def load(self, objects: object) -> None:
        """The reply of ObjectManager.GetManagedObjects, into an empty mirror."""
        if isinstance(objects, dict):
            for path, interfaces in objects.items():
                self.added(names.NM_ROOT_PATH, [path, interfaces])
        else:
            self._complain_of(names.NM_ROOT_PATH, f"expected a dictionary of objects, not {shown(str(objects))}")

    def added(self, _path: str, body: list[Any]) -> bool:
        """Signal ObjectManager.InterfacesAdded(o, a{sa{sv}})."""
        match body:
            case [str(path), dict(interfaces)]:
                news = [
                    self._set(path, interface, properties, new=True)
                    for interface, properties in interfaces.items()
                    if interface in _KINDS
                ]
                return any(news)
        return self._odd(body)

    def removed(self, _path: str, body: list[Any]) -> bool:
        """Signal ObjectManager.InterfacesRemoved(o, as)."""
        match body:
            case [str(path), list(interfaces)]:
                return self._remove(path, interfaces)
        return self._odd(body)

    def changed(self, path: str, body: list[Any]) -> bool:
        """Signal Properties.PropertiesChanged(s, a{sv}, as) of the object at `path`."""
        match body:
            case [str(interface), dict(properties), *_]:
                known = self._objects.get(path)
                if known is None or interface not in known.records:
                    return False
                has_gone = interface == names.NM_DEVICE and properties.get("Real") is False
                forgotten = has_gone and self._forget_key(path)
                return self._set(path, interface, properties, new=False) or forgotten
        return self._odd(body)

    def updated(self, path: str, _body: list[Any]) -> bool:
        """Signal Settings.Connection.Updated() of the profile at `path`: what is known of it may be old."""
        self._outdated.add(path)
        if path in self._asked.values():
            return True
        self._profiles.pop(path, None)
        return False

    def learn(self, path: str, settings: object) -> bool:
        """The reply of Settings.Connection.GetSettings of the profile at `path`."""
        before = self._profiles.get(path)
        try:
            profile = Profile.from_settings(values.mapping(settings), partial(self._complain_of, path))
        except InvalidValue as error:
            self._complain_of(path, str(error))
            return False
        self._profiles[path] = profile
        return profile != before

    def take_unread(self) -> set[str]:
        """The profiles of WireGuard connections that must be read: activated or updated since they were taken last."""
        activations = {
            device.active: active.profile
            for _, device in self._each(names.NM_DEVICE, _Device)
            if device.type == _WIREGUARD
            and (active := self._find(device.active, names.NM_ACTIVE, _Active)) is not None
            and active.profile not in _NO_OBJECT
        }
        unread = {
            profile
            for activation, profile in activations.items()
            if activation not in self._asked or profile in self._outdated
        }
        self._asked = activations
        self._outdated.clear()
        return unread

    def network(self) -> Network:
        """What all this comes to.

        An uplink counts from IP_CHECK on: its addresses and routes are in place, and what NetworkManager still waits
        for, the dispatcher, takes longer than all before. A tunnel of NetworkManager's counts when it is activated: the
        helper lets nobody at it sooner.
        """
        manager = self._find(names.NM_PATH, names.NM, _Manager) or _Manager()
        uplinks: list[tuple[tuple[bool, int, str], Uplink]] = []
        tunnels: list[Tunnel] = []
        carrier: set[str] = set()
        for path, device in self._each(names.NM_DEVICE, _Device):
            if device.type == _WIREGUARD:
                tunnel = self._tunnel(path, device) or (None if manager.starting else self._foreign(path, device))
                tunnels += () if tunnel is None else (tunnel,)
            elif (uplink := self._uplink(path, device)) is not None:
                uplinks.append(((not uplink.gateways, uplink.metric, uplink.interface), uplink))
                wired = self._find(path, names.NM_WIRED, _Wired)
                if wired is None or wired.carrier:
                    carrier.add(uplink.interface)
        return Network(
            available=True,
            connectivity=manager.connectivity,
            uplinks=tuple(uplink for _, uplink in sorted(uplinks, key=lambda entry: entry[0])),
            tunnels=tuple(sorted(tunnels, key=lambda tunnel: (tunnel.interface, tunnel.activation))),
            carrier=frozenset(carrier),
        )

    def _interface(self, path: str, device: _Device) -> str:
        """The interface that carries the device's packets, "" while there is none.

        IpInterface comes a message after IP_CHECK; what stands in for it counts for activated devices only, because a
        modem's Interface is its serial port.
        """
        name = device.ip_interface or (device.interface if device.state == _ACTIVATED else "")
        try:
            return parse_interface(name) if name else ""
        except InvalidValue as error:
            self._complain_of(path, str(error))
            return ""

    def _uplink(self, path: str, device: _Device) -> Uplink | None:
        """None for what carries no packet of WireGuard's: tunnels, and devices without an address or a way out.

        A card leads out without a default route too, to its neighbours. Bridges and dummies of containers and virtual
        machines lead nowhere without one.
        """
        active = self._find(device.active, names.NM_ACTIVE, _Active)
        if active is None or device.type in _TUNNELS_OF_OTHERS or not _IP_CHECK <= device.state <= _ACTIVATED:
            return None
        ip = self._config(device)
        if all(address.is_link_local for address in ip.addresses) or not (ip.routes or device.type in _CARDS):
            return None
        interface = self._interface(path, device)
        if not interface:
            return None
        return Uplink(
            interface=interface,
            connection_uuid=active.uuid,
            addresses=ip.addresses,
            gateways=tuple(dict.fromkeys(route.gateway for route in ip.routes)),
            metric=ip.routes[0].metric if ip.routes else 0,
            name_servers=ip.name_servers,
        )

    def _tunnel(self, path: str, device: _Device) -> Tunnel | None:
        """A tunnel with a profile; None before it is activated, and while its profile is not known."""
        active = self._find(device.active, names.NM_ACTIVE, _Active)
        wireguard = self._find(path, names.NM_WIREGUARD, _WireGuard)
        profile = None if active is None else self._profiles.get(active.profile)
        if device.state != _ACTIVATED or wireguard is None or profile is None:
            return None
        interface = self._interface(path, device)
        if not interface:
            return None
        return Tunnel(
            interface=interface,
            connection_id=profile.id,
            connection_uuid=profile.uuid,
            activation=device.active,
            public_key=wireguard.public_key,
            fwmark=wireguard.fwmark,
            addresses=self._config(device).addresses,
            peers=profile.peers,
            dns=profile.dns,
            search=profile.search,
        )

    def _foreign(self, path: str, device: _Device) -> Tunnel | None:
        """A tunnel that NetworkManager was told to leave alone: made by wg-quick, ip(8), systemd-networkd.

        It counts when it has its key. While NetworkManager starts, every device is unmanaged at first. The paths of its
        configurations are new whenever the link is.
        """
        wireguard = self._find(path, names.NM_WIREGUARD, _WireGuard)
        is_foreign = device.state == _UNMANAGED and device.active in _NO_OBJECT and device.real
        if not is_foreign or wireguard is None or wireguard.public_key is None:
            return None
        interface = self._interface(path, device)
        if not interface:
            return None
        return Tunnel(
            interface=interface,
            connection_id=interface,
            connection_uuid="",
            activation=f"{path} {device.ip4} {device.ip6}",
            public_key=wireguard.public_key,
            fwmark=wireguard.fwmark,
            addresses=self._config(device).addresses,
        )

    def _config(self, device: _Device) -> _Config:
        """The device's configurations of IPv4 and IPv6 as one, IPv4 first; its default routes, best first."""
        ip4 = self._find(device.ip4, names.NM_IP4, _Config) or _Config()
        ip6 = self._find(device.ip6, names.NM_IP6, _Config) or _Config()
        # A stable sort: routes of one metric and family stay in NetworkManager's order.
        routes = sorted(ip4.routes + ip6.routes, key=lambda route: (route.metric, route.version))
        return _Config(ip4.addresses + ip6.addresses, tuple(routes), ip4.name_servers + ip6.name_servers)

    def _each(self, interface: str, kind: type[_R]) -> Iterator[tuple[str, _R]]:
        for path in self._objects:
            record = self._find(path, interface, kind)
            if record is not None:
                yield path, record

    def _find(self, path: str, interface: str, kind: type[_R]) -> _R | None:
        """That interface of the object at `path`, None if there is none or a value of the object is unusable."""
        known = self._objects.get(path)
        if known is None or known.unusable:
            return None
        record = known.records.get(interface)
        return record if isinstance(record, kind) else None

    def _forget_key(self, path: str) -> bool:
        """The link has gone. NetworkManager keeps its key until it has read that of the next link."""
        wireguard = self._find(path, names.NM_WIREGUARD, _WireGuard)
        if wireguard is None or wireguard.public_key is None:
            return False
        wireguard.public_key = None
        return True

    def _remove(self, path: str, interfaces: list[str]) -> bool:
        if names.NM_PROFILE in interfaces:
            self._profiles.pop(path, None)
        known = self._objects.get(path)
        if known is None or known.records.keys().isdisjoint(interfaces):
            return False
        for interface in interfaces:
            known.records.pop(interface, None)
        known.unusable = {entry for entry in known.unusable if entry[0] in known.records}
        if not known.records:
            del self._objects[path]
        return True

    def _set(self, path: str, interface: str, properties: object, *, new: bool) -> bool:
        """Take over the properties of that interface, `new` in place of all that was known of it."""
        kind = _KINDS[interface]
        known = self._objects.setdefault(path, _Object())
        if new:
            known.records[interface] = kind.record()
            known.unusable = {entry for entry in known.unusable if entry[0] != interface}
        record = known.records[interface]
        matters = new
        given = properties if isinstance(properties, dict) else {}
        for name in kind.properties.keys() & given.keys():
            attribute, decode = kind.properties[name]
            try:
                value = decode(given[name], partial(self._complain_of, path))
            except InvalidValue as error:
                self._complain_of(path, f"{interface}.{name}: {error}")
                matters |= (interface, name) not in known.unusable
                known.unusable.add((interface, name))
            else:
                matters |= value != getattr(record, attribute) or (interface, name) in known.unusable
                known.unusable.discard((interface, name))
                setattr(record, attribute, value)
        return matters

    def _odd(self, body: object) -> bool:
        self._complain_of(names.NM_ROOT_PATH, f"a signal of unknown form was passed over: {shown(str(body))}")
        return False

    def _complain_of(self, path: str, sentence: str) -> None:
        self._complain(f"NetworkManager's object {path}: {sentence}")
