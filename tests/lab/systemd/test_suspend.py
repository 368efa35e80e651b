# SPDX-License-Identifier: GPL-2.0-or-later
"""The laptop is suspended, while which Bob moves, and wakes up: logind, NetworkManager and the kernel all take part.

The machine itself is Alice's laptop, its card is plugged into NAT A; Bob is a bare machine, and has no agent.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.world import Station, World, wait_for
from lab.world.agent import ZONE, start_registry
from lab.world.host import call as command
from lab.world.install import NETWORK_MANAGER
from lab.world.network import dropping
from lab.world.registry import Registry
from lab.world.report import collect
from lab.world.wireguard import parse_dump
from tests.lab.systemd.test_seat import UNIT, USER, Root, install

PROFILES = Path("/etc/NetworkManager/system-connections")
CONFIGURATION = f'[tunnel.wg0]\nzone = "{ZONE}"\nregistry = ["{Registry.address}"]\n'
BOB, ALICE = "10.0.0.2", "10.0.0.1"
CARD, CABLE = "eth0", "eth1"
"""The two ends of one cable, as the virtual machine has them."""
AWAKE = 30.0
"""Seconds until it is seen that the machine sleeps and is awake again; the kernel's rehearsal takes five of them."""
RECOVERED = 30.0
HANDSHAKE = 12.0


@dataclass(frozen=True, slots=True)
class Night:
    """The world, in which Bob is somewhere."""

    world: World
    bob: Station
    alice: Root

    def endpoint(self) -> str:
        """Bob's, in Alice's kernel."""
        return parse_dump(command("wg", "show", "wg0", "dump"))[self.world.keys["bob"].public].endpoint

    def handshake_with_registry(self) -> int:
        """When the last one was, in seconds since the epoch."""
        return parse_dump(command("wg", "show", "wg0", "dump"))[self.world.keys["registry"].public].latest_handshake

    def bob_comes(self) -> None:
        """Bob calls the registry from where he is, and has Alice where it sees her, as his agent would do."""
        self.bob.set_address()
        self.world.call_registry(self.bob)
        self.bob.punch(self.world.keys["alice"].public, self.world.endpoint_seen("alice"))


def connect(world: World) -> None:
    """The card's cable goes to NAT A; NetworkManager has the uplink and the tunnel."""
    command("ip", "link", "set", CABLE, "netns", world.nat_a.name)
    world.nat_a.ip(f"link set {CABLE} master lan0", f"link set {CABLE} up")
    Path("/etc/NetworkManager/NetworkManager.conf").write_text(NETWORK_MANAGER)
    command("systemctl", "restart", "NetworkManager")
    uplink = ("con-name", "uplink", "ifname", CARD, "ipv4.method", "auto", "ipv6.method", "disabled")
    command("nmcli", "connection", "add", "type", "ethernet", *uplink)
    keyfile = PROFILES / "wg0.nmconnection"
    keyfile.write_text(world.profile("alice", ["bob"]).keyfile())
    keyfile.chmod(0o600)
    command("nmcli", "connection", "load", str(keyfile))
    for name in ("uplink", "wg0"):
        command("nmcli", "connection", "up", name)


@pytest.fixture(scope="module")
def night() -> Iterator[Night]:
    """Alice's agent runs as the unit of her session, and has found Bob behind NAT B."""
    with World() as world:
        install()
        Path("/home/u/.config/wgsd-nm/config.toml").write_text(CONFIGURATION)
        connect(world)
        start_registry(world)
        world.wait_seen("alice")
        bob = world.station("bob", world.nat_b)
        bob.set_address()
        bob.make_wireguard(world.profile("bob", ["alice"]))
        night = Night(world, bob, Root("alice"))
        night.bob_comes()
        command("systemctl", "--user", f"--machine={USER}", "start", UNIT)
        try:
            wait_for(lambda: night.endpoint() == world.endpoint_seen("bob"), 90, "Bob's endpoint to be set", 0.5)
            wait_for(lambda: night.alice.ping(BOB, 2), 30, "Bob to answer")
            yield night
        finally:
            print(journal(), collect(world.hosts, "suspend"))
            command("systemctl", "--user", f"--machine={USER}", "stop", UNIT)
            for name in ("wg0", "uplink"):
                command("nmcli", "connection", "delete", name)


def journal() -> str:
    """What the agent has said."""
    return command("journalctl", "--output=short-precise", f"_SYSTEMD_USER_UNIT={UNIT}")


def suspended() -> int:
    """How often the kernel has rehearsed or done a suspend."""
    return int(Path("/sys/power/suspend_stats/success").read_text())


def suspend() -> float:
    """Go to sleep and wake up again; returns the moment of waking. The hardware stays on, all else is as in earnest."""
    Path("/sys/power/pm_test").write_text("freezer")
    before = suspended()
    try:
        command("systemctl", "suspend")
        wait_for(lambda: suspended() > before, AWAKE, "the machine to have slept", 0.05)
        return time.time()
    finally:
        Path("/sys/power/pm_test").write_text("none")


def test_whoever_moved_in_the_night_is_found_in_the_morning(night: Night) -> None:
    """Nobody sends to Bob, so that Alice could not suspect anything; only waking up makes her agent ask.

    Here only her machine really sleeps, and shortly: so that she is not told meanwhile, nothing pushed gets to her.
    """
    world, bob = night.world, night.bob
    former = night.endpoint()
    with dropping(world.registry, "asleep", "output", f"oifname wg0 ip daddr {ALICE} tcp sport 53"):
        bob.move(world.nat_c)
        night.bob_comes()
        assert night.endpoint() == former, "this is to be found out in the morning"
        shaken = night.handshake_with_registry()

        awake = suspend()

        now = world.endpoint_seen("bob")
        assert now.startswith(f"{world.nat_c.public}:")
        wait_for(lambda: night.endpoint() == now, RECOVERED, "Bob's new endpoint to be set", 0.2)
    assert night.alice.ping(BOB, HANDSHAKE)
    assert bob.ping(ALICE, HANDSHAKE)
    assert night.handshake_with_registry() > max(shaken, int(awake) - 1)
