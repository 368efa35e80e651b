# SPDX-License-Identifier: GPL-2.0-or-later
"""The packet path: which zone has to answer, what is no question for any, and what is no message at all."""

from __future__ import annotations

import logging
import struct
from itertools import count
from typing import Any

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rrset
import dns.tsig
import dns.update
import pytest
from dns.rcode import BADVERS, FORMERR, NOERROR, NOTAUTH, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL, Rcode
from dns.rdataclass import RdataClass
from dns.rdatatype import RdataType
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.registry_objects import PEERS, label, many, query, zone_of
from wgsd_nm.registry.query import IDLE_TIMEOUT, parse
from wgsd_nm.registry.responder import Question, Responder
from wgsd_nm.registry.signing import Keyring
from wgsd_nm.registry.zone import Zone

ALICE = f"{label('alice')}._wireguard._udp.wg.example.com."
BROWSE = "_wireguard._udp.wg.example.com."
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
SOA = b"\xc0\x0c\0\6\0\1\0\0\0\0\0\x16\0\0" + bytes(20)
KEY = dns.tsig.Key("a.key.", "A" * 43 + "=")
KEYS = Keyring({KEY.name: KEY})
ZONE = zone_of(*PEERS)
RESPONDER = Responder([ZONE], KEYS)
LARGE = zone_of(*many(300))
LARGE_RESPONDER = Responder([LARGE], KEYS)


def respond(wire: bytes, responder: Responder = RESPONDER, *zones: Zone, datagram: bool = True) -> bytes | None:
    """As a server does it, for a client who may ask all zones, which are fresh."""
    if datagram and (answer := responder.quick(wire, zones or (ZONE,))) is not None:
        return answer
    return the_long_way(wire, responder, datagram=datagram)


def the_long_way(wire: bytes, responder: Responder = RESPONDER, *, datagram: bool = True) -> bytes | None:
    asked = responder.examine(wire)
    return responder.answer(asked, datagram=datagram) if isinstance(asked, Question) else asked


def examined(wire: bytes, responder: Responder = RESPONDER) -> Question:
    question = responder.examine(wire)
    assert isinstance(question, Question)
    return question


def raw(
    text: str = ALICE, rdtype: str = "SRV", flags: int = 0, counts: tuple[int, ...] = (1, 0, 0, 0), rdclass: int = 1
) -> bytes:
    question = dns.name.from_text(text).to_wire() or b""
    return (
        struct.pack("!HHHHHH", 0x1234, flags, *counts) + question + struct.pack("!HH", RdataType.make(rdtype), rdclass)
    )


def read(reply: bytes | None) -> dns.message.Message:
    assert reply is not None
    return dns.message.from_wire(reply)


for name in (ALICE, BROWSE):  # so that there is something for a mutation to find
    respond(query(name, "PTR" if name == BROWSE else "SRV").to_wire())


