# SPDX-License-Identifier: GPL-2.0-or-later
"""Our marshalling against dbus-next's own: the same octets out, the same values in."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgsd_nm.bus import backend, marshal
from wgsd_nm.bus.marshal import Malformed, Variant, plain, split, unmarshal
from wgsd_nm.bus.marshal import marshal as to_octets
from wgsd_nm.core.errors import InvalidValue

assert backend.VERSION  # imported first: it makes the library importable everywhere

from dbus_next import signature as library  # noqa: E402
from dbus_next._private import constants as library_constants  # noqa: E402
from dbus_next._private.marshaller import Marshaller  # noqa: E402
from dbus_next._private.unmarshaller import Unmarshaller  # noqa: E402


def integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1) if signed else st.integers(0, (1 << bits) - 1)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)
PATHS = st.lists(st.text("aZ_09", min_size=1, max_size=3), max_size=3).map(lambda parts: "/" + "/".join(parts))
BASIC: dict[str, st.SearchStrategy[Any]] = {
    "y": integers(8, signed=False),
    "b": st.booleans(),
    "n": integers(16, signed=True),
    "q": integers(16, signed=False),
    "i": integers(32, signed=True),
    "u": integers(32, signed=False),
    "x": integers(64, signed=True),
    "t": integers(64, signed=False),
    "d": st.floats(allow_nan=False),
    "h": integers(32, signed=False),
    "s": TEXTS,
    "o": PATHS,
    "g": st.sampled_from(["", "s", "a{sv}", "(ii)aas"]),
}
SIGNATURES = st.recursive(
    st.sampled_from([*BASIC, "v", "a{sv}", "ay"]),
    lambda inner: (
        inner.map(lambda item: "a" + item)
        | st.tuples(st.sampled_from(list(BASIC)), inner).map(lambda pair: f"a{{{pair[0]}{pair[1]}}}")
        | st.lists(inner, min_size=1, max_size=3).map(lambda items: f"({''.join(items)})")
    ),
    max_leaves=6,
)


def values(signature: str) -> st.SearchStrategy[Any]:
    """What may be marshalled under a single complete type."""
    match signature[0]:
        case "v":
            return st.sampled_from(["s", "u", "as", "(yt)", "a{sv}"]).flatmap(
                lambda inner: values(inner).map(lambda value: Variant(inner, value))
            )
        case "(":
            return st.tuples(*(values(item) for item in split(signature[1:-1]))).map(list)
        case "a" if signature == "ay":
            return st.binary(max_size=5)
        case "a" if signature[1] == "{":
            key, item = split(signature[2:-1])
            return st.dictionaries(values(key), values(item), max_size=3)
        case "a":
            return st.lists(values(signature[1:]), max_size=3)
        case token:
            return BASIC[token]


BODIES = st.lists(SIGNATURES, max_size=3).flatmap(
    lambda types: st.tuples(st.just("".join(types)), st.tuples(*(values(type_) for type_ in types)))
)


def for_library(value: Any) -> Any:
    """A value with the library's own variants."""
    match value:
        case Variant():
            return library.Variant(value.signature, for_library(value.value))
        case list() | tuple():
            return [for_library(item) for item in value]
        case dict():
            return {key: for_library(item) for key, item in value.items()}
        case _:
            return value


def from_library(value: Any) -> Any:
    """A value without variants."""
    match value:
        case library.Variant():
            return from_library(value.value)
        case list():
            return [from_library(item) for item in value]
        case dict():
            return {key: from_library(item) for key, item in value.items()}
        case _:
            return value


def library_unmarshal(signature: str, body: bytes) -> list[Any]:
    reader: Any = Unmarshaller(io.BytesIO(body))  # type: ignore[no-untyped-call]  # the library has few types
    reader.endian = library_constants.LITTLE_ENDIAN
    return [from_library(reader.read_argument(type_)) for type_ in library.SignatureTree(signature).types]


@settings(max_examples=60)
@given(BODIES)
def test_same_octets_and_values_as_the_library(body: tuple[str, Sequence[Any]]) -> None:
    signature, arguments = body
    octets = to_octets(signature, arguments)
    writer: Any = Marshaller(signature, for_library(list(arguments)))  # type: ignore[no-untyped-call]  # as above
    assert octets == bytes(writer.marshall())
    received = unmarshal(signature, octets)
    assert received == library_unmarshal(signature, octets)
    assert received == plain(list(arguments))


@settings(max_examples=60)
@given(SIGNATURES, st.binary(max_size=64), st.booleans())
def test_any_octets_are_values_or_malformed(signature: str, octets: bytes, little: bool) -> None:
    try:
        unmarshal(signature, octets, little=little)
    except Malformed:
        pass


@settings(max_examples=40)
@given(BODIES, st.data())
def test_a_body_cut_short_is_malformed(body: tuple[str, Sequence[Any]], data: st.DataObject) -> None:
    octets = to_octets(*body)
    if octets:
        with pytest.raises(Malformed):
            unmarshal(body[0], octets[: data.draw(st.integers(0, len(octets) - 1))])


