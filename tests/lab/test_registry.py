# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry over the kernel's own WireGuard, asked with dig through the tunnel, beside it and by strangers."""

from __future__ import annotations

import re
import signal
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
        "answering SERVFAIL",
        f"answering for wg.example.com. with the peers of {OTHER} at {OTHER_ADDRESS}:53",
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


SITE = """\
listen = ["{public}:5300", "{inner}:5300", "127.0.0.1:5300"]
[zone."wg.example.com"]
device = "wg0"
max-handshake-age = 3600
[zone."wg.example.com".names]
carol = "{carol}"
[zone."wg.example.com".self]
endpoint = "{public}"
[zone."other.example.com"]
device = "{other}"
allow = ["{neighbour}/32"]
"""


@pytest.fixture(scope="module")
def site(world: World, carol: Station) -> Iterator[Path]:  # noqa: ARG001 - she has called the registry's device
    """The log of a registry with two zones over two devices, at the public address, in the tunnel and on loopback."""
    host = world.registry
    host.ip(f"link add {OTHER} type wireguard")
    file = Path("/run/lab/site.toml")
    key, neighbour = world.keys["carol"].public, world.nat_b.public
    file.write_text(
        SITE.format(public=host.public, inner=Registry.address, other=OTHER, neighbour=neighbour, carol=key)
    )
    host.spawn([*PROGRAM, "--config", str(file)], name="site")
    log = host.log("site")
    wait_for(lambda: "answering for wg.example.com." in log.read_text(), 90, "the registry to answer")
    yield log
    assert host.stop("site") == 0
    host.run(["ip", "link", "delete", OTHER], check=False)


def status(host: Host, server: str, zone: str, *options: str) -> str:
    return code(dig(host, server, zone, "SOA", "-p", "5300", *options))


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("options", [(), ("+tcp",)])
def test_who_may_ask(world: World, carol: Station, options: tuple[str, ...]) -> None:
    host, public = world.registry, world.registry.public

    def both(asking: Host, server: str) -> tuple[str, str]:
        first, second = (status(asking, server, f"{name}.example.com", *options) for name in ("wg", "other"))
        return first, second

    assert both(carol, Registry.address) == ("NOERROR", "REFUSED")  # a peer of wg0, through the tunnel
    assert both(carol, public) == ("REFUSED", "REFUSED")  # the same one, beside it
    assert both(world.nat_b, public) == ("REFUSED", "NOERROR")  # whom the configuration allows
    assert both(world.nat_c, public) == ("REFUSED", "REFUSED")
    for own in ("127.0.0.1", Registry.address, public):
        assert both(host, own) == ("NOERROR", "NOERROR")


def test_an_inner_address_from_outside_the_tunnel_is_a_stranger(world: World, site: Path) -> None:
    host, nat = world.registry, world.nat_c

    def strangers() -> int:
        lines = len(site.read_text().splitlines())
        host.processes["site"].send_signal(signal.SIGUSR1)
        wait_for(lambda: len(site.read_text().splitlines()) > lines, 20, "the statistics")
        found = re.search(r"strangers: (\d+) refused", site.read_text().splitlines()[-1])
        assert found
        return int(found[1])

    before = strangers()
    nat.ip("addr add 10.0.0.3/32 dev lo")
    try:
        server = (f"@{host.public}", "-p", "5300", "-b", "10.0.0.3")
        asked = nat.run(["dig", *server, "wg.example.com", "SOA", "+tries=1", "+time=2"], check=False)
        assert asked.status != 0  # what is answered goes to the peer, through the tunnel
        assert strangers() == before + 1
    finally:
        nat.ip("addr del 10.0.0.3/32 dev lo")


@pytest.mark.usefixtures("site")
def test_the_registry_itself_and_the_peers_names_are_published(world: World, carol: Station) -> None:
    key = world.registry.run(["wg", "show", "wg0", "public-key"]).stdout.strip()
    port = world.registry.run(["wg", "show", "wg0", "listen-port"]).stdout.strip()
    name = f"{instance_label(PublicKey.parse(key))}.{BROWSE}"
    said = records(dig(carol, Registry.address, name, "SRV", "-p", "5300"))
    assert said[:2] == [f"{name}. 0 IN SRV 0 0 {port} {name}.", f"{name}. 0 IN A {world.registry.public}"]
    listed = dig(carol, Registry.address, BROWSE, "PTR", "+short", "-p", "5300").split()
    assert f"{name_of(world, 'carol')}." in listed
    assert listed[-1] == f"{name}."
    text = dig(carol, Registry.address, name_of(world, "carol"), "TXT", "+short", "-p", "5300")
    assert '"name=carol"' in text


@pytest.mark.usefixtures("site")
def test_peers_that_never_shook_hands_are_hidden_where_an_age_is_set(world: World, carol: Station) -> None:
    """In the zone without one they are there."""
    host, key = world.registry, PublicKey(bytes(range(32)))
    for device in ("wg0", OTHER):
        host.wg("set", device, "peer", str(key), "endpoint", "192.0.2.9:9")
    try:
        label = instance_label(key)

        def told(zone: str) -> str:
            name = f"{label}._wireguard._udp.{zone}.example.com"
            return code(dig(host, "127.0.0.1", name, "SRV", "-p", "5300"))

        wait_for(lambda: told("other") == "NOERROR", 20, "the peer")
        assert told("wg") == "NXDOMAIN"
        name = name_of(world, "carol")
        assert code(dig(carol, Registry.address, name, "SRV", "-p", "5300")) == "NOERROR"
    finally:
        for device in ("wg0", OTHER):
            host.wg("set", device, "peer", str(key), "remove")


def test_a_device_made_anew_still_answers_its_peers(world: World, carol: Station, site: Path) -> None:
    """With another index; packets tell the index by which they came in."""
    host, file = world.registry, Path("/run/lab/site-wg0.conf")
    file.write_text(host.run(["wg", "showconf", "wg0"]).stdout)
    assert status(carol, Registry.address, "wg.example.com") == "NOERROR"
    before = host.run(["ip", "-oneline", "link", "show", "wg0"]).stdout.split(":")[0]
    host.ip("link delete wg0", "link add wg0 type wireguard")
    host.run(["wg", "setconf", "wg0", str(file)])
    host.ip(f"addr add {Registry.address}/24 dev wg0", "link set wg0 up")
    assert host.run(["ip", "-oneline", "link", "show", "wg0"]).stdout.split(":")[0] != before
    assert host.ping("10.0.0.3")  # whoever has lost the session begins the next
    wait_for(lambda: status(carol, Registry.address, "wg.example.com") == "NOERROR", 30, "the registry to answer")
    assert status(carol, Registry.address, "other.example.com") == "REFUSED"
    assert "Traceback" not in site.read_text()
