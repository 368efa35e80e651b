# SPDX-License-Identifier: GPL-2.0-or-later
"""Our registry beside CoreDNS with wgsd, over the same devices, and each one's clients with the other's server.

The Go programs are what lab/wgsd.py has built: `python3 -m lab run --wgsd -- python3 -m pytest tests/lab/test_wgsd.py`.
"""

from __future__ import annotations

import ctypes
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.world import Host, Laptop, Station, World, wait_for
from lab.world.agent import agent_property, configuration, endpoint, start_agent
from lab.world.host import make_namespaces
from lab.world.registry import Registry
from lab.world.wireguard import generate
from tests.lab.wgsd_table import (
    DEVICE,
    EMPTY_DEVICE,
    LISTEN_PORT,
    PEERS,
    PUBLIC_ADDRESS,
    ROWS,
    ZONES,
    Row,
    key_of,
)
from tests.lab.wgsd_talk import Query, Server, told
from wgsd_nm.core.dnssd import instance_label
from wgsd_nm.core.model import PublicKey

HANDED_OVER = Path("/lab/wgsd")
HERE = Path("/run/wgsd")
CLONE_NEWNET = 0x40000000
ADDRESS = "127.0.0.1"
OUR_PORT, THEIR_PORT = 5301, 5302
MARKER = Query("<alice>._wireguard._udp")
OUR_SERIAL = re.compile(r"(?<=SOA ns1 postmaster )\d{10}")
ZONE = "wg.example.com"
LOOKUP = ("python3", "-m", "wgsd_nm.cli", "lookup", "--device", "wg0", "--dns", Registry.address, "--zone", ZONE)
BOB = "10.0.0.2"
DAVE = "10.0.0.4"


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of coredns and wgsd-client, off the slow share."""
    if not HANDED_OVER.exists():
        pytest.fail("the Go programs are not in /lab/wgsd; run this with: python3 -m lab run --wgsd -- ...")
    shutil.copytree(HANDED_OVER, HERE, dirs_exist_ok=True)
    return HERE


class Both:
    """Our registry and CoreDNS with wgsd on a host of their own, which has the devices of the table."""

    def __init__(self, programs: Path) -> None:
        """Make the host, the devices and the zones, and start both."""
        self.host = Host("table")
        make_namespaces(self.host.name)
        self._make_devices()
        self._start_ours()
        self._start_wgsd(programs)
        keys = {nick: key_of(nick) for nick in PEERS} | {"registry": self._own_key()}
        labels = {nick: instance_label(key) for nick, key in keys.items()}
        self._nicks = {label: f"<{nick}>" for nick, label in labels.items()}
        self._nicks |= {str(key): f"<{nick}>" for nick, key in keys.items()}
        self._nicks |= {labels["alice"].removesuffix("===="): "<alice_bare>"}
        self._labels = labels | {
            "ALICE": labels["alice"].upper(),
            "alice_bare": labels["alice"].removesuffix("===="),
            "nobody": instance_label(key_of("nobody")),
        }
        marker = MARKER.octets(0xFFFF, self._labels)
        self._servers = Server((ADDRESS, THEIR_PORT), marker), Server((ADDRESS, OUR_PORT), marker)
        wait_for(self._both_answer, 90, "both servers to answer")

    def answers(self, query: Query) -> tuple[str, str]:
        """What wgsd and what we say to a query."""
        asked = query.octets(0x1234, self._labels)
        with inside(self.host):
            theirs, ours = (
                told(query, asked, server.ask(asked, tcp=query.tcp), self._nicks) for server in self._servers
            )
        return theirs, OUR_SERIAL.sub("SERIAL", ours)

    def close(self) -> None:
        """End all, and remove the host."""
        self.host.close()

    def _both_answer(self) -> bool:
        try:
            return all(text.startswith("NOERROR") for text in self.answers(MARKER))
        except ConnectionRefusedError:
            return False

    def _make_devices(self) -> None:
        host = self.host
        host.ip(
            "link set lo up",
            "link add out type dummy",
            "link set out up",
            f"addr add {PUBLIC_ADDRESS}/32 dev out",
            "route add default dev out",
            f"link add {DEVICE} type wireguard",
            f"link add {EMPTY_DEVICE} type wireguard",
        )
        private = generate(["registry"])["registry"].private
        lines = ["[Interface]", f"PrivateKey={private}", f"ListenPort={LISTEN_PORT}"]
        for nick, peer in PEERS.items():
            lines += ["[Peer]", f"PublicKey={key_of(nick)}"]
            lines += [f"AllowedIPs={allowed}" for allowed in peer.allowed]
            lines += [f"Endpoint={peer.endpoint}"] if peer.endpoint else []
        host.wg("setconf", DEVICE, "/dev/stdin", text="\n".join(lines))

    def _own_key(self) -> PublicKey:
        return PublicKey.parse(self.host.wg("show", DEVICE, "public-key").strip())

    def _start_ours(self) -> None:
        lines = [f'listen = ["{ADDRESS}:{OUR_PORT}", "{PUBLIC_ADDRESS}:{OUR_PORT}"]']
        for name, zone in ZONES.items():
            lines += [f'[zone."{name}"]', f'device = "{zone.device}"']
            if zone.serves_itself:
                lines.append(f'[zone."{name}".self]')
            if zone.myself:
                lines += [f'endpoint = "{zone.myself.endpoint}"', f"allowed-ips = {list(zone.myself.allowed)}"]
        config = Path("/run/table.toml")
        config.write_text("\n".join(lines))
        self.host.spawn(["python3", "-m", "wgsd_nm.registry", "--config", str(config)], name="ours")

    def _start_wgsd(self, programs: Path) -> None:
        lines = [f".:{THEIR_PORT} {{", "errors"]
        for name, zone in ZONES.items():
            lines.append(f"wgsd {name}. {zone.device} {{")
            if zone.serves_itself:
                myself = zone.myself
                lines.append(f"self {' '.join((myself.endpoint, *myself.allowed))}" if myself else "self")
            lines.append("}")
        corefile = Path("/run/Corefile")
        corefile.write_text("\n".join([*lines, "}", ""]))
        self.host.spawn([str(programs / "coredns"), "-conf", str(corefile)], name="coredns")


@contextmanager
def inside(host: Host) -> Iterator[None]:
    """Sockets that are made in here are in the host's network namespace (setns(2))."""
    setns = ctypes.CDLL(None, use_errno=True).setns
    with Path("/proc/thread-self/ns/net").open() as here, Path("/run/netns", host.name).open() as there:
        for namespace in (there, here):
            if setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            if namespace is there:
                yield


