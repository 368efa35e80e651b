# SPDX-License-Identifier: GPL-2.0-or-later
"""The doctor about one tunnel, as a table: what the agent says of it, and the line that it leads to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

from tests.unit.cli_agent import BOB, CAROL, peer, registry_peer, tunnel
from tests.unit.test_cli_findings import CONFIG, HOME, PROFILE, agent, facts
from wgsd_nm.cli import advice
from wgsd_nm.cli.facts import ConfigFacts, ConnectionFacts, Facts
from wgsd_nm.cli.finding import Finding, Result
from wgsd_nm.cli.tunnel_findings import tunnel_findings
from wgsd_nm.cli.view import PeerView, TunnelView
from wgsd_nm.core.reason import Reason

UNSEEN = {"PublicEndpoint": "", "PublicEndpoints": []}
SYMMETRIC = {"PublicEndpoints": ["198.51.100.9:1", "198.51.100.9:2"]}
UNKNOWN_THERE = {"State": "unreachable", "Reason": "not-registered", "LastError": "no such name", "ReasonText": "No."}
STALE = {"State": "stale", "Reason": "no-reply", "ReasonText": "Nothing comes back."}
SILENT = {"State": "stale", "Reason": "registry-silent", "ReasonText": "Nothing of the registry's."}
NO_KEEPALIVE = replace(HOME, peers=tuple(replace(each, persistent_keepalive=0) for each in PROFILE))
WG_QUICK = ConnectionFacts("wg0", "wg0", "", external=True)


def examined(
    different: dict[str, Any] | None = None,
    peers: Sequence[dict[str, Any]] | None = None,
    connection: ConnectionFacts | None = HOME,
) -> list[Finding]:
    """Of a tunnel that is well but for this; by default with the registry's peer and bob."""
    here = TunnelView.of(tunnel(**(different or {})))
    known = tuple(map(PeerView.of, [registry_peer(), peer()] if peers is None else peers))
    return list(tunnel_findings(here, known, connection, facts()))


def the(step: str, found: Sequence[Finding]) -> Finding:
    (finding,) = [finding for finding in found if finding.step == step]
    return finding


REGISTRY: dict[str, tuple[dict[str, Any], Sequence[dict[str, Any]] | None, Result, str, str]] = {
    "answers": ({}, None, Result.OK, "(last 3 s ago), and sees us at 198.51.100.9:51820.", ""),
    "pushes": (
        {"Updates": "push"},
        None,
        Result.OK,
        "(last 3 s ago, push), and sees us at 198.51.100.9:51820.",
        "",
    ),
    "is polled": (
        {"Updates": "polling", "PollingInterval": 5},
        None,
        Result.OK,
        "(last 3 s ago, polling every 5 s),",
        "",
    ),
    "no zone": ({"Zone": "", "LastError": "no zone"}, None, Result.PROBLEM, "no zone.", "Write zone ="),
    "silent": (
        {"LastError": "10.0.0.254 gave no answer"},
        None,
        Result.PROBLEM,
        "10.0.0.254 gave no answer.",
        "dig @10.0.0.254 wg.example.com. SOA",
    ),
    "refuses": (
        {"LastError": "10.0.0.254 answered REFUSED"},
        [peer(State="unreachable", Reason="registry-refused")],
        Result.PROBLEM,
        "REFUSED.",
        "Does it serve wg.example.com., and may we ask?",
    ),
    "not asked yet": ({"LastLookup": 0}, None, Result.CANNOT_TELL, "has not answered yet", "again"),
    "being asked": (UNSEEN | {"State": "looking-up"}, None, Result.CANNOT_TELL, "is being asked", "again"),
    "wrong zone": (
        UNSEEN,
        [registry_peer(), peer(**UNKNOWN_THERE)],
        Result.PROBLEM,
        "neither us nor any of our peers",
        "dig @10.0.0.254 _wireguard._udp.wg.example.com. PTR",
    ),
    "does not say where it sees us": (
        UNSEEN,
        None,
        Result.CANNOT_TELL,
        "has not said where it sees us",
        "wgsd-nm refresh",
    ),
    "does not see us": (
        UNSEEN,
        [registry_peer(**SILENT), peer()],
        Result.PROBLEM,
        "has no endpoint of ours yet",
        "handshake",
    ),
    "does not see us, nor bob": (
        UNSEEN,
        [peer(), peer(PublicKey=CAROL, **UNKNOWN_THERE)],
        Result.PROBLEM,
        "has no endpoint of ours yet",
        "handshake",
    ),
    "an address that a newer agent writes": (
        {"Registries": ["[2001:db8::1]:5353"], "LastError": "no answer"},
        [],
        Result.PROBLEM,
        "no answer.",
        "dig -p 5353 @2001:db8::1 wg",
    ),
    "one of IPv6": (
        {"Registries": ["2001:db8::1"], "LastError": "no answer"},
        [],
        Result.PROBLEM,
        "no answer.",
        "dig @2001:db8::1 wg",
    ),
}


