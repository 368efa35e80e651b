# SPDX-License-Identifier: GPL-2.0-or-later
"""The packet path: what is no question for the zone, and what is no message at all."""

from __future__ import annotations

import struct

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.update
import pytest
from dns.rcode import BADVERS, FORMERR, NOERROR, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL, Rcode
from dns.rdataclass import RdataClass
from dns.rdatatype import RdataType
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.registry_objects import PEERS, label, many, query, zone_of
from wgsd_nm.registry.responder import Responder

ALICE = f"{label('alice')}._wireguard._udp.wg.example.com."
BROWSE = "_wireguard._udp.wg.example.com."
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
ZONE = zone_of(*PEERS)
RESPONDER = Responder(ZONE)
LARGE = Responder(zone_of(*many(300)))
for name in (ALICE, BROWSE):  # so that there is something for a mutation to find
    RESPONDER.respond(query(name, "PTR" if name == BROWSE else "SRV").to_wire(), datagram=True)


def raw(text: str = ALICE, rdtype: str = "SRV", flags: int = 0, counts: tuple[int, ...] = (1, 0, 0, 0)) -> bytes:
    question = dns.name.from_text(text).to_wire() or b""
    return struct.pack("!HHHHHH", 0x1234, flags, *counts) + question + struct.pack("!HH", RdataType.make(rdtype), 1)


def answer(wire: bytes) -> dns.message.Message:
    reply = RESPONDER.respond(wire, datagram=True)
    assert reply is not None
    assert reply[:2] == wire[:2]
    return dns.message.from_wire(reply)


