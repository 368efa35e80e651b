# SPDX-License-Identifier: GPL-2.0-or-later
"""A second registry with a public address: two of them see whether a NAT gives each destination another port."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lab.world.host import Host, make_namespaces
from lab.world.profile import PeerProfile, WireGuardProfile
from lab.world.waiting import wait_for
from lab.world.wireguard import PORT, generate
from lab.world.world import KEEPALIVE, World


class SecondRegistry(Host):
    """A public host that all machines may call; `profile` gives their connections the peer that it is."""

    address = "10.0.0.253"
    public = "203.0.113.130"

    def __init__(self, world: World, names: Iterable[str]) -> None:
        """Make it, put it on the wire of all public hosts, and let it expect these machines."""
        super().__init__("registry2")
        self._world = world
        self._names = tuple(names)
        self._keys = generate([self.name])[self.name]
        make_namespaces(self.name)
        world.internet.ip(
            f"link add to-{self.name} type veth peer name pub0 netns {self.name}",
            f"link set to-{self.name} master br0",
            f"link set to-{self.name} up",
        )
        self.ip(
            "link set lo up",
            "link set pub0 up",
            f"addr add {self.public}/32 dev pub0",
            "route add default dev pub0 scope link",
        )
        peers = tuple(world.client(name) for name in self._names)
        self.make_wireguard(WireGuardProfile(self._keys.private, f"{self.address}/24", peers))

    def serve(self, zone: str) -> None:
        """Start the registry program; returns when it answers."""
        flags = ("--device", "wg0", "--zone", zone, "--listen", self.address)
        self.spawn(["python3", "-m", "wgsd_nm.registry", *flags], name="registry")
        wait_for(lambda: "answering for" in self.log("registry").read_text(), 60, "the second registry to answer", 0.2)

    def profile(self, name: str, others: Iterable[str]) -> WireGuardProfile:
        """The connection of a machine that has both registries as peers."""
        known = self._world.profile(name, others)
        endpoint = f"{self.public}:{PORT}"
        peer = PeerProfile(self._keys.public, (f"{self.address}/32",), endpoint, KEEPALIVE)
        return replace(known, peers=(*known.peers, peer))

    def endpoint_seen(self, name: str) -> str:
        """The endpoint of a machine as this registry's device sees it, "" for none."""
        return self.peers()[self._world.keys[name].public].endpoint
