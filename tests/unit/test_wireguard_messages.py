# SPDX-License-Identifier: GPL-2.0-or-later
"""Octets to values and back, on messages written here by hand from linux/wireguard.h: nothing but bytes."""

from __future__ import annotations

import gc
import socket
import struct
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from types import FunctionType, ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.wireguard_octets import (
    GENERIC,
    KEY,
    SAMPLE,
    SECRET,
    allowed,
    attribute,
    dump,
    nested,
    parts,
    sockaddr,
)
from wgsd_nm import wireguard_messages as messages
from wgsd_nm.core.errors import DeviceError, InvalidValue
from wgsd_nm.core.model import Device, Endpoint, Peer, PublicKey

LOOPBACK = socket.if_nametoindex("lo")


def decode(*dumped: bytes, interface: str = "wg0") -> Device:
    decoder = messages.DeviceDecoder(interface)
    for message in dumped:
        decoder.add(memoryview(bytearray(message)))
    return decoder.device()


keys = st.binary(min_size=32, max_size=32).map(PublicKey)
networks = st.one_of(
    st.tuples(st.binary(min_size=4, max_size=4), st.integers(0, 32)).map(lambda v: IPv4Network(v, strict=False)),
    st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, 128)).map(lambda v: IPv6Network(v, strict=False)),
)
endpoints = st.builds(
    Endpoint, st.one_of(st.ip_addresses(v=4), st.integers(0, 2**128 - 1).map(IPv6Address)), st.integers(0, 0xFFFF)
)
octets = st.integers(0, 2**64 - 1)
peers = st.builds(
    Peer,
    keys,
    st.none() | endpoints,
    st.integers(0, 2**40).map(lambda micros: micros),
    octets,
    octets,
    st.integers(0, 0xFFFF),
    st.lists(networks, max_size=4).map(tuple),
)
devices = st.builds(
    Device,
    st.just("wg0"),
    st.none() | keys,
    st.integers(0, 0xFFFF),
    st.integers(0, 2**32 - 1),
    st.lists(peers, max_size=5, unique_by=lambda peer: peer.public_key).map(tuple),
)


def test_a_device_and_its_peers_are_read() -> None:
    assert decode(dump(SAMPLE)) == SAMPLE


@given(devices)
def test_every_device_is_read_as_it_is(device: Device) -> None:
    assert decode(dump(device)) == device


@settings(max_examples=40)
@given(device=devices, random=st.randoms(use_true_random=False))
def test_the_order_of_a_peers_attributes_does_not_matter(device: Device, random: object) -> None:
    def shuffled(attributes: list[bytes]) -> list[bytes]:
        random.shuffle(attributes)  # type: ignore[attr-defined]  # hypothesis gives a random.Random of its own kind
        return attributes

    assert decode(dump(device, shuffle=shuffled)) == device


def test_a_kernel_that_aligns_its_numbers_is_understood() -> None:
    """nla_put_u64_64bit() puts an empty attribute of type 0 before 64-bit numbers where the processor needs it."""
    padded = dump(SAMPLE, shuffle=lambda attributes: [part for one in attributes for part in (attribute(0, b""), one)])
    assert decode(padded) == SAMPLE


def test_unknown_attributes_are_passed_over() -> None:
    newer = dump(SAMPLE, shuffle=lambda attributes: [*attributes, attribute(99, b"news")]) + attribute(77, b"x")
    assert decode(newer) == SAMPLE


def test_peers_cut_by_the_end_of_a_message_are_joined_by_key() -> None:
    first, second = SAMPLE.peers
    rest = (ip_network("10.9.0.0/16"), ip_network("fd00::/8"))
    cut = GENERIC + nested(8, nested(0, attribute(1, first.public_key.raw), allowed(rest)), nested(0, *parts(second)))
    whole = decode(dump(replace(SAMPLE, peers=(first,))), cut)
    assert whole == replace(SAMPLE, peers=(replace(first, allowed_ips=first.allowed_ips + rest), second))


@given(st.lists(networks, min_size=1, max_size=30), st.data())
def test_a_peer_may_be_cut_into_any_number_of_pieces(all_networks: list[IPv4Network], data: st.DataObject) -> None:
    peer = replace(SAMPLE.peers[0], allowed_ips=())
    pieces: list[bytes] = [dump(replace(SAMPLE, peers=(peer,)))]
    left = list(all_networks)
    while left:
        count = data.draw(st.integers(1, len(left)))
        pieces.append(GENERIC + nested(8, nested(0, attribute(1, peer.public_key.raw), allowed(left[:count]))))
        left = left[count:]
    assert decode(*pieces).peers == (replace(peer, allowed_ips=tuple(all_networks)),)


