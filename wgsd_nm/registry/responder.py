# SPDX-License-Identifier: GPL-2.0-or-later
"""Octets of a query in, octets of the answer out (RFC 1035, RFC 6891, RFC 8906). Knows neither sockets nor the device.

Every query that can be read is answered; what is itself an answer, or too short to be a message, never is. The
question is sent back as it came, letter case included.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from dns.rcode import BADVERS, FORMERR, NOTIMP, REFUSED, SERVFAIL, Rcode
from dns.rdataclass import IN
from dns.rdatatype import AXFR, IXFR, OPT

from wgsd_nm.registry.zone import HEADER, Answer, Zone

MAX_DATAGRAM = 1232
"""Octets of an answer over UDP that no path fragments (DNS flag day 2020), for clients that take as much."""
MIN_DATAGRAM = 512
"""Octets of an answer over UDP that every client takes (RFC 1035 section 2.3.4)."""
MAX_MESSAGE = 0xFFFF
"""Octets of an answer over TCP."""
MAX_NAME = 255

_QR, _AA, _TC, _RD = 0x80, 0x04, 0x02, 0x01  # of the header's third octet
_DO = 0x80  # of an OPT record's flags
_ANSWER = (bytes((_QR | _AA,)), bytes((_QR | _AA | _RD,)))
"""The third octet of an answer, by that of a plain query."""
_ONE_QUESTION = b"\0\1\0\0\0\0\0\0"
_ONE_QUESTION_AND_OPT = b"\0\1\0\0\0\0\0\1"
_OPT_START = b"\0\0\x29"
_OPT_LENGTH = 11
_ALWAYS_FITS = MIN_DATAGRAM - _OPT_LENGTH
_OPT = struct.Struct("!BHHBBHH")
_RECORD = struct.Struct("!HHIH")
_COUNTS = struct.Struct("!HHHH")
_OUR_OPT = _OPT.pack(0, OPT, MAX_DATAGRAM, 0, 0, 0, 0)
_OUR_OPT_DO = _OPT.pack(0, OPT, MAX_DATAGRAM, 0, 0, _DO << 8, 0)


class _Malformed(ValueError):
    """The octets are no DNS message."""


@dataclass(frozen=True, slots=True)
class _Edns:
    """A query's OPT record (RFC 6891 section 6.1): the client's datagram size, the version, DNSSEC wanted."""

    size: int
    version: int
    dnssec: bool


@dataclass(frozen=True, slots=True)
class _Question:
    """A question that the zone has to answer. The name is in lower case; the question ends at `end` of the query."""

    end: int
    name: bytes
    rdtype: int
    edns: _Edns | None


class Responder:
    """Answers the queries for one zone."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._rendered = zone.rendered

    def respond(self, query: bytes, *, datagram: bool) -> bytes | None:
        """The answer, if there is to be one. `datagram` is for UDP, where answers have to be small."""
        # The usual query, of a question that was answered before, is one look into a dictionary. That cutting at the
        # first zero octet and lower() on the whole question cannot hit what was not asked for: stored names have labels
        # below 64 octets and no zero octets, and stored types no octet that lower() makes (97 to 122).
        end = query.find(b"\0", HEADER) + 5
        known = self._rendered.get(query[HEADER:end].lower())
        if known is not None and (flags := query[2]) <= _RD:
            counts = query[4:HEADER]
            if counts == _ONE_QUESTION_AND_OPT:
                if (
                    query[end : end + 3] == _OPT_START
                    and (len(query) == end + _OPT_LENGTH or _is_whole_opt(query, end))
                    and not query[end + 6]
                    and end + len(known.records) <= _ALWAYS_FITS
                ):
                    opt = _OUR_OPT_DO if query[end + 7] & _DO else _OUR_OPT
                    return query[:2] + _ANSWER[flags] + known.header_with_opt + query[HEADER:end] + known.records + opt
            elif counts == _ONE_QUESTION and len(query) == end and end + len(known.records) <= _ALWAYS_FITS:
                return query[:2] + _ANSWER[flags] + known.header + query[HEADER:end] + known.records
        asked = self._examine(query)
        if not isinstance(asked, _Question):
            return asked
        answer = self._rendered.get(query[HEADER : asked.end].lower()) or self._zone.answer(asked.name, asked.rdtype)
        return _assemble(query, asked, answer, datagram=datagram)

    def asks_zone(self, query: bytes) -> bool:
        """Whether the answer depends on the zone's content, and so on the device."""
        return isinstance(self._examine(query), _Question)

    def fail(self, query: bytes) -> bytes | None:
        """As respond(), where the zone's content is not to be had: SERVFAIL instead of what the zone would say."""
        asked = self._examine(query)
        if isinstance(asked, _Question):
            return _error(query, SERVFAIL, asked.end, asked.edns)
        return asked

    def _examine(self, query: bytes) -> _Question | bytes | None:
        """The question for the zone; or the answer, where the zone is not needed for it; or None for silence."""
        if len(query) < HEADER or query[2] & _QR:
            return None
        if query[2] & 0x78:  # the opcode
            return _error(query, NOTIMP)
        try:
            name, end = _parse_name(query)
            edns = _parse_records(query, end)
        except _Malformed:
            return _error(query, FORMERR)
        rdtype, rdclass = struct.unpack_from("!HH", query, end - 4)
        if edns is not None and edns.version:
            return _error(query, BADVERS, end, edns)
        if rdclass != IN or rdtype in (AXFR, IXFR) or not self._zone.contains(name):
            return _error(query, REFUSED, end, edns)
        return _Question(end, name, rdtype, edns)


