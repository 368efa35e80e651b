# SPDX-License-Identifier: GPL-2.0-or-later
"""WireGuard devices of the guest itself, made and looked at with ip(8) and wg(8). No laptop and no router is needed."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable

from wgsd_nm.core.model import Endpoint, EndpointChange, Peer, PublicKey
from wgsd_nm.wireguard import WireGuard

PORTS = {"wgalice": 5001, "wgbob": 5002, "wgmany": 5003, "wgpoked": 5004}
"""Where each listens."""


def run(*command: str, stdin: str = "") -> str:
    return subprocess.run(command, input=stdin, text=True, check=True, capture_output=True).stdout.strip()


def until(condition: Callable[[], object], what: str, *, within: float = 4.0) -> None:
    """Wait for the kernel's own work, which nothing announces; not as long as its own next attempt takes (5 s)."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {within} seconds"
        time.sleep(0.01)  # WireGuard announces nothing: asking again is the only way


class Device:
    """A WireGuard device of ours on the loopback network."""

    def __init__(self, name: str) -> None:
        self.name = name
        run("ip", "link", "add", name, "type", "wireguard")
        self.private_key = run("wg", "genkey")
        run("wg", "set", name, "listen-port", str(PORTS[name]), "private-key", "/dev/stdin", stdin=self.private_key)
        self.key = PublicKey.parse(run("wg", "show", name, "public-key"))

    def up(self) -> None:
        run("ip", "link", "set", self.name, "up")

    def set_peer(self, key: PublicKey, *settings: str, stdin: str = "") -> None:
        run("wg", "set", self.name, "peer", str(key), *settings, stdin=stdin)

    def peer(self, key: PublicKey) -> Peer:
        with WireGuard() as wireguard:
            return next(peer for peer in wireguard.read(self.name).peers if peer.public_key == key)

    def dump(self) -> list[list[str]]:
        return [line.split("\t") for line in run("wg", "show", self.name, "dump").splitlines()]

    def load(self, peers: int) -> list[PublicKey]:
        keys = [PublicKey(os.urandom(32)) for _ in range(peers)]
        run("wg", "setconf", self.name, "/dev/stdin", stdin="".join(map(self._section, keys, range(peers))))
        return keys

    @staticmethod
    def _section(key: PublicKey, number: int) -> str:
        return (
            f"[Peer]\nPublicKey={key}\nEndpoint=192.0.2.1:{1024 + number}\nPersistentKeepalive={number % 3}\n"
            f"AllowedIPs=10.{number >> 8}.{number & 255}.0/24,fd00:{number:x}::/32\n"
        )


def listening(device: Device, host: str = "127.0.0.1") -> Endpoint:
    return Endpoint.parse(f"[{host}]:{PORTS[device.name]}" if ":" in host else f"{host}:{PORTS[device.name]}")


def set_and_poke(wireguard: WireGuard, device: Device, peer: Device, host: str = "127.0.0.1") -> None:
    """Give a device its peer's endpoint, and have it call there."""
    endpoint = listening(peer, host)
    for change in (EndpointChange(peer.key, None, endpoint), EndpointChange(peer.key, endpoint, None)):
        wireguard.set_endpoints(device.name, [change])
