# SPDX-License-Identifier: GPL-2.0-or-later
"""Subscriptions and changes octet by octet, as RFC 8765 draws them, both ways; dnspython judges what is compressed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dns.name
import dns.rdata
import pytest
from dns.rdataclass import IN as CLASS_IN
from dns.rdatatype import RdataType
from hypothesis import given
from hypothesis import strategies as st

from wgsd_nm.core import dso, push
from wgsd_nm.core.dso import ProtocolError, Tlv
from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.push import (
    ANY,
    IN,
    MAX_PUSH,
    Add,
    Change,
    Reconfirm,
    Remove,
    RemoveAll,
    Subscribe,
    Unsubscribe,
    encode_pushes,
    fits,
    parse_push,
)

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, NSEC = 1, 2, 5, 6, 12, 15, 16, 28, 33, 47
EXAMPLE = b"\7example\3com\0"
HEADER = "0000 3000 0000 0000 0000 0000 "
NUMBERS = st.integers(0, 0xFFFF)
NAMES = st.lists(st.sampled_from([b"\1a", b"\1A", b"\2bb", b"\x3f" + bytes(63), b"\7example"]), max_size=3).map(
    lambda labels: b"".join(labels) + b"\0"
)


def named(before: int, count: int, after: int = 0) -> st.SearchStrategy[bytes]:
    """Data of a record with names, whole and uncompressed."""
    parts = [st.binary(min_size=before, max_size=before), *[NAMES] * count, st.binary(min_size=after, max_size=after)]
    return st.tuples(*parts).map(b"".join)


@st.composite
def typed(draw: st.DrawFn) -> tuple[int, bytes]:
    rdtype = draw(st.sampled_from([A, NS, SOA, PTR, MX, 17, TXT, AAAA, 26, SRV, 39, NSEC, 0xFF00]))
    if rdtype not in (A, TXT, AAAA, 0xFF00):
        before, count = {SOA: (0, 2), MX: (2, 1), 17: (0, 2), 26: (2, 2), SRV: (6, 1)}.get(rdtype, (0, 1))
        return rdtype, draw(named(before, count, {SOA: 20, NSEC: 3}.get(rdtype, 0)) | st.just(b""))
    return rdtype, draw(st.binary(max_size=300))


@st.composite
def a_change(draw: st.DrawFn) -> Change:
    name, (rdtype, rdata), rdclass = draw(NAMES), draw(typed()), draw(st.sampled_from([IN, 3, 254]))
    match draw(st.integers(0, 3)):
        case 0:
            return Remove(name, rdtype, rdclass, rdata)
        case 1:
            return RemoveAll(name, *draw(st.sampled_from([(rdtype, rdclass), (ANY, rdclass), (0, ANY)])))
        case _:
            return Add(name, rdtype, rdclass, draw(st.integers(0, push.MAX_TTL)), rdata)


CHANGES = st.lists(a_change(), min_size=1, max_size=12)


def octets(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


def a_push(data: str) -> bytes:
    """A PUSH message with these changes."""
    return dso.unidirectional(Tlv(push.PUSH, octets(data))).encode()


class TestFigures:
    """Each as in the section's figure, for the record example.com. IN TXT or A."""

    def test_subscribe(self) -> None:
        """Section 6.2.1: NAME, TYPE, CLASS."""
        value = Subscribe(EXAMPLE, ANY)
        message = dso.request(0xABCD, value.tlv()).encode()
        assert message == octets("abcd 3000 0000 0000 0000 0000 0040 0011") + EXAMPLE + octets("00ff 0001")
        assert Subscribe.read(dso.parse(message).primary) == value

    def test_subscribe_response(self) -> None:
        """Section 6.2.2: a header, and a Retry Delay if it is refused."""
        assert dso.response(0xABCD, dso.NOERROR).encode() == octets("abcd b000 0000 0000 0000 0000")
        refusal = dso.response(0xABCD, dso.NOTAUTH, dso.RetryDelay(300_000).tlv())
        assert refusal.encode() == octets("abcd b009 0000 0000 0000 0000 0002 0004 000493e0")

    @pytest.mark.parametrize(
        ("change", "data"),
        [
            (Add(EXAMPLE, A, IN, 0x0102_0304, b"\xc0\0\2\1"), "0001 0001 01020304 0004 c0000201"),
            (Add(EXAMPLE, TXT, IN, 0, b""), "0010 0001 00000000 0000"),
            (Add(EXAMPLE, A, IN, 0x7FFF_FFFF, b"1234"), "0001 0001 7fffffff 0004 31323334"),
            (Remove(EXAMPLE, A, IN, b"\xc0\0\2\1"), "0001 0001 ffffffff 0004 c0000201"),
            (Remove(EXAMPLE, TXT, IN, b""), "0010 0001 ffffffff 0000"),
            (RemoveAll(EXAMPLE, A, IN), "0001 0001 fffffffe 0000"),
            (RemoveAll(EXAMPLE, ANY, IN), "00ff 0001 fffffffe 0000"),
            (RemoveAll(EXAMPLE, 0, ANY), "0000 00ff fffffffe 0000"),
        ],
    )
    def test_push(self, change: Change, data: str) -> None:
        """Section 6.3.1: NAME, TYPE, CLASS, TTL, RDLEN, RDATA."""
        body = EXAMPLE + octets(data)
        message = octets(HEADER + "0041") + len(body).to_bytes(2) + body
        assert encode_pushes([change]) == [message]
        assert dso.parse(message).primary == Tlv(push.PUSH, body)
        assert parse_push(message) == (change,)

    def test_unsubscribe(self) -> None:
        """Section 6.4.1: the id of the SUBSCRIBE message."""
        message = dso.unidirectional(Unsubscribe(0xABCD).tlv()).encode()
        assert message == octets(HEADER + "0042 0002 abcd")
        assert Unsubscribe.read(dso.parse(message).primary) == Unsubscribe(0xABCD)

    def test_reconfirm(self) -> None:
        """Section 6.5.1: NAME, TYPE, CLASS, RDATA without a length."""
        value = Reconfirm(EXAMPLE, A, IN, b"\xc0\0\2\1")
        message = dso.unidirectional(value.tlv()).encode()
        assert message == octets(HEADER + "0043 0015") + EXAMPLE + octets("0001 0001 c0000201")
        assert Reconfirm.read(dso.parse(message).primary) == value

    def test_compression(self) -> None:
        """Section 6.3.1: offsets are relative to the begin of the message, and SRV targets are compressed, too."""
        host = b"\4host" + EXAMPLE
        changes = (
            Add(host, SRV, IN, 0, octets("0001 0002 ca6c") + host),
            Add(host, A, IN, 0, b"\xc0\0\2\1"),
            Add(EXAMPLE, NS, IN, 0, b"\2ns" + EXAMPLE),
        )
        (message,) = encode_pushes(changes)
        assert message[16:] == (
            host + octets("0021 0001 00000000 0008 0001 0002 ca6c c010")  # the name is at 16 = 0x10
            + octets("c010 0001 0001 00000000 0004 c0000201")
            + octets("c015 0002 0001 00000000 0005") + b"\2ns\xc0\x15"
        )  # fmt: skip
        assert parse_push(message) == changes