def test_no_private_or_preshared_key_is_kept_anywhere() -> None:
    """Also not by a cache: no object of Python's that the collector knows holds them after the message is wiped."""
    for shuffle in (lambda attributes: attributes, lambda attributes: attributes[::-1]):
        message = bytearray(dump(SAMPLE, shuffle=shuffle))
        assert message.count(SECRET) == 3
        decoder = messages.DeviceDecoder("wg0")
        with memoryview(message) as view:
            decoder.add(view)
        message[:] = bytes(len(message))
        message.clear()  # raises BufferError if the decoder still refers to it
        held: list[object] = [decoder, *vars(messages).values()]
        seen: set[int] = set()
        while held:
            thing = held.pop()
            if id(thing) in seen or isinstance(thing, type | ModuleType | FunctionType):
                continue
            seen.add(id(thing))
            assert not (isinstance(thing, bytes) and SECRET in thing)
            held.extend(gc.get_referents(thing))
        assert len(seen) > 100


@settings(max_examples=40)
@given(device=devices, random=st.randoms(use_true_random=False))
def test_paths_are_what_the_device_says(device: Device, random: object) -> None:
    def shuffled(attributes: list[bytes]) -> list[bytes]:
        random.shuffle(attributes)  # type: ignore[attr-defined]  # hypothesis gives a random.Random of its own kind
        return attributes

    expected = [
        (peer.public_key.raw, (peer.endpoint and messages.encode_endpoint(peer.endpoint), peer.persistent_keepalive))
        for peer in device.peers
    ]
    assert messages.decode_paths(memoryview(dump(device))) == expected
    assert messages.decode_paths(memoryview(dump(device, shuffle=shuffled))) == expected


def test_what_a_program_left_beside_an_address_does_not_count() -> None:
    for text, place in (("192.0.2.1:7", slice(8, 16)), ("[fe80::1]:7", slice(4, 8))):
        endpoint = Endpoint.parse(text)
        clean = dump(replace(SAMPLE, peers=(Peer(KEY, endpoint),)))
        littered = bytearray(sockaddr(endpoint))
        littered[place] = b"x" * (place.stop - place.start)
        dirty = clean.replace(sockaddr(endpoint), bytes(littered))
        assert dirty != clean
        assert messages.decode_paths(memoryview(dirty)) == messages.decode_paths(memoryview(clean))
        assert decode(dirty) == decode(clean)


@given(st.lists(devices, min_size=2, max_size=4))
def test_what_is_known_of_other_dumps_changes_nothing(dumped: list[Device]) -> None:
    known: dict[bytes, tuple[bytes, Peer]] = {}
    for device in [*dumped, *dumped]:
        decoder = messages.DeviceDecoder("wg0", known)
        decoder.add(memoryview(dump(device)))
        assert decoder.device() == device
        known |= decoder.records


def test_a_peer_that_is_as_it_was_is_the_same_object() -> None:
    first, second = SAMPLE.peers
    moved = replace(SAMPLE, peers=(first, replace(second, rx_bytes=1)))
    before = messages.DeviceDecoder("wg0")
    before.add(memoryview(dump(SAMPLE)))
    after = messages.DeviceDecoder("wg0", before.records)
    after.add(memoryview(dump(moved)))
    assert after.device() == moved
    assert after.device().peers[0] is before.device().peers[0]


@pytest.mark.parametrize(
    "now",
    [
        {"endpoint": Endpoint.parse("192.0.2.9:9")},
        {"endpoint": Endpoint.parse("[2001:db8::9]:9")},
        {"endpoint": None},
        {"allowed_ips": ()},
        {"allowed_ips": (IPv6Network("fd09::/64"), IPv4Network("10.9.0.0/16"))},
        {"latest_handshake": 7},
        {"tx_bytes": 7, "persistent_keepalive": 7},
    ],
)
def test_a_peer_that_differs_is_made_anew(now: dict[str, Any]) -> None:
    first, second = SAMPLE.peers
    changed = replace(SAMPLE, peers=(first, replace(second, **now)))
    before = messages.DeviceDecoder("wg0")
    before.add(memoryview(dump(SAMPLE)))
    after = messages.DeviceDecoder("wg0", before.records)
    after.add(memoryview(dump(changed)))
    assert after.device() == changed


def test_a_peer_with_a_scope_is_never_known() -> None:
    near = replace(SAMPLE.peers[0], endpoint=Endpoint.parse("[fe80::1%lo]:1"))
    decoder = messages.DeviceDecoder("wg0")
    decoder.add(memoryview(dump(replace(SAMPLE, peers=(near,)), scope=LOOPBACK)))
    assert decoder.device().peers == (near,)
    assert not decoder.records


