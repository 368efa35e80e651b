# SPDX-License-Identifier: GPL-2.0-or-later
"""When to look again: the figures that the design promises."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgsd_nm.core import schedule


def test_back_off_doubles_up_to_a_minute() -> None:
    assert [schedule.backoff(failures) for failures in range(9)] == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert schedule.backoff(10**9) == 60


@pytest.mark.parametrize(
    ("ttl", "rounds", "trying_for", "delay"),
    [(0, 1, 0, 5), (60, 1, 0, 60), (3600, 1, 0, 300), (0, 6, 0, 32), (10, 9, 0, 60), (0, 9, 3600, 300)],
)
def test_after_an_answer_the_ttl_counts_within_limits(ttl: int, rounds: int, trying_for: float, delay: float) -> None:
    assert schedule.after_answer(ttl, rounds, trying_for) == delay


@pytest.mark.parametrize(
    ("ttl", "trying_for", "delay"), [(0, 0, 1), (5, 0, 5), (60, 0, 60), (86400, 0, 60), (5, 3600, 300)]
)
def test_after_a_denial_its_ttl_counts_within_limits(ttl: int, trying_for: float, delay: float) -> None:
    assert schedule.after_absence(ttl, trying_for) == delay


@pytest.mark.parametrize(("failures", "trying_for", "delay"), [(1, 0, 1), (3, 3599, 4), (3, 3600, 300)])
def test_after_a_failure_it_backs_off(failures: int, trying_for: float, delay: float) -> None:
    assert schedule.after_failure(failures, trying_for) == delay


@settings(max_examples=40)
@given(st.floats(0, 1e6), st.floats(0, 1))
def test_jitter_prolongs_by_a_quarter_at_most(delay: float, chance: float) -> None:
    assert delay <= schedule.jittered(delay, chance) <= delay * 1.25


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 10**6), st.floats(0, 1e9))
def test_nothing_is_asked_more_often_than_once_a_second_nor_less_than_every_five_minutes(
    ttl: int, rounds: int, trying_for: float
) -> None:
    for delay in (
        schedule.after_answer(ttl, rounds, trying_for),
        schedule.after_absence(ttl, trying_for),
        schedule.after_failure(rounds, trying_for),
    ):
        assert 1 <= delay <= 300
