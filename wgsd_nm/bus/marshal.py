# SPDX-License-Identifier: GPL-2.0-or-later
"""Python values <-> D-Bus message bodies (D-Bus Specification, "Marshaling"). It knows nothing of messages and buses.

Each signature is compiled once into functions that write or read one value. dbus-next's own marshaller takes three
times as long, its unmarshaller seven times, and an answer with a thousand peers has to fit into some milliseconds.

| D-Bus type           | to the wire                     | from the wire                  |
|----------------------|---------------------------------|--------------------------------|
| y n q i u x t        | int in the type's range         | int                            |
| b                    | bool                            | bool                           |
| d                    | float, int                      | float                          |
| s o g                | str, checked                    | str                            |
| h                    | int, an index                   | int                            |
| ay                   | bytes                           | bytes                          |
| a.                   | list, tuple                     | list                           |
| a{..}                | dict, any mapping               | dict                           |
| (..)                 | list, tuple of the right length | list                           |
| v                    | Variant                         | the value that is in it, plain |
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from wgsd_nm.core.errors import InvalidValue

MAX_SIGNATURE: Final = 255
MAX_DEPTH: Final = 32  # of arrays, and as many of structs
MAX_ARRAY: Final = 1 << 26
SIGNATURES_KEPT: Final = 256  # these three bound what strangers can make us remember
PROPERTIES_KEPT: Final = 1024
MAX_KEPT: Final = 64  # octets

_PATH: Final = re.compile(r"/|(/[A-Za-z0-9_]+)+")
_NUMBERS: Final = {"y": "B", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "h": "I"}
_SIZES: Final = {"y": 1, "n": 2, "q": 2, "i": 4, "u": 4, "x": 8, "t": 8, "d": 8, "h": 4, "b": 4, "s": 4, "o": 4, "g": 1}
_BASIC: Final = frozenset(_SIZES)


class Malformed(Exception):
    """Octets from the bus are not what their signature says."""


@dataclass(slots=True)
class Variant:
    """A value and the signature that it travels under: D-Bus type v. It is checked when it is marshalled."""

    signature: str
    value: Any


Writer = Callable[[bytearray, Any], None]
Reader = Callable[[bytes, int], tuple[Any, int]]


def split(signature: str) -> tuple[str, ...]:
    """The single complete types of a signature. Raises InvalidValue."""
    if len(signature) > MAX_SIGNATURE:
        raise InvalidValue(f"a D-Bus signature has at most {MAX_SIGNATURE} letters, not {len(signature)}")
    types = []
    start = 0
    while start < len(signature):
        end = _type_end(signature, start, 0, 0)
        types.append(signature[start:end])
        start = end
    return tuple(types)


def _type_end(signature: str, at: int, arrays: int, structs: int) -> int:
    """Where the single complete type that starts at `at` ends."""
    token = signature[at : at + 1]
    if token == "v" or token in _BASIC:
        return at + 1
    if token == "a" and arrays < MAX_DEPTH:
        if signature[at + 1 : at + 2] != "{":
            return _type_end(signature, at + 1, arrays + 1, structs)
        if signature[at + 2 : at + 3] in _BASIC:
            end = _type_end(signature, at + 3, arrays + 1, structs + 1)
            if signature[end : end + 1] == "}":
                return end + 1
    if token == "(" and structs < MAX_DEPTH:
        end = at + 1
        while signature[end : end + 1] != ")":
            end = _type_end(signature, end, arrays, structs + 1)
        if end > at + 1:
            return end + 1
    raise InvalidValue(f"{signature!a} is not a D-Bus signature")


def marshal(signature: str, values: Sequence[object]) -> bytes:
    """The body of a message. Raises InvalidValue for a value that does not fit, and for a NUL inside of a string.

    A NUL has to be caught here: the bus disconnects whoever sends one.
    """
    writers = _writers(signature)
    if len(values) != len(writers):
        raise InvalidValue(f"the signature {signature!r} takes {len(writers)} values, not {len(values)}")
    out = bytearray()
    try:
        for write, value in zip(writers, values, strict=True):
            write(out, value)
    except struct.error as error:
        raise InvalidValue(f"a number does not fit the D-Bus signature {signature!r}: {error}") from error
    except UnicodeEncodeError as error:
        raise InvalidValue(f"a text for D-Bus is not Unicode: {error}") from error
    except RecursionError as error:
        raise InvalidValue("a value for D-Bus is nested too deeply") from error
    return bytes(out)


def unmarshal(signature: str, body: bytes, *, little: bool = True) -> list[Any]:
    """The values in the body of a message, variants replaced by what is in them. Raises Malformed."""
    try:
        values, end = read_all(signature, body, 0, little=little)
    except (struct.error, UnicodeDecodeError, InvalidValue, IndexError, TypeError, RecursionError) as error:
        raise Malformed(f"a message body does not match its signature {signature!r}: {error}") from error
    if end != len(body):
        raise Malformed(f"a message body for {signature!r} has {len(body)} octets instead of {end}")
    return values


def read_all(signature: str, data: bytes, at: int, *, little: bool) -> tuple[list[Any], int]:
    """The values for `signature` at `at`, which is a multiple of 8, and where they end."""
    values = []
    for read in _readers(signature, little):
        value, at = read(data, at)
        values.append(value)
    return values, at


def plain(value: Any) -> Any:
    """A value as its receiver gets it: variants replaced by what is in them, structs as lists."""
    match value:
        case Variant():
            return plain(value.value)
        case list() | tuple():
            return [plain(item) for item in value]
        case dict():
            return {plain(key): plain(item) for key, item in value.items()}
        case _:
            return value


@lru_cache(maxsize=SIGNATURES_KEPT)
def _writers(signature: str) -> tuple[Writer, ...]:
    return tuple(_writer(type_) for type_ in split(signature))


@lru_cache(maxsize=SIGNATURES_KEPT)
def _readers(signature: str, little: bool) -> tuple[Reader, ...]:
    return tuple(_reader(type_, "<" if little else ">") for type_ in split(signature))


def _alignment(type_: str) -> int:
    """D-Bus Specification, "Summary of D-Bus marshalling"."""
    match type_[0]:
        case "(" | "{":
            return 8
        case "v":
            return 1
        case "a":
            return 4
        case token:
            return _SIZES[token]


def _wrong(type_: str, expected: str, value: object) -> InvalidValue:
    return InvalidValue(f"the D-Bus type {type_!r} takes {expected}, not {ascii(value)[:64]}")


# To the wire


def _writer(type_: str) -> Writer:
    match type_[0]:
        case "s":
            return _write_string
        case "o":
            return _write_path
        case "g":
            return _write_signature
        case "b":
            return _write_boolean
        case "v":
            return _write_variant
        case "(":
            return _struct_writer(type_)
        case "a" if type_ == "ay":
            return _write_bytes
        case "a" if type_ == "a{sv}":
            return _write_properties
        case "a" if type_[1] == "{":
            return _dict_writer(type_)
        case "a":
            return _array_writer(type_)
        case token:
            return _number_writer(token)


def _number_writer(token: str) -> Writer:
    packer = struct.Struct("<" + _NUMBERS[token])
    pack, size = packer.pack, packer.size

    mask = size - 1

    def write(out: bytearray, value: Any) -> None:
        out += _PADDING[-len(out) & mask] + pack(value)

    return write


_pack_u32 = struct.Struct("<I").pack
_PADDING: Final = tuple(bytes(length) for length in range(8))


def _write_boolean(out: bytearray, value: Any) -> None:
    if not isinstance(value, bool):
        raise _wrong("b", "a bool", value)
    out += bytes(-len(out) % 4) + _pack_u32(value)


def _write_string(out: bytearray, value: Any) -> None:
    if not isinstance(value, str):
        raise _wrong("s", "a text", value)
    if "\0" in value:
        raise _wrong("s", "a text without NUL", value)
    octets = value.encode()
    out += _PADDING[-len(out) & 3] + _pack_u32(len(octets)) + octets + b"\0"


def _write_path(out: bytearray, value: Any) -> None:
    if not (isinstance(value, str) and _PATH.fullmatch(value)):
        raise _wrong("o", "an object path", value)
    _write_string(out, value)


def _write_signature(out: bytearray, value: Any) -> None:
    if not isinstance(value, str):
        raise _wrong("g", "a signature", value)
    split(value)
    out.append(len(value))
    out += value.encode() + b"\0"


def _write_variant(out: bytearray, value: Any) -> None:
    if not isinstance(value, Variant):
        raise _wrong("v", "a Variant", value)
    head, write = _variant(value.signature)
    out += head
    write(out, value.value)


@lru_cache(maxsize=SIGNATURES_KEPT)
def _variant(signature: str) -> tuple[bytes, Writer]:
    """The octets that begin a variant of that signature, and what writes its value."""
    writers = _writers(signature)
    if len(writers) != 1:
        raise InvalidValue(f"a Variant has one single complete type, not {signature!r}")
    return bytes([len(signature)]) + signature.encode() + b"\0", writers[0]


def _struct_writer(type_: str) -> Writer:
    writers = _writers(type_[1:-1])

    def write(out: bytearray, value: Any) -> None:
        if not isinstance(value, (list, tuple)) or len(value) != len(writers):
            raise _wrong(type_, f"a list of {len(writers)}", value)
        out += bytes(-len(out) & 7)
        for write_item, item in zip(writers, value, strict=True):
            write_item(out, item)

    return write


def _write_bytes(out: bytearray, value: Any) -> None:
    if not isinstance(value, (bytes, bytearray)):
        raise _wrong("ay", "bytes", value)
    out += bytes(-len(out) & 3) + _pack_u32(len(value)) + value


def _begin_array(out: bytearray, alignment: int) -> int:
    """Leaves room for the length; returns where the elements start. The padding before the first does not count."""
    out += bytes((-len(out) & 3) + 4)
    out += bytes(-len(out) % alignment)
    return len(out)


def _end_array(out: bytearray, room: int, start: int) -> None:
    length = len(out) - start
    if length > MAX_ARRAY:
        raise InvalidValue(f"a D-Bus array has at most {MAX_ARRAY} octets, not {length}")
    out[room : room + 4] = _pack_u32(length)


def _array_writer(type_: str) -> Writer:
    write_item = _writer(type_[1:])
    alignment = _alignment(type_[1:])

    def write(out: bytearray, value: Any) -> None:
        if not isinstance(value, (list, tuple)):
            raise _wrong(type_, "a list", value)
        room = len(out) + (-len(out) & 3)
        start = _begin_array(out, alignment)
        for item in value:
            write_item(out, item)
        _end_array(out, room, start)

    return write


def _dict_writer(type_: str) -> Writer:
    write_key, write_item = _writers(type_[2:-1])

    def write(out: bytearray, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise _wrong(type_, "a mapping", value)
        room = len(out) + (-len(out) & 3)
        start = _begin_array(out, 8)
        for key, item in value.items():
            if padding := -len(out) & 7:
                out += bytes(padding)
            write_key(out, key)
            write_item(out, item)
        _end_array(out, room, start)

    return write


def _write_properties(out: bytearray, value: Any) -> None:
    """a{sv}, the one type of which there is much: an entry begins the same way wherever it stands."""
    if not isinstance(value, Mapping):
        raise _wrong("a{sv}", "a mapping", value)
    room = len(out) + (-len(out) & 3)
    start = _begin_array(out, 8)
    for key, item in value.items():
        if not isinstance(item, Variant):
            raise _wrong("v", "a Variant", item)
        head, write = _property_head(key, item.signature)
        out += _PADDING[-len(out) & 7] + head
        write(out, item.value)
    _end_array(out, room, start)


@lru_cache(maxsize=PROPERTIES_KEPT)
def _property_head(key: Any, signature: str) -> tuple[bytes, Writer]:
    """The octets of an entry of a{sv} before its value, and what writes that."""
    out = bytearray()
    _write_string(out, key)
    head, write = _variant(signature)
    return bytes(out + head), write


# From the wire. A slice beyond the end is short and raises nothing: `unmarshal` sees it by the position at the end.


def _reader(type_: str, order: str) -> Reader:
    match type_[0]:
        case "s" | "o":
            return _string_reader(order)
        case "g":
            return _read_signature
        case "b":
            return _boolean_reader(order)
        case "v":
            return _variant_reader(order)
        case "(":
            return _struct_reader(type_, order)
        case "a" if type_ == "ay":
            return _bytes_reader(order)
        case "a" if type_ == "a{sv}":
            return _properties_reader(order)
        case "a" if type_[1] == "{":
            return _dict_reader(type_, order)
        case "a":
            return _array_reader(type_, order)
        case token:
            return _number_reader(token, order)


def _number_reader(token: str, order: str) -> Reader:
    packer = struct.Struct(order + _NUMBERS[token])
    unpack, size = packer.unpack_from, packer.size
    mask = size - 1

    def read(data: bytes, at: int) -> tuple[Any, int]:
        at = (at + mask) & ~mask
        return unpack(data, at)[0], at + size

    return read


def _boolean_reader(order: str) -> Reader:
    read_number = _number_reader("u", order)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        number, at = read_number(data, at)
        return bool(number), at

    return read


def _string_reader(order: str) -> Reader:
    unpack = struct.Struct(order + "I").unpack_from

    def read(data: bytes, at: int) -> tuple[Any, int]:
        start = ((at + 3) & ~3) + 4
        end = start + unpack(data, start - 4)[0]
        return str(data[start:end], "utf-8"), end + 1

    return read


def _read_signature(data: bytes, at: int) -> tuple[Any, int]:
    end = at + 1 + data[at]
    return str(data[at + 1 : end], "ascii"), end + 1


def _variant_reader(order: str) -> Reader:
    little = order == "<"

    def read(data: bytes, at: int) -> tuple[Any, int]:
        end = at + 1 + data[at]
        (read_value,) = _variant_readers(data[at + 1 : end], little)
        return read_value(data, end + 1)

    return read


@lru_cache(maxsize=SIGNATURES_KEPT)
def _variant_readers(signature: bytes, little: bool) -> tuple[Reader]:
    readers = _readers(str(signature, "ascii"), little)
    if len(readers) != 1:
        raise InvalidValue(f"a variant has one single complete type, not {signature!r}")
    return (readers[0],)


def _struct_reader(type_: str, order: str) -> Reader:
    readers = tuple(_reader(item, order) for item in split(type_[1:-1]))

    def read(data: bytes, at: int) -> tuple[Any, int]:
        at = (at + 7) & ~7
        values = []
        for read_item in readers:
            value, at = read_item(data, at)
            values.append(value)
        return values, at

    return read


def _array_bounds(order: str, alignment: int) -> Callable[[bytes, int], tuple[int, int]]:
    """Reads an array's length; returns where its elements start and end."""
    unpack = struct.Struct(order + "I").unpack_from

    def bounds(data: bytes, at: int) -> tuple[int, int]:
        at = (at + 3) & ~3
        start = (at + 4 + alignment - 1) & -alignment
        return start, start + unpack(data, at)[0]

    return bounds


