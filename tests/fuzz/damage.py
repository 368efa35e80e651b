# SPDX-License-Identifier: GPL-2.0-or-later
"""What chance, or somebody who means harm, makes of a DNS message. It knows the shape of a header, no more."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

REMEMBERED = 64
KINDS = 8


class Damage:
    """Breaks messages; parts of those that it has seen turn up in others."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._before: list[bytes] = [b""]

    def __call__(self, octets: bytes) -> bytes:
        """The message with one to four kinds of damage."""
        chance = self._chance
        if len(self._before) < REMEMBERED:
            self._before.append(octets)
        else:
            self._before[chance.randrange(REMEMBERED)] = octets
        for _ in range(chance.randint(1, 4)):
            octets = self._damaged(octets)
        return octets

    def _damaged(self, octets: bytes) -> bytes:
        chance = self._chance
        at, to = sorted((chance.randint(0, len(octets)), chance.randint(0, len(octets))))
        damage: tuple[Callable[[], bytes], ...] = (
            lambda: octets[:to],
            lambda: octets + chance.randbytes(chance.choice((1, 2, 11, 500))),
            lambda: octets[:at] + chance.randbytes(to - at) + octets[to:],
            lambda: octets[:at] + octets[to:],
            lambda: octets[:to] + octets[at:],
            lambda: octets[:at] + chance.choice(self._before)[at:],
            lambda: octets[:at] + bytes((0xC0 | chance.randrange(64), chance.randrange(256))) + octets[at + 2 :],
            lambda: octets[:2] + self._header() + octets[12:],
        )
        assert len(damage) == KINDS
        return chance.choice(damage)()

    def _header(self) -> bytes:
        chance = self._chance
        flags = chance.choice((0, 0x0100, 0x2000, 0x2800, 0x3000, 0x8000, chance.getrandbits(16)))
        return struct.pack("!HHHHH", flags, *(chance.choice((0, 1, 1, 2, 65535)) for _ in range(4)))
