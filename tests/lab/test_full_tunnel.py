# SPDX-License-Identifier: GPL-2.0-or-later
"""A tunnel that carries everything, made by NetworkManager: lookups go inside it or beside it, and never leak.

Reverse path filters decide whether an answer beside the tunnel is let in, for the policy routing with which
NetworkManager keeps WireGuard's own packets out of the tunnel looks, seen from an answer, like a route into it. They
decide the same for WireGuard's own packets, which have a mark that unprivileged programs cannot give to theirs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

import pytest

from lab.world import Laptop, Mapping, PeerProfile, Stack, Station, WireGuardProfile, World, wait_for
from lab.world.agent import (
    AGENT,
    AGENT_PATH,
    CONFIGURATION,
    ZONE,
    agent_property,
    configuration,
    endpoint,
)
from lab.world.counter import Counter
from lab.world.laptop import USER
from lab.world.pinging import Pinging
from lab.world.registry import Registry
from lab.world.wireguard import PORT
from lab.world.world import ADDRESSES, ADDRESSES6, NAMES, REGISTRY_NAME, REGISTRY_PUBLIC, REGISTRY_PUBLIC6
from tests.lab.agents import Meeting, answered_again
from tests.lab.families import BY_IPV4, BY_IPV6, NEW_HOME, move_registry

INSIDE: Final = (Registry.address, Registry.address6)
BESIDE: Final = (REGISTRY_PUBLIC, REGISTRY_PUBLIC6)
PUBLIC_LOG: Final = "registry-public"
FOUND: Final = 20.0
"""Seconds for a lookup, the write that follows, and this slow machine."""
HANDSHAKES: Final = 12.0
"""Two of the kernel's tries and a bit; who has not answered by then does not."""
NOTICED: Final = 45.0
"""Seconds in which the silence of the registry's peer is noticed (15 of sending into it) and ended."""
QUESTIONS: Final = ("udp dport 53", "tcp dport 53 tcp flags & (syn | ack) == syn")
"""Of TCP the first packet: a session with a registry that is not asked any more ends where it began."""
OURS: Final = "meta skuid 1000"
"""What the agent sends, and nobody else on the laptop: NetworkManager asks for host names by itself."""


class Filter(Enum):
    """Reverse path filters: IPv4's sysctl, and the rule of firewalld's IPv6_rpfilter ("" for none)."""

    OFF = 0, ""
    LOOSE = 2, "fib saddr . mark oif missing counter drop"
    STRICT = 1, "fib saddr . mark . iif oif missing counter drop"


@dataclass(frozen=True, slots=True)
class FullTunnel:
    """Alice behind NAT A, all of whose traffic goes to dave behind NAT C; dave sends it on under his own address."""

    world: World
    alice: Laptop
    dave: Station

    def profile(self, registry: str = BY_IPV4) -> WireGuardProfile:
        """Alice's connection; `registry` is the endpoint that the registry's peer has there."""
        usual = self.world.profile("alice", [], registry_endpoint=registry)
        (registry_peer,) = usual.peers
        everything = PeerProfile(self.world.keys["dave"].public, ("0.0.0.0/0", "::/0", *inner("dave")), keepalive=25)
        peers = (replace(registry_peer, allowed_ips=inner("registry")), everything)
        return replace(usual, address6=f"{ADDRESSES6['alice']}/64", peers=peers)

    def ask(self, registry: str) -> None:
        """Have the agent ask this registry, and no other, from now on."""
        self.alice.write(CONFIGURATION, configuration(self.world, self.alice, [registry]), user=USER)
        self.alice.busctl_user("call", AGENT, AGENT_PATH, AGENT, "Reload")

    def lose_dave(self) -> None:
        """Have alice's kernel know nothing of dave but what the profile says."""
        (_, dave) = self.profile().peers
        key = ("peer", dave.public_key)
        allowed = ("allowed-ips", ",".join(dave.allowed_ips), "persistent-keepalive", str(dave.keepalive))
        self.alice.wg("set", "wg0", *key, "remove", *key, *allowed)

    def dave_is_known(self) -> bool:
        """Whether alice's kernel has dave where he is."""
        return endpoint(self.world, self.alice, "dave") == f"{self.world.nat_c.public}:{PORT}"

    def is_answered(self) -> bool:
        """Have alice's agent look dave up; returns whether the registry answered."""
        call = ("--timeout=30", "call", AGENT, AGENT_PATH, AGENT, "Refresh")
        return not self.alice.busctl_user(*call, check=False).status

    def find_dave(self) -> None:
        """Have alice's agent look dave up; returns when her kernel has his endpoint. Raises NotInTimeError."""
        assert self.is_answered()
        wait_for(self.dave_is_known, FOUND, "alice's kernel to have dave's endpoint", 0.1)

    def heard(self, name: str) -> int:
        """How many octets alice's kernel has had from a peer since her profile was activated."""
        return self.alice.peers()[self.world.keys[name].public].rx_bytes


