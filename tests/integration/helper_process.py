# SPDX-License-Identifier: GPL-2.0-or-later
"""The helper as a process of its own, with devices from a table instead of the kernel's. Run by test_helper.py.

Everything but the netlink layer, the path of helper.toml and the time limits is the real program.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

from wgsd_nm.bus.connection import Bus
from wgsd_nm.core.errors import NoSuchDevice, NotWireGuard, WgsdError
from wgsd_nm.core.model import ChangeResult, Device, Endpoint, EndpointChange, IPNetwork, Peer, PublicKey
from wgsd_nm.helper import config, journal
from wgsd_nm.helper.__main__ import serve
from wgsd_nm.helper.authorization import Authorization
from wgsd_nm.helper.service import Service

ALICE = PublicKey(b"a" * 32)
BOB = PublicKey(b"b" * 32)
CAROL = PublicKey(b"c" * 32)
BRIEF = "brief0"
"""A device that has vanished by the time it is written."""


class Table:
    """WireGuard devices that live in this process: compare and set, as the kernel's would be."""

    def __init__(self, networks: Sequence[IPNetwork], more: int) -> None:
        peers = (
            Peer(ALICE, Endpoint.parse("192.0.2.1:51820"), 1_700_000_000_000_001, 1 << 40, 2, 25, tuple(networks)),
            Peer(BOB),
            *(Peer(PublicKey(number.to_bytes(32, "big"))) for number in range(more)),
        )
        self._peers = {name: {peer.public_key: peer for peer in peers} for name in ("wg0", "wg1", BRIEF)}

    def read(self, interface: str) -> Device:
        if interface == "eth0":
            raise NotWireGuard("the network interface eth0 is not a WireGuard device")
        if interface not in self._peers:
            raise NoSuchDevice(f"there is no network interface {interface}")
        return Device(interface, CAROL, 51820, 0, tuple(self._peers[interface].values()))

    def set_endpoints(self, interface: str, changes: Sequence[EndpointChange]) -> dict[PublicKey, ChangeResult]:
        peers = {peer.public_key: peer for peer in self.read(interface).peers}
        if interface == BRIEF:
            raise NoSuchDevice(f"there is no network interface {interface}")
        return {change.public_key: self._set(interface, change, peers.get(change.public_key)) for change in changes}

    def _set(self, interface: str, change: EndpointChange, peer: Peer | None) -> ChangeResult:
        if peer is None:
            return ChangeResult.UNKNOWN_PEER
        if peer.endpoint != change.expected:
            return ChangeResult.STALE
        if change.wanted is None:
            return ChangeResult.POKED if peer.endpoint else ChangeResult.NO_ENDPOINT
        self._peers[interface][peer.public_key] = replace(peer, endpoint=change.wanted)
        return ChangeResult.CHANGED


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--toml", type=Path, default=Path("/nonexistent/helper.toml"))
    parser.add_argument("--idle-after", type=float, default=600.0)
    parser.add_argument("--answer-within", type=float, default=10.0)
    parser.add_argument("--person-answers-within", type=float, default=10.0)
    parser.add_argument("--more-peers", type=int, default=0)
    options = parser.parse_args()
    journal.begin()
    networks = [ip_network("10.0.0.2/32"), ip_network("2001:db8:1::/64")]

    async def run() -> None:
        bus = Bus(system=True, address=os.environ.get("DBUS_STARTER_ADDRESS"))
        authorization = Authorization(
            bus,
            lambda: config.load(options.toml),
            answer_within=options.answer_within,
            person_answers_within=options.person_answers_within,
        )
        await serve(bus, Service(Table(networks, options.more_peers), authorization, bus.drain), options.idle_after)

    try:
        asyncio.run(run())
    except WgsdError as error:
        logging.getLogger().critical("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