@pytest.mark.parametrize(
    ("wire", "rcode"),
    [
        (raw("www.example.com."), REFUSED),
        (raw("example.com."), REFUSED),
        (raw("com."), REFUSED),
        (raw("."), REFUSED),
        (raw("xwg.example.com."), REFUSED),
        (raw("x\\002wg\\007example\\003com."), REFUSED),  # one label that ends as the zone does
        (raw("wg.example.com.", "AXFR"), NOTIMP),  # over UDP, as NSD and Knot
        (raw("a.wg.example.com.", "AXFR"), NOTAUTH),
        (raw("wg.example.com.", "IXFR"), FORMERR),  # without the client's SOA
        (raw("wg.example.com.", "IXFR", counts=(1, 0, 1, 0)) + SOA, NOERROR),
        (raw("a.wg.example.com.", "IXFR", counts=(1, 0, 1, 0)) + SOA, NOTAUTH),
        (raw("www.example.com.", "AXFR"), REFUSED),
        (raw(ALICE, "OPT"), NOERROR),  # types that no record has: NODATA, as NSD and Knot
        (raw(ALICE, "TSIG"), NOERROR),
        (raw(ALICE, "TKEY"), NOERROR),
        (raw(ALICE, "MAILA"), NOERROR),
        (raw("nobody.wg.example.com.", "TYPE200"), NXDOMAIN),
        (raw(ALICE, "TYPE65"), NOERROR),  # whose octets lower() changes
        (raw(ALICE, "TYPE0"), NOERROR),
        (raw(ALICE, "TYPE65535"), NOERROR),
        *((raw(rdclass=rdclass), REFUSED) for rdclass in (0, 3, 254, 255)),
        (raw("version.bind.", "TXT", rdclass=3), REFUSED),
        *((raw(flags=opcode << 11), NOTIMP) for opcode in range(1, 16)),
        (raw(flags=6 << 11, counts=(0, 0, 0, 0))[:12], NOTIMP),
        (raw("www.example.com.", flags=5 << 11), NOTIMP),
        (raw(flags=2 << 11)[:-1], NOTIMP),
        (dns.update.UpdateMessage("wg.example.com.").to_wire(), NOTIMP),
        (raw(counts=(0, 0, 0, 0)), FORMERR),
        (raw(counts=(2, 0, 0, 0)), FORMERR),
        (raw(counts=(2, 0, 0, 0)) + raw()[12:], FORMERR),
        (raw(counts=(1, 1, 0, 0)), FORMERR),
        (raw(counts=(1, 0, 0, 1)), FORMERR),
        (raw() + b"\0", FORMERR),
        (raw()[:-1], FORMERR),
        (raw()[:12], FORMERR),
        (raw()[:20], FORMERR),
        (raw(counts=(1, 0, 0, 1)) + OPT[:-1], FORMERR),
        (raw(counts=(1, 0, 0, 1)) + OPT + b"\0", FORMERR),
        (raw(counts=(1, 0, 0, 1)) + OPT[:-1] + b"\1", FORMERR),  # the length of options that are not there
        (raw(counts=(1, 0, 0, 2)) + OPT + OPT, FORMERR),
        (raw(counts=(1, 0, 0, 1)) + OPT[:-2] + b"\0\5\0\x0a\0\2x", FORMERR),
        (raw("nobody.wg.example.com.", counts=(1, 0, 0, 1)) + OPT + b"\0", FORMERR),
        (raw()[:12] + b"\xc0\x0c" + raw()[-4:], FORMERR),
        (raw()[:12] + b"\x64" + b"x" * 100 + raw("wg.example.com.")[12:], FORMERR),
        (raw()[:12] + (b"\x3f" + b"x" * 63) * 4 + raw("wg.example.com.")[12:], FORMERR),
        (raw(flags=0x0100), NOERROR),
        (raw(flags=0x0130), NOERROR),  # RD, AD, CD
        (raw(flags=0x0640), NOERROR),  # AA, TC, Z: not a query's business
        (raw(counts=(1, 0, 0, 1)) + OPT[:-2] + b"\0\x0c\0\x0a\0\x08cookie..", NOERROR),
        (raw(counts=(1, 0, 0, 1)) + OPT[:-2] + b"\0\6\0\x0c\0\2\0\0", NOERROR),  # padding
        (raw(counts=(1, 0, 1, 1)) + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4abcd" + OPT, NOERROR),
        (raw("nobody.wg.example.com."), NXDOMAIN),
        (raw("\\000.wg.example.com."), NXDOMAIN),
        (raw("a\\000wg.wg.example.com."), NXDOMAIN),
    ],
    ids=count(),
)
def test_codes(wire: bytes, rcode: Rcode) -> None:
    reply = read(respond(wire))
    assert reply.rcode() == rcode
    assert reply.id == int.from_bytes(wire[:2])
    assert bool(reply.flags & dns.flags.AA) == (rcode in (NOERROR, NXDOMAIN))
    assert bool(reply.flags & dns.flags.RD) == bool(wire[2] & 1)
    assert not reply.flags & (dns.flags.RA | dns.flags.AD | dns.flags.CD | 0x0040)
    if reply.question:
        assert reply.to_wire()[12:].startswith(wire[12 : 12 + len(reply.question[0].name.to_wire() or b"")])
    else:
        assert rcode in (FORMERR, NOTIMP)
    assert respond(wire) == the_long_way(wire)


@pytest.mark.parametrize("wire", [b"", b"x", raw()[:11], raw(flags=0x8000), raw(flags=0x8000)[:12]])
def test_what_is_no_query_is_never_answered(wire: bytes) -> None:
    assert respond(wire) is None
    assert RESPONDER.refuse(wire) is None


@pytest.mark.parametrize("text", [ALICE, "nobody.wg.example.com.", "www.example.com."])
@pytest.mark.parametrize("dnssec", [False, True])
def test_edns_is_answered_with_edns(text: str, dnssec: bool) -> None:
    asked = dns.message.make_query(text, "SRV", want_dnssec=dnssec, payload=4096)
    for reply in (respond(asked.to_wire()), the_long_way(asked.to_wire()), RESPONDER.refuse(asked.to_wire())):
        message = read(reply)
        assert (message.edns, message.payload) == (0, 1232)
        assert bool(message.ednsflags & dns.flags.DO) == dnssec
        assert message.options == ()


def test_a_later_version_of_edns_is_told_ours() -> None:
    asked = dns.message.make_query(ALICE, "SRV", use_edns=1)
    for wire in (asked.to_wire(), dns.message.make_query("www.example.com.", "SRV", use_edns=7).to_wire()):
        reply = read(respond(wire))
        assert (reply.rcode(), reply.edns, reply.answer) == (BADVERS, 0, [])


def test_keepalive_is_answered_over_tcp_to_those_who_ask_for_it() -> None:
    keepalive = raw(counts=(1, 0, 0, 1)) + OPT[:-2] + b"\0\4\0\x0b\0\0"
    for wire, options in ((keepalive, 1), (raw(counts=(1, 0, 0, 1)) + OPT, 0), (raw(), 0)):
        assert len(read(respond(wire, datagram=False)).options) == options
        assert read(respond(wire)).options == ()
    (option,) = read(respond(keepalive, datagram=False)).options
    assert (option.otype, option.to_wire()) == (11, int(IDLE_TIMEOUT * 10).to_bytes(2))


@pytest.mark.parametrize(("size", "room"), [(None, 512), (0, 512), (512, 512), (800, 800), (1232, 1232), (65535, 1232)])
def test_a_datagram_is_as_large_as_the_client_takes(size: int | None, room: int) -> None:
    edns = b"" if size is None else b"\0\0\x29" + struct.pack("!HIH", size, 0, 0)
    wire = raw(BROWSE, "PTR", counts=(1, 0, 0, bool(edns))) + edns
    reply = respond(wire, LARGE_RESPONDER, LARGE)
    assert reply is not None
    assert room - 100 < len(reply) <= room
    assert read(reply).flags & dns.flags.TC
    whole = respond(wire, LARGE_RESPONDER, LARGE, datagram=False)
    assert len(read(whole).answer[0]) == 300
    assert not read(whole).flags & dns.flags.TC


def test_the_question_keeps_its_letters_and_the_owner_is_in_lower_case() -> None:
    mixed = "".join(letter.upper() if number % 3 else letter for number, letter in enumerate(ALICE))
    reply = read(respond(raw(mixed)))
    assert str(reply.question[0].name) == mixed
    assert {str(rrset.name) for rrset in (*reply.answer, *reply.additional)} == {ALICE}
    assert str(reply.answer[0][0].target) == ALICE


def test_the_opt_record_is_the_last() -> None:
    reply = respond(raw(counts=(1, 0, 0, 1)) + OPT)
    assert reply is not None
    assert reply.endswith(b"\0\0\x29\x04\xd0\0\0\0\0\0\0")


def test_without_content_a_question_fails() -> None:
    for rcode in (SERVFAIL, REFUSED):
        for wire in (raw(), raw("a.wg.example.com.", "A", flags=0x0100), raw(counts=(1, 0, 0, 1)) + OPT):
            reply = read(RESPONDER.fail(examined(wire), rcode))
            assert (reply.rcode(), reply.id) == (rcode, 0x1234)
            assert (reply.edns == 0) == wire.endswith(OPT)
            assert reply.question
            assert not reply.flags & dns.flags.AA
            assert bool(reply.flags & dns.flags.RD) == bool(wire[2] & 1)
    assert read(RESPONDER.fail(examined(raw()))).rcode() == SERVFAIL


def test_strangers_are_refused_whatever_they_ask() -> None:
    for wire in (raw(), raw("www.example.com."), raw(flags=0x2800), raw(rdclass=3)):
        reply = read(RESPONDER.refuse(wire))
        assert (reply.rcode(), reply.id) == (REFUSED, 0x1234)
        assert len(reply.sections[0]) == (reply.opcode() == dns.opcode.QUERY)
    assert read(RESPONDER.refuse(raw()[:-1])).rcode() == FORMERR


PARENT, CHILD, OTHER = zone_of(name="example.com"), zone_of(name="wg.example.com"), zone_of(name="Other.test")
FAMILY = Responder([PARENT, CHILD, OTHER])


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("example.com.", PARENT),
        ("a.example.com.", PARENT),
        ("xwg.example.com.", PARENT),
        ("x\\002wg\\007example\\003com\\000.example.com.", PARENT),
        ("wg.example.com.", CHILD),
        ("a.b.WG.Example.COM.", CHILD),
        ("oTHER.tEST.", OTHER),
        ("_wireguard._udp.other.test.", OTHER),
        ("test.", None),
        ("com.", None),
        (".", None),
        ("example.com.test.", None),
    ],
)
def test_the_most_specific_zone_answers(text: str, zone: Zone | None) -> None:
    wire = raw(text, "SOA")
    asked = FAMILY.examine(wire)
    if zone is None:
        assert read(asked if isinstance(asked, bytes) else None).rcode() == REFUSED
        assert FAMILY.quick(wire, (PARENT, CHILD, OTHER)) is None
        return
    assert isinstance(asked, Question)
    assert asked.zone is zone
    reply = FAMILY.answer(asked, datagram=True)
    (soa,) = [*read(reply).answer, *read(reply).authority]
    assert soa.name == zone.name
    for zones in ((PARENT, CHILD, OTHER), (zone,)):
        assert FAMILY.quick(wire, zones) == (None if "\\000" in text else reply)
    assert FAMILY.quick(wire, [one for one in (PARENT, CHILD, OTHER) if one is not zone]) is None