@pytest.mark.parametrize("name", REGISTRY)
def test_the_registry(name: str) -> None:
    different, peers, result, text, what = REGISTRY[name]
    finding = the("registry", examined(different, peers))
    assert finding.result is result
    assert text in finding.text
    assert what in finding.advice
    assert finding.interface == "wg0"


def test_a_wrong_configuration_is_not_the_registrys_fault() -> None:
    here, wrong = TunnelView.of(tunnel(LastError="zone: wrong")), ConfigFacts(None, "zone: wrong")
    for situation in (facts(config=wrong), facts(agent(LastError="zone: wrong"), config=ConfigFacts(CONFIG))):
        assert the("registry", list(tunnel_findings(here, (), HOME, situation))).result is Result.OK


REGISTRY_PEER: dict[str, tuple[dict[str, Any], ConnectionFacts | None, Result, str, str]] = {
    "answers": ({}, HOME, Result.OK, "The peer answers.", ""),
    "keepalive off": (
        {},
        NO_KEEPALIVE,
        Result.PROBLEM,
        "the registry loses us",
        "Write persistent-keepalive=25 into [wireguard-peer.",
    ),
    "keepalive off in the kernel": ({"PersistentKeepalive": 0}, HOME, Result.PROBLEM, "keepalive is off", "up home"),
    "keepalive off, and a name with spaces": (
        {"PersistentKeepalive": 0},
        replace(HOME, id="My VPN"),
        Result.PROBLEM,
        "keepalive is off",
        "nmcli connection up 'My VPN'",
    ),
    "keepalive on in the kernel": ({"PersistentKeepalive": 25}, NO_KEEPALIVE, Result.OK, "answers", ""),
    "silent": (SILENT, HOME, Result.PROBLEM, "Nothing of the registry's.", "public key"),
    "of wg-quick and of an older agent": (SILENT, WG_QUICK, Result.PROBLEM, "Nothing of the registry's.", "public key"),
    "never heard of": (SILENT | {"LatestHandshake": 0}, HOME, Result.PROBLEM, "It has never answered", "public key"),
    "being tried": ({"State": "probing", "LatestHandshake": 0}, HOME, Result.CANNOT_TELL, "", "again"),
    "not wanted": ({"State": "idle"}, HOME, Result.OK, "", ""),
    "of wg-quick": (
        SILENT | {"PersistentKeepalive": 0},
        WG_QUICK,
        Result.PROBLEM,
        "off",
        "Write PersistentKeepalive = 25",
    ),
}


@pytest.mark.parametrize("name", REGISTRY_PEER)
def test_the_registrys_peer(name: str) -> None:
    different, connection, result, text, what = REGISTRY_PEER[name]
    finding = the("registry peer", examined(peers=[registry_peer(**different)], connection=connection))
    assert finding.result is result
    assert text in finding.text
    assert what in finding.advice
    assert (finding.interface, finding.name) == ("wg0", "registry")


def test_a_registry_outside_of_the_tunnel() -> None:
    finding = the("registry peer", examined({"Registries": ["192.0.2.53"]}))
    assert finding.result is Result.CANNOT_TELL
    assert "No peer's allowed IPs hold 192.0.2.53" in finding.text


def test_a_registry_that_is_a_peer_by_its_public_address() -> None:
    public = replace(HOME, peers=(replace(PROFILE[0], endpoint="192.0.2.53:51820"), *PROFILE[1:]))
    assert the("registry peer", examined({"Registries": ["192.0.2.53"]}, connection=public)).name == "registry"


def test_of_a_foreign_device_nothing_is_said_of_what_is_not_known() -> None:
    assert [finding.step for finding in examined(connection=WG_QUICK)] == ["registry", "peer", "peer"]


def test_a_registry_inside_of_a_tunnel_that_carries_everything() -> None:
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    peers = replace(PROFILE[0], allowed_ips=everything), *PROFILE[1:]
    full = replace(HOME, addresses=(ip_interface("10.0.0.1/24"),), peers=peers)
    finding = the("registry peer", examined({"Registries": ["10.0.0.254"]}, connection=full))
    assert (finding.result, finding.name) == (Result.OK, "registry")
    forgotten = [registry_peer(PersistentKeepalive=0), peer()]
    finding = the("registry peer", examined({"Registries": ["10.0.0.254"]}, forgotten, full))
    assert finding.result is Result.PROBLEM
    assert "keepalive is off" in finding.text
    strict = facts(agent(), strict_filters=frozenset({"eth0"}))
    known = [PeerView.of(registry_peer(**SILENT | {"Reason": "no-reply"}))]
    found = tunnel_findings(TunnelView.of(tunnel(Registries=["10.0.0.254"])), known, full, strict)
    assert the("filter", list(found)).result is Result.PROBLEM


