# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told to whom when records change: the least that makes them the new ones, once for all."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass

import dns.name
import dns.rdata
import pytest
from dns.rdataclass import IN as CLASS_IN
from dns.rdatatype import RdataType
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import registry_objects as objects
from tests.unit.registry_objects import zone_of
from wgsd_nm.core import dnssd, dso
from wgsd_nm.core.push import ANY, IN, MAX_PUSH, Add, Change, Remove, RemoveAll, parse_push
from wgsd_nm.registry import subscriptions
from wgsd_nm.registry.query import skip_name
from wgsd_nm.registry.records import Record
from wgsd_nm.registry.subscriptions import Subscriptions, changes
from wgsd_nm.registry.zone import Zone

A, PTR, TXT, AAAA, SRV = 1, 12, 16, 28, 33
ALICE, BOB = b"\5alice\2wg\0", b"\3bob\2wg\0"
ONE, TWO, THREE = (Record(A, 0, bytes((192, 0, 2, last))) for last in (1, 2, 3))
SIX = Record(AAAA, 0, bytes(16))
TEXT = Record(TXT, 5, b"\1x")

RECORDS = st.lists(
    st.builds(Record, st.sampled_from([A, TXT, AAAA]), st.integers(0, 2), st.sampled_from([b"1", b"2", b"3"])),
    max_size=6,
    unique_by=lambda record: (record.rdtype, record.rdata),
)
TYPES = st.lists(st.sampled_from([A, TXT, SRV, ANY]), min_size=1, max_size=3, unique=True)


@dataclass(eq=False)
class Somebody:
    client: Hashable = "10.0.0.1"


class Table:
    """Contents that a test writes; `asked` are the names that were rendered."""

    def __init__(self, **records: tuple[Record, ...]) -> None:
        self.held = {ALICE: records.get("alice", ()), BOB: records.get("bob", ())}
        self.asked: list[bytes] = []

    def records(self, name: bytes) -> Iterable[Record]:
        self.asked.append(name)
        return iter(self.held.get(name, ()))


def applied(records: Iterable[Record], told: Iterable[Change]) -> dict[tuple[int, bytes], int]:
    """What a client has that had these records and took these changes, in whatever order (removals of all first)."""
    held = {(record.rdtype, record.rdata): record.ttl for record in records}
    for change in told:
        match change:
            case RemoveAll(rdtype=rdtype):
                held = {key: ttl for key, ttl in held.items() if rdtype not in (ANY, key[0])}
            case Remove(rdtype=rdtype, rdata=rdata):
                del held[rdtype, rdata]  # never what is not there
            case Add(rdtype=rdtype, rdata=rdata, ttl=ttl):
                assert held.get((rdtype, rdata)) != ttl
                held[rdtype, rdata] = ttl
    return held


def told(messages: Iterable[bytes]) -> list[Change]:
    return [change for message in messages for change in parse_push(message)]


class TestChanges:
    @pytest.mark.parametrize(
        ("before", "after", "types", "expected"),
        [
            ([], [ONE, TEXT], [ANY], [Add(ALICE, A, IN, 0, ONE.rdata), Add(ALICE, TXT, IN, 5, b"\1x")]),
            ([ONE], [TWO], [ANY], [Remove(ALICE, A, IN, ONE.rdata), Add(ALICE, A, IN, 0, TWO.rdata)]),
            ([ONE, TWO], [TWO], [A], [Remove(ALICE, A, IN, ONE.rdata)]),
            ([ONE, TWO, THREE, TEXT], [TEXT], [ANY], [RemoveAll(ALICE, A, IN)]),
            ([ONE, TEXT], [], [ANY], [RemoveAll(ALICE, ANY, IN)]),
            ([ONE, TEXT], [], [A], [RemoveAll(ALICE, A, IN)]),
            ([ONE, TEXT, SIX], [SIX], [A, TXT], [RemoveAll(ALICE, A, IN), RemoveAll(ALICE, TXT, IN)]),
            ([ONE], [SIX], [ANY], [RemoveAll(ALICE, A, IN), Add(ALICE, AAAA, IN, 0, SIX.rdata)]),
            ([TEXT], [TEXT._replace(ttl=6)], [ANY], [Add(ALICE, TXT, IN, 6, b"\1x")]),
            ([ONE], [ONE], [ANY], []),
            ([ONE, TWO], [TWO, ONE], [ANY], []),
            ([ONE], [ONE, SIX], [A], []),
            ([], [], [ANY], []),
        ],
    )
    def test_the_most_efficient_way(
        self, before: list[Record], after: list[Record], types: list[int], expected: list[Change]
    ) -> None:
        """RFC 8765 section 6.3.1."""
        assert list(changes(ALICE, before, after, types)) == expected

    @given(RECORDS, RECORDS, TYPES)
    def test_they_turn_the_one_into_the_other(
        self, before: list[Record], after: list[Record], types: Collection[int]
    ) -> None:
        def wanted(records: list[Record]) -> list[Record]:
            return [record for record in records if ANY in types or record.rdtype in types]

        found = list(changes(ALICE, before, after, types))
        assert applied(wanted(before), found) == applied(wanted(after), [])
        assert all(ANY in types or change.rdtype in types for change in found)

    @given(RECORDS, RECORDS)
    def test_removal_goes_before_addition(self, before: list[Record], after: list[Record]) -> None:
        kinds = [isinstance(change, Add) for change in changes(ALICE, before, after, (ANY,))]
        assert kinds == sorted(kinds)