def test_only_the_named_zones_answer_quickly() -> None:
    assert RESPONDER.quick(raw(), (ZONE,)) is not None
    assert RESPONDER.quick(raw(), ()) is None
    assert RESPONDER.quick(raw(), (LARGE,)) is None


def test_an_answer_changes_with_the_zone() -> None:
    zone = zone_of(*PEERS)
    responder = Responder([zone])
    assert read(responder.quick(raw(), (zone,))).rcode() == NOERROR
    zone.update(PEERS[1:], 1_790_000_001)
    assert read(responder.quick(raw(), (zone,))).rcode() == NXDOMAIN


def test_transfers_are_told_from_questions() -> None:
    assert examined(raw("wg.example.com.", "AXFR")).is_transfer
    ixfr = examined(raw("wg.example.com.", "IXFR", counts=(1, 0, 1, 0)) + SOA)
    assert ixfr.is_transfer
    assert not examined(raw("wg.example.com.", "SOA")).is_transfer
    reply = read(RESPONDER.answer(ixfr, datagram=True))
    assert [(rrset.rdtype, rrset[0].serial) for rrset in reply.answer] == [(RdataType.SOA, ZONE.serial)]
    assert read(RESPONDER.answer(ixfr, datagram=False)).rcode() == NOTIMP