def inner(name: str) -> tuple[str, str]:
    """What a peer has in AllowedIPs for its own two addresses."""
    return f"{ADDRESSES[name]}/32", f"{ADDRESSES6[name]}/128"


@pytest.fixture(scope="module")
def full(company: Meeting) -> Iterator[FullTunnel]:
    """Alice's full tunnel, and a second registry program on the public addresses."""
    world, alice = company.world, company.alice
    with ExitStack() as undo:
        for nat in (world.nat_a, world.nat_c):
            undo.callback(nat.set_stack, Stack.IPV4)
            nat.set_stack(Stack.DUAL)
        undo.callback(world.nat_c.set_kind)
        world.nat_c.set_kind(Mapping.FULL_CONE, inner_host=50)
        tunnel = FullTunnel(world, alice, world.station("dave", world.nat_c))
        undo.callback(world.remove, tunnel.dave)
        _become_exit(tunnel)
        for name in ("alice", "dave"):
            key = ("wg0", "peer", world.keys[name].public, "allowed-ips")
            undo.callback(world.registry.wg, "set", *key, f"{ADDRESSES[name]}/32")
            world.registry.wg("set", *key, ",".join(inner(name)))
        undo.callback(world.registry.stop, PUBLIC_LOG)
        _serve_publicly(world)
        undo.callback(tunnel.ask, Registry.address)
        undo.callback(alice.adopt, world.profile("alice", ["bob"]))
        undo.callback(alice.set_ipv6, False)
        alice.set_ipv6(True)
        alice.adopt(tunnel.profile())
        alice.wait_connected()
        yield tunnel


def _become_exit(tunnel: FullTunnel) -> None:
    world, dave = tunnel.world, tunnel.dave
    dave.forward()
    dave.set_address(50)
    lan6 = world.nat_c.lan6
    dave.ip(f"addr add {lan6}::50/64 dev eth0 nodad", f"route replace ::/0 via {lan6}::1 dev eth0")
    dave.nft("""
        table inet exit {
            chain postrouting {
                type nat hook postrouting priority srcnat
                iifname wg0 oifname eth0 masquerade
            }
        }
    """)
    usual = world.profile("dave", ["alice"])
    registry, alice = usual.peers
    alice = replace(alice, allowed_ips=inner("alice"), keepalive=0)
    dave.make_wireguard(replace(usual, address6=f"{ADDRESSES6['dave']}/64", peers=(registry, alice)))
    wait_for(lambda: world.endpoint_seen("dave"), 30, "the registry to see dave")


def _serve_publicly(world: World) -> None:
    """Nobody but us may ask: in the guest these are all addresses that there are."""
    flags = [*("--listen", REGISTRY_PUBLIC), *("--listen", f"[{REGISTRY_PUBLIC6}]:53")]
    flags += [
        *("--listen", f"[{Registry.address6}]:53"),
        *("--allow", "198.51.100.0/24"),
        *("--allow", "2001:db8::/32"),
    ]
    begin = world.registry.log(PUBLIC_LOG).stat().st_size
    world.registry.spawn(
        ["python3", "-m", "wgsd_nm.registry", "--device", "wg0", "--zone", ZONE, *flags], name=PUBLIC_LOG
    )
    log = world.registry.log(PUBLIC_LOG)
    wait_for(lambda: "answering for" in log.read_text()[begin:], 60, "the public registry to answer", 0.2)


@contextmanager
def filtering(laptop: Laptop, strictness: Filter) -> Iterator[None]:
    """Have the laptop's kernel filter so; it is as it was afterwards."""
    sysctl, rule = strictness.value
    _set_rp_filter(laptop, sysctl)
    if rule:
        laptop.nft(f"""
            table ip6 rpfilter {{
                chain prerouting {{
                    type filter hook prerouting priority mangle + 10
                    icmpv6 type {{ nd-router-advert, nd-neighbor-solicit }} accept
                    {rule}
                }}
            }}
        """)
    try:
        yield
    finally:
        _set_rp_filter(laptop, 0)
        if rule:
            laptop.nft("delete table ip6 rpfilter")


