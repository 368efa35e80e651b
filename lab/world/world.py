# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole: an internet, the registry, three NAT routers, and the laptops that a test or a demo asks for."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Self, TypeVar

from lab.world.counter import Counter
from lab.world.host import LOGS, Host, call
from lab.world.laptop import Laptop
from lab.world.nat import Nat
from lab.world.profile import PeerProfile, WireGuardProfile
from lab.world.registry import Registry
from lab.world.station import Station
from lab.world.wireguard import PORT, Keys

FILES = Path("/run/lab")
MODULES = (
    "wireguard", "veth", "bridge", "nf_tables", "nft_chain_nat", "nft_masq", "nft_redir", "nft_ct", "nf_nat",
    "nft_reject_inet", "nf_conntrack_netlink", "dummy", "tun",
)  # fmt: skip
REGISTRY_PUBLIC = "203.0.113.254"
REGISTRY_NAME = "registry.example.com"
NATS = {
    "natA": ("198.51.100.1", "192.168.1"),
    "natB": ("192.0.2.1", "192.168.2"),
    "natC": ("198.51.100.130", "192.168.3"),
}
ADDRESSES = {"alice": "10.0.0.1", "bob": "10.0.0.2", "carol": "10.0.0.3", "registry": Registry.address}
KEEPALIVE = 5

H = TypeVar("H", bound=Host)
S = TypeVar("S", bound=Station)


class World:
    """A context manager; everything in it is gone when it is left."""

    def __init__(self) -> None:
        """Nothing is made before the context is entered."""
        self.keys = {name: Keys.generate() for name in ADDRESSES}
        self.stations: dict[str, Station] = {}
        self._hosts: list[Host] = []

    def __enter__(self) -> Self:
        """Make the internet, the registry and the routers."""
        for path in (FILES, LOGS):
            path.mkdir(parents=True, exist_ok=True)
        call("modprobe", "--all", *MODULES)
        self.internet = self._add(Host("inet"))
        self.internet.ip("link add br0 type bridge forward_delay 0", "link set br0 up")
        self.registry = self._add(Registry("registry", REGISTRY_PUBLIC))
        names = {REGISTRY_NAME: REGISTRY_PUBLIC}
        self.nat_a, self.nat_b, self.nat_c = (
            self._add(Nat(name, public, lan, names)) for name, (public, lan) in NATS.items()
        )
        for host in (self.registry, *self.nats):
            self._join_internet(host, host.public)
        self.registry.start(self.keys["registry"], [self._client(name) for name in ADDRESSES if name != "registry"])
        for nat in self.nats:
            nat.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End and remove everything."""
        for host in reversed(self._hosts):
            host.close()
        shutil.rmtree(FILES, ignore_errors=True)

    @property
    def nats(self) -> tuple[Nat, Nat, Nat]:
        """The routers."""
        return self.nat_a, self.nat_b, self.nat_c

    @property
    def hosts(self) -> tuple[Host, ...]:
        """All hosts, in the order they were made."""
        return tuple(self._hosts)

    def station(self, name: str, nat: Nat) -> Station:
        """A new machine without NetworkManager, plugged in; `name` is one of ADDRESSES."""
        return self._plugged(Station(name), nat)

    def laptop(self, name: str, nat: Nat) -> Laptop:
        """A new laptop, plugged in but not booted; `name` is one of ADDRESSES."""
        return self._plugged(Laptop(name), nat)

    def profile(
        self,
        name: str,
        others: Iterable[str],
        keepalive: int = KEEPALIVE,
        registry_endpoint: str = f"{REGISTRY_PUBLIC}:{PORT}",
    ) -> WireGuardProfile:
        """The connection of a laptop: the registry with its endpoint, the other laptops without."""
        registry = PeerProfile(
            self.keys["registry"].public, (f"{Registry.address}/32",), registry_endpoint, keepalive
        )
        peers = (self._client(other, keepalive) for other in others)
        return WireGuardProfile(self.keys[name].private, f"{ADDRESSES[name]}/24", (registry, *peers))

    def endpoint_seen(self, name: str) -> str:
        """The endpoint of a laptop as the registry's device sees it, "" for none."""
        return self.registry.peers()[self.keys[name].public].endpoint

    def count_direct(self, one: Nat, other: Nat) -> Counter:
        """A counter of the UDP packets that go out of `one` for `other`, started."""
        counter = Counter(one, f"to_{other.name}", "postrouting", f"oifname pub0 ip daddr {other.public} udp dport > 0")
        counter.start()
        return counter

    def remove(self, station: Station) -> None:
        """Take a machine out of the world."""
        station.close()
        del self.stations[station.name]
        self._hosts.remove(station)

    def _add(self, host: H) -> H:
        self._hosts.append(host)
        return host

    def _plugged(self, station: S, nat: Nat) -> S:
        self._hosts.append(station)
        self.stations[station.name] = station
        station.plug(nat)
        return station

    def _join_internet(self, host: Host, address: str) -> None:
        """A host whose neighbours are all public addresses there are."""
        cable = f"to-{host.name}"
        self.internet.ip(
            f"link add {cable} type veth peer name pub0 netns {host.name}",
            f"link set {cable} master br0",
            f"link set {cable} up",
        )
        host.ip("link set pub0 up", f"addr add {address}/32 dev pub0", "route add default dev pub0 scope link")

    def _client(self, name: str, keepalive: int = 0) -> PeerProfile:
        return PeerProfile(self.keys[name].public, (f"{ADDRESSES[name]}/32",), keepalive=keepalive)
