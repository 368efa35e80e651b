# SPDX-License-Identifier: GPL-2.0-or-later
"""The hour's two agents: which packets are counted, and an agent that is not as it should be."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest

from bench import hour_push
from bench.laptop import Laptop

COUNTERS = """\
Ip: Forwarding InReceives
Ip: 1 1000
Tcp: RtoAlgorithm MaxConn ActiveOpens InSegs OutSegs RetransSegs InErrs
Tcp: 1 -1 99 10 20 3 400
Udp: InDatagrams NoPorts InErrors OutDatagrams
Udp: 5 600 700 6
"""


def test_datagrams_and_segments_of_both_directions_are_counted() -> None:
    assert hour_push.packets(COUNTERS) == {"Tcp": 33, "Udp": 11}


def test_the_kernel_counts_as_it_is_read() -> None:
    before = hour_push.packets(hour_push.counters())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        for _ in range(50):
            bound.sendto(b"x", bound.getsockname())
            bound.recv(1)
    after = hour_push.packets(hour_push.counters())
    assert after["Udp"] - before["Udp"] >= 100


class Said:
    """In the place of a laptop and its session bus: what the agent says of itself."""

    def __init__(self, state: str, *updates: str) -> None:
        self.session = self
        self._said = {"State": state, "Tunnels": [{"Updates": each} for each in updates]}

    async def get_all(self, *_: object) -> dict[str, Any]:
        return self._said


@pytest.mark.parametrize("updates", hour_push.REGISTRIES)
@pytest.mark.parametrize(("part", "state"), [("well", "ok"), ("unreachable", "degraded")])
def test_an_agent_that_is_as_it_should_be(part: str, state: str, updates: str) -> None:
    asyncio.run(hour_push.check(cast(Laptop, Said(state, updates)), part, updates))


@pytest.mark.parametrize(
    "said", [Said("ok", "polling"), Said("degraded", "push"), Said("ok"), Said("ok", "push", "push")]
)
def test_one_that_is_not_is_an_error(said: Said) -> None:
    with pytest.raises(RuntimeError, match=r"the agent says .*: expected ok, push"):
        asyncio.run(hour_push.check(cast(Laptop, said), "well", "push"))
