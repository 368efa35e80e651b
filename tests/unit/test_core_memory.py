# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.memory import MAX_ENTRIES, MAX_NAME, Memory
from wgsd_nm.core.model import Endpoint, PublicKey

BOB, CAROL = PublicKey(b"\x02" * 32), PublicKey(b"\x03" * 32)
HERE, THERE = Endpoint.parse("192.0.2.1:51820"), Endpoint.parse("[2001:db8::1]:40112")
ENTRY = {"place": "home", "connection": "wg0", "peer": str(BOB), "endpoint": str(HERE)}


def text(*entries: object, version: object = 1) -> str:
    return json.dumps({"version": version, "endpoints": entries})


def test_what_worked_is_recalled_where_it_did() -> None:
    memory = Memory().remember("home", "wg0", {BOB: HERE}).remember("cafe", "wg0", {BOB: THERE})
    assert memory.recall("home", "wg0", BOB) == HERE
    assert memory.recall("cafe", "wg0", BOB) == THERE
    assert memory.recall("home", "wg0", CAROL) is None
    assert memory.recall("home", "wg1", BOB) is None
    assert memory.recall("wg0", "home", BOB) is None


def test_another_endpoint_takes_the_place_of_the_former() -> None:
    memory = Memory().remember("home", "wg0", {BOB: HERE})
    assert memory.remember("home", "wg0", {BOB: THERE}).recall("home", "wg0", BOB) == THERE
    assert memory.recall("home", "wg0", BOB) == HERE, "a memory does not change"
    assert len(memory.remember("home", "wg0", {BOB: THERE})) == 1


def test_nothing_new_is_the_same_memory() -> None:
    memory = Memory().remember("home", "wg0", {BOB: HERE})
    assert memory.remember("home", "wg0", {BOB: HERE}) is memory


def filled(count: int) -> Memory:
    return Memory.from_text(text(*(ENTRY | {"place": str(number)} for number in range(count))))


def test_the_oldest_are_dropped() -> None:
    memory = filled(MAX_ENTRIES).remember("0", "wg0", {BOB: THERE}).remember("new", "wg0", {BOB: HERE})
    assert len(memory) == MAX_ENTRIES
    assert memory.recall("0", "wg0", BOB) == THERE, "written anew it is among the newest"
    assert memory.recall("1", "wg0", BOB) is None
    assert memory.recall("2", "wg0", BOB) == memory.recall("new", "wg0", BOB) == HERE


def test_of_a_long_text_the_newest_are_kept() -> None:
    memory = filled(MAX_ENTRIES + 2)
    assert len(memory) == MAX_ENTRIES
    assert memory.recall("1", "wg0", BOB) is None
    assert memory.recall("2", "wg0", BOB) == HERE


@pytest.mark.parametrize(("place", "connection"), [("x" * (MAX_NAME + 1), "wg0"), ("home", "x" * (MAX_NAME + 1))])
def test_a_name_without_end_is_not_remembered(place: str, connection: str) -> None:
    memory = Memory()
    assert memory.remember(place, connection, {BOB: HERE}) is memory
    assert len(Memory.from_text(text(ENTRY | {"place": place, "connection": connection}))) == 0


@pytest.mark.parametrize(
    "entry",
    [
        None,
        [],
        {},
        {**ENTRY, "peer": "nobody"},
        {**ENTRY, "endpoint": "192.0.2.1"},
        {**ENTRY, "endpoint": "[fe80::1%\ud800]:1"},
        {**ENTRY, "place": 1},
        {**ENTRY, "connection": None},
        {name: value for name, value in ENTRY.items() if name != "endpoint"},
    ],
)
def test_a_bad_entry_loses_only_itself(entry: object) -> None:
    memory = Memory.from_text(text(ENTRY, entry, {**ENTRY, "place": "cafe", "later": "than we know"}))
    assert len(memory) == 2
    assert memory.recall("home", "wg0", BOB) == memory.recall("cafe", "wg0", BOB) == HERE


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        "1" * 10_000,
        '{"version": 1}',
        '{"version": 1, "endpoints": {}}',
        text(ENTRY, version=2),
        text(ENTRY, version=True),
        text(ENTRY, version="1"),
    ],
)
def test_what_is_no_memory_is_refused_with_what_was_expected(document: str) -> None:
    with pytest.raises(InvalidValue, match="expected"):
        Memory.from_text(document)


NAMES = st.text(max_size=MAX_NAME)
KEYS = st.binary(min_size=32, max_size=32).map(PublicKey)
ENDPOINTS = st.builds(Endpoint, st.ip_addresses(), st.integers(0, 0xFFFF))


@given(st.lists(st.tuples(NAMES, NAMES, KEYS, ENDPOINTS)))
def test_the_text_holds_all(entries: list[tuple[str, str, PublicKey, Endpoint]]) -> None:
    memory = Memory()
    for place, connection, key, endpoint in entries:
        memory = memory.remember(place, connection, {key: endpoint})
    again = Memory.from_text(memory.to_text())
    assert again == memory
    assert again.to_text() == memory.to_text(), "in the same order"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(sorted(ENTRY.values())),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["version", "endpoints", *ENTRY]), inner),
    max_leaves=30,
)


@given(JSON | st.lists(JSON).map(lambda entries: {"version": 1, "endpoints": entries}))
def test_any_json_is_a_memory_or_refused(document: Any) -> None:
    try:
        memory = Memory.from_text(json.dumps(document))
    except InvalidValue:
        return
    assert Memory.from_text(memory.to_text()) == memory


@given(st.text() | st.binary().map(lambda octets: octets.decode(errors="surrogateescape")))
def test_any_text_is_a_memory_or_refused(document: str) -> None:
    try:
        Memory.from_text(document)
    except InvalidValue:
        pass
