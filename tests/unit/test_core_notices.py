# SPDX-License-Identifier: GPL-2.0-or-later
"""When people are told, how often, and in which words. Facts come and go here as a test wants them to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.core_story import BOB, CAROL, REGISTRY, Story, kernel_peer, key
from wgsd_nm.core import config
from wgsd_nm.core.errors import AccessDenied
from wgsd_nm.core.events import ConfigLoaded, ReadFailed
from wgsd_nm.core.notices import FAILED, INTERVAL, REACHED, Book, Cause, Kind, Ledger, Notice
from wgsd_nm.core.status import status
from wgsd_nm.core.troubles import Fact, Subject, View

B, C, D, E = (("wg0", key(name)) for name in ("bob", "carol", "dave", "erin"))
NAMES: dict[Subject, str] = {B: "bob", C: "carol", D: "dave", E: "erin"}


def fact(subject: Subject, what: str = "no-reply") -> Fact:
    return Fact(what, NAMES[subject], f"{what} of {NAMES[subject]}.", f"Cure {what}")


@dataclass
class Teller:
    """A ledger of failures, and the time."""

    now: float = 1000.0
    ledger: Ledger = field(default_factory=Ledger)
    began: float = -inf
    """When the agent began anew."""
    due: float = inf
    tellings: list[tuple[float, Cause]] = field(default_factory=list)

    def sees(self, *subjects: Subject, undecided: tuple[Subject, ...] = (), **whats: str) -> list[Notice]:
        """These have failed now, `whats` by name with another reason; returns what stands."""
        named = {subject: whats[name] for subject, name in NAMES.items() if name in whats}
        return self.looks(dict.fromkeys(subjects, "no-reply") | named, undecided)

    def looks(self, failed: dict[Subject, str], undecided: tuple[Subject, ...] = ()) -> list[Notice]:
        facts = {subject: fact(subject, what) for subject, what in failed.items()}
        before = {notice.topic: notice.told_at for notice in self.notices()}
        view = View(facts, frozenset(undecided), {"wg0": self.began})
        self.ledger, self.due = self.ledger.advance(view, FAILED, self.now)
        for notice in self.notices():
            if notice.told_at > before.get(notice.topic, -inf):
                self.tellings += [(self.now, cause) for cause in notice.news]
        return self.notices()

    def later(self, seconds: float) -> Teller:
        self.now += seconds
        return self

    def notices(self) -> list[Notice]:
        return [*self.ledger.notices(Kind.FAILURE)]


def told(*subjects: Subject) -> Teller:
    """Their failure was told just now."""
    teller = Teller()
    teller.sees(*subjects)
    assert teller.later(FAILED).sees(*subjects)
    return teller


def test_a_failure_is_told_when_it_has_lasted_and_once() -> None:
    teller = Teller()
    assert teller.sees(B) == []
    assert teller.due == teller.now + FAILED
    assert teller.later(FAILED - 0.1).sees(B) == []
    (notice,) = teller.later(0.1).sees(B)
    assert notice.topic == (Kind.FAILURE, "wg0")
    assert (notice.summary, notice.body) == ("Cannot reach bob", "no-reply of bob. Cure no-reply.")
    assert teller.due == inf, "nothing is left that time alone brings about"
    assert teller.later(3 * INTERVAL).sees(B) == [notice]


def test_what_lasted_a_few_seconds_is_not_told() -> None:
    teller = Teller()
    for _ in range(20):
        assert teller.sees(B) == []
        assert teller.later(FAILED / 2).sees() == []
        teller.later(FAILED / 2)


def test_nothing_is_told_in_the_first_moments_after_the_agent_has_begun_anew() -> None:
    teller = Teller()
    teller.sees(B)
    teller.later(FAILED - 1)
    teller.began = teller.now
    assert teller.sees(B) == []
    assert teller.later(FAILED - 1).sees(B) == []
    assert teller.later(1).sees(B)


def test_it_is_taken_back_when_it_is_over_and_not_while_it_is_tried_again() -> None:
    teller = told(B)
    (notice,) = teller.later(10).sees(undecided=(B,))
    assert teller.later(100).sees(B) == [notice]
    assert teller.later(1).sees() == []


def test_what_is_undecided_is_not_told_and_holds_on_if_it_held() -> None:
    teller = Teller()
    assert teller.sees(undecided=(B,)) == []
    assert teller.later(10 * FAILED).sees(undecided=(B,)) == []
    assert teller.sees(B) == []
    assert teller.later(FAILED).sees(undecided=(B,)) == []
    assert teller.later(1).sees(B)


def test_an_hour_passes_before_the_same_is_told_again_and_then_it_is() -> None:
    teller = told(B)
    first = teller.now
    assert teller.later(1).sees() == []
    teller.later(60).sees(B)
    assert teller.due == first + INTERVAL
    assert teller.later(INTERVAL - 62).sees(B) == []
    assert teller.later(1).sees(B)


def test_another_reason_is_told_when_it_has_lasted_in_place_of_the_first() -> None:
    teller = told(B)
    (first,) = teller.later(100).sees(bob="no-route")
    assert first.body.startswith("no-reply")
    (second,) = teller.later(FAILED).sees(bob="no-route")
    assert (second.topic, second.told_at) == (first.topic, teller.now)
    assert second.body == "no-route of bob. Cure no-route."
    assert teller.later(FAILED).sees(B) == [second]
    assert teller.later(FAILED).sees(B) == [second], "told within the hour"


def test_what_fails_at_once_is_one_notice() -> None:
    teller = Teller()
    teller.sees(B)
    teller.later(FAILED / 3).sees(B, C)
    (notice,) = teller.later(FAILED * 2 / 3).sees(B, C)
    assert notice.summary == "Cannot reach bob and carol"
    assert notice.body == "bob: no-reply of bob.\ncarol: no-reply of carol.\nCure no-reply."


def test_of_many_the_first_are_named() -> None:
    (notice,) = told(B, C, D).notices()
    assert notice.summary == "Cannot reach bob, carol and dave"
    (notice,) = told(B, C, D, E).notices()
    assert notice.summary == "Cannot reach bob, carol and 2 more"
    assert notice.body.count("\n") == 2


def test_different_causes_have_the_doctor_for_advice() -> None:
    teller = Teller()
    teller.sees(B, carol="no-route")
    (notice,) = teller.later(FAILED).sees(B, carol="no-route")
    assert notice.body.endswith("\nwgsd-nm doctor tells what to do.")


def test_news_of_a_tunnel_are_told_with_what_stands_of_it() -> None:
    teller = told(B)
    first = teller.now
    teller.later(600).sees(B, C)
    (notice,) = teller.later(FAILED).sees(B, C)
    assert notice.summary == "Cannot reach bob and carol"
    assert (notice.told_at, notice.news) == (teller.now, ((C, "no-reply"),))
    assert notice.told_at > first


def test_a_part_that_is_over_is_left_out_when_that_has_lasted() -> None:
    teller = told(B, C, D)
    (before,) = teller.notices()
    assert teller.later(1).sees(B, C) == [before]
    assert teller.due == teller.now + FAILED
    assert teller.later(FAILED - 1).sees(B) == [before]
    (after,) = teller.later(1).sees(B)
    assert (after.summary, after.told_at) == ("Cannot reach bob", before.told_at)
    assert teller.later(1).sees() == []


def test_a_part_that_is_over_for_a_moment_stays() -> None:
    teller = told(B, C)
    (before,) = teller.notices()
    teller.later(1).sees(B)
    assert teller.later(FAILED - 1).sees(B, C) == [before]
    assert teller.due == inf
    assert teller.later(FAILED).sees(B, C) == [before]


def test_the_hour_begins_when_people_see_it() -> None:
    teller = told(B)
    (notice,) = teller.notices()
    teller.later(1800)
    teller.ledger = teller.ledger.seen(notice.news, teller.now)
    teller.sees()
    teller.sees(B)
    assert teller.later(INTERVAL - 1).sees(B) == []
    assert teller.later(1).sees(B)


States = st.sampled_from(["reached", "trying", "no-reply", "no-route"])
Steps = st.lists(
    st.tuples(
        st.one_of(st.floats(0.1, 60.0), st.floats(60.0, 2 * INTERVAL)),
        st.booleans(),
        st.fixed_dictionaries(dict.fromkeys((B, C, D), States)),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=300)
@given(Steps)
def test_whatever_happens_nothing_is_told_twice_in_an_hour_nor_stands_when_it_is_over(
    steps: list[tuple[float, bool, dict[Subject, str]]],
) -> None:
    teller = Teller()
    over_since: dict[Subject, float] = {}
    for seconds, anew, states in steps:
        teller.later(seconds)
        teller.began = teller.now if anew else teller.began
        failed = {subject: state for subject, state in states.items() if state.startswith("no-")}
        trying = tuple(subject for subject, state in states.items() if state == "trying")
        for subject, state in states.items():
            if state == "reached":
                over_since.setdefault(subject, teller.now)
            else:
                over_since.pop(subject, None)
        known = {cause for _, cause in teller.tellings}
        teller.looks(failed, trying)
        standing = teller.ledger.standing.keys()
        assert all(teller.now - over_since.get(subject, teller.now) < FAILED for subject in standing)
        assert not standing or standing - over_since.keys(), "of a notice something holds"
        assert not anew or {cause for _, cause in teller.tellings} == known
        assert teller.due > teller.now
    for cause in {cause for _, cause in teller.tellings}:
        times = [at for at, each in teller.tellings if each == cause]
        assert all(after - before >= INTERVAL for before, after in pairwise(times))


@settings(max_examples=100)
@given(Steps)
def test_whatever_happened_what_goes_on_failing_stands_in_the_end_and_then_it_is_quiet(
    steps: list[tuple[float, bool, dict[Subject, str]]],
) -> None:
    teller = Teller()
    for seconds, _, states in steps:
        failed = {subject: state for subject, state in states.items() if state.startswith("no-")}
        teller.later(seconds).looks(failed)
    for _ in range(20):
        teller.sees(B)
        if teller.due == inf:
            break
        teller.now = teller.due
    assert teller.due == inf
    assert teller.ledger.standing.keys() == {B}


# The book: both kinds, from the agent's own state.


def story(settings: str = "") -> Story:
    """A tunnel with bob, who is wanted, and carol, who is not; the registry is reached and answers."""
    text = f'[tunnel.home]\nzone = "wg.example.com"\nregistry = "10.0.0.254"\n[notifications]\n{settings}'
    own = Story.of(kernel_peer(BOB, "10.0.0.2/32", keepalive=25), kernel_peer(CAROL, "10.0.0.3/32"))
    own.hear(ConfigLoaded(config.parse(text, "test")))
    own.starts()
    own.works()
    own.shakes(REGISTRY)
    own.answers()
    own.works()
    return own


def look(own: Story, book: Book) -> Book:
    return book.advance(own.watch, status(own.watch, own.now), own.now)[0]


def checks(own: Story, book: Book, seconds: float) -> Book:
    """So long the registry and the helper answer, and nothing changes; each look is one after a check."""
    end = own.now + seconds
    while own.now < end:
        own.shakes(REGISTRY)
        own.check()
        own.answers()
        own.works()
        book = look(own, book)
    return book


def test_a_peer_that_the_registry_does_not_know_is_told_of_and_one_that_nobody_wants_is_not() -> None:
    own, book = story(), Book()
    book = checks(own, book, FAILED / 2)
    assert book.notices() == ()
    book = checks(own, book, FAILED)
    (notice,) = book.notices()
    assert notice.summary == f"Cannot reach {str(BOB)[:8]}"
    assert notice.body.startswith("The registry does not know this peer, or has not heard from it yet. It is found as")
    own.shakes(BOB)
    own.check()
    assert look(own, book).notices() == ()


def test_failures_can_be_switched_off_and_what_stands_is_taken_back() -> None:
    own = story()
    book = checks(own, Book(), 2 * FAILED)
    assert book.notices()
    own.hear(ConfigLoaded(replace(own.watch.config, notifications=config.NotificationConfig(failures=False))))
    assert look(own, book).notices() == ()
    assert checks(story("failures = false"), Book(), 2 * FAILED).notices() == ()


def test_successes_are_told_if_people_want_that_when_they_have_lasted() -> None:
    quiet, own = story(), story("successes = true")
    for each in (quiet, own):
        each.shakes(BOB)
        each.check()
    assert checks(quiet, Book(), FAILED).notices() == ()
    book = look(own, Book())
    assert book.notices() == ()
    own.now += REACHED
    (notice,) = look(own, book).notices()
    assert notice.topic == (Kind.SUCCESS, "wg0")
    assert notice.summary == f"{str(BOB)[:8]} is reached directly"


def test_a_helper_that_refuses_is_told_of() -> None:
    own, book = story(), Book()
    for _ in range(2):
        own.hear(ReadFailed("wg0", AccessDenied("polkit says no")))
        book = look(own, book)
        own.now += FAILED
    (notice,) = book.notices()
    assert notice.summary == "Cannot reach the peers of wg0"
    assert notice.body == "Polkit says no. wgsd-nm doctor tells what to do."


@pytest.mark.parametrize("kind", Kind)
def test_the_hour_of_either_kind_begins_when_people_see_it(kind: Kind) -> None:
    ledger = Ledger(standing={}, told={(B, "x"): 1.0})
    book = Book(ledger, ledger).seen(Notice((kind, "wg0"), 1.0, "", "", ((B, "x"),)), 9.0)
    assert (book.failures.told[B, "x"], book.successes.told[B, "x"]) == ((9, 1) if kind is Kind.FAILURE else (1, 9))
