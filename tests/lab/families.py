# SPDX-License-Identifier: GPL-2.0-or-later
"""What scenarios do to a meeting to give it IPv6, or its registry another address; all of it is noted to be undone."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from lab.world import Laptop, Nat, Stack, World, wait_for
from lab.world.wireguard import PORT
from lab.world.world import REGISTRY_PUBLIC, REGISTRY_PUBLIC6
from tests.lab.agents import Meeting

BY_IPV4: Final = f"{REGISTRY_PUBLIC}:{PORT}"
BY_IPV6: Final = f"[{REGISTRY_PUBLIC6}]:{PORT}"
"""The registry's endpoints: the registry sees a laptop only in the family in which the laptop sends to it."""
NEW_HOME: Final = "203.0.113.77"


def set_stack(meeting: Meeting, nat: Nat, stack: Stack) -> None:
    """Have a router's LAN be of these families."""
    meeting.afterwards.callback(nat.set_stack, Stack.IPV4)
    nat.set_stack(stack)


def take_ipv6(meeting: Meeting, laptop: Laptop) -> None:
    """Have a laptop's uplink take IPv6 where it is; returns when it has an address of each family of the router."""
    meeting.afterwards.callback(laptop.set_ipv6, False)
    laptop.set_ipv6(True)
    laptop.wait_connected("eth0")
    _wait_addresses(laptop)


def carry(meeting: Meeting, laptop: Laptop, nat: Nat) -> None:
    """Move a laptop; returns when it has an address of each family of the router."""
    home = dict(meeting.homes)[laptop]

    def back() -> None:
        if laptop.nat is not home:
            laptop.move(home)
            laptop.wait_connected("eth0")

    meeting.afterwards.callback(back)
    laptop.move(nat)
    _wait_addresses(laptop)


def call_registry(meeting: Meeting, laptop: Laptop, registry: str) -> None:
    """Have a laptop's profile name this endpoint for the registry; the kernel's peers are made anew."""
    others = [meeting.other(laptop).name]
    meeting.afterwards.callback(laptop.adopt, meeting.world.profile(laptop.name, others))
    laptop.adopt(meeting.world.profile(laptop.name, others, registry_endpoint=registry))


def move_registry(world: World, undo: ExitStack) -> None:
    """Give the registry NEW_HOME for its address: what goes to the former one by IPv4, or comes from it, is lost."""
    registry = world.registry
    registry.ip(f"addr add {NEW_HOME}/32 dev pub0")
    undo.callback(registry.ip, f"addr del {NEW_HOME}/32 dev pub0")
    registry.nft(f"""
        table ip moved {{
            chain input {{
                type filter hook input priority filter
                ip daddr {REGISTRY_PUBLIC} udp dport {PORT} drop
            }}
            chain output {{
                type filter hook output priority filter
                ip saddr {REGISTRY_PUBLIC} udp sport {PORT} drop
            }}
        }}
    """)
    undo.callback(registry.nft, "delete table ip moved")


def _wait_addresses(laptop: Laptop) -> None:
    nat = laptop.nat
    assert nat is not None, f"{laptop.name} is not plugged in"
    wanted = [f" {nat.lan}."] * (Stack.IPV4 in nat.stack) + [f" {nat.lan6}:"] * (Stack.IPV6 in nat.stack)

    def has_all() -> bool:
        listed = laptop.run(["ip", "-brief", "address", "show", "dev", "eth0", "scope", "global", "-tentative"]).stdout
        return all(prefix in listed for prefix in wanted)

    wait_for(has_all, 60, f"{laptop.name}'s eth0 to have an address of {nat.name} for each family", 0.1)