@pytest.fixture(scope="module")
def both(programs: Path) -> Iterator[Both]:
    both = Both(programs)
    yield both
    both.close()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.query))
def test_the_table(both: Both, row: Row) -> None:
    theirs, ours = both.answers(row.query)
    if row.expected is None:
        assert ours == theirs
    else:
        assert (theirs, ours) == (row.expected.wgsd, row.expected.ours), row.expected.why


def test_each_difference_is_one() -> None:
    """Rows of the table that say the same for both, or are there twice."""
    assert not [row for row in ROWS if row.expected and row.expected.wgsd == row.expected.ours]
    assert len({str(row.query) for row in ROWS}) == len(ROWS)


@pytest.fixture
def stations(world: World) -> Iterator[tuple[Station, Station]]:
    """Carol behind NAT A and Dave behind NAT B, bare machines that the registry has seen."""
    carol, dave = world.station("carol", world.nat_a), world.station("dave", world.nat_b)
    for station, other in ((carol, "dave"), (dave, "carol")):
        station.set_address()
        station.make_wireguard(world.profile(station.name, [other]))
    world.wait_seen("carol", "dave")
    yield carol, dave
    for station in (carol, dave):
        world.remove(station)


def start(host: Host, name: str, said: str, *command: str) -> None:
    """Start a server and wait until it says that it answers."""
    log = host.log(name)
    log.write_text("")  # a share may have been there before
    host.spawn(command, name=name)
    wait_for(lambda: said in log.read_text(), 60, f"{name} to answer")