class TestSubscriptions:
    def test_what_is_there_is_told_at_once(self) -> None:
        hub: Subscriptions[Somebody] = Subscriptions(Table(alice=(ONE, TEXT)))
        name, messages = hub.add(Somebody(), ALICE, ANY)
        assert name == ALICE
        assert told(messages) == [Add(ALICE, A, IN, 0, ONE.rdata), Add(ALICE, TXT, IN, 5, b"\1x")]

    def test_of_the_type_that_is_wanted(self) -> None:
        hub: Subscriptions[Somebody] = Subscriptions(Table(alice=(ONE, TEXT)))
        assert told(hub.add(Somebody(), ALICE, TXT)[1]) == [Add(ALICE, TXT, IN, 5, b"\1x")]
        assert list(hub.add(Somebody(), ALICE, SRV)[1]) == []

    def test_who_comes_later_is_told_what_is_there_by_then(self) -> None:
        table = Table(alice=(ONE,))
        hub = Subscriptions[Somebody](table)
        first, again = (hub.add(Somebody(), ALICE, ANY)[1] for _ in range(2))
        assert first is again
        table.held[ALICE] = (TWO,)
        assert told(hub.add(Somebody(), ALICE, ANY)[1]) == [Add(ALICE, A, IN, 0, ONE.rdata)]  # the change comes next
        assert len(list(hub.update())) == 3
        assert told(hub.add(Somebody(), ALICE, ANY)[1]) == [Add(ALICE, A, IN, 0, TWO.rdata)]

    def test_a_name_that_is_not_there_may_come(self) -> None:
        table, somebody = Table(), Somebody()
        hub = Subscriptions[Somebody](table)
        assert list(hub.add(somebody, ALICE, ANY)[1]) == []
        table.held[ALICE] = (ONE,)
        ((who, messages),) = hub.update([ALICE])
        assert who is somebody
        assert told(messages) == [Add(ALICE, A, IN, 0, ONE.rdata)]

    def test_nothing_is_told_twice(self) -> None:
        table = Table(alice=(ONE,))
        hub = Subscriptions[Somebody](table)
        hub.add(Somebody(), ALICE, ANY)
        assert list(hub.update()) == []
        table.held[ALICE] = (TWO,)
        assert len(list(hub.update())) == 1
        assert list(hub.update()) == []

    def test_all_changes_are_told_together(self) -> None:
        table = Table(alice=(ONE,), bob=(ONE,))
        hub, somebody = Subscriptions[Somebody](table), Somebody()
        hub.add(somebody, ALICE, ANY)
        hub.add(somebody, BOB, ANY)
        table.held = {ALICE: (ONE, TWO), BOB: ()}
        ((_, messages),) = hub.update()
        assert len(messages) == 1
        assert told(messages) == [Add(ALICE, A, IN, 0, TWO.rdata), RemoveAll(BOB, ANY, IN)]

    def test_two_subscriptions_to_a_name_are_told_once(self) -> None:
        table, somebody = Table(alice=(ONE,)), Somebody()
        hub = Subscriptions[Somebody](table)
        hub.add(somebody, ALICE, ANY)
        hub.add(somebody, ALICE, A)
        table.held[ALICE] = (TWO,)
        ((_, messages),) = hub.update()
        assert told(messages) == [Remove(ALICE, A, IN, ONE.rdata), Add(ALICE, A, IN, 0, TWO.rdata)]

    def test_who_is_told_the_same_gets_the_same_octets(self) -> None:
        table = Table(alice=(ONE,), bob=(ONE,))
        hub = Subscriptions[Somebody](table)
        many = [Somebody(str(number)) for number in range(20)]
        for somebody in many:
            hub.add(somebody, ALICE, ANY)
        other = Somebody()
        hub.add(other, ALICE, TXT)
        hub.add(many[0], BOB, ANY)
        table.held = {ALICE: (TWO,), BOB: (TWO,)}
        got = dict(hub.update())
        assert other not in got
        assert len({id(messages) for messages in got.values()}) == 2
        assert len(told(got[many[0]])) == 4
        assert len(told(got[many[1]])) == 2

    def test_only_names_that_somebody_wants_are_rendered(self) -> None:
        table = Table(alice=(ONE,))
        hub = Subscriptions[Somebody](table)
        first, second = Somebody(), Somebody()
        hub.add(first, ALICE, ANY)
        hub.add(second, ALICE, ANY)
        assert table.asked == [ALICE]
        assert list(hub.names) == [ALICE]
        list(hub.update([BOB]))
        assert table.asked == [ALICE]
        list(hub.update([ALICE, BOB]))
        assert table.asked == [ALICE] * 2
        hub.drop(first, ALICE, ANY)
        assert list(hub.names) == [ALICE]
        hub.drop(second, ALICE, ANY)
        assert list(hub.names) == []
        assert list(hub.update()) == []

    def test_one_object_stands_for_a_name(self) -> None:
        hub: Subscriptions[Somebody] = Subscriptions(Table())
        first, _ = hub.add(Somebody(), bytes(bytearray(ALICE)), ANY)
        second, _ = hub.add(Somebody(), bytes(bytearray(ALICE)), A)
        assert first is second

    def test_the_same_type_may_be_wanted_for_two_classes(self) -> None:
        table, somebody = Table(alice=(ONE,)), Somebody()
        hub = Subscriptions[Somebody](table)
        hub.add(somebody, ALICE, ANY)
        hub.add(somebody, ALICE, ANY)
        assert len(hub) == 2
        hub.drop(somebody, ALICE, ANY)
        assert hub.has(somebody, ALICE, ANY)
        table.held[ALICE] = ()
        assert len(list(hub.update())) == 1
        hub.drop(somebody, ALICE, ANY)
        assert not hub.has(somebody, ALICE, ANY)
        assert len(hub) == 0

    def test_types_that_somebody_once_wanted_are_not_remembered(self) -> None:
        """There are 65,536 of them, and names without end."""
        hub, somebody = Subscriptions[Somebody](Table(alice=(ONE,))), Somebody()
        hub.add(somebody, ALICE, ANY)
        tracemalloc.start()
        try:
            for rdtype in range(300, 2300):
                assert hub.add(somebody, ALICE, rdtype)[1] == []
                hub.drop(somebody, ALICE, rdtype)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept < 50_000

    def test_other_contents(self) -> None:
        hub: Subscriptions[Somebody] = Subscriptions(Table(alice=(ONE,)))
        hub.add(Somebody(), ALICE, ANY)
        hub.use(Table())
        ((_, messages),) = hub.update()
        assert told(messages) == [RemoveAll(ALICE, ANY, IN)]

    def test_what_is_too_long_to_be_pushed_is_not_there(self) -> None:
        long = Record(TXT, 0, bytes(MAX_PUSH))
        table = Table(alice=(ONE, long))
        hub = Subscriptions[Somebody](table)
        assert told(hub.add(Somebody(), ALICE, ANY)[1]) == [Add(ALICE, A, IN, 0, ONE.rdata)]
        table.held[ALICE] = (ONE,)
        assert list(hub.update()) == []

    def test_more_than_one_message(self) -> None:
        hub: Subscriptions[Somebody] = Subscriptions(
            Table(alice=tuple(Record(TXT, 0, bytes((number,)) * 9000) for number in range(3)))
        )
        _, messages = hub.add(Somebody(), ALICE, ANY)
        assert len(messages) == 3
        assert len(told(messages)) == 3

    def test_bounds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(subscriptions, "MAX_OF_CLIENT", 2)
        monkeypatch.setattr(subscriptions, "MAX_SUBSCRIPTIONS", 3)
        hub: Subscriptions[Somebody] = Subscriptions(Table())
        first, again, other = Somebody("a"), Somebody("a"), Somebody("b")
        assert hub.room(first) == dso.NOERROR
        hub.add(first, ALICE, ANY)
        hub.add(again, ALICE, ANY)
        assert hub.room(first) == hub.room(again) == dso.REFUSED
        assert hub.room(other) == dso.NOERROR
        hub.add(other, ALICE, ANY)
        assert hub.room(Somebody("c")) == dso.SERVFAIL
        hub.drop(first, ALICE, ANY)
        assert hub.room(again) == hub.room(other) == dso.NOERROR
        hub.drop(again, ALICE, ANY)
        assert list(hub._of_client) == ["b"]  # noqa: SLF001 - who has left is not remembered

    def test_the_bounds_suffice_for_what_is_promised(self) -> None:
        assert subscriptions.MAX_SUBSCRIPTIONS >= 1000 * 50
        assert subscriptions.MAX_OF_SESSION >= 1000

    @given(st.lists(st.tuples(st.sampled_from([ALICE, BOB]), RECORDS, st.booleans()), max_size=8), TYPES)
    def test_whoever_is_told_knows_what_is_there(
        self, steps: list[tuple[bytes, list[Record], bool]], types: list[int]
    ) -> None:
        table, somebody = Table(), Somebody()
        hub = Subscriptions[Somebody](table)
        known: dict[bytes, dict[tuple[int, bytes], int]] = {ALICE: {}, BOB: {}}

        def take(messages: Iterable[bytes]) -> None:
            for change in told(messages):
                known[change.name] = {
                    key: ttl
                    for key, ttl in known[change.name].items()
                    if not (isinstance(change, RemoveAll) and change.rdtype in (ANY, key[0]))
                }
                if isinstance(change, Add):
                    known[change.name][change.rdtype, change.rdata] = change.ttl
                elif isinstance(change, Remove):
                    known[change.name].pop((change.rdtype, change.rdata))

        for name, records, now in steps:
            table.held[name] = tuple(records)
            for rdtype in types:
                if not hub.has(somebody, name, rdtype):
                    take(hub.add(somebody, name, rdtype)[1])
            if now:
                for _, messages in hub.update():
                    take(messages)
        for _, messages in hub.update():
            take(messages)
        for name in hub.names:
            wanted = [record for record in table.held[name] if ANY in types or record.rdtype in types]
            assert known[name] == {(record.rdtype, record.rdata): record.ttl for record in wanted}


