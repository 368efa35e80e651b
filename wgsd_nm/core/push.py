# SPDX-License-Identifier: GPL-2.0-or-later
"""DNS Push Notifications (RFC 8765) as octets: subscriptions and changes of records. It knows no sessions.

Names are as on the wire, uncompressed. In PUSH messages they are compressed as RFC 6762 section 18.14 has it, inside of
records too; in the other messages they never are. Classes are numbers; here all records are of class IN.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Self

from wgsd_nm.core import dnsname, dso
from wgsd_nm.core.dso import PRIMARY, ProtocolError, Tlv
from wgsd_nm.core.errors import InvalidValue

SERVICE: Final = "_wgsd-push._tcp"
"""Where a zone names its push service (SRV). RFC 8765's own `_dns-push-tls._tcp` promises TLS."""
SUBSCRIBE: Final = 0x40
PUSH: Final = 0x41
UNSUBSCRIBE: Final = 0x42
RECONFIRM: Final = 0x43
"""DSO-TYPEs (RFC 8765 section 6)."""
IN: Final = 1
ANY: Final = 255
"""Of types and classes: all (RFC 8765 section 6.2.1)."""
MAX_PUSH: Final = 16_382
"""Octets of a PUSH message (RFC 8765 section 6.3.1)."""
REMOVE: Final = 0xFFFF_FFFF
REMOVE_ALL: Final = 0xFFFF_FFFE
"""In place of a TTL (RFC 8765 section 6.3.1)."""
MAX_TTL: Final = 0x7FFF_FFFF
DELAYS: Final = {dso.SERVFAIL: 60.0, dso.NOTIMP: 3600.0, dso.DSOTYPENI: 3600.0}
DELAY: Final = 300.0
"""Seconds after which a refused subscription may be tried again, by RCODE, and for all others (section 6.2.2)."""

_QUESTION: Final = struct.Struct("!HH")
_RECORD: Final = struct.Struct("!HHIH")
_NAMES: Final = {
    2: (0, 1),  # NS
    5: (0, 1),  # CNAME
    6: (0, 2),  # SOA
    12: (0, 1),  # PTR
    15: (2, 1),  # MX
    17: (0, 2),  # RP
    18: (2, 1),  # AFSDB
    21: (2, 1),  # RT
    26: (2, 2),  # PX
    33: (6, 1),  # SRV
    36: (2, 1),  # KX
    39: (0, 1),  # DNAME
    47: (0, 1),  # NSEC
}
"""Of types whose data have names that are compressed (RFC 6762 section 18.14): octets before, and how many names."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The wish to be told of records of a name, now and whenever they change (section 6.2)."""

    name: bytes
    rdtype: int
    rdclass: int = IN

    def tlv(self) -> Tlv:
        """As a TLV."""
        return Tlv(SUBSCRIBE, self.name + _QUESTION.pack(self.rdtype, self.rdclass))

    @classmethod
    def read(cls, tlv: Tlv) -> Self:
        """From a TLV of this type, letter case kept. Raises ProtocolError, which answers a request with FORMERR."""
        name, rdtype, rdclass, rest = _question(tlv, dso.FORMERR)
        if rest:
            raise ProtocolError(f"{len(rest)} octets follow the name, type and class to subscribe to", dso.FORMERR)
        return cls(name, rdtype, rdclass)


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """The end of the subscription that was made by the request of this id (section 6.4)."""

    identifier: int

    def tlv(self) -> Tlv:
        """As a TLV."""
        return Tlv(UNSUBSCRIBE, self.identifier.to_bytes(2))

    @classmethod
    def read(cls, tlv: Tlv) -> Self:
        """From a TLV of this type. Raises ProtocolError."""
        if len(tlv.data) != 2:
            raise ProtocolError(f"an UNSUBSCRIBE TLV has {len(tlv.data)} octets: expected the 2 of a message id")
        return cls(int.from_bytes(tlv.data))


@dataclass(frozen=True, slots=True)
class Reconfirm:
    """The doubt that a record is still true (section 6.5)."""

    name: bytes
    rdtype: int
    rdclass: int
    rdata: bytes

    def tlv(self) -> Tlv:
        """As a TLV."""
        return Tlv(RECONFIRM, self.name + _QUESTION.pack(self.rdtype, self.rdclass) + self.rdata)

    @classmethod
    def read(cls, tlv: Tlv) -> Self:
        """From a TLV of this type. Raises ProtocolError."""
        name, rdtype, rdclass, rdata = _question(tlv)
        if ANY in (rdtype, rdclass):
            raise ProtocolError("a RECONFIRM TLV names all types or classes: expected those of one record")
        return cls(name, rdtype, rdclass, rdata)


@dataclass(frozen=True, slots=True)
class Add:
    """A record is there now, or has another TTL. `rdata` is uncompressed."""

    name: bytes
    rdtype: int
    rdclass: int
    ttl: int
    rdata: bytes


@dataclass(frozen=True, slots=True)
class Remove:
    """One record has gone."""

    name: bytes
    rdtype: int
    rdclass: int
    rdata: bytes


@dataclass(frozen=True, slots=True)
class RemoveAll:
    """All records of a name have gone: of this type and class, or of all types (ANY), or (0, ANY) of all classes."""

    name: bytes
    rdtype: int
    rdclass: int


Change = Add | Remove | RemoveAll


