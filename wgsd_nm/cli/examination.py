# SPDX-License-Identifier: GPL-2.0-or-later
"""Looking: gathers the doctor's facts, mostly by D-Bus, and changes nothing. What they mean is left to the findings."""

from __future__ import annotations

import asyncio
import os
import pwd
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from wgsd_nm import __version__
from wgsd_nm.agent import configfile
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus
from wgsd_nm.cli.facts import AgentFacts, ClockFacts, ConfigFacts, ConnectionFacts, Facts, NetworkManagerFacts
from wgsd_nm.cli.profiles import addresses_of, is_external, peers_of
from wgsd_nm.cli.terminal import printable
from wgsd_nm.cli.view import AgentView
from wgsd_nm.core.errors import AccessDenied, BusError, CallFailed, ConfigError, InvalidValue
from wgsd_nm.core.model import Connectivity

PATIENCE: Final = 5.0
"""Seconds for each answer."""
NONE: Final = "/"
"""NetworkManager's path for no object."""
NOT_ADMITTED: Final = f"{names.NM_SETTINGS}.PermissionDenied"
"""NetworkManager's error where the permissions of a profile do not admit the caller (NMSettingsError)."""
AGENT_UNIT: Final = "wgsd-nm-agent.service"

IPV4_SETTINGS: Final = Path("/proc/sys/net/ipv4/conf")

_STRICT: Final = 1  # the kernel's Documentation/networking/ip-sysctl, rp_filter
_ASLEEP: Final = 10  # NMState
_ACTIVATED: Final = 2  # NMActiveConnectionState


async def look() -> Facts:
    """All facts, as of now. What cannot be looked at is said to be so in them."""
    session, system = Bus(system=False), Bus(system=True)
    try:
        problems = await asyncio.gather(_connect(session), _connect(system))
        agent, (manager, silence), helper, seat, synchronized = await asyncio.gather(
            _agent(session),
            _network_manager(system),
            _has_helper(system),
            _is_seat_active(system),
            _synchronized(system),
        )
    finally:
        await asyncio.gather(session.close(), system.close())
    return Facts(
        clock=ClockFacts(time.time(), synchronized),
        user=_user(),
        version=__version__,
        session_bus_problem=problems[0],
        system_bus_problem=problems[1],
        agent=agent,
        config=_config(),
        network_manager=manager,
        network_manager_problem=silence,
        helper_installed=helper,
        seat_active=seat,
        strict_filters=frozenset(_strict_filters()),
    )


async def _connect(bus: Bus) -> str:
    """Why it cannot be reached, "" if it can."""
    try:
        await bus.connect()
    except BusError as error:
        return str(error)
    return ""


async def _call(bus: Bus, name: str, path: str, interface: str, member: str, *call: object) -> list[Any] | None:
    """The reply's values, None for any failure."""
    try:
        return await _answer(bus, name, path, interface, member, *call)
    except BusError:
        return None


async def _answer(bus: Bus, name: str, path: str, interface: str, member: str, *call: object) -> list[Any]:
    """The reply's values. Nothing is started for it; `call` is a signature and arguments. Raises as Bus.call does."""
    signature, *arguments = call or ("",)
    return await bus.call(name, path, interface, member, str(signature), *arguments, timeout=PATIENCE, autostart=False)


async def _properties(bus: Bus, name: str, path: str, interface: str) -> dict[str, Any]:
    """All properties, none for any failure."""
    reply = await _call(bus, name, path, names.PROPERTIES, "GetAll", "s", interface)
    return dict(reply[0]) if reply else {}


async def _ask_bus(bus: Bus, member: str, *call: object) -> Any:
    """The one value of what the bus itself answers, None for any failure."""
    reply = await _call(bus, names.DBUS, names.DBUS_PATH, names.DBUS, member, *call)
    return reply[0] if reply else None


async def _agent(session: Bus) -> AgentFacts:
    systemd = names.SYSTEMD1, names.SYSTEMD1_PATH, names.SYSTEMD1_MANAGER
    state = await _call(session, *systemd, "GetUnitFileState", "s", AGENT_UNIT)
    enabled = str(state[0]) if state else ""
    if not await _ask_bus(session, "NameHasOwner", "s", names.AGENT):
        return AgentFacts(enabled=enabled)
    unit = await _unit(session)
    try:
        said = await session.get_all(names.AGENT, names.AGENT_PATH, names.AGENT, timeout=PATIENCE)
    except BusError as error:
        return AgentFacts(running=True, problem=str(error), unit=unit, enabled=enabled)
    return AgentFacts(running=True, said=AgentView.of(said), unit=unit, enabled=enabled)


async def _unit(session: Bus) -> str | None:
    """The unit of the agent's process; "" if it has none, None without systemd."""
    if not await _ask_bus(session, "NameHasOwner", "s", names.SYSTEMD1):
        return None
    process = await _ask_bus(session, "GetConnectionUnixProcessID", "s", names.AGENT)
    found = await _call(
        session, names.SYSTEMD1, names.SYSTEMD1_PATH, names.SYSTEMD1_MANAGER, "GetUnitByPID", "u", process or 0
    )
    if not found:
        return ""
    return str((await _properties(session, names.SYSTEMD1, found[0], names.SYSTEMD1_UNIT)).get("Id", ""))


def _config() -> ConfigFacts:
    try:
        return ConfigFacts(configfile.load())
    except ConfigError as error:
        return ConfigFacts(None, str(error))


