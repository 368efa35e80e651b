# SPDX-License-Identifier: GPL-2.0-or-later
"""A router of the lab's world whose LAN has public addresses: nothing is translated, nothing is kept out."""

from __future__ import annotations

from typing import Self

from lab.world import Inbound, Mapping, Nat, World
from lab.world.host import make_namespaces
from lab.world.world import NAMES

NAME = "campus"
PUBLIC, PUBLIC6 = "192.0.2.129", "2001:db8:d::1"
LAN, LAN6 = "203.0.113", "2001:db8:d:1"
"""No IPv6 is on it. The registry's address is of this network, though not on this LAN: the router answers for it."""


class Campus(Nat):
    """A context manager, for a world that has been entered. Laptops are plugged in as into any other router.

    Everybody on the public wire takes everybody for a neighbour, so the router answers ARP for those behind it.
    """

    def __init__(self, world: World) -> None:
        super().__init__(NAME, PUBLIC, LAN, NAMES, PUBLIC6, LAN6)
        self._world = world

    def __enter__(self) -> Self:
        make_namespaces(self.name)
        self._world.internet.ip(
            f"link add to-{self.name} type veth peer name pub0 netns {self.name}",
            f"link set to-{self.name} master br0",
            f"link set to-{self.name} up",
        )
        self.ip(
            "link set lo up",
            "link set pub0 up",
            f"addr add {self.public}/32 dev pub0",
            "route add default dev pub0 scope link",
            f"route add {self._world.registry.public}/32 dev pub0",
        )
        self.start()
        for card in ("pub0", "lan0"):
            self._answer_for_others(card)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_kind(
        self, mapping: Mapping = Mapping.MASQUERADE, inbound: Inbound = Inbound.DROP, inner_host: int = 10
    ) -> None:
        """No rules."""

    def _answer_for_others(self, card: str) -> None:
        """Proxy ARP at once (proxy_delay; the kernel's own is up to 0.8 s)."""
        settings = (
            f"echo 1 >/proc/sys/net/ipv4/conf/{card}/proxy_arp; echo 0 >/proc/sys/net/ipv4/neigh/{card}/proxy_delay"
        )
        self.run(["sh", "-c", settings])