@given(CHANGES)
def test_changes_both_ways(changes: list[Change]) -> None:
    messages = encode_pushes(changes)
    assert all(len(message) <= MAX_PUSH for message in messages)
    read = [change for message in messages for change in parse_push(message)]
    assert read == changes
    assert encode_pushes(read) == messages


@given(CHANGES)
def test_dnspython_reads_the_same_records(changes: list[Change]) -> None:
    (message,) = encode_pushes(changes)
    at = 16
    for change in changes:
        name, used = dns.name.from_wire(message, at)
        at += used
        assert name.to_wire() == change.name
        length = int.from_bytes(message[at + 8 : at + 10])
        at += 10
        if isinstance(change, Add) and change.rdtype in (NS, SOA, PTR, MX) and change.rdata:
            rdata = dns.rdata.from_wire(CLASS_IN, RdataType.make(change.rdtype), message, at, length)
            assert rdata.to_wire() == change.rdata
        at += length
    assert at == len(message)


def test_a_ttl_that_means_nothing_is_left_out_alone() -> None:
    good = "0001 0001 00000005 0004 01020304"
    for ttl in ("80000000", "fffffffd", "deadbeef"):
        changes = parse_push(a_push(f"00 {good}  00 0001 0001 {ttl} 0004 05060708  00 {good}"))
        assert changes == (Add(b"\0", A, IN, 5, b"\1\2\3\4"),) * 2


