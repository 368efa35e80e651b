# SPDX-License-Identifier: GPL-2.0-or-later
"""A steady stream of queries, and how long each answer took. Knows nothing of what is asked.

Queries leave at random moments (a Poisson process), whether those before were answered or not, as those of many
clients do: what waits for a slow answer is seen, not spared.
"""

from __future__ import annotations

import random
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

GRACE = 5.0
"""Seconds to wait for the last answers."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds, the shortest first; and how many queries had no answer, or not the code 0."""

    sorted: tuple[float, ...]
    lost: int
    failed: int

    def percentile(self, percent: float) -> float:
        """So many of a hundred answers took no longer."""
        return self.sorted[min(len(self.sorted) - 1, int(len(self.sorted) * percent / 100))]


def ask(address: tuple[str, int], queries: Sequence[bytes], rate: float, seconds: float) -> Latencies:
    """Send the queries one after the other, and again, each with an identifier of its own."""
    chance = random.Random(1)
    took: list[float] = []
    sent: dict[bytes, float] = {}
    failed = number = lost = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(address)
        client.setblocking(False)
        due = time.perf_counter()
        end = due + seconds
        while due < end or (sent and time.perf_counter() < end + GRACE):
            wait = (due if due < end else end + GRACE) - time.perf_counter()
            if wait > 0 and select.select([client], [], [], wait)[0]:
                answer = client.recv(4096)
                began = sent.pop(answer[:2], None)
                if began is not None:
                    took.append((time.perf_counter() - began) * 1000)
                    failed += bool(answer[3] & 0xF)
            elif wait <= 0 and due < end:
                identifier = (number & 0xFFFF).to_bytes(2)
                lost += identifier in sent
                sent[identifier] = time.perf_counter()
                client.send(identifier + queries[number % len(queries)][2:])
                number += 1
                due += chance.expovariate(rate)
    return Latencies(tuple(sorted(took)), lost + len(sent), failed)