def signed(text: str = ALICE, rdtype: str = "SRV", key: dns.tsig.Key = KEY, **edns: Any) -> dns.message.Message:
    asked = dns.message.make_query(text, rdtype, **edns)
    asked.use_tsig(key)
    asked.to_wire()
    return asked


@pytest.mark.parametrize(
    ("text", "rcode"), [(ALICE, NOERROR), ("nobody.wg.example.com.", NXDOMAIN), ("www.example.com.", REFUSED)]
)
@pytest.mark.parametrize("edns", [{}, {"use_edns": 0}])
def test_a_signed_query_gets_a_signed_answer(text: str, rcode: Rcode, edns: dict[str, Any]) -> None:
    asked = signed(text, **edns)
    wire = asked.to_wire()
    assert RESPONDER.quick(wire, (ZONE,)) is None
    for datagram in (False, True):
        reply = respond(wire, datagram=datagram)
        assert reply is not None
        verified = dns.message.from_wire(reply, keyring={KEY.name: KEY}, request_mac=asked.mac)
        assert verified.had_tsig
        assert (verified.rcode(), verified.edns) == (rcode, edns.get("use_edns", -1))
    if rcode != REFUSED:
        failed = dns.message.from_wire(RESPONDER.fail(examined(wire)), keyring={KEY.name: KEY}, request_mac=asked.mac)
        assert (failed.rcode(), failed.had_tsig) == (SERVFAIL, True)


