# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine on a LAN with a network card that can be carried from router to router."""

from __future__ import annotations

from lab.world.host import Host, make_namespaces
from lab.world.nat import Nat


class Station(Host):
    """A host with eth0; it configures nothing by itself."""

    def __init__(self, name: str) -> None:
        """Make it, with the cable's other end on the table."""
        super().__init__(name)
        self.nat: Nat | None = None
        self._cable_in: Host = self
        self._cable = f"to-{name}"
        make_namespaces(name)
        self.ip("link set lo up", f"link add eth0 type veth peer name {self._cable}", "link set eth0 up")

    def plug(self, nat: Nat) -> None:
        """Put the cable into a router; the card has a carrier afterwards."""
        if self._cable_in is not nat:
            self._cable_in.ip(f"link set {self._cable} netns {nat.name}")
            self._cable_in = nat
        nat.ip(f"link set {self._cable} master lan0", f"link set {self._cable} up")
        self.nat = nat

    def unplug(self) -> None:
        """Pull the cable: the card stays, its carrier goes."""
        self._cable_in.ip(f"link set {self._cable} down")
        self.nat = None

    def move(self, nat: Nat) -> None:
        """Carry the machine to another router."""
        self.unplug()
        self.plug(nat)

    def set_address(self, number: int = 50) -> None:
        """Give eth0 this address of the LAN, none that DHCP gives to others, and the way out."""
        if self.nat is None:
            raise ValueError(f"{self.name} is not plugged in")
        self.ip(
            "addr flush dev eth0",
            f"addr add {self.nat.lan}.{number}/24 dev eth0",
            f"route replace default via {self.nat.lan}.1",
        )