class Published:
    """A zone's records, as a transfer tells them: what `Contents` asks for."""

    def __init__(self, zone: Zone) -> None:
        self.held: dict[bytes, dict[tuple[int, bytes], Record]] = {}
        for record in zone.transfer():
            end = skip_name(record, 0)
            rdtype, _, ttl, length = struct.unpack_from("!HHIH", record, end)
            data = record[end + 10 :]
            assert len(data) == length
            self.held.setdefault(record[:end], {})[rdtype, data] = Record(rdtype, ttl, data)

    def records(self, name: bytes) -> Iterable[Record]:
        return self.held.get(name, {}).values()


def shown(messages: Iterable[bytes]) -> set[str]:
    """Changes as dnspython reads their names and data."""
    found = set()
    for change in told(messages):
        owner = dns.name.from_wire(change.name, 0)[0]
        what = type(change).__name__
        data = b"" if isinstance(change, RemoveAll) else change.rdata
        rdtype = RdataType.make(change.rdtype)
        text = dns.rdata.from_wire(CLASS_IN, rdtype, data, 0, len(data)).to_text() if data else ""
        found.add(f"{what} {owner} {RdataType.to_text(rdtype)} {text}".rstrip())
    return found


def test_a_zones_records() -> None:
    zone = zone_of(objects.ALICE, objects.BOB)
    hub, somebody = Subscriptions[Somebody](Published(zone)), Somebody()
    alice, bob = (f"{objects.label(name)}._wireguard._udp.wg.example.com." for name in ("alice", "bob"))
    name = dnssd.instance_wire(objects.key("alice"), zone.apex)
    assert shown(hub.add(somebody, name, ANY)[1]) == {
        f"Add {alice} SRV 0 0 51820 {alice}",
        f"Add {alice} A 192.0.2.1",
        f'Add {alice} TXT "txtvers=1" "pub={objects.key("alice")}" "allowed=10.0.0.1/32,fd00::1/128"',
    }
    service = "_wireguard._udp.wg.example.com."
    assert shown(hub.add(somebody, zone.service, PTR)[1]) == {f"Add {service} PTR {alice}", f"Add {service} PTR {bob}"}
    hub.use(Published(zone_of(objects.peer("alice", "[2001:db8::7]:51820", "10.0.0.1/32", "fd00::1/128"))))
    ((_, messages),) = hub.update()
    assert shown(messages) == {
        f"RemoveAll {alice} A",
        f"Add {alice} AAAA 2001:db8::7",
        f"Remove {service} PTR {bob}",
    }


def test_a_thousand_peers_are_browsed_in_messages_that_are_full() -> None:
    zone = zone_of(*objects.many(1000))
    hub = Subscriptions[Somebody](Published(zone))
    _, messages = hub.add(Somebody(), zone.service, PTR)
    assert len(told(messages)) == 1000
    assert len(messages) == 5
    assert all(MAX_PUSH - 100 < len(message) <= MAX_PUSH for message in messages[:-1])