def test_the_signature_counts_as_part_of_the_datagram() -> None:
    for size in (512, 700, 1232):
        asked = signed(BROWSE, "PTR", use_edns=0, payload=size)
        reply = respond(asked.to_wire(), LARGE_RESPONDER, LARGE)
        assert reply is not None
        assert size - 100 < len(reply) <= size
        assert dns.message.from_wire(reply, keyring={KEY.name: KEY}, request_mac=asked.mac).had_tsig
    message = read(LARGE_RESPONDER.answer(examined(raw(BROWSE, "PTR"), LARGE_RESPONDER), datagram=False))
    assert len(message.answer[0]) == 300


def test_a_wrong_key_is_told_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    responder = Responder([ZONE], KEYS)
    wrong = dns.tsig.Key("a.key.", "B" * 43 + "=")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            reply = responder.examine(signed(key=wrong).to_wire(), "192.0.2.7")
            assert isinstance(reply, bytes)
            message = dns.message.from_wire(reply, keyring=False)
            assert message.rcode() == NOTAUTH
            assert (message.tsig[0].error, message.tsig[0].mac) == (dns.rcode.BADSIG, b"")  # type: ignore[index]
            assert message.question
    assert [record.getMessage() for record in caplog.records] == [
        "192.0.2.7 signs queries with the key a.key, but with another secret: give both sides the same"
    ]


NAMES = st.one_of(
    st.sampled_from(
        [ALICE, BROWSE, ALICE.upper(), "wg.example.com.", "_udp.wg.example.com.", "ns1.wg.example.com.", "."]
    ),
    st.lists(st.binary(min_size=1, max_size=20), max_size=6).map(
        lambda labels: dns.name.Name([*labels, b""]).to_text()
    ),
    st.lists(st.binary(min_size=1, max_size=20), max_size=4).map(
        lambda labels: dns.name.Name([*labels, b"wg", b"example", b"com", b""]).to_text()
    ),
)


