# SPDX-License-Identifier: GPL-2.0-or-later
"""What the zone says to every kind of question: wgsd's shapes, and the RFCs where wgsd has none."""

from __future__ import annotations

from ipaddress import IPv4Address
from itertools import pairwise

import dns.flags
import pytest
from dns.rcode import NOERROR, NXDOMAIN, Rcode
from dns.rdatatype import SRV, TXT, A

from tests.unit.registry_objects import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    PEERS,
    ask,
    ask_wire,
    device,
    key,
    label,
    many,
    peer,
    query,
    texts,
    zone_of,
)
from wgsd_nm.core.dnssd import advertisement, instance_label, parse_zone
from wgsd_nm.core.model import Endpoint, Peer
from wgsd_nm.registry.zone import MAX_STRING, NEGATIVE_TTL, Zone

SERVICE = "_wireguard._udp.wg.example.com."
ALICE_NAME, BOB_NAME, CAROL_NAME, MAPPED_NAME = (
    f"{label(name)}.{SERVICE}" for name in ("alice", "bob", "carol", "mapped")
)
SOA = f"ns1.wg.example.com. postmaster.wg.example.com. {NOW} 60 10 86400 5"
DENIAL = [f"wg.example.com. 5 SOA {SOA}"]
ALICE_TXT = f'"txtvers=1" "pub={key("alice")}" "allowed=10.0.0.1/32,fd00::1/128"'
BOB_TXT = f'"txtvers=1" "pub={key("bob")}" "allowed=10.0.0.2/32"'
GLUE = ["ns1.wg.example.com. 60 A 10.0.0.254", "ns1.wg.example.com. 60 AAAA fd00::254"]
MINIMAL = '"RFC8482" ""'

Row = tuple[str, str, Rcode, list[str], list[str]]
"""name, type, rcode, answer section, additional section; the authority section is the denial if there is no answer."""

MATRIX: list[Row] = [
    (
        SERVICE,
        "PTR",
        NOERROR,
        [f"{SERVICE} 0 PTR {ALICE_NAME}", f"{SERVICE} 0 PTR {BOB_NAME}", f"{SERVICE} 0 PTR {MAPPED_NAME}"],
        [],
    ),
    (
        ALICE_NAME,
        "SRV",
        NOERROR,
        [f"{ALICE_NAME} 0 SRV 0 0 51820 {ALICE_NAME}"],
        [f"{ALICE_NAME} 0 A 192.0.2.1", f"{ALICE_NAME} 0 TXT {ALICE_TXT}"],
    ),
    (
        BOB_NAME,
        "SRV",
        NOERROR,
        [f"{BOB_NAME} 0 SRV 0 0 40000 {BOB_NAME}"],
        [f"{BOB_NAME} 0 AAAA 2001:db8::2", f"{BOB_NAME} 0 TXT {BOB_TXT}"],
    ),
    (ALICE_NAME, "A", NOERROR, [f"{ALICE_NAME} 0 A 192.0.2.1"], []),
    (ALICE_NAME, "AAAA", NOERROR, [], []),
    (ALICE_NAME, "TXT", NOERROR, [f"{ALICE_NAME} 0 TXT {ALICE_TXT}"], []),
    (BOB_NAME, "AAAA", NOERROR, [f"{BOB_NAME} 0 AAAA 2001:db8::2"], []),
    (BOB_NAME, "A", NOERROR, [], []),
    (MAPPED_NAME, "A", NOERROR, [f"{MAPPED_NAME} 0 A 192.0.2.4"], []),
    (MAPPED_NAME, "AAAA", NOERROR, [], []),
    (CAROL_NAME, "SRV", NOERROR, [], []),
    (CAROL_NAME, "A", NOERROR, [], []),
    (CAROL_NAME, "TXT", NOERROR, [f'{CAROL_NAME} 0 TXT "txtvers=1" "pub={key("carol")}" "allowed=10.0.0.3/32"'], []),
    *((ALICE_NAME, rdtype, NOERROR, [], []) for rdtype in ("HTTPS", "CNAME", "PTR", "NS", "SOA", "HINFO", "TYPE24929")),
    (ALICE_NAME, "ANY", NOERROR, [f"{ALICE_NAME} 60 HINFO {MINIMAL}"], []),
    (SERVICE, "ANY", NOERROR, [f"{SERVICE} 60 HINFO {MINIMAL}"], []),
    *((SERVICE, rdtype, NOERROR, [], []) for rdtype in ("SRV", "A", "TXT", "SOA")),
    *(("_udp.wg.example.com.", rdtype, NOERROR, [], []) for rdtype in ("PTR", "A", "ANY")),
    ("wg.example.com.", "SOA", NOERROR, [f"wg.example.com. 60 SOA {SOA}"], []),
    ("wg.example.com.", "ANY", NOERROR, [f"wg.example.com. 60 SOA {SOA}"], []),
    ("wg.example.com.", "NS", NOERROR, ["wg.example.com. 60 NS ns1.wg.example.com."], GLUE),
    ("wg.example.com.", "A", NOERROR, [], []),
    ("ns1.wg.example.com.", "A", NOERROR, GLUE[:1], []),
    ("ns1.wg.example.com.", "AAAA", NOERROR, GLUE[1:], []),
    ("ns1.wg.example.com.", "TXT", NOERROR, [], []),
    ("_dns-sd._udp.wg.example.com.", "PTR", NOERROR, [], []),
    (
        "_services._dns-sd._udp.wg.example.com.",
        "PTR",
        NOERROR,
        [f"_services._dns-sd._udp.wg.example.com. 60 PTR {SERVICE}"],
        [],
    ),
    *(
        (
            f"{word}._dns-sd._udp.wg.example.com.",
            "PTR",
            NOERROR,
            [f"{word}._dns-sd._udp.wg.example.com. 60 PTR {zone}"],
            [],
        )
        for word, zone in (("b", "wg.example.com."), ("lb", "wg.example.com."))
    ),
    *((f"{label('nobody')}.{SERVICE}", rdtype, NXDOMAIN, [], []) for rdtype in ("SRV", "A", "TXT", "ANY")),
    (f"{label('alice')}._wireguard._tcp.wg.example.com.", "SRV", NXDOMAIN, [], []),
    (f"{label('alice')}.wg.example.com.", "SRV", NXDOMAIN, [], []),
    (f"x.{ALICE_NAME}", "SRV", NXDOMAIN, [], []),
    (f"{label('alice')[:51]}.{SERVICE}", "SRV", NXDOMAIN, [], []),
    ("ns2.wg.example.com.", "A", NXDOMAIN, [], []),
]


