# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry's machine: a public address, the WireGuard device that every laptop has as a peer, and a web server."""

from __future__ import annotations

from collections.abc import Iterable

from lab.world.counter import Counter
from lab.world.host import WEB, Host
from lab.world.profile import PeerProfile, WireGuardProfile
from lab.world.wireguard import Keys


class Registry(Host):
    """It knows no endpoint of its peers, only what it sees. It would forward between them if they let it."""

    address = "10.0.0.254"
    address6 = "fd00:5047::254"

    def __init__(self, name: str, public: str, public6: str) -> None:
        """Make the host; `start` needs its public interface."""
        super().__init__(name)
        self.public = public
        self.public6 = public6
        self.relayed = Counter(self, "relayed", "forward", "iifname wg0 oifname wg0")

    def start(self, keys: Keys, peers: Iterable[PeerProfile]) -> None:
        """Bring the device up and serve the connectivity check."""
        addresses = f"{self.address}/24", f"{self.address6}/64"
        self.make_wireguard(WireGuardProfile(keys.private, addresses[0], tuple(peers), address6=addresses[1]))
        self.forward()
        self.relayed.start()
        self.spawn(["python3", WEB, "80"], name="web")

    def forget(self, peer: PeerProfile) -> None:
        """Lose a peer's endpoint and keys, as if it had never called."""
        allowed = ",".join(peer.allowed_ips)
        self.wg("set", "wg0", "peer", peer.public_key, "remove", "peer", peer.public_key, "allowed-ips", allowed)
