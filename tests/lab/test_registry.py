# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry over the kernel's own WireGuard, asked with dig through the tunnel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.world import Host, Station, World, wait_for
from lab.world.registry import Registry
from wgsd_nm.core.dnssd import instance_label
from wgsd_nm.core.model import Endpoint, PublicKey

PROGRAM = ("python3", "-m", "wgsd_nm.registry")
BROWSE = "_wireguard._udp.wg.example.com"
OTHER = "wgtest"
"""A device of our own beside the world's."""
OTHER_ADDRESS = "198.18.0.53"


def start(host: Host, name: str, *flags: str) -> Path:
    """Run a registry; returns its log when it answers."""
    host.spawn([*PROGRAM, "--zone", "wg.example.com", *flags], name=name)
    wait_for(lambda: "answering for wg.example.com." in host.log(name).read_text(), 90, "the registry to answer")
    return host.log(name)


def dig(host: Host, server: str, name: str, rdtype: str, *options: str) -> str:
    """All that dig says, which must be no complaint."""
    said = host.run(["dig", f"@{server}", name, rdtype, "+norecurse", "+tries=1", "+time=5", *options]).stdout
    assert not re.search("warning|bad packet|malformed|mismatch|extra bytes", said, re.IGNORECASE), said
    return said


def code(said: str) -> str:
    found = re.search(r"status: (\w+)", said)
    assert found, said
    return found[1]


def records(said: str) -> list[str]:
    """All records of an answer, in order."""
    return [" ".join(line.split()) for line in said.splitlines() if line and not line.startswith(";")]


def name_of(world: World, peer: str) -> str:
    return f"{instance_label(PublicKey.parse(world.keys[peer].public))}.{BROWSE}"


@pytest.fixture(scope="module")
def carol(world: World) -> Iterator[Station]:
    """A bare machine behind NAT A, with a registry running that it can ask through its tunnel."""
    carol = world.station("carol", world.nat_a)
    carol.set_address()
    carol.make_wireguard(world.profile("carol", []))
    world.wait_seen("carol")
    start(world.registry, "dns", "--device", "wg0", "--listen", Registry.address)
    yield carol
    assert world.registry.stop("dns") == 0
    world.remove(carol)


@pytest.fixture(scope="module")
def waiting(world: World) -> Iterator[Path]:
    """The log of a registry for a device that is not there, at an address that came after it."""
    host = world.registry
    log = start(host, "other", "--device", OTHER, "--listen", OTHER_ADDRESS)
    host.ip(f"addr add {OTHER_ADDRESS}/32 dev lo")
    yield log
    assert host.stop("other") == 0
    host.ip(f"addr del {OTHER_ADDRESS}/32 dev lo")


@pytest.fixture
def device(world: World, waiting: Path) -> Iterator[Path]:
    """The log of the registry for OTHER, which is there no more when the test has ended."""
    yield waiting
    world.registry.run(["ip", "link", "delete", OTHER], check=False)


@pytest.mark.parametrize("options", [(), ("+tcp",), ("+noedns",), ("+dnssec",), ("+nocookie",)])
def test_a_peer_is_found_where_the_kernel_sees_it(world: World, carol: Station, options: tuple[str, ...]) -> None:
    seen = Endpoint.parse(world.endpoint_seen("carol"))
    assert str(seen.address) == world.nat_a.public
    name = name_of(world, "carol")
    said = dig(carol, Registry.address, name.upper(), "SRV", *options)
    assert code(said) == "NOERROR"
    assert records(said) == [
        f"{name}. 0 IN SRV 0 0 {seen.port} {name}.",
        f"{name}. 0 IN A {seen.address}",
        f'{name}. 0 IN TXT "txtvers=1" "pub={world.keys["carol"].public}" "allowed=10.0.0.3/32"',
    ]


