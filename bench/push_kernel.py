# SPDX-License-Identifier: GPL-2.0-or-later
"""A WireGuard device for the push bench, whose peers move at the moment at which they are told to. Knows no registry.

The moves are in memory that the bench and the registry's reader share, so telling costs the reader nothing.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from pathlib import Path

from bench.recording import Player
from bench.registry_peers import peer
from tests.unit import wireguard_octets
from wgsd_nm.core.model import Device

PEERS_A_MESSAGE = 140
"""About what the kernel puts into a message of a dump: 32 KiB."""

_READINGS = struct.Struct("=Q")
_PORT = struct.Struct("!H")


def dump(count: int) -> tuple[bytes, ...]:
    """A dump of the first peers of registry_peers."""
    peers = tuple(map(peer, range(count)))
    parts = (peers[start : start + PEERS_A_MESSAGE] for start in range(0, count, PEERS_A_MESSAGE))
    return tuple(wireguard_octets.dump(Device("wg0", None, 51820, 0, part, 7)) for part in parts)


class Moves:
    """The port of each peer, 0 for the one that was recorded; and how often the device was read."""

    def __init__(self, file: Path) -> None:
        """Raises OSError."""
        self.file = file
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 0)

    @staticmethod
    def make(file: Path, count: int) -> Moves:
        """A new file for so many peers."""
        file.write_bytes(bytes(_READINGS.size + count * _PORT.size))
        return Moves(file)

    @property
    def readings(self) -> int:
        return int(_READINGS.unpack_from(self._memory)[0])

    @property
    def ports(self) -> bytes:
        return self._memory[_READINGS.size :]

    def move(self, first: int, ports: Sequence[int]) -> None:
        """Give peers other ports, from this one on, all in one moment."""
        octets = b"".join(map(_PORT.pack, ports))
        at = _READINGS.size + first * _PORT.size
        self._memory[at : at + len(octets)] = octets

    def read(self) -> None:
        """The device is read once more."""
        _READINGS.pack_into(self._memory, 0, self.readings + 1)


class Moving(Player):
    """Plays a recording in which nobody moves but by order."""

    def __init__(self, messages: Sequence[bytes], moves: Moves) -> None:
        super().__init__(messages, stay=float("inf"))
        self._moves = moves
        self._obeyed = moves.ports

    def _live(self) -> None:
        super()._live()
        self._moves.read()
        before, self._obeyed = self._obeyed, self._moves.ports
        if before != self._obeyed:
            for number, (old, new) in enumerate(zip(_numbers(before), _numbers(self._obeyed), strict=True)):
                if old != new:
                    self.place(number, new)


def _numbers(ports: bytes) -> list[int]:
    return [port for (port,) in _PORT.iter_unpack(ports)]
