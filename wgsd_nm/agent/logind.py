# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter to systemd-logind: the laptop woke up, our login session became active or inactive.

It knows nothing of what follows from either. Where there is no logind, or no session of ours, we count as active.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus
from wgsd_nm.core.errors import BusError, InvalidValue

_log = logging.getLogger(__name__)

_SESSION: Final = names.LOGIN1 + ".Session"
_USER: Final = names.LOGIN1 + ".User"


class Logind:
    """Calls `on_wake` after each sleep, and `on_active` once when it is known and whenever it changes."""

    def __init__(
        self,
        bus: Bus,
        on_wake: Callable[[], None],
        on_active: Callable[[bool], None],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._bus = bus
        self._on_wake = on_wake
        self._on_active = on_active
        self._session_id = environment.get("XDG_SESSION_ID", "")
        self._told: bool | None = None
        self._owner = ""
        self._user = ""
        self._session = ""
        self._signals = 0
        self._finding: asyncio.Task[None] | None = None

    @property
    def present(self) -> bool:
        """Whether there is a logind, which tells of each sleep."""
        return bool(self._owner)

    async def start(self) -> None:
        """Subscribe. `on_active` is first called when the bus is connected and logind, if there, has answered."""
        await asyncio.gather(
            self._subscribe(self._prepare_for_sleep, "PrepareForSleep"),
            self._subscribe(self._sessions_changed, "SessionNew"),
            self._subscribe(self._sessions_changed, "SessionRemoved"),
            self._subscribe_properties(self._session_changed, _SESSION),
            self._subscribe_properties(self._user_changed, _USER),
        )
        await self._bus.watch_owner(names.LOGIN1, self._owned)

    async def close(self) -> None:
        """End what is under way. The subscriptions stay with the bus."""
        if self._finding is not None:
            self._finding.cancel()
        self._owner = ""

    async def _subscribe(self, handler: Callable[[str, list[Any]], None], member: str) -> None:
        await self._bus.subscribe(
            handler, sender=names.LOGIN1, interface=names.LOGIN1_MANAGER, member=member, path=names.LOGIN1_PATH
        )

    async def _subscribe_properties(self, handler: Callable[[str, list[Any]], None], interface: str) -> None:
        await self._bus.subscribe(
            handler, sender=names.LOGIN1, interface=names.PROPERTIES, member="PropertiesChanged", arg0=interface
        )

    def _prepare_for_sleep(self, _path: str, body: list[Any]) -> None:
        if body == [False]:
            self._on_wake()

    def _session_changed(self, path: str, body: list[Any]) -> None:
        if path != self._session:
            return
        match body:
            case [_, {"Active": bool(active)}, *_]:
                self._signals += 1
                self._tell(active)
            case [_, _, list(invalidated)] if "Active" in invalidated:
                self._find()

    def _user_changed(self, path: str, body: list[Any]) -> None:
        match body:
            case [_, dict(changed), list(invalidated)] if path == self._user and "Display" in (*changed, *invalidated):
                self._find()

    def _sessions_changed(self, _path: str, _body: list[Any]) -> None:
        """A session came or went: it may be ours now, or ours may be gone."""
        self._find()

    def _owned(self, owner: str) -> None:
        """A logind that is gone leaves things as they were; one that is back is asked."""
        self._owner = owner
        self._user = self._session = ""
        if owner:
            self._find()
        elif self._told is None:
            self._tell(True)

    def _find(self) -> None:
        """Anew. Until it is known which session is ours no signal tells of it: what is read then is newer."""
        self._session = ""
        if self._finding is not None:
            self._finding.cancel()
        self._finding = asyncio.get_running_loop().create_task(self._find_session()) if self._owner else None

    async def _find_session(self) -> None:
        self._session = await self._own_session()
        signals = self._signals
        active = await self._property(self._session, _SESSION, "Active") if self._session else True
        if signals == self._signals:  # else a signal overtook this reply
            self._tell(active if isinstance(active, bool) else True)

    async def _own_session(self) -> str:
        """The path of the session that we serve, "" if there is none.

        A unit of the user's service manager belongs to no session; then it is the one that logind has elected as the
        user's display: a graphical one, and while there is none, one at a terminal or from far away. It elects anew
        when a session begins or ends, and says so by Display of the user, after SessionNew.
        """
        if self._session_id and (path := await self._ask("GetSession", "s", self._session_id)):
            return path
        self._user = await self._ask("GetUser", "u", os.getuid())
        if self._user:
            match await self._property(self._user, _USER, "Display"):
                case [str(session), str(path)] if session:
                    return path
        return await self._ask("GetSessionByPID", "u", os.getpid())

    async def _ask(self, method: str, signature: str, argument: object) -> str:
        """The path of the object that this method of the manager finds, "" if it finds none."""
        try:
            reply = await self._bus.call(
                names.LOGIN1, names.LOGIN1_PATH, names.LOGIN1_MANAGER, method, signature, argument, autostart=False
            )
        except (BusError, InvalidValue) as error:
            _log.debug("logind's %s found nothing: %s", method, error)
            return ""
        match reply:
            case [str(path)]:
                return path
        return ""

    async def _property(self, path: str, interface: str, name: str) -> object:
        """A property of logind's, None if it cannot be read."""
        try:
            reply = await self._bus.call(
                names.LOGIN1, path, names.PROPERTIES, "Get", "ss", interface, name, autostart=False
            )
        except (BusError, InvalidValue) as error:  # InvalidValue: logind's path is none
            _log.warning("logind's %s of %s cannot be read: %s", name, path, error)
            return None
        return next(iter(reply), None)

    def _tell(self, active: bool) -> None:
        if active != self._told:
            self._told = active
            self._on_active(active)
