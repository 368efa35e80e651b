# SPDX-License-Identifier: GPL-2.0-or-later
"""The server's life: from the first read of the devices to the signal that ends it. Knows nothing of DNS.

SIGTERM and SIGINT end it, SIGHUP has the configuration read again, SIGUSR1 has the statistics logged.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from wgsd_nm.core.errors import NotPermitted, ReaderLost, WgsdError
from wgsd_nm.core.model import Device
from wgsd_nm.registry import systemd
from wgsd_nm.registry.assembly import Surroundings, assemble
from wgsd_nm.registry.config import Config
from wgsd_nm.registry.metrics import Metrics
from wgsd_nm.registry.notify import Notifier
from wgsd_nm.registry.serials import Serials
from wgsd_nm.registry.server import Server
from wgsd_nm.registry.signing import Keyring
from wgsd_nm.registry.sockets import Listener
from wgsd_nm.registry.statistics import Statistics

FIXED = ("listen", "user", "state", "metrics")
"""The settings that are looked at once, while the process still may do what they need."""

START_TIMEOUT = 10.0
"""Seconds until the server begins to answer, whatever the reader does."""

_log = logging.getLogger(__name__)


class Reader(Protocol):
    """What the server needs of a link to the reader."""

    lost: asyncio.Future[ReaderLost | NotPermitted]
    """Ends when nothing more will come, with the reason."""

    async def fetch(self, interface: str, /) -> Device:
        """The device as it is now. Raises DeviceError, ReaderLost."""
        ...

    def close(self) -> None:
        """Nothing is asked any more."""
        ...


Connect = Callable[[], Awaitable[Reader]]
Load = Callable[[], tuple[Config, Keyring]]


@dataclass(frozen=True, slots=True)
class Equipment:
    """What was opened while the process still might, and how to come by the rest."""

    listeners: Sequence[Listener]
    serials: Serials
    connect: Connect
    """To the reader, once, in the event loop."""
    load: Load | None
    """The configuration as it is now. Raises WgsdError. None where there is no file to read again."""
    metrics: socket.socket | None = None


class Service:
    """A configuration, served, until another takes its place."""

    def __init__(self, config: Config, keys: Keyring, equipment: Equipment, reader: Reader) -> None:
        self._equipment = equipment
        self._reader = reader
        self._statistics = Statistics()
        self._around = Surroundings(
            self._fetch,
            equipment.serials,
            notified=self._statistics.notified,
            changed=lambda names: self._server.changed(names),
            push_ports=push_ports(equipment.listeners),
        )
        self._assembly = assemble(config, keys, self._around)
        self._server = Server(self._assembly.site, self._statistics)
        self._metrics = Metrics(self._server.prometheus)
        self._notifying: list[asyncio.Task[None]] = []
        self._first: dict[str, Device | WgsdError] = {}
        self._started = False

    async def read_all(self) -> None:
        """Read each device once, so that what is wrong with it is said at once.

        The reader may need longer for its own start than for any read.
        """
        contents = self._assembly.contents
        try:
            async with asyncio.timeout(START_TIMEOUT):
                for content in contents:
                    self._first[content.interface] = await self._outcome(content.interface)
        except TimeoutError:
            self._first.clear()  # they are too old by now
        await asyncio.gather(*(content.available() for content in contents))

    async def start(self) -> None:
        """Begin to answer."""
        self._warn_of_dangers()
        await self._server.serve(self._equipment.listeners)
        if self._equipment.metrics is not None:
            await self._metrics.serve(self._equipment.metrics)
        self._notify()
        _log.info("%s at %s", self.summary, ", ".join(str(listener.address) for listener in self._equipment.listeners))
        self._started = True
        self._tell_ready()
        self._keep_watchdog()

    @property
    def summary(self) -> str:
        """What is served, in one line."""
        zones = self._assembly.config.zones
        parts = (f"for {zone.name} with the peers of {zone.device}" for zone in zones)
        return f"answering {', '.join(parts)}"

    def reload(self) -> None:
        """Read the configuration again. A wrong one changes nothing; queries that wait are answered."""
        if self._equipment.load is None:
            _log.warning("there is no configuration to read again: the registry was started with flags only")
            return
        systemd.reloading()
        try:
            config, keys = self._equipment.load()
        except WgsdError as error:
            _log.error("the configuration stays as it was: %s", error)
        else:
            self._take(config, keys)
            _log.info("the configuration was read again: %s", self.summary)
        if self._started:
            self._tell_ready()

    def log_statistics(self) -> None:
        """One line."""
        _log.info("%s", self._server.line())

    def close(self) -> None:
        """Stop answering, and keep the serials."""
        for task in self._notifying:
            task.cancel()
        self._metrics.close()
        self._server.close()
        self._equipment.serials.write()
        self._reader.close()

    async def _outcome(self, interface: str) -> Device | WgsdError:
        try:
            return await self._fetch(interface)
        except WgsdError as error:
            return error

    async def _fetch(self, interface: str) -> Device:
        match self._first.pop(interface, None):
            case Device() as device:
                return device
            case WgsdError() as error:
                raise error
        try:
            return await self._reader.fetch(interface)
        except WgsdError:
            if self._reader.lost.done():
                await asyncio.Future()  # that is the end, and is told of once
            raise

    def _take(self, config: Config, keys: Keyring) -> None:
        before = self._assembly.config
        for name in FIXED:
            if getattr(config, name) != getattr(before, name):
                _log.warning("%s stays as it was: restart the registry to change it", name)
        config = dataclasses.replace(config, **{name: getattr(before, name) for name in FIXED})
        self._assembly = assemble(config, keys, self._around, self._assembly)
        self._server.use(self._assembly.site)
        self._statistics.reloads += 1
        self._warn_of_dangers()
        self._notify()

    def _tell_ready(self) -> None:
        systemd.tell("READY=1", f"STATUS={self.summary}")

    def _keep_watchdog(self) -> None:
        interval = systemd.watchdog_interval()
        if interval is not None:
            systemd.tell("WATCHDOG=1")
            asyncio.get_running_loop().call_later(interval, self._keep_watchdog)

    def _warn_of_dangers(self) -> None:
        for danger in self._assembly.config.dangers():
            _log.warning("%s", danger)

    def _notify(self) -> None:
        """Have the secondaries of the present zones told, and no others."""
        for task in self._notifying:
            task.cancel()
        self._notifying = [asyncio.create_task(_run(notifier)) for notifier in self._assembly.notifiers]


def push_ports(listeners: Iterable[Listener]) -> tuple[int, ...]:
    """Those at which clients can have sessions: of TCP, each once."""
    return tuple(dict.fromkeys(listener.address.port for listener in listeners if listener.tcp is not None))


async def _run(notifier: Notifier) -> None:
    try:
        await notifier.run()
    except Exception:  # a defect of ours, which the zone's clients need not suffer from
        _log.exception("secondaries are not notified any more; restart the registry, and report this as a defect:")


async def run(config: Config, keys: Keyring, equipment: Equipment) -> None:
    """Serve until SIGTERM or SIGINT. Raises NotPermitted, ReaderLost."""
    loop = asyncio.get_running_loop()
    serving = loop.create_task(_serve(config, keys, equipment))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        pass  # which only a signal does


async def _serve(config: Config, keys: Keyring, equipment: Equipment) -> None:
    loop = asyncio.get_running_loop()
    reader = await equipment.connect()
    service = Service(config, keys, equipment, reader)
    try:
        loop.add_signal_handler(signal.SIGHUP, service.reload)
        loop.add_signal_handler(signal.SIGUSR1, service.log_statistics)
        first = loop.create_task(service.read_all())
        await asyncio.wait((first, reader.lost), return_when=asyncio.FIRST_COMPLETED)
        if not reader.lost.done():
            await service.start()
            await asyncio.wait((reader.lost,))
        raise reader.lost.result()
    finally:
        systemd.tell("STOPPING=1")
        service.close()
