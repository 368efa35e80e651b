# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent as the command line sees it: its properties, methods and signals on the session bus."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus
from wgsd_nm.core.errors import BusError, BusLost, CallTimedOut, ServiceUnavailable, WgsdError

REFRESH_TIMEOUT: Final = 40.0
"""Seconds. The agent answers within 20; one that the call has started first has to start and to see the network."""

WHOSE_SESSION: Final = (
    "run wgsd-nm as the user whose session it is, not by sudo. By ssh, first: "
    "export DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$(id -u)/bus"
)
"""What to do where there is no session bus."""

NOTHING_CONFIGURED: Final = (
    "no tunnel is configured, so that no agent starts; for one: wgsd-nm setup CONNECTION --zone ZONE --registry ADDRESS"
)
NOTHING_UP: Final = "the agent knows of no configured tunnel that is up; wgsd-nm doctor says more"

DONE: Final = 0
FAILED: Final = 1
NO_AGENT: Final = 2


class Agent:
    """A connection to the agent."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def is_running(self) -> bool:
        """Whether it is on the session bus. Asking does not start it."""
        (has_owner,) = await self._bus.call(names.DBUS, names.DBUS_PATH, names.DBUS, "NameHasOwner", "s", names.AGENT)
        return bool(has_owner)

    async def properties(self) -> dict[str, Any]:
        """Version, State, LastError, Tunnels, Peers as data/dbus/interfaces documents them."""
        return await self._bus.get_all(names.AGENT, names.AGENT_PATH, names.AGENT)

    async def refresh(self, interface: str = "") -> None:
        """Look all peers up now; of one tunnel, if an interface is given."""
        if interface:
            await self._call("RefreshTunnel", "s", interface)
        else:
            await self._call("Refresh")

    async def follow(
        self,
        on_change: Callable[[dict[str, Any]], None],
        on_move: Callable[[list[Any]], None],
        on_owner: Callable[[str], None],
    ) -> None:
        """From now on, tell of changed properties, of EndpointChanged (its five values), and of the name's owner."""

        def changed(_path: str, body: list[Any]) -> None:
            on_change(body[1])

        def moved(_path: str, body: list[Any]) -> None:
            on_move(body)

        agent: Final = names.AGENT
        await self._bus.subscribe(
            changed, sender=agent, interface=names.PROPERTIES, member="PropertiesChanged", arg0=agent
        )
        await self._bus.subscribe(moved, sender=agent, interface=agent, member="EndpointChanged")
        await self._bus.watch_owner(agent, on_owner)

    async def bus_lost(self) -> None:
        """Returns when the session bus has ended."""
        await self._bus.lost()

    async def _call(self, member: str, signature: str = "", *arguments: object) -> None:
        await self._bus.call(
            names.AGENT, names.AGENT_PATH, names.AGENT, member, signature, *arguments, timeout=REFRESH_TIMEOUT
        )


def with_agent(work: Callable[[Agent], Awaitable[int]]) -> int:
    """Run a command's work; what goes wrong becomes one line on standard error and an exit status."""
    return asyncio.run(_with_agent(work))


async def _with_agent(work: Callable[[Agent], Awaitable[int]]) -> int:
    bus = Bus(system=False)
    try:
        try:
            await bus.connect()
        except BusError as error:
            print(f"wgsd-nm: the session bus cannot be reached: {error}", file=sys.stderr)
            print(f"wgsd-nm: {WHOSE_SESSION}", file=sys.stderr)
            return NO_AGENT
        agent = Agent(bus)
        if not await agent.is_running() and not _is_configured():
            print(f"wgsd-nm: {NOTHING_CONFIGURED}", file=sys.stderr)
            return NO_AGENT
        return await work(agent)
    except (BusLost, ServiceUnavailable, CallTimedOut) as error:
        print(f"wgsd-nm: the agent cannot be reached: {error}", file=sys.stderr)
        print("wgsd-nm: is it running? Try: systemctl --user status wgsd-nm-agent", file=sys.stderr)
        return NO_AGENT
    except (BusError, WgsdError) as error:
        print(f"wgsd-nm: {error}", file=sys.stderr)
        return FAILED
    finally:
        await bus.close()


def _is_configured() -> bool:
    from wgsd_nm.agent import configfile  # here, so that whoever finds an agent starts without dnspython

    return configfile.is_there()
