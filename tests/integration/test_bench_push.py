# SPDX-License-Identifier: GPL-2.0-or-later
"""The push bench on a small scale: the figures are those of what happened, and what should not happen ends it."""

from __future__ import annotations

import mmap
import os
from collections import Counter
from unittest.mock import Mock, patch

import pytest

from bench import push
from bench.push_clients import Client

PEERS, FOLLOWED = 1000, 50


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "SETTLING", 0.1)


def figures(text: str) -> dict[str, float]:
    return {name: float(value) for name, value, *_ in map(str.split, text.splitlines())}


def test_each_subscriber_follows_the_first_peer_and_all_others_are_followed_alike() -> None:
    follow = [push.followed_by(number, PEERS, FOLLOWED) for number in range(999)]
    assert {len(set(each)) for each in follow} == {FOLLOWED}
    counts = Counter(number for each in follow for number in each)
    assert counts.pop(0) == 999
    assert counts.keys() == set(range(1, PEERS))
    assert set(counts.values()) == {FOLLOWED - 1}


def test_the_fanout_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert push.fanout(subscribers=6, peers=40, followed=5, changes=3)
    found = figures(capsys.readouterr().out)
    assert 0 < found["push.fanout"] <= found["push.fanout.worst"]
    assert found["push.fanout.all"] > 0
    assert found["push.memory"] < push.MEMORY_GOAL


def test_idleness_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with patch("bench.push.IDLE_GOAL", 100.0):
        assert push.idle(2.0)
    found = figures(capsys.readouterr().out)
    assert 2 < found["push.idle.readings"] < 4.6
    assert found["push.idle"] > 0


def test_a_client_that_is_told_something_is_not_idle() -> None:
    push.check_undisturbed(Mock(Client, ping=dict))
    with pytest.raises(RuntimeError, match="was told of 1 peers while nothing changed"):
        push.check_undisturbed(Mock(Client, ping=lambda: {push.key(1): None}))


def test_own_memory_grows_with_what_a_process_keeps() -> None:
    before = push.own_memory(os.getpid())
    with mmap.mmap(-1, 1 << 24, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as kept:
        for page in range(0, len(kept), mmap.PAGESIZE):
            kept[page] = 1
        assert push.own_memory(os.getpid()) - before == pytest.approx(len(kept), rel=0.2)