def test_the_browse_lists_who_was_seen(world: World, carol: Station) -> None:
    listed = dig(carol, Registry.address, BROWSE, "PTR", "+short").split()
    assert f"{name_of(world, 'carol')}." in listed
    never_seen = name_of(world, "dave")
    assert f"{never_seen}." not in listed
    assert code(dig(carol, Registry.address, never_seen, "SRV")) == "NOERROR"
    assert code(dig(carol, Registry.address, f"nobody.{BROWSE}", "SRV")) == "NXDOMAIN"
    assert code(dig(carol, Registry.address, "www.example.com", "A")) == "REFUSED"


def test_pipelined_questions_share_a_connection(world: World, carol: Station) -> None:
    question = [name_of(world, "carol"), "SRV"]
    said = carol.run(["dig", f"@{Registry.address}", "+tcp", "+keepopen", *question, *question, *question]).stdout
    assert said.count("status: NOERROR") == 3


def test_a_move_is_told_as_soon_as_the_kernel_sees_it(world: World, carol: Station) -> None:
    before = world.endpoint_seen("carol")
    carol.move(world.nat_c)
    carol.set_address()
    assert carol.ping(Registry.address)
    seen = Endpoint.parse(wait_for(lambda: world.endpoint_seen("carol"), 20, "an endpoint"))
    assert str(seen) != before
    name = name_of(world, "carol")
    told = records(dig(carol, Registry.address, name, "SRV"))
    assert told[:2] == [f"{name}. 0 IN SRV 0 0 {seen.port} {name}.", f"{name}. 0 IN A {world.nat_c.public}"]


def test_a_device_may_come_and_go(world: World, device: Path) -> None:
    host = world.registry
    name, key = name_of(world, "alice"), world.keys["alice"].public

    def is_told(status: str) -> bool:
        return code(dig(host, OTHER_ADDRESS, name, "SRV")) == status

    assert is_told("SERVFAIL")
    host.ip(f"link add {OTHER} type wireguard")
    host.wg("set", OTHER, "peer", key, "endpoint", "[2001:db8::1]:4242")
    wait_for(lambda: is_told("NOERROR"), 10, "the device to be found")
    assert dig(host, OTHER_ADDRESS, name, "AAAA", "+short").split() == ["2001:db8::1"]
    host.wg("set", OTHER, "peer", key, "remove")
    wait_for(lambda: is_told("NXDOMAIN"), 10, "the peer to be gone")
    host.ip(f"link delete {OTHER}")
    wait_for(lambda: is_told("SERVFAIL"), 10, "the device to be missed")
    assert [line.split(": ", 2)[1] for line in device.read_text().splitlines()] == [
        "answering SERVFAIL until this ends",
        f"answering for wg.example.com. with the peers of {OTHER} at {OTHER_ADDRESS}:53",
        "answering SERVFAIL",
        f"{OTHER} can be read again",
        "answering SERVFAIL",
    ]


def test_many_peers_are_browsed_over_tcp(world: World, device: Path) -> None:
    host = world.registry
    keys = [PublicKey(number.to_bytes(32, "little")) for number in range(1, 201)]
    host.ip(f"link add {OTHER} type wireguard")
    sections = (f"[Peer]\nPublicKey={key}\nEndpoint=192.0.2.1:1\nAllowedIPs=10.9.0.0/16\n" for key in keys)
    host.wg("setconf", OTHER, "/dev/stdin", text="".join(sections))
    wait_for(
        lambda: code(dig(host, OTHER_ADDRESS, BROWSE, "PTR", "+ignore")) == "NOERROR", 10, "the device to be found"
    )
    assert "can be read again" in device.read_text()
    listed = dig(host, OTHER_ADDRESS, BROWSE, "PTR", "+short").split()
    assert sorted(listed) == sorted(f"{instance_label(key)}.{BROWSE}." for key in keys)


def test_without_permission_it_does_not_start(world: World) -> None:
    flags = ("--zone", "wg.example.com", "--device", "wg0", "--listen", "127.0.0.1:5302")
    ended = world.registry.run([*PROGRAM, *flags], user="nobody", check=False)
    assert ended.status == 1
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "CAP_NET_ADMIN" in ended.stderr
