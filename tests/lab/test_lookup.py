# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm lookup on machines without NetworkManager, behind real NATs, with the kernel's own WireGuard."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lab.world import Host, Station, World, wait_for
from lab.world.host import Result
from lab.world.registry import Registry

ZONE = "wg.example.com"
ELSEWHERE = "203.0.113.9:1"
LOOKUP = ("python3", "-m", "wgsd_nm.cli", "lookup", "--device", "wg0", "--dns", Registry.address, "--zone", ZONE)
AS_THE_SERVICE = (
    *("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=-all,+net_admin"),
    *("--ambient-caps=-all,+net_admin", "--bounding-set=-all,+net_admin", "--no-new-privs"),
)
"""What systemd makes of User=, AmbientCapabilities= and CapabilityBoundingSet= in wgsd-nm-lookup@.service."""


@pytest.fixture(scope="module")
def stations(world: World) -> Iterator[tuple[Station, Station]]:
    """Carol behind NAT A and Dave behind NAT B, bare machines; and a registry that has seen them."""
    carol, dave = world.station("carol", world.nat_a), world.station("dave", world.nat_b)
    for station, other in ((carol, "dave"), (dave, "carol")):
        station.set_address()
        station.make_wireguard(world.profile(station.name, [other]))
    world.wait_seen("carol", "dave")
    flags = ("--device", "wg0", "--zone", ZONE, "--listen", Registry.address)
    world.registry.spawn(["python3", "-m", "wgsd_nm.registry", *flags], name="lookup-dns")
    log = world.registry.log("lookup-dns")
    wait_for(lambda: "answering for" in log.read_text(), 60, "the registry to answer")
    yield carol, dave
    world.registry.stop("lookup-dns")
    for station in (carol, dave):
        world.remove(station)


def look(station: Host, *options: str, prefix: tuple[str, ...] = AS_THE_SERVICE) -> Result:
    return station.run([*prefix, *LOOKUP, *options], check=False)


def results(said: Result) -> dict[str, dict[str, str]]:
    assert said.status == 0, said
    return {record["public_key"]: record for record in json.loads(said.stdout)}


def test_machines_behind_two_routers_find_each_other(world: World, stations: tuple[Station, Station]) -> None:
    carol, dave = stations
    seen = world.wait_seen("carol", "dave")
    before = carol.peers()[world.keys["registry"].public].endpoint
    direct = world.count_direct(world.nat_a, world.nat_b)

    assert results(look(carol, "--json"))[world.keys["dave"].public]["result"] == "set"
    assert results(look(dave, "--json"))[world.keys["carol"].public]["result"] == "set"

    assert carol.peers()[world.keys["dave"].public].endpoint == seen["dave"]
    assert dave.peers()[world.keys["carol"].public].endpoint == seen["carol"]
    assert carol.ping("10.0.0.4")
    assert direct.packets() > 0
    assert carol.peers()[world.keys["registry"].public].endpoint == before


def test_a_working_path_is_left_alone_unless_forced(world: World, stations: tuple[Station, Station]) -> None:
    """Dave answers, and falls silent: he must not lead Carol back to him while the test looks."""
    carol, dave = stations
    key, seen = world.keys["dave"].public, world.endpoint_seen("dave")
    carol.wg("set", "wg0", "peer", key, "remove")
    carol.wg("set", "wg0", "peer", key, "endpoint", seen, "allowed-ips", "10.0.0.4/32")
    assert carol.ping("10.0.0.4")
    dave.ip("link set wg0 down")
    try:
        carol.wg("set", "wg0", "peer", key, "endpoint", ELSEWHERE)
        left = results(look(carol, "--json"))[key]
        assert (left["result"], left["endpoint"], carol.peers()[key].endpoint) == ("alive", ELSEWHERE, ELSEWHERE)
        shown = results(look(carol, "--json", "--force", "--dry-run"))[key]
        assert (shown["result"], shown["endpoint"], carol.peers()[key].endpoint) == ("would-set", seen, ELSEWHERE)
        forced = results(look(carol, "--json", "--force"))[key]
        assert (forced["result"], forced["was"], carol.peers()[key].endpoint) == ("set", ELSEWHERE, seen)
        assert results(look(carol, "--json"))[key]["result"] == "unchanged"
        assert look(carol, "--quiet").stdout == ""
    finally:
        dave.ip("link set wg0 up")


def test_the_registry_is_asked_only_through_the_tunnel(world: World, stations: tuple[Station, Station]) -> None:
    """With the tunnel down the default route would lead the questions to the router."""
    carol, _ = stations
    carol.ip("link set wg0 down")
    try:
        said = look(carol)
        assert said.status == 2, said
        assert f"the registry {Registry.address} cannot be asked" in said.stdout
    finally:
        carol.ip("link set wg0 up")
    assert carol.peers()[world.keys["dave"].public].endpoint


@pytest.mark.parametrize(
    ("prefix", "options", "text"),
    [
        (AS_THE_SERVICE, ("--device", "wg7"), "there is no network interface wg7"),
        (AS_THE_SERVICE, ("--device", "eth0"), "not a WireGuard device"),
        (("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"), (), "CAP_NET_ADMIN"),
    ],
)
def test_what_cannot_be_done_is_said(
    stations: tuple[Station, Station], prefix: tuple[str, ...], options: tuple[str, ...], text: str
) -> None:
    said = look(stations[0], *options, prefix=prefix)
    assert said.status == 2
    assert text in said.stderr
    assert "Traceback" not in said.stderr