@contextmanager
def marking(laptop: Laptop) -> Iterator[None]:
    """Mark the answers to what has wg0's mark, as wg-quick(8) does, and NetworkManager from 1.54 on."""
    mark = laptop.wg("show", "wg0", "fwmark").strip()
    laptop.nft(f"""
        table inet marks {{
            chain prerouting {{
                type filter hook prerouting priority mangle
                meta l4proto udp meta mark set ct mark
            }}
            chain postrouting {{
                type filter hook postrouting priority mangle
                meta l4proto udp meta mark {mark} ct mark set meta mark
            }}
        }}
    """)
    _set_sysctl(laptop, "all/src_valid_mark", 1)
    try:
        yield
    finally:
        _set_sysctl(laptop, "all/src_valid_mark", 0)
        laptop.nft("delete table inet marks")


def _set_rp_filter(laptop: Laptop, value: int) -> None:
    for name in ("all", "default", "eth0", "wg0"):
        _set_sysctl(laptop, f"{name}/rp_filter", value)


def _set_sysctl(laptop: Laptop, name: str, value: int) -> None:
    laptop.run(["sh", "-c", f"echo {value} >/proc/sys/net/ipv4/conf/{name}"])


def dropped(laptop: Laptop) -> int:
    """How many packets the reverse path filters have dropped: TcpExtIPReversePathFilter, and firewalld's rule."""
    names, values = (
        line.split()
        for line in laptop.run(["cat", "/proc/net/netstat"]).stdout.splitlines()
        if line.startswith("TcpExt:")
    )
    rule = laptop.run(["nft", "list", "table", "ip6", "rpfilter"]).stdout.split("counter packets ")[1].split()[0]
    return int(dict(zip(names, values, strict=True))["IPReversePathFilter"]) + int(rule)


def questions(where: str) -> Iterator[str]:
    """What nft(8) says of a question that is seen there."""
    return (f"{where} {question}" for question in QUESTIONS)


@dataclass(frozen=True, slots=True)
class Ways:
    """Where the agent's questions went: into the tunnel, out of the uplink; and where questions were seen go by."""

    inside: int
    beside: int
    at_router: int
    at_exit: int


@contextmanager
def watching(tunnel: FullTunnel) -> Iterator[list[Ways]]:
    """Count while the context lasts; the list has the result afterwards.

    Counting begins farthest from the agent and ends there: what is seen to leave alice is seen wherever it comes by.
    """
    world, ways = tunnel.world, list[Ways]()
    inside = Counter(tunnel.alice, "inside", "postrouting", *questions(f"oifname wg0 {OURS}"))
    beside = Counter(tunnel.alice, "beside", "postrouting", *questions(f"oifname eth0 {OURS}"))
    at_router = Counter(world.nat_a, "beside", "forward", *questions("iifname lan0 oifname pub0"))
    at_exit = Counter(tunnel.dave, "exit", "prerouting", *questions("iifname wg0"))
    with at_exit, at_router, beside, inside:
        yield ways
        ways.append(Ways(inside.packets(), beside.packets(), at_router.packets(), at_exit.packets()))


def ask_and_watch(full: FullTunnel, registry: str) -> Ways:
    """Have the agent find dave by this registry; returns which way the questions went.

    It is asked once before they are counted, so that none to the registry before it is still on its way.
    """
    full.ask(registry)
    assert full.is_answered()
    with watching(full) as ways:
        full.lose_dave()
        full.find_dave()
    return ways[0]


def assert_inside(ways: Ways) -> None:
    """All questions went through the registry's own peer."""
    assert ways.inside > 0
    assert (ways.beside, ways.at_router, ways.at_exit) == (0, 0, 0)


def assert_beside(ways: Ways) -> None:
    """No question went into the tunnel."""
    assert ways.beside > 0
    assert ways.at_router >= ways.beside
    assert (ways.inside, ways.at_exit) == (0, 0)


@pytest.mark.parametrize("strictness", [Filter.OFF, Filter.LOOSE])
@pytest.mark.parametrize("registry", [*INSIDE, *BESIDE])
def test_questions_go_where_they_are_meant_to(full: FullTunnel, registry: str, strictness: Filter) -> None:
    with filtering(full.alice, strictness):
        ways = ask_and_watch(full, registry)
    (assert_inside if registry in INSIDE else assert_beside)(ways)


def test_everything_else_goes_through_the_tunnel(full: FullTunnel) -> None:
    """Else the tests above would show nothing."""
    full.ask(Registry.address)
    full.find_dave()
    assert full.alice.ping(ADDRESSES["dave"], 20.0)
    with (
        Counter(full.dave, "passed", "forward", "iifname wg0 oifname eth0 icmp type echo-request") as passed,
        Counter(full.dave, "passed6", "forward", "iifname wg0 oifname eth0 icmpv6 type echo-request") as passed6,
    ):
        assert full.alice.ping(REGISTRY_PUBLIC)
        assert full.alice.ping(REGISTRY_PUBLIC6)
        assert passed.packets() > 0
        assert passed6.packets() > 0