@pytest.mark.parametrize(
    ("signature", "octets"),
    [
        ("u", struct.pack("<IB", 1, 0)),  # more than the signature says
        ("s", struct.pack("<I", 5) + b"ab\0"),  # a text that ends after the message
        ("ay", struct.pack("<I", 5) + b"ab"),
        ("as", struct.pack("<I", 1 << 30)),
        ("a{sv}", struct.pack("<II", 1 << 30, 0)),
        ("auu", struct.pack("<III", 3, 1, 2)),  # an array that ends within an element
        ("a{yy}u", struct.pack("<IIII", 1, 0, 0x0101, 2)),
        ("a{sv}", struct.pack("<III", 1, 0, 1) + b"k\0\x01y\0\x01"),
        ("v", b"\x02ss\0"),
        ("v", b"\x00\0"),
        ("s", struct.pack("<I", 1) + b"\xff\0"),
        ("g", b"\x01\xff\0"),
    ],
)
def test_octets_that_contradict_themselves(signature: str, octets: bytes) -> None:
    with pytest.raises(Malformed):
        unmarshal(signature, octets)


def test_big_endian() -> None:
    text = struct.pack(">I", 2) + b"ab\0"
    assert unmarshal("yqus", b"\x07\0" + struct.pack(">HI", 258, 16909060) + text, little=False) == [
        7,
        258,
        16909060,
        "ab",
    ]
    entry = struct.pack(">I", 1) + b"k\0" + b"\x01u\0" + bytes(3) + struct.pack(">I", 9)
    assert unmarshal("a{sv}", struct.pack(">I", len(entry)) + bytes(4) + entry, little=False) == [{"k": 9}]
    assert unmarshal("ab", struct.pack(">III", 8, 1, 0), little=False) == [[True, False]]


@pytest.mark.parametrize(
    ("signature", "value"),
    [
        ("s", "a\0b"),
        ("s", b"octets"),
        ("s", "\ud800"),
        ("s", None),
        ("o", "no/slash"),
        ("o", "/a//b"),
        ("o", "/a/"),
        ("g", "(s"),
        ("g", 1),
        ("y", 256),
        ("q", -1),
        ("u", 1 << 32),
        ("t", -1),
        ("i", "1"),
        ("b", 1),
        ("ay", "text"),
        ("as", "text"),
        ("a{ss}", [("a", "b")]),
        ("a{sv}", ["a"]),
        ("a{sv}", {"a": "b"}),
        ("a{sv}", {1: Variant("s", "b")}),
        ("a{sv}", {"a\0": Variant("s", "b")}),
        ("(ss)", ["one"]),
        ("(ss)", "ab"),
        ("v", "text"),
        ("v", Variant("ss", "ab")),
        ("v", Variant("s", 5)),
        ("v", Variant("z", 5)),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_sent(signature: str, value: object) -> None:
    with pytest.raises(InvalidValue):
        to_octets(signature, [value])


def test_the_number_of_values_counts() -> None:
    with pytest.raises(InvalidValue):
        to_octets("ss", ["one"])


def test_an_endless_value_is_refused() -> None:
    nested = Variant("v", None)
    nested.value = nested
    with pytest.raises(InvalidValue):
        to_octets("v", [nested])


def test_an_array_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marshal, "MAX_ARRAY", 16)
    assert to_octets("at", [[1, 2]])
    with pytest.raises(InvalidValue):
        to_octets("at", [[1, 2, 3]])


@pytest.mark.parametrize(
    "signature", ["z", "a", "(", "()", "(s", "s)", "{sv}", "a{sv", "a{vs}", "a{s}", "a{sss}", "a" * 33 + "s", "s" * 256]
)
def test_wrong_signatures(signature: str) -> None:
    with pytest.raises(InvalidValue):
        split(signature)


def test_signatures_at_their_limits() -> None:
    assert split("a" * 32 + "s") == ("a" * 32 + "s",)
    assert split("(" * 32 + "s" + ")" * 32) == ("(" * 32 + "s" + ")" * 32,)
    assert split("sa{sv}(ia{ss})v") == ("s", "a{sv}", "(ia{ss})", "v")


def test_strangers_cannot_make_us_remember_without_limit() -> None:
    """dbus-next keeps every signature that it ever saw."""
    for number in range(1, marshal.PROPERTIES_KEPT + 10):
        unmarshal("a{sv}", to_octets("a{sv}", [{f"k{number}": Variant("s", "")}]))
    for number in range(1, marshal.SIGNATURES_KEPT + 10):
        signature = "(" + format(number, "b").replace("0", "y").replace("1", "u") + ")"
        octets = to_octets("v", [Variant(signature, [0] * (len(signature) - 2))])
        unmarshal("v", octets)
    for cache in (marshal._writers, marshal._readers, marshal._variant, marshal._variant_readers):  # noqa: SLF001
        assert cache.cache_info().currsize <= marshal.SIGNATURES_KEPT
    for properties in (marshal._property_head, marshal._known_property):  # noqa: SLF001
        assert properties.cache_info().currsize <= marshal.PROPERTIES_KEPT


def test_long_names_of_properties_are_not_remembered() -> None:
    marshal._known_property.cache_clear()  # noqa: SLF001
    name = "x" * 1000
    assert unmarshal("a{sv}", to_octets("a{sv}", [{name: Variant("u", 1)}])) == [{name: 1}]
    assert marshal._known_property.cache_info().currsize == 0  # noqa: SLF001
