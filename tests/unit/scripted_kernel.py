# SPDX-License-Identifier: GPL-2.0-or-later
"""A netlink socket whose kernel misbehaves as told: what the real kernel does is tested in tests/lab."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from tests.unit.wireguard_octets import attribute

FAMILY = 33
ERROR, DONE = 2, 3

Datagram = tuple[bytes, int, int]
"""What recvmsg() gives: octets, flags, port of the sender."""


def message(kind: int, payload: bytes, *, flags: int = 0, sequence: int | None = None) -> Callable[[int], bytes]:
    """A netlink message that answers the request with the sequence number given to it, or has another."""
    return lambda asked: (
        struct.pack("=IHHII", 16 + len(payload), kind, flags, asked if sequence is None else sequence, 0)
        + payload
        + bytes(-len(payload) % 4)
    )


def error(number: int) -> Callable[[int], bytes]:
    return message(ERROR, struct.pack("=i", -number) + bytes(16))


ACK = error(0)
END = message(DONE, bytes(4))


class ScriptedKernel:
    """Answers each request to WireGuard with the next of `answers`: datagrams, each some messages, a tuple of them
    with recvmsg's flags and the sender's port, or an exception."""

    def __init__(self, *answers: Sequence[object]) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.sockets: list[ScriptedSocket] = []

    def create_socket(self, **_: object) -> ScriptedSocket:
        self.sockets.append(ScriptedSocket(self))
        return self.sockets[-1]


class ScriptedSocket:
    def __init__(self, kernel: ScriptedKernel) -> None:
        self._kernel = kernel
        self._pending: list[object] = []
        self._sequence = 0
        self.closed = False

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def bind(self, address: tuple[int, int]) -> None:
        assert address == (0, 0)

    def close(self) -> None:
        self.closed = True

    def sendto(self, data: bytes, address: tuple[int, int]) -> int:
        assert address == (0, 0)
        assert not self.closed
        length, kind, flags, self._sequence, port = struct.unpack_from("=IHHII", data)
        assert (length, port, flags & 1) == (len(data), 0, 1)
        if kind == 16:
            family = message(16, b"\1\2\0\0" + attribute(1, struct.pack("=H", FAMILY)))
            self._pending += [[family], [ACK]]
        else:
            self._kernel.requests.append(data[16:])
            self._pending += self._kernel.answers.pop(0)
        return len(data)

    def recvmsg_into(self, buffers: list[memoryview]) -> tuple[int, list[object], int, tuple[int, int]]:
        answer = self._pending.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        messages, flags, port = answer if isinstance(answer, tuple) else (answer, 0, 0)
        data = b"".join(one(self._sequence) for one in messages)
        buffers[0][: len(data)] = data
        return len(data), [], flags, (port, 0)
