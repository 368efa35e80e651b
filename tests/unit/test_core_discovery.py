# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom to ask, by which way, and which peers the answers never touch."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from tests.unit.core_story import BOB, REGISTRY, kernel_peer, network, profile, uplink
from tests.unit.core_story import tunnel as with_registry
from wgsd_nm.core.config import TunnelConfig
from wgsd_nm.core.discovery import discover, has_usable_uplink, place
from wgsd_nm.core.model import Server, Tunnel, Uplink
from wgsd_nm.core.watch import Discovery

ETHERNET = uplink()
WIRELESS = uplink("198.18.0.5/24", "198.18.0.1", "wlan0")
SIX = Uplink("wwan0", "uuid", (ip_interface("2001:db8:1::10/64"),), (ip_address("fe80::1"),))
TUNNEL = with_registry(profile(BOB, "10.0.0.2/32"))


def settings(zone: str = "wg.example.com.", *registries: str) -> TunnelConfig:
    return TunnelConfig("home", zone, tuple(Server(ip_address(each)) for each in registries), False, {})


@pytest.mark.parametrize(
    ("registry", "uplinks", "device"),
    [
        ("10.0.0.254", (ETHERNET,), "wg0"),
        ("10.0.0.2", (ETHERNET,), "wg0"),
        ("203.0.113.53", (ETHERNET, WIRELESS), "eth0"),
        ("203.0.113.53", (WIRELESS, ETHERNET), "wlan0"),
        ("203.0.113.53", (SIX, WIRELESS), "wlan0"),
        ("2001:db8::53", (ETHERNET, SIX), "wwan0"),
        ("2001:db8::53", (ETHERNET,), ""),
    ],
)
def test_the_way_to_a_registry(registry: str, uplinks: tuple[Uplink, ...], device: str) -> None:
    (server,) = discover(TUNNEL, settings("wg.example.com.", registry), uplinks).servers
    assert server == Server(ip_address(registry), 53, device)


def full_tunnel(own: str) -> Tunnel:
    peer = replace(profile(REGISTRY, "0.0.0.0/0"), endpoint="203.0.113.254:51820")
    return replace(TUNNEL, addresses=(ip_interface(own),), peers=(peer, profile(BOB, "10.0.0.2/32")))


@pytest.mark.parametrize(
    ("own", "registry", "device", "leading"),
    [
        ("10.0.0.10/24", "10.0.0.254", "wg0", {REGISTRY}),
        ("10.0.0.10/32", "203.0.113.53", "eth0", set()),
        ("10.0.0.10/24", "203.0.113.254", "eth0", {REGISTRY}),
    ],
    ids=["inside, by the tunnel's own network", "outside", "outside, and the peer itself"],
)
def test_beside_a_full_tunnel(own: str, registry: str, device: str, leading: set[object]) -> None:
    tunnel = full_tunnel(own)
    found = discover(tunnel, settings("wg.example.com.", registry), (ETHERNET,))
    assert [server.device for server in found.servers] == [device]
    assert found.registry_peers == leading


def test_only_the_peer_with_the_longest_prefix_leads_to_the_registry() -> None:
    relay = replace(profile(BOB, "10.0.0.0/24"), allowed_ips=(ip_network("10.0.0.0/24"),))
    for registry, leading in (("10.0.0.254", REGISTRY), ("10.0.0.9", BOB)):
        found = discover(with_registry(relay), settings("wg.example.com.", registry), (ETHERNET,))
        assert found.registry_peers == {leading}


@pytest.mark.parametrize("endpoint", ["203.0.113.254:51820", "[2001:db8::254]:51820"])
def test_a_registry_at_a_peers_public_address_is_that_peer(endpoint: str) -> None:
    tunnel = replace(TUNNEL, peers=(profile(BOB, "10.0.0.2/32", endpoint),))
    asked = settings("wg.example.com.", endpoint.rpartition(":")[0].strip("[]"))
    assert discover(tunnel, asked, (ETHERNET,)).registry_peers == {BOB}
    named = replace(TUNNEL, peers=(profile(BOB, "10.0.0.2/32", "host:1"),))
    assert discover(named, asked, (ETHERNET,)).registry_peers == frozenset()


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("registry.example.com:51820", ("registry.example.com", 51820)),
        ("203.0.113.254:51820", None),
        ("[2001:db8::254]:51820", None),
        ("registry.example.com", None),
        ("registry.example.com:0", None),
        ("registry.example.com:70000", None),
        ("", None),
    ],
)
def test_the_host_that_the_profile_names_for_the_registrys_peer(endpoint: str, host: object) -> None:
    tunnel = replace(TUNNEL, peers=(profile(REGISTRY, "10.0.0.254/32", endpoint), profile(BOB, "10.0.0.2/32", "b.x:1")))
    found = discover(tunnel, settings("wg.example.com.", "10.0.0.254"), (ETHERNET,))
    assert found.hosts == ({REGISTRY: host} if host else {})


def test_the_kernel_tells_where_the_profile_does_not() -> None:
    bare = replace(TUNNEL, peers=tuple(replace(peer, allowed_ips=()) for peer in TUNNEL.peers))
    asked = settings("wg.example.com.", "10.0.0.254")
    unread = discover(bare, asked, (ETHERNET,))
    assert (unread.servers, unread.problem) == ((), "the device has not been read yet"), "nothing may leak outside"
    read = discover(bare, asked, (ETHERNET,), [kernel_peer(REGISTRY, "10.0.0.254/32")])
    assert read.servers == (Server(ip_address("10.0.0.254"), device="wg0"),)
    assert read.registry_peers == {REGISTRY}


def test_a_place_is_its_connection_and_its_router() -> None:
    assert place(network(ETHERNET, WIRELESS)) == "uuid-eth0 192.0.2.1"
    assert place(network(replace(ETHERNET, gateways=()), WIRELESS)) == "uuid-wlan0 198.18.0.1"
    assert place(network(replace(ETHERNET, gateways=()))) == ""
    assert place(network()) == ""


@pytest.mark.parametrize("search", ["wg.example.com", "~WG.example.com"])
def test_auto_takes_zone_and_registry_from_the_profile(search: str) -> None:
    tunnel = replace(TUNNEL, search=("~.", search, "other.example"), dns=(ip_address("10.0.0.254"),))
    assert discover(tunnel, settings(""), (ETHERNET,)) == Discovery(
        "wg.example.com.", (Server(ip_address("10.0.0.254"), 53, "wg0"),), registry_peers=frozenset([REGISTRY])
    )


@pytest.mark.parametrize(
    ("search", "problem"),
    [
        ((), "search domain"),
        (("~.",), "search domain"),
        (("wg.local",), "multicast DNS"),
        (("wg.example",), "DNS server"),
    ],
)
def test_what_auto_misses_it_names(search: tuple[str, ...], problem: str) -> None:
    found = discover(replace(TUNNEL, search=search), settings(""), (ETHERNET,))
    assert found.servers == ()
    assert problem in found.problem


@pytest.mark.parametrize(
    ("uplinks", "usable"),
    [
        ((), False),
        ((ETHERNET,), True),
        ((uplink("169.254.1.1/16"),), False),
        ((replace(ETHERNET, gateways=()),), True),
        ((replace(ETHERNET, addresses=()),), False),
    ],
)
def test_an_uplink_is_usable_with_an_address_to_send_from(uplinks: tuple[Uplink, ...], usable: bool) -> None:
    assert has_usable_uplink(network(*uplinks)) is usable
