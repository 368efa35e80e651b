# SPDX-License-Identifier: GPL-2.0-or-later
"""DNS Stateful Operations (RFC 8490) as octets: messages, and the TLVs that every session has. It knows no sessions.

A message is a DNS header with opcode 6 and four counts of zero, and TLVs behind it. In a request or a unidirectional
message the first of them, the primary one, says what it is about. `core.push` has the TLVs of RFC 8765.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import inf
from typing import Final, Self

from wgsd_nm.core.dnsname import HEADER
from wgsd_nm.core.errors import InvalidValue

OPCODE: Final = 6
KEEPALIVE: Final = 1
RETRY_DELAY: Final = 2
PADDING: Final = 3
"""DSO-TYPEs (section 7)."""
NOERROR, FORMERR, SERVFAIL, NOTIMP, REFUSED, NOTAUTH, DSOTYPENI = 0, 1, 2, 4, 5, 9, 11
"""RCODEs (section 5.4.1; RFC 8765 section 6.2.2)."""
INFINITE: Final = 0xFFFF_FFFF
"""As a timeout: none."""
LEAST_INTERVAL: Final = 10_000
"""Milliseconds; a keepalive interval below is a fatal error (section 6.5.2)."""
DEFAULT_TIMEOUT: Final = 15_000
"""Milliseconds of both timeouts where no Keepalive was exchanged (section 6.2)."""
MAX_MESSAGE: Final = 0xFFFF
"""Octets, over TCP (RFC 1035 section 4.2.2)."""
TLV_HEADER: Final = 4
PRIMARY: Final = HEADER + TLV_HEADER
"""Where the data of a message's first TLV begin."""

_HEADER: Final = struct.Struct("!HBBHHHH")
_TLV: Final = struct.Struct("!HH")
_RESPONSE: Final = 0x80
_OPCODE_BITS: Final = 0x78
_MAX_32: Final = 0xFFFF_FFFF


class ProtocolError(InvalidValue):
    """What the other side sent breaks the protocol.

    `rcode` is what its request is to be answered with; None: this is fatal, the connection has to be aborted (a TCP
    reset, section 5.3).
    """

    def __init__(self, text: str, rcode: int | None = None) -> None:
        super().__init__(text)
        self.rcode = rcode


@dataclass(frozen=True, slots=True)
class Tlv:
    """A type and its data, which only those who know the type understand (section 5.4.4)."""

    type: int
    data: bytes = b""

    def __post_init__(self) -> None:
        if not 0 <= self.type <= 0xFFFF or len(self.data) > 0xFFFF:
            raise InvalidValue(f"a TLV has a type and a length of 16 bits, not {self.type} and {len(self.data)}")

    def encode(self) -> bytes:
        """As octets."""
        return _TLV.pack(self.type, len(self.data)) + self.data


