# SPDX-License-Identifier: GPL-2.0-or-later
"""One query to a name server, octet by octet, and what came back as text. Knows nothing of what is expected.

An answer is told as its parts with ` | ` between them: the code and the flags that are set, the question where it is
not that of the query, each record with its section (`an`, `au`, `ad`), the OPT record. TTLs are told, classes other
than IN too; names are relative to the zone that is asked, if that is in lower case there.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from wgsd_nm.core.dnssd import wire

SILENCE = "silence"
DEFAULT_ZONE = "wg.example.com"
GRACE = 1.0
"""Seconds that an answer may come after that to a later query."""
LIMIT = 30.0
"""Seconds for a server that is alive; the guest is slow."""
OPT_START = b"\0\0\x29"


@dataclass(frozen=True, slots=True)
class Query:
    """A question; `name` is below `zone` unless it ends with a dot. Raw octets behind the ID go before all else."""

    name: str = ""
    rdtype: str = "SRV"
    zone: str = DEFAULT_ZONE
    rdclass: str = "IN"
    flags: int = 0
    opcode: int = 0
    edns: int | None = None
    """Octets that the OPT record offers, None for no OPT record."""
    version: int = 0
    dnssec: bool = False
    options: bytes = b""
    tcp: bool = False
    raw: bytes | None = None

    def __str__(self) -> str:
        """In a line: how it goes, the name, type and class, and what else is unusual."""
        if self.raw is not None:
            return f"octets {self.raw.hex()}"
        words = [
            "tcp" if self.tcp else "udp",
            self.name or "@",
            self.rdtype,
            *([self.rdclass] * (self.rdclass != "IN")),
        ]
        words += [f"in {self.zone}"] * (self.zone != DEFAULT_ZONE)
        words += [f"{name} {value:x}" for name in ("flags", "opcode", "version") if (value := getattr(self, name))]
        words += [f"edns {self.edns}"] * (self.edns is not None) + ["do"] * self.dnssec
        return " ".join(words + [f"options {self.options.hex()}"] * bool(self.options))

    def octets(self, number: int, labels: Mapping[str, str]) -> bytes:
        """The message with this ID. `<nick>` in the name stands for a label."""
        if self.raw is not None:
            return struct.pack("!H", number) + self.raw
        head = struct.pack("!HHHHHH", number, self.flags | self.opcode << 11, 1, 0, 0, self.edns is not None)
        rdclass, rdtype = dns.rdataclass.from_text(self.rdclass), dns.rdatatype.from_text(self.rdtype)
        question = self.wire_name(labels) + struct.pack("!HH", rdtype, rdclass)
        return head + question + self._opt()

    def wire_name(self, labels: Mapping[str, str]) -> bytes:
        """The name with the letters as they are written; the zone in lower case unless it is in the name."""
        text = re.sub(r"<(\w+)>", lambda nick: labels[nick[1]], self.name)
        origin = dns.name.from_text(self.zone.lower())
        name = dns.name.from_text(text, origin) if text else origin
        return wire(name)

    def _opt(self) -> bytes:
        if self.edns is None:
            return b""
        flags = 0x8000 if self.dnssec else 0
        return struct.pack("!BHHBBHH", 0, 41, self.edns, 0, self.version, flags, len(self.options)) + self.options


@dataclass(frozen=True, slots=True)
class Server:
    """Where to ask, and a query that it surely answers: when that is answered, it will not answer an earlier one."""

    address: tuple[str, int]
    marker: bytes

    def ask(self, octets: bytes, *, tcp: bool) -> bytes | None:
        """The answer, None for silence. Raises AssertionError if the server is dead."""
        with socket.create_connection(self.address, LIMIT) if tcp else _datagrams(self.address) as connection:
            return _answer(connection, octets, self.marker, tcp=tcp)


def _datagrams(address: tuple[str, int]) -> socket.socket:
    connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    connection.connect(address)
    return connection


def _answer(connection: socket.socket, octets: bytes, marker: bytes, *, tcp: bool) -> bytes | None:
    for message in (octets, marker):
        connection.sendall(_framed(message) if tcp else message)
    connection.settimeout(LIMIT)
    is_alive = False
    for answer in _messages(connection, tcp=tcp):
        if answer[:2] == octets[:2]:
            return answer
        is_alive = True
        connection.settimeout(GRACE)
    assert is_alive, f"no answer at all within {LIMIT} s"
    return None


def _framed(message: bytes) -> bytes:
    return struct.pack("!H", len(message)) + message


def _messages(connection: socket.socket, *, tcp: bool) -> Iterator[bytes]:
    """All that comes until the time is over or the connection closed."""
    received = b""
    try:
        while data := connection.recv(0xFFFF):
            if not tcp:
                yield data
                continue
            received += data
            while len(received) >= 2 and len(received) >= 2 + (length := int.from_bytes(received[:2])):
                yield received[2 : 2 + length]
                received = received[2 + length :]
    except TimeoutError:
        return


def told(query: Query, asked: bytes, answer: bytes | None, names: Mapping[str, str]) -> str:
    """The answer as text; what `names` has as keys is told by what stands for it."""
    if answer is None:
        return SILENCE
    message = dns.message.from_wire(answer, one_rr_per_rrset=True)
    parts = [_head(message), *_question(asked, answer, message)]
    for section, records in (("an", message.answer), ("au", message.authority), ("ad", message.additional)):
        for rrset in records:
            rdclass = "" if rrset.rdclass == dns.rdataclass.IN else f" {dns.rdataclass.to_text(rrset.rdclass)}"
            rdtype = dns.rdatatype.to_text(rrset.rdtype)
            parts.append(f"{section} {rrset.name} {rrset.ttl}{rdclass} {rdtype} {rrset[0].to_text()}")
    parts += _opt(answer, message)
    text = " | ".join(parts)
    zone = query.zone.lower()
    for long, short in {f".{zone}.": "", f" {zone}.": " @", **names}.items():
        text = text.replace(long, short)
    return text


def _head(message: dns.message.Message) -> str:
    flags = dns.flags.to_text(message.flags).split()
    assert "QR" in flags
    opcode = message.opcode()
    words = [dns.rcode.to_text(message.rcode()), *(word.lower() for word in flags if word != "QR")]
    return " ".join([*words, *([] if opcode == dns.opcode.QUERY else [dns.opcode.to_text(opcode).lower()])])


def _question(asked: bytes, answer: bytes, message: dns.message.Message) -> list[str]:
    """Nothing if the question is that of the query, octet for octet."""
    count = answer[4:6]
    if count == b"\0\0":
        return ["no question"]
    length = len(wire(message.question[0].name)) + 4
    return [] if asked[4:6] == count and asked[12 : 12 + length] == answer[12 : 12 + length] else ["another question"]


def _opt(answer: bytes, message: dns.message.Message) -> list[str]:
    """The OPT record: the size it offers, DNSSEC, options in hexadecimal digits."""
    if message.opt is None:
        return []
    options = b"".join(
        struct.pack("!HH", option.otype, len(data := option.to_wire())) + data for option in message.options
    )
    is_last = answer[-11 - len(options) :].startswith(OPT_START)
    words = ["opt", str(message.payload), *(["do"] if message.ednsflags & dns.flags.DO else [])]
    return [" ".join([*words, *([f"options {options.hex()}"] if options else []), *([] if is_last else ["not last"])])]
