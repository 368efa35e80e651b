# SPDX-License-Identifier: GPL-2.0-or-later
"""DNS messages as octets: the question asked and the one usual answer. It knows nothing of sockets and of dnspython.

dnspython takes 160 µs to read an answer; a laptop with hundreds of peers asks for all of them at once, whenever it
changes networks. `usual_answer` reads in 12 µs what a registry nearly always sends, and leaves all that is in the least
unusual to dnspython, which is the judge: whatever is accepted here it reads in the same way (a test compares them).
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from wgsd_nm.core.dnssd import advertised
from wgsd_nm.core.model import Advertisement, IPAddress, PublicKey

HEADER: Final = 12
"""Octets before the question (RFC 1035 section 4.1.1)."""
MAX_UDP: Final = 1232
"""The largest answer that we invite over UDP: no fragments on any sane path (RFC 9715)."""
COOKIE: Final = 10
"""The EDNS option of RFC 7873: 8 octets of the client's, then 8 to 32 of the server's."""
CLIENT_COOKIE_LENGTH: Final = 8

_A, _TXT, _AAAA, _SRV, _OPT = 1, 16, 28, 33, 41
_IN: Final = 1
_RECURSION_DESIRED: Final = 0x0100
_LETTERS: Final = bytes(0x20 if chr(octet).isascii() and chr(octet).isalpha() else 0 for octet in range(256))
"""For each octet of a name the bit that makes a letter large or small. The length octets of labels are below 64."""
_MAX_ADDITIONAL: Final = 16


def mixed_case(name: bytes, noise: bytes) -> bytes:
    """A name on the wire, its letters made large or small by as many octets of noise ("DNS 0x20").

    A registry repeats the question letter by letter, which somebody who only guesses cannot: one bit for each of the
    50 and more letters of a base32 name.
    """
    flips = int.from_bytes(noise) & int.from_bytes(name.translate(_LETTERS))
    return (int.from_bytes(name) ^ flips).to_bytes(len(name))


def question(name: bytes, rdtype: int) -> bytes:
    """The question section for a name on the wire, in class IN."""
    return name + struct.pack("!HH", rdtype, _IN)


def query(identifier: int, asked: bytes, cookie: bytes | None) -> bytes:
    """A query with one question. With a cookie it speaks EDNS (RFC 6891) and carries it; None is plain DNS."""
    if cookie is None:
        return struct.pack("!HHHHHH", identifier, _RECURSION_DESIRED, 1, 0, 0, 0) + asked
    options = struct.pack("!HH", COOKIE, len(cookie)) + cookie
    record = b"\0" + struct.pack("!HHIH", _OPT, MAX_UDP, 0, len(options)) + options
    return struct.pack("!HHHHHH", identifier, _RECURSION_DESIRED, 1, 0, 0, 1) + asked + record


def server_cookie(answer: bytes, client_cookie: bytes) -> bytes | None:
    """The server's cookie behind our own in an answer, b"" where it gave none; None where ours is not repeated."""
    at = answer.rfind(client_cookie)
    if at < HEADER + 4:
        return None
    option, length = struct.unpack_from("!HH", answer, at - 4)
    cookie = answer[at + CLIENT_COOKIE_LENGTH : at + length]
    return cookie if option == COOKIE and 8 <= len(cookie) <= 32 else b""


def usual_answer(answer: bytes, name: bytes, key: PublicKey) -> Advertisement | None:
    """The advertisement in an answer to the question for a peer's name, in lower case; None if anything is unusual.

    The question in the answer has been compared already. Usual is: no error, not truncated, one SRV record for the name
    asked, whose target is that same name, and in the additional section its addresses, TXT records, and OPT. Raises
    BadAnswer as `dnssd.advertised` does.
    """
    try:
        flags, _, answers, authorities, additionals = struct.unpack_from("!HHHHH", answer, 2)
        if flags & 0xFA0F != 0x8000 or answers != 1 or authorities or additionals > _MAX_ADDITIONAL:
            return None
        pointers = {b"\xc0\x0c"}  # RFC 1035 section 4.1.4: places where this name has been seen

        def behind_name(at: int) -> int:
            if answer[at : at + 2] in pointers:
                return at + 2
            if answer[at : at + len(name)].lower() != name or at >= 0x4000:
                raise ValueError
            pointers.add(struct.pack("!H", 0xC000 | at))
            return at + len(name)

        at = behind_name(HEADER + len(name) + 4)
        rdtype, rdclass, ttl, length = struct.unpack_from("!HHIH", answer, at)
        at, stop = at + 10, at + 10 + length
        if rdtype != _SRV or rdclass != _IN or ttl >> 31 or behind_name(at + 6) != stop:
            return None
        (port,) = struct.unpack_from("!H", answer, at + 4)
        addresses: dict[int, list[IPAddress]] = {}
        txt: list[list[bytes]] = []
        has_opt = False
        for _ in range(additionals):
            at = stop
            is_root = answer[at] == 0
            at = at + 1 if is_root else behind_name(at)
            rdtype, rdclass, life, length = struct.unpack_from("!HHIH", answer, at)
            at, stop = at + 10, at + 10 + length
            data = answer[at:stop]
            if is_root:
                if rdtype != _OPT or has_opt or life >> 16:  # at most one, version 0, no extended error code
                    return None
                has_opt = True
                _check_options(data)
                continue
            if rdclass != _IN or life >> 31 or len(data) != length:
                return None
            ttl = min(ttl, life)
            if rdtype == _A and length == 4:
                addresses.setdefault(_A, []).append(IPv4Address(data))
            elif rdtype == _AAAA and length == 16:
                addresses.setdefault(_AAAA, []).append(IPv6Address(data))
            elif rdtype == _TXT:
                txt.append(character_strings(data))
            else:
                return None
        if stop != len(answer) or not addresses:
            return None
    except (ValueError, IndexError, struct.error):
        return None
    return advertised(key, ((address, port) for family in addresses.values() for address in family), txt, ttl)


def character_strings(data: bytes) -> list[bytes]:
    """The character-strings of a TXT record (RFC 1035 section 3.3.14). Raises ValueError."""
    strings, at = [], 0
    while at < len(data):
        start, at = at + 1, at + 1 + data[at]
        strings.append(data[start:at])
    if at != len(data) or not strings:
        raise ValueError
    return strings


def _check_options(data: bytes) -> None:
    """Refuse what are no EDNS options, and any but a cookie. Raises ValueError, struct.error."""
    if data:
        option, length = struct.unpack_from("!HH", data)
        if option != COOKIE or len(data) != 4 + length or not (length == 8 or 16 <= length <= 40):
            raise ValueError
