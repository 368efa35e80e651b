# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets that a hostile client may send to a DNS server: sound queries of every kind, and what chance makes of them.

It knows the shapes of RFC 1035, RFC 6891 and RFC 8945, and nothing of who reads them. The same seed makes the same
packets.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.fuzz.damage import Damage

IN, ANY_CLASS = 1, 255
SOA, OPT, TSIG = 6, 41, 250
TYPES = (1, 2, 5, SOA, 12, 16, 28, 33, 43, 46, 48, 64, 65, 99, 249, TSIG, 251, 252, 253, 254, 255, 257, 65535)
MAX_LABEL, MAX_NAME = 63, 255
MAX_PACKET = 4096


@dataclass(frozen=True, slots=True)
class Packet:
    """Octets to send. A sound one is a query that a server has to understand, though it may refuse it."""

    octets: bytes
    sound: bool


class Packets:
    """An endless stream of packets, with identifiers that count up."""

    def __init__(self, seed: int, names: Sequence[bytes]) -> None:
        """`names` are such as the server knows, as on the wire."""
        self._chance = random.Random(seed)
        self._names = tuple(names)
        self._damage = Damage(self._chance)

    def __iter__(self) -> Iterator[Packet]:
        number = 0
        while True:
            number = (number + 1) & 0xFFFF
            yield self._packet(number.to_bytes(2))

    def _packet(self, identifier: bytes) -> Packet:
        chance = self._chance
        octets = self._query()
        if chance.random() < 0.4:
            return Packet(identifier + octets[2:], sound=True)
        octets = self._damage(octets)
        return Packet((identifier + octets[2:])[: min(len(octets), MAX_PACKET)], sound=False)

    def _query(self) -> bytes:
        chance = self._chance
        flags = chance.choice((0x0000, 0x0100, 0x0120, 0x0110))  # RD, AD, CD
        question = self._name() + struct.pack("!HH", self._type(), self._class())
        authority, additional = [], []
        if question[-4:-2] == b"\0\xfb":  # IXFR tells the serial that the client has (RFC 1995 section 3)
            authority.append(self._soa())
        if chance.random() < 0.6:
            additional.append(self._opt())
        if chance.random() < 0.1:
            additional.append(self._tsig())
        header = struct.pack("!HHHHHH", 0, flags, 1, 0, len(authority), len(additional))
        return header + question + b"".join(authority) + b"".join(additional)

    def _name(self) -> bytes:
        chance = self._chance
        match chance.randrange(8):
            case 0:
                return self._labels(b"\0")
            case 1:
                return self._labels(chance.choice(self._names))
            case 2:
                return b"\0"
        known = chance.choice(self._names)
        return bytes(octet ^ 0x20 if 97 <= octet <= 122 and chance.random() < 0.5 else octet for octet in known)

    def _labels(self, parent: bytes) -> bytes:
        chance = self._chance
        name = parent
        for _ in range(chance.choice((1, 1, 2, 3, 20, 127))):
            length = chance.choice((1, 3, 52, 56, MAX_LABEL, chance.randint(1, MAX_LABEL)))
            if len(name) + 1 + length > MAX_NAME:
                break
            name = bytes((length,)) + chance.randbytes(length) + name
        return name

    def _type(self) -> int:
        return self._chance.choice(TYPES) if self._chance.random() < 0.9 else self._chance.randrange(0x10000)

    def _class(self) -> int:
        return IN if self._chance.random() < 0.9 else self._chance.choice((0, 3, 4, 254, ANY_CLASS, 65535))

    def _soa(self) -> bytes:
        times = struct.pack("!IIIII", self._chance.getrandbits(32), 1, 1, 1, 1)
        return self._record(self._chance.choice(self._names), SOA, IN, 0, b"\0\0" + times)

    def _opt(self) -> bytes:
        chance = self._chance
        options = b""
        for _ in range(chance.choice((0, 0, 1, 2, 9))):
            data = chance.randbytes(chance.choice((0, 2, 8, 24, 200)))
            if data and chance.random() < 0.2:
                data = b""
            code = chance.choice((0, 3, 12, 65001))
            options += struct.pack("!HH", code, len(data)) + data
        version = 0 if chance.random() < 0.9 else chance.randrange(256)
        ttl = chance.getrandbits(8) << 24 | version << 16 | chance.choice((0, 0x8000, 0x7FFF))
        size = chance.choice((0, 511, 512, 1232, 4096, 65535))
        return self._record(b"\0", OPT, size, ttl, options)

    def _tsig(self) -> bytes:
        chance = self._chance
        mac = chance.randbytes(32)
        time = chance.getrandbits(48).to_bytes(6)
        data = b"\x0bhmac-sha256\0" + time + struct.pack("!HH", 300, len(mac)) + mac + struct.pack("!HHH", 0, 0, 0)
        return self._record(chance.choice(self._names), TSIG, ANY_CLASS, 0, data)

    @staticmethod
    def _record(owner: bytes, rdtype: int, rdclass: int, ttl: int, data: bytes) -> bytes:
        return owner + struct.pack("!HHIH", rdtype, rdclass, ttl, len(data)) + data