def test_the_registrys_name_is_asked_beside_the_tunnel(full: FullTunnel) -> None:
    """Whatever the tunnel carries: what the name means has to be known before the tunnel works."""
    alice, world = full.alice, full.world
    full.ask(Registry.address)
    alice.adopt(full.profile(f"{REGISTRY_NAME}:{PORT}"))
    alice.wait_connected()
    with ExitStack() as undo:
        pinging = undo.enter_context(Pinging(alice, Registry.address))
        answered_again((pinging,), time.time(), 20)
        leaked = undo.enter_context(
            Counter(alice, "leaked", "postrouting", *questions(f"oifname wg0 {OURS} ip daddr != {Registry.address}"))
        )
        asked = undo.enter_context(
            Counter(alice, "asked", "postrouting", *questions(f"oifname eth0 {OURS} ip daddr {world.nat_a.lan}.1"))
        )
        undo.callback(world.nat_a.set_names, NAMES)
        world.nat_a.set_names({REGISTRY_NAME: [NEW_HOME]})
        move_registry(world, undo)
        answered_again((pinging,), time.time() + 1, NOTICED)
        assert alice.peers()[world.keys["registry"].public].endpoint == f"{NEW_HOME}:{PORT}"
        assert asked.packets() > 0
        assert leaked.packets() == 0


@pytest.mark.parametrize("registry", [BY_IPV4, BY_IPV6])
def test_strict_filters_alone_stop_wireguard_itself(full: FullTunnel, registry: str) -> None:
    """What the registry sends comes as far as alice's card and is dropped there: nothing is left to be looked up for.

    A first handshake may slip through before NetworkManager has made its rules. It leaves the filters as they are.
    """
    alice, world = full.alice, full.world
    came = f"oifname lan0 udp sport {PORT}"
    with filtering(alice, Filter.STRICT), Counter(world.nat_a, "answers", "forward", came) as answers:
        alice.adopt(full.profile(registry))
        alice.wait_connected()
        before, sent, heard = dropped(alice), answers.packets(), full.heard("registry")
        assert not alice.ping(Registry.address, HANDSHAKES)
        wait_for(
            lambda: answers.packets() >= sent + 2 and dropped(alice) >= before + 2, 20, "two answers to be dropped"
        )
        assert full.heard("registry") == heard
        assert alice.run(["cat", "/proc/sys/net/ipv4/conf/eth0/rp_filter"]).stdout == "1\n"
    assert alice.ping(Registry.address, HANDSHAKES)


@pytest.mark.parametrize(
    ("outer", "registries"), [(BY_IPV4, (INSIDE[0], BESIDE[0])), (BY_IPV6, (INSIDE[1], BESIDE[1]))]
)
def test_marks_let_wireguard_through_strict_filters_and_lookups_inside(
    full: FullTunnel, outer: str, registries: tuple[str, str]
) -> None:
    """Beside the tunnel the answers are dropped, and it is said; a route to the registry's address lets them in."""
    alice, (inside, beside) = full.alice, registries
    with filtering(alice, Filter.STRICT), marking(alice):
        alice.adopt(full.profile(outer))
        alice.wait_connected()
        assert alice.ping(Registry.address, HANDSHAKES)
        assert_inside(ask_and_watch(full, inside))
        assert alice.ping(ADDRESSES["dave"], 20.0)

        before = dropped(alice)
        full.ask(beside)
        with watching(full) as ways:
            assert not full.is_answered()
        assert_beside(ways[0])
        assert dropped(alice) > before
        (told,) = agent_property(alice, "Tunnels")
        assert beside in told["LastError"]

        with _route_to(alice, beside):
            assert_beside(ask_and_watch(full, beside))


@contextmanager
def _route_to(laptop: Laptop, address: str) -> Iterator[None]:
    """A route to one address by the uplink's router, like one that the uplink's profile may have."""
    version, bits = ("-6", 128) if ":" in address else ("-4", 32)
    default = laptop.run(["ip", version, "route", "show", "default", "dev", "eth0"]).stdout.split()
    route = [f"{address}/{bits}", "via", default[default.index("via") + 1], "dev", "eth0"]
    laptop.run(["ip", version, "route", "add", *route])
    try:
        yield
    finally:
        laptop.run(["ip", version, "route", "del", *route])
