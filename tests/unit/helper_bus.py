# SPDX-License-Identifier: GPL-2.0-or-later
"""The system bus as the helper's parts see it, in a few words: who is there, and what polkit and NetworkManager say.

Real buses and processes are in tests/integration/test_helper.py; here, time and answers are the test's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from wgsd_nm.bus import names
from wgsd_nm.core.errors import CallFailed

Answer = Callable[..., Awaitable[list[Any]]]


class HelperBus:
    """Answers by member; what nobody has scripted is not known."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {"NameHasOwner": self._has_owner, "CancelCheckAuthorization": self._cancel}
        self.here = {":1.7"}
        self.calls: list[str] = []
        self.withdrawn: list[str] = []
        self.rules: list[str] = []
        self.changed = asyncio.Event()
        """Set whenever something was asked."""
        self._handlers: dict[str, Callable[[str, list[Any]], None]] = {}

    async def call(
        self, _to: str, _path: str, _interface: str, member: str, _signature: str, *arguments: Any, **_: Any
    ) -> list[Any]:
        self.calls.append(member)
        self.changed.set()
        if member not in self.answers:
            raise CallFailed(names.NM + ".UnknownDevice", "no such thing")
        return await self.answers[member](*arguments)

    async def subscribe(self, handler: Callable[[str, list[Any]], None], *, member: str, **_: str) -> None:
        self.rules.append(member)
        self._handlers[member] = handler

    async def watch_owner(self, *_: object) -> None:
        pass

    async def uid_of(self, _: object) -> int:
        return 1000

    async def until(self, member: str) -> None:
        """Returns when that was called."""
        while member not in self.calls:
            self.changed.clear()
            await self.changed.wait()

    def leave(self, name: str) -> None:
        """Who has that unique name hangs up."""
        self.here.discard(name)
        self._handlers["NameOwnerChanged"](names.DBUS_PATH, [name, name, ""])

    def join(self, name: str) -> None:
        self.here.add(name)
        self._handlers["NameOwnerChanged"](names.DBUS_PATH, [name, "", name])

    async def _has_owner(self, name: str) -> list[Any]:
        await asyncio.sleep(0)
        return [name in self.here]

    async def _cancel(self, question: str) -> list[Any]:
        self.withdrawn.append(question)
        return []