@pytest.fixture
def our_registry(world: World) -> Iterator[None]:
    """Our registry at the world's registry, inside the tunnel."""
    flags = ("--device", "wg0", "--zone", ZONE, "--listen", Registry.address)
    start(world.registry, "ours", "answering for", "python3", "-m", "wgsd_nm.registry", *flags)
    yield
    world.registry.stop("ours")


@pytest.fixture
def coredns(world: World, programs: Path) -> Iterator[None]:
    """CoreDNS with wgsd in its place."""
    corefile = Path("/run/Corefile.world")
    corefile.write_text(f".:53 {{\nbind {Registry.address}\nerrors\nwgsd {ZONE}. wg0\n}}\n")
    start(world.registry, "coredns", "CoreDNS-", str(programs / "coredns"), "-conf", str(corefile))
    yield
    world.registry.stop("coredns")


@pytest.mark.usefixtures("our_registry")
def test_wgsd_client_finds_peers_by_our_registry(
    world: World, stations: tuple[Station, Station], programs: Path
) -> None:
    carol, dave = stations
    keys, seen = world.keys, world.wait_seen("carol", "dave")
    direct = world.count_direct(world.nat_a, world.nat_b)
    for station in stations:
        command = ["-device", "wg0", "-dns", f"{Registry.address}:53", "-zone", ZONE]
        said = station.run([str(programs / "wgsd-client"), *command])
        assert keys["registry"].public in said.stderr, "our registry is asked for itself, and tells nothing"
        assert len(said.stderr.splitlines()) == 1, said.stderr
    assert carol.peers()[keys["dave"].public].endpoint == seen["dave"]
    assert dave.peers()[keys["carol"].public].endpoint == seen["carol"]
    assert carol.ping(DAVE)
    assert direct.packets() > 0


@pytest.mark.usefixtures("coredns")
def test_our_lookup_finds_peers_by_wgsd(world: World, stations: tuple[Station, Station]) -> None:
    carol, dave = stations
    keys, seen = world.keys, world.wait_seen("carol", "dave")
    results = [
        {record["public_key"]: record["result"] for record in json.loads(station.run([*LOOKUP, "--json"]).stdout)}
        for station in stations
    ]
    assert results[0][keys["dave"].public] == "set"
    assert results[1][keys["carol"].public] in ("set", "unchanged", "roamed")  # Carol may have come through meanwhile
    assert carol.peers()[keys["dave"].public].endpoint == seen["dave"]
    assert dave.peers()[keys["carol"].public].endpoint == seen["carol"]
    assert carol.ping(DAVE)


@pytest.mark.usefixtures("coredns")
def test_our_agent_finds_bob_by_wgsd(world: World, alice: Laptop, bob: Laptop) -> None:
    relayed = world.registry.relayed.packets()
    laptops = ((alice, "bob"), (bob, "alice"))

    def is_found(laptop: Laptop, other: str) -> bool:
        at = endpoint(world, laptop, other)
        return at != "" and at == world.endpoint_seen(other)

    try:
        for laptop, other in laptops:
            laptop.nmcli("connection", "up", "wg0")
            assert endpoint(world, laptop, other) == ""
            start_agent(laptop, configuration(world, laptop))
        wait_for(
            lambda: all(is_found(laptop, other) for laptop, other in laptops),
            60,
            "both agents to set the other's endpoint",
        )
        assert alice.ping(BOB)
        assert world.registry.relayed.packets() == relayed
        for laptop, _ in laptops:
            (tunnel,) = agent_property(laptop, "Tunnels")
            assert tunnel["Updates"] == "polling"
    finally:
        for laptop, _ in laptops:
            laptop.stop("agent")
            laptop.nmcli("connection", "up", "wg0")
