# SPDX-License-Identifier: GPL-2.0-or-later
"""How many calls of one user may be at work at a time, so that nobody's flood starves another user's calls.

It knows nothing of what is called. The bus itself limits the connections of a user (dbus-daemon(1),
max_connections_per_user); by how many of them he calls makes no difference here.
"""

from __future__ import annotations

import functools
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Caller, Handler, Interface
from wgsd_nm.core.errors import CallFailed

MAX_CALLS_OF_A_USER: Final = 32
REMEMBERED: Final = 256
"""Callers whose user is remembered; the bus gives no unique name twice."""


class Admission:
    """Counts the calls at work by user. `uid_of` gives a caller's user, or raises."""

    def __init__(self, uid_of: Callable[[Caller], Awaitable[int]]) -> None:
        self._uid_of = uid_of
        self._users: OrderedDict[str, int] = OrderedDict()
        self._at_work: Counter[int] = Counter()

    def limited(self, interface: Interface) -> Interface:
        """The interface with methods that refuse a user's calls beyond the limit, by CallFailed with LimitsExceeded.

        They are told the user of each caller.
        """
        methods = {
            name: replace(method, handler=self._limited(method.handler)) for name, method in interface.methods.items()
        }
        return replace(interface, methods=methods)

    def _limited(self, handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def limited(caller: Caller, *arguments: object) -> Sequence[object]:
            user = await self._user(caller)
            if self._at_work[user] >= MAX_CALLS_OF_A_USER:
                raise CallFailed(
                    names.ERROR_LIMITS_EXCEEDED,
                    f"{MAX_CALLS_OF_A_USER} calls of this user are at work already: try again later",
                )
            self._at_work[user] += 1
            try:
                return await handler(replace(caller, user=user), *arguments)
            finally:
                self._at_work[user] -= 1
                if not self._at_work[user]:
                    del self._at_work[user]

        return limited

    async def _user(self, caller: Caller) -> int:
        user = self._users.get(caller.name)
        if user is None:
            user = await self._uid_of(caller)
        self._users[caller.name] = user
        self._users.move_to_end(caller.name)
        if len(self._users) > REMEMBERED:
            self._users.popitem(last=False)
        return user
