# SPDX-License-Identifier: GPL-2.0-or-later
"""D-Bus messages to the helper by somebody who means harm, as octets: sound calls, odd ones, and what damage leaves.

It has a marshaller of its own, for both byte orders and for what no honest client sends. The same seed makes the same
messages.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.integration.helper_process import ALICE, BOB, BRIEF
from wgsd_nm.bus import names
from wgsd_nm.bus.marshal import split
from wgsd_nm.bus.message import Field, Flag, Kind

INTERFACES = ("wg0", "wg0", "wg0", "wg1", "wg1", BRIEF, "eth0", "gone0", "other0", "wg7")
NAMES = (
    *("", ".", "..", "/", "../../wg0", "wg0/..", "wg0\n", "\nINFO: wg0", "wg0\t", " wg0", "wg0:1", "wg0\x1b[2J", "WG0"),
    *("%s%n", "{0.__class__}", "$(reboot)", "';--", "\u202ewg0", "wg\u00e9", "\u00e9" * 8, "\U0001f600" * 4, "\ufdd0"),
    *("a" * 15, "a" * 16, "a" * 300),
)
KEYS = (str(ALICE), str(ALICE), str(ALICE), str(BOB), str(BOB), "ZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGQ=")
ENDPOINTS = ("192.0.2.1:51820", "198.51.100.7:4", "[2001:db8::1]:51820", "", "")
NEVER = "192.0.2.99:9"
"""An endpoint that no peer has."""
BAD = (
    *("127.0.0.1:1", "[::1]:1", "0.0.0.0:1", "224.0.0.1:1", "[ff02::1]:1", "192.0.2.1:0", "192.0.2.1:65536", "[::]:9"),
    *("[::ffff:127.0.0.1]:5", "192.0.2.1", "registry.example:5", "[fe80::1%a/b]:1", "[fe80::1%\n]:1", "192.0.2.1:1\n"),
    *("\u0661.1.1.1:5", "1.1.1.1:\u0661", "-1", "]:[", str(ALICE)[:-1], str(ALICE) + "\n", "A" * 44, "=" * 44),
)
LONG = "x" * 100_000
MANY = 10_001
"""One entry more than SetEndpoints takes."""
STANDARD = {
    (names.PEER, "Ping"): "",
    (names.PEER, "GetMachineId"): "",
    (names.INTROSPECTABLE, "Introspect"): "",
    (names.PROPERTIES, "Get"): "ss",
    (names.PROPERTIES, "GetAll"): "s",
    (names.PROPERTIES, "Set"): "ssv",
}
_NUMBERS = {"y": "B", "n": "h", "q": "H", "i": "i", "u": "I", "b": "I", "x": "q", "t": "Q", "d": "d"}
_ALIGNED = {"(": 8, "{": 8, "v": 1, "g": 1, "y": 1, "n": 2, "q": 2, "x": 8, "t": 8, "d": 8}

Change = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Sent:
    """One message. `interface` and `changes` are those of a call that is sound as far as the bus can tell."""

    octets: bytes
    serial: int
    answered: bool
    member: str = ""
    interface: str = ""
    changes: tuple[Change, ...] = ()


class Body:
    """Values as octets. A variant is a pair: signature, value."""

    def __init__(self, order: str) -> None:
        self.octets = bytearray()
        self._order = order

    def pad(self, to: int) -> None:
        self.octets += bytes(-len(self.octets) % to)

    def number(self, letter: str, value: float) -> None:
        octets = struct.pack(self._order + letter, value)
        self.pad(len(octets))
        self.octets += octets

    def write(self, type_: str, value: Any) -> None:
        match type_[0]:
            case "s" | "o":
                octets = value.encode()
                self.number("I", len(octets))
                self.octets += octets + b"\0"
            case "g":
                self.octets += bytes([len(value)]) + value.encode() + b"\0"
            case "v":
                self.write("g", value[0])
                self.write(*value)
            case "(" | "{":
                self.pad(8)
                for item_type, item in zip(split(type_[1:-1]), value, strict=True):
                    self.write(item_type, item)
            case "a":
                self._array(type_[1:], value)
            case letter:
                self.number(_NUMBERS[letter], value)

    def _array(self, type_: str, values: Sequence[Any]) -> None:
        self.number("I", 0)
        at = len(self.octets)
        self.pad(_ALIGNED.get(type_[0], 4))
        start = len(self.octets)
        for value in values:
            self.write(type_, value)
        struct.pack_into(self._order + "I", self.octets, at - 4, len(self.octets) - start)


def encode(
    order: str, kind: int, flags: int, serial: int, fields: Sequence[tuple[int, tuple[str, Any]]], *typed: Any
) -> bytes:
    """A whole message; `typed` is the body's signature and its values."""
    signature, *values = typed or ("",)
    body, head = Body(order), Body(order)
    for type_, value in zip(split(signature), values, strict=True):
        body.write(type_, value)
    every = [*fields, (Field.SIGNATURE, ("g", signature))] if signature else fields
    head.octets += bytes((ord("l" if order == "<" else "B"), kind, flags, 1))
    head.number("I", len(body.octets))
    head.number("I", serial)
    head.write("a(yv)", every)
    head.pad(8)
    return bytes(head.octets + body.octets)


