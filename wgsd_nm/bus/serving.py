# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls from others, from the message that brings one to the reply that ends it. It knows nothing of reconnecting."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from wgsd_nm.bus import failure, names
from wgsd_nm.bus.backend import Link
from wgsd_nm.bus.export import Caller, Method, Objects, signature
from wgsd_nm.bus.message import Flag, Kind, Message
from wgsd_nm.core.errors import BusLost, CallFailed, InvalidValue

MAX_CALLS: Final = 64
"""Calls of one caller, a connection to the bus, that are at work at a time."""
MAX_CALLS_OF_ALL: Final = 1024
"""Calls of all callers: more than one read brings (backend.READ_SIZE), so that no flood takes all places at once."""
MAX_ARGUMENTS: Final = 1 << 22
"""Octets of a call's arguments, twice those of the longest SetEndpoints: to read more takes seconds of everybody's."""


class Server:
    """Runs the handlers of exported methods, at most MAX_CALLS of one caller at a time.

    A call outlives its connection; its reply does not, and never goes out on another one.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._calls: dict[asyncio.Task[None], str] = {}
        self._of_caller: Counter[str] = Counter()

    @property
    def calls_in_progress(self) -> int:
        """Handlers that are at work."""
        return len(self._calls)

    def take(self, link: Link, message: Message) -> None:
        """Answers a call, or has its handler do so."""
        try:
            if len(message.octets) > MAX_ARGUMENTS:
                raise CallFailed(names.ERROR_INVALID_ARGS, f"the arguments are longer than {MAX_ARGUMENTS} octets")
            if self._objects.is_standard(message.interface, message.member):
                answer = self._objects.answer(
                    message.path, message.interface, message.member, message.signature, message.body()
                )
                _reply(link, message, *answer)
                return
            method = self._objects.method(message.path, message.interface, message.member, message.signature)
            if self._of_caller[message.sender] >= MAX_CALLS or len(self._calls) >= MAX_CALLS_OF_ALL:
                raise CallFailed(names.ERROR_LIMITS_EXCEEDED, f"{MAX_CALLS} calls are at work already: try again later")
            arguments = message.body()
        except Exception as error:
            _refuse(link, message, error)
        else:
            task = asyncio.get_running_loop().create_task(_run(link, message, method, arguments))
            self._calls[task] = message.sender
            self._of_caller[message.sender] += 1
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        caller = self._calls.pop(task)
        self._of_caller[caller] -= 1
        if not self._of_caller[caller]:
            del self._of_caller[caller]

    async def idle(self) -> None:
        """Returns when no handler is at work."""
        while self._calls:
            await asyncio.wait(self._calls)

    async def cancel(self) -> None:
        """Ends the handlers at work."""
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)


async def _run(link: Link, message: Message, method: Method, arguments: Sequence[Any]) -> None:
    try:
        caller = Caller(message.sender, bool(message.flags & Flag.INTERACTIVE))
        results = await method.handler(caller, *arguments)
        _reply(link, message, signature(method.results), results)
    except Exception as error:
        _refuse(link, message, error)


def _reply(link: Link, message: Message, signature: str, values: Sequence[object]) -> None:
    if message.flags & Flag.NO_REPLY_EXPECTED:
        return
    try:
        link.send(Kind.REPLY, signature, values, destination=message.sender, reply_serial=message.serial)
    except InvalidValue as error:
        raise RuntimeError(f"the result of {message.member} is not of the type that it promises") from error
    except BusLost:
        pass  # and so is the caller


def _refuse(link: Link, message: Message, error: Exception) -> None:
    name, text = failure.told(error, message.member)
    if message.flags & Flag.NO_REPLY_EXPECTED:
        return
    try:
        link.send(Kind.ERROR, "s", (text,), error_name=name, destination=message.sender, reply_serial=message.serial)
    except BusLost:
        pass  # and so is the caller
