# SPDX-License-Identifier: GPL-2.0-or-later
"""How long reading and setting peers takes beside the `wg` command, in the lab's kernel.

    python3 -m bench.wireguard          # runs itself in the lab's machine

wireguard.read.N   read() in a running process / `wg show DEVICE dump` with its start, on a device with N peers
wireguard.set.1000 set_endpoints() of 1000 peers, read and pokes and all / one `wg set` of the same endpoints

Reads are those of a program that watches: again and again, the peers as they were. The devices are down, so that
nothing is sent and the writing alone is measured. Each figure is the quotient of two medians; the two are measured in
turn.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address
from itertools import chain
from statistics import median

from bench.figure import report
from wgsd_nm.core.model import ChangeResult, Endpoint, EndpointChange, PublicKey
from wgsd_nm.wireguard import WireGuard

ROUNDS = 9
GOAL = 2.5


def make_device(name: str, peers: int) -> list[PublicKey]:
    """A new WireGuard device with so many peers, each with an endpoint, a keepalive and two allowed IPs.

    It is left to the end of the machine: the kernel needs 20 ms to remove a peer there.
    """
    subprocess.run(["ip", "link", "add", name, "type", "wireguard"], check=True)
    keys = [PublicKey(os.urandom(32)) for _ in range(peers)]
    with tempfile.NamedTemporaryFile("w") as settings:
        for number, key in enumerate(keys):
            address = IPv4Address("10.0.0.0") + number
            settings.write(
                f"[Peer]\nPublicKey={key}\nEndpoint=192.0.2.1:{1024 + number}\nPersistentKeepalive=25\n"
                f"AllowedIPs={address}/32, fd00::{number:x}/128\n"
            )
        settings.flush()
        subprocess.run(["wg", "setconf", name, settings.name], check=True)
    return keys


Prepare = Callable[[int], Callable[[], None]]
"""Makes ready the round of that number, and returns what is to be timed."""


def quotient(ours: Prepare, theirs: Prepare) -> float:
    """The median time of ours, divided by the median time of theirs. The first round only warms up."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(1 + ROUNDS):
        for prepare, taken in zip((ours, theirs), times, strict=True):
            action = prepare(number)
            start = time.perf_counter()
            action()
            taken.append(time.perf_counter() - start)
    one, other = median(times[0][1:]), median(times[1][1:])
    print(f"# median {one * 1000:.1f} ms beside {other * 1000:.1f} ms", file=sys.stderr)
    return one / other


def run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measure_read(wireguard: WireGuard, peers: int) -> float:
    name = f"wgread{peers}"
    make_device(name, peers)

    def ours() -> None:
        if len(wireguard.read(name).peers) != peers:
            raise AssertionError("peers are missing")

    return quotient(lambda _: ours, lambda _: partial(run, ["wg", "show", name, "dump"]))


def measure_set(wireguard: WireGuard, peers: int) -> float:
    name = f"wgset{peers}"
    keys = make_device(name, peers)

    def ours(number: int) -> Callable[[], None]:
        address = IPv4Address("198.51.100.1") + number
        changes = [
            EndpointChange(peer.public_key, peer.endpoint, Endpoint(address, 1024 + place))
            for place, peer in enumerate(wireguard.read(name).peers)
        ]

        def action() -> None:
            if set(wireguard.set_endpoints(name, changes).values()) != {ChangeResult.CHANGED}:
                raise AssertionError("peers were not written")

        return action

    def theirs(number: int) -> Callable[[], None]:
        peers = (["peer", str(key), "endpoint", f"203.0.113.{number}:{place}"] for place, key in enumerate(keys, 1024))
        return partial(run, ["wg", "set", name, *chain.from_iterable(peers)])

    return quotient(ours, theirs)


def main() -> int:
    """Report all figures; 1 if a goal is missed."""
    if sys.argv[1:] != ["--here"]:
        command = [sys.executable, "-m", "lab", "run", "--", "python3", "-m", "bench.wireguard", "--here"]
        return subprocess.run(command, check=False).returncode
    met = [
        report(name, in_turn(measure, peers), "ratio", GOAL)
        for name, measure, peers in (
            ("wireguard.set.1000", measure_set, 1000),
            ("wireguard.read.1000", measure_read, 1000),
            ("wireguard.read.10000", measure_read, 10_000),
        )
    ]
    return 0 if all(met) else 1


def in_turn(measure: Callable[[WireGuard, int], float], peers: int) -> float:
    """Each on a socket of its own, so that none remembers the peers of the one before."""
    with WireGuard() as wireguard:
        return measure(wireguard, peers)


if __name__ == "__main__":
    sys.exit(main())
