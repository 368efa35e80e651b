# SPDX-License-Identifier: GPL-2.0-or-later
"""What a DNS message asks: its question, its EDNS (RFC 6891), where its TSIG is. Knows neither zones nor keys.

What is not whole raises Malformed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from dns.rcode import BADVERS, NOERROR, Rcode
from dns.rdataclass import ANY
from dns.rdatatype import OPT, SOA, TSIG

HEADER = 12
"""Octets of a message before the question (RFC 1035 section 4.1.1)."""
MAX_DATAGRAM = 1232
"""Octets of an answer over UDP that no path fragments (DNS flag day 2020), for clients that take as much."""
MIN_DATAGRAM = 512
"""Octets of an answer over UDP that every client takes (RFC 1035 section 2.3.4)."""
MAX_MESSAGE = 0xFFFF
"""Octets of a message over TCP."""
MAX_NAME = 255
MAX_LABEL = 63
"""Octets (RFC 1035 section 2.3.4)."""
IDLE_TIMEOUT = 10.0
"""Seconds that a client over TCP may be silent, which it is told if it asks (RFC 7828)."""

QR, AA, TC, RD = 0x80, 0x04, 0x02, 0x01
"""Flags of the header's third octet."""
OPCODE = 0x78
"""The opcode's bits there."""
DO = 0x80
"""DNSSEC is wanted: the flag in the first octet of an OPT record's flags (RFC 3225)."""
ONE_QUESTION = b"\0\1\0\0\0\0\0\0"
ONE_QUESTION_AND_OPT = b"\0\1\0\0\0\0\0\1"
"""The counts of the usual queries."""
OPT_START = b"\0\0\x29"
OPT_LENGTH = 11
"""Octets of an OPT record without options."""
OPT_RDLENGTH = 9
NO_OPTIONS = b"\0\0"
"""Where the length of the options is, and what it is then."""

_KEEPALIVE = 11  # the option's code
_OPT = struct.Struct("!BHHBBHH")
_KEEPALIVE_OPTION = struct.pack("!HHH", _KEEPALIVE, 2, int(IDLE_TIMEOUT * 10))
_RECORD = struct.Struct("!HHIH")
_COUNTS = struct.Struct("!HHHH")


class Malformed(ValueError):
    """The octets are no DNS message with one question."""


@dataclass(frozen=True, slots=True)
class Edns:
    """An OPT record: the client's datagram size in octets, the version, DNSSEC wanted, TCP keepalive asked for."""

    size: int
    version: int
    dnssec: bool
    keepalive: bool = False

    def reply(self, *, rcode: int = 0, datagram: bool = True) -> bytes:
        """The OPT record of an answer."""
        option = b"" if datagram or not self.keepalive else _KEEPALIVE_OPTION
        return _OPT.pack(0, OPT, MAX_DATAGRAM, rcode >> 4, 0, DO << 8 if self.dnssec else 0, len(option)) + option


@dataclass(frozen=True, slots=True)
class Query:
    """A message with one question, which ends at `end`. The name is in lower case; at `tsig` that record begins."""

    end: int
    name: bytes
    rdtype: int
    rdclass: int
    edns: Edns | None
    tsig: int | None


def parse(message: bytes) -> Query:
    """What a message of at least HEADER octets asks. Raises Malformed."""
    name, end = _parse_name(message)
    edns, tsig = _parse_records(message, end)
    rdtype, rdclass = struct.unpack_from("!HH", message, end - 4)
    return Query(end, name, rdtype, rdclass, edns, tsig)


def known_serial(message: bytes, end: int) -> int | None:
    """The serial that the sender of an IXFR query has (RFC 1995 section 3). Its question ends at `end`.

    Raises Malformed.
    """
    _, answers, authority, _ = _COUNTS.unpack_from(message, 4)
    at = end
    for number in range(answers + authority):
        at = skip_name(message, at)
        rdtype, _, _, length = _record(message, at)
        at += _RECORD.size
        if rdtype == SOA and number >= answers:
            times = skip_name(message, skip_name(message, at))
            if times + 20 != at + length:
                raise Malformed
            return int.from_bytes(message[times : times + 4])
        at += length
    return None


def wants_keepalive(message: bytes) -> bool:
    """Whether a query that can be read has the EDNS option for TCP keepalive (RFC 7828)."""
    try:
        edns = parse(message).edns
    except Malformed:
        return False
    return edns is not None and edns.keepalive