@pytest.mark.parametrize(("name", "rdtype", "rcode", "answer", "additional"), MATRIX)
def test_query_matrix(name: str, rdtype: str, rcode: Rcode, answer: list[str], additional: list[str]) -> None:
    zone = zone_of(*PEERS)
    for asked in (query(name, rdtype), query(name, rdtype, payload=1232), query(name.upper(), rdtype)) * 2:
        reply = ask(zone, asked)
        assert reply.rcode() == rcode
        assert reply.flags & (dns.flags.AA | dns.flags.TC) == dns.flags.AA
        assert texts(reply.answer) == answer
        assert texts(reply.authority) == ([] if answer else DENIAL)
        assert texts(reply.additional) == additional


@pytest.mark.parametrize("rdtype", ["SRV", "A", "TXT"])
def test_a_key_without_padding_is_a_name_of_its_own(rdtype: str) -> None:
    bare = f"{label('alice').removesuffix('====')}.{SERVICE}"
    for name in (bare, bare.upper()):
        reply = ask(zone_of(*PEERS), query(name, rdtype))
        assert [str(rrset.name) for rrset in (*reply.answer, *reply.additional)] == [bare] * (
            3 if rdtype == "SRV" else 1
        )
        if rdtype == "SRV":
            assert str(reply.answer[0][0].target) == bare


def test_a_registry_without_peers_has_its_service_name() -> None:
    for rdtype in ("PTR", "ANY"):
        reply = ask(zone_of(), query(SERVICE, rdtype))
        assert (reply.rcode(), reply.answer, texts(reply.authority)) == (NOERROR, [], DENIAL)


def test_a_zone_of_any_case_and_depth_answers() -> None:
    for name in ("WG.Example.COM", "wg", "a.b.c.d.e.f.home.arpa"):
        zone = zone_of(ALICE, name=name)
        owner = f"{label('alice')}._wireguard._udp.{name.lower()}."
        assert str(ask(zone, query(owner, "SRV")).answer[0][0].target) == owner


