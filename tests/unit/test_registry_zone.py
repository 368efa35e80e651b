# SPDX-License-Identifier: GPL-2.0-or-later
"""What the zone says to every kind of question: wgsd's shapes, and the RFCs where wgsd has none."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from itertools import islice, pairwise

import dns.flags
import dns.message
import dns.name
import dns.rrset
import pytest
from dns.rcode import NOERROR, NXDOMAIN, Rcode
from dns.rdatatype import ANY, PTR, SOA, SRV, TXT, A, RdataType
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.registry_objects import (
    ALICE,
    BOB,
    CAROL,
    MAPPED,
    NAME_SERVER,
    NOW,
    PEERS,
    ask,
    ask_wire,
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
from wgsd_nm.registry import records
from wgsd_nm.registry.query import MAX_MESSAGE
from wgsd_nm.registry.records import MAX_STRING, NEGATIVE_TTL
from wgsd_nm.registry.zone import Zone, next_serial

SERVICE = "_wireguard._udp.wg.example.com."
ALICE_NAME, BOB_NAME, CAROL_NAME, MAPPED_NAME = (
    f"{label(name)}.{SERVICE}" for name in ("alice", "bob", "carol", "mapped")
)
SOA_DATA = f"ns1.wg.example.com. postmaster.wg.example.com. {NOW} 60 10 86400 5"
DENIAL = [f"wg.example.com. 5 SOA {SOA_DATA}"]
ALICE_TXT = f'"txtvers=1" "pub={key("alice")}" "allowed=10.0.0.1/32,fd00::1/128"'
BOB_TXT = f'"txtvers=1" "pub={key("bob")}" "allowed=10.0.0.2/32"'
MAPPED_TXT = f'"txtvers=1" "pub={key("mapped")}" "allowed="'
ALICE_RECORDS = [
    f"{ALICE_NAME} 0 SRV 0 0 51820 {ALICE_NAME}",
    f"{ALICE_NAME} 0 A 192.0.2.1",
    f"{ALICE_NAME} 0 TXT {ALICE_TXT}",
]
BOB_RECORDS = [
    f"{BOB_NAME} 0 SRV 0 0 40000 {BOB_NAME}",
    f"{BOB_NAME} 0 AAAA 2001:db8::2",
    f"{BOB_NAME} 0 TXT {BOB_TXT}",
]
MAPPED_RECORDS = [
    f"{MAPPED_NAME} 0 SRV 0 0 4 {MAPPED_NAME}",
    f"{MAPPED_NAME} 0 A 192.0.2.4",
    f"{MAPPED_NAME} 0 TXT {MAPPED_TXT}",
]
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
        ALICE_RECORDS + BOB_RECORDS + MAPPED_RECORDS,
    ),
    (ALICE_NAME, "SRV", NOERROR, ALICE_RECORDS[:1], ALICE_RECORDS[1:]),
    (BOB_NAME, "SRV", NOERROR, BOB_RECORDS[:1], BOB_RECORDS[1:]),
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
    ("wg.example.com.", "SOA", NOERROR, [f"wg.example.com. 60 SOA {SOA_DATA}"], []),
    ("wg.example.com.", "ANY", NOERROR, [f"wg.example.com. 60 SOA {SOA_DATA}"], []),
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
        room = len(reply.additional) if asked.edns < 0 and rdtype == "PTR" else len(additional)
        assert texts(reply.additional) == additional[:room]


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
    [(0, ["allowed="]), (1, ["allowed=10.0.0.0/32"]), (200, None), (6_000, None)],
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
        assert not zone.update(PEERS, NOW + 1)
        again = tuple(Peer(p.public_key, p.endpoint, 7, 8, 9, 10, p.allowed_ips) for p in PEERS)
        assert not zone.update(again, NOW + 2)
        assert zone.serial == NOW
        assert zone.update((ALICE,), NOW + 3)
        assert zone.serial == NOW + 3

    def test_the_serial_grows_within_a_second_and_when_the_clock_goes_back(self) -> None:
        zone = zone_of(ALICE)
        for number, now in enumerate((NOW, NOW, NOW - 1000), start=1):
            zone.update((peer("alice", f"192.0.2.1:{number}"),), now)
            assert zone.serial == NOW + number
        assert str(zone.serial) in texts(ask(zone, query("wg.example.com.", "SOA")).answer)[0]
        assert str(zone.serial) in texts(ask(zone, query("nobody.wg.example.com.", "A")).authority)[0]

    @pytest.mark.parametrize("form", [label("alice"), label("alice").removesuffix("====")])
    def test_an_endpoint_change_is_told_at_once_and_renders_that_peer_alone(self, form: str) -> None:
        zone = zone_of(*PEERS)
        name = f"{form}.{SERVICE}"
        questions = [query(name, rdtype) for rdtype in ("SRV", "A", "AAAA", "TXT")]
        others = [query(BOB_NAME, rdtype) for rdtype in ("SRV", "AAAA", "TXT")]
        browse = query(SERVICE, "PTR", payload=1232)
        for question in [*questions, *others, browse]:
            ask(zone, question)
        before = dict(zone.rendered)
        zone.update((peer("alice", "[2001:db8::9]:9", "10.0.0.9/32"), *PEERS[1:]), NOW)
        kept = [answer for question, answer in zone.rendered.items() if before[question] is answer]
        assert len(kept) == len(others)
        assert texts(ask(zone, questions[0]).answer) == [f"{name} 0 SRV 0 0 9 {name}"]
        assert texts(ask(zone, questions[1]).answer) == []
        assert texts(ask(zone, questions[2]).answer) == [f"{name} 0 AAAA 2001:db8::9"]
        assert "allowed=10.0.0.9/32" in texts(ask(zone, questions[3]).answer)[0]
        assert f"{ALICE_NAME} 0 AAAA 2001:db8::9" in texts(ask(zone, browse).additional)

    def test_a_peer_that_joins_connects_and_leaves(self) -> None:
        zone = zone_of(BOB)
        assert ask(zone, query(ALICE_NAME, "SRV")).rcode() == NXDOMAIN
        for there, listed in (((BOB, peer("alice")), 1), ((BOB, ALICE), 2), ((BOB,), 1), ((), 0)):
            zone.update(there, NOW)
            browse = ask(zone, query(SERVICE, "PTR"))
            assert sum(len(rrset) for rrset in browse.answer) == listed
            reply = ask(zone, query(ALICE_NAME, "SRV"))
            known = len(there) == 2
            assert reply.rcode() == (NOERROR if known else NXDOMAIN)
            assert len(reply.answer) == (1 if there == (BOB, ALICE) else 0)

    def test_every_difference_is_told_whoever_else_comes_or_goes(self) -> None:
        zone = zone_of(ALICE, BOB, CAROL)
        more = replace(ALICE, allowed_ips=BOB.allowed_ips)
        silent = replace(CAROL, allowed_ips=())
        questions = [query(name, "TXT") for name in (ALICE_NAME, BOB_NAME, CAROL_NAME, MAPPED_NAME)]
        for number, there in enumerate(
            (
                (more, BOB, CAROL),  # allowed IPs alone
                (more, MAPPED, CAROL),  # as many, but others
                (more, MAPPED),  # one that was not listed leaves
                (ALICE, MAPPED, BOB),  # one differs while another comes
                (BOB, MAPPED, ALICE),  # in another order
                (BOB, MAPPED, ALICE, CAROL),
                (BOB, MAPPED, ALICE, silent),
                (BOB, MAPPED),
            ),
            start=1,
        ):
            for question in (*questions, query(SERVICE, "PTR")):
                ask(zone, question)
            assert zone.update(there, NOW)
            assert zone.serial == NOW + number
            for question in (*questions, query(SERVICE, "PTR", payload=1232)):
                reply, expected = ask(zone, question), ask(zone_of(*there), question)
                assert reply.rcode() == expected.rcode()
                assert texts(reply.answer) == texts(expected.answer)
                assert texts(reply.additional) == texts(expected.additional)
            assert not zone.update(tuple(replace(one, latest_handshake=number) for one in there), NOW)

    def test_peers_that_were_changed_in_place_have_changed(self) -> None:
        zone, peers = zone_of(), [ALICE, BOB]
        assert zone.update(peers, NOW)
        peers[0] = peer("alice", "192.0.2.77:1")
        assert zone.update(peers, NOW)
        assert texts(ask(zone, query(ALICE_NAME, "A")).answer) == [f"{ALICE_NAME} 0 A 192.0.2.77"]

    def test_the_names_whose_records_changed_are_told(self) -> None:
        zone = Zone(parse_zone("wg.example.com"))
        there: tuple[Peer, ...] = ()
        names = [_wire(name) for one in ("alice", "bob", "carol") for name in _names_of(one)]
        names += [zone.apex, zone.service, _wire("_udp.wg.example.com")]
        silent = peer("bob", "", "10.0.0.2/32")
        for there in (
            (ALICE,),
            (ALICE, BOB),
            (ALICE, silent),
            (peer("alice", "192.0.2.1:51820"), silent),
            (silent, CAROL),
            (CAROL, BOB),
            (BOB, CAROL),
            (BOB, ALICE),
            (ALICE, BOB),
            (),
        ):
            before = {name: tuple(zone.records(name)) for name in names}
            told = zone.update(there, NOW)
            differ = {name for name in names if before[name] != tuple(zone.records(name))}
            assert set(told) == differ
            assert len(told) == len(differ)
            assert not zone.update(there, NOW)

    def test_what_is_kept_is_bounded_by_the_peers(self) -> None:
        zone = zone_of(*PEERS)
        for number in range(50):
            ask(zone, query(f"{number}.wg.example.com", "A"))
            ask(zone, query(ALICE_NAME, f"TYPE{number + 1000}"))
        assert len(zone.rendered) == 0

    def test_a_zone_that_has_seen_no_device_has_no_peers(self) -> None:
        zone = Zone(parse_zone("wg.example.com"))
        assert ask(zone, query(CAROL_NAME, "TXT")).rcode() == NXDOMAIN
        assert zone.serial == 0
        assert not zone.update((), NOW)
        assert zone.serial == NOW


def test_a_registry_without_addresses_has_no_host_ns1() -> None:
    zone = Zone(parse_zone("wg.example.com"))
    reply = ask(zone, query("wg.example.com", "NS"))
    assert (texts(reply.answer), reply.additional) == (["wg.example.com. 60 NS ns1.wg.example.com."], [])
    assert ask(zone, query("ns1.wg.example.com", "A")).rcode() == NXDOMAIN


def test_a_mapped_address_of_the_registry_is_told_as_ipv4() -> None:
    zone = Zone(parse_zone("wg.example.com"), addresses=[IPv6Address("::ffff:10.0.0.254")])
    assert texts(ask(zone, query("wg.example.com", "NS")).additional) == GLUE[:1]


def test_a_joining_peer_is_denied_for_seconds_only() -> None:
    assert 1 <= NEGATIVE_TTL <= 5


def test_a_link_local_endpoint_is_told_without_its_scope() -> None:
    zone = zone_of(Peer(key("alice"), Endpoint.parse("[fe80::1%3]:1")), CAROL)
    assert texts(ask(zone, query(ALICE_NAME, "AAAA")).answer) == [f"{ALICE_NAME} 0 AAAA fe80::1"]


class TestSerials:
    @pytest.mark.parametrize(
        ("before", "now", "after"),
        [
            (0, NOW, NOW),
            (0, 2**31 + 5, 2**31 + 5),
            (NOW - 1, NOW, NOW),
            (NOW, NOW, NOW + 1),
            (NOW + 100, NOW, NOW + 101),
            (NOW, NOW + 2**31 - 1, NOW + 2**31 - 1),
            (NOW, NOW + 2**31, NOW + 1),  # neither is newer (RFC 1982 section 3.2)
            (2**32 - 1, NOW, NOW),
            (2**32 - 1, 2**31 + 7, 1),
            (2**32 - 1, 2**32 - 1, 1),
            (2**32 - 5, 2**32 + 5, 5),
            (2**32 - 5, 2**32, 1),
            (3, 2**32 + 2, 4),
        ],
    )
    def test_the_next_is_the_time_or_one_more(self, before: int, now: int, after: int) -> None:
        assert next_serial(before, now) == after

    @given(st.integers(1, 2**32 - 1), st.integers(0, 2**34))
    def test_the_next_is_newer_and_never_zero(self, before: int, now: int) -> None:
        after = next_serial(before, now)
        assert 0 < after < 2**32
        assert 0 < (after - before) % 2**32 < 2**31

    @pytest.mark.parametrize(("kept", "serial"), [(NOW - 7, NOW), (NOW + 7, NOW + 8)])
    def test_a_restart_goes_on_where_others_have_seen_it(self, kept: int, serial: int) -> None:
        zone = Zone(parse_zone("wg.example.com"), serial=kept)
        assert f" {kept} 60 10 " in texts(ask(zone, query("wg.example.com", "SOA")).answer)[0]
        zone.update(PEERS, NOW)
        assert zone.serial == serial
        assert not zone.update(PEERS, NOW + 100)
        assert zone.serial == serial


class TestNames:
    def test_a_name_comes_after_what_wgsd_says_and_before_what_does_not_fit_there(self) -> None:
        alice = peer("alice", "192.0.2.1:1", *(f"10.0.{number}.0/24" for number in range(40)))
        zone = zone_of(alice, BOB, names={alice.public_key: "Alice's ‟laptop”", key("nobody"): "nobody"})
        for reply in (ask(zone, query(ALICE_NAME, rdtype), datagram=False) for rdtype in ("SRV", "TXT")):
            (txt,) = (rrset for rrset in (*reply.answer, *reply.additional) if rrset.rdtype == TXT)
            strings = [string.decode() for string in txt[0].strings]
            assert [string.partition("=")[0] for string in strings] == [
                *("txtvers", "pub", "allowed", "name"),
                *(f"allowed{number}" for number in range(2, len(strings) - 2)),
            ]
            assert strings[3] == "name=Alice's ‟laptop”"
            assert len(strings) > 5
        found = advertisement(ask(zone, query(ALICE_NAME, "SRV"), datagram=False), alice.public_key, zone.name)
        assert found.name == "Alice's ‟laptop”"
        assert b"name=" not in ask_wire(zone, query(BOB_NAME, "TXT"))

    def test_the_longest_name_is_a_string(self) -> None:
        zone = zone_of(ALICE, names={ALICE.public_key: "n" * 250})
        assert max(map(len, ask(zone, query(ALICE_NAME, "TXT"), datagram=False).answer[0][0].strings)) == MAX_STRING


class TestBrowse:
    def test_what_a_browser_asks_next_comes_peer_by_peer_as_room_allows(self) -> None:
        peers = many(5, "10.0.0.1/32")
        zone = zone_of(*peers)
        whole = ask(zone, query(SERVICE, "PTR"), datagram=False)
        expected = [
            text
            for one in peers
            for reply in [ask(zone, query(f"{instance_label(one.public_key)}.{SERVICE}", "SRV"))]
            for text in texts(reply.answer) + texts(reply.additional)
        ]
        assert texts(whole.additional) == expected
        for payload, room in ((None, 512), (1232, 1232)):
            asked = query(SERVICE, "PTR", payload=payload)
            reply = ask(zone, asked)
            assert not reply.flags & dns.flags.TC
            assert texts(reply.answer) == texts(whole.answer)
            kept = len(reply.additional)
            assert texts(reply.additional) == expected[:kept]
            assert kept < len(expected)
            assert len(ask_wire(zone, asked)) <= room < len(ask_wire(zone, asked)) + 250

    @pytest.mark.parametrize("name", ["wg.example.com", "a"])
    @pytest.mark.parametrize("count", [1, 100, 200, 229, 232, 240, 260, 400, 900])
    def test_every_owner_is_found_wherever_it_stands(self, name: str, count: int) -> None:
        """Compressed names reach 16 kB (RFC 1035 section 4.1.4); a browse of 230 peers goes beyond that."""
        peers = tuple(peer(f"peer {number}", "192.0.2.1:1") for number in range(count))
        zone = zone_of(*peers, name=name)
        wire = ask_wire(zone, query(f"_wireguard._udp.{name}", "PTR"), datagram=False)
        reply = dns.message.from_wire(wire)
        targets = [str(record.target) for record in reply.answer[0]]
        assert targets == [f"{instance_label(one.public_key)}._wireguard._udp.{name}." for one in peers]
        for number, rdtype in enumerate((SRV, A, TXT)):
            owners = [str(rrset.name) for rrset in reply.additional[number::3]]
            assert owners == targets[: len(owners)]
            assert {rrset.rdtype for rrset in reply.additional[number::3]} <= {rdtype}
        told = len(reply.additional) // 3
        assert len(reply.additional) == 3 * told
        assert told == count or (count > 200 and MAX_MESSAGE - len(wire) < 400)

    def test_a_huge_browse_is_rendered_no_further_than_a_message_goes(self) -> None:
        zone = zone_of(*many(3000))
        reply = ask(zone, query(SERVICE, "PTR"), datagram=False)
        assert reply.flags & dns.flags.TC
        assert 900 < len(reply.answer[0]) < 930
        assert not reply.additional
        (answer,) = zone.rendered.values()
        assert len(answer.records) < MAX_MESSAGE + 100

    def test_a_peer_that_fills_a_message_by_itself_is_listed(self) -> None:
        huge = peer("huge", "192.0.2.1:1", *(f"{IPv4Address('10.0.0.0') + number}/32" for number in range(4000)))
        reply = ask(zone_of(huge, *many(2, *(str(one) for one in huge.allowed_ips))), query(SERVICE, "PTR"))
        assert (len(reply.answer[0]), reply.flags & dns.flags.TC) == (3, 0)


def parsed(octets: bytes) -> dns.rrset.RRset:
    """A record that stands alone, checked to be uncompressed."""
    message = dns.message.from_wire(struct.pack("!HHHHHH", 0, 0x8400, 0, 1, 0, 0) + octets)
    (rrset,) = message.answer
    again = io.BytesIO()
    rrset.to_wire(again)
    assert again.getvalue() == octets
    return rrset


Records = dict[tuple[dns.name.Name, RdataType], set[str]]


def transferred(octets: Iterable[bytes]) -> Records:
    """The records of a transfer but its end, by name and type, with their TTLs, each there once."""
    first, *others, last = (parsed(one) for one in octets)
    assert first.rdtype == last.rdtype == SOA
    assert first == last
    found: Records = {}
    for rrset in (first, *others):
        texts_there = found.setdefault((rrset.name, rrset.rdtype), set())
        assert f"{rrset.ttl} {rrset[0]}" not in texts_there
        texts_there.add(f"{rrset.ttl} {rrset[0]}")
    return found


ENDPOINTS = st.sampled_from(["", "", "192.0.2.1:51820", "192.0.2.2:1", "[2001:db8::1]:65535", "[::ffff:192.0.2.9]:9"])
NETWORKS = st.lists(st.sampled_from(["10.0.0.1/32", "10.9.0.0/16", "fd00::1/128", "0.0.0.0/0"]), unique=True)
SOME_PEERS = st.lists(
    st.builds(
        lambda name, endpoint, allowed: peer(name, endpoint, *allowed), st.sampled_from("abcdef"), ENDPOINTS, NETWORKS
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda one: one.public_key,
)
TYPES = ("A", "AAAA", "SRV", "TXT", "PTR", "NS", "SOA", "ANY", "CNAME", "HINFO", "HTTPS", "MX", "DS")


class TestTransfers:
    @settings(max_examples=25)
    @given(SOME_PEERS, st.booleans())
    def test_the_answers_are_those_of_a_server_that_has_the_transferred_zone(
        self, peers: list[Peer], has_addresses: bool
    ) -> None:
        """RFC 1034 section 4.3.2, RFC 2308, RFC 8020: what exists is what has records, or has them below."""
        zone = zone_of(*peers, names={key("a"): "Anna"})
        if not has_addresses:
            zone = Zone(zone.name)
            zone.update(peers, NOW)
        known = transferred(zone.transfer())
        owners = {owner for owner, _ in known}
        existing = {dns.name.Name(owner.labels[n:]) for owner in owners for n in range(len(owner) - len(zone.name) + 1)}
        strange = {dns.name.from_text(name, owner) for owner in existing for name in ("x", "ns1")} - existing
        for name in existing | strange:
            for rdtype in TYPES if name in existing else ("A", "PTR", "ANY"):
                reply = ask(zone, query(str(name), rdtype), datagram=False)
                self.judge(reply, name, RdataType.make(rdtype), known, existing)

    def judge(
        self,
        reply: dns.message.Message,
        name: dns.name.Name,
        rdtype: RdataType,
        known: Records,
        existing: set[dns.name.Name],
    ) -> None:
        assert reply.rcode() == (NOERROR if name in existing else NXDOMAIN)
        records_of = {kind: texts for (owner, kind), texts in known.items() if owner == name}
        if rdtype == ANY:
            assert bool(reply.answer) == bool(records_of)
        else:
            told = {f"{rrset.ttl} {record}" for rrset in reply.answer for record in rrset}
            assert told == records_of.get(rdtype, set())
        assert all(rrset.name == name for rrset in reply.answer)
        assert texts(reply.authority) == ([] if reply.answer else DENIAL)
        for rrset in reply.additional:
            assert {f"{rrset.ttl} {record}" for record in rrset} == known[rrset.name, rrset.rdtype]

    def test_a_transfer_has_the_records_of_each_name(self) -> None:
        zone = Zone(parse_zone("wg.example.com"), addresses=NAME_SERVER, names={key("alice"): "Al"}, push_ports=(53,))
        zone.update(PEERS, NOW)
        known = transferred(zone.transfer())
        names = {name for name, _ in known} | {dns.name.from_text("_udp.wg.example.com")}
        for name in names:
            wire = name.to_wire()
            assert wire is not None
            there = list(zone.records(wire))
            assert len(set(there)) == len(there)
            found = [parsed(records.record(wire, *one)) for one in there]
            assert {(one.rdtype, f"{one.ttl} {one[0]}") for one in found} == {
                (rdtype, text) for (owner, rdtype), several in known.items() if owner == name for text in several
            }
        assert not list(zone.records(_wire("nobody.wg.example.com")))

    def test_it_is_the_content_as_it_was_when_it_began(self) -> None:
        zone = zone_of(*PEERS)
        expected = list(zone.transfer())
        transfer = zone.transfer()
        for number in range(len(expected)):
            changed = tuple(replace(one, endpoint=Endpoint(IPv4Address(number), 1)) for one in PEERS)
            assert zone.update(changed if number < len(expected) // 2 else many(number), NOW)
            assert next(transfer) == expected[number]
        assert list(transfer) == []
        assert list(zone.transfer()) != expected

    def test_it_is_made_as_it_is_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rendered: list[Peer] = []

        def text_data(peer: Peer, _: str) -> bytes:
            rendered.append(peer)
            return b"\0"

        monkeypatch.setattr(records, "text_data", text_data)
        transfer = zone_of(*many(50)).transfer()
        list(islice(transfer, 60))
        assert len(rendered) < 10
        list(transfer)
        assert len(rendered) == 50

    def test_it_begins_and_ends_with_the_soa_that_is_told(self) -> None:
        zone = zone_of(*PEERS)
        first, *_, last = zone.transfer()
        assert first == last == zone.soa()
        assert texts([parsed(first)]) == texts(ask(zone, query("wg.example.com", "SOA")).answer)

    def test_both_names_of_a_peer_are_there_and_one_is_listed(self) -> None:
        known = transferred(zone_of(ALICE).transfer())
        bare = dns.name.from_text(ALICE_NAME.replace("=", ""))
        for name in (dns.name.from_text(ALICE_NAME), bare):
            assert known[name, SRV] == {f"0 0 0 51820 {name}"}
            assert (name, A) in known
            assert known[name, TXT] == {f"0 {ALICE_TXT}"}
        assert known[dns.name.from_text(SERVICE), PTR] == {f"0 {ALICE_NAME}"}


class TestPush:
    NAME = "_wgsd-push._tcp.wg.example.com."

    def test_where_it_takes_subscriptions_is_told(self) -> None:
        zone = Zone(parse_zone("wg.example.com"), addresses=NAME_SERVER, push_ports=(53, 5353))
        reply = ask(zone, query(self.NAME, "SRV"))
        assert texts(reply.answer) == [
            f"{self.NAME} 60 SRV 0 0 53 ns1.wg.example.com.",
            f"{self.NAME} 60 SRV 1 0 5353 ns1.wg.example.com.",
        ]
        assert [str(rrset[0]) for rrset in reply.additional] == ["10.0.0.254", "fd00::254"]
        assert ask(zone, query("_tcp.wg.example.com", "SRV")).rcode() == NOERROR

    @pytest.mark.parametrize("name", [NAME, "_tcp.wg.example.com", "_dns-push-tls._tcp.wg.example.com"])
    def test_nothing_is_told_where_there_is_none(self, name: str) -> None:
        assert ask(zone_of(), query(name, "SRV")).rcode() == NXDOMAIN

    def test_what_promises_tls_is_never_told(self) -> None:
        zone = Zone(parse_zone("wg.example.com"), push_ports=(53,))
        assert ask(zone, query("_dns-push-tls._tcp.wg.example.com", "SRV")).rcode() == NXDOMAIN


def _wire(name: str) -> bytes:
    return dns.name.from_text(name).to_wire() or b""


def _names_of(one: str) -> tuple[str, str]:
    return f"{label(one)}.{SERVICE}", f"{label(one).removesuffix('====')}.{SERVICE}"


def test_zones_are_told_apart_by_what_they_are() -> None:
    one, other = zone_of(ALICE), zone_of(ALICE)
    assert len({one, other, one}) == 2
    assert one.apex == b"\2wg\7example\3com\0"
