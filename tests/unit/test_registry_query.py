# SPDX-License-Identifier: GPL-2.0-or-later
"""What a message asks: its question, EDNS, the place of its TSIG; and what is none."""

from __future__ import annotations

import struct

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import pytest
from dns.rcode import BADVERS, FORMERR, NOTIMP, REFUSED
from hypothesis import given, settings
from hypothesis import strategies as st

from wgsd_nm.registry.query import (
    IDLE_TIMEOUT,
    Edns,
    Malformed,
    Query,
    build_error,
    is_whole_opt,
    known_serial,
    parse,
    rcode_of,
    wants_keepalive,
)

NAME = b"\1A\2wg\7Example\3com\0"
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
TSIG = b"\1k\0\0\xfa\0\xff\0\0\0\0\0\4abcd"
RECORD = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4abcd"


def raw(*records: bytes, counts: tuple[int, int, int, int] = (1, 0, 0, 0), name: bytes = NAME) -> bytes:
    return struct.pack("!HHHHHH", 0x1234, 0, *counts) + name + b"\0\x21\0\1" + b"".join(records)


def test_a_question_is_read_in_lower_case() -> None:
    end = 12 + len(NAME) + 4
    assert parse(raw()) == Query(end, NAME.lower(), 33, 1, None, None)


@pytest.mark.parametrize(
    ("fields", "edns"),
    [
        (b"\x04\xd0\0\0\0\0\0\0", Edns(1232, 0, dnssec=False)),
        (b"\0\0\0\0\x80\0\0\0", Edns(0, 0, dnssec=True)),
        (b"\xff\xff\0\1\x7f\xff\0\0", Edns(65535, 1, dnssec=False)),
        (b"\x10\0\0\0\0\0\0\4\0\x0b\0\0", Edns(4096, 0, dnssec=False, keepalive=True)),
        (b"\x10\0\0\0\0\0\0\x0a\0\x0a\0\2\0\x0b\0\x0c\0\0", Edns(4096, 0, dnssec=False)),
        (b"\x10\0\0\0\0\0\0\x0a\0\x0b\0\2\0\0\0\x0c\0\0", Edns(4096, 0, dnssec=False, keepalive=True)),
    ],
)
def test_edns_is_read(fields: bytes, edns: Edns) -> None:
    assert parse(raw(b"\0\0\x29" + fields, counts=(1, 0, 0, 1))).edns == edns


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ((), False),
        ((OPT,), False),
        ((b"\0\0\x29\x04\xd0\0\0\0\0\0\4\0\x0b\0\0",), True),
        ((b"\0\0\x29\x04\xd0\0\0\0\0\0\4\0\x0b\0\1",), False),  # which cannot be read
    ],
)
def test_the_wish_for_keepalive_is_read(records: tuple[bytes, ...], expected: bool) -> None:
    assert wants_keepalive(raw(*records, counts=(1, 0, 0, len(records)))) is expected


def test_the_place_of_the_tsig_is_told() -> None:
    assert parse(raw(TSIG, counts=(1, 0, 0, 1))).tsig == len(raw())
    asked = parse(raw(RECORD, OPT, TSIG, counts=(1, 1, 0, 2)))
    assert asked.tsig == len(raw()) + len(RECORD) + len(OPT)
    assert asked.edns is not None