def parse_push(octets: bytes) -> tuple[Change, ...]:
    """The changes in a message that `dso.parse` has read, and whose primary TLV is PUSH. Raises ProtocolError.

    One whose TTL means nothing is left out (section 6.3.1).
    """
    if len(octets) > MAX_PUSH:
        raise ProtocolError(f"a PUSH message has {len(octets)} octets: expected {MAX_PUSH} at the most")
    at, end = PRIMARY, PRIMARY + int.from_bytes(octets[PRIMARY - 2 : PRIMARY])
    if at == end:
        raise ProtocolError("a PUSH message has no change: expected at least one")
    changes: list[Change] = []
    try:
        while at < end:
            name, at = dnsname.read(octets, at, end)
            if at + _RECORD.size > end:
                raise InvalidValue("a change is cut off: expected type, class, TTL and length")
            rdtype, rdclass, ttl, length = _RECORD.unpack_from(octets, at)
            start, at = at + _RECORD.size, at + _RECORD.size + length
            if at > end:
                raise InvalidValue(f"a change is cut off: expected {length} octets of data, not {end - start}")
            if ttl == REMOVE_ALL:
                if length:
                    raise InvalidValue(f"all records are removed with {length} octets of data: expected none")
                changes.append(RemoveAll(name, 0 if rdclass == ANY else rdtype, rdclass))
            elif ttl == REMOVE:
                changes.append(Remove(name, rdtype, rdclass, _expanded(octets, rdtype, start, at)))
            elif ttl <= MAX_TTL:
                changes.append(Add(name, rdtype, rdclass, ttl, _expanded(octets, rdtype, start, at)))
    except ProtocolError:
        raise
    except InvalidValue as error:
        raise ProtocolError(f"a PUSH message is malformed: {error}") from None
    return tuple(changes)


def encode_pushes(changes: Iterable[Change]) -> list[bytes]:
    """As few PUSH messages as these changes need, in order. Raises InvalidValue where one alone does not fit.

    The changes of a name that follow each other stay in one message if they fit, so that nobody sees half of them.
    """
    messages: list[bytes] = []
    current = _Body()
    for _, group in groupby(changes, key=lambda change: change.name):
        together = tuple(group)
        if current.take(together):
            continue
        messages += current.message()
        current = _Body()
        if current.take(together):
            continue
        current = _Body()
        for change in together:
            if current.take((change,)):
                continue
            messages += current.message()
            current = _Body()
            if not current.take((change,)):
                raise InvalidValue(f"a record is too long for a PUSH message of {MAX_PUSH} octets")
    return [*messages, *current.message()]


def fits(name: bytes, rdata: bytes) -> bool:
    """Whether a record can be pushed at all."""
    return PRIMARY + len(name) + _RECORD.size + len(rdata) <= MAX_PUSH


class _Body:
    """The changes of one message, compressed."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._at = PRIMARY
        self._names = dnsname.Compressor()

    def take(self, changes: Sequence[Change]) -> bool:
        """Append them all if they fit. A body that did not take something can be sent, but takes no more."""
        at, parts = self._at, []
        for change in changes:
            part = self._encoded(change, at)
            parts.append(part)
            at += len(part)
            if at > MAX_PUSH:
                return False
        self._at = at
        self._parts += parts
        return True

    def message(self) -> Iterator[bytes]:
        """The whole message, none if there is no change."""
        if self._parts:
            yield dso.unidirectional(Tlv(PUSH, b"".join(self._parts))).encode()

    def _encoded(self, change: Change, at: int) -> bytes:
        name = self._names.write(change.name, at)
        if isinstance(change, RemoveAll):
            return name + _RECORD.pack(change.rdtype, change.rdclass, REMOVE_ALL, 0)
        ttl = change.ttl if isinstance(change, Add) else REMOVE
        data = self._compressed(change.rdtype, change.rdata, at + len(name) + _RECORD.size)
        return name + _RECORD.pack(change.rdtype, change.rdclass, ttl, len(data)) + data

    def _compressed(self, rdtype: int, rdata: bytes, at: int) -> bytes:
        """A record's data for this place of the message. Raises InvalidValue where they are not of this type."""
        if rdtype not in _NAMES or not rdata:
            return rdata
        read, count = _NAMES[rdtype]
        data = rdata[:read]
        for _ in range(count):
            end = dnsname.plain_end(rdata, read)
            data += self._names.write(rdata[read:end], at + len(data))
            read = end
        return data + rdata[read:]


def _expanded(octets: bytes, rdtype: int, at: int, end: int) -> bytes:
    """A record's data without compression. Raises InvalidValue."""
    if rdtype not in _NAMES or at == end:
        return octets[at:end]
    before, count = _NAMES[rdtype]
    parts = [octets[at : at + before]]
    at += before
    for _ in range(count):
        name, at = dnsname.read(octets, at, end)
        parts.append(name)
    return b"".join((*parts, octets[at:end]))


def _question(tlv: Tlv, rcode: int | None = None) -> tuple[bytes, int, int, bytes]:
    """Name, type and class at the begin of a TLV, and what follows. Raises ProtocolError."""
    try:
        end = dnsname.plain_end(tlv.data, 0)
        rdtype, rdclass = _QUESTION.unpack_from(tlv.data, end)
    except InvalidValue as error:
        raise ProtocolError(f"a TLV of type {tlv.type:#04x} has no name: {error}", rcode) from None
    except struct.error:
        raise ProtocolError(f"a TLV of type {tlv.type:#04x} is cut off: expected type and class", rcode) from None
    return tlv.data[:end], rdtype, rdclass, tlv.data[end + _QUESTION.size :]
