# SPDX-License-Identifier: GPL-2.0-or-later
"""Every name on the bus: services, paths, interfaces, polkit actions, errors. It knows nothing of how they are used."""

from __future__ import annotations

from typing import Final

from wgsd_nm.core import errors

AGENT: Final = "io.github.wgsd_nm.Agent1"
AGENT_PATH: Final = "/io/github/wgsd_nm/Agent1"
HELPER: Final = "io.github.wgsd_nm.Helper1"
HELPER_PATH: Final = "/io/github/wgsd_nm/Helper1"

ACTION_READ_PEERS: Final = "io.github.wgsd-nm.helper1.read-peers"
ACTION_SET_ENDPOINTS: Final = "io.github.wgsd-nm.helper1.set-endpoints"

DBUS: Final = "org.freedesktop.DBus"
DBUS_PATH: Final = "/org/freedesktop/DBus"
INTROSPECTABLE: Final = "org.freedesktop.DBus.Introspectable"
OBJECT_MANAGER: Final = "org.freedesktop.DBus.ObjectManager"
PEER: Final = "org.freedesktop.DBus.Peer"
PROPERTIES: Final = "org.freedesktop.DBus.Properties"

NM: Final = "org.freedesktop.NetworkManager"
NM_PATH: Final = "/org/freedesktop/NetworkManager"
NM_ROOT_PATH: Final = "/org/freedesktop"
NM_ACTIVE: Final = NM + ".Connection.Active"
NM_DEVICE: Final = NM + ".Device"
NM_WIRED: Final = NM + ".Device.Wired"
NM_WIREGUARD: Final = NM + ".Device.WireGuard"
NM_IP4: Final = NM + ".IP4Config"
NM_IP6: Final = NM + ".IP6Config"
NM_SETTINGS: Final = NM + ".Settings"
NM_PROFILE: Final = NM + ".Settings.Connection"

LOGIN1: Final = "org.freedesktop.login1"
LOGIN1_PATH: Final = "/org/freedesktop/login1"
LOGIN1_MANAGER: Final = "org.freedesktop.login1.Manager"
LOGIN1_SESSION: Final = "org.freedesktop.login1.Session"
LOGIN1_USER: Final = "org.freedesktop.login1.User"

SYSTEMD1: Final = "org.freedesktop.systemd1"
SYSTEMD1_PATH: Final = "/org/freedesktop/systemd1"
SYSTEMD1_MANAGER: Final = "org.freedesktop.systemd1.Manager"
SYSTEMD1_UNIT: Final = "org.freedesktop.systemd1.Unit"

TIMEDATE1: Final = "org.freedesktop.timedate1"
TIMEDATE1_PATH: Final = "/org/freedesktop/timedate1"

POLKIT: Final = "org.freedesktop.PolicyKit1"
POLKIT_PATH: Final = "/org/freedesktop/PolicyKit1/Authority"
POLKIT_AUTHORITY: Final = "org.freedesktop.PolicyKit1.Authority"

NOTIFICATIONS: Final = "org.freedesktop.Notifications"
NOTIFICATIONS_PATH: Final = "/org/freedesktop/Notifications"

_DBUS_ERROR: Final = "org.freedesktop.DBus.Error."
_ERROR: Final = "io.github.wgsd_nm.Error."

ERROR_FAILED: Final = _ERROR + "Failed"
ERROR_ACCESS_DENIED: Final = _DBUS_ERROR + "AccessDenied"
ERROR_INTERACTION_REQUIRED: Final = _DBUS_ERROR + "InteractiveAuthorizationRequired"
ERROR_INVALID_ARGS: Final = _DBUS_ERROR + "InvalidArgs"
ERROR_LIMITS_EXCEEDED: Final = _DBUS_ERROR + "LimitsExceeded"
ERROR_NAME_HAS_NO_OWNER: Final = _DBUS_ERROR + "NameHasNoOwner"
ERROR_NO_REPLY: Final = _DBUS_ERROR + "NoReply"
ERROR_PROPERTY_READ_ONLY: Final = _DBUS_ERROR + "PropertyReadOnly"
ERROR_SERVICE_UNKNOWN: Final = _DBUS_ERROR + "ServiceUnknown"
ERROR_TIMED_OUT: Final = _DBUS_ERROR + "TimedOut"
ERROR_TIMEOUT: Final = _DBUS_ERROR + "Timeout"
ERROR_UNKNOWN_INTERFACE: Final = _DBUS_ERROR + "UnknownInterface"
ERROR_UNKNOWN_METHOD: Final = _DBUS_ERROR + "UnknownMethod"
ERROR_UNKNOWN_OBJECT: Final = _DBUS_ERROR + "UnknownObject"
ERROR_UNKNOWN_PROPERTY: Final = _DBUS_ERROR + "UnknownProperty"

ACTIVATION_ERRORS: Final = (_DBUS_ERROR + "Spawn.", "org.freedesktop.systemd1.")
"""How error names begin by which the bus itself says that it cannot start a service."""

ERROR_NAMES: Final[dict[type[errors.WgsdError], str]] = {
    errors.InvalidValue: ERROR_INVALID_ARGS,
    errors.InvalidArguments: ERROR_INVALID_ARGS,
    errors.AccessDenied: ERROR_ACCESS_DENIED,
    errors.InteractionRequired: ERROR_INTERACTION_REQUIRED,
    errors.ConfigError: _ERROR + "BadConfiguration",
    errors.NoSuchDevice: _ERROR + "NoSuchDevice",
    errors.NotWireGuard: _ERROR + "NotWireGuard",
    errors.NotPermitted: _ERROR + "NotPermitted",
    errors.LookupFailed: _ERROR + "NoRegistryAnswered",
    errors.ServiceUnavailable: _ERROR + "Unavailable",
}
"""What a caller is told for an error of ours: the entry of its nearest class; ERROR_FAILED where there is none."""


def error_name(error: errors.WgsdError) -> str:
    """The D-Bus error name for an error of ours."""
    if isinstance(error, errors.CallFailed):
        return error.name
    for kind in type(error).__mro__:
        if kind in ERROR_NAMES:
            return ERROR_NAMES[kind]
    return ERROR_FAILED


_ERROR_CLASSES: Final = {name: kind for kind, name in ERROR_NAMES.items() if name.startswith(_ERROR)}


def error_class(name: str) -> type[errors.WgsdError] | None:
    """The error of ours that a D-Bus error name of ours stands for, None for any other name."""
    return _ERROR_CLASSES.get(name)
