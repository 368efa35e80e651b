# SPDX-License-Identifier: GPL-2.0-or-later
"""One client's TCP connection: DNS messages in, one by one, and out, in the order in which they are posted.

Knows nothing of what they mean. Whatever is not taken waits here, and messages that go to many are not copied.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from time import monotonic

from wgsd_nm.registry.sockets import MAX_QUERY

PATIENCE = 10.0
"""Seconds in which a client has to take something of what waits for it."""
_MAX_PARTS = 64
"""Parts of messages that are sent by one system call; the kernel takes 1024 (UIO_MAXIOV)."""
_LENGTH = struct.Struct("!H")
_RESET = struct.pack("@ii", 1, 0)  # struct linger: what was not taken is thrown away


@dataclass(slots=True, eq=False)
class Connection:
    """`client` is whose share of the places it takes. It is `idle` while it is not owed an answer, `since` then.

    `task` is the conversation on it, `unsent` are the octets that wait for the client to take them.
    """

    socket: socket.socket
    source: str
    interface: int
    client: str | bytes
    is_stranger: bool
    since: float
    idle: bool = True
    received: bytearray = field(default_factory=bytearray)
    task: asyncio.Task[None] | None = None
    unsent: int = 0
    _parts: deque[memoryview] = field(default_factory=deque)
    _taken: float = inf
    _emptied: asyncio.Future[None] | None = None
    _trouble: OSError | None = None

    async def receive(self, limit: float | None) -> bytes | None:
        """The next message, which may have come already (RFC 7766 section 6.2.1.1); None where there is none.

        Raises OSError, and TimeoutError after `limit` seconds.
        """
        received = self.received
        async with asyncio.timeout(limit):
            while True:
                if len(received) >= _LENGTH.size:
                    (length,) = _LENGTH.unpack_from(received)
                    if length > MAX_QUERY:
                        return None
                    end = _LENGTH.size + length
                    if len(received) >= end:
                        message = bytes(received[_LENGTH.size : end])
                        del received[:end]
                        await asyncio.sleep(0)  # others have their turn, however many there are
                        return message
                octets = await asyncio.get_running_loop().sock_recv(self.socket, MAX_QUERY)
                if not octets:
                    return None
                received += octets

    def post(self, message: bytes) -> None:
        """Send this behind what was posted before, as soon as the client takes it. It must not be changed any more."""
        if self._trouble is not None or self.socket.fileno() < 0:
            return
        waits = bool(self._parts)
        self._parts += (memoryview(_LENGTH.pack(len(message))), memoryview(message))
        self.unsent += _LENGTH.size + len(message)
        if not waits:
            self._taken = monotonic()
            self._send()
            if self._parts:
                asyncio.get_running_loop().add_writer(self.socket, self._writable)

    async def flushed(self, limit: float | None = None) -> None:
        """When the client has taken all. Raises OSError, and TimeoutError after `limit` seconds."""
        if self._parts:
            self._emptied = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(limit):
                await self._emptied
        if self._trouble is not None:
            raise self._trouble

    def is_stuck(self, now: float) -> bool:
        """Whether the client has taken nothing of what waits for it for PATIENCE."""
        return bool(self._parts) and self._taken + PATIENCE <= now

    def reset(self) -> None:
        """When it is closed, throw away what was not taken, and tell the client so: the kernel need not keep it."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def end(self) -> None:
        """Have it closed by its conversation, which is over."""
        if self.task is not None:
            self.task.cancel()

    def close(self) -> None:
        """Nothing is sent or received any more."""
        self._clear()
        self.socket.close()

    def _writable(self) -> None:
        self._send()
        if not self._parts:
            self._clear()

    def _send(self) -> None:
        try:
            while self._parts:
                self._took(self.socket.sendmsg(list(islice(self._parts, _MAX_PARTS))))
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:  # the client has left
            self._trouble = error
            self._clear()

    def _took(self, count: int) -> None:
        self._taken = monotonic()
        self.unsent -= count
        while count:
            part = self._parts.popleft()
            if len(part) > count:
                self._parts.appendleft(part[count:])
                return
            count -= len(part)

    def _clear(self) -> None:
        """Nothing waits any more."""
        if self.socket.fileno() >= 0:
            asyncio.get_running_loop().remove_writer(self.socket)
        self._parts.clear()
        self.unsent = 0
        if self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)