@pytest.mark.parametrize(
    "message",
    [
        raw(counts=(0, 0, 0, 0)),
        raw(counts=(2, 0, 0, 0)),
        raw()[:12],
        raw()[:14],
        raw()[:-1],
        raw(b"\0"),
        raw(name=b"\xc0\x0c"),
        raw(name=b"\x40" + b"x" * 64 + b"\0"),
        raw(name=(b"\x3f" + b"x" * 63) * 4 + b"\0"),
        raw(counts=(1, 0, 0, 1)),
        raw(OPT[:-1], counts=(1, 0, 0, 1)),
        raw(OPT, counts=(1, 1, 0, 0)),
        raw(OPT, counts=(1, 0, 1, 0)),
        raw(OPT, OPT, counts=(1, 0, 0, 2)),
        raw(b"\1x" + OPT, counts=(1, 0, 0, 1)),
        raw(b"\x40" + RECORD[2:], counts=(1, 0, 0, 1)),
        raw(b"\1", counts=(1, 0, 0, 1)),
        raw(OPT[:-2] + b"\0\3\0\x0a\0", counts=(1, 0, 0, 1)),
        raw(OPT[:-2] + b"\0\5\0\x0a\0\2x", counts=(1, 0, 0, 1)),
        raw(RECORD[:-1], counts=(1, 0, 0, 1)),
        raw(TSIG, counts=(1, 1, 0, 0)),
        raw(TSIG, counts=(1, 0, 1, 0)),
        raw(TSIG, OPT, counts=(1, 0, 0, 2)),
        raw(TSIG, TSIG, counts=(1, 0, 0, 2)),
        raw(TSIG.replace(b"\0\xff", b"\0\1"), counts=(1, 0, 0, 1)),
    ],
)
def test_what_is_not_whole_is_malformed(message: bytes) -> None:
    with pytest.raises(Malformed):
        parse(message)


def test_a_name_may_have_255_octets_and_a_label_63() -> None:
    name = (b"\x3f" + b"x" * 63) * 3 + b"\x3d" + b"x" * 61 + b"\0"
    assert len(name) == 255
    assert parse(raw(name=name)).name == name
    with pytest.raises(Malformed):
        parse(raw(name=name.replace(b"\x3d", b"\x3ex")))


def ixfr(serial: int, *, section: int = 2) -> bytes:
    asked = dns.message.make_query("wg.example.com.", "IXFR")
    soa = dns.rrset.from_text("wg.example.com.", 0, "IN", "SOA", f"ns1.wg.example.com. x. {serial} 1 2 3 4")
    asked.sections[section].append(soa)
    return asked.to_wire()


def test_the_serial_of_an_ixfr_query_is_read() -> None:
    for serial in (0, 7, 0xFFFF_FFFF):
        message = ixfr(serial)
        assert known_serial(message, parse(message).end) == serial
    for message in (
        ixfr(7, section=1),
        ixfr(7, section=3),
        dns.message.make_query("wg.example.com.", "IXFR").to_wire(),
    ):
        assert known_serial(message, parse(message).end) is None


def test_the_serial_is_found_behind_other_records() -> None:
    soa = b"\xc0\x0c\0\6\0\1\0\0\0\0\0\x16\0\0\0\0\0\x09" + bytes(16)
    message = raw(RECORD, RECORD, soa, counts=(1, 1, 2, 0))
    assert known_serial(message, parse(message).end) == 9


def test_a_soa_that_is_no_soa_is_malformed() -> None:
    whole = b"\xc0\x0c\0\6\0\1\0\0\0\0\0\x16\0\0" + bytes(20)
    message = raw(whole, counts=(1, 0, 1, 0))
    assert known_serial(message, parse(message).end) == 0
    for data in (b"", b"\0", b"\0\0", b"\0\0" + bytes(19), b"\0\0" + bytes(21), b"\x3f"):
        message = raw(whole[:10] + struct.pack("!H", len(data)) + data, counts=(1, 0, 1, 0))
        with pytest.raises(Malformed):
            known_serial(message, parse(message).end)


@pytest.mark.parametrize("dnssec", [False, True])
def test_an_opt_record_of_ours_is_read_back(dnssec: bool) -> None:
    edns = Edns(4096, 0, dnssec=dnssec, keepalive=True)
    for datagram in (False, True):
        message = raw(edns.reply(datagram=datagram), counts=(1, 0, 0, 1))
        assert parse(message).edns == Edns(1232, 0, dnssec=dnssec, keepalive=not datagram)
        read = dns.message.from_wire(message)
        options = [(int(option.otype), option.to_wire()) for option in read.options]
        assert options == ([] if datagram else [(11, struct.pack("!H", int(IDLE_TIMEOUT * 10)))])
    assert Edns(4096, 0, dnssec=dnssec).reply(datagram=False) == Edns(4096, 0, dnssec=dnssec).reply()