def test_the_longest_zone_that_a_peer_fits_into_answers() -> None:
    name = ".".join(["z" * 59, "y" * 59, "x" * 58, "w"])
    zone = zone_of(ALICE, name=name)
    owner = f"{label('alice')}._wireguard._udp.{name}."
    whole = ask(zone, query(owner, "SRV", payload=4096))
    assert [rrset.rdtype for rrset in (*whole.answer, *whole.additional)] == [SRV, A, TXT]
    small = ask(zone, query(owner, "SRV"))
    assert small.flags & dns.flags.TC
    assert len(ask_wire(zone, query(owner, "SRV"))) <= 512
    over_tcp = ask(zone, query(owner, "SRV"), datagram=False)
    assert not over_tcp.flags & dns.flags.TC
    assert len(over_tcp.additional) == 2


def test_an_endpoint_without_its_address_is_a_truncated_answer() -> None:
    name = f"{'z' * 40}.{'y' * 41}"
    reply = ask(zone_of(ALICE, name=name), query(f"{label('alice')}._wireguard._udp.{name}.", "SRV"))
    assert [rrset.rdtype for rrset in (*reply.answer, *reply.additional)] == [SRV]
    assert reply.flags & dns.flags.TC


def test_our_own_agent_understands_the_answer() -> None:
    zone = zone_of(*PEERS)
    for known, name in ((ALICE, ALICE_NAME), (BOB, BOB_NAME)):
        found = advertisement(ask(zone, query(name, "SRV")), known.public_key, parse_zone("wg.example.com"))
        assert found.endpoints == (known.endpoint,)


@pytest.mark.parametrize(
    ("count", "strings"),
    [(0, ["allowed="]), (1, ["allowed=10.0.0.0/32"]), (200, None), (4_000, None)],
)
def test_allowed_ips_are_split_over_further_keys(count: int, strings: list[str] | None) -> None:
    networks = [f"{IPv4Address('10.0.0.0') + number}/32" for number in range(count)]
    zone = zone_of(peer("alice", "192.0.2.1:1", *networks))
    reply = ask(zone, query(ALICE_NAME, "SRV"), datagram=False)
    assert not reply.flags & dns.flags.TC
    got = [string.decode() for string in reply.additional[1][0].strings]
    assert got[:2] == ["txtvers=1", f"pub={key('alice')}"]
    assert all(len(string) <= MAX_STRING for string in got)
    keys, values = zip(*(string.split("=", 1) for string in got[2:]), strict=True)
    assert list(keys) == ["allowed", *(f"allowed{number}" for number in range(2, len(keys) + 1))]
    told = [network for value in values for network in value.split(",") if network]
    assert told == networks[: len(told)]
    if count <= 200:
        assert told == networks
    assert len(told) >= min(count, 2000)
    if strings is not None:
        assert got[2:] == strings


def test_each_string_is_as_full_as_it_can_be() -> None:
    networks = [f"10.0.0.{number}/32" for number in range(100)]
    reply = ask(zone_of(peer("alice", "", *networks)), query(ALICE_NAME, "TXT"), datagram=False)
    strings = [string.decode() for string in reply.answer[0][0].strings]
    assert len(strings) > 4
    for string, following in pairwise(strings[2:]):
        first = following.partition("=")[2].partition(",")[0]
        assert len(string) + 1 + len(first) > MAX_STRING


class TestSizes:
    def test_the_browse_is_cut_to_what_a_client_takes(self) -> None:
        zone = zone_of(*many(30))
        for payload, room in ((None, 512), (512, 512), (100, 512), (900, 900), (1232, 1232), (4096, 1232)):
            reply = ask(zone, query(SERVICE, "PTR", payload=payload))
            assert reply.flags & dns.flags.TC
            listed = len(reply.answer[0])
            size = len(ask_wire(zone, query(SERVICE, "PTR", payload=payload)))
            assert size <= room < size + 71
            assert texts(reply.answer) == [
                f"{SERVICE} 0 PTR {instance_label(p.public_key)}.{SERVICE}" for p in many(listed)
            ]

    def test_the_browse_is_whole_over_tcp(self) -> None:
        reply = ask(zone_of(*many(900)), query(SERVICE, "PTR"), datagram=False)
        assert not reply.flags & dns.flags.TC
        assert len(reply.answer[0]) == 900

    def test_more_peers_than_a_message_holds_are_cut_over_tcp(self) -> None:
        reply = ask(zone_of(*many(1000)), query(SERVICE, "PTR", payload=1232), datagram=False)
        assert reply.flags & dns.flags.TC
        assert len(reply.answer[0]) > 900

    def test_a_long_txt_is_left_out_of_an_srv_answer_without_truncating_it(self) -> None:
        zone = zone_of(peer("alice", "192.0.2.1:1", *(f"10.0.{number}.0/24" for number in range(100))))
        reply = ask(zone, query(ALICE_NAME, "SRV"))
        assert not reply.flags & dns.flags.TC
        assert [rrset.rdtype for rrset in (*reply.answer, *reply.additional)] == [SRV, A]
        assert ask(zone, query(ALICE_NAME, "TXT")).flags & dns.flags.TC


