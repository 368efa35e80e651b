# SPDX-License-Identifier: GPL-2.0-or-later
"""What NetworkManager says of one interface: whether it runs a WireGuard connection there, and for which users.

It knows nothing of polkit or of who asks. What changes without a word is asked anew each time, in three short calls. A
profile may be long, and NetworkManager tells when it changes: it is read once. The bus keeps the order of messages: a
call that was made after a profile changed is heard after the change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus
from wgsd_nm.core.errors import AccessDenied, CallFailed, NoSuchDevice, NotWireGuard

DEVICE_TYPE_WIREGUARD: Final = 29  # NM_DEVICE_TYPE_WIREGUARD
ACTIVATED: Final = 2  # NM_ACTIVE_CONNECTION_STATE_ACTIVATED
EXTERNAL: Final = 0x80  # NM_ACTIVATION_STATE_FLAG_EXTERNAL: made by somebody else, NetworkManager only watches it

_UNKNOWN_DEVICE: Final = names.NM + ".UnknownDevice"
_NONE: Final = "/"


class NetworkManager:
    """NetworkManager on the system bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._users: dict[str, frozenset[str] | None] = {}
        """By profile, what `users_of` said, until the profile or NetworkManager changes."""
        self._changes = 0
        self._watching = asyncio.Lock()
        self._watched = False

    async def permitted_users(self, interface: str) -> frozenset[str] | None:
        """The users that may use the WireGuard connection that is active on `interface`; None for everybody.

        Read from the property connection.permissions of its profile, whose entries are "user:NAME:"; an entry of
        another kind admits nobody. Raises NoSuchDevice, NotWireGuard, AccessDenied where NetworkManager runs no such
        connection, and BusError where it does not answer.
        """
        await self._watch()
        try:
            (path,) = await self._bus.call(
                names.NM, names.NM_PATH, names.NM, "GetDeviceByIpIface", "s", interface, autostart=False
            )
        except CallFailed as error:
            if error.name == _UNKNOWN_DEVICE:
                raise NoSuchDevice(f"NetworkManager knows no network interface {interface}") from error
            raise
        device = await self._bus.get_all(names.NM, path, names.NM_DEVICE)
        if device.get("DeviceType") != DEVICE_TYPE_WIREGUARD:
            raise NotWireGuard(f"{interface} is not a WireGuard interface")
        active_path = device.get("ActiveConnection", _NONE)
        active = {} if active_path == _NONE else await self._bus.get_all(names.NM, active_path, names.NM_ACTIVE)
        if active.get("State") != ACTIVATED:
            raise AccessDenied(f"no connection of NetworkManager is active on {interface}")
        if active.get("StateFlags", 0) & EXTERNAL:
            raise AccessDenied(
                f"{interface} was not made by NetworkManager: root can name it in /etc/wgsd-nm/helper.toml instead"
            )
        return await self._users_of(active["Connection"])

    async def _users_of(self, profile: str) -> frozenset[str] | None:
        if profile not in self._users:
            changes = self._changes
            (settings,) = await self._bus.call(names.NM, profile, names.NM_PROFILE, "GetSettings")
            users = users_of(settings["connection"])
            if changes != self._changes:
                return users
            self._users[profile] = users
        return self._users[profile]

    async def _watch(self) -> None:
        async with self._watching:
            if not self._watched:
                for member in ("Updated", "Removed"):
                    await self._bus.subscribe(
                        self._profile_changed, sender=names.NM, interface=names.NM_PROFILE, member=member
                    )
                await self._bus.watch_owner(names.NM, self._owner_changed)
                self._watched = True

    def _profile_changed(self, profile: str, _body: list[Any]) -> None:
        self._changes += 1
        self._users.pop(profile, None)

    def _owner_changed(self, _owner: str) -> None:
        self._changes += 1
        self._users.clear()


def users_of(connection: Mapping[str, Any]) -> frozenset[str] | None:
    """The users that the setting `connection` of a profile admits; None for everybody."""
    entries = [entry.split(":") for entry in connection.get("permissions", [])]
    if not entries:
        return None
    return frozenset(entry[1] for entry in entries if entry[0] == "user" and len(entry) > 1)
