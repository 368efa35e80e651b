# SPDX-License-Identifier: GPL-2.0-or-later
"""What people are told unasked, and when: from how things are, and what was told before, to the notices that should
stand now. It knows nothing of how a notice is shown.

A fact is told when it has held for a while, and then once: its notice stands as long as it holds, and an hour passes
before the same fact is told again. All that there is to tell of a tunnel stands in one notice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf
from typing import Final, Self

from wgsd_nm.core.status import AgentStatus
from wgsd_nm.core.troubles import DOCTOR, Fact, Subject, View, failures, successes
from wgsd_nm.core.watch import AgentWatch

INTERVAL: Final = 3600.0
"""Seconds between two tellings of one fact: the same peer or tunnel, and the same reason."""
FAILED: Final = 30.0
"""Seconds that a failure has to last, also after the network changed or anything else made the agent begin anew."""
REACHED: Final = 5.0
"""Seconds that a peer has to be reached before that is told."""

_NAMED: Final = 3
"""More peers than these are counted."""


class Kind(StrEnum):
    """Whether a notice tells that peers are not reached, or that they are."""

    FAILURE = "failure"
    SUCCESS = "success"


Cause = tuple[Subject, str]
"""What is told at most once in an hour: what it is about, and what is the case."""
Topic = tuple[Kind, str]
"""A kind and a tunnel's interface, "" for all tunnels: one notice for each."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What should stand. `told_at` is when there was last something new in it (monotonic, seconds), `news` what.

    One of the same `told_at`, or of an earlier one, with another text tells less than before.
    """

    topic: Topic
    told_at: float
    summary: str
    body: str
    news: tuple[Cause, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """A subject's fact, seen again and again since; `what` it is, since `what_since`."""

    since: float
    what: str
    what_since: float


@dataclass(frozen=True, slots=True)
class Standing:
    """A fact that was told; `over_since` when it was seen that it holds no more."""

    fact: Fact
    told_at: float
    over_since: float | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is known of one kind of facts: what holds, when each was last told, and what stands."""

    held: Mapping[Subject, Held] = field(default_factory=dict)
    told: Mapping[Cause, float] = field(default_factory=dict)
    standing: Mapping[Subject, Standing] = field(default_factory=dict)

    def advance(self, view: View, hold: float, now: float) -> tuple[Self, float]:
        """What is known after a look, and when to look again if nothing happens before; inf for no need.

        Where something is told, what has held for half of the time is told with it.
        """
        look = _Look(self, view, hold, now)
        return replace(self, held=look.held, told=look.told, standing=look.standing), look.due()

    def seen(self, news: Iterable[Cause], now: float) -> Self:
        """What was told came to people's sight now: the hour begins."""
        return replace(self, told={**self.told, **dict.fromkeys(news, now)})

    def notices(self, kind: Kind) -> Iterator[Notice]:
        """What should stand, in words. A success is told once, and then only taken back."""
        topics: dict[str, dict[Subject, Standing]] = {}
        for subject, each in self.standing.items():
            topics.setdefault(subject[0], {})[subject] = each
        for interface, standing in topics.items():
            told_at = max(each.told_at for each in standing.values())
            news = {
                (subject, each.fact.what): each.fact for subject, each in standing.items() if each.told_at == told_at
            }
            facts = [each.fact for each in standing.values()] if kind is Kind.FAILURE else [*news.values()]
            yield Notice((kind, interface), told_at, _summary(kind, facts), _body(facts), tuple(news))