class TestUpdates:
    def test_only_a_change_is_a_change(self) -> None:
        zone = zone_of(*PEERS)
        assert not zone.update(device(*PEERS), NOW + 1)
        again = tuple(Peer(p.public_key, p.endpoint, 7, 8, 9, 10, p.allowed_ips) for p in PEERS)
        assert not zone.update(device(*again), NOW + 2)
        assert zone.serial == NOW
        assert zone.update(device(ALICE), NOW + 3)
        assert zone.serial == NOW + 3

    def test_the_serial_grows_within_a_second_and_when_the_clock_goes_back(self) -> None:
        zone = zone_of(ALICE)
        for number, now in enumerate((NOW, NOW, NOW - 1000), start=1):
            zone.update(device(peer("alice", f"192.0.2.1:{number}")), now)
            assert zone.serial == NOW + number
        assert str(zone.serial) in texts(ask(zone, query("wg.example.com.", "SOA")).answer)[0]
        assert str(zone.serial) in texts(ask(zone, query("nobody.wg.example.com.", "A")).authority)[0]

    @pytest.mark.parametrize("form", [label("alice"), label("alice").removesuffix("====")])
    def test_an_endpoint_change_is_told_at_once_and_renders_that_peer_alone(self, form: str) -> None:
        zone = zone_of(*PEERS)
        name = f"{form}.{SERVICE}"
        questions = [query(name, rdtype) for rdtype in ("SRV", "A", "AAAA", "TXT")]
        others = [query(BOB_NAME, rdtype) for rdtype in ("SRV", "AAAA", "TXT")] + [query(SERVICE, "PTR")]
        for question in questions + others:
            ask(zone, question)
        before = dict(zone.rendered)
        zone.update(device(peer("alice", "[2001:db8::9]:9", "10.0.0.9/32"), *PEERS[1:]), NOW)
        kept = [answer for question, answer in zone.rendered.items() if before[question] is answer]
        assert len(kept) == len(others)
        assert texts(ask(zone, questions[0]).answer) == [f"{name} 0 SRV 0 0 9 {name}"]
        assert texts(ask(zone, questions[1]).answer) == []
        assert texts(ask(zone, questions[2]).answer) == [f"{name} 0 AAAA 2001:db8::9"]
        assert "allowed=10.0.0.9/32" in texts(ask(zone, questions[3]).answer)[0]

    def test_a_peer_that_joins_connects_and_leaves(self) -> None:
        zone = zone_of(BOB)
        assert ask(zone, query(ALICE_NAME, "SRV")).rcode() == NXDOMAIN
        for there, listed in (((BOB, peer("alice")), 1), ((BOB, ALICE), 2), ((BOB,), 1), ((), 0)):
            zone.update(device(*there), NOW)
            browse = ask(zone, query(SERVICE, "PTR"))
            assert sum(len(rrset) for rrset in browse.answer) == listed
            reply = ask(zone, query(ALICE_NAME, "SRV"))
            known = len(there) == 2
            assert reply.rcode() == (NOERROR if known else NXDOMAIN)
            assert len(reply.answer) == (1 if there == (BOB, ALICE) else 0)

    def test_what_is_kept_is_bounded_by_the_peers(self) -> None:
        zone = zone_of(*PEERS)
        for number in range(50):
            ask(zone, query(f"{number}.wg.example.com", "A"))
            ask(zone, query(ALICE_NAME, f"TYPE{number + 1000}"))
        assert len(zone.rendered) == 0

    def test_a_zone_that_has_seen_no_device_has_no_peers(self) -> None:
        zone = Zone(parse_zone("wg.example.com"))
        assert ask(zone, query(CAROL_NAME, "TXT")).rcode() == NXDOMAIN
        assert texts(ask(zone, query("wg.example.com", "NS")).additional) == []


def test_a_joining_peer_is_denied_for_seconds_only() -> None:
    assert 1 <= NEGATIVE_TTL <= 5


def test_a_link_local_endpoint_is_told_without_its_scope() -> None:
    zone = zone_of(Peer(key("alice"), Endpoint.parse("[fe80::1%3]:1")), CAROL)
    assert texts(ask(zone, query(ALICE_NAME, "AAAA")).answer) == [f"{ALICE_NAME} 0 AAAA fe80::1"]
