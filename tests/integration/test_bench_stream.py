# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench's stream of queries: every answer is timed, and what is lost or wrong is counted."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest

from bench import stream

QUERY = bytes(12) + b"?"
RATE = 200.0
SECONDS = 0.5


@contextmanager
def answering(answer: Callable[[int, bytes], bytes | None]) -> Iterator[tuple[str, int]]:
    """A server that answers the query of that number with these octets, or not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            number = 0
            while True:
                query, client = server.recvfrom(4096)
                if not query:
                    return
                reply = answer(number, query)
                number += 1
                if reply is not None:
                    server.sendto(reply, client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", server.getsockname())
            thread.join()


def test_every_answer_is_timed() -> None:
    with answering(lambda _, query: query) as address:
        latencies = stream.ask(address, [QUERY], RATE, SECONDS)
    assert len(latencies.sorted) == pytest.approx(RATE * SECONDS, rel=0.5)
    assert list(latencies.sorted) == sorted(latencies.sorted)
    assert latencies.sorted[0] > 0
    assert (latencies.lost, latencies.failed) == (0, 0)


def test_what_is_lost_or_fails_is_counted() -> None:
    refused = bytes((0x80, 5))

    def answer(number: int, query: bytes) -> bytes | None:
        return None if number < 3 else query[:2] + refused + query[4:] if number < 7 else query

    with answering(answer) as address, patch("bench.stream.GRACE", 1.0):
        latencies = stream.ask(address, [QUERY], RATE, SECONDS)
    assert (latencies.lost, latencies.failed) == (3, 4)


def test_percentiles() -> None:
    latencies = stream.Latencies(tuple(map(float, range(1, 201))), 0, 0)
    assert [latencies.percentile(percent) for percent in (0, 50, 99, 100)] == [1, 101, 199, 200]
