# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers that a hostile server, or somebody who pretends to be one, may send to a question of the agent's resolver.

Sound ones of every kind, lies that can be no answer, records that are for another name, and what chance makes of them.
It knows the shapes of RFC 1035, 2782, 6763 and 7873, and nothing of who reads them.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from itertools import pairwise

from tests.fuzz.damage import Damage
from wgsd_nm.core.model import PublicKey

A, NS, CNAME, SOA, TXT, AAAA, SRV, OPT = 1, 2, 5, 6, 16, 28, 33, 41
IN, CHAOS = 1, 3
HEADER = 12
COOKIE = 10
RESPONSE, TRUNCATED = 0x8400, 0x0200
ITSELF = b"\xc0\x0c"
"""A pointer to the name in the question (RFC 1035 section 4.1.4)."""
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADCOOKIE = 0, 1, 2, 3, 4, 5, 7  # BADCOOKIE's low four bits
OTHER_KEY = PublicKey(b"\x17" * 32)
FORGED = b"\xcb\0\x71\x42"
"""An address that no record for the name asked has."""
FORGED_KEY = b"forged"
"""A TXT key that no record for the name asked has."""
ZONE = b"\x02wg\x07example\x03com\0"
HOSTS = tuple(bytes((len(label),)) + label + ZONE for label in (b"host", b"a", b"other"))
MAX_MESSAGE = 60_000
"""Below what fits a datagram of IPv4."""


class Question:
    """What a query of the resolver's asks, as the octets that an answer repeats."""

    def __init__(self, query: bytes) -> None:
        end = query.index(0, HEADER) + 5
        self.identifier = query[:2]
        self.octets = query[HEADER:end]
        self.name, self.rdtype = self.octets[:-4], int.from_bytes(self.octets[-4:-2])
        self.cookie = query[end + 15 : end + 23]
        """The client's cookie, the first thing in the only option of its EDNS; b"" in plain DNS."""


def record(owner: bytes, rdtype: int, data: bytes, ttl: int = 5, rdclass: int = IN) -> bytes:
    """One resource record (RFC 1035 section 4.1.3)."""
    return owner + struct.pack("!HHIH", rdtype, rdclass, ttl, len(data)) + data


def service(owner: bytes, port: int, target: bytes, priority: int = 0, rdclass: int = IN) -> bytes:
    """An SRV record (RFC 2782)."""
    return record(owner, SRV, struct.pack("!HHH", priority, 0, port) + target, rdclass=rdclass)


def text(owner: bytes, *strings: bytes) -> bytes:
    """A TXT record."""
    return record(owner, TXT, b"".join(bytes((len(string),)) + string for string in strings))


def options(question: Question, server_cookie: bytes = b"") -> list[bytes]:
    """The OPT record of an answer to this question, which repeats the client's cookie; none to plain DNS."""
    if not question.cookie:
        return []
    cookie = question.cookie + server_cookie
    return [b"\0" + struct.pack("!HHIHHH", OPT, 1232, 0, len(cookie) + 4, COOKIE, len(cookie)) + cookie]


def message(
    question: Question,
    answer: list[bytes],
    additional: list[bytes],
    authority: list[bytes] | None = None,
    flags: int = RESPONSE,
) -> bytes:
    """A whole answer."""
    sections = (answer, authority or [], additional)
    counts = struct.pack("!HHHH", 1, *(len(section) for section in sections))
    records = b"".join(b"".join(section) for section in sections)
    return question.identifier + struct.pack("!H", flags) + counts + question.octets + records


def truth(question: Question, key: PublicKey, address: bytes, port: int) -> bytes:
    """What an honest registry answers: the peer's record, or the address of the host asked for."""
    if question.rdtype == SRV:
        own = [record(ITSELF, A, address), text(ITSELF, b"txtvers=1", f"pub={key}".encode(), b"allowed=")]
        return message(question, [service(ITSELF, port, ITSELF)], [*own, *options(question)])
    return message(question, [record(ITSELF, A, address)], options(question))


