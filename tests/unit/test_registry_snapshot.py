# SPDX-License-Identifier: GPL-2.0-or-later
"""The language of reader and server: what crosses, what never does, and that nothing malformed is believed."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.registry_objects import ALICE, BOB, PEERS, device, key
from wgsd_nm.core.errors import DeviceError, InvalidValue, NoSuchDevice, NotPermitted, NotWireGuard
from wgsd_nm.core.model import Device, Endpoint, IPAddress, IPNetwork, Peer, PublicKey
from wgsd_nm.registry import snapshot

ADDRESSES: st.SearchStrategy[IPAddress] = st.one_of(
    st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)
)
NETWORKS: st.SearchStrategy[IPNetwork] = st.one_of(
    st.builds(lambda number, prefix: IPv4Network((number >> 32 - prefix << 32 - prefix, prefix)),
              st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(lambda number, prefix: IPv6Network((number >> 128 - prefix << 128 - prefix, prefix)),
              st.integers(0, 2**128 - 1), st.integers(0, 128)),
)  # fmt: skip
KEYS = st.binary(min_size=32, max_size=32).map(PublicKey)
CROSSING = st.builds(
    Peer,
    KEYS,
    st.none() | st.builds(Endpoint, ADDRESSES, st.integers(0, 0xFFFF)),
    latest_handshake=st.integers(0, 2**63),
    allowed_ips=st.lists(NETWORKS, max_size=4).map(tuple),
)
DEVICES = st.builds(
    Device,
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=15),
    st.none() | KEYS,
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF_FFFF),
    st.lists(CROSSING, max_size=4).map(tuple),
)


def body(of: Device) -> bytes:
    reply = snapshot.reply(7, of)
    status, length = snapshot.parse_reply_header(reply[: snapshot.REPLY_LENGTH], 7)
    assert (status, length) == (0, len(reply) - snapshot.REPLY_LENGTH)
    return reply[snapshot.REPLY_LENGTH :]


@given(DEVICES)
@settings(max_examples=50)
def test_a_device_arrives_as_it_was_sent(sent: Device) -> None:
    assert snapshot.Decoder().decode(body(sent)) == sent


def test_counters_and_scopes_stay_behind() -> None:
    sent = Peer(key("alice"), Endpoint.parse("[fe80::1%3]:1"), 5, rx_bytes=6, tx_bytes=7, persistent_keepalive=25)
    (arrived,) = snapshot.Decoder().decode(body(device(sent))).peers
    assert arrived == Peer(key("alice"), Endpoint.parse("[fe80::1]:1"), 5)


def test_a_peer_that_did_not_change_is_the_same_object() -> None:
    decoder = snapshot.Decoder()
    before = decoder.decode(body(device(*PEERS))).peers
    moved = dataclasses.replace(ALICE, endpoint=Endpoint.parse("192.0.2.9:9"))
    after = decoder.decode(body(device(moved, *PEERS[1:]))).peers
    assert after[0] == moved
    assert all(one is other for one, other in zip(before[1:], after[1:], strict=True))
    assert decoder.decode(body(device(*PEERS))).peers[0] == ALICE


@pytest.mark.parametrize("kind", [DeviceError, NoSuchDevice, NotWireGuard, NotPermitted])
def test_an_error_arrives_as_itself(kind: type[DeviceError]) -> None:
    reply = snapshot.reply(7, kind("there is no wg0"))
    status, length = snapshot.parse_reply_header(reply[: snapshot.REPLY_LENGTH], 7)
    error = snapshot.failure(status, reply[-length:])
    assert (type(error), str(error)) == (kind, "there is no wg0")


def test_requests() -> None:
    for interface in ("wg0", "fifteen-octets!", "wg-ü"):
        request = snapshot.request(65535, interface)
        assert len(request) == snapshot.REQUEST_LENGTH
        assert snapshot.parse_request(request) == (65535, interface)


@pytest.mark.parametrize("start", ["01010000", "02020000", "00000000"])
def test_requests_of_another_language_are_unknown(start: str) -> None:
    with pytest.raises(InvalidValue, match="unknown"):
        snapshot.parse_request(bytes.fromhex(start) + b"wg0".ljust(15, b"\0"))


@pytest.mark.parametrize("name", [b"", b"wg/0", b"\xff", b"wg0\0wg1"])
def test_requests_name_an_interface(name: bytes) -> None:
    with pytest.raises(InvalidValue, match="not a network interface name"):
        snapshot.parse_request(bytes.fromhex("02010000") + name.ljust(15, b"\0"))


@pytest.mark.parametrize("header", ["01000007 00000000", "02050007 00000000", "02000008 00000000", "02000007 01000001"])
def test_a_reply_to_another_question_is_not_believed(header: str) -> None:
    with pytest.raises(InvalidValue):
        snapshot.parse_reply_header(bytes.fromhex(header), 7)


def test_an_encoder_forgets_what_a_peer_was() -> None:
    encoder = snapshot.Encoder()
    moved = dataclasses.replace(BOB, endpoint=Endpoint.parse("192.0.2.9:9"))
    for peers in ((ALICE, BOB), (ALICE, moved), (moved, ALICE), (moved,), (), PEERS, PEERS):
        assert snapshot.Decoder().decode(encoder.encode(device(*peers))) == device(*peers)


def test_a_device_that_is_too_large_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MAX_BODY", 300)
    reply = snapshot.reply(7, device(*PEERS))
    status, _ = snapshot.parse_reply_header(reply[: snapshot.REPLY_LENGTH], 7)
    assert "wg0 has more peers" in str(snapshot.failure(status, reply[snapshot.REPLY_LENGTH :]))


@given(DEVICES, st.data())
@settings(max_examples=100)
def test_malformed_bodies_raise_nothing_but_invalid_value(sent: Device, data: st.DataObject) -> None:
    whole = body(sent)
    at = data.draw(st.integers(0, len(whole)))
    cut = data.draw(st.integers(0, 5))
    wrong = whole[:at] + data.draw(st.binary(max_size=4)) + whole[at + cut :]
    try:
        snapshot.Decoder().decode(wrong)
    except InvalidValue:
        pass


def test_what_is_missing_or_too_much_is_malformed() -> None:
    whole = body(device(*PEERS))
    for wrong in (whole[:-1], whole + b"\0", b"", whole[:40]):
        with pytest.raises(InvalidValue, match="snapshot"):
            snapshot.Decoder().decode(wrong)
