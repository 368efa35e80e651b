# SPDX-License-Identifier: GPL-2.0-or-later
"""A notification server that keeps what it is given, and misbehaves as a test wants. It shows nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.integration.waiting import Recorder
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus, Caller, Interface, Method, Signal

NOTIFY = (
    *(("app_name", "s"), ("replaces_id", "u"), ("app_icon", "s"), ("summary", "s"), ("body", "s")),
    *(("actions", "as"), ("hints", "a{sv}"), ("expire_timeout", "i")),
)


@dataclass(frozen=True, slots=True)
class Told:
    """One call of Notify, as far as it matters here."""

    replaces: int
    summary: str
    body: str
    hints: dict[str, Any]


class ScriptedNotifications:
    """A server on a connection of its own; `appear` has it take the name."""

    def __init__(self, address: str, capabilities: object = ["body"]) -> None:
        self.bus = Bus(system=False, address=address)
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.refusal: Exception | None = None
        """What Notify raises, if anything."""
        self.told: Recorder[Told] = Recorder()
        self.closed: Recorder[int] = Recorder()
        self.standing: dict[int, str] = {}
        """The summaries of what it shows."""
        self._capabilities = capabilities
        self._last = 40
        self._type = "u"

    async def appear(self, *, number: str = "u", capabilities: str = "as") -> None:
        """With other types than the specification's it answers nonsense."""
        self._type = number
        self.bus.export(
            names.NOTIFICATIONS_PATH,
            Interface(
                names.NOTIFICATIONS,
                methods={
                    "GetCapabilities": Method(self._get_capabilities, (), (("capabilities", capabilities),)),
                    "Notify": Method(self._notify, NOTIFY, (("id", number),)),
                    "CloseNotification": Method(self._close, (("id", "u"),)),
                },
                signals={"NotificationClosed": Signal((("id", "u"), ("reason", "u")))},
            ),
        )
        await self.bus.connect()
        await self.bus.request_name(names.NOTIFICATIONS)

    def dismiss(self, number: int) -> None:
        """People close it."""
        del self.standing[number]
        self._say_closed(number, 2)

    async def _get_capabilities(self, _: Caller) -> Sequence[object]:
        return [self._capabilities]

    async def _notify(
        self, _: Caller, _name: str, replaces: int, _icon: str, summary: str, body: str, *rest: Any
    ) -> Sequence[object]:
        self.told(Told(replaces, summary, body, rest[1]))
        await self.go_on.wait()
        if self.refusal is not None:
            raise self.refusal
        self._last += 1
        number = replaces or self._last
        self.standing[number] = summary
        return [{"u": number, "s": str(number), "b": True, "as": [str(number)]}[self._type]]

    async def _close(self, _: Caller, number: int) -> Sequence[object]:
        self.standing.pop(number, None)
        self.closed(number)
        self._say_closed(number, 3)
        return []

    def _say_closed(self, number: int, reason: int) -> None:
        self.bus.emit(names.NOTIFICATIONS_PATH, names.NOTIFICATIONS, "NotificationClosed", number, reason)
