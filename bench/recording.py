# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's dumps of a WireGuard device: recorded where there is one, played where there is none.

What is played is alive: as time goes by, peers' counters grow with every keepalive, sessions are renewed, and some
peers move. It stands where the netlink socket of `wgsd_nm.wireguard` stands; all above it is the real program.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

from bench.registry_peers import KEEPALIVE
from wgsd_nm.wireguard import WireGuard
from wgsd_nm.wireguard_messages import (
    WGDEVICE_A_PEERS,
    WGPEER_A_ENDPOINT,
    WGPEER_A_LAST_HANDSHAKE_TIME,
    WGPEER_A_RX_BYTES,
    DeviceDecoder,
)

REKEY = 120.0
"""Seconds between two handshakes of a session in use (WireGuard's REKEY_AFTER_TIME)."""
STAY = 3600.0
"""Seconds that a peer keeps its endpoint."""
KEEPALIVE_OCTETS = 32

Reply = TypeVar("Reply")

_LENGTH = struct.Struct("!I")
_ATTRIBUTE = struct.Struct("=HH")
_GENERIC = 4
_TYPE = 0x3FFF
_U64 = struct.Struct("=Q")
_SECONDS = struct.Struct("=q")
_PORT = struct.Struct("!H")
_NLM_F_DUMP = 0x300  # linux/netlink.h
_FAMILY = 0x1F


def record(interface: str) -> tuple[bytes, ...]:
    """The messages of one dump, each without its netlink header. Raises DeviceError."""
    messages: list[bytes] = []

    class Recorder(DeviceDecoder):
        def add(self, message: memoryview) -> None:
            messages.append(message.tobytes())
            super().add(message)

    with patch("wgsd_nm.wireguard.DeviceDecoder", Recorder), WireGuard() as kernel:
        kernel.read(interface)
    return tuple(messages)


def save(messages: Sequence[bytes], file: Path) -> None:
    file.write_bytes(b"".join(_LENGTH.pack(len(message)) + message for message in messages))


def load(file: Path) -> tuple[bytes, ...]:
    octets, at, messages = file.read_bytes(), 0, []
    while at < len(octets):
        (length,) = _LENGTH.unpack_from(octets, at)
        messages.append(octets[at + _LENGTH.size : at + _LENGTH.size + length])
        at += _LENGTH.size + length
    return tuple(messages)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the values of a peer that change are in its message."""

    message: bytearray
    handshake: int
    rx: int
    port: int

    def receive(self) -> None:
        (rx,) = _U64.unpack_from(self.message, self.rx)
        _U64.pack_into(self.message, self.rx, rx + KEEPALIVE_OCTETS)

    def renew(self) -> None:
        _SECONDS.pack_into(self.message, self.handshake, int(time.time()))

    def move(self) -> None:
        (port,) = _PORT.unpack_from(self.message, self.port)
        self.place(max(1024, (port + 1) & 0xFFFF))

    def place(self, port: int) -> None:
        _PORT.pack_into(self.message, self.port, port)


class Player:
    """As the netlink socket of `wgsd_nm.wireguard`, with the kernel's word from a recording."""

    def __init__(
        self, messages: Sequence[bytes], clock: Callable[[], float] = time.monotonic, *, stay: float = STAY
    ) -> None:
        """`stay` is for how many seconds each peer keeps its endpoint."""
        self._messages = tuple(map(bytearray, messages))
        self._places = tuple(place for message in self._messages for place in _places(message))
        self._clock = clock
        self._stay = stay
        self._began = clock()
        self._done = [0, 0, 0]

    def request(self, kind: int, flags: int, payload: bytes, decode: Callable[[memoryview], Reply]) -> list[Reply]:  # noqa: ARG002 - as the socket's
        if not flags & _NLM_F_DUMP:
            return [decode(memoryview(_family()))]
        self._live()
        return [decode(memoryview(message)) for message in self._messages]

    def close(self) -> None:
        pass

    def place(self, number: int, port: int) -> None:
        """Give the peer of this number, of those that have an endpoint, another port."""
        self._places[number].place(port)

    def _live(self) -> None:
        """Have happen what was due since the last time, to one peer after the other."""
        passed = self._clock() - self._began
        acts = (_Place.receive, KEEPALIVE), (_Place.renew, REKEY), (_Place.move, self._stay)
        for what, (act, period) in enumerate(acts):
            due = int(passed / period * len(self._places))
            for number in range(self._done[what], due):
                act(self._places[number * 7919 % len(self._places)])
            self._done[what] = due


def _family() -> bytes:
    """The answer to CTRL_CMD_GETFAMILY: attribute 1, the family's number."""
    return bytes(_GENERIC) + _ATTRIBUTE.pack(6, 1) + struct.pack("=Hxx", _FAMILY)


def _places(message: bytearray) -> Iterator[_Place]:
    for kind, start, stop in _attributes(message, _GENERIC, len(message)):
        if kind == WGDEVICE_A_PEERS:
            for _, first, end in _attributes(message, start, stop):
                found = {inner: at for inner, at, _ in _attributes(message, first, end)}
                if WGPEER_A_ENDPOINT in found:
                    yield _Place(
                        message,
                        found[WGPEER_A_LAST_HANDSHAKE_TIME],
                        found[WGPEER_A_RX_BYTES],
                        found[WGPEER_A_ENDPOINT] + 2,
                    )


def _attributes(message: bytearray, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    while start < stop:
        length, kind = _ATTRIBUTE.unpack_from(message, start)
        yield kind & _TYPE, start + _ATTRIBUTE.size, start + length
        start += length + -length % 4