class Calls:
    """An endless supply."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._serial = 1

    def next(self) -> Sent:
        """A message that a bus takes for one."""
        kinds: Sequence[Callable[[], Sent]] = (
            *(self._read,) * 4,
            *(self._set,) * 6,
            *(self._wrongly_typed,) * 3,
            *(self._standard,) * 2,
            self._unknown,
            self._no_call,
        )
        chance = self._chance.random()
        return self._large() if chance < 0.002 else self._chance.choice(kinds)()

    def broken(self) -> bytes:
        """What is left of one that was damaged."""
        octets = bytearray(self.next().octets)
        for _ in range(self._chance.choice((1, 1, 2, 8))):
            at = self._chance.randrange(min(len(octets), self._chance.choice((16, 200, 1 << 30))))
            match self._chance.randrange(4):
                case 0:
                    octets[at] = self._chance.choice((0, 1, 0x7F, 0x80, 0xFF, self._chance.randrange(256)))
                case 1:
                    octets[at] ^= 1 << self._chance.randrange(8)
                case 2:
                    octets[at : at + 4] = self._chance.choice((b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\1\0\0\0"))
                case _:
                    octets = octets[:at] if self._chance.random() < 0.5 else octets[:at] + octets[at + 1 :]
            if not octets:
                return b"\0"
        return bytes(octets)

    def _flags(self) -> int:
        return self._chance.choice((0, 0, 0, 0, 0, Flag.INTERACTIVE, Flag.NO_REPLY_EXPECTED, 0xF8, 0xFF))

    def _call(
        self,
        member: str,
        *typed: Any,
        interface: str = names.HELPER,
        path: str = names.HELPER_PATH,
        flags: int | None = None,
    ) -> Sent:
        """With the flags, the byte order and the header fields of anybody."""
        chance = self._chance
        flags = self._flags() if flags is None else flags
        self._serial = (self._serial + chance.randrange(1, 9)) & 0xFFFFFFFF or 1
        fields: list[tuple[int, tuple[str, Any]]] = [
            (Field.PATH, ("o", path)),
            (Field.MEMBER, ("s", member)),
            (Field.DESTINATION, ("s", names.HELPER)),
        ]
        if interface:
            fields.append((Field.INTERFACE, ("s", interface)))
        if chance.random() < 0.1:
            fields.append((chance.randrange(20, 256), chance.choice((("s", "x"), ("u", 7), ("a{sv}", ())))))
        if chance.random() < 0.05:
            fields.append((Field.REPLY_SERIAL, ("u", 1)))
        chance.shuffle(fields)
        octets = encode(chance.choice("<<<>"), Kind.CALL, flags, self._serial, fields, *typed)
        return Sent(octets, self._serial, not flags & Flag.NO_REPLY_EXPECTED, member)

    def _told(self, sent: Sent, interface: str, changes: Sequence[Change] = ()) -> Sent:
        return Sent(sent.octets, sent.serial, sent.answered, sent.member, interface, tuple(changes))

    def _interface(self) -> str:
        return self._chance.choice(NAMES if self._chance.random() < 0.15 else INTERFACES)

    def _read(self) -> Sent:
        interface = self._interface()
        return self._told(self._call("GetPeers", "s", interface), interface)

    def _set(self) -> Sent:
        chance = self._chance
        interface = self._interface()
        changes = [
            (chance.choice(KEYS), chance.choice(ENDPOINTS), chance.choice(ENDPOINTS))
            for _ in range(chance.choice((0, 1, 1, 1, 2, 3)))
        ]
        if changes and chance.random() < 0.3:
            at, part = chance.randrange(len(changes)), chance.randrange(3)
            spoilt = list(changes[at])
            spoilt[part] = chance.choice((*BAD, *NAMES))
            changes[at] = (spoilt[0], spoilt[1], spoilt[2])
        flags = self._flags()
        if flags & Flag.NO_REPLY_EXPECTED:
            changes = [(key, NEVER, wanted) for key, _, wanted in changes]  # nobody would hear of a change
        return self._told(self._call("SetEndpoints", "sa(sss)", interface, changes, flags=flags), interface, changes)

    def _wrongly_typed(self) -> Sent:
        signature = "".join(self._type(3) for _ in range(self._chance.randrange(4)))
        if signature in ("s", "sa(sss)"):
            signature += "y"
        values = [self._value(each) for each in split(signature)]
        return self._call(self._chance.choice(("GetPeers", "SetEndpoints")), signature, *values)

    def _standard(self) -> Sent:
        (interface, member), signature = self._chance.choice(tuple(STANDARD.items()))
        if self._chance.random() < 0.1:
            signature = self._type(2)
        values = [self._value(each) for each in split(signature)]
        return self._call(member, signature, *values, interface=interface, path=self._path())

    def _unknown(self) -> Sent:
        chance = self._chance
        member = chance.choice(("Reload", "Set", "GetPeers", "_", "A" * 255, "__class__", "getpeers"))
        interface = chance.choice((names.HELPER, "", names.PROPERTIES, names.AGENT, "a.b", names.DBUS))
        return self._call(member, "s", self._text(), interface=interface, path=self._path())

    def _no_call(self) -> Sent:
        """A signal, or the answer to a question that nobody asked."""
        chance = self._chance
        fields: list[tuple[int, tuple[str, Any]]] = [(Field.DESTINATION, ("s", names.HELPER))]
        kind = chance.choice((Kind.SIGNAL, Kind.REPLY, Kind.ERROR))
        if kind is Kind.SIGNAL:
            interface, member = chance.choice(
                ((names.NM_PROFILE, "Updated"), (names.DBUS, "NameOwnerChanged"), (names.HELPER, "GetPeers"))
            )
            fields += [
                (Field.PATH, ("o", self._path())),
                (Field.INTERFACE, ("s", interface)),
                (Field.MEMBER, ("s", member)),
            ]
        else:
            fields.append((Field.REPLY_SERIAL, ("u", chance.randrange(1, 200))))
        if kind is Kind.ERROR:
            fields.append((Field.ERROR_NAME, ("s", names.ERROR_ACCESS_DENIED)))
        self._serial += 1
        typed = chance.choice((("(bba{ss})", (1, 0, ())), ("sss", ":1.1", ":1.1", ""), ("",)))
        return Sent(encode("<", kind, 0, self._serial, fields, *typed), self._serial, answered=False)

    def _large(self) -> Sent:
        match self._chance.randrange(4):
            case 3:
                return self._call("GetPeers", "ssss", *(LONG * 12,) * 4)
            case 0:
                return self._told(self._call("GetPeers", "s", LONG), LONG)
            case 1:
                return self._call("GetPeers", "ay", bytes(100_000))
            case _:
                changes = [(str(ALICE), NEVER, "")] * MANY
                return self._told(self._call("SetEndpoints", "sa(sss)", "wg0", changes), "wg0", changes)

    def _path(self) -> str:
        return self._chance.choice(
            (names.HELPER_PATH,) * 6 + ("/", "/io", "/io/github/wgsd_nm/Helper1/x", "/" + "a" * 300)
        )

    def _text(self) -> str:
        return self._chance.choice((*NAMES, *KEYS, *BAD, names.HELPER, names.PROPERTIES))

    def _type(self, depth: int) -> str:
        chance = self._chance
        match chance.randrange(12 if depth else 8):
            case 8:
                return "a" + self._type(depth - 1)
            case 9:
                return f"({self._type(depth - 1)}{self._type(depth - 1)})"
            case 10:
                return f"a{{{chance.choice('sou')}{self._type(depth - 1)}}}"
            case 11:
                return "v"
            case _:
                return chance.choice("ybnqiuxtdsogs")

    def _value(self, type_: str) -> Any:
        chance = self._chance
        match type_[0]:
            case "s":
                return self._text()
            case "o":
                return self._path()
            case "g":
                return self._type(1)
            case "b":
                return chance.randrange(2)
            case "v":
                inner = self._type(1)
                return inner, self._value(inner)
            case "a":
                return [self._value(type_[1:]) for _ in range(chance.randrange(3))]
            case "(" | "{":
                return [self._value(each) for each in split(type_[1:-1])]
            case letter:
                return chance.randrange(1 << (8 * struct.calcsize(_NUMBERS[letter]) - 1))
