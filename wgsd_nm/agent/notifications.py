# SPDX-License-Identifier: GPL-2.0-or-later
"""The client of the desktop's notification server (Desktop Notifications Specification 1.2): has it show what should
stand, and nothing else. What that is, and when, it knows nothing of.

A server may be absent, come late, hang or answer nonsense: each notice is tried once, and again when there is another
server. Until there is something to show, nobody is asked anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Final

from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus
from wgsd_nm.bus.wire import Variant
from wgsd_nm.core.errors import BusError, CallFailed, InvalidValue
from wgsd_nm.core.notices import Book, Kind, Notice, Topic
from wgsd_nm.core.status import AgentStatus
from wgsd_nm.core.watch import AgentWatch

_log = logging.getLogger(__name__)

TIMEOUT: Final = 600.0
"""Seconds that a server may take: what it shows late can be taken back only by the number that it answers with."""
FAREWELL: Final = 1.0
"""Seconds to take back what stands, when the agent ends."""

TRIES: Final = 3
"""Servers that a notice is tried with: one that dies of it would be started for ever."""

DESKTOP_ENTRY: Final = "io.github.wgsd_nm"
"""Of data/applications."""

_APPLICATION: Final = "wgsd-nm"
_MARKUP: Final = "body-markup"
_SERVERS_CHOICE: Final = -1
"""As expire_timeout: the server decides how long a notice is on the screen."""
_NEW: Final = 0
"""As replaces_id."""
_LOW: Final = 0
_NORMAL: Final = 1
"""As the hint urgency."""

_ESCAPED: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"})


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the server was given last; `number` is its own for it, 0 if it shows it no more."""

    notice: Notice
    number: int

    def differs(self, notice: Notice) -> bool:
        """Whether the server is to show this instead: what is new in any case, what is not where the other stands."""
        if notice.told_at > self.notice.told_at:
            return True
        text = (notice.summary, notice.body) != (self.notice.summary, self.notice.body)
        return text and self.number > 0 and _kind(notice) is Kind.FAILURE


@dataclass(frozen=True, slots=True)
class _Failed:
    """What the server could not be given, so many times; `rests` until there is another server."""

    told_at: float
    times: int
    rests: bool = True


