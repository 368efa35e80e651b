# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench's helper with a table of peers that are all well, but for the last one if --unreachable is given."""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import replace

from bench.helper_process import Table, run
from tests.integration.scripted_nm import peer_key
from wgsd_nm.core.model import Peer

INITIATION = 148
"""Octets of a handshake's first message."""
SLOT = 5
"""Seconds after which the kernel begins a handshake again that was not answered (REKEY_TIMEOUT)."""


class WithOneUnreachable(Table):
    """The last peer never answers: with a keepalive the kernel goes on beginning handshakes, and nothing comes back."""

    def __init__(self, peers: int) -> None:
        super().__init__(peers, well=True)

    def _alive(self, peer: Peer) -> Peer:
        if peer.public_key != peer_key(self._count):
            return super()._alive(peer)
        return replace(peer, tx_bytes=INITIATION * (1 + int((time.time() - self._since) / SLOT)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=int, required=True)
    parser.add_argument("--unreachable", action="store_true")
    options = parser.parse_args()
    asyncio.run(run(WithOneUnreachable(options.peers) if options.unreachable else Table(options.peers, well=True)))
