# SPDX-License-Identifier: GPL-2.0-or-later
"""A DNS server that answers for the bench's peers after a fixed delay. It ends with its input."""

from __future__ import annotations

import argparse
import sys

from bench.helper_process import endpoint_of
from tests.integration.scripted_nm import peer_address, peer_key
from tests.unit.nameserver import Registry

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=int, required=True)
    parser.add_argument("--delay", type=float, default=0.03)
    options = parser.parse_args()
    sys.stdin.readline()  # the network is ready
    peers = {peer_key(number): endpoint_of(number) for number in range(-1, options.peers + 1)}
    with Registry("example.com", peers, address=str(peer_address(0)), port=53, delay=options.delay):
        print("ready", flush=True)
        sys.stdin.read()