def test_a_device_without_a_key_has_none() -> None:
    assert decode(dump(replace(SAMPLE, public_key=None))).public_key is None


def test_handshakes_are_microseconds_and_zero_is_never() -> None:
    assert decode(dump(SAMPLE)).peers[0].latest_handshake == 1_700_000_000_123_456
    assert decode(dump(SAMPLE)).peers[1].latest_handshake == 0


def test_a_scope_is_the_interface_of_that_index_in_the_hosts_byte_order() -> None:
    near = Endpoint(IPv6Address("fe80::1"), 51820)
    assert str(messages.decode_endpoint(sockaddr(near, LOOPBACK))) == "[fe80::1%lo]:51820"


def test_a_scope_whose_interface_has_gone_is_its_number() -> None:
    near = Endpoint(IPv6Address("fe80::1"), 51820)
    for gone in (4_000_000_000, 2**31 - 1):
        assert str(messages.decode_endpoint(sockaddr(near, gone))) == f"[fe80::1%{gone}]:51820"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1:51820", "0200ca6cc0000201" + "00" * 8),
        ("[2001:db8::1]:443", "0a0001bb" + "00000000" + "20010db8000000000000000000000001" + "00000000"),
        ("[fe80::1%lo]:1", None),
        (f"[fe80::1%{LOOPBACK}]:1", None),
        ("[fe80::1%77]:1", "0a000001" + "00000000" + "fe800000000000000000000000000001" + "4d000000"),
    ],
)
def test_endpoints_are_written_as_the_kernel_holds_them(text: str, expected: str | None) -> None:
    endpoint = Endpoint.parse(text)
    scoped = sockaddr(endpoint, LOOPBACK) if expected is None else None
    written = messages.encode_endpoint(endpoint)
    if scoped is not None:
        assert written == scoped
    elif struct.pack("=H", 1) == b"\1\0":
        assert written.hex() == expected
    else:  # a big-endian host: only family and scope id differ
        assert written == sockaddr(endpoint, 77 if "%" in text else 0)


@given(endpoints)
def test_endpoints_come_back_as_they_were_written(endpoint: Endpoint) -> None:
    assert messages.decode_endpoint(messages.encode_endpoint(endpoint)) == endpoint


@pytest.mark.parametrize("scope", ["no-such-if", "4294967296", "٣"])
def test_a_scope_that_is_no_interface_is_refused(scope: str) -> None:
    with pytest.raises(InvalidValue, match="scope"):
        messages.encode_endpoint(Endpoint(IPv6Address(f"fe80::1%{scope}"), 1))


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\2",
        sockaddr(SAMPLE.peers[0].endpoint or Endpoint(IPv4Address(0), 0))[:-1],
        struct.pack("=H", socket.AF_INET6) + bytes(14),
        struct.pack("=H", socket.AF_INET) + bytes(26),
        struct.pack("=H", socket.AF_UNIX) + bytes(26),
    ],
)
def test_an_address_of_another_kind_is_an_error(wrong: bytes) -> None:
    with pytest.raises(DeviceError):
        messages.decode_endpoint(wrong)


def test_a_network_that_cannot_be_is_an_error() -> None:
    for address, prefix, family in ((b"\n\0\0\1", 24, 2), (b"\n\0\0\0", 33, 2), (b"\n\0\0\0", 8, 10), (b"\n\0", 8, 2)):
        entry = nested(0, attribute(3, bytes([prefix])), attribute(1, struct.pack("=H", family)), attribute(2, address))
        with pytest.raises(DeviceError):
            messages.decode_allowed_ips(entry)


def test_a_peer_without_a_key_is_an_error() -> None:
    with pytest.raises(DeviceError):
        decode(GENERIC + nested(8, nested(0, attribute(5, b"\0\0"))))


@given(device=devices, data=st.data())
def test_a_cut_message_is_an_error_or_a_smaller_device(device: Device, data: st.DataObject) -> None:
    whole = dump(device)
    message = whole[: data.draw(st.integers(0, len(whole)))]
    try:
        read = decode(message)
    except DeviceError:
        return
    assert len(read.peers) <= len(device.peers)


@given(device=devices, data=st.data())
def test_whatever_the_octets_only_a_device_error_is_raised(device: Device, data: st.DataObject) -> None:
    message = bytearray(dump(device))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    for decoder in (decode, lambda octets: messages.decode_paths(memoryview(octets))):
        try:
            decoder(bytes(message))
        except DeviceError:
            pass