def build_error(message: bytes, rcode: Rcode, asked: Query | None = None, *, datagram: bool = True) -> bytes:
    """An answer without records to what was asked; None: the query could not be read.

    It repeats the question, but not where that could not be read, or is none: other opcodes have other sections.
    """
    opt = b"" if asked is None or asked.edns is None else asked.edns.reply(rcode=rcode, datagram=datagram)
    question = b"" if asked is None or message[2] & OPCODE else message[HEADER : asked.end]
    return b"%b%c%c%b%b%b" % (
        message[:2],
        QR | message[2] & (OPCODE | RD),
        rcode & 0xF,
        _COUNTS.pack(bool(question), 0, 0, bool(opt)),
        question,
        opt,
    )


def rcode_of(answer: bytes) -> int:
    """The RCODE of an answer of ours. The header's part of BADVERS is 0 (RFC 6891 section 6.1.3), but has no AA."""
    return answer[3] & 0xF or (NOERROR if answer[2] & AA else BADVERS)


def is_whole_opt(message: bytes, at: int) -> bool:
    """Whether the OPT record that begins here, with options, is all that follows."""
    data = at + OPT_LENGTH
    if len(message) != data + int.from_bytes(message[at + OPT_RDLENGTH : data]):
        return False
    try:
        _parse_options(message, data, len(message))
    except Malformed:
        return False
    return True


def skip_name(message: bytes, at: int) -> int:
    """Where the name that begins here ends. Raises Malformed."""
    try:
        while length := message[at]:
            if length > 0xBF:
                return at + 2
            if length > MAX_LABEL:
                raise Malformed
            at += 1 + length
    except IndexError:
        raise Malformed from None
    return at + 1


def _parse_name(message: bytes) -> tuple[bytes, int]:
    """The one question's name in lower case, and where the question ends, if it is whole."""
    if message[4:6] != b"\0\1":
        raise Malformed  # RFC 9619: a query has one question
    at = HEADER
    try:
        while length := message[at]:
            if length > MAX_LABEL:
                raise Malformed  # a compression pointer has nothing to point to here
            at += 1 + length
    except IndexError:
        raise Malformed from None
    at += 1
    if at - HEADER > MAX_NAME:
        raise Malformed
    return message[HEADER:at].lower(), at + 4


def _parse_records(message: bytes, at: int) -> tuple[Edns | None, int | None]:
    """What the OPT record says and where the TSIG record begins; all others have only to be whole."""
    _, answers, authority, additional = _COUNTS.unpack_from(message, 4)
    edns = tsig = None
    last = answers + authority + additional - 1
    for number in range(last + 1):
        start = at
        at = skip_name(message, at)
        rdtype, rdclass, ttl, length = _record(message, at)
        data = at + _RECORD.size
        at = data + length
        if at > len(message):
            raise Malformed
        if rdtype == OPT:
            if edns is not None or message[start] or number < answers + authority:
                raise Malformed  # RFC 6891 section 6.1.1: one, in the additional section, at the root
            keepalive = _parse_options(message, data, at)
            edns = Edns(rdclass, ttl >> 16 & 0xFF, bool(ttl & DO << 8), keepalive)
        elif rdtype == TSIG:
            if number != last or not additional or rdclass != ANY:
                raise Malformed  # RFC 8945 section 5.1: the last of the additional section
            tsig = start
    if at != len(message):
        raise Malformed
    return edns, tsig


def _record(message: bytes, at: int) -> tuple[int, int, int, int]:
    """Type, class, TTL and length of data of the record whose name ends here."""
    try:
        rdtype, rdclass, ttl, length = _RECORD.unpack_from(message, at)
    except struct.error:
        raise Malformed from None
    return rdtype, rdclass, ttl, length


def _parse_options(message: bytes, at: int, end: int) -> bool:
    """Whether TCP keepalive is among the EDNS options; they have to be whole (RFC 6891 section 6.1.2)."""
    keepalive = False
    while at + 4 <= end:
        keepalive |= int.from_bytes(message[at : at + 2]) == _KEEPALIVE
        at += 4 + int.from_bytes(message[at + 2 : at + 4])
    if at != end:
        raise Malformed
    return keepalive
