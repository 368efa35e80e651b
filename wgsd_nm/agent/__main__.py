# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm-agent: the daemon of the user's session. It puts the parts together and ends with the session bus."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import signal
import sys
from typing import Final

from wgsd_nm import __version__
from wgsd_nm.agent import configfile, statefile
from wgsd_nm.agent.clock import WallClock
from wgsd_nm.agent.helper import HelperClient
from wgsd_nm.agent.logind import Logind
from wgsd_nm.agent.loop import FIRST_NETWORK, Loop
from wgsd_nm.agent.networkmanager import NetworkManager
from wgsd_nm.agent.notifications import Notifications
from wgsd_nm.agent.resolver import Resolver
from wgsd_nm.agent.service import Service
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus
from wgsd_nm.core.errors import BusError, ConfigError
from wgsd_nm.core.events import ConfigLoaded, NetworkSeen, SeatChanged, Woke

GARBAGE: Final = 50_000
"""Objects made before cycles among them are sought: a pass over a thousand peers makes as many, and hardly a cycle."""

_log = logging.getLogger("wgsd_nm.agent")


async def run() -> int:
    """Until the session bus ends or somebody stops us. Returns the exit status."""
    session, system = Bus(system=False), Bus(system=True)
    stop = asyncio.Event()

    def reload() -> None:
        try:
            config = configfile.load()
        except ConfigError as error:
            _log.error("%s", error)
            loop.handle(ConfigLoaded(None, str(error)))
            raise
        if not config.tunnels:
            _log.warning("no tunnel is configured: expected [tunnel.NAME] in %s", configfile.user_file())
        loop.handle(ConfigLoaded(config))

    def reload_on_signal() -> None:
        try:
            reload()
        except ConfigError:
            pass  # logged, and shown as LastError

    def on_connected(connected: bool) -> None:
        _log.info("the system bus is %s", "connected" if connected else "lost; it is tried again")

    notifications = Notifications(session, lambda: service.changed())
    service = Service(session, reload, notifications.look)
    loop = Loop(HelperClient(system), Resolver(), service.changed, service.announce, statefile.load())
    network_manager = NetworkManager(system, lambda network: loop.handle(NetworkSeen(network)))
    logind = Logind(system, lambda: loop.handle(Woke()), lambda active: loop.handle(SeatChanged(active)))
    clock = WallClock(lambda: None if logind.present else loop.handle(Woke()))
    try:
        await session.connect()
    except BusError as error:
        _log.error("the session bus cannot be reached: %s", error)
        return 1
    try:
        await _require_alone(session)
    except BusError as error:
        _log.error("%s", error)
        await session.close()
        return 1
    service.start(loop)
    reload_on_signal()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stop.set)
    running.add_signal_handler(signal.SIGHUP, reload_on_signal)
    clock.start()
    await logind.start()
    await network_manager.start()
    keeper = asyncio.create_task(system.keep(on_connected))
    lost = asyncio.create_task(session.lost())
    stopped = asyncio.create_task(stop.wait())
    serving = asyncio.create_task(_serve(session, loop.known))
    ends = (keeper, lost, stopped, serving)
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if lost.done():
            _log.error("the session bus has ended")
        else:
            _tell_failure(keeper, serving)
        return 0 if stopped.done() else 1
    finally:
        for task in ends:
            task.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        clock.close()
        await logind.close()
        await network_manager.close()
        await loop.close()
        await notifications.close()
        await session.close()
        await system.close()


async def _require_alone(session: Bus) -> None:
    """Raises BusError where there is an agent already: the name that would tell is taken when work has begun."""
    (owned,) = await session.call(names.DBUS, names.DBUS_PATH, names.DBUS, "NameHasOwner", "s", names.AGENT)
    if owned:
        raise BusError(f"another process owns the bus name {names.AGENT} on the session bus: stop it first")


async def _serve(session: Bus, known: asyncio.Event) -> None:
    """Take our name as soon as clients can be told how things are, and keep it. Raises BusError if it is taken.

    Who calls before that waits: the bus keeps a call that has started us. But not for a neighbour that is silent.
    """
    try:
        async with asyncio.timeout(FIRST_NETWORK):
            await known.wait()
    except TimeoutError:
        _log.warning(
            "NetworkManager or the helper has not answered within %g s; clients are served all the same", FIRST_NETWORK
        )
    await session.request_name(names.AGENT)
    await asyncio.Event().wait()


def _tell_failure(*tasks: asyncio.Task[None]) -> None:
    """Say why one of these, which never end by themselves, has ended."""
    for task in tasks:
        match task.exception() if task.done() else None:
            case BusError() as error:
                _log.error("%s", error)
            case BaseException() as error:
                _log.critical("this is an error of wgsd-nm", exc_info=error)


def main() -> None:
    parser = argparse.ArgumentParser(prog="wgsd-nm-agent", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--debug", action="store_true", help="log what is heard and done, with times")
    arguments = parser.parse_args()
    if arguments.debug:
        logging.basicConfig(level=logging.DEBUG, format="%(created).6f %(levelname)s: %(message)s", stream=sys.stderr)
    else:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr)
    gc.freeze()
    gc.set_threshold(GARBAGE)
    sys.exit(asyncio.run(run()))


if __name__ == "__main__":
    main()