@pytest.mark.parametrize(
    ("wire", "rcode"),
    [
        (raw("www.example.com."), REFUSED),
        (raw("example.com."), REFUSED),
        (raw("com."), REFUSED),
        (raw("."), REFUSED),
        (raw("xwg.example.com."), REFUSED),
        (raw("x\\002wg\\007example\\003com."), REFUSED),  # one label that ends as the zone does
        (raw("wg.example.com.", "AXFR"), REFUSED),
        (raw("wg.example.com.", "IXFR"), REFUSED),
        (raw()[:-2] + b"\0\x03", REFUSED),  # CH
        (raw()[:-2] + b"\0\xff", REFUSED),  # ANY class
        (raw("version.bind.", "TXT")[:-2] + b"\0\x03", REFUSED),
        *((raw(flags=opcode << 11), NOTIMP) for opcode in range(1, 16)),
        (dns.update.UpdateMessage("wg.example.com.").to_wire(), NOTIMP),
        (raw(counts=(0, 0, 0, 0)), FORMERR),
        (raw(counts=(2, 0, 0, 0)), FORMERR),
        (raw(counts=(1, 1, 0, 0)), FORMERR),
        (raw(counts=(1, 0, 0, 1)), FORMERR),
        (raw() + b"\0", FORMERR),
        (raw()[:-1], FORMERR),
        (raw()[:12], FORMERR),
        (raw()[:20], FORMERR),
        (raw(counts=(1, 0, 0, 1)) + OPT[:-1], FORMERR),
        (raw(counts=(1, 0, 0, 1)) + OPT + b"\0", FORMERR),
        (raw(counts=(1, 0, 0, 2)) + OPT + OPT, FORMERR),
        (raw(counts=(1, 1, 0, 0)) + OPT, FORMERR),
        (raw(counts=(1, 0, 0, 1)) + b"\1x" + OPT, FORMERR),
        (raw(counts=(1, 0, 0, 1)) + OPT[:-2] + b"\0\3\0\x0a\0", FORMERR),
        (raw(counts=(1, 0, 0, 1)) + OPT[:-2] + b"\0\5\0\x0a\0\2x", FORMERR),
        (raw(counts=(1, 0, 0, 1)) + b"\x40" + OPT[1:], FORMERR),
        (raw()[:12] + b"\xc0\x0c" + raw()[-4:], FORMERR),
        (raw()[:12] + b"\x3f" + b"x" * 63 + (b"\x3f" + b"x" * 63) * 3 + b"\0" + raw()[-4:], FORMERR),
        (raw(flags=0x0100), NOERROR),
        (raw(flags=0x0130), NOERROR),  # RD, AD, CD
        (raw(flags=0x0640), NOERROR),  # AA, TC, Z: not a query's business
        (raw(counts=(1, 0, 0, 1)) + OPT[:-2] + b"\0\x0c\0\x0a\0\x08cookie..", NOERROR),
        (raw(counts=(1, 0, 1, 1)) + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4abcd" + OPT, NOERROR),
        (raw("nobody.wg.example.com."), NXDOMAIN),
    ],
)
def test_codes(wire: bytes, rcode: Rcode) -> None:
    reply = answer(wire)
    assert reply.rcode() == rcode
    assert bool(reply.flags & dns.flags.AA) == (rcode in (NOERROR, NXDOMAIN))
    assert bool(reply.flags & dns.flags.RD) == bool(wire[2] & 1)
    assert not reply.flags & (dns.flags.RA | dns.flags.AD | dns.flags.CD | 0x0040)
    assert bool(reply.question) == (rcode not in (FORMERR, NOTIMP))


@pytest.mark.parametrize("text", [ALICE, "nobody.wg.example.com.", "www.example.com."])
@pytest.mark.parametrize("dnssec", [False, True])
def test_edns_is_answered_with_edns(text: str, dnssec: bool) -> None:
    asked = dns.message.make_query(text, "SRV", want_dnssec=dnssec, payload=4096)
    for _ in range(2):
        reply = answer(asked.to_wire())
        assert (reply.edns, reply.payload) == (0, 1232)
        assert bool(reply.ednsflags & dns.flags.DO) == dnssec
        assert reply.options == ()


def test_a_later_version_of_edns_is_told_ours() -> None:
    asked = dns.message.make_query(ALICE, "SRV", use_edns=1)
    for _ in range(2):
        reply = answer(asked.to_wire())
        assert (reply.rcode(), reply.edns, reply.answer) == (BADVERS, 0, [])


def test_the_question_keeps_its_letters_and_the_owner_is_in_lower_case() -> None:
    mixed = "".join(letter.upper() if number % 3 else letter for number, letter in enumerate(ALICE))
    reply = answer(raw(mixed))
    assert str(reply.question[0].name) == mixed
    assert {str(rrset.name) for rrset in (*reply.answer, *reply.additional)} == {ALICE}
    assert str(reply.answer[0][0].target) == ALICE


def test_the_opt_record_is_the_last() -> None:
    reply = RESPONDER.respond(raw(counts=(1, 0, 0, 1)) + OPT, datagram=True)
    assert reply is not None
    assert reply.endswith(b"\0\0\x29\x04\xd0\0\0\0\0\0\0")


def test_without_content_the_zone_fails_and_all_else_is_answered() -> None:
    for wire, rcode in ((raw(), SERVFAIL), (raw("a.wg.example.com."), SERVFAIL), (raw("www.example.com."), REFUSED)):
        reply = RESPONDER.fail(wire)
        assert reply is not None
        assert dns.message.from_wire(reply).rcode() == rcode
        assert RESPONDER.asks_zone(wire) == (rcode == SERVFAIL)
    failed = RESPONDER.fail(raw(counts=(1, 0, 0, 1)) + OPT)
    assert failed is not None
    assert dns.message.from_wire(failed).edns == 0
    assert RESPONDER.fail(raw(flags=0x8000)) is None


NAMES = st.one_of(
    st.sampled_from(
        [ALICE, BROWSE, ALICE.upper(), "wg.example.com.", "_udp.wg.example.com.", "ns1.wg.example.com.", "."]
    ),
    st.lists(st.binary(min_size=1, max_size=20), max_size=6).map(
        lambda labels: dns.name.Name([*labels, b""]).to_text()
    ),
)


@st.composite
def queries(draw: st.DrawFn) -> bytes:
    """Well-formed messages with one question."""
    asked = dns.message.Message(draw(st.integers(0, 0xFFFF)))
    asked.flags = draw(st.integers(0, 0x7FFF))
    asked.find_rrset(
        asked.question,
        dns.name.from_text(draw(NAMES)),
        RdataClass(draw(st.one_of(st.just(1), st.integers(0, 0xFFFF)))),
        RdataType(draw(st.one_of(st.sampled_from([1, 6, 12, 16, 28, 33, 65, 97, 255]), st.integers(0, 0xFFFF)))),
        create=True,
        force_unique=True,
    )
    if draw(st.booleans()):
        code = dns.edns.OptionType(draw(st.integers(0x1000, 0xFFFF)))
        options: list[dns.edns.Option] = [dns.edns.GenericOption(code, draw(st.binary(max_size=8)))]
        asked.use_edns(
            draw(st.integers(0, 2)),
            draw(st.sampled_from([0, 0x8000])),
            draw(st.integers(0, 0xFFFF)),
            options=options * draw(st.integers(0, 2)),
        )
    return asked.to_wire()


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A well-formed query with octets changed, cut off, put in or appended."""
    wire = bytearray(draw(queries()))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(wire)))
        match draw(st.integers(0, 3)):
            case 0:
                wire[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del wire[at : at + draw(st.integers(1, 8))]
            case 2:
                wire[at:at] = draw(st.binary(max_size=8))
            case 3:
                wire += draw(st.binary(max_size=40))
    return bytes(wire)


def check(wire: bytes) -> None:
    """The rules for any octets: no exception, no answer to an answer, otherwise one that dnspython can read."""
    for responder in (RESPONDER, LARGE):
        for reply in (responder.respond(wire, datagram=True), responder.fail(wire)):
            if len(wire) < 12 or wire[2] & 0x80:
                assert reply is None
                continue
            assert reply is not None
            assert len(reply) <= 1232
            message = dns.message.from_wire(reply)
            assert message.id == int.from_bytes(wire[:2])
            assert message.flags & dns.flags.QR
            assert message.opcode() == wire[2] >> 3 & 15
            if message.question:
                assert reply[12:].startswith(wire[12 : wire.index(b"\0", 12)])


@given(mutations())
@settings(max_examples=100, deadline=None)
def test_mutated_queries_never_break_anything(wire: bytes) -> None:
    check(wire)


@given(st.binary(max_size=64))
@settings(max_examples=50, deadline=None)
def test_random_octets_never_break_anything(wire: bytes) -> None:
    check(wire)


@given(queries())
@settings(max_examples=100, deadline=None)
def test_a_well_formed_query_is_never_called_malformed(wire: bytes) -> None:
    check(wire)
    reply = RESPONDER.respond(wire, datagram=True)
    assert reply is not None
    assert dns.message.from_wire(reply).rcode() != FORMERR


@given(queries(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_kept_answer_is_the_one_that_was_made(wire: bytes, datagram: bool) -> None:
    fresh = Responder(zone_of(*PEERS))
    assert fresh.respond(wire, datagram=datagram) == fresh.respond(wire, datagram=datagram)
    assert fresh.respond(wire, datagram=datagram) == RESPONDER.respond(wire, datagram=datagram)
