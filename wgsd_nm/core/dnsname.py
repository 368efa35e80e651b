# SPDX-License-Identifier: GPL-2.0-or-later
"""Domain names as octets of a message (RFC 1035 sections 3.1 and 4.1.4), plain and compressed. It knows no records."""

from __future__ import annotations

from typing import Final

from wgsd_nm.core.errors import InvalidValue

HEADER: Final = 12
"""Octets of a message before anything that a compressed name can point to."""
MAX_NAME: Final = 255
MAX_LABEL: Final = 63
"""Octets, with the length octets and without (RFC 1035 section 2.3.4)."""
MAX_POINTER: Final = 0x3FFF
_POINTER: Final = 0xC0


def read(message: bytes, at: int, end: int) -> tuple[bytes, int]:
    """The name that begins at `at`, uncompressed and in its own letter case, and where it ends. Raises InvalidValue.

    It has to end by `end`. A pointer leads to an earlier place of the message, behind the header.
    """
    labels: list[bytes] = []
    length, start, behind = 1, at, 0
    while True:
        if at >= end:
            raise InvalidValue("a name is cut off: expected labels that end with an empty one")
        octet = message[at]
        if octet >= _POINTER:
            if at + 1 >= end:
                raise InvalidValue("a name is cut off: expected the second octet of a compression pointer")
            behind = behind or at + 2
            at = (octet - _POINTER) << 8 | message[at + 1]
            if not HEADER <= at < start:
                raise InvalidValue(
                    f"a name's compression pointer leads to {at}: expected an earlier place than {start}"
                )
            start = at
            continue
        if octet > MAX_LABEL:
            raise InvalidValue(f"a label begins with {octet:#04x}: expected its length, {MAX_LABEL} at the most")
        label = message[at : at + 1 + octet]
        at += 1 + octet
        if not octet:
            labels.append(label)
            return b"".join(labels), behind or at
        length += 1 + octet
        if length > MAX_NAME:
            raise InvalidValue(f"a name is longer than {MAX_NAME} octets")
        labels.append(label)


def plain_end(octets: bytes, at: int) -> int:
    """Where the uncompressed name that begins at `at` ends. Raises InvalidValue, also for a compressed one."""
    start = at
    while at < len(octets):
        length = octets[at]
        if length > MAX_LABEL:
            raise InvalidValue(f"a label begins with {length:#04x}: expected a length, for this name is not compressed")
        at += 1 + length
        if at - start > MAX_NAME:
            raise InvalidValue(f"a name is longer than {MAX_NAME} octets")
        if not length:
            return at
    raise InvalidValue("a name is cut off: expected labels that end with an empty one")


class Compressor:
    """Compresses names of one message, letter case and all (RFC 1035 section 4.1.4)."""

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}

    def write(self, name: bytes, at: int) -> bytes:
        """The octets that stand for an uncompressed name, at this place of the message; later names may point here."""
        start, known = 0, self._known
        while name[start]:
            rest = name[start:]
            place = known.get(rest)
            if place is not None:
                return name[:start] + (_POINTER << 8 | place).to_bytes(2)
            if at + start <= MAX_POINTER:
                known[rest] = at + start
            start += 1 + name[start]
        return name
