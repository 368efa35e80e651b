# SPDX-License-Identifier: GPL-2.0-or-later
"""Several streams of octets over one, such as the standard input and output of a job in the lab: frames, each with the
number of its channel. An empty one ends its channel. Channel 0 has words for the other end.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from typing import Final

WORDS: Final = 0
CHUNK: Final = 65536
_HEAD: Final = struct.Struct(">HI")


def frame(channel: int, octets: bytes) -> bytes:
    """The frame."""
    return _HEAD.pack(channel, len(octets)) + octets


async def next_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The next frame's channel and octets. Raises asyncio.IncompleteReadError at the end."""
    channel, length = _HEAD.unpack(await reader.readexactly(_HEAD.size))
    return channel, await reader.readexactly(length)


async def carry(reader: asyncio.StreamReader, channel: int, out: asyncio.StreamWriter) -> None:
    """Send what is read on a channel, and its end, of whatever kind."""
    with suppress(ConnectionError):
        while octets := await reader.read(CHUNK):
            out.write(frame(channel, octets))
            await out.drain()
    out.write(frame(channel, b""))


async def deliver(octets: bytes, writer: asyncio.StreamWriter) -> None:
    """Write what came on a channel, or end it if that is nothing. Who does not listen any more misses it."""
    with suppress(ConnectionError):
        if octets:
            writer.write(octets)
            await writer.drain()
        else:
            writer.write_eof()
