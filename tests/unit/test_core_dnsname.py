# SPDX-License-Identifier: GPL-2.0-or-later
"""Names on the wire, with dnspython as the judge, and the compression of RFC 1035 section 4.1.4."""

from __future__ import annotations

import dns.name
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wgsd_nm.core.dnsname import HEADER, MAX_POINTER, Compressor, plain_end, read
from wgsd_nm.core.errors import InvalidValue

LABELS = st.binary(min_size=1, max_size=63)
NAMES = st.lists(LABELS, max_size=6).filter(lambda labels: sum(map(len, labels)) + len(labels) < 255)

# RFC 1035 section 4.1.4: F.ISI.ARPA, FOO.F.ISI.ARPA, ARPA and the root, from the octet 20 on.
RFC_1035 = bytes(20) + b"\1F\3ISI\4ARPA\0" + bytes(8) + b"\3FOO\xc0\x14" + bytes(18) + b"\xc0\x1a" + bytes(26) + b"\0"


def wire(labels: list[bytes]) -> bytes:
    return dns.name.Name([*labels, b""]).to_wire() or b""


@pytest.mark.parametrize(
    ("at", "name", "end"),
    [
        (20, b"\1F\3ISI\4ARPA\0", 32),
        (40, b"\3FOO\1F\3ISI\4ARPA\0", 46),
        (64, b"\4ARPA\0", 66),
        (92, b"\0", 93),
    ],
)
def test_the_example_of_rfc_1035(at: int, name: bytes, end: int) -> None:
    assert read(RFC_1035, at, len(RFC_1035)) == (name, end)


def test_the_example_of_rfc_1035_is_what_is_written() -> None:
    compressor = Compressor()
    assert compressor.write(b"\1F\3ISI\4ARPA\0", 20) == b"\1F\3ISI\4ARPA\0"
    assert compressor.write(b"\3FOO\1F\3ISI\4ARPA\0", 40) == b"\3FOO\xc0\x14"
    assert compressor.write(b"\4ARPA\0", 64) == b"\xc0\x1a"
    assert compressor.write(b"\0", 92) == b"\0"


@given(st.lists(NAMES, max_size=8), st.integers(HEADER, MAX_POINTER + 400))
def test_what_is_compressed_can_be_read(names: list[list[bytes]], start: int) -> None:
    message, ends, compressor = bytes(start), [], Compressor()
    for labels in names:
        message += compressor.write(wire(labels), len(message))
        ends.append(len(message))
    at = start
    for labels, end in zip(names, ends, strict=True):
        assert read(message, at, len(message)) == (wire(labels), end)
        assert dns.name.from_wire(message, at) == (dns.name.Name([*labels, b""]), end - at)
        at = end


def test_a_name_beyond_the_last_pointer_is_not_pointed_to() -> None:
    compressor = Compressor()
    assert compressor.write(b"\1a\0", MAX_POINTER + 1) == b"\1a\0"
    assert compressor.write(b"\1a\0", MAX_POINTER + 9) == b"\1a\0"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\1",
        b"\1a",
        b"\2a\0",
        b"\x40" + bytes(80),
        b"\x80\0",
        b"\xc0",
        b"\xc0\x0c",  # itself
        b"\xc0\x0b",  # the header
        b"\xc0\x20",  # behind
        b"\1a\xc0\x0c",  # its own begin
        (b"\x3f" + bytes(63)) * 3 + b"\x3e" + bytes(62) + b"\0",  # 256 octets
    ],
)
def test_what_is_no_name(octets: bytes) -> None:
    message = bytes(HEADER) + octets
    with pytest.raises(InvalidValue):
        read(message, HEADER, len(message))
    with pytest.raises(InvalidValue):
        plain_end(octets, 0)


def test_pointers_do_not_lead_in_a_circle() -> None:
    with pytest.raises(InvalidValue, match="earlier place than 12"):
        read(bytes(HEADER) + b"\xc0\x0e\xc0\x0c\xc0\x0c", 16, 18)


def test_the_longest_name() -> None:
    name = (b"\x3f" + bytes(63)) * 3 + b"\x3d" + bytes(61) + b"\0"
    assert len(name) == 255
    assert read(bytes(HEADER) + name, HEADER, HEADER + 255) == (name, HEADER + 255)
    assert plain_end(name + b"x", 0) == 255


def test_a_name_ends_where_it_has_to() -> None:
    with pytest.raises(InvalidValue):
        read(bytes(HEADER) + b"\1a\0", HEADER, HEADER + 2)


@given(st.binary(max_size=300), st.integers(0, 300))
@example(bytes(12) + b"\1a\xc0\x0c\xc0\x0e", 16)
def test_any_octets_are_read_as_dnspython_does_or_refused(octets: bytes, at: int) -> None:
    try:
        name, end = read(octets, at, len(octets))
    except InvalidValue:
        return
    judged, used = dns.name.from_wire(octets, at)
    assert (judged.to_wire(), at + used) == (name, end)


@given(NAMES, st.binary(max_size=9))
def test_a_plain_name_ends_where_it_does(labels: list[bytes], rest: bytes) -> None:
    assert plain_end(wire(labels) + rest, 0) == len(wire(labels))
