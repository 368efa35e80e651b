# SPDX-License-Identifier: GPL-2.0-or-later
"""WireGuard as the wg program shows it: keys, and the peers of a device."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

PORT = 51820


@dataclass(frozen=True, slots=True)
class Keys:
    """A private key and the public key that belongs to it, in base64."""

    private: str
    public: str


def generate(names: Iterable[str]) -> dict[str, Keys]:
    """A new pair for each name."""
    wanted = tuple(names)
    script = f"for _ in $(seq {len(wanted)}); do key=$(wg genkey); echo $key $(echo $key | wg pubkey); done"
    said = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {name: Keys(*line.split()) for name, line in zip(wanted, said.splitlines(), strict=True)}


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer of a device: `endpoint` is "" for none, `latest_handshake` seconds since the epoch or 0 for never."""

    public_key: str
    endpoint: str
    allowed_ips: tuple[str, ...]
    latest_handshake: int
    rx_bytes: int
    tx_bytes: int
    persistent_keepalive: int


def parse_dump(dump: str) -> dict[str, Peer]:
    """The peers in `wg show DEVICE dump`, by public key."""
    peers = {}
    for line in dump.splitlines()[1:]:
        key, _, endpoint, allowed, handshake, rx, tx, keepalive = line.split("\t")
        peers[key] = Peer(
            public_key=key,
            endpoint="" if endpoint == "(none)" else endpoint,
            allowed_ips=() if allowed == "(none)" else tuple(allowed.split(",")),
            latest_handshake=int(handshake),
            rx_bytes=int(rx),
            tx_bytes=int(tx),
            persistent_keepalive=0 if keepalive == "off" else int(keepalive),
        )
    return peers
