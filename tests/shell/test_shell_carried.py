# SPDX-License-Identifier: GPL-2.0-or-later
"""Streams of octets carried over one stream."""

from __future__ import annotations

import asyncio

import pytest

from tests.shell.carried import CHUNK, WORDS, carry, frame, next_frame


def reader(octets: bytes) -> asyncio.StreamReader:
    made = asyncio.StreamReader()
    made.feed_data(octets)
    made.feed_eof()
    return made


class Out(bytearray):
    """What a StreamWriter has been given."""

    def write(self, octets: bytes) -> None:
        self.extend(octets)

    async def drain(self) -> None:
        pass


def test_each_channels_octets_arrive_in_order_and_then_its_end() -> None:
    async def scenario() -> None:
        sent = bytes(range(256)) * (CHUNK // 100)
        out = Out()
        out += frame(WORDS, b"ready")
        await carry(reader(sent), 7, out)  # type: ignore[arg-type]
        incoming = reader(bytes(out))
        assert await next_frame(incoming) == (WORDS, b"ready")
        received = b""
        while (frame_of := await next_frame(incoming)) != (7, b""):
            assert frame_of[0] == 7
            received += frame_of[1]
        assert received == sent
        with pytest.raises(asyncio.IncompleteReadError):
            await next_frame(incoming)

    asyncio.run(scenario())


def test_a_connection_that_is_reset_ends_its_channel() -> None:
    async def scenario() -> None:
        out, broken = Out(), asyncio.StreamReader()
        broken.set_exception(ConnectionResetError())
        await carry(broken, 7, out)  # type: ignore[arg-type]
        assert await next_frame(reader(bytes(out))) == (7, b"")

    asyncio.run(scenario())