async def _network_manager(system: Bus) -> tuple[NetworkManagerFacts | None, str]:
    """What NetworkManager says, None if it does not run; and why it says nothing though it runs, else ""."""
    try:
        (owned,) = await _answer(system, names.DBUS, names.DBUS_PATH, names.DBUS, "NameHasOwner", "s", names.NM)
        return await _asked_manager(system) if owned else None, ""
    except (BusError, InvalidValue) as error:
        return None, str(error)


async def _asked_manager(system: Bus) -> NetworkManagerFacts:
    """Raises BusError where it does not answer, InvalidValue where it answers with what is no path."""
    said = await _object(system, names.NM_PATH, names.NM)
    found = await asyncio.gather(*(_connection(system, path) for path in said.get("ActiveConnections", ())))
    return NetworkManagerFacts(
        version=str(said.get("Version", "")),
        networking=said.get("NetworkingEnabled") is not False and said.get("State") != _ASLEEP,
        has_primary=said.get("PrimaryConnection", "/") != "/",
        connectivity=_connectivity(said.get("Connectivity")),
        check_available=said.get("ConnectivityCheckAvailable"),
        check_enabled=said.get("ConnectivityCheckEnabled"),
        check_address=str(said.get("ConnectivityCheckUri", "")),
        tunnels=tuple(connection for connection in found if connection),
    )


def _connectivity(value: object) -> Connectivity:
    return Connectivity(value) if isinstance(value, int) and value in tuple(Connectivity) else Connectivity.UNKNOWN


async def _object(system: Bus, path: str, interface: str) -> dict[str, Any]:
    """The properties of one of NetworkManager's objects, none if it has gone. Raises BusError."""
    try:
        (values,) = await _answer(system, names.NM, path, names.PROPERTIES, "GetAll", "s", interface)
    except CallFailed:
        return {}
    return dict(values)


async def _connection(system: Bus, path: str) -> ConnectionFacts | None:
    """An active connection, if it is of WireGuard. Raises as _asked_manager does."""
    active = await _object(system, path, names.NM_ACTIVE)
    if active.get("Type") != "wireguard" or active.get("State") != _ACTIVATED or not active.get("Devices"):
        return None
    device, profile = await asyncio.gather(
        _object(system, active["Devices"][0], names.NM_DEVICE), _profile(system, active.get("Connection", "/"))
    )
    configs = await asyncio.gather(
        *(
            _object(system, device.get(name, NONE), interface)
            for name, interface in (("Ip4Config", names.NM_IP4), ("Ip6Config", names.NM_IP6))
            if device.get(name, NONE) != NONE
        )
    )
    refused, profile = profile is None, profile or {}
    return ConnectionFacts(
        interface=printable(str(device.get("Interface", ""))),
        id=str(active.get("Id", "")),
        uuid=str(active.get("Uuid", "")),
        external=is_external(active),
        users=frozenset(_users(profile.get("connection", {}).get("permissions", ()))),
        refused=refused,
        addresses=tuple(addresses_of(entry for config in configs for entry in config.get("AddressData", ()))),
        peers=tuple(peers_of(profile.get("wireguard", {}).get("peers", ()))),
    )


async def _profile(system: Bus, path: str) -> dict[str, Any] | None:
    """A profile's settings, none if it has gone, None if its permissions shut us out. Raises BusError."""
    try:
        (settings,) = await _answer(system, names.NM, path, names.NM_PROFILE, "GetSettings")
    except AccessDenied:
        return None
    except CallFailed as error:
        return None if error.name == NOT_ADMITTED else {}
    return dict(settings)


def _users(permissions: Iterable[str]) -> Iterator[str]:
    """The names in NetworkManager's connection.permissions, whose entries are "user:NAME:"."""
    for entry in permissions:
        kind, _, rest = entry.partition(":")
        if kind == "user":
            yield rest.partition(":")[0]


async def _has_helper(system: Bus) -> bool | None:
    activatable = await _ask_bus(system, "ListActivatableNames")
    if activatable is None:
        return None
    return names.HELPER in activatable or bool(await _ask_bus(system, "NameHasOwner", "s", names.HELPER))


async def _is_seat_active(system: Bus) -> bool | None:
    """Whether the session that logind calls our user's own is the active one of its seat."""
    user = await _call(system, names.LOGIN1, names.LOGIN1_PATH, names.LOGIN1_MANAGER, "GetUser", "u", os.getuid())
    display = (await _properties(system, names.LOGIN1, user[0], names.LOGIN1_USER)).get("Display") if user else None
    match display:
        case [str(session), str(path)] if session:
            active = (await _properties(system, names.LOGIN1, path, names.LOGIN1_SESSION)).get("Active")
            return active if isinstance(active, bool) else None
    return None


async def _synchronized(system: Bus) -> bool | None:
    """systemd-timedated's word; the bus starts it."""
    try:
        said = await system.get_all(names.TIMEDATE1, names.TIMEDATE1_PATH, names.TIMEDATE1, timeout=PATIENCE)
    except BusError:
        return None
    value = said.get("NTPSynchronized")
    return value if isinstance(value, bool) else None


def _strict_filters() -> Iterator[str]:
    """The stricter of an interface's own setting and the one for all counts."""
    modes = {}
    for file in IPV4_SETTINGS.glob("*/rp_filter"):
        with suppress(OSError, ValueError):  # it may have gone with its interface
            modes[file.parent.name] = int(file.read_text())
    for name, mode in modes.items():
        if name not in ("all", "default", "lo") and max(mode, modes.get("all", 0)) == _STRICT:
            yield name


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
