# SPDX-License-Identifier: GPL-2.0-or-later
"""A few hostile messages to both ends of a push session, of which tests/integration sends many."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from tests.fuzz.push import PromiseBroken, Run
from wgsd_nm.core import dso, push
from wgsd_nm.core.model import Advertisement, Endpoint
from wgsd_nm.core.pushed import PushedRecords
from wgsd_nm.registry.push import Session

SEED = 20_260_101
MESSAGES = 3_000


def test_every_promise_is_kept() -> None:
    run = Run(SEED).until(MESSAGES)
    assert run.messages >= MESSAGES
    assert set(run.ended) >= {
        "aborted by the registry",
        "aborted by the agent",
        "Advertisement",
        "NoEndpoint",
        "NoSuchPeer",
        "BadAnswer",
    }


def forged(_: PushedRecords, key: Any, *__: Any) -> Advertisement:
    return Advertisement(key, (Endpoint(ip_address("203.0.113.66"), 51820),), 0)


def test_the_judge_sees_an_endpoint_that_was_never_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PushedRecords, "reading", forged)
    with pytest.raises(PromiseBroken, match="never pushed"):
        Run(SEED).until(MESSAGES)


def test_the_judge_sees_an_answer_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    receive = Session.receive

    def talkative(self: Session, octets: bytes, permits: Any, now: float) -> list[bytes]:
        return receive(self, octets, permits, now) or [dso.response(1, dso.NOERROR).encode()]

    monkeypatch.setattr(Session, "receive", talkative)
    with pytest.raises(PromiseBroken, match="nothing else has one"):
        Run(SEED).until(MESSAGES)


def test_the_judge_sees_a_subscription_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "end", lambda _: None)
    with pytest.raises(PromiseBroken, match="outlived"):
        Run(SEED).until(MESSAGES)


def test_the_judge_sees_another_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(_: bytes) -> None:
        raise IndexError

    monkeypatch.setattr(push, "parse_push", defect)
    with pytest.raises(PromiseBroken, match="IndexError"):
        Run(SEED).until(MESSAGES)
