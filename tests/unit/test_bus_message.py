# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages to octets and back, and what a stranger may put into one without harm."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgsd_nm.bus import backend
from wgsd_nm.bus.marshal import Malformed, Variant, marshal
from wgsd_nm.bus.message import MAX_MESSAGE, Flag, Kind, Message, Splitter, frame

assert backend.VERSION  # imported first: it makes the library importable everywhere

from dbus_next import constants as library_constants  # noqa: E402
from dbus_next.message import Message as LibraryMessage  # noqa: E402

CALL = {
    "path": "/a/b",
    "interface": "org.example.Thing1",
    "member": "Do",
    "error_name": None,
    "reply_serial": None,
    "destination": "org.example.Thing",
}


def call(signature: str = "s", *arguments: object, serial: int = 7) -> bytes:
    body = marshal(signature, arguments or ("hello",))
    return frame(Kind.CALL, Flag.INTERACTIVE, serial, signature=signature, body=body, **CALL)  # type: ignore[arg-type]  # one dictionary for all


def with_fields(*extra: tuple[int, Variant], kind: int = Kind.SIGNAL, body: bytes = b"", little: bool = True) -> bytes:
    """A signal with these header fields after the usual ones."""
    assert little
    fields = [(1, Variant("o", "/a")), (2, Variant("s", "a.B")), (3, Variant("s", "C")), *extra]
    head = marshal("yyyyuua(yv)", (0x6C, kind, 0, 1, len(body), 1, fields))
    return head + bytes(-len(head) % 8) + body


def messages(octets: bytes) -> list[Message | Malformed]:
    return list(Splitter().feed(octets))


def one(octets: bytes) -> Message:
    (message,) = messages(octets)
    assert isinstance(message, Message)
    return message


def test_out_and_in_again() -> None:
    message = one(call("sa{sv}", "hello", {"n": Variant("u", 1)}))
    assert (message.kind, message.flags, message.serial) == (Kind.CALL, Flag.INTERACTIVE, 7)
    assert (message.path, message.interface, message.member) == ("/a/b", "org.example.Thing1", "Do")
    assert (message.sender, message.error_name, message.reply_serial) == ("", "", 0)
    assert message.body() == ["hello", {"n": 1}]


def test_same_octets_as_the_library() -> None:
    library: Any = LibraryMessage(
        path="/a/b",
        interface="org.example.Thing1",
        member="Do",
        destination="org.example.Thing",
        flags=library_constants.MessageFlag(4),
        signature="s",
        body=["hello"],
        serial=7,
    )
    theirs = one(bytes(library._marshall()))  # noqa: SLF001
    assert theirs == one(call())
    assert len(library._marshall()) == len(call())  # noqa: SLF001


@settings(max_examples=50)
@given(st.lists(st.integers(1, 40), max_size=30))
def test_cut_anywhere(cuts: list[int]) -> None:
    octets = b"".join(call(serial=serial) for serial in range(1, 6))
    splitter = Splitter()
    found: list[Message | Malformed] = []
    at = 0
    for cut in [*cuts, len(octets)]:
        found += splitter.feed(octets[at : at + cut])
        at += cut
    assert [message.serial for message in found if isinstance(message, Message)] == [1, 2, 3, 4, 5]


def test_big_endian() -> None:
    fields = b"\x01\x01o\0" + struct.pack(">I", 2) + b"/a\0" + bytes(5)
    fields += b"\x03\x01s\0" + struct.pack(">I", 1) + b"C\0" + bytes(6)
    fields += b"\x08\x01g\0\x01u\0"
    head = b"B\x01\0\x01" + struct.pack(">III", 4, 9, len(fields)) + fields
    message = one(head + bytes(-len(head) % 8) + struct.pack(">I", 5))
    assert (message.serial, message.path, message.member, message.body()) == (9, "/a", "C", [5])


def test_an_unknown_header_field_is_ignored() -> None:
    message = one(with_fields((77, Variant("s", "new")), (8, Variant("g", "u")), body=marshal("u", [3])))
    assert (message.member, message.body()) == ("C", [3])


def test_an_unknown_type_is_ignored() -> None:
    (message,) = messages(with_fields(kind=9) + with_fields(kind=0) + call())
    assert isinstance(message, Message)
    assert message.member == "Do"


@pytest.mark.parametrize(
    "bad",
    [
        with_fields((7, Variant("u", 5))),
        with_fields((5, Variant("s", "5"))),
        with_fields((8, Variant("as", []))),
        with_fields((8, Variant("g", "s")))[:-12] + b"\xff" * 12,
    ],
)
def test_a_bad_header_costs_only_its_message(bad: bytes) -> None:
    left_out, message = messages(bad + call())
    assert isinstance(left_out, Malformed)
    assert isinstance(message, Message)


def test_a_bad_name_is_not_ours_to_judge() -> None:
    """dbus-next ended the connection for it; the bus does not pass one on."""
    assert one(with_fields((7, Variant("s", "..")))).sender == ".."


def test_a_bad_body_costs_only_its_message() -> None:
    first, second = messages(with_fields((8, Variant("g", "s")), body=b"\xff\xff\xff\x7f") + call())
    assert isinstance(first, Message)
    with pytest.raises(Malformed):
        first.body()
    assert isinstance(second, Message)


@pytest.mark.parametrize(
    "start", [b"X" * 16, b"l\x04\0\x02" + bytes(12), b"l\x04\0\x01" + struct.pack("<III", MAX_MESSAGE, 1, 0)]
)
def test_what_is_no_message_ends_the_connection(start: bytes) -> None:
    with pytest.raises(Malformed):
        messages(start)


@settings(max_examples=100)
@given(st.data())
def test_whatever_is_damaged_is_a_message_or_malformed(data: st.DataObject) -> None:
    octets = bytearray(call("sa{sv}", "hello", {"n": Variant("as", ["x"])}))
    for at in data.draw(st.lists(st.integers(16, len(octets) - 1), min_size=1, max_size=4)):
        octets[at] = data.draw(st.integers(0, 255))
    for message in messages(bytes(octets)):
        if isinstance(message, Message):
            try:
                message.body()
            except Malformed:
                pass
