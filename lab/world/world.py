# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole: an internet, the registry, three NAT routers, and the laptops that a test or a demo asks for."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from lab.world.counter import Counter
from lab.world.host import LOGS, Host, call, make_namespaces
from lab.world.laptop import Laptop
from lab.world.nat import Nat
from lab.world.profile import PeerProfile, WireGuardProfile
from lab.world.registry import Registry
from lab.world.station import Station
from lab.world.waiting import wait_for
from lab.world.wireguard import PORT, Keys, generate

FILES = Path("/run/lab")
MODULES = (
    "wireguard", "veth", "bridge", "nf_tables", "nft_chain_nat", "nft_masq", "nft_redir", "nft_ct", "nf_nat",
    "nft_reject_inet", "nf_conntrack_netlink", "dummy", "tun",
)  # fmt: skip
REGISTRY_PUBLIC = "203.0.113.254"
REGISTRY_PUBLIC6 = "2001:db8:f::254"
REGISTRY_NAME = "registry.example.com"
NATS = {
    "natA": ("198.51.100.1", "192.168.1"),
    "natB": ("192.0.2.1", "192.168.2"),
    "natC": ("198.51.100.130", "192.168.3"),
}
NATS6 = {
    "natA": ("2001:db8:a::1", "2001:db8:a:1"),
    "natB": ("2001:db8:b::1", "2001:db8:b:1"),
    "natC": ("2001:db8:c::1", "2001:db8:c:1"),
}
"""The routers' IPv6 addresses and the prefixes of their LANs; which LAN has IPv6 is a matter of `Nat.set_stack`."""
NAMES = {REGISTRY_NAME: (REGISTRY_PUBLIC,)}
ADDRESSES = {
    "alice": "10.0.0.1",
    "bob": "10.0.0.2",
    "carol": "10.0.0.3",
    "dave": "10.0.0.4",
    "registry": Registry.address,
}
ADDRESSES6 = {
    "alice": "fd00:5047::1",
    "bob": "fd00:5047::2",
    "carol": "fd00:5047::3",
    "dave": "fd00:5047::4",
    "registry": Registry.address6,
}
"""Inside the tunnel (/64), for profiles that have IPv6 there; at the start only the registry has its own."""
KEEPALIVE = 25
"""Not 5: that is the kernel's time between two tries, and two ends in step would go on missing each other."""

S = TypeVar("S", bound=Station)


class World:
    """A context manager; everything in it is gone when it is left."""

    def __init__(self) -> None:
        """Nothing is made before the context is entered."""
        self.stations: dict[str, Station] = {}
        self.internet = Host("inet")
        self.registry = Registry("registry", REGISTRY_PUBLIC, REGISTRY_PUBLIC6)
        self.nat_a, self.nat_b, self.nat_c = (
            Nat(name, *addresses, NAMES, *NATS6[name]) for name, addresses in NATS.items()
        )
        self.keys: dict[str, Keys] = {}

    def __enter__(self) -> Self:
        """Make the internet, the registry and the routers."""
        for path in (FILES, LOGS):
            path.mkdir(parents=True, exist_ok=True)
        call("modprobe", "--all", *MODULES)
        make_namespaces(*(host.name for host in self.hosts))
        self._connect()
        with ThreadPoolExecutor() as pool:
            self.keys = generate(ADDRESSES)
            peers = [self.client(name) for name in ADDRESSES if name != "registry"]
            started = [pool.submit(nat.start) for nat in self.nats]
            started.append(pool.submit(self.registry.start, self.keys["registry"], peers))
            for each in started:
                each.result()
        return self

    def __exit__(self, *_: object) -> None:
        """End and remove everything."""
        for host in reversed(self.hosts):
            host.close()
        shutil.rmtree(FILES, ignore_errors=True)

    @property
    def nats(self) -> tuple[Nat, Nat, Nat]:
        """The routers."""
        return self.nat_a, self.nat_b, self.nat_c

    @property
    def hosts(self) -> tuple[Host, ...]:
        """All hosts, in the order they were made."""
        return (self.internet, self.registry, *self.nats, *self.stations.values())

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
        registry = PeerProfile(self.keys["registry"].public, (f"{Registry.address}/32",), registry_endpoint, keepalive)
        peers = (self.client(other, keepalive) for other in others)
        return WireGuardProfile(self.keys[name].private, f"{ADDRESSES[name]}/24", (registry, *peers))

    def endpoint_seen(self, name: str) -> str:
        """The endpoint of a laptop as the registry's device sees it, "" for none."""
        return self.registry.peers()[self.keys[name].public].endpoint

    def count_direct(self, one: Nat, other: Nat) -> Counter:
        """A counter of the UDP packets that go out of `one` for `other`, started."""
        counter = Counter(one, f"to_{other.name}", "postrouting", f"oifname pub0 ip daddr {other.public} udp dport > 0")
        counter.start()
        return counter

    def wait_seen(self, *names: str, timeout: float = 60.0) -> dict[str, str]:
        """The endpoints at which the registry sees these laptops, as soon as it sees all of them."""

        def seen() -> dict[str, str] | None:
            peers = self.registry.peers()
            endpoints = {name: peers[self.keys[name].public].endpoint for name in names}
            return endpoints if all(endpoints.values()) else None

        return wait_for(seen, timeout, f"the registry to see {' and '.join(names)}") or {}

    def call_registry(self, *stations: Station, timeout: float = 20.0) -> dict[str, str]:
        """Have these machines send to the registry; returns the endpoints at which it then sees them, by name."""
        registry = self.keys["registry"].public
        keys = {station.name: self.keys[station.name].public for station in stations}
        before = self.registry.peers()
        for station in stations:
            station.punch(registry, f"{REGISTRY_PUBLIC}:{PORT}", KEEPALIVE)

        def heard() -> dict[str, str] | None:
            peers = self.registry.peers()
            all_heard = all(peers[key].rx_bytes > before[key].rx_bytes for key in keys.values())
            return {name: peers[key].endpoint for name, key in keys.items()} if all_heard else None

        return wait_for(heard, timeout, f"the registry to hear {' and '.join(keys)}") or {}

    def remove(self, station: Station) -> None:
        """Take a machine out of the world; the registry has never heard of it."""
        station.close()
        self.registry.forget(self.client(station.name))
        del self.stations[station.name]

    def _plugged(self, station: S, nat: Nat) -> S:
        self.stations[station.name] = station
        station.plug(nat)
        return station

    def _connect(self) -> None:
        """Put public hosts on one wire; to each of them, everybody else is a neighbour."""
        public = (self.registry, *self.nats)
        commands = ["link add br0 type bridge forward_delay 0", "link set br0 up"]
        for host in public:
            commands += [
                f"link add to-{host.name} type veth peer name pub0 netns {host.name}",
                f"link set to-{host.name} master br0",
                f"link set to-{host.name} up",
            ]
        self.internet.ip(*commands)
        for host in public:
            host.ip(
                "link set lo up",
                "link set pub0 up",
                f"addr add {host.public}/32 dev pub0",
                "route add default dev pub0 scope link",
                f"addr add {host.public6}/128 dev pub0 nodad",
                "route add ::/0 dev pub0",
                *(
                    f"route add {nat.lan6}::/64 via {nat.public6} dev pub0 onlink"
                    for nat in self.nats
                    if nat is not host
                ),
            )

    def client(self, name: str, keepalive: int = 0) -> PeerProfile:
        """A laptop as the others' profiles have it."""
        return PeerProfile(self.keys[name].public, (f"{ADDRESSES[name]}/32",), keepalive=keepalive)
