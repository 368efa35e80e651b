# SPDX-License-Identifier: GPL-2.0-or-later
"""Many datagrams by one system call (recvmmsg(2), sendmmsg(2)). Knows nothing of what is in them.

Buffers and message headers are made once. A sender's address stays the octets that the kernel wrote: an answer goes to
them as they are, and only who wants to read them has them as text.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

CONTROL_ROOM = 256
"""Octets of a datagram's control messages: one that tells of the interface takes 40."""

_FAMILY_AND_PORT = 4
"""Octets at the start of either struct sockaddr: the family is the socket's, and the port is not who asks."""
_PORT = struct.Struct("!2xH")
_SCOPE = struct.Struct("=24xI")


class Buffer(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Header(ctypes.Structure):
    """struct msghdr, as the kernel has it (struct user_msghdr, linux/socket.h)."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_int),
        ("buffers", ctypes.c_void_p),
        ("buffer_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", Header), ("length", ctypes.c_uint))


_MESSAGE = ctypes.sizeof(Message)
_CONTROL_LENGTH, _FLAGS, _LENGTH = Header.control_length.offset, Header.flags.offset, Message.length.offset
RECEIVED = struct.Struct(f"@{_CONTROL_LENGTH}xNi{_LENGTH - _FLAGS - 4}xI{_MESSAGE - _LENGTH - 4}x")
"""Of each message: octets of control messages, flags, octets."""

_WORD = ctypes.sizeof(ctypes.c_size_t)
_WORDS = _MESSAGE // _WORD
_NAME_WORD = Header.name.offset // _WORD
_CONTROL_LENGTH_WORD = _CONTROL_LENGTH // _WORD
_BUFFER_WORDS = ctypes.sizeof(Buffer) // _WORD
_BUFFER_LENGTH_WORD = Buffer.length.offset // _WORD

_LIBC = ctypes.CDLL(None)
recvmmsg, sendmmsg = _LIBC.recvmmsg, _LIBC.sendmmsg
recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


@dataclass(frozen=True, slots=True)
class _Family:
    """Octets of one family's addresses: the whole, where what follows is aligned, and where the address is in a key."""

    name: int
    room: int
    source: slice
    pktinfo: int


_FAMILIES = {
    socket.AF_INET: _Family(16, 16, slice(0, 4), socket.CMSG_SPACE(12)),
    socket.AF_INET6: _Family(28, 32, slice(4, 20), socket.CMSG_SPACE(20)),
}


class _Slots:
    """Pieces of equal size of one piece of memory."""

    def __init__(self, count: int, size: int) -> None:
        memory = bytearray(count * size)
        whole = memoryview(memory)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.views = [whole[at : at + size] for at in range(0, count * size, size)]
        self.addresses = range(self.address, self.address + count * size, size)


class _Messages:
    """Headers for messages of one buffer each."""

    def __init__(self, buffers: _Slots, room: int) -> None:
        count = len(buffers.views)
        memory, pieces = bytearray(count * _MESSAGE), bytearray(count * ctypes.sizeof(Buffer))
        self.octets = memoryview(memory)
        self.words = self.octets.cast("L")
        self.buffers = memoryview(pieces).cast("L")
        self.headers = [message.header for message in (Message * count).from_buffer(memory)]
        self.address = ctypes.addressof(self.headers[0])
        for header, piece, address in zip(
            self.headers, (Buffer * count).from_buffer(pieces), buffers.addresses, strict=True
        ):
            piece.base, piece.length = address, room
            header.buffers, header.buffer_count = ctypes.addressof(piece), 1


class Batch:
    """Bursts of up to `size` datagrams at a bound UDP socket of either family, which stays the caller's.

    A datagram has a slot, which is a number, and a key: the octets of its sender's address without the port, and of its
    control messages. Where these are only packet information, one client's datagrams to one address have equal keys.
    """

    def __init__(self, bound: socket.socket, size: int, longest_query: int, longest_answer: int) -> None:
        """Lengths are in octets; of a longer datagram only the beginning is received."""
        self._socket = bound
        self._size = size
        self._family = family = _FAMILIES[socket.AddressFamily(bound.family)]
        self._control_start = family.room - _FAMILY_AND_PORT
        self._queued = 0

        heads, queries = _Slots(size, family.room + CONTROL_ROOM), _Slots(size, longest_query)
        answers, controls = _Slots(size, longest_answer), _Slots(size, CONTROL_ROOM)
        self._heads, self._names, self._queries = heads.views, heads.addresses, queries.views
        self._answers, self._controls = answers.views, controls.views
        self._keys = [head[_FAMILY_AND_PORT : family.room + family.pktinfo] for head in heads.views]
        self._incoming, self._outgoing = _Messages(queries, longest_query), _Messages(answers, 0)
        for header, name in zip(self._incoming.headers, heads.addresses, strict=True):
            header.name, header.name_length = name, family.name
            header.control, header.control_length = name + family.room, CONTROL_ROOM
        for header, control in zip(self._outgoing.headers, controls.addresses, strict=True):
            header.name_length, header.control = family.name, control
        self._fresh = bytes(self._incoming.octets)

    def receive(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Slot, octets and key of each datagram that is there. Slots hold until this is called again.

        None where there is an error to be told, as what became of an earlier datagram (IP_RECVERR): the kernel tells it
        once. Answers that are queued and not sent are forgotten. Control messages that found no room are left out.
        """
        self._queued = 0
        incoming = self._incoming
        incoming.octets[:] = self._fresh
        count = recvmmsg(self._socket.fileno(), incoming.address, self._size, socket.MSG_DONTWAIT, None)
        if count <= 0:
            return
        queries, keys, usual = self._queries, self._keys, self._family.pktinfo
        for slot, (control, flags, length) in enumerate(RECEIVED.iter_unpack(incoming.octets[: count * _MESSAGE])):
            key = keys[slot].tobytes() if control == usual and not flags else self._key(slot, control, flags)
            yield slot, queries[slot][:length].tobytes(), key

    def source(self, key: bytes) -> str:
        """The sender's address as a socket names it, without a scope."""
        return socket.inet_ntop(self._socket.family, key[self._family.source])

    def control(self, key: bytes) -> bytes:
        """The control messages, as the kernel writes them into a buffer (cmsg(3))."""
        return key[self._control_start :]

    def address(self, slot: int) -> tuple[str, int] | tuple[str, int, int, int]:
        """The sender's address as the socket module has it."""
        head = self._heads[slot]
        source = self.source(head[_FAMILY_AND_PORT : self._family.name].tobytes())
        (port,) = _PORT.unpack_from(head)
        if self._socket.family == socket.AF_INET:
            return source, port
        return source, port, 0, _SCOPE.unpack_from(head)[0]

    def answer(self, slot: int, octets: bytes, control: bytes) -> None:
        """Queue an answer to that slot's sender, with these control messages.

        Raises ValueError where it or they are too long, and IndexError when `size` answers are queued.
        """
        at = self._queued
        outgoing = self._outgoing
        length = len(octets)
        self._answers[at][:length] = octets
        outgoing.buffers[at * _BUFFER_WORDS + _BUFFER_LENGTH_WORD] = length
        words = outgoing.words
        word = at * _WORDS
        words[word + _NAME_WORD] = self._names[slot]
        if control:
            self._controls[at][: len(control)] = control
        words[word + _CONTROL_LENGTH_WORD] = len(control)
        self._queued = at + 1

    def send(self) -> int:
        """Send what is queued. Returns how many of the answers the kernel did not take, which are given up.

        sendmmsg() stops at the first of those.
        """
        queued, self._queued = self._queued, 0
        at = refused = 0
        while at < queued:
            messages = self._outgoing.address + at * _MESSAGE
            sent = sendmmsg(self._socket.fileno(), messages, queued - at, socket.MSG_DONTWAIT)
            if sent <= 0:
                refused += 1
                sent = 1
            at += sent
        return refused

    def _key(self, slot: int, control: int, flags: int) -> bytes:
        end = self._family.room + (0 if flags & socket.MSG_CTRUNC else control)
        return self._heads[slot][_FAMILY_AND_PORT:end].tobytes()