class Notifications:
    """`look` is to be called when the agent's state may differ, and calls `look_again` when time alone made it due."""

    def __init__(self, bus: Bus, look_again: Callable[[], None]) -> None:
        self._bus = bus
        self._look_again = look_again
        self._book = Book()
        self._wanted: dict[Topic, Notice] = {}
        self._shown: dict[Topic, _Shown] = {}
        self._failed: dict[Topic, _Failed] = {}
        self._has_markup: bool | None = None
        """None until the server has said."""
        self._owner = ""
        self._attending = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def look(self, watch: AgentWatch, status: AgentStatus) -> None:
        """Have the server show what should stand as things are now."""
        if self._closed:
            return
        running = asyncio.get_running_loop()
        self._book, due = self._book.advance(watch, status, running.time())
        self._wanted = {notice.topic: notice for notice in self._book.notices()}
        if self._timer is not None:
            self._timer.cancel()
        self._timer = running.call_at(due, self._look_again) if due < inf else None
        self._work()

    async def close(self) -> None:
        """Take back what stands, as far as the server answers."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._wanted = {}
        self._work()
        if (task := self._task) is not None:
            await asyncio.wait([task], timeout=FAREWELL)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _work(self) -> None:
        if self._task is None and self._next() is not None:
            self._task = asyncio.get_running_loop().create_task(self._make_so())

    def _next(self) -> Topic | None:
        """Of what is shown otherwise than it should be."""
        for topic in self._shown:
            if topic not in self._wanted:
                return topic
        for topic, notice in self._wanted.items():
            shown = self._shown.get(topic)
            if (shown is None or shown.differs(notice)) and not self._is_hopeless(notice):
                return topic
        return None

    def _is_hopeless(self, notice: Notice) -> bool:
        failed = self._failed.get(notice.topic)
        return failed is not None and failed.told_at == notice.told_at and (failed.rests or failed.times >= TRIES)

    async def _make_so(self) -> None:
        try:
            while (topic := self._next()) is not None:
                if topic in self._wanted:
                    await self._show(self._wanted[topic])
                else:
                    await self._withdraw(self._shown.pop(topic).number)
        finally:
            self._task = None

    async def _show(self, notice: Notice) -> None:
        shown = self._shown.get(notice.topic)
        try:
            await self._attend()
            if self._has_markup is None:
                self._has_markup = await self._understands_markup()
            number = await self._notify(notice, shown.number if shown is not None else _NEW, self._has_markup)
        except (BusError, InvalidValue) as error:
            _log.warning("the desktop could not be told %r: %s", notice.summary, error)
            failed = self._failed.get(notice.topic)
            times = failed.times if failed is not None and failed.told_at == notice.told_at else 0
            self._failed[notice.topic] = _Failed(notice.told_at, times + 1)
            return
        self._shown[notice.topic] = _Shown(notice, number)
        if shown is None or shown.notice.told_at < notice.told_at:
            self._book = self._book.seen(notice, asyncio.get_running_loop().time())

    async def _attend(self) -> None:
        """Hear from now on what becomes of the server and of what it shows."""
        if self._attending:
            return
        await self._bus.subscribe(
            self._on_closed,
            sender=names.NOTIFICATIONS,
            interface=names.NOTIFICATIONS,
            member="NotificationClosed",
            path=names.NOTIFICATIONS_PATH,
        )
        self._attending = True
        await self._bus.watch_owner(names.NOTIFICATIONS, self._owned)

    async def _understands_markup(self) -> bool:
        match await self._call("GetCapabilities"):
            case [list(capabilities)]:
                return _MARKUP in capabilities
        raise CallFailed(names.ERROR_FAILED, "the notification server's capabilities are no list")

    async def _notify(self, notice: Notice, replaced: int, has_markup: bool) -> int:
        """The server's number for the notice, 0 where what it says is none."""
        failure = _kind(notice) is Kind.FAILURE
        hints = {
            "desktop-entry": Variant("s", DESKTOP_ENTRY),
            "category": Variant("s", "network.error" if failure else "network.connected"),
            "urgency": Variant("y", _NORMAL if failure else _LOW),
            "transient": Variant("b", not failure),
        }
        reply = await self._call(
            "Notify",
            "susssasa{sv}i",
            *(_APPLICATION, replaced, "network-error" if failure else "network-idle"),
            *(notice.summary, notice.body.translate(_ESCAPED) if has_markup else notice.body),
            *([], hints, _SERVERS_CHOICE),
        )
        match reply:
            case [int(number)] if number > 0 and not isinstance(number, bool):
                return number
        _log.warning("the notification server gave no number for %r, so it cannot be taken back", notice.summary)
        return 0

    async def _withdraw(self, number: int) -> None:
        """Servers refuse to close what is closed already."""
        if not number:
            return
        try:
            await self._call("CloseNotification", "u", number)
        except BusError as error:
            _log.debug("a notice could not be taken back: %s", error)

    async def _call(self, member: str, signature: str = "", *arguments: object) -> list[Any]:
        return await self._bus.call(
            names.NOTIFICATIONS,
            names.NOTIFICATIONS_PATH,
            names.NOTIFICATIONS,
            member,
            signature,
            *arguments,
            timeout=TIMEOUT,
        )

    def _on_closed(self, _path: str, body: list[Any]) -> None:
        """People have dismissed it, or the server had it on the screen for long enough: it is not shown again."""
        self._shown = {
            topic: replace(shown, number=0) if shown.number in body[:1] else shown
            for topic, shown in self._shown.items()
        }

    def _owned(self, owner: str) -> None:
        """Another server knows nothing of what the former one showed."""
        if owner == self._owner:
            return
        self._owner = owner
        self._has_markup = None
        self._shown = {topic: replace(shown, number=0) for topic, shown in self._shown.items()}
        self._failed = {topic: replace(failed, rests=False) for topic, failed in self._failed.items()}
        if owner:
            self._work()


def _kind(notice: Notice) -> Kind:
    return notice.topic[0]
