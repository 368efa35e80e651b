# SPDX-License-Identifier: GPL-2.0-or-later
"""Ten thousand hostile messages to the helper, of every kind. `python -m tests.fuzz.helper` sends more."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.fuzz.calls import Calls, encode
from tests.fuzz.helper import Run, fuzz
from wgsd_nm.bus import names
from wgsd_nm.bus.message import Field, Kind, parse

MESSAGES = 10_000
SEED = 20_260_101
WITHIN = 180.0
"""Seconds, on a busy machine; otherwise it takes a quarter of a minute."""


async def limited(count: int) -> Run:
    async with asyncio.timeout(WITHIN):
        return await fuzz(SEED, count)


def test_every_promise_is_kept() -> None:
    run = asyncio.run(limited(MESSAGES))
    assert run.messages >= MESSAGES
    for reply in (
        *("GetPeers", "SetEndpoints", "changed", "poked", "stale", "unknown-peer", "Introspect", "Ping"),
        *(names.ERROR_ACCESS_DENIED, names.ERROR_INTERACTION_REQUIRED, names.ERROR_INVALID_ARGS),
        *(names.ERROR_LIMITS_EXCEEDED, names.ERROR_UNKNOWN_METHOD, names.ERROR_UNKNOWN_OBJECT),
        *("io.github.wgsd_nm.Error.NoSuchDevice", "io.github.wgsd_nm.Error.NotWireGuard", "hung up"),
    ):
        assert run.replies[reply] >= 10, f"{reply} came {run.replies[reply]} times"
    assert names.ERROR_FAILED not in run.replies


@pytest.mark.parametrize("order", ["<", ">"])
def test_what_is_sent_is_what_is_meant(order: str) -> None:
    """Else the bus would refuse it all, and the helper see none of it."""
    fields = [(Field.MEMBER, ("s", "GetPeers")), (200, ("a{sv}", [("x", ("t", 7))]))]
    signature = "ya(sg)va{sd}nt"
    values = (1, [("a", "as"), ("b", "")], ("ai", [1, 2]), [("c", 0.5)], 7, 1 << 40)
    message = parse(encode(order, Kind.CALL, 0, 9, fields, signature, *values))
    assert message is not None
    assert (message.member, message.serial, message.signature) == ("GetPeers", 9, signature)
    assert message.body() == [1, [["a", "as"], ["b", ""]], [1, 2], {"c": 0.5}, 7, 1 << 40]


def test_a_seed_makes_the_same_messages_again() -> None:
    first, second, other = (Calls(random.Random(seed)) for seed in (SEED, SEED, SEED + 1))
    some = [calls.next() for calls in (first,) * 200], [calls.next() for calls in (second,) * 200]
    assert some[0] == some[1]
    assert [other.next() for _ in range(200)] != some[0]
    assert first.broken() == second.broken()