def _bytes_reader(order: str) -> Reader:
    bounds = _array_bounds(order, 1)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        start, end = bounds(data, at)
        return data[start:end], end

    return read


def _array_reader(type_: str, order: str) -> Reader:
    bounds = _array_bounds(order, _alignment(type_[1:]))
    read_item = _reader(type_[1:], order)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        at, end = bounds(data, at)
        values = []
        while at < end:
            value, at = read_item(data, at)
            values.append(value)
        return values, _same(at, end)

    return read


def _dict_reader(type_: str, order: str) -> Reader:
    bounds = _array_bounds(order, 8)
    key_type, item_type = split(type_[2:-1])
    read_key, read_item = _reader(key_type, order), _reader(item_type, order)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        at, end = bounds(data, at)
        values = {}
        while at < end:
            key, at = read_key(data, (at + 7) & ~7)
            values[key], at = read_item(data, at)
        return values, _same(at, end)

    return read


def _properties_reader(order: str) -> Reader:
    bounds = _array_bounds(order, 8)
    unpack = struct.Struct(order + "I").unpack_from
    little = order == "<"

    def read(data: bytes, at: int) -> tuple[Any, int]:
        at, end = bounds(data, at)
        values = {}
        while at < end:
            at = (at + 7) & ~7
            signature_at = at + 5 + unpack(data, at)[0]
            value_at = signature_at + 2 + data[signature_at]
            head = data[at:value_at]
            key, read_value = _known_property(head, little) if value_at - at <= MAX_KEPT else _property(head, little)
            values[key], at = read_value(data, value_at)
        return values, _same(at, end)

    return read


def _property(head: bytes, little: bool) -> tuple[str, Reader]:
    """The key of an entry of a{sv}, and what reads its value."""
    key, at = _string_reader("<" if little else ">")(head, 0)
    (read_value,) = _variant_readers(head[at + 1 : -1], little)
    return key, read_value


_known_property = lru_cache(maxsize=PROPERTIES_KEPT)(_property)


def _same(at: int, end: int) -> int:
    if at != end:
        raise IndexError("an array's elements do not end where the array does")
    return end