def _parse_name(query: bytes) -> tuple[bytes, int]:
    """The one question's name in lower case, and where the question ends. Raises _Malformed."""
    if query[4:6] != b"\0\1":
        raise _Malformed  # RFC 9619: a query has one question
    at = HEADER
    try:
        while length := query[at]:
            if length > 63:
                raise _Malformed  # a compression pointer has nothing to point to here
            at += 1 + length
    except IndexError:
        raise _Malformed from None
    at += 1
    if at - HEADER > MAX_NAME or at + 4 > len(query):
        raise _Malformed
    return query[HEADER:at].lower(), at + 4


def _parse_records(query: bytes, at: int) -> _Edns | None:
    """What the OPT record says, if there is one; the other records behind the question have only to be whole.

    Raises _Malformed.
    """
    _, answers, authority, additional = _COUNTS.unpack_from(query, 4)
    edns = None
    for number in range(answers + authority + additional):
        start = at
        at = _skip_name(query, at)
        try:
            rdtype, rdclass, ttl, length = _RECORD.unpack_from(query, at)
        except struct.error:
            raise _Malformed from None
        data = at + _RECORD.size
        at = data + length
        if at > len(query):
            raise _Malformed
        if rdtype == OPT:
            if edns is not None or query[start] or number < answers + authority:
                raise _Malformed  # RFC 6891 section 6.1.1: one, in the additional section, at the root
            if not _are_whole_options(query, data, at):
                raise _Malformed
            edns = _Edns(rdclass, ttl >> 16 & 0xFF, bool(ttl & _DO << 8))
    if at != len(query):
        raise _Malformed
    return edns


def _skip_name(query: bytes, at: int) -> int:
    try:
        while length := query[at]:
            if length > 0xBF:
                return at + 2
            if length > 63:
                raise _Malformed
            at += 1 + length
    except IndexError:
        raise _Malformed from None
    return at + 1


def _are_whole_options(query: bytes, at: int, end: int) -> bool:
    """EDNS options are ignored, but have to be whole (RFC 6891 section 6.1.2)."""
    while at + 4 <= end:
        at += 4 + int.from_bytes(query[at + 2 : at + 4])
    return at == end


def _is_whole_opt(query: bytes, at: int) -> bool:
    """Whether the OPT record that begins here, with options, is all that follows."""
    data = at + _OPT_LENGTH
    return len(query) == data + int.from_bytes(query[data - 2 : data]) and _are_whole_options(query, data, len(query))


def _assemble(query: bytes, asked: _Question, answer: Answer, *, datagram: bool) -> bytes:
    edns = asked.edns
    room = MAX_MESSAGE
    if datagram:
        room = MIN_DATAGRAM if edns is None else min(max(edns.size, MIN_DATAGRAM), MAX_DATAGRAM)
    opt = b"" if edns is None else _OUR_OPT_DO if edns.dnssec else _OUR_OPT
    answer, truncated = answer.within(room - asked.end - len(opt))
    flags = _QR | _AA | (_TC if truncated else 0) | query[2] & _RD
    return b"%b%c%b%b%b%b" % (
        query[:2],
        flags,
        answer.header_with_opt if opt else answer.header,
        query[HEADER : asked.end],
        answer.records,
        opt,
    )


def _error(query: bytes, rcode: Rcode, end: int = HEADER, edns: _Edns | None = None) -> bytes:
    """An answer without records. With `end` it repeats the question; without, the query could not be read."""
    opt = b""
    if edns is not None:
        opt = _OPT.pack(0, OPT, MAX_DATAGRAM, rcode >> 4, 0, _DO << 8 if edns.dnssec else 0, 0)
    return b"%b%c%c%b%b%b" % (
        query[:2],
        _QR | query[2] & (0x78 | _RD),
        rcode & 0xF,
        _COUNTS.pack(end > HEADER, 0, 0, bool(opt)),
        query[HEADER:end],
        opt,
    )
