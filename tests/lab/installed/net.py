# SPDX-License-Identifier: GPL-2.0-or-later
"""The net beyond the laptop's cable: a registry at a public address, and bob at another. A unit makes it at each boot.

The cable joins the machine's two network cards; the far one is the registry's. Keys are the same at each boot.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lab.world import Host, Keys, PeerProfile, WireGuardProfile, wait_for
from lab.world.host import call, make_namespaces

ZONE: Final = "wg.example.com"
NEAR_CARD, FAR_CARD = "52:54:00:00:00:0a", "52:54:00:00:00:0b"
LAPTOP, GATEWAY = "203.0.113.1", "203.0.113.254"
BOB, BOB_GATEWAY = "192.0.2.2", "192.0.2.254"
PORT: Final = 51820
BOB_ENDPOINT: Final = f"{BOB}:{PORT}"
IN_TUNNEL: Final = {"alice": "10.0.0.1", "bob": "10.0.0.2", "registry": "10.0.0.254"}


def keys(name: str) -> Keys:
    """The pair of this host."""
    private = base64.b64encode(name.encode().ljust(32, b".")).decode()
    return Keys(private, call("wg", "pubkey", text=private).strip())


def profile(name: str, *, registry: str = "", of: Sequence[str]) -> WireGuardProfile:
    """The host's tunnel to these others; `registry` is the registry's endpoint, no other is known."""
    peers = tuple(
        PeerProfile(
            keys(each).public,
            (f"{IN_TUNNEL[each]}/32",),
            registry if each == "registry" else "",
            0 if name == "registry" else 25,
        )
        for each in of
    )
    return WireGuardProfile(keys(name).private, f"{IN_TUNNEL[name]}/24", peers)


def main() -> None:
    """Make it."""
    call("modprobe", "--all", "wireguard", "veth", "virtio_net")
    far = wait_for(lambda: _card(FAR_CARD), 60, "the network card at the cable's far end")
    make_namespaces("registry", "bob")
    call("ip", "link", "set", far, "netns", "registry")
    registry, bob = Host("registry"), Host("bob")
    registry.ip(
        "link set lo up",
        f"address add {GATEWAY}/24 dev {far}",
        f"link set {far} up",
        "link add net0 type veth peer name net0 netns bob",
        f"address add {BOB_GATEWAY}/24 dev net0",
        "link set net0 up",
    )
    bob.ip(
        "link set lo up", f"address add {BOB}/24 dev net0", "link set net0 up", f"route add default via {BOB_GATEWAY}"
    )
    registry.forward()
    registry.make_wireguard(profile("registry", of=("alice", "bob")))
    bob.make_wireguard(profile("bob", registry=f"{BOB_GATEWAY}:{PORT}", of=("alice", "registry")))


def _card(address: str) -> str:
    """The interface with this hardware address, "" for none."""
    for path in Path("/sys/class/net").glob("*/address"):
        if path.read_text().strip() == address:
            return path.parent.name
    return ""


if __name__ == "__main__":
    main()
