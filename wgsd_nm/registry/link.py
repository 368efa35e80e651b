# SPDX-License-Identifier: GPL-2.0-or-later
"""The server's end of the socket to the reader: asks for snapshots of devices. Knows nothing of DNS."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wgsd_nm.core.errors import InvalidValue, NotPermitted, ReaderLost
from wgsd_nm.core.model import Device
from wgsd_nm.registry import snapshot

RETRY_FIRST, RETRY_MOST = 0.25, 5.0
"""Seconds until a reader that was lost is called again: the first time, and doubled from then on up to that."""
CONNECT_TIMEOUT = 2.0
"""Seconds that systemd has to take a connection in."""
ANSWER_TIMEOUT = 30.0
"""Seconds after which a reader that does not answer is given up; the largest device takes a fraction of one."""

Loss = ReaderLost | NotPermitted
"""Why nothing more will come from a reader: it has left, is not understood, or lacks what it needs to read devices."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Order:
    """One snapshot that somebody waits for."""

    interface: str
    reply: asyncio.Future[Device]


class Link(asyncio.Protocol):
    """One connected Unix stream socket to a reader. `lost` ends when nothing more will come from it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[Loss] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._sequence = 0
        self._orders: deque[_Order] = deque()
        self._received = bytearray()
        self._decoders: dict[str, snapshot.Decoder] = {}
        self._deadline: asyncio.TimerHandle | None = None

    @classmethod
    async def over(cls, connection: socket.socket) -> Link:
        """Takes the socket over."""
        connection.setblocking(False)
        _, link = await asyncio.get_running_loop().create_unix_connection(cls, sock=connection)
        return link

    async def fetch(self, interface: str) -> Device:
        """The device as it is now. The reader is asked for one at a time; whoever calls meanwhile waits for his turn.

        Raises DeviceError where the device cannot be read, Loss where nothing more will come.
        """
        if self.lost.done():
            raise _again(self.lost.result())
        order = _Order(interface, self._loop.create_future())
        self._orders.append(order)
        if len(self._orders) == 1:
            self._ask()
        return await order.reply

    def close(self) -> None:
        """The reader ends when it sees this."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) < snapshot.REPLY_LENGTH:
            return
        header = bytes(self._received[: snapshot.REPLY_LENGTH])
        try:
            status, length = snapshot.parse_reply_header(header, self._sequence)
        except InvalidValue as error:
            self._misunderstood(error)
            return
        if len(self._received) >= snapshot.REPLY_LENGTH + length:
            body = bytes(self._received[snapshot.REPLY_LENGTH :])
            self._received.clear()
            self._answered()
            if self._orders:
                self._deliver(status, body)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature; what failed is moot
        self._lose(ReaderLost("the registry's reader has ended"))

    def _ask(self) -> None:
        assert self._transport is not None
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._transport.write(snapshot.request(self._sequence, self._orders[0].interface))
        hung = ReaderLost(f"the registry's reader has not answered for {ANSWER_TIMEOUT:g} s")
        self._deadline = self._loop.call_later(ANSWER_TIMEOUT, self._lose, hung)

    def _answered(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _deliver(self, status: int, body: bytes) -> None:
        order = self._orders[0]
        try:
            device = None if status else self._decoder(order.interface).decode(body)
        except InvalidValue as error:
            self._misunderstood(error)
            return
        failure = snapshot.failure(status, body) if device is None else None
        if isinstance(failure, NotPermitted):
            self._lose(failure)
            return
        self._orders.popleft()
        if order.reply.done():
            pass  # whoever asked was cancelled
        elif device is not None:
            order.reply.set_result(device)
        elif failure is not None:
            order.reply.set_exception(failure)
        if self._orders:
            self._ask()

    def _decoder(self, interface: str) -> snapshot.Decoder:
        """One for each device: it compares with what came before."""
        return self._decoders.setdefault(interface, snapshot.Decoder())

    def _misunderstood(self, error: InvalidValue) -> None:
        self._lose(ReaderLost(f"the registry's reader is not of this version: {error}"))

    def _lose(self, why: Loss) -> None:
        self._answered()
        if not self.lost.done():
            self.lost.set_result(why)
        orders, self._orders = self._orders, deque()
        for order in orders:
            if not order.reply.done():
                order.reply.set_exception(_again(why))
        self.close()


def _again(loss: Loss) -> Loss:
    """The same error, for one more who is to raise it."""
    return type(loss)(str(loss))


class LastingLink:
    """A link to the reader behind a socket's path, made when it is needed and made anew when it is lost.

    A query that runs into a reader's end is asked once more at once. When that fails, too, calls fail without a try
    and for the same reason until a pause is over, which grows from RETRY_FIRST to RETRY_MOST.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[Loss] = self._loop.create_future()
        """Never ends: there may always be another reader."""
        self.reader: Link | None = None
        """The present one, or the last."""
        self._clock = clock
        self._path = path
        self._connecting = asyncio.Lock()
        self._missed = False
        self._failures = 0
        self._not_before = float("-inf")
        self._loss: Loss = ReaderLost(f"there is no reader at {path}")

    @classmethod
    async def to(cls, path: Path) -> LastingLink:
        """Nobody need be there yet."""
        return cls(path)

    async def fetch(self, interface: str) -> Device:
        """As Link.fetch()."""
        is_new = self.reader is None or self.reader.lost.done()
        link = await self._connected()
        try:
            device = await link.fetch(interface)
        except ReaderLost as loss:
            if is_new:
                self._pause(loss)
                raise
            return await self.fetch(interface)
        except NotPermitted as loss:
            self._pause(loss)
            raise
        self._failures = 0
        if self._missed:
            self._missed = False
            _log.info("the reader at %s is back", self._path)
        return device

    def close(self) -> None:
        """The reader ends when it sees this."""
        self._missed = True  # nobody is to hear of this end
        self._not_before = float("inf")
        if self.reader is not None:
            self.reader.close()

    async def _connected(self) -> Link:
        """Raises Loss."""
        async with self._connecting:
            if self.reader is not None and not self.reader.lost.done():
                return self.reader
            if self._clock() < self._not_before:
                raise _again(self._loss)
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    _, self.reader = await self._loop.create_unix_connection(Link, str(self._path))
            except OSError as error:  # TimeoutError is one
                lost = ReaderLost(f"there is no reader at {self._path}: {_reason(error)}")
                self._miss(lost)
                self._pause(lost)
                raise lost from error
            self.reader.lost.add_done_callback(lambda lost: self._miss(lost.result()))
            return self.reader

    def _miss(self, loss: Loss) -> None:
        if isinstance(loss, ReaderLost) and not self._missed:
            self._missed = True
            _log.warning("%s: the next query calls another one", loss)

    def _pause(self, loss: Loss) -> None:
        self._loss = loss
        self._not_before = self._clock() + min(RETRY_FIRST * 2**self._failures, RETRY_MOST)
        self._failures += 1


def _reason(error: OSError) -> str:
    match error:
        case TimeoutError():
            return f"no connection within {CONNECT_TIMEOUT:g} s"
        case FileNotFoundError() | ConnectionRefusedError():
            return "start wgsd-nm-registry-reader.socket"
    return error.strerror or str(error)
