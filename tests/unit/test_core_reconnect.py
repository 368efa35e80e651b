# SPDX-License-Identifier: GPL-2.0-or-later
"""When a registry's push service is tried again (RFC 8490 section 6.6.3)."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgsd_nm.core.reconnect import MOST, NO_PUSH, SETTLED, SPREAD, Reconnect
from wgsd_nm.core.subscriber import End, Why

FRESH = Reconnect()


def test_at_first_at_once() -> None:
    assert FRESH.due == -inf
    assert not FRESH.no_push


def test_a_settled_session_that_is_lost_is_made_again_soon_but_not_by_all_at_once() -> None:
    for chance in (0.0, 0.5, 1.0):
        assert FRESH.lost(SETTLED, 100.0, chance).due == 100 + SPREAD * chance
    assert FRESH.ended(End(Why.DEAD), SETTLED, 100.0, 1.0) == FRESH.lost(SETTLED, 100.0, 1.0)


def test_short_sessions_are_failures() -> None:
    once = FRESH.lost(1.0, 0.0, 0.0)
    assert once.due == 1
    twice = once.established().lost(1.0, 10.0, 0.0)
    assert twice.due == 12
    assert twice.lost(SETTLED, 50.0, 0.0).due == 50
    assert twice.lost(SETTLED, 50.0, 0.0).lost(1.0, 60.0, 0.0).due == 61


@given(st.integers(1, 40), st.floats(0, 1))
def test_back_off(failures: int, chance: float) -> None:
    state = FRESH
    for _ in range(failures):
        state = state.unreachable(0.0, chance)
    least = min(2.0 ** (failures - 1), MOST)
    assert least <= state.due <= 1.25 * least
    assert not state.no_push


def test_a_server_without_push_is_left_alone_for_an_hour_whatever_the_network() -> None:
    state = FRESH.ended(End(Why.NO_PUSH), None, 100.0, 0.0)
    assert state.no_push
    assert state.due == state.network_changed().due == 100 + NO_PUSH
    assert FRESH.ended(End(Why.NO_PUSH, 7200), None, 100.0, 0.0).due == 7300
    assert FRESH.broken(100.0) == state


def test_one_that_says_that_it_has_none_may_be_another_on_another_network() -> None:
    state = FRESH.unreachable(0.0, 0.0).absent(100.0, 0.0)
    assert state.no_push
    assert state.due == 100 + NO_PUSH
    assert FRESH.absent(100.0, 1.0).due == 100 + NO_PUSH * 1.25, "not all ask in one moment"
    assert state.network_changed().due == -inf
    assert state.unreachable(5000.0, 0.0).due == 5001
    assert not state.established().no_push


def test_two_connections_that_end_before_a_session_show_a_server_without_push() -> None:
    """RFC 8490 section 6.6.3.2. Another network may show something else."""
    once = FRESH.lost(None, 100.0, 1.0)
    assert once.due == 100 + SPREAD
    assert not once.no_push
    twice = once.ended(End(Why.DEAD), None, 200.0, 1.0)
    assert twice.no_push
    assert twice.due == 200 + NO_PUSH
    assert twice.network_changed().due == -inf
    assert not twice.established().no_push
    assert not once.established().lost(None, 300.0, 1.0).no_push
    assert not once.network_changed().lost(None, 300.0, 1.0).no_push


def test_the_servers_word_is_kept_to_the_letter() -> None:
    """RFC 8490 section 6.6.3: whatever the network, without jitter of ours."""
    state = FRESH.unreachable(0.0, 1.0).ended(End(Why.DISMISSED, 7.5), 100.0, 100.0, 1.0)
    assert state.due == state.network_changed().due == 107.5
    assert not state.no_push
    assert state.lost(SETTLED, 103.0, 0.0).due == 107.5


def test_who_is_dismissed_again_and_again_does_not_go_in_a_circle() -> None:
    state, now = FRESH, 0.0
    for _ in range(5):
        state = state.established().ended(End(Why.DISMISSED, 0), 0.1, now, 0.0)
        now = state.due
    assert now == 1 + 2 + 4 + 8 + 16
    assert state.ended(End(Why.DISMISSED, 0), SETTLED, now, 0.0).due == now


def test_who_was_silent_and_answers_again_is_tried_soon() -> None:
    state = FRESH
    for _ in range(9):
        state = state.unreachable(100.0, 0.0, silent=True)
    assert state.due == 100 + 256
    assert state.answers(110.0, 1.0).due == 110 + SPREAD
    assert state.answers(355.9, 1.0).due == 356, "it puts off nothing"


@pytest.mark.parametrize(
    "state",
    [
        FRESH.unreachable(0.0, 0.0, silent=True).unreachable(0.0, 0.0),
        FRESH.unreachable(0.0, 0.0, silent=True).answers(0.5, 0.0).unreachable(0.6, 0.0),
        FRESH.unreachable(0.0, 0.0, silent=True).absent(1.0, 0.0),
        FRESH.unreachable(0.0, 0.0, silent=True).established().lost(1.0, 2.0, 0.0),
        FRESH.unreachable(0.0, 0.0, silent=True).broken(1.0),
    ],
    ids=["no connection", "answered already", "no push", "lost", "broken"],
)
def test_its_answers_are_no_reason_to_try_what_failed_otherwise(state: Reconnect) -> None:
    assert state.answers(3.0, 0.0) == state


def test_an_idle_session_whose_subscriptions_were_refused_waits() -> None:
    state = FRESH.ended(End(Why.IDLE, 285.0), 15.0, 100.0, 0.0)
    assert state.due == state.network_changed().due == 385


def test_a_changed_network_takes_back_off_back() -> None:
    state = FRESH.unreachable(0.0, 0.0).unreachable(1.0, 0.0).network_changed()
    assert state.due == -inf
    assert state.unreachable(10.0, 0.0).due == 11


@pytest.mark.parametrize("why", Why)
def test_an_idle_session_costs_nothing(why: Why) -> None:
    due = FRESH.ended(End(why), SETTLED, 100.0, 1.0).due
    assert (due <= 100) == (why in (Why.IDLE, Why.DISMISSED))
