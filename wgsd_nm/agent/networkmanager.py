# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter to NetworkManager: whole snapshots of the network, each as soon as it is known.

It keeps a mirror (nm_mirror) up to date, and knows nothing of what a snapshot is good for.

One GetManagedObjects fills the mirror, signals keep it: a signal that matters is a snapshot in the same turn of the
event loop. Match rules leave access points, bit rates and statistics asleep. Nothing but a profile costs a call:
GetSettings, begun when a WireGuard connection starts to activate, so that it is there when the device is up.

Replies and signals come in one order on the wire, but a reply is handled later than the signals behind it. So what a
reply says holds as of its request: signals since then are kept in a journal and played again on top of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

from wgsd_nm.agent.nm_mirror import FOLDERS, INTERFACES, Mirror
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus
from wgsd_nm.core.errors import AccessDenied, BusError, CallFailed, InvalidValue
from wgsd_nm.core.model import Network

_log = logging.getLogger(__name__)

_FIRST_RETRY: Final = 1.0
_LAST_RETRY: Final = 30.0
_MAX_COMPLAINTS: Final = 256

_FINAL: Final = frozenset(
    {
        names.ERROR_UNKNOWN_OBJECT,
        names.ERROR_UNKNOWN_INTERFACE,
        names.ERROR_UNKNOWN_METHOD,
        f"{names.NM_SETTINGS}.PermissionDenied",
    }
)
"""How NetworkManager says that there is no such profile, or none for us (NMSettingsError)."""

_Step = Callable[[Mirror, str, list[Any]], bool]


class NetworkManager:
    """Calls `on_network` with a snapshot whenever one is known that differs from the last."""

    def __init__(self, bus: Bus, on_network: Callable[[Network], None]) -> None:
        self._bus = bus
        self._on_network = on_network
        self._last: Network | None = None
        self._mirror: Mirror | None = None
        self._journal: list[tuple[_Step, str, list[Any]]] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._due: set[str] = set()
        self._complaints: set[str] = set()
        self._closed = False

    async def start(self) -> None:
        """Subscribe. The first snapshot comes when the bus is connected and NetworkManager, if there, has answered."""
        on_changed, on_added = self._keep(Mirror.changed), self._keep(Mirror.added)
        on_removed, on_updated = self._keep(Mirror.removed), self._keep(Mirror.updated)
        subscribe = self._bus.subscribe
        await asyncio.gather(
            *(
                subscribe(
                    on_changed, sender=names.NM, interface=names.PROPERTIES, member="PropertiesChanged", arg0=arg0
                )
                for arg0 in INTERFACES
            ),
            *(
                subscribe(
                    handler,
                    sender=names.NM,
                    interface=names.OBJECT_MANAGER,
                    member=member,
                    path=names.NM_ROOT_PATH,
                    arg0path=folder,
                )
                for folder in FOLDERS
                for handler, member in ((on_added, "InterfacesAdded"), (on_removed, "InterfacesRemoved"))
            ),
            subscribe(on_updated, sender=names.NM, interface=names.NM_PROFILE, member="Updated"),
        )
        await self._bus.watch_owner(names.NM, self._owned)

    async def close(self) -> None:
        """End what is under way. The subscriptions stay with the bus, but no snapshot is delivered any more."""
        self._closed = True
        self._forget()

    def _owned(self, owner: str) -> None:
        """NetworkManager's name has another owner: all that was known is void."""
        self._forget()
        if self._closed:
            return
        if not owner or self._last is not None:
            self._deliver(Network())
        if owner:
            self._loading = self._spawn(self._load_until_known())

    def _forget(self) -> None:
        for task in (self._loading, *self._reading.values()):
            if task is not None:
                task.cancel()
        self._loading = None
        self._reading = {}
        self._due = set()
        self._mirror = None
        self._journal = None

    async def _load_until_known(self) -> None:
        for pause in _pauses():
            try:
                await self._load_once()
                break
            except BusError as error:
                self._complain(f"NetworkManager's objects cannot be read, it is tried again: {error}")
            await asyncio.sleep(pause)
        self._settle()

    async def _load_once(self) -> None:
        """Fill a mirror, and play the signals since then on top of it. Raises BusError."""
        journal: list[tuple[_Step, str, list[Any]]] = []
        self._journal = journal
        try:
            reply = await self._bus.call(
                names.NM, names.NM_ROOT_PATH, names.OBJECT_MANAGER, "GetManagedObjects", autostart=False
            )
            mirror = Mirror(self._complain)
            mirror.load(next(iter(reply), None))
            profiles = sorted(mirror.take_unread())
            replies = await asyncio.gather(*map(self._settings, profiles), return_exceptions=True)
            for path, settings in zip(profiles, replies, strict=True):
                if isinstance(settings, BusError):
                    self._due.add(path)
                elif isinstance(settings, BaseException):
                    raise settings
                elif settings is not None:
                    mirror.learn(path, settings)
        finally:
            if self._journal is journal:  # not so when NetworkManager was restarted meanwhile
                self._journal = None
        for step, path, body in journal:
            step(mirror, path, body)
        self._mirror = mirror

    def _keep(self, step: _Step) -> Callable[[str, list[Any]], None]:
        """A handler that has the mirror take that step."""

        def handle(path: str, body: list[Any]) -> None:
            if self._journal is not None:
                self._journal.append((step, path, body))
            if self._mirror is not None and step(self._mirror, path, body):
                self._settle()

        return handle

    def _settle(self) -> None:
        """The mirror changed: read the profiles that it lacks, and tell what it comes to."""
        if self._mirror is None:
            return
        self._due |= self._mirror.take_unread()
        for path in self._due - self._reading.keys():
            self._reading[path] = self._spawn(self._read(path))
        self._deliver(self._mirror.network())

    async def _read(self, path: str) -> None:
        """Read a profile: again where that failed, and once more where it was updated meanwhile."""
        pauses = _pauses()
        while path in self._due:
            self._due.discard(path)
            try:
                settings = await self._settings(path)
            except BusError:
                self._due.add(path)
                await asyncio.sleep(next(pauses))
                continue
            if settings is not None and path not in self._due and self._mirror is not None:
                self._mirror.learn(path, settings)
        del self._reading[path]
        self._settle()

    async def _settings(self, path: str) -> object:
        """The settings of a profile, None where they cannot be had: it is gone, its permissions shut us out, or what
        NetworkManager calls its path is none.

        Raises BusError where it is worth another try.
        """
        try:
            reply = await self._bus.call(names.NM, path, names.NM_PROFILE, "GetSettings", autostart=False)
        except (BusError, InvalidValue) as error:
            self._complain(f"NetworkManager's profile {path} cannot be read, its tunnel is left out: {error}")
            if _is_final(error):
                return None
            raise
        return next(iter(reply), None)

    def _deliver(self, network: Network) -> None:
        if network != self._last:
            self._last = network
            self._on_network(network)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    def _complain(self, sentence: str) -> None:
        """Warn, once for each sentence."""
        if sentence not in self._complaints and len(self._complaints) < _MAX_COMPLAINTS:
            self._complaints.add(sentence)
            _log.warning("%s", sentence)


def _pauses() -> Iterator[float]:
    """Seconds before the next try, and the next, without end."""
    pause = _FIRST_RETRY
    while True:
        yield pause
        pause = min(2 * pause, _LAST_RETRY)


def _is_final(error: BusError | InvalidValue) -> bool:
    """Whether the same call would fail again: a change of the profile, which makes a signal, may mend it."""
    return isinstance(error, AccessDenied | InvalidValue) or (isinstance(error, CallFailed) and error.name in _FINAL)