@dataclass(frozen=True, slots=True)
class Message:
    """A request (`identifier` is not 0), a response to one (it is the request's), or a unidirectional message (0)."""

    identifier: int
    is_response: bool
    rcode: int
    tlvs: tuple[Tlv, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.identifier <= 0xFFFF or not 0 <= self.rcode <= 0xF:
            raise InvalidValue(f"a DSO message has 16 bits of id and 4 of RCODE, not {self.identifier}, {self.rcode}")
        if self.is_response and not self.identifier:
            raise InvalidValue("a DSO response repeats the id of its request, which is not 0")
        if not self.is_response and not self.tlvs:
            raise InvalidValue("a DSO message that is no response has at least one TLV")

    @property
    def primary(self) -> Tlv:
        """What a request or a unidirectional message is about."""
        return self.tlvs[0]

    def find(self, dso_type: int) -> Tlv | None:
        """The first TLV of this type."""
        return next((tlv for tlv in self.tlvs if tlv.type == dso_type), None)

    def encode(self) -> bytes:
        """As octets, without the length that goes before it over TCP. Raises InvalidValue where it is too long."""
        flags = _RESPONSE * self.is_response | OPCODE << 3
        octets = _HEADER.pack(self.identifier, flags, self.rcode, 0, 0, 0, 0) + b"".join(
            tlv.encode() for tlv in self.tlvs
        )
        if len(octets) > MAX_MESSAGE:
            raise InvalidValue(f"a DSO message of {len(octets)} octets is too long: {MAX_MESSAGE} at the most")
        return octets


def request(identifier: int, *tlvs: Tlv) -> Message:
    """A message that will be answered."""
    if not identifier:
        raise InvalidValue("a DSO request has an id that is not 0")
    return Message(identifier, False, NOERROR, tlvs)


def response(identifier: int, rcode: int, *tlvs: Tlv) -> Message:
    """The answer to a request."""
    return Message(identifier, True, rcode, tlvs)


def unidirectional(*tlvs: Tlv, rcode: int = NOERROR) -> Message:
    """A message that is never answered."""
    return Message(0, False, rcode, tlvs)


def is_dso(octets: bytes) -> bool:
    """Whether a DNS message is one of these."""
    return len(octets) >= HEADER and octets[2] & _OPCODE_BITS == OPCODE << 3


def is_request(octets: bytes) -> bool:
    """Whether a DNS message is one of these that has to be answered."""
    return is_dso(octets) and not octets[2] & _RESPONSE and identifier_of(octets) != 0


def identifier_of(octets: bytes) -> int:
    """The id of a message that has a whole header."""
    return int.from_bytes(octets[:2])


def parse(octets: bytes) -> Message:
    """A message from its octets. Raises ProtocolError. The Z bits are ignored (section 5.4.1)."""
    if not is_dso(octets):
        raise ProtocolError(f"expected a DSO message: a header of {HEADER} octets with opcode {OPCODE}")
    identifier, flags, lower, *counts = _HEADER.unpack_from(octets)
    is_response = bool(flags & _RESPONSE)
    if is_response and not identifier:
        raise ProtocolError("a DSO response has the id 0: expected that of a request")
    answerable = FORMERR if identifier and not is_response else None
    if any(counts):
        raise ProtocolError("a DSO message counts records in its header: expected four zeros", answerable)
    tlvs = tuple(_tlvs(octets))
    if not tlvs and not is_response:
        raise ProtocolError("a DSO message has no TLV: expected a primary one", answerable)
    return Message(identifier, is_response, lower & 0xF, tlvs)


def _tlvs(octets: bytes) -> list[Tlv]:
    found, at = [], HEADER
    while at < len(octets):
        data = at + TLV_HEADER
        if data > len(octets):
            raise ProtocolError("a TLV is cut off: expected 2 octets of type and 2 of length")
        dso_type, length = _TLV.unpack_from(octets, at)
        at = data + length
        if at > len(octets):
            raise ProtocolError(f"a TLV is cut off: expected {length} octets of data, not {len(octets) - data}")
        found.append(Tlv(dso_type, octets[data:at]))
    return found


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Both timeouts of a session, in milliseconds, INFINITE for none (section 7.1). A client asks, a server decides."""

    inactivity: int
    interval: int

    def __post_init__(self) -> None:
        if not 0 <= self.inactivity <= _MAX_32 or not 0 <= self.interval <= _MAX_32:
            raise InvalidValue(f"timeouts are milliseconds of 32 bits, not {self.inactivity} and {self.interval}")

    def tlv(self) -> Tlv:
        """As a TLV."""
        return Tlv(KEEPALIVE, struct.pack("!II", self.inactivity, self.interval))

    @classmethod
    def read(cls, tlv: Tlv) -> Self:
        """From a TLV of this type. Raises ProtocolError."""
        if len(tlv.data) != 8:
            raise ProtocolError(f"a Keepalive TLV has {len(tlv.data)} octets: expected two timeouts of 4 octets")
        return cls(*struct.unpack("!II", tlv.data))


@dataclass(frozen=True, slots=True)
class RetryDelay:
    """Milliseconds in which not to try again: a refused operation, or to connect at all (section 7.2)."""

    delay: int

    def __post_init__(self) -> None:
        if not 0 <= self.delay <= _MAX_32:
            raise InvalidValue(f"a delay is milliseconds of 32 bits, not {self.delay}")

    def tlv(self) -> Tlv:
        """As a TLV."""
        return Tlv(RETRY_DELAY, struct.pack("!I", self.delay))

    @classmethod
    def read(cls, tlv: Tlv) -> Self:
        """From a TLV of this type. Raises ProtocolError."""
        if len(tlv.data) != 4:
            raise ProtocolError(f"a Retry Delay TLV has {len(tlv.data)} octets: expected a delay of 4 octets")
        return cls(*struct.unpack("!I", tlv.data))


def padding(length: int = 0) -> Tlv:
    """Octets that mean nothing (section 7.3)."""
    return Tlv(PADDING, bytes(length))


def seconds(milliseconds: int) -> float:
    """A timeout in seconds; INFINITE is infinite."""
    return inf if milliseconds == INFINITE else milliseconds / 1000
