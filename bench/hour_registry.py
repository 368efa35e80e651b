# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry's own program, with push, for the laptop's peers; only its kernel is played. All peers are well.

    python -m bench.hour_registry --peers N

It begins with the first line of its input. There is one user in the bench's namespaces, so it stays who it is.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from ipaddress import ip_network
from pathlib import Path
from unittest.mock import patch

from bench import recording
from bench.helper_process import KEEPALIVE, endpoint_of
from bench.push_kernel import Moves, Moving
from tests.integration.scripted_nm import REGISTRY, peer_address, peer_key
from tests.unit import wireguard_octets
from wgsd_nm.core.model import Device, Peer
from wgsd_nm.registry import __main__, reader

READER = "--as-reader"
MODULE = "bench.hour_registry"
DEVICE = "registry"
"""The registry's end of the laptop's tunnel."""


def main() -> int:
    with patch("wgsd_nm.registry.privileges.drop", lambda *_, **__: None):
        return read() if sys.argv[1] == READER else serve()


def serve() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=int, required=True)
    peers = parser.parse_args().peers
    sys.stdin.readline()  # the network is ready
    with tempfile.TemporaryDirectory(prefix="wgsd-nm-bench-") as name:
        recorded, moves = Path(name) / "dump", Path(name) / "moves"
        recording.save((wireguard_octets.dump(device(peers)),), recorded)
        Moves.make(moves, peers + 1)
        print("ready", flush=True)
        command = (sys.executable, "-m", MODULE, READER, str(recorded), str(moves))
        flags = ("--device", DEVICE, "--zone", "example.com", "--listen", str(peer_address(REGISTRY)))
        return __main__.main(flags, reader=command)


def read() -> int:
    player = Moving(recording.load(Path(sys.argv[2])), Moves(Path(sys.argv[3])))
    with patch("wgsd_nm.wireguard._Netlink", lambda: player):
        return reader.main(sys.argv[4:])


def device(peers: int) -> Device:
    """As the registry's kernel sees it: the laptop, and the others, but not the registry itself."""
    numbers = (number for number in range(-1, peers + 1) if number != REGISTRY)
    return Device(DEVICE, peer_key(REGISTRY), 51820, 0, tuple(map(_peer, numbers)), 7)


def _peer(number: int) -> Peer:
    allowed = ip_network(f"{peer_address(number)}/32")
    return Peer(peer_key(number), endpoint_of(number), persistent_keepalive=KEEPALIVE, allowed_ips=(allowed,))


if __name__ == "__main__":
    sys.exit(main())
