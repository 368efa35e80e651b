# SPDX-License-Identifier: GPL-2.0-or-later
"""Who wants to be told of which names, and what is to be told when records change. Knows neither sessions nor zones.

What was last told of a name is kept once, for all who subscribed to it, so that a change costs one comparison and one
message however many they are. A record that is too long for any PUSH message is as if it were not there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from wgsd_nm.core import dso, push
from wgsd_nm.core.push import ANY, IN, Add, Change, Remove, RemoveAll
from wgsd_nm.registry.records import Record

MAX_OF_SESSION = 1024
"""Subscriptions of one session: one for each peer of a large network, of some 200 octets."""
MAX_OF_CLIENT = 2 * MAX_OF_SESSION
"""Of one client, whose former session may not have been found dead yet."""
MAX_SUBSCRIPTIONS = 100_000
"""Of all: 1000 clients with 50 peers each, twice over."""
MAX_ALIKE = 64


class Contents(Protocol):
    """Where records come from: the zones, as fresh as answers to queries are."""

    def records(self, name: bytes) -> Iterable[Record]:
        """All records of a name in lower case, none twice; none where it does not exist, or is in no zone."""


class Subscriber(Protocol):
    """Somebody with subscriptions: one session of a client."""

    @property
    def client(self) -> Hashable:
        """Whose share of the subscriptions they count for."""


S = TypeVar("S", bound=Subscriber)


@dataclass(slots=True)
class _Watched(Generic[S]):
    """A name: its records as they were last told, and who wants which types (twice: of class IN and of all classes).

    `first` are the PUSH messages, by type, that tell a new subscriber of these records; of types that are not there
    none are kept, for there are many.
    """

    name: bytes
    records: tuple[Record, ...]
    subscribers: dict[S, tuple[int, ...]] = field(default_factory=dict)
    first: dict[int, Sequence[bytes]] = field(default_factory=dict)


class Subscriptions(Generic[S]):
    """All subscriptions. `len()` is how many there are."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._watched: dict[bytes, _Watched[S]] = {}
        self._of_client: Counter[Hashable] = Counter()
        self._types: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def names(self) -> Set[bytes]:
        """The names that somebody subscribed to, in lower case."""
        return self._watched.keys()

    def room(self, subscriber: S) -> int:
        """NOERROR if this one's client may have one more subscription, else the RCODE that says why not."""
        if self._of_client[subscriber.client] >= MAX_OF_CLIENT:
            return dso.REFUSED
        return dso.SERVFAIL if len(self) >= MAX_SUBSCRIPTIONS else dso.NOERROR

    def has(self, subscriber: S, name: bytes, rdtype: int) -> bool:
        """Whether there is such a subscription."""
        watched = self._watched.get(name)
        return watched is not None and rdtype in watched.subscribers.get(subscriber, ())

    def add(self, subscriber: S, name: bytes, rdtype: int) -> tuple[bytes, Sequence[bytes]]:
        """Begin a subscription to a name in lower case. The name, and the PUSH messages of what is there now.

        All who subscribe to a name get the same object, which is worth keeping instead of their own.
        """
        watched = self._watched.get(name)
        if watched is None:
            watched = self._watched[name] = _Watched(name, self._render(name))
        types = watched.subscribers.get(subscriber, ())
        watched.subscribers[subscriber] = self._same((*types, rdtype))
        self._of_client[subscriber.client] += 1
        self._count += 1
        first = watched.first.get(rdtype)
        if first is None:
            first = push.encode_pushes(changes(name, (), watched.records, (rdtype,)))
            if first:
                watched.first[rdtype] = first
        return watched.name, first

    def drop(self, subscriber: S, name: bytes, rdtype: int) -> None:
        """End a subscription that there is."""
        watched = self._watched[name]
        types = list(watched.subscribers[subscriber])
        types.remove(rdtype)
        if types:
            watched.subscribers[subscriber] = self._same(tuple(types))
        else:
            del watched.subscribers[subscriber]
            if not watched.subscribers:
                del self._watched[name]
        self._count -= 1
        self._of_client[subscriber.client] -= 1
        if not self._of_client[subscriber.client]:
            del self._of_client[subscriber.client]

    def use(self, contents: Contents) -> None:
        """Take records from there; `update()` tells what differs."""
        self._contents = contents

    def update(self, names: Iterable[bytes] | None = None) -> Iterator[tuple[S, Sequence[bytes]]]:
        """What to tell whom, of these names in lower case, or of all: PUSH messages, once for each subscriber.

        What is yielded counts as told when the iterator is made.
        """
        told: dict[S, list[tuple[Change, ...]]] = {}
        for name in tuple(self._watched) if names is None else names:
            watched = self._watched.get(name)
            if watched is None:
                continue
            before, watched.records = watched.records, self._render(name)
            if before == watched.records:
                continue
            watched.first.clear()
            by_types: dict[tuple[int, ...], tuple[Change, ...]] = {}
            for subscriber, types in watched.subscribers.items():
                if types not in by_types:
                    by_types[types] = tuple(changes(name, before, watched.records, types))
                if by_types[types]:
                    told.setdefault(subscriber, []).append(by_types[types])
        return _messages(told)

    def _render(self, name: bytes) -> tuple[Record, ...]:
        return tuple(record for record in self._contents.records(name) if push.fits(name, record.rdata))

    def _same(self, types: tuple[int, ...]) -> tuple[int, ...]:
        """One object for equal ones: nearly all are alike."""
        if types not in self._types and len(self._types) < MAX_ALIKE:
            self._types[types] = types
        return self._types.get(types, types)


def changes(name: bytes, before: Iterable[Record], after: Iterable[Record], types: Collection[int]) -> Iterator[Change]:
    """What turns the records of these types (ANY: all) into the others: removals, then additions (section 6.3.1).

    A name or type that is left without records is removed as a whole. Another TTL is an addition.
    """
    everything = ANY in types
    old = {(record.rdtype, record.rdata): record.ttl for record in before if everything or record.rdtype in types}
    new = {(record.rdtype, record.rdata): record.ttl for record in after if everything or record.rdtype in types}
    if everything and old and not new:
        yield RemoveAll(name, ANY, IN)
        return
    left = {rdtype for rdtype, _ in new}
    for rdtype in dict.fromkeys(rdtype for rdtype, _ in old):
        if rdtype not in left:
            yield RemoveAll(name, rdtype, IN)
    for rdtype, rdata in old:
        if rdtype in left and (rdtype, rdata) not in new:
            yield Remove(name, rdtype, IN, rdata)
    for (rdtype, rdata), ttl in new.items():
        if old.get((rdtype, rdata)) != ttl:
            yield Add(name, rdtype, IN, ttl, rdata)


def _messages(told: dict[S, list[tuple[Change, ...]]]) -> Iterator[tuple[S, Sequence[bytes]]]:
    """Those who are told the same get the same octets, which are made once."""
    encoded: dict[tuple[int, ...], Sequence[bytes]] = {}  # by id, for as long as `told` keeps the objects
    for subscriber, several in told.items():
        same = tuple(map(id, several))
        if same not in encoded:
            encoded[same] = push.encode_pushes(change for each in several for change in each)
        yield subscriber, encoded[same]