def test_the_type_means_nothing_where_all_classes_are_removed() -> None:
    assert parse_push(a_push("00 0010 00ff fffffffe 0000")) == (RemoveAll(b"\0", 0, ANY),)


def test_what_follows_a_push_is_padding() -> None:
    (message,) = encode_pushes([Add(EXAMPLE, A, IN, 0, b"1234")])
    assert parse_push(message + octets("0003 0002 0000")) == parse_push(message)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ("", "no change"),
        ("00 0001 0001 fffffffe 0001 00", "expected none"),
        ("00 0001 0001 00000000 0004 000000", "cut off"),
        ("00 0001 0001 00000000 00", "cut off"),
        ("00", "cut off"),
        ("01", "cut off"),
        ("c010 0001 0001 00000000 0000", "earlier place"),
        ("c00b 0001 0001 00000000 0000", "earlier place"),
        ("40 0001 0001 00000000 0000", "label"),
        ("00 000c 0001 00000000 0002 c100", "earlier place"),
        ("00 0021 0001 00000000 0003 000000", "cut off"),
        ("00 0021 0001 ffffffff 0006 000000000000", "cut off"),
        ("00 000c 0001 00000000 0001 01", "cut off"),
        ("00 0001 0001 00000000 0000 01", "cut off"),
    ],
)
def test_a_malformed_push_is_fatal(data: str, what: str) -> None:
    with pytest.raises(ProtocolError, match=what) as caught:
        parse_push(a_push(data))
    assert caught.value.rcode is None


def test_no_name_uses_what_follows_the_tlv() -> None:
    """Its last label would end in the padding."""
    message = a_push("02 61") + octets("0003 0000")
    with pytest.raises(ProtocolError):
        parse_push(message)


def test_the_longest_push() -> None:
    """Section 6.3.1: 16,382 octets with the header."""
    room = MAX_PUSH - 16 - len(EXAMPLE) - 10
    (message,) = encode_pushes([Add(EXAMPLE, TXT, IN, 0, bytes(room))])
    assert len(message) == MAX_PUSH
    assert len(parse_push(message)) == 1
    assert fits(EXAMPLE, bytes(room))
    assert not fits(EXAMPLE, bytes(room + 1))
    with pytest.raises(InvalidValue):
        encode_pushes([Add(EXAMPLE, TXT, IN, 0, bytes(room + 1))])
    with pytest.raises(ProtocolError, match="16382"):
        parse_push(message + octets("0003 0000"))


def of_name(letter: bytes, *sizes: int) -> list[Change]:
    return [Add(b"\1" + letter + EXAMPLE, TXT, IN, 0, bytes(size)) for size in sizes]


def names_in(messages: Sequence[bytes]) -> list[list[bytes]]:
    return [[change.name[1:2] for change in parse_push(message)] for message in messages]


