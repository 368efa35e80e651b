# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench's peers: NSD is given the records that the registry would serve, and both are asked for what they have."""

from __future__ import annotations

import configparser

import dns.rrset
import dns.zone

from bench import registry_peers
from bench.registry_peers import ZONE
from tests.unit.registry_objects import ask, query
from wgsd_nm.core.dnssd import SERVICE
from wgsd_nm.core.model import Endpoint, PublicKey
from wgsd_nm.registry.zone import Zone

COUNT = 30


def test_the_zone_file_has_what_the_registry_would_answer() -> None:
    ours = Zone(ZONE)
    ours.update([registry_peers.peer(number) for number in range(COUNT)], 1)
    theirs = dns.zone.from_text(registry_peers.zone_file(COUNT), ZONE, relativize=False)
    assert len(theirs.get_rdataset(f"{SERVICE}.{ZONE}", "PTR") or ()) == COUNT
    for line in registry_peers.hits(COUNT).splitlines():
        name, rdtype = line.split()
        answer = ask(ours, query(name, rdtype))
        found = [*answer.answer, *answer.additional]
        assert len(found) == 3, line
        for rrset in found:
            assert theirs.get_rrset(rrset.name, rrset.rdtype) == rrset


def test_each_peer_is_asked_for_as_often_as_the_others() -> None:
    lines = registry_peers.hits(COUNT, COUNT * 4).splitlines()
    assert {lines.count(line) for line in lines} == {4}
    assert len(set(lines)) == COUNT
    assert len(registry_peers.hits(COUNT).splitlines()) == registry_peers.FEWEST
    assert len(registry_peers.hits(COUNT, 5).splitlines()) == 5


def test_nobody_has_the_keys_that_are_missed() -> None:
    lines = set(registry_peers.misses(500).splitlines())
    assert len(lines) == 500
    assert not lines & set(registry_peers.hits(COUNT).splitlines())


def test_the_settings_name_every_peer() -> None:
    sections = registry_peers.settings(COUNT).split("[Peer]\n")[1:]
    for number, section in enumerate(sections):
        parser = configparser.ConfigParser()
        parser.read_string(f"[Peer]\n{section}")
        peer, found = registry_peers.peer(number), parser["Peer"]
        assert PublicKey.parse(found["PublicKey"]) == peer.public_key
        assert Endpoint.parse(found["Endpoint"]) == peer.endpoint
        assert found["AllowedIPs"].split(", ") == list(map(str, peer.allowed_ips))
    assert len(sections) == COUNT