class Answers:
    """Answers to one resolver's questions for a peer; the same seed gives the same answers to the same questions."""

    def __init__(self, seed: int, key: PublicKey) -> None:
        self._chance = random.Random(seed)
        self._damage = Damage(self._chance)
        self._key = key

    def sound(self, question: Question) -> bytes:
        """A well-formed answer to this question, whatever it may say."""
        kinds: tuple[Callable[[Question], bytes], ...]
        if question.rdtype == SRV:
            kinds = self._usual, self._usual, self._elsewhere, self._bare, self._several, self._alias, self._denial
        else:
            kinds = self._addressed, self._addressed, self._alias, self._denial
        if self._chance.random() < 0.1:
            kinds = self._error, self._truncated
        return self._chance.choice(kinds)(question)

    def lie(self, question: Question) -> bytes:
        """What can be no answer to this question over UDP: another's, malformed, or too large."""
        chance, base = self._chance, self._usual(question) if question.rdtype == SRV else self._addressed(question)
        start = HEADER + len(question.octets)
        asked, behind = question.octets, base[start:]
        lies: tuple[Callable[[], bytes], ...] = (
            lambda: self._identifier(base[:2]) + base[2:],
            lambda: base[:2] + bytes((base[2] & 0x7F,)) + base[3:],
            lambda: base[:2] + bytes((base[2] | chance.choice((0x08, 0x10, 0x20, 0x28, 0x78)),)) + base[3:],
            lambda: base[:HEADER] + self._renamed(asked) + behind,
            lambda: base[: start - 4] + bytes((chance.choice((1, 0x80)), question.rdtype)) + base[start - 2 :],
            lambda: base[: start - 3] + bytes((question.rdtype ^ chance.choice((2, 16, 64)),)) + base[start - 2 :],
            lambda: base[: start - 2] + struct.pack("!H", chance.choice((0, 2, 3, 4, 254, 255))) + behind,
            lambda: base[:4] + b"\0\0" + base[6:HEADER] + behind,
            lambda: base[:4] + b"\0\2" + base[6:start] + asked + behind,
            lambda: base[:4] + b"\0\2" + base[6:],
            lambda: self._with_pointer(question, start + chance.choice((0, 1, 2, 40, 3000))),
            lambda: self._in_a_circle(question),
            lambda: self._with_count(base, chance.choice((6, 8, 10))),
            lambda: self._of_length(question, chance.choice((0, 1, 5, 6, 200, 65535))),
            lambda: base[:2] + bytes((base[2] & 0x7F | TRUNCATED >> 8,)) + base[3:],
            lambda: base[: chance.randrange(start)],
            lambda: base[: chance.randrange(start, len(base))],
            lambda: base + chance.randbytes(chance.choice((1, 3, 40))),
            lambda: self._oversized(base),
            lambda: base[:start] + chance.randbytes(chance.choice((1, 12, 60, 400))),
            lambda: chance.randbytes(chance.choice((0, 1, 2, 11, 12, 40, 500))),
            lambda: question.identifier + bytes((chance.randrange(0x80),)) + chance.randbytes(chance.randrange(60)),
        )
        return chance.choice(lies)()

    def foreign(self, question: Question) -> bytes:
        """An answer to this question with a record that is for another name, or of another class."""
        chance, other = self._chance, self._chance.choice((*HOSTS, self._renamed(question.octets)[:-4]))
        owner, rdclass = chance.choice(((other, IN), (ITSELF, chance.choice((CHAOS, 4, 254, 255)))))
        address = record(ITSELF, A, FORGED)
        if question.rdtype != SRV:
            return message(question, [record(owner, A, FORGED, rdclass=rdclass)], [address])
        if chance.random() < 0.5:
            return message(question, [service(owner, 9, ITSELF, rdclass=rdclass)], [address, *self._opt(question)])
        beside = chance.choice((record(owner, A, FORGED, rdclass=rdclass), text(other, FORGED_KEY + b"=yes")))
        return message(question, [service(ITSELF, 9, ITSELF)], [self._address(ITSELF), beside, *self._opt(question)])

    def damaged(self, question: Question) -> bytes:
        """What damage leaves of a sound answer, or of a lie. It may be sound still, and say something else."""
        octets = self.sound(question) if self._chance.random() < 0.8 else self.lie(question)
        broken = self._damage(octets)
        if self._chance.random() < 0.7:  # most often what decides whether it is read at all is whole
            start = HEADER + len(question.octets)
            broken = octets[:2] + broken[2:6] + broken[6:HEADER] + octets[HEADER:start] + broken[start:]
        return broken[:MAX_MESSAGE]

    def _address(self, owner: bytes) -> bytes:
        chance = self._chance
        match chance.randrange(6):
            case 0:
                return record(owner, AAAA, b"\x20\x01\x0d\xb8" + chance.randbytes(12))
            case 1:
                return record(owner, AAAA, bytes(10) + b"\xff\xff" + b"\xc6\x33\x64" + chance.randbytes(1))
            case 2 if chance.random() < 0.3:
                return record(owner, chance.choice((A, AAAA)), bytes(4))
        return record(
            owner, A, b"\xc6\x33\x64" + chance.randbytes(1), ttl=chance.choice((0, 5, 5, 0x7FFFFFFF, 0x80000000))
        )

    def _owner(self, question: Question) -> bytes:
        chance = self._chance
        return chance.choice((ITSELF, ITSELF, question.name, question.name.lower()))

    def _port(self) -> int:
        return self._chance.choice((0, 1, 51820, 51820, self._chance.randrange(1, 0x10000)))

    def _txt(self, owner: bytes) -> bytes:
        pub = OTHER_KEY if self._chance.random() < 0.1 else self._key
        strings = [b"txtvers=1", f"pub={pub}".encode(), b"allowed=10.0.0.2/32", b"name=\xff\0x", b"", b"=", b"PUB=x"]
        return text(owner, *strings[: self._chance.randint(0, len(strings))] or [b""])

    def _opt(self, question: Question) -> list[bytes]:
        return options(question, self._chance.choice((b"", b"8 octets", b"short"))) * self._chance.choice((0, 1, 1, 1))

    def _usual(self, question: Question) -> bytes:
        own = [
            self._address(self._owner(question))
            for _ in range(self._chance.choice((1, 1, 1, 2, 2, 5, 20) if self._chance.random() < 0.1 else (1, 1, 2)))
        ]
        own += [self._txt(self._owner(question)) for _ in range(self._chance.choice((0, 1, 1, 2)))]
        self._chance.shuffle(own)
        answer = service(self._owner(question), self._port(), self._owner(question))
        return message(question, [answer], [*own, *self._opt(question)])

    def _elsewhere(self, question: Question) -> bytes:
        host, other = self._chance.sample(HOSTS, 2)
        own = [self._address(self._chance.choice((host, host, other))), self._txt(ITSELF)]
        return message(question, [service(ITSELF, self._port(), host)], [*own, *self._opt(question)])

    def _bare(self, question: Question) -> bytes:
        target = self._chance.choice((*HOSTS, b"\0", ITSELF))
        return message(question, [service(ITSELF, self._port(), target)], self._opt(question))

    def _several(self, question: Question) -> bytes:
        many = range(self._chance.choice((2, 3, 3, 20)))
        services = [service(ITSELF, self._port(), self._chance.choice((*HOSTS, ITSELF)), number % 3) for number in many]
        own = [self._address(self._chance.choice((*HOSTS, ITSELF))) for _ in many]
        return message(question, services, [*own, *self._opt(question)])

    def _alias(self, question: Question) -> bytes:
        chance = self._chance
        path = [ITSELF, *chance.sample(HOSTS, chance.choice((1, 1, 2, 3)))]
        answer = [record(owner, CNAME, target) for owner, target in pairwise(path)]
        match chance.randrange(4):
            case 0:
                answer.append(record(path[-1], CNAME, chance.choice(path)))
            case 1:
                answer.append(self._address(path[-1]))
            case 2:
                answer.append(service(path[-1], self._port(), chance.choice(path)))
        return message(question, answer, [self._address(path[-1]), *self._opt(question)])

    def _addressed(self, question: Question) -> bytes:
        answer = [self._address(self._owner(question)) for _ in range(self._chance.choice((1, 1, 2, 9)))]
        return message(question, answer, self._opt(question))

    def _denial(self, question: Question) -> bytes:
        soa = record(ZONE, SOA, b"\0\0" + struct.pack("!IIIII", 1, 2, 3, 4, self._chance.choice((0, 5, 0xFFFFFFFF))))
        authority = self._chance.choice(([], [soa], [record(ZONE, NS, b"\0")]))
        rcode = self._chance.choice((NOERROR, NXDOMAIN))
        return message(question, [], self._opt(question), authority, RESPONSE | rcode)

    def _error(self, question: Question) -> bytes:
        rcode = self._chance.choice((FORMERR, SERVFAIL, NOTIMP, REFUSED, BADCOOKIE, 9, 15))
        return message(question, [], self._opt(question), flags=RESPONSE | rcode)

    def _truncated(self, question: Question) -> bytes:
        whole = self._usual(question) if question.rdtype == SRV else self._addressed(question)
        return whole[:2] + bytes((whole[2] | TRUNCATED >> 8,)) + whole[3:]

    def _identifier(self, own: bytes) -> bytes:
        other = self._chance.randbytes(2)
        return other if other != own else bytes((own[0] ^ 1, own[1]))

    def _renamed(self, asked: bytes) -> bytes:
        at = self._chance.randrange(1, 1 + asked[0])
        return asked[:at] + bytes((asked[at] ^ self._chance.choice((1, 2, 0x80)),)) + asked[at + 1 :]

    def _with_pointer(self, question: Question, to: int) -> bytes:
        owner = struct.pack("!H", 0xC000 | to)
        return message(question, [service(owner, 9, ITSELF)], [record(owner, A, FORGED)])

    def _in_a_circle(self, question: Question) -> bytes:
        start = HEADER + len(question.octets)
        one, other = struct.pack("!H", 0xC000 | start), struct.pack("!H", 0xC000 | start + 12)
        return message(question, [record(other, A, one), service(one, 9, other)], [])

    @staticmethod
    def _with_count(base: bytes, at: int) -> bytes:
        return base[:at] + b"\xff\xff" + base[at + 2 :]

    def _of_length(self, question: Question, length: int) -> bytes:
        data = struct.pack("!HHH", 0, 0, 9) + ITSELF if question.rdtype == SRV else FORGED
        length += length == len(data)
        lied = ITSELF + struct.pack("!HHIH", question.rdtype, IN, 5, length) + data
        return message(question, [lied], [record(ITSELF, A, FORGED)])

    def _oversized(self, base: bytes) -> bytes:
        filler = record(ITSELF, TXT, b"\xff" + b"x" * 255)
        number = 200 if self._chance.random() < 0.05 else 20
        additionals = int.from_bytes(base[10:12]) + number
        return base[:10] + struct.pack("!H", additionals) + base[HEADER:] + filler * number
