# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a caller is still on the bus. It knows nothing of what was called.

The bus is asked to tell of everybody's leaving, by one match rule, once the first caller is waited for.
"""

from __future__ import annotations

import asyncio
from typing import Any

from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus, Caller


class Presence:
    """The callers that are waited for."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._awaited: dict[str, set[asyncio.Future[None]]] = {}
        self._watching = asyncio.Lock()
        self._watched = False

    async def until_gone(self, caller: Caller) -> None:
        """Returns when the caller has left the bus. Raises BusError."""
        await self._watch()
        gone = asyncio.get_running_loop().create_future()
        self._awaited.setdefault(caller.name, set()).add(gone)
        try:
            (here,) = await self._bus.call(names.DBUS, names.DBUS_PATH, names.DBUS, "NameHasOwner", "s", caller.name)
            if here:
                await gone
        finally:
            others = self._awaited[caller.name]
            others.discard(gone)
            if not others:
                del self._awaited[caller.name]

    async def _watch(self) -> None:
        async with self._watching:
            if not self._watched:
                await self._bus.subscribe(
                    self._owner_changed, sender=names.DBUS, interface=names.DBUS, member="NameOwnerChanged"
                )
                self._watched = True

    def _owner_changed(self, _path: str, body: list[Any]) -> None:
        name, _, owner = body
        if not owner:
            for gone in self._awaited.get(name, ()):
                if not gone.done():
                    gone.set_result(None)
