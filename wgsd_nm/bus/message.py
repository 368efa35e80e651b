# SPDX-License-Identifier: GPL-2.0-or-later
"""D-Bus messages <-> octets (D-Bus Specification, "Message Format"). It knows nothing of sockets, and asks for no time.

What a stranger may send through the bus never harms the connection: unknown header fields and message types are
ignored, as the specification says; a header or body that is not what it claims to be costs that message only.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any, Final

from wgsd_nm.bus.marshal import Malformed, Variant, marshal, read_all, unmarshal
from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import shown

MAX_MESSAGE: Final = 1 << 27
MAX_NAME: Final = 255
_VERSION: Final = 1
_FIXED: Final = 16  # octets before the header fields: yyyyuu and the length of the fields
_FIELDS: Final = "a(yv)"
_MEMBER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INTERFACE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")
_BUS_NAME: Final = re.compile(
    r"[A-Za-z_-][A-Za-z0-9_-]*(\.[A-Za-z_-][A-Za-z0-9_-]*)+|:[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+"
)


class Kind(IntEnum):
    """The type of a message."""

    CALL = 1
    REPLY = 2
    ERROR = 3
    SIGNAL = 4


class Flag(IntFlag):
    """The flags of a message."""

    NONE = 0
    NO_REPLY_EXPECTED = 1
    NO_AUTOSTART = 2
    INTERACTIVE = 4


class Field(IntEnum):
    """The header fields."""

    PATH = 1
    INTERFACE = 2
    MEMBER = 3
    ERROR_NAME = 4
    REPLY_SERIAL = 5
    DESTINATION = 6
    SENDER = 7
    SIGNATURE = 8


@dataclass(frozen=True, slots=True)
class Message:
    """A message that came in. A header field that is absent is "", or 0 for `reply_serial`."""

    kind: Kind
    flags: int
    serial: int
    path: str
    interface: str
    member: str
    error_name: str
    reply_serial: int
    sender: str
    signature: str
    little: bool
    octets: bytes

    def body(self) -> list[Any]:
        """The values in it, plain. Raises Malformed."""
        return unmarshal(self.signature, self.octets, little=self.little)


class Splitter:
    """Cuts what a bus sends into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, octets: bytes) -> Iterator[Message | Malformed]:
        """The messages that are complete by now; Malformed stands for one that is to be left out.

        Raises Malformed when no further message can be found.
        """
        buffer = self._buffer
        buffer += octets
        while len(buffer) >= _FIXED:
            length = _message_length(buffer)
            if len(buffer) < length:
                return
            frame = bytes(buffer[:length])
            del buffer[:length]
            try:
                message = parse(frame)
            except Malformed as error:
                yield error
            else:
                if message is not None:
                    yield message


def _message_length(start: bytearray) -> int:
    order = {0x6C: "<", 0x42: ">"}.get(start[0])
    if order is None or start[3] != _VERSION:
        raise Malformed(f"the bus sent {bytes(start[:_FIXED]).hex()} where a message begins")
    body, _, fields = struct.unpack_from(order + "III", start, 4)
    length: int = _FIXED + fields + (-fields & 7) + body
    if length > MAX_MESSAGE:
        raise Malformed(f"the bus sent a message of {length} octets; at most {MAX_MESSAGE} are allowed")
    return length


def parse(frame: bytes) -> Message | None:
    """One whole message; None for a type that nobody knows. Raises Malformed."""
    little = frame[0] == 0x6C
    if not Kind.CALL <= frame[1] <= Kind.SIGNAL:
        return None
    try:
        (pairs,), end = read_all(_FIELDS, frame, _FIXED - 4, little=little)
    except (struct.error, ValueError, IndexError, TypeError, RecursionError) as error:
        raise Malformed(f"a message has a header that cannot be read: {error}") from error
    fields: dict[int, Any] = dict(pairs)
    message = Message(
        kind=Kind(frame[1]),
        flags=frame[2],
        serial=struct.unpack_from("<I" if little else ">I", frame, 8)[0],
        path=fields.get(Field.PATH, ""),
        interface=fields.get(Field.INTERFACE, ""),
        member=fields.get(Field.MEMBER, ""),
        error_name=fields.get(Field.ERROR_NAME, ""),
        reply_serial=fields.get(Field.REPLY_SERIAL, 0),
        sender=fields.get(Field.SENDER, ""),
        signature=fields.get(Field.SIGNATURE, ""),
        little=little,
        octets=frame[end + (-end & 7) :],
    )
    for text in (message.path, message.interface, message.member, message.error_name, message.sender):
        if not isinstance(text, str):
            raise Malformed("a message has a header field of the wrong type")
    if not isinstance(message.signature, str) or not isinstance(message.reply_serial, int):
        raise Malformed("a message has a header field of the wrong type")
    return message


def frame(
    kind: Kind,
    flags: Flag,
    serial: int,
    *,
    path: str | None = None,
    interface: str | None = None,
    member: str | None = None,
    error_name: str | None = None,
    reply_serial: int | None = None,
    destination: str | None = None,
    signature: str = "",
    body: bytes = b"",
) -> bytes:
    """A whole message to send. Raises InvalidValue for a name that is none: the bus disconnects whoever sends one."""
    fields: list[tuple[Field, Variant]] = []
    if path:
        fields.append((Field.PATH, Variant("o", path)))
    for field, text, name in (
        (Field.INTERFACE, interface, _INTERFACE),
        (Field.MEMBER, member, _MEMBER),
        (Field.ERROR_NAME, error_name, _INTERFACE),
        (Field.DESTINATION, destination, _BUS_NAME),
    ):
        if text:
            if len(text) > MAX_NAME or not name.fullmatch(text):
                raise InvalidValue(f"{shown(text)} cannot be the {field.name.lower()} of a D-Bus message")
            fields.append((field, Variant("s", text)))
    if reply_serial:
        fields.append((Field.REPLY_SERIAL, Variant("u", reply_serial)))
    if signature:
        fields.append((Field.SIGNATURE, Variant("g", signature)))
    head = marshal("yyyyuu" + _FIELDS, (0x6C, kind, flags, _VERSION, len(body), serial, fields))
    return head + bytes(-len(head) & 7) + body
