# SPDX-License-Identifier: GPL-2.0-or-later
"""What pushed records say of a peer is what a lookup would say; and what becomes of them."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.registry_objects import key
from wgsd_nm.core import dnssd
from wgsd_nm.core.errors import BadAnswer, LookupFailed, NoSuchPeer
from wgsd_nm.core.model import Advertisement
from wgsd_nm.core.push import ANY, IN, Add, Change, Remove, RemoveAll
from wgsd_nm.core.pushed import MAX_RECORDS, Answer, PushedRecords

A, TXT, AAAA, SRV = 1, 16, 28, 33
ZONE = dnssd.wire(dnssd.parse_zone("wg.example.com"))
ALICE, BOB = key("alice"), key("bob")
ALICE_NAME = dnssd.instance_wire(ALICE, ZONE)
ADDRESS = Add(ALICE_NAME, A, IN, 0, b"1234")


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (Add(ALICE_NAME, A, IN, 0, b"5678"), 2),
        (Add(ALICE_NAME, A, IN, 1, b"1234"), 1),
        (Remove(ALICE_NAME, A, IN, b"1234"), 0),
        (RemoveAll(ALICE_NAME, A, IN), 0),
        (RemoveAll(ALICE_NAME, ANY, IN), 0),
        (RemoveAll(ALICE_NAME, 0, ANY), 0),
        (RemoveAll(ALICE_NAME, AAAA, ANY), 0),
    ],
)
def test_a_change(change: Change, left: int) -> None:
    records = PushedRecords()
    assert records.apply(ADDRESS)
    assert records.apply(change)
    assert len(records) == left


@pytest.mark.parametrize(
    "change",
    [
        ADDRESS,
        Add(ALICE_NAME, A, 3, 0, b"5678"),
        Add(ALICE_NAME, 99, IN, 0, b"5678"),
        Remove(ALICE_NAME, A, 3, b"1234"),
        Remove(ALICE_NAME, AAAA, IN, b"1234"),
        Remove(ALICE_NAME, A, IN, b"5678"),
        RemoveAll(ALICE_NAME, A, 3),
        RemoveAll(ALICE_NAME, AAAA, IN),
    ],
)
def test_no_change(change: Change) -> None:
    records = PushedRecords()
    records.apply(ADDRESS)
    assert not records.apply(change)
    assert len(records) == 1


def test_a_peer_cannot_have_endless_records() -> None:
    records = PushedRecords()
    taken = [records.apply(Add(ALICE_NAME, A, IN, 0, number.to_bytes(4))) for number in range(MAX_RECORDS + 9)]
    assert sum(taken) == len(records) == MAX_RECORDS
    assert records.apply(Add(ALICE_NAME, A, IN, 5, bytes(4)))
    assert records.apply(RemoveAll(ALICE_NAME, ANY, IN))
    assert isinstance(records.reading(ALICE, ALICE_NAME), NoSuchPeer)


@st.composite
def a_peers_records(draw: st.DrawFn) -> dict[tuple[int, bytes], int]:
    """With one service at least, all of them at the peer's own name or nowhere."""
    target = st.sampled_from([ALICE_NAME, ALICE_NAME, ALICE_NAME, b"\0"])
    service = st.tuples(st.tuples(*[st.integers(0, 2)] * 3), target).map(
        lambda of: (SRV, b"".join(number.to_bytes(2) for number in of[0]) + of[1])
    )
    address = st.sampled_from(["192.0.2.1", "192.0.2.2", "0.0.0.0"]).map(lambda text: (A, ip_address(text).packed))
    long_address = st.sampled_from(["2001:db8::1", "::ffff:192.0.2.1"]).map(
        lambda text: (AAAA, ip_address(text).packed)
    )
    strings = st.sampled_from([f"pub={ALICE}", f"pub={BOB}", f"pub={ALICE}", "name=Alice", "txtvers=1", "x"])
    text = st.lists(strings, min_size=1, max_size=3).map(
        lambda several: (TXT, b"".join(bytes((len(each),)) + each.encode() for each in several))
    )
    found = [draw(service), *draw(st.lists(service | address | long_address | text, min_size=1, max_size=8))]
    return {record: draw(st.integers(0, 9)) for record in found}


@given(a_peers_records())
def test_what_is_pushed_says_what_an_answer_says(found: dict[tuple[int, bytes], int]) -> None:
    """dnspython and core.dnssd judge."""
    rrsets = [(rdtype, ALICE_NAME + struct.pack("!HHIH", rdtype, IN, ttl, len(data)) + data)
              for (rdtype, data), ttl in found.items()]  # fmt: skip
    answers = [record for rdtype, record in rrsets if rdtype == SRV]
    others = [record for rdtype, record in rrsets if rdtype != SRV]
    header = struct.pack("!HHHHHH", 1, 0x8400, 1, len(answers), 0, len(others))
    asked = ALICE_NAME + struct.pack("!HH", SRV, IN)
    judged: Answer
    try:
        message = dnssd.parse(header + asked + b"".join((*answers, *others)))
        judged = dnssd.advertisement(message, ALICE, dnssd.parse_zone("wg.example.com"))
    except LookupFailed as error:
        judged = error
    records = PushedRecords()
    for (rdtype, data), ttl in found.items():
        assert records.apply(Add(ALICE_NAME, rdtype, IN, ttl, data))
    read = records.reading(ALICE, ALICE_NAME)
    if isinstance(judged, Advertisement):
        assert read == judged
    elif read is None:
        assert not any(rdtype in (A, AAAA) for rdtype, _ in found)  # who can ask again finds out
        assert isinstance(judged, BadAnswer)
    else:
        assert type(read) is type(judged)