@st.composite
def queries(draw: st.DrawFn) -> bytes:
    """Well-formed messages with one question."""
    asked = dns.message.Message(draw(st.integers(0, 0xFFFF)))
    asked.flags = draw(st.one_of(st.just(0x0100), st.integers(0, 0x7FFF)))
    asked.find_rrset(
        asked.question,
        dns.name.from_text(draw(NAMES)),
        RdataClass(draw(st.one_of(st.just(1), st.integers(0, 0xFFFF)))),
        RdataType(draw(st.one_of(st.sampled_from([1, 6, 12, 16, 28, 33, 65, 97, 252, 255]), st.integers(0, 0xFFFF)))),
        create=True,
        force_unique=True,
    )
    if draw(st.booleans()):
        code = dns.edns.OptionType(draw(st.one_of(st.just(11), st.integers(0x1000, 0xFFFF))))
        options: list[dns.edns.Option] = [dns.edns.GenericOption(code, draw(st.binary(max_size=8)))]
        asked.use_edns(
            draw(st.integers(0, 2)),
            draw(st.sampled_from([0, 0x8000])),
            draw(st.integers(0, 0xFFFF)),
            options=options * draw(st.integers(0, 2)),
        )
    if draw(st.integers(0, 3)) == 3:
        asked.use_tsig(draw(st.sampled_from([KEY, dns.tsig.Key("a.key.", "B" * 44), dns.tsig.Key("b.key.", "B" * 44)])))
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
    for responder, zone in ((RESPONDER, ZONE), (LARGE_RESPONDER, LARGE)):
        asked = responder.examine(wire)
        replies = [
            respond(wire, responder, zone),
            respond(wire, responder, zone, datagram=False),
            responder.refuse(wire),
        ]
        if isinstance(asked, Question):
            replies.append(responder.fail(asked))
        for reply in replies:
            if len(wire) < 12 or wire[2] & 0x80:
                assert reply is None
                continue
            message = dns.message.from_wire(reply or b"", keyring=False)
            assert message.id == int.from_bytes(wire[:2])
            assert message.flags & dns.flags.QR
            assert message.opcode() == wire[2] >> 3 & 15
            if message.question:
                end = 12 + len(message.question[0].name.to_wire() or b"") + 4
                assert reply is not None
                assert reply[12:end] == wire[12:end]
            if isinstance(asked, Question):
                assert message.question
        assert replies[0] is None or len(replies[0]) <= 1232


@given(mutations())
@settings(max_examples=200)
def test_mutated_queries_never_break_anything(wire: bytes) -> None:
    check(wire)


@given(st.binary(max_size=64))
@settings(max_examples=100)
def test_random_octets_never_break_anything(wire: bytes) -> None:
    check(wire)


@given(queries())
@settings(max_examples=200)
def test_a_well_formed_query_is_never_called_malformed(wire: bytes) -> None:
    check(wire)
    reply = respond(wire)
    assert reply is not None
    if parse(wire).rdtype != RdataType.IXFR:  # which has to have a SOA record, too
        assert dns.message.from_wire(reply, keyring=False).rcode() != FORMERR


@given(queries())
@settings(max_examples=200)
def test_the_quick_answer_is_the_other_one(wire: bytes) -> None:
    zone = zone_of(*PEERS)
    fresh = Responder([zone], KEYS)
    quick = fresh.quick(wire, (zone,))
    if quick is not None:
        assert quick == the_long_way(wire, fresh) == fresh.quick(wire, (zone,)) == respond(wire)


@pytest.mark.parametrize("inner", ["_wireguard._udp.wg.example.com", "deeper._wireguard._udp.wg.example.com"])
def test_a_zone_inside_of_another_has_its_own_names(inner: str) -> None:
    outside, inside = zone_of(*PEERS), zone_of(*PEERS, name=inner)
    for zones in ((outside, inside), (inside, outside)):
        responder = Responder(zones)
        name = f"{label('alice')}.{inner}" if inner.startswith("_") else inner
        asked = query(name, "TXT").to_wire()
        question = responder.examine(asked)
        assert isinstance(question, Question)
        assert question.zone is inside
        assert responder.quick(asked, (outside,)) is None
        assert responder.quick(asked, zones) is not None


@pytest.mark.parametrize("octets", [b"", bytes(4), bytes.fromhex("00000001"), bytes.fromhex("000000010001")])
def test_what_has_no_name_is_not_quick(octets: bytes) -> None:
    assert Responder([zone := zone_of(*PEERS)]).quick(octets, (zone,)) is None
