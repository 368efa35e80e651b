# SPDX-License-Identifier: GPL-2.0-or-later
"""DSO messages octet by octet, as RFC 8490 draws them, both ways."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgsd_nm.core import dso
from wgsd_nm.core.dso import Keepalive, Message, ProtocolError, RetryDelay, Tlv
from wgsd_nm.core.errors import InvalidValue

TLVS = st.builds(Tlv, st.integers(0, 0xFFFF), st.binary(max_size=40))
NUMBERS = st.integers(0, 0xFFFF_FFFF)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    is_response = draw(st.booleans())
    identifier = draw(st.integers(int(is_response), 0xFFFF))
    tlvs = draw(st.lists(TLVS, min_size=0 if is_response else 1, max_size=5))
    return Message(identifier, is_response, draw(st.integers(0, 15)), tuple(tlvs))


KNOWN = [
    # MESSAGE ID, QR OPCODE Z RCODE, four counts (section 5.4); DSO-TYPE, DSO-LENGTH (section 5.4.4)
    (  # a client's Keepalive, 15 s and 60 s (section 7.1)
        dso.request(0x1234, Keepalive(15_000, 60_000).tlv()),
        "1234 3000 0000 0000 0000 0000  0001 0008 00003a98 0000ea60",
    ),
    (  # the response, with the values of the server
        dso.response(0x1234, 0, Keepalive(0xFFFFFFFF, 10_000).tlv()),
        "1234 b000 0000 0000 0000 0000  0001 0008 ffffffff 00002710",
    ),
    (  # the server's own Keepalive has no id
        dso.unidirectional(Keepalive(0, 60_000).tlv()),
        "0000 3000 0000 0000 0000 0000  0001 0008 00000000 0000ea60",
    ),
    (  # Retry Delay of 5 s because of an overload (section 7.2)
        dso.unidirectional(RetryDelay(5_000).tlv(), rcode=dso.SERVFAIL),
        "0000 3002 0000 0000 0000 0000  0002 0004 00001388",
    ),
    (  # DSOTYPENI without a TLV (section 5.4.5)
        dso.response(7, dso.DSOTYPENI),
        "0007 b00b 0000 0000 0000 0000",
    ),
    (  # Encryption Padding behind a primary TLV (section 7.3)
        dso.request(1, Keepalive(1, 2).tlv(), dso.padding(3)),
        "0001 3000 0000 0000 0000 0000  0001 0008 00000001 00000002  0003 0003 000000",
    ),
    (  # the least padding is 4 octets
        dso.response(1, 0, dso.padding()),
        "0001 b000 0000 0000 0000 0000  0003 0000",
    ),
]


@pytest.mark.parametrize(("message", "octets"), KNOWN)
def test_the_figures(message: Message, octets: str) -> None:
    assert message.encode().hex() == octets.replace(" ", "")
    assert dso.parse(message.encode()) == message


@given(messages())
def test_both_ways(message: Message) -> None:
    octets = message.encode()
    assert dso.is_dso(octets)
    assert dso.identifier_of(octets) == message.identifier
    assert dso.parse(octets) == message
    assert dso.parse(octets).encode() == octets


@given(messages(), st.integers(0, 0x7F))
def test_z_bits_are_ignored(message: Message, z: int) -> None:
    octets = bytearray(message.encode())
    octets[2] |= z >> 4
    octets[3] |= z << 4 & 0xF0
    assert dso.parse(bytes(octets)) == message


@given(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda rest: b"\0\1\x30\0" + bytes(8) + rest)))
def test_arbitrary_octets_are_a_message_or_a_protocol_error(octets: bytes) -> None:
    rcode = None
    try:
        message = dso.parse(octets)
    except ProtocolError as error:
        rcode = error.rcode
    else:
        assert dso.parse(message.encode()) == message
    assert rcode is None or (rcode == dso.FORMERR and dso.identifier_of(octets) and octets[2] < 0x80)


@pytest.mark.parametrize("place", range(4, 12))
@pytest.mark.parametrize(("message", "rcode"), [(KNOWN[0][0], dso.FORMERR), (KNOWN[2][0], None), (KNOWN[1][0], None)])
def test_counts_are_zero(message: Message, rcode: int | None, place: int) -> None:
    """Section 5.4: FORMERR; but nothing answers a unidirectional message (5.4.3), or a response."""
    octets = bytearray(message.encode())
    octets[place] = 1
    with pytest.raises(ProtocolError, match="four zeros") as caught:
        dso.parse(bytes(octets))
    assert caught.value.rcode == rcode


@pytest.mark.parametrize(
    ("octets", "rcode"),
    [
        ("", None),
        ("0001 3000 0000 0000 0000 00", None),  # no header
        ("0001 0000 0000 0000 0000 0000", None),  # a query
        ("0001 2800 0000 0000 0000 0000 0001 0000", None),  # an update
        ("0000 b000 0000 0000 0000 0000", None),  # section 5.4.1: a response without an id
        ("0001 3000 0000 0000 0000 0000", dso.FORMERR),  # section 5.4.2: no TLV
        ("0000 3000 0000 0000 0000 0000", None),
        ("0001 3000 0000 0000 0000 0000 00", None),
        ("0001 3000 0000 0000 0000 0000 0001 00", None),
        ("0001 3000 0000 0000 0000 0000 0001 0001", None),
        ("0001 3000 0000 0000 0000 0000 0003 0002 0000 00", None),
    ],
)
def test_what_is_fatal_and_what_is_answered(octets: str, rcode: int | None) -> None:
    with pytest.raises(ProtocolError) as caught:
        dso.parse(bytes.fromhex(octets))
    assert caught.value.rcode == rcode


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        ("0001 3000 0000 0000 0000 0000", True),
        ("0000 3000 0000 0000 0000 0000", False),
        ("0001 b000 0000 0000 0000 0000", False),
        ("0001 0000 0000 0000 0000 0000", False),
        ("0001 30", False),
    ],
)
def test_what_has_to_be_answered(octets: str, expected: bool) -> None:
    assert dso.is_request(bytes.fromhex(octets)) is expected


def test_a_response_may_have_no_tlv() -> None:
    assert dso.parse(bytes.fromhex("0001b0050000000000000000")) == Message(1, True, dso.REFUSED, ())


def test_unknown_tlvs_are_kept_in_their_place() -> None:
    message = dso.request(1, Tlv(0xF801, b"x"), Tlv(9), Tlv(0xF801, b"y"))
    read = dso.parse(message.encode())
    assert read.primary == Tlv(0xF801, b"x")
    assert read.find(0xF801) == Tlv(0xF801, b"x")
    assert read.find(9) == Tlv(9)
    assert read.find(8) is None


@given(NUMBERS, NUMBERS)
def test_keepalive_both_ways(inactivity: int, interval: int) -> None:
    value = Keepalive(inactivity, interval)
    assert value.tlv().type == 1
    assert Keepalive.read(value.tlv()) == value


@given(NUMBERS)
def test_retry_delay_both_ways(delay: int) -> None:
    assert RetryDelay(delay).tlv().type == 2
    assert RetryDelay.read(RetryDelay(delay).tlv()) == RetryDelay(delay)


@given(st.binary(max_size=20))
def test_the_length_of_base_tlvs(data: bytes) -> None:
    for kind, length in ((Keepalive, 8), (RetryDelay, 4)):
        if len(data) != length:
            with pytest.raises(ProtocolError, match="expected") as caught:
                kind.read(Tlv(1, data))
            assert caught.value.rcode is None


@pytest.mark.parametrize("make", [
    lambda: Tlv(0x10000),
    lambda: Tlv(-1),
    lambda: Tlv(1, bytes(0x10000)),
    lambda: dso.request(0, Tlv(1)),
    lambda: dso.request(1),
    lambda: dso.unidirectional(),
    lambda: dso.response(0, 0),
    lambda: dso.response(1, 16),
    lambda: dso.response(0x10000, 0),
    lambda: Keepalive(-1, 0),
    lambda: Keepalive(0, 1 << 32),
    lambda: RetryDelay(1 << 32),
    lambda: dso.request(1, Tlv(1, bytes(0xFFF0))).encode(),
])  # fmt: skip
def test_what_cannot_be_said(make) -> None:  # type: ignore[no-untyped-def]  # one lambda a line
    with pytest.raises(InvalidValue):
        make()


def test_the_longest_message() -> None:
    message = dso.request(1, Tlv(1, bytes(0xFFFF - 16)))
    assert len(message.encode()) == 0xFFFF
    assert dso.parse(message.encode()) == message


def test_seconds() -> None:
    assert dso.seconds(0) == 0
    assert dso.seconds(1_500) == 1.5
    assert dso.seconds(0xFFFF_FFFE) == 4_294_967.294
    assert dso.seconds(dso.INFINITE) == inf
