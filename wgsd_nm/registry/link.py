# SPDX-License-Identifier: GPL-2.0-or-later
"""The server's end of the socket to the reader: asks for snapshots. Knows nothing of DNS."""

from __future__ import annotations

import asyncio
import socket

from wgsd_nm.core.errors import InvalidValue, ReaderLost
from wgsd_nm.core.model import Device
from wgsd_nm.registry import snapshot


class Link(asyncio.Protocol):
    """One connected Unix stream socket to a reader. `lost` ends when the reader has left, or is not understood."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[ReaderLost] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._sequence = 0
        self._reply: asyncio.Future[tuple[int, bytes]] | None = None
        self._received = bytearray()
        self._decoder = snapshot.Decoder()

    @classmethod
    async def over(cls, connection: socket.socket) -> Link:
        """Takes the socket over."""
        connection.setblocking(False)
        _, link = await asyncio.get_running_loop().create_unix_connection(cls, sock=connection)
        return link

    async def fetch(self) -> Device:
        """The device as it is now. One call at a time, never cancelled: the reader answers in order.

        Raises DeviceError where the device cannot be read, ReaderLost where nothing more will come.
        """
        if self._transport is None or self.lost.done():
            raise self.lost.result()
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._reply = self._loop.create_future()
        self._transport.write(snapshot.request(self._sequence))
        status, body = await self._reply
        if status:
            raise snapshot.failure(status, body)
        try:
            return self._decoder.decode(body)
        except InvalidValue as error:
            raise self._lose(f"the registry's reader is not of this version: {error}") from error

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
            self._lose(f"the registry's reader is not of this version: {error}")
            return
        if len(self._received) >= snapshot.REPLY_LENGTH + length and self._reply is not None:
            body = bytes(self._received[snapshot.REPLY_LENGTH :])
            self._received.clear()
            if not self._reply.done():
                self._reply.set_result((status, body))
            self._reply = None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature; what failed is moot
        self._lose("the registry's reader has ended")

    def _lose(self, why: str) -> ReaderLost:
        error = ReaderLost(why)
        if not self.lost.done():
            self.lost.set_result(error)
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)
        self._reply = None
        self.close()
        return error
