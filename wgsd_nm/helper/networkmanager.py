# SPDX-License-Identifier: GPL-2.0-or-later
"""What NetworkManager says of one interface: whether it runs a WireGuard connection there, and for which users.

It knows nothing of polkit or of who asks. It asks anew each time, four short calls: nothing that it knows can be stale.
"""

from __future__ import annotations

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


async def permitted_users(bus: Bus, interface: str) -> frozenset[str] | None:
    """The users that may use the WireGuard connection that is active on `interface`; None for everybody.

    Read from the property connection.permissions of its profile, whose entries are "user:NAME:"; an entry of another
    kind admits nobody. Raises NoSuchDevice, NotWireGuard, AccessDenied where NetworkManager runs no such connection,
    and BusError where it does not answer.
    """
    try:
        (path,) = await bus.call(
            names.NM, names.NM_PATH, names.NM, "GetDeviceByIpIface", "s", interface, autostart=False
        )
    except CallFailed as error:
        if error.name == _UNKNOWN_DEVICE:
            raise NoSuchDevice(f"NetworkManager knows no network interface {interface}") from error
        raise
    device = await bus.get_all(names.NM, path, names.NM_DEVICE)
    if device.get("DeviceType") != DEVICE_TYPE_WIREGUARD:
        raise NotWireGuard(f"{interface} is not a WireGuard interface")
    active_path = device.get("ActiveConnection", _NONE)
    active = {} if active_path == _NONE else await bus.get_all(names.NM, active_path, names.NM_ACTIVE)
    if active.get("State") != ACTIVATED:
        raise AccessDenied(f"no connection of NetworkManager is active on {interface}")
    if active.get("StateFlags", 0) & EXTERNAL:
        raise AccessDenied(
            f"{interface} was not made by NetworkManager: root can name it in /etc/wgsd-nm/helper.toml instead"
        )
    (settings,) = await bus.call(names.NM, active["Connection"], names.NM_PROFILE, "GetSettings")
    return users_of(settings["connection"])


def users_of(connection: Mapping[str, Any]) -> frozenset[str] | None:
    """The users that the setting `connection` of a profile admits; None for everybody."""
    entries = [entry.split(":") for entry in connection.get("permissions", [])]
    if not entries:
        return None
    return frozenset(entry[1] for entry in entries if entry[0] == "user" and len(entry) > 1)
