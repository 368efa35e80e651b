# SPDX-License-Identifier: GPL-2.0-or-later
"""Which peers of a profile lead to the registries, and which section is about it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest

from wgsd_nm.cli.facts import ConnectionFacts
from wgsd_nm.cli.profiles import registry_peers, section_of
from wgsd_nm.core.config import parse
from wgsd_nm.core.discovery import discover
from wgsd_nm.core.model import ProfilePeer, PublicKey, Tunnel

ONE, OTHER, WHOLE = (PublicKey(bytes([number]) * 32) for number in (1, 2, 3))
CONNECTION = ConnectionFacts(
    "wg0",
    "home",
    "22222222-2222-4222-8222-222222222222",
    peers=(
        ProfilePeer(ONE, "192.0.2.1:51820", 25, (ip_network("10.0.0.254/32"),)),
        ProfilePeer(OTHER, "vpn.example.com:51820", 25, (ip_network("10.0.0.0/8"), ip_network("2001:db8::/64"))),
        ProfilePeer(WHOLE, "[2001:db8:1::1]:51820", 25, (ip_network("0.0.0.0/0"),)),
    ),
)


@pytest.mark.parametrize(
    ("registries", "keys"),
    [
        (["10.0.0.254"], [ONE]),
        (["10.0.0.254:5353"], [ONE]),
        (["10.0.0.1"], [OTHER]),
        (["[2001:db8::1]:5353", "10.9.9.9"], [OTHER]),
        (["10.0.0.254", "10.0.0.1"], [ONE, OTHER]),
        (["192.0.2.1"], [ONE]),
        (["2001:db8:1::1"], [WHOLE]),
        (["203.0.113.1"], []),
        (["as a newer agent writes it"], []),
        ([], []),
    ],
)
def test_the_registrys_peer(registries: list[str], keys: list[PublicKey]) -> None:
    for connection in (CONNECTION, replace(CONNECTION, peers=CONNECTION.peers[::-1])):
        found = {peer.public_key for peer in registry_peers(connection, registries)}
        assert found == set(keys)


@pytest.mark.parametrize("name", ["wg0", "home", "22222222-2222-4222-8222-222222222222", "office"])
def test_the_section(name: str) -> None:
    config = parse(f'[tunnel.{name}]\nzone = "wg.example.com"\nregistry = "10.0.0.254"\n', "config.toml")
    assert section_of(config, CONNECTION) == (None if name == "office" else config.tunnels[0])


FULL = ConnectionFacts(
    "wg0",
    "home",
    "",
    addresses=(ip_interface("10.0.0.1/24"), ip_interface("2001:db8::1/64")),
    peers=(
        ProfilePeer(ONE, "203.0.113.254:51820", 25, (ip_network("0.0.0.0/0"), ip_network("::/1"))),
        ProfilePeer(OTHER, "203.0.113.7:51820", 25, (ip_network("10.0.0.2/32"),)),
    ),
)


@pytest.mark.parametrize(
    ("registry", "keys"),
    [
        ("10.0.0.254", {ONE}),
        ("2001:db8::254", {ONE}),
        ("10.0.0.2", {OTHER}),
        ("10.1.0.254", set()),
        ("203.0.113.254", {ONE}),
        ("203.0.113.7", {OTHER}),
        ("2001:db8:1::254", set()),
    ],
)
def test_a_tunnel_that_carries_everything_leads_to_a_registry_in_its_own_networks(
    registry: str, keys: set[PublicKey]
) -> None:
    assert {peer.public_key for peer in registry_peers(FULL, [registry])} == keys
    (settings,) = parse(f'[tunnel.home]\nzone = "wg.example.com"\nregistry = "{registry}"\n', "config.toml").tunnels
    tunnel = Tunnel(FULL.interface, FULL.id, FULL.uuid, "", addresses=FULL.addresses, peers=FULL.peers)
    assert discover(tunnel, settings, ()).registry_peers == keys, "the agent sees it as the doctor does"