def test_a_strict_filter_is_a_problem_where_everything_goes_into_a_silent_tunnel() -> None:
    everything = replace(HOME, peers=tuple(replace(each, allowed_ips=(ip_network("0.0.0.0/0"),)) for each in PROFILE))
    strict = facts(agent(), strict_filters=frozenset({"wg0", "eth0.7", "wlan0"}))

    def found(situation: Facts, connection: ConnectionFacts, **registry: Any) -> list[Finding]:
        known = [PeerView.of(registry_peer(**registry))]
        findings = tunnel_findings(TunnelView.of(tunnel()), known, connection, situation)
        return [finding for finding in findings if finding.step == "filter"]

    (finding,) = found(strict, everything, **SILENT)
    assert finding.result is Result.PROBLEM
    assert "strict on eth0.7 and wlan0" in finding.text
    assert finding.advice.endswith("sysctl net.ipv4.conf.eth0/7.rp_filter=2 net.ipv4.conf.wlan0.rp_filter=2")
    assert found(strict, everything) == []
    assert found(strict, HOME, **SILENT) == []
    assert found(facts(agent()), everything, **SILENT) == []


def test_a_symmetric_nat_is_a_problem_where_somebody_suffers() -> None:
    well, ill = (examined(SYMMETRIC, [peer(), peer(PublicKey=CAROL, **state)]) for state in ({}, STALE))
    assert the("nat", well).result is Result.OK
    assert the("nat", ill).result is Result.PROBLEM
    assert "seen as 198.51.100.9:1 and 198.51.100.9:2" in the("nat", ill).text
    assert not [finding for finding in examined() if finding.step == "nat"]


PEER: dict[str, tuple[dict[str, Any], ConnectionFacts | None, Result, str, str]] = {
    "answers": ({}, HOME, Result.OK, "The peer answers.", ""),
    "answers without keepalive": ({}, NO_KEEPALIVE, Result.OK, "The peer answers.", ""),
    "not wanted": ({"State": "idle"}, HOME, Result.OK, "", ""),
    "not wanted, keepalive off": (
        {"State": "idle"},
        NO_KEEPALIVE,
        Result.OK,
        "",
        "at any time: write persistent-keepalive",
    ),
    "being tried": ({"State": "probing"}, HOME, Result.CANNOT_TELL, "", "again"),
    "being looked up": ({"State": "unknown"}, HOME, Result.CANNOT_TELL, "", "again"),
    "silent": (STALE, HOME, Result.PROBLEM, "Nothing comes back.", "Both sides have to send"),
    "silent, keepalive off": (STALE, NO_KEEPALIVE, Result.PROBLEM, "", "keepalive is off as well: write"),
    "not registered": (UNKNOWN_THERE, HOME, Result.PROBLEM, "No. (no such name)", "shaken hands with the registry"),
    "profile's endpoint": (
        STALE | {"Reason": "profile-endpoint"},
        HOME,
        Result.PROBLEM,
        "",
        'or write profile-endpoints = "replace"',
    ),
    "both NATs symmetric": (STALE | {"Reason": "both-symmetric"}, HOME, Result.PROBLEM, "", "Neither NAT"),
    "its NAT symmetric": (STALE | {"Reason": "symmetric-nat"}, HOME, Result.PROBLEM, "", "The NAT of that peer"),
    "one LAN": (STALE | {"Reason": "same-public-address"}, HOME, Result.PROBLEM, "", "hairpin NAT"),
    "stood down": (STALE | {"Reason": "stood-down"}, HOME, Result.PROBLEM, "", "script or program"),
    "a newer agent's reason": (STALE | {"Reason": "moon"}, HOME, Result.PROBLEM, "Nothing comes back.", ""),
    "a newer agent's state": ({"State": "dreaming", "ReasonText": ""}, HOME, Result.PROBLEM, "dreaming", ""),
}


@pytest.mark.parametrize("name", PEER)
def test_a_peer(name: str) -> None:
    different, connection, result, text, what = PEER[name]
    finding = the("peer", examined(peers=[peer(**different)], connection=connection))
    assert finding.result is result
    assert text in finding.text
    assert what in finding.advice
    assert bool(what) or not finding.advice
    assert finding.name == "bob"


WHY_ENDPOINTS_CHANGE = {"found", "moved", "silent", "roamed", "cached", "rolled-back", "resolved"}
NO_PROBLEM = {"connected", "unproven", "not-wanted", "looking-up", "registry-silent"}


@pytest.mark.parametrize("reason", [each for each in Reason if each not in WHY_ENDPOINTS_CHANGE | NO_PROBLEM])
def test_there_is_advice_for_every_reason(reason: str) -> None:
    assert advice.for_reason(PeerView("wg0", BOB, reason=reason), HOME)
