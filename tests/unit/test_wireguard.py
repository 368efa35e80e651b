# SPDX-License-Identifier: GPL-2.0-or-later
"""What WireGuard makes of a kernel that refuses, interrupts, repeats itself or breaks off."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from tests.unit.scripted_kernel import ACK, END, FAMILY, ScriptedKernel, error, message
from tests.unit.wireguard_octets import KEY, OTHER, SAMPLE, dump
from wgsd_nm import wireguard
from wgsd_nm.core.errors import DeviceError, InvalidValue, NoSuchDevice, NotPermitted, NotWireGuard
from wgsd_nm.core.model import ChangeResult, Device, Endpoint, EndpointChange, Peer, PublicKey
from wgsd_nm.wireguard import DUMP_ATTEMPTS, WireGuard, judge
from wgsd_nm.wireguard_messages import Path, encode_endpoint

NEW = Endpoint(IPv4Address("198.51.100.7"), 51820)
OLD = SAMPLE.peers[0].endpoint
UNKNOWN = PublicKey(bytes(32))
INTERRUPTED = 0x10  # NLM_F_DUMP_INTR


def part(device: Device = SAMPLE, *, flags: int = 0) -> list[object]:
    return [message(FAMILY, dump(device), flags=2 | flags)]


WHOLE = (part(), [END])


def opened(monkeypatch: pytest.MonkeyPatch, *answers: Sequence[object]) -> tuple[WireGuard, ScriptedKernel]:
    kernel = ScriptedKernel(*answers)
    monkeypatch.setattr(wireguard, "create_socket", kernel.create_socket)
    return WireGuard(), kernel


def test_a_device_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    device, _ = opened(monkeypatch, WHOLE, [[*part(), END]])
    assert device.read("wg0") == SAMPLE
    assert device.read("wg0") == SAMPLE


def test_an_interrupted_dump_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    half = replace(SAMPLE, peers=SAMPLE.peers[:1])
    device, kernel = opened(monkeypatch, (part(half, flags=INTERRUPTED), [END]), WHOLE)
    assert device.read("wg0") == SAMPLE
    assert len(kernel.requests) == 2


def test_a_dump_that_is_interrupted_at_its_end_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    end = message(3, bytes(4), flags=INTERRUPTED)
    device, _ = opened(monkeypatch, (part(replace(SAMPLE, peers=())), [end]), WHOLE)
    assert device.read("wg0") == SAMPLE


def test_a_dump_that_is_always_interrupted_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    device, kernel = opened(monkeypatch, *[(part(flags=INTERRUPTED), [END])] * DUMP_ATTEMPTS)
    with pytest.raises(DeviceError, match="change faster"):
        device.read("wg0")
    assert len(kernel.requests) == DUMP_ATTEMPTS


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENODEV, NoSuchDevice),
        (errno.EOPNOTSUPP, NotWireGuard),
        (errno.EPERM, NotPermitted),
        (errno.EBUSY, DeviceError),
    ],
)
def test_a_refusal_is_a_fact(monkeypatch: pytest.MonkeyPatch, number: int, kind: type[DeviceError]) -> None:
    device, kernel = opened(monkeypatch, [[error(number)]], [[message(3, struct.pack("=i", -number))]], WHOLE)
    for _ in range(2):
        with pytest.raises(DeviceError, match="wg0") as raised:
            device.read("wg0")
        assert type(raised.value) is kind
    assert device.read("wg0") == SAMPLE
    assert len(kernel.sockets) == 1


def test_what_belongs_to_another_request_or_comes_from_a_process_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    foreign = [message(2, struct.pack("=i", -errno.EPERM), sequence=77)]
    forged = ([error(errno.EPERM)], 0, 4711)
    device, _ = opened(monkeypatch, (foreign, forged, *WHOLE))
    assert device.read("wg0") == SAMPLE


@pytest.mark.parametrize(
    "broken",
    [
        [[lambda _: b"\1\2\3"]],
        [[lambda sequence: struct.pack("=IHHII", 15, FAMILY, 0, sequence, 0)]],
        [[lambda sequence: struct.pack("=IHHII", 99, FAMILY, 0, sequence, 0)]],
        [[message(3, b"")]],
        [[message(FAMILY, dump(SAMPLE)[:-5])], [END]],
        [(part(), socket.MSG_TRUNC, 0)],
        [TimeoutError("timed out")],
        [OSError(errno.ENOBUFS, "No buffer space available")],
    ],
)
def test_after_a_broken_answer_the_next_one_comes_on_a_new_socket(
    monkeypatch: pytest.MonkeyPatch, broken: list[object]
) -> None:
    device, kernel = opened(monkeypatch, broken, WHOLE)
    with pytest.raises(DeviceError):
        device.read("wg0")
    assert kernel.sockets[0].closed
    assert device.read("wg0") == SAMPLE
    assert len(kernel.sockets) == 2


def test_no_secret_is_left_in_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    device, _ = opened(monkeypatch, WHOLE)
    device.read("wg0")
    buffer = device._netlink._buffer  # noqa: SLF001 - the one place where secrets pass through
    assert len(buffer) == wireguard.REPLY_BUFFER
    assert not any(buffer)


def test_closing_closes_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    device, kernel = opened(monkeypatch)
    with device:
        assert not kernel.sockets[0].closed
    assert kernel.sockets[0].closed


def test_changes_are_compared_then_written_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    device, kernel = opened(monkeypatch, WHOLE, [[ACK]])
    changes = [
        EndpointChange(OTHER, OLD, NEW),
        EndpointChange(UNKNOWN, None, NEW),
        EndpointChange(KEY, OLD, NEW),
    ]
    results = device.set_endpoints("wg0", changes)
    assert list(results.items()) == [
        (OTHER, ChangeResult.STALE),
        (UNKNOWN, ChangeResult.UNKNOWN_PEER),
        (KEY, ChangeResult.CHANGED),
    ]
    _, written = kernel.requests
    assert written.count(KEY.raw) == 2
    assert OTHER.raw not in written
    assert UNKNOWN.raw not in written


def test_what_needs_no_writing_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    device, kernel = opened(monkeypatch, WHOLE, WHOLE)
    assert device.set_endpoints("wg0", [EndpointChange(KEY, NEW, NEW)]) == {KEY: ChangeResult.STALE}
    assert device.set_endpoints("wg0", []) == {}
    assert len(kernel.requests) == 2


@pytest.mark.parametrize(
    "changes",
    [
        [EndpointChange(KEY, OLD, NEW), EndpointChange(PublicKey(KEY.raw), OLD, None)],
        [EndpointChange(KEY, OLD, NEW), EndpointChange(OTHER, None, Endpoint.parse("[fe80::1%nowhere]:1"))],
    ],
)
def test_a_wrong_change_refuses_all_of_them_unasked(
    monkeypatch: pytest.MonkeyPatch, changes: list[EndpointChange]
) -> None:
    device, kernel = opened(monkeypatch)
    with pytest.raises(InvalidValue):
        device.set_endpoints("wg0", changes)
    assert not kernel.requests


def test_a_refusal_in_the_midst_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = tuple(Peer(PublicKey(number.to_bytes(32)), OLD, persistent_keepalive=25) for number in range(700))
    dumped = [part(replace(SAMPLE, peers=peers[start : start + 200])) for start in range(0, 700, 200)]
    device, kernel = opened(monkeypatch, (*dumped, [END]), [[ACK]], [[error(errno.ENODEV)]])
    with pytest.raises(NoSuchDevice, match=r"of 700 peers, \d{3} had been written"):
        device.set_endpoints("wg0", [EndpointChange(peer.public_key, OLD, NEW) for peer in peers])
    assert len(kernel.requests) == 3


@pytest.mark.parametrize(
    ("present", "expected", "wanted", "result"),
    [
        (OLD, OLD, NEW, ChangeResult.CHANGED),
        (None, None, NEW, ChangeResult.CHANGED),
        (OLD, OLD, OLD, ChangeResult.POKED),
        (OLD, OLD, None, ChangeResult.POKED),
        (None, None, None, ChangeResult.NO_ENDPOINT),
        (OLD, None, NEW, ChangeResult.STALE),
        (OLD, NEW, NEW, ChangeResult.STALE),
        (OLD, NEW, None, ChangeResult.STALE),
        (None, OLD, NEW, ChangeResult.STALE),
        (None, OLD, None, ChangeResult.STALE),
    ],
)
def test_what_becomes_of_a_change(
    present: Endpoint | None, expected: Endpoint | None, wanted: Endpoint | None, result: ChangeResult
) -> None:
    sockaddrs = [None if endpoint is None else encode_endpoint(endpoint) for endpoint in (present, expected, wanted)]
    assert judge(Path(sockaddrs[0], 25), *sockaddrs[1:]) is result


@pytest.mark.parametrize(
    ("expected", "result"),
    [
        ("[fe80::1%lo]:1", ChangeResult.POKED),
        (f"[fe80::1%{socket.if_nametoindex('lo')}]:1", ChangeResult.POKED),
        ("[fe80::1%gone]:1", ChangeResult.STALE),
        ("[fe80::1]:1", ChangeResult.STALE),
    ],
)
def test_a_scope_is_the_same_by_name_and_by_number(
    monkeypatch: pytest.MonkeyPatch, expected: str, result: ChangeResult
) -> None:
    here = replace(SAMPLE.peers[0], endpoint=Endpoint.parse("[fe80::1%lo]:1"))
    dumped = [message(FAMILY, dump(replace(SAMPLE, peers=(here,)), scope=socket.if_nametoindex("lo")))]
    device, _ = opened(monkeypatch, [dumped, [END]], [[ACK]])
    assert device.set_endpoints("wg0", [EndpointChange(KEY, Endpoint.parse(expected), None)]) == {KEY: result}
