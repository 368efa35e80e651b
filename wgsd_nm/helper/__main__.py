# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm-helper, the process: takes its name on the system bus, serves, and leaves when nobody calls any more.

It knows nothing of what is served. The bus starts it on demand, systemd confines it (wgsd-nm-helper.service).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from typing import Final

from wgsd_nm import __version__
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus
from wgsd_nm.core.errors import BusLost, WgsdError
from wgsd_nm.helper import config, journal
from wgsd_nm.helper.admission import Admission
from wgsd_nm.helper.authorization import Authorization
from wgsd_nm.helper.service import Service
from wgsd_nm.wireguard import WireGuard

IDLE_AFTER: Final = 90.0
"""Seconds without a call after which the helper leaves. An agent that has a tunnel calls six times as often while all
is well (core.schedule.CHECK_QUIET), and a roaming laptop must not pay for our start."""

_log = logging.getLogger("wgsd_nm.helper")


async def serve(bus: Bus, service: Service, idle_after: float = IDLE_AFTER) -> None:
    """Serves on the bus until nobody has called for `idle_after` seconds, or SIGTERM comes. Raises BusError."""
    bus.export(names.HELPER_PATH, Admission(bus.uid_of).limited(service.interface()))
    await bus.connect()
    leaving = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leaving.set)
    await bus.request_name(names.HELPER)
    lost = asyncio.ensure_future(bus.lost())
    ends = (lost, asyncio.ensure_future(leaving.wait()), asyncio.ensure_future(_idle(bus, service, idle_after)))
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if lost.done():
            raise BusLost("the connection to the system bus is lost: the next call starts the helper again")
        await _leave(bus)
    finally:
        for end in ends:
            end.cancel()


async def _idle(bus: Bus, service: Service, after: float) -> None:
    """Returns when no call is at work and the last one lies `after` seconds back."""
    while True:
        rest = after - service.quiet_for()
        if rest <= 0 and not bus.calls_in_progress:
            return
        await asyncio.sleep(max(rest, 0.1))


async def _leave(bus: Bus) -> None:
    """Gives the name back, answers what had been sent to it, and only then closes: no call is lost.

    A call that comes later finds no owner of the name, and the bus starts the helper anew for it. systemd sends SIGTERM
    as soon as the name is free; that must not end the answering, so the signal stays handled.
    """
    await bus.release_name(names.HELPER)
    await bus.idle()
    await bus.close()
    # All is done, and asyncio cannot take a signal while its loop ends.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


async def _main() -> None:
    with WireGuard() as devices:
        bus = Bus(system=True)
        await serve(bus, Service(devices, Authorization(bus, config.load), bus.drain))


def main() -> int:
    """Runs the helper; 0 when it left because nobody called, 1 with a line in the journal on failure."""
    parser = argparse.ArgumentParser(prog="wgsd-nm-helper", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    parser.parse_args()
    journal.begin()
    try:
        asyncio.run(_main())
    except WgsdError as error:
        _log.critical("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