def test_an_error_repeats_what_could_be_read() -> None:
    asked = dns.message.make_query("wG.example.com.", "SRV", use_edns=0)
    asked.flags = dns.flags.Flag(dns.flags.RD | dns.flags.CD | dns.flags.AA | dns.flags.TC)
    wire = asked.to_wire()
    for rcode in (REFUSED, BADVERS):
        octets = build_error(wire, rcode, parse(wire))
        assert rcode_of(octets) == rcode
        error = dns.message.from_wire(octets)
        assert (error.id, error.rcode(), error.edns, error.opcode()) == (asked.id, rcode, 0, asked.opcode())
        assert error.question[0].name.labels == asked.question[0].name.labels
        assert dns.flags.to_text(error.flags) == "QR RD"
    other = b"%b\x29%b" % (wire[:2], wire[3:])  # UPDATE, whose first section is no question
    error = dns.message.from_wire(build_error(other, NOTIMP, parse(other)))
    assert (error.id, error.rcode(), error.edns, error.opcode()) == (asked.id, NOTIMP, 0, 5)
    assert error.sections[0] == []
    error = dns.message.from_wire(build_error(wire, FORMERR))
    assert (error.id, error.rcode(), error.edns, error.question) == (asked.id, FORMERR, -1, [])


def test_a_whole_opt_record_is_all_that_follows() -> None:
    cookie = OPT[:-2] + b"\0\x0c\0\x0a\0\x08cookie.."
    assert is_whole_opt(raw(cookie), len(raw()))
    for wrong in (
        cookie[:-1],
        cookie + b"\0",
        OPT[:-2] + b"\0\5\0\x0a\0\2x",
        OPT[:-2] + b"\0\2\0\x0a",
        OPT + b"\0\1\0\0",
    ):
        assert not is_whole_opt(raw(wrong), len(raw()))


@given(st.binary(max_size=80), st.integers(0, 3), st.booleans())
@settings(max_examples=300)
def test_any_octets_are_read_or_malformed(octets: bytes, additional: int, behind: bool) -> None:
    message = (raw(octets, counts=(1, 0, 1, additional)) if behind else raw()[:12] + octets).ljust(12, b"\0")
    try:
        asked = parse(message)
        known_serial(message, asked.end)
    except Malformed:
        return
    assert asked.end <= len(message)
    assert asked.tsig is None or asked.end <= asked.tsig < len(message)


@st.composite
def messages(draw: st.DrawFn) -> dns.message.Message:
    """Whole queries, as dnspython makes them."""
    labels = draw(st.lists(st.binary(min_size=1, max_size=30), max_size=7))
    rdtype = dns.rdatatype.RdataType(draw(st.integers(0, 0xFFFF)))
    rdclass = dns.rdataclass.RdataClass(draw(st.integers(0, 0xFFFF)))
    asked = dns.message.Message(draw(st.integers(0, 0xFFFF)))
    asked.find_rrset(asked.question, dns.name.Name([*labels, b""]), rdclass, rdtype, create=True, force_unique=True)
    if draw(st.booleans()):
        code = dns.edns.OptionType(draw(st.integers(0x1000, 0xFFFF)))
        option = dns.edns.GenericOption(code, draw(st.binary(max_size=8)))
        asked.use_edns(draw(st.integers(0, 255)), 0, draw(st.integers(0, 0xFFFF)), options=[option])
    if draw(st.booleans()):
        asked.use_tsig(dns.tsig.Key("k.", "A" * 44))
    return asked


@given(messages())
@settings(max_examples=200)
def test_what_dnspython_makes_is_read(asked: dns.message.Message) -> None:
    wire = asked.to_wire()
    read = parse(wire)
    question = asked.question[0]
    assert (read.name, read.rdtype, read.rdclass) == (
        (question.name.to_wire() or b"").lower(),
        question.rdtype,
        question.rdclass,
    )
    assert (read.edns is None) == (asked.edns < 0)
    if read.edns is not None:
        assert (read.edns.version, read.edns.size) == (asked.edns, asked.payload)
    assert (read.tsig is None) == (asked.keyring is None)