class _Look:
    """From the ledger before and a view of how things are now to `held`, `told` and `standing` of the ledger after."""

    def __init__(self, before: Ledger, view: View, hold: float, now: float) -> None:
        self._before = before
        self._view = view
        self._hold = hold
        self._now = now
        self.held = self._holding()
        self.told = {cause: at for cause, at in before.told.items() if now - at < INTERVAL}
        self.standing = dict(before.standing)
        news = {subject[0] for subject in view.facts if self._ripe_at(subject, hold) <= now}
        ripe = [subject for subject in view.facts if self._ripe_at(subject, hold / 2) <= now]
        fresh = {subject: Standing(view.facts[subject], now) for subject in ripe if subject[0] in news}
        self.told |= {(subject, each.fact.what): now for subject, each in fresh.items()}
        self.standing = self._remaining(news) | fresh

    def due(self) -> float:
        """When something is to be told, or to be left out, if nothing else happens before; inf for never."""
        times = [self._ripe_at(subject, self._hold) for subject in self._view.facts]
        times += [each.over_since + self._hold for each in self.standing.values() if each.over_since is not None]
        return min((at for at in times if at > self._now), default=inf)

    def _holding(self) -> dict[Subject, Held]:
        """What is undecided holds on if it held, and does not begin to."""
        before, now = self._before.held, self._now
        held = {subject: before[subject] for subject in self._view.undecided if subject in before}
        for subject, fact in self._view.facts.items():
            known = before.get(subject, Held(now, fact.what, now))
            held[subject] = known if known.what == fact.what else Held(known.since, fact.what, now)
        return held

    def _ripe_at(self, subject: Subject, hold: float) -> float:
        """When a fact is to be told; inf for one that stands."""
        held, standing = self.held[subject], self.standing.get(subject)
        if standing is not None and standing.fact.what == held.what:
            return inf
        since = held.since if standing is None else held.what_since
        lasted = max(since, self._view.quiet_since.get(subject[0], -inf)) + hold
        return max(lasted, self.told.get((subject, held.what), -inf) + INTERVAL)

    def _remaining(self, news: Collection[str]) -> dict[Subject, Standing]:
        """What was told and still stands.

        A notice is taken back at once when nothing in it holds any more. Else what does not is left out when that has
        lasted, or with the next news, all of it together: a notice that changes catches the eye.
        """
        standing = {subject: self._seen(subject, each) for subject, each in self.standing.items()}
        holding = {subject[0] for subject, each in standing.items() if each.over_since is None}
        shortened = {
            subject[0]
            for subject, each in standing.items()
            if subject[0] not in holding
            or subject[0] in news
            or (each.over_since is not None and each.over_since + self._hold <= self._now)
        }
        return {
            subject: each
            for subject, each in standing.items()
            if each.over_since is None or subject[0] not in shortened
        }

    def _seen(self, subject: Subject, standing: Standing) -> Standing:
        if subject in self._view.facts or subject in self._view.undecided:
            return standing if standing.over_since is None else replace(standing, over_since=None)
        return standing if standing.over_since is not None else replace(standing, over_since=self._now)


@dataclass(frozen=True, slots=True)
class Book:
    """The ledgers of both kinds."""

    failures: Ledger = Ledger()
    successes: Ledger = Ledger()

    def advance(self, watch: AgentWatch, status: AgentStatus, now: float) -> tuple[Self, float]:
        """As Ledger's; what is switched off in the configuration is not told, and what stands of it is taken back."""
        wanted = watch.config.notifications
        failed, first = self.failures.advance(failures(watch, status, now) if wanted.failures else View(), FAILED, now)
        reached, second = self.successes.advance(successes(watch, status) if wanted.successes else View(), REACHED, now)
        return replace(self, failures=failed, successes=reached), min(first, second)

    def seen(self, notice: Notice, now: float) -> Self:
        """The notice came to people's sight now."""
        if notice.topic[0] is Kind.FAILURE:
            return replace(self, failures=self.failures.seen(notice.news, now))
        return replace(self, successes=self.successes.seen(notice.news, now))

    def notices(self) -> tuple[Notice, ...]:
        """All that should stand."""
        return (*self.failures.notices(Kind.FAILURE), *self.successes.notices(Kind.SUCCESS))


def _summary(kind: Kind, facts: list[Fact]) -> str:
    names = [fact.name for fact in facts]
    if len(names) > _NAMED:
        names = [*names[: _NAMED - 1], f"{len(names) - _NAMED + 1} more"]
    text = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    if kind is Kind.FAILURE:
        return f"Cannot reach {text}"
    return f"{text} {'is' if len(facts) == 1 else 'are'} reached directly"


def _body(facts: list[Fact]) -> str:
    if len(facts) == 1:
        return _paragraph(facts[0].why, facts[0].remedy)
    shown = facts if len(facts) <= _NAMED else facts[: _NAMED - 1]
    lines = [f"{fact.name}: {fact.why}" for fact in shown]
    remedies = {fact.remedy for fact in facts}
    return "\n".join((*lines, *filter(None, [_paragraph(remedies.pop() if len(remedies) == 1 else DOCTOR)])))


def _paragraph(*sentences: str) -> str:
    return " ".join(text if text.endswith((".", "!", "?")) else f"{text}." for text in sentences if text)
