# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench's kernel: what is recorded is played to the real program, and lives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from bench import recording, registry_peers
from bench.recording import KEEPALIVE_OCTETS, REKEY, STAY, Player
from tests.unit import wireguard_octets
from wgsd_nm.core.model import Device
from wgsd_nm.wireguard import WireGuard

PEERS = tuple(map(registry_peers.peer, range(100)))
DEVICE = Device("wg0", None, 51820, 0, PEERS, 7)
DUMP = tuple(wireguard_octets.dump(replace(DEVICE, peers=part)) for part in (PEERS[:60], PEERS[60:]))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kernel(clock: Clock) -> WireGuard:
    player = Player(DUMP, clock)
    with patch("wgsd_nm.wireguard._Netlink", lambda: player):
        return WireGuard()


def test_what_is_played_is_what_was_recorded(kernel: WireGuard, tmp_path: Path) -> None:
    assert kernel.read("wg0") == DEVICE
    with patch("bench.recording.WireGuard", lambda: kernel):
        assert recording.record("wg0") == DUMP
    recording.save(DUMP, tmp_path / "dump")
    assert recording.load(tmp_path / "dump") == DUMP


def test_every_peer_is_heard_from_as_often_as_its_keepalive_has_it(kernel: WireGuard, clock: Clock) -> None:
    for moments in range(6):
        clock.now = moments / 2 * registry_peers.KEEPALIVE
        kernel.read("wg0")
    heard = [peer.rx_bytes / KEEPALIVE_OCTETS for peer in kernel.read("wg0").peers]
    assert set(heard) == {2, 3}
    assert sum(heard) == 250


def test_a_moment_changes_few(kernel: WireGuard, clock: Clock) -> None:
    before = kernel.read("wg0").peers
    clock.now = 0.5
    after = kernel.read("wg0").peers
    assert sum(old is not new for old, new in zip(before, after, strict=True)) == 2


def test_sessions_are_renewed(kernel: WireGuard, clock: Clock) -> None:
    clock.now = REKEY / 2
    assert sum(peer.latest_handshake > 0 for peer in kernel.read("wg0").peers) == 50
    clock.now = REKEY
    assert all(peer.latest_handshake > 0 for peer in kernel.read("wg0").peers)


def test_peers_move(kernel: WireGuard, clock: Clock) -> None:
    clock.now = STAY / 100
    assert sum(old.endpoint != new.endpoint for old, new in zip(PEERS, kernel.read("wg0").peers, strict=True)) == 1
    clock.now = STAY
    assert all(old.endpoint != new.endpoint for old, new in zip(PEERS, kernel.read("wg0").peers, strict=True))


def test_a_peer_is_where_it_is_placed(clock: Clock) -> None:
    player = Player(DUMP, clock, stay=float("inf"))
    with patch("wgsd_nm.wireguard._Netlink", lambda: player):
        kernel = WireGuard()
    player.place(70, 4321)
    clock.now = 10 * STAY
    ports = [peer.endpoint.port for peer in kernel.read("wg0").peers if peer.endpoint]
    assert ports == [4321 if number == 70 else peer.endpoint.port for number, peer in enumerate(PEERS) if peer.endpoint]
