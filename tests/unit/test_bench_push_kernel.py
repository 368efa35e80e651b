# SPDX-License-Identifier: GPL-2.0-or-later
"""The push bench's kernel: its peers move when they are told to, and not before."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from bench import push_kernel, registry_peers
from bench.push_kernel import PEERS_A_MESSAGE, Moves, Moving
from bench.recording import STAY
from wgsd_nm.wireguard import WireGuard

COUNT = PEERS_A_MESSAGE + 7
PEERS = tuple(map(registry_peers.peer, range(COUNT)))


@pytest.fixture
def moves(tmp_path: Path) -> Moves:
    return Moves.make(tmp_path / "moves", COUNT)


@pytest.fixture
def kernel(moves: Moves) -> WireGuard:
    """Whose moves are another process's view of them."""
    player = Moving(push_kernel.dump(COUNT), Moves(moves.file))
    with patch("wgsd_nm.wireguard._Netlink", lambda: player):
        return WireGuard()


def ports(kernel: WireGuard) -> list[int]:
    peers = kernel.read("wg0").peers
    assert [peer.public_key for peer in peers] == [peer.public_key for peer in PEERS]
    return [peer.endpoint.port for peer in peers if peer.endpoint]


def test_the_device_has_the_peers_and_the_messages_no_more_than_a_message_holds(kernel: WireGuard) -> None:
    assert kernel.read("wg0").peers == PEERS
    assert len(push_kernel.dump(COUNT)) == 2
    assert all(len(message) < 1 << 15 for message in push_kernel.dump(COUNT))


def test_peers_are_where_they_were_told_to_be_at_the_next_reading(kernel: WireGuard, moves: Moves) -> None:
    expected = ports(kernel)
    moves.move(COUNT - 1, [7])
    expected[-1] = 7
    assert ports(kernel) == expected
    moves.move(2, [8, 9])
    expected[2:4] = [8, 9]
    assert ports(kernel) == expected


def test_nobody_moves_without_being_told(kernel: WireGuard) -> None:
    before = ports(kernel)
    with patch("bench.recording.time.monotonic", lambda: 100 * STAY):
        assert ports(kernel) == before


def test_readings_are_counted(kernel: WireGuard, moves: Moves) -> None:
    assert moves.readings == 0
    for number in range(1, 4):
        kernel.read("wg0")
        assert moves.readings == number