def test_what_a_name_has_to_tell_is_not_split_without_need() -> None:
    messages = encode_pushes(of_name(b"a", 9000) + of_name(b"b", 4000, 4000) + of_name(b"c", 100))
    assert names_in(messages) == [[b"a"], [b"b", b"b", b"c"]]


def test_what_is_too_much_for_one_message_is_split() -> None:
    messages = encode_pushes(of_name(b"a", 100) + of_name(b"b", 9000, 9000, 100) + of_name(b"c", 100))
    assert names_in(messages) == [[b"a"], [b"b"], [b"b", b"b", b"c"]]
    assert all(parse_push(message) for message in messages)


def test_nothing_to_tell() -> None:
    assert encode_pushes([]) == []


@pytest.mark.parametrize("change", [Add(EXAMPLE, SRV, IN, 0, b"\0" * 5), Remove(EXAMPLE, PTR, IN, b"\1a")])
def test_data_that_are_not_of_their_type_are_not_sent(change: Change) -> None:
    with pytest.raises(InvalidValue):
        encode_pushes([change])


@given(st.binary(max_size=120))
def test_arbitrary_changes_are_changes_or_a_protocol_error(data: bytes) -> None:
    try:
        changes = parse_push(dso.unidirectional(Tlv(push.PUSH, data)).encode())
    except ProtocolError:
        return
    again = [change for message in encode_pushes(changes) for change in parse_push(message)]
    assert again == list(changes)


@given(CHANGES, st.data())
def test_a_damaged_push_is_changes_or_a_protocol_error(changes: list[Change], data: st.DataObject) -> None:
    message = bytearray(encode_pushes(changes)[0])
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(16, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse_push(bytes(message))
    except ProtocolError as error:
        rcode = error.rcode
    else:
        rcode = None
    assert rcode is None


@given(NAMES, NUMBERS, NUMBERS)
def test_subscribe_both_ways(name: bytes, rdtype: int, rdclass: int) -> None:
    value = Subscribe(name, rdtype, rdclass)
    assert Subscribe.read(value.tlv()) == value


@given(NUMBERS)
def test_unsubscribe_both_ways(identifier: int) -> None:
    assert Unsubscribe.read(Unsubscribe(identifier).tlv()) == Unsubscribe(identifier)


@given(NAMES, NUMBERS.filter(ANY.__ne__), NUMBERS.filter(ANY.__ne__), st.binary(max_size=30))
def test_reconfirm_both_ways(name: bytes, rdtype: int, rdclass: int, rdata: bytes) -> None:
    value = Reconfirm(name, rdtype, rdclass, rdata)
    assert Reconfirm.read(value.tlv()) == value


READERS: list[tuple[Callable[[Tlv], object], int | None]] = [
    (Subscribe.read, dso.FORMERR),
    (Unsubscribe.read, None),
    (Reconfirm.read, None),
]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (0, ""),
        (0, "00"),
        (0, "00 0001 00"),
        (0, "00 0001 0001 00"),
        (0, "c00c 0001 0001"),
        (0, "0161 0001 0001"),
        (1, ""),
        (1, "00"),
        (1, "000000"),
        (2, ""),
        (2, "00 0001 00"),
        (2, "c00c 0001 0001"),
        (2, "00 00ff 0001"),
        (2, "00 0001 00ff"),
    ],
)
def test_malformed_tlvs(kind: int, data: str) -> None:
    """A request is answered with FORMERR (section 6.2.2), the others have no answer."""
    read, rcode = READERS[kind]
    with pytest.raises(ProtocolError) as caught:
        read(Tlv(0x40 + kind, octets(data)))
    assert caught.value.rcode == rcode


@given(st.integers(0, 2), st.binary(max_size=40))
def test_arbitrary_data_of_tlvs(kind: int, data: bytes) -> None:
    read, _ = READERS[kind]
    try:
        value = read(Tlv(0x40, data))
    except ProtocolError:
        return
    assert value.tlv().data == data  # type: ignore[attr-defined]  # all three have it
