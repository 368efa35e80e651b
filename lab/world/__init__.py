# SPDX-License-Identifier: GPL-2.0-or-later
"""The network inside the guest: an internet, a registry, NAT routers and laptops. Runs as root in the guest only."""

from __future__ import annotations

from lab.world.host import Host, Result
from lab.world.laptop import Laptop
from lab.world.nat import Inbound, Mapping, Nat, Stack
from lab.world.profile import PeerProfile, WireGuardProfile
from lab.world.registry import Registry
from lab.world.station import Station
from lab.world.waiting import NotInTimeError, wait_for
from lab.world.wireguard import Keys, Peer
from lab.world.world import World

__all__ = [
    "Host", "Inbound", "Keys", "Laptop", "Mapping", "Nat", "NotInTimeError", "Peer", "PeerProfile", "Registry",
    "Result", "Stack", "Station", "WireGuardProfile", "World", "wait_for",
]  # fmt: skip
