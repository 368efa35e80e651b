# SPDX-License-Identifier: GPL-2.0-or-later
"""Octets of a query in, octets of the answer out (RFC 1035, RFC 6891, RFC 8906). Knows neither sockets nor the device.

Every query that can be read is answered; what is itself an answer, or too short to be a message, never is. The
question is sent back as it came, letter case included.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dns.rcode import BADSIG, BADTIME, BADVERS, FORMERR, NOTAUTH, NOTIMP, REFUSED, SERVFAIL, Rcode
from dns.rcode import to_text as rcode_text
from dns.rdataclass import IN
from dns.rdatatype import AXFR, IXFR, SOA

from wgsd_nm.registry.complaints import Complaints
from wgsd_nm.registry.query import (
    AA,
    DO,
    HEADER,
    MAX_DATAGRAM,
    MAX_LABEL,
    MAX_MESSAGE,
    MAX_NAME,
    MIN_DATAGRAM,
    NO_OPTIONS,
    ONE_QUESTION,
    ONE_QUESTION_AND_OPT,
    OPCODE,
    OPT_LENGTH,
    OPT_RDLENGTH,
    OPT_START,
    QR,
    RD,
    TC,
    Edns,
    Malformed,
    Query,
    build_error,
    is_whole_opt,
    known_serial,
    parse,
)
from wgsd_nm.registry.signing import Keyring, Signature
from wgsd_nm.registry.zone import Answer, Zone

_ANSWER = (bytes((QR | AA,)), bytes((QR | AA | RD,)))
"""The third octet of an answer, by that of a plain query."""
_ALWAYS_FITS = MIN_DATAGRAM - OPT_LENGTH
_IN = IN.to_bytes(2)
_TRANSFERS = frozenset((AXFR, IXFR))
_OPT = Edns(0, 0, dnssec=False).reply()
_OPT_DO = Edns(0, 0, dnssec=True).reply()

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """A query that one zone has to answer. The name is in lower case; the question ends at `end` of the query."""

    query: bytes
    end: int
    name: bytes
    rdtype: int
    edns: Edns | None
    zone: Zone
    signature: Signature | None

    @property
    def is_transfer(self) -> bool:
        """Whether it is the whole zone that is asked for (RFC 5936, RFC 1995)."""
        return self.rdtype in _TRANSFERS


class Responder:
    """Answers the queries for some zones."""

    def __init__(self, zones: Sequence[Zone], keys: Keyring | None = None) -> None:
        self._zones = {zone.apex: zone for zone in zones}
        self._lengths = frozenset(map(len, self._zones))
        self._services = {
            zone.service: zone
            for zone in zones
            if not any(other is not zone and other.apex.endswith(zone.service) for other in zones)
        }
        self._keys = Keyring() if keys is None else keys
        self._complain = Complaints(_log)

    def quick(self, query: bytes, zones: Collection[Zone]) -> bytes | None:
        """The answer to a plain datagram, which is what nearly all are, if one of these zones, which are fresh, has it.

        None says nothing: examine() does.
        """
        # The usual question was answered before and is one look into a dictionary. That cutting at the first zero octet
        # and lower() on the whole question cannot hit what was not asked for: stored names have labels below 64 octets
        # and no zero octets, and stored types no octet that lower() makes (97 to 122).
        end = query.find(b"\0", HEADER) + 5
        asked = query[HEADER:end]
        question = asked.lower()
        for zone in zones:
            known = zone.rendered.get(question)
            if known is not None:
                break
        else:
            known = self._answer_plain(query, end, question[:-4], zones)
            if known is None:
                return None
        flags = query[2]
        if flags > RD or end + len(known.records) > _ALWAYS_FITS:
            return None
        counts = query[4:HEADER]
        if counts == ONE_QUESTION_AND_OPT:
            if (
                query[end : end + 3] == OPT_START
                and (query[end + OPT_RDLENGTH :] == NO_OPTIONS or is_whole_opt(query, end))
                and not query[end + 6]
            ):
                opt = _OPT_DO if query[end + 7] & DO else _OPT
                return b"".join((query[:2], _ANSWER[flags], known.header_with_opt, asked, known.records, opt))
        elif counts == ONE_QUESTION and len(query) == end:
            return b"".join((query[:2], _ANSWER[flags], known.header, asked, known.records))
        return None

    def _answer_plain(self, query: bytes, end: int, name: bytes, zones: Collection[Zone]) -> Answer | None:
        """What one of these zones says of a question that ends at `end`, if it is a question, and about records."""
        if len(name) > MAX_NAME or query[end - 2 : end] != _IN:
            return None
        zone = self.zone_of(name)
        rdtype = int.from_bytes(query[end - 4 : end - 2])
        if zone is None or zone not in zones or rdtype in _TRANSFERS:
            return None
        return zone.answer(name, rdtype)

    def examine(self, query: bytes, source: str = "somebody") -> Question | bytes | None:
        """The question for a zone; or the answer, where no zone is needed for it; or None for silence.

        `source` is who asks, for the log.
        """
        if len(query) < HEADER or query[2] & QR:
            return None
        try:
            asked = parse(query)
            signature = None if asked.tsig is None else self._keys.verify(query, asked)
            zone = self.zone_of(asked.name)
            rcode = _error_of(query, asked, zone) if signature is None or not signature.error else NOTAUTH
        except Malformed:
            return build_error(query, NOTIMP if query[2] & OPCODE else FORMERR)
        if rcode is None and zone is not None:
            return Question(query, asked.end, asked.name, asked.rdtype, asked.edns, zone, signature)
        if signature is not None and signature.error:
            self._complain(_mistrust(signature, source))
        return self._sign(build_error(query, REFUSED if rcode is None else rcode, asked), signature)

    def answer(self, question: Question, *, datagram: bool) -> bytes:
        """What the zone, which is fresh, says. `datagram` is for UDP, where answers have to be small.

        A transfer over UDP is not begun: for IXFR the SOA says that TCP is to be used (RFC 1995 section 2), AXFR is not
        implemented there (RFC 5936 section 4.2). Over TCP it is not this method's business.
        """
        rdtype = question.rdtype
        if question.is_transfer:
            if rdtype == AXFR or not datagram:
                return self.fail(question, NOTIMP)
            rdtype = SOA
        query, end, edns, zone = question.query, question.end, question.edns, question.zone
        known = zone.rendered.get(query[HEADER:end].lower()) or zone.answer(question.name, rdtype)
        opt = b"" if edns is None else edns.reply(datagram=datagram)
        room = MAX_MESSAGE
        if datagram:
            room = MIN_DATAGRAM if edns is None else min(max(edns.size, MIN_DATAGRAM), MAX_DATAGRAM)
        if question.signature is not None:
            room -= question.signature.length
        known, truncated = known.within(room - end - len(opt))
        answer = b"%b%c%b%b%b%b" % (
            query[:2],
            QR | AA | (TC if truncated else 0) | query[2] & RD,
            known.header_with_opt if opt else known.header,
            query[HEADER:end],
            known.records,
            opt,
        )
        return self._sign(answer, question.signature)

    def fail(self, question: Question, rcode: Rcode = SERVFAIL) -> bytes:
        """An answer without records: the content is not to be had (SERVFAIL), or not for this client (REFUSED)."""
        asked = Query(question.end, question.name, question.rdtype, IN, question.edns, None)
        return self._sign(build_error(question.query, rcode, asked), question.signature)

    def refuse(self, query: bytes) -> bytes | None:
        """The answer to somebody who may ask nothing; None for silence. Keys are not looked at."""
        if len(query) < HEADER or query[2] & QR:
            return None
        try:
            return build_error(query, REFUSED, parse(query))
        except Malformed:
            return build_error(query, FORMERR)

    def zone_of(self, name: bytes) -> Zone | None:
        """The zone with the longest name that contains this one, in lower case; None also where this is no name."""
        if name and name[0] <= MAX_LABEL and (zone := self._services.get(name[1 + name[0] :])) is not None:
            return zone  # the name of a peer, as most are
        at, end = 0, len(name)
        while at < end:
            if end - at in self._lengths and (zone := self._zones.get(name[at:])) is not None:
                return zone
            if name[at] > MAX_LABEL:
                return None
            at += 1 + name[at]
        return None

    def _sign(self, answer: bytes, signature: Signature | None) -> bytes:
        return answer if signature is None else self._keys.sign(answer, signature)


def _error_of(query: bytes, asked: Query, zone: Zone | None) -> Rcode | None:
    """Why no zone can answer, None where one can. Raises Malformed."""
    if asked.edns is not None and asked.edns.version:
        return BADVERS
    if query[2] & OPCODE:
        return NOTIMP
    if asked.rdclass != IN or zone is None:
        return REFUSED
    # The other types that no record has (RFC 6895 section 3.1) are just not there, as with NSD and Knot.
    if asked.rdtype not in _TRANSFERS:
        return None
    if asked.name != zone.apex:
        return NOTAUTH  # RFC 5936 section 2.2.1
    return FORMERR if asked.rdtype == IXFR and known_serial(query, asked.end) is None else None


def _mistrust(signature: Signature, source: str) -> str:
    what = f"{source} signs queries with the key {signature.name.to_text(omit_final_dot=True)}"
    if signature.error == BADSIG:
        return f"{what}, but with another secret: give both sides the same"
    if signature.error == BADTIME:
        return f"{what}, but its clock and ours differ too much: set both"
    error = rcode_text(signature.error, tsig=True)
    return f"{what}, which is not accepted ({error}): expected a key of the configuration, and its algorithm"
