# SPDX-License-Identifier: GPL-2.0-or-later
"""The real helper, with a table of peers where the kernel's WireGuard would be: nothing else of it is replaced.

SIGUSR1 makes the peers anew, without endpoints, as the activation of a connection does. With --well every peer has an
endpoint, answers keepalives, and renews its session every two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, ip_network

from tests.integration.scripted_nm import REGISTRY, peer_address, peer_key
from wgsd_nm.bus.connection import Bus
from wgsd_nm.core.errors import NoSuchDevice
from wgsd_nm.core.model import ChangeResult, Device, Endpoint, EndpointChange, Peer, PublicKey
from wgsd_nm.helper.__main__ import IDLE_AFTER, serve
from wgsd_nm.helper.authorization import Authorization
from wgsd_nm.helper.service import Service

KEEPALIVE = 25
REKEY = 120
EMPTY_MESSAGE = 32


class Table:
    """The device wg0: the registry's peer, and so many others."""

    def __init__(self, peers: int, *, well: bool) -> None:
        self._count, self._well = peers, well
        self._since = time.time()
        self._peers: dict[PublicKey, Peer] = {}
        self.make_peers()

    def make_peers(self) -> None:
        self._peers = {peer_key(number): self._peer(number) for number in range(self._count + 1)}

    def read(self, interface: str) -> Device:
        if interface != "wg0":
            raise NoSuchDevice(f"there is no network interface {interface}")
        peers = map(self._alive, self._peers.values()) if self._well else self._peers.values()
        return Device(interface, peer_key(-1), 51820, 0, tuple(peers))

    def set_endpoints(self, interface: str, changes: Sequence[EndpointChange]) -> dict[PublicKey, ChangeResult]:
        peers = {peer.public_key: peer for peer in self.read(interface).peers}
        results = {}
        for change in changes:
            peer = peers.get(change.public_key)
            results[change.public_key] = self._set(peer, change) if peer is not None else ChangeResult.UNKNOWN_PEER
        return results

    def _set(self, peer: Peer, change: EndpointChange) -> ChangeResult:
        if peer.endpoint != change.expected:
            return ChangeResult.STALE
        if change.wanted is None:
            return ChangeResult.POKED if peer.endpoint else ChangeResult.NO_ENDPOINT
        self._peers[peer.public_key] = replace(self._peers[peer.public_key], endpoint=change.wanted)
        return ChangeResult.CHANGED

    def _peer(self, number: int) -> Peer:
        endpoint = endpoint_of(number) if self._well or number == REGISTRY else None
        allowed = ip_network(f"{peer_address(number)}/32")
        return Peer(peer_key(number), endpoint, persistent_keepalive=KEEPALIVE, allowed_ips=(allowed,))

    def _alive(self, peer: Peer) -> Peer:
        passed = time.time() - self._since
        octets = EMPTY_MESSAGE * (1 + int(passed / KEEPALIVE))
        handshake = int((self._since + passed // REKEY * REKEY) * 1e6)
        return replace(peer, latest_handshake=handshake, rx_bytes=octets, tx_bytes=octets)


def endpoint_of(number: int) -> Endpoint:
    """Where peer `number` is, for the registry of the bench too."""
    return Endpoint(IPv4Address("192.0.2.1"), 1024 + number)


async def run(table: Table) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, table.make_peers)
    bus = Bus(system=True)
    await serve(bus, Service(table, Authorization(bus, frozenset), bus.drain), IDLE_AFTER)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=int, required=True)
    parser.add_argument("--well", action="store_true")
    options = parser.parse_args()
    asyncio.run(run(Table(options.peers, well=options.well)))
