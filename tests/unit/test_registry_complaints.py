# SPDX-License-Identifier: GPL-2.0-or-later
"""Complaints: said once in a while, whoever provokes them how often."""

from __future__ import annotations

import logging

import pytest

from wgsd_nm.registry.complaints import INTERVAL, MAX_REMEMBERED, Complaints


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def complain(clock: Clock, caplog: pytest.LogCaptureFixture) -> Complaints:
    caplog.set_level(logging.WARNING)
    return Complaints(logging.getLogger("test"), clock=clock)


def test_the_same_is_said_once_in_a_while(complain: Complaints, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for now in (0.0, 1.0, INTERVAL - 1, INTERVAL, INTERVAL + 1):
        clock.now = now
        complain("one %s")
    complain("other")
    assert caplog.messages == ["one %s", "one %s", "other"]


def test_much_else_is_not_said_until_time_has_passed(
    complain: Complaints, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(2 * MAX_REMEMBERED):
        complain(str(number))
    assert caplog.messages == [str(number) for number in range(MAX_REMEMBERED)]
    clock.now = INTERVAL
    complain("later")
    assert caplog.messages[-1] == "later"