@given(st.binary(max_size=200))
def test_noise_is_split_into_whole_messages_or_refused(noise: bytes) -> None:
    try:
        for *_, start, stop in messages.split(memoryview(noise), len(noise)):
            assert 16 <= start <= stop <= len(noise)
    except DeviceError:
        pass


@given(st.binary(max_size=200))
def test_noise_is_a_device_error(noise: bytes) -> None:
    for decoder in (
        messages.decode_family,
        messages.decode_paths,
        messages.DeviceDecoder("wg0").add,
    ):
        try:
            decoder(memoryview(noise))
        except DeviceError:
            pass


def entries(poke: bytes) -> list[dict[int, bytes]]:
    """What a reader of the kernel's rules (nla_ok()) finds in a list of peers."""
    found = []
    for kind, value in walk(poke):
        assert kind == 0x8000
        found.append(dict(walk(value)))
    return found


def walk(data: bytes) -> Iterable[tuple[int, bytes]]:
    while data:
        length, kind = struct.unpack_from("=HH", data)
        assert 4 <= length <= len(data)
        yield kind, data[4:length]
        data = data[(length + 3) & ~3 :]


UPDATE_ONLY = struct.pack("=I", 4)


def interval(seconds: int) -> bytes:
    return struct.pack("=H", seconds)


@given(keys, endpoints, st.integers(1, 0xFFFF))
def test_a_poke_sets_the_endpoint_and_moves_the_keepalive_to_nothing_and_back(
    key: PublicKey, endpoint: Endpoint, keepalive: int
) -> None:
    assert entries(messages.encode_poke(key.raw, sockaddr(endpoint), keepalive)) == [
        {1: key.raw, 3: UPDATE_ONLY, 4: sockaddr(endpoint), 5: interval(0)},
        {1: key.raw, 3: UPDATE_ONLY, 5: interval(keepalive)},
    ]


@given(keys, endpoints)
def test_quietly_only_the_endpoint_is_set(key: PublicKey, endpoint: Endpoint) -> None:
    octets = messages.encode_quiet(key.raw, sockaddr(endpoint))
    assert entries(octets) == [{1: key.raw, 3: UPDATE_ONLY, 4: sockaddr(endpoint)}]


def test_a_poke_without_keepalive_ends_without_keepalive() -> None:
    assert entries(messages.encode_poke(KEY.raw, None, 0)) == [
        {1: KEY.raw, 3: UPDATE_ONLY, 5: interval(0)},
        {1: KEY.raw, 3: UPDATE_ONLY, 5: interval(1)},
        {1: KEY.raw, 3: UPDATE_ONLY, 5: interval(0)},
    ]


@settings(max_examples=20)
@given(st.lists(st.tuples(keys, st.none() | endpoints, st.sampled_from([0, 25])), max_size=900))
def test_messages_are_few_whole_and_below_the_limit(
    wishes: list[tuple[PublicKey, Endpoint | None, int]],
) -> None:
    pokes = [
        messages.encode_poke(key.raw, None if endpoint is None else sockaddr(endpoint), keepalive)
        for key, endpoint, keepalive in wishes
    ]
    check_messages(pokes)


def check_messages(pokes: list[bytes]) -> int:
    seen: list[bytes] = []
    sizes = []
    for count, message in messages.encode_set("wg0", pokes):
        assert message[:4] == b"\1\1\0\0"
        (name_kind, name), (list_kind, listed) = walk(message[4:])
        assert (name_kind, name, list_kind) == (2, b"wg0\0", 0x8008)
        assert listed == b"".join(pokes[len(seen) : len(seen) + count])
        seen += pokes[len(seen) : len(seen) + count]
        sizes.append(16 + len(message))
    assert seen == pokes
    assert all(size < messages.MESSAGE_LIMIT for size in sizes)
    assert all(size > messages.MESSAGE_LIMIT - 300 for size in sizes[:-1])
    return len(sizes)


def test_a_thousand_peers_take_a_few_messages() -> None:
    pokes = [
        messages.encode_poke(number.to_bytes(32), sockaddr(Endpoint(IPv6Address(number), 1)), 0)
        for number in range(1000)
    ]
    assert check_messages(pokes) == 4


def test_a_wrong_interface_name_never_becomes_a_message() -> None:
    for name in ("", "wg0\0", "a/b", "sixteen-letters-"):
        with pytest.raises(InvalidValue):
            messages.encode_get(name)


def test_the_familys_number_is_found() -> None:
    answer = b"\1\2\0\0" + attribute(2, b"wireguard\0") + attribute(1, struct.pack("=H", 33))
    assert messages.decode_family(memoryview(answer)) == 33
    with pytest.raises(DeviceError):
        messages.decode_family(memoryview(b"\1\2\0\0"))
