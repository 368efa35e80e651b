# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import base64
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import dns.message
import dns.name
import dns.rcode
import pytest
from dns.rdatatype import AAAA, SRV, A
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.nameserver import reply
from wgsd_nm.core import dnsbytes, dnssd
from wgsd_nm.core.errors import (
    BadAnswer,
    InvalidValue,
    LookupFailed,
    NegativeAnswer,
    NoEndpoint,
    NoSuchPeer,
    RegistryRefused,
)
from wgsd_nm.core.model import Advertisement, Endpoint, PublicKey

KEY = PublicKey(bytes(range(32)))
ZONE = dnssd.parse_zone("wg.example.com")
NAME = dnssd.instance_name(KEY, ZONE)
SOA = "wg.example.com. {ttl} IN SOA ns1.wg.example.com. postmaster.wg.example.com. 1 2 3 4 {minimum}"

UNSPECIFIED = ("0.0.0.0", "::", str(IPv6Address("::ffff:0:0")))

keys = st.binary(min_size=32, max_size=32).map(PublicKey)
labels = st.from_regex(r"\A[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,20}[a-zA-Z0-9_])?\Z")
zones = st.lists(labels, min_size=1, max_size=5).map(".".join)


def query(name: dns.name.Name = NAME, rdtype: dns.rdatatype.RdataType = SRV) -> bytes:
    return dns.message.make_query(name, rdtype, use_edns=True).to_wire()


def answered(
    answer: Sequence[str] = ("@ 5 IN SRV 0 0 51820 @",),
    additional: Sequence[str] = ("@ 5 IN A 192.0.2.7",),
    authority: Sequence[str] = (),
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR,
) -> Advertisement:
    wire = reply(query(), answer, additional, authority, rcode=rcode)
    return dnssd.advertisement(dnssd.parse(wire), KEY, ZONE)


def refused(
    error: type[LookupFailed],
    answer: Sequence[str] = (),
    additional: Sequence[str] = (),
    authority: Sequence[str] = (),
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR,
) -> str:
    with pytest.raises(error) as caught:
        answered(answer, additional, authority, rcode)
    return str(caught.value)


class TestNames:
    @settings(max_examples=60)
    @given(keys)
    def test_a_label_is_the_lower_case_base32_of_the_key(self, key: PublicKey) -> None:
        label = dnssd.instance_label(key)
        assert len(label) == 56
        assert label == label.lower()
        assert base64.b32decode(label.upper()) == key.raw

    @settings(max_examples=60)
    @given(keys, st.integers(min_value=0), st.booleans())
    def test_a_key_comes_back_from_its_label_in_any_case(self, key: PublicKey, capitals: int, padded: bool) -> None:
        label = dnssd.instance_label(key) if padded else dnssd.instance_label(key).rstrip("=")
        mixed = "".join(letter.upper() if capitals >> place & 1 else letter for place, letter in enumerate(label))
        assert dnssd.key_from_label(mixed) == key

    @settings(max_examples=60)
    @given(st.text(max_size=51) | st.text(min_size=53))
    def test_another_label_is_refused(self, label: str) -> None:
        with pytest.raises(InvalidValue, match="base32"):
            dnssd.key_from_label(label)

    @pytest.mark.parametrize("end", ["=", "==", "===", "=====", "a", " ", "\n"])
    def test_a_label_with_something_else_behind_it_is_refused(self, end: str) -> None:
        with pytest.raises(InvalidValue):
            dnssd.key_from_label(dnssd.instance_label(KEY).rstrip("=") + end)

    def test_spare_bits_must_be_zero(self) -> None:
        label = dnssd.instance_label(PublicKey(bytes(32)))
        with pytest.raises(InvalidValue):
            dnssd.key_from_label(label.replace("a====", "b===="))

    def test_a_letter_that_only_unicode_makes_ascii_is_refused(self) -> None:
        with pytest.raises(InvalidValue):
            dnssd.key_from_label("\N{LATIN SMALL LETTER DOTLESS I}" + "a" * 51)

    @settings(max_examples=60)
    @given(keys, zones)
    def test_the_name_is_the_label_in_the_service_in_the_zone(self, key: PublicKey, text: str) -> None:
        try:
            zone = dnssd.parse_zone(text)
        except InvalidValue:
            return
        name = dnssd.instance_name(key, zone)
        assert name == dns.name.from_text(f"{dnssd.instance_label(key)}.{dnssd.SERVICE}.{text.lower()}.")
        assert dnssd.wire(name) == name.to_wire() == dnssd.instance_wire(key, dnssd.wire(zone))

    @pytest.mark.parametrize(
        "text", ["example.com", "Example.COM.", "wg.home.arpa", "a", "xn--bcher-kva.example", "9.de"]
    )
    def test_a_zone_is_a_domain_name(self, text: str) -> None:
        assert dnssd.parse_zone(text) == dns.name.from_text(text.lower())
        assert dnssd.parse_zone(text).labels == dns.name.from_text(text.lower()).labels

    @pytest.mark.parametrize(
        "text",
        [
            *("", ".", "..", ".a", "a..", "a..b", "a b", "-a", "a-", "a.-b.c", "a/b", "bücher.example", "a\\.b", "a\n"),
            *("*.example.com", "192.0.2.1", "x" * 64 + ".com", "\N{LATIN SMALL LETTER LONG S}.com"),
        ],
    )
    def test_what_is_no_domain_name_is_no_zone(self, text: str) -> None:
        with pytest.raises(InvalidValue, match="expected a domain name"):
            dnssd.parse_zone(text)

    @pytest.mark.parametrize("text", ["local", "wg.local", "wg.LOCAL."])
    def test_multicast_dns_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidValue, match="multicast DNS"):
            dnssd.parse_zone(text)

    def test_the_longest_zone_leaves_room_for_a_peer(self) -> None:
        room = 255 - 57 - len(b"\x0a_wireguard\x04_udp") - 1
        fits = ".".join(["x" * 61] * 2 + ["x" * (room - 2 * 62 - 1)])
        assert len(dnssd.instance_name(KEY, dnssd.parse_zone(fits)).to_wire() or b"") == 255
        with pytest.raises(InvalidValue, match="too long"):
            dnssd.parse_zone(fits + "x")


class TestAnswers:
    def test_the_usual_one(self) -> None:
        txt = f'@ 3 IN TXT "txtvers=1" "pub={KEY}" "allowed=10.0.0.2/32" "name=anna"'
        assert answered(additional=["@ 5 IN A 192.0.2.7", txt]) == Advertisement(
            KEY,
            (Endpoint(IPv4Address("192.0.2.7"), 51820),),
            3,
            "anna",
            (("txtvers", "1"), ("pub", str(KEY)), ("allowed", "10.0.0.2/32"), ("name", "anna")),
        )

    @settings(max_examples=60)
    @given(
        port=st.integers(1, 0xFFFF),
        addresses=st.lists(
            st.ip_addresses().filter(lambda address: str(address) not in UNSPECIFIED), min_size=1, max_size=5
        ),
        ttl=st.integers(0, 0x7FFF_FFFF),
    )
    def test_what_was_put_in_comes_out(self, port: int, addresses: list[IPv4Address | IPv6Address], ttl: int) -> None:
        records = [f"@ {ttl} IN {'A' if address.version == 4 else 'AAAA'} {address}" for address in addresses]
        found = answered([f"@ {ttl} IN SRV 0 0 {port} @"], records)
        wanted = {
            Endpoint(address.ipv4_mapped or address if isinstance(address, IPv6Address) else address, port)
            for address in addresses
        }
        assert set(found.endpoints) == wanted
        assert len(found.endpoints) == len(wanted)
        assert found.ttl == ttl

    def test_the_observed_endpoint_comes_first(self) -> None:
        found = answered(additional=["@ 5 IN AAAA 2001:db8::1", "@ 5 IN A 192.0.2.7", "@ 5 IN AAAA 2001:db8::2"])
        assert [str(endpoint.address) for endpoint in found.endpoints] == ["2001:db8::1", "2001:db8::2", "192.0.2.7"]

    def test_the_ttl_is_the_least_of_the_records_used(self) -> None:
        assert (
            answered(["@ 50 IN SRV 0 0 1 @"], ["@ 30 IN A 192.0.2.7", "@ 40 IN TXT x", "x. 1 IN A 192.0.2.8"]).ttl == 30
        )

    def test_targets_by_priority_then_weight(self) -> None:
        answer = ["@ 5 IN SRV 2 9 1 a.", "@ 5 IN SRV 1 1 2 b.", "@ 5 IN SRV 1 5 3 c.", "@ 5 IN SRV 1 5 3 ."]
        additional = [f"{name}. 5 IN A 192.0.2.{last}" for last, name in enumerate("abc")]
        ports = [endpoint.port for endpoint in answered(answer, additional).endpoints]
        assert ports == [3, 2, 1]

    def test_aliases_are_followed(self) -> None:
        answer = ["@ 9 IN CNAME a.example.", "a.example. 2 IN CNAME b.example.", "b.example. 9 IN SRV 0 0 7 b.example."]
        found = answered(answer, ["b.example. 9 IN A 192.0.2.7", f'b.example. 9 IN TXT "pub={KEY}" "name=b"'])
        assert (found.endpoints, found.ttl, found.name) == ((Endpoint(IPv4Address("192.0.2.7"), 7),), 2, "b")

    def test_an_alias_that_leads_out_of_the_answer(self) -> None:
        wire = reply(query(), ["@ 9 IN CNAME a.example."])
        assert dnssd.service(dnssd.parse(wire), KEY, NAME) == dnssd.Alias(dns.name.from_text("a.example."), 9)
        assert "alias" in refused(BadAnswer, ["@ 9 IN CNAME a.example."], [])

    def test_aliases_in_a_circle(self) -> None:
        assert "circle" in refused(BadAnswer, ["@ 9 IN CNAME a.", "a. 9 IN CNAME @"])

    def test_records_of_others_are_not_ours(self) -> None:
        refused(NoEndpoint, ["x.wg.example.com. 9 IN SRV 0 0 7 x."], ["x. 9 IN A 192.0.2.7"])
        refused(BadAnswer, ["@ 5 IN SRV 0 0 7 @"], ["other. 9 IN A 192.0.2.7"])

    def test_another_question_answered(self) -> None:
        wire = reply(query(dns.name.from_text("x.wg.example.com.")), ["@ 5 IN SRV 0 0 7 @"], ["@ 5 IN A 192.0.2.7"])
        with pytest.raises(BadAnswer, match="another question"):
            dnssd.advertisement(dnssd.parse(wire), KEY, ZONE)
        with pytest.raises(BadAnswer, match="another question"):
            dnssd.advertisement(dnssd.parse(query()), KEY, ZONE)

    @pytest.mark.parametrize("target", [".", "@"])
    def test_the_root_is_no_target(self, target: str) -> None:
        answer = [f"@ 5 IN SRV 0 0 7 {target}"]
        if target == ".":
            refused(NoEndpoint, answer)
        else:
            assert answered(answer).endpoints

    @pytest.mark.parametrize(
        ("srv", "address"),
        [
            ("0 0 0 @", "A 192.0.2.7"),
            ("0 0 7 @", "A 0.0.0.0"),
            ("0 0 7 @", "AAAA ::"),
            ("0 0 7 @", "AAAA ::ffff:0.0.0.0"),
        ],
    )
    def test_no_usable_endpoint(self, srv: str, address: str) -> None:
        refused(BadAnswer, [f"@ 5 IN SRV {srv}"], [f"@ 5 IN {address}"])

    def test_an_unspecified_address_beside_another(self) -> None:
        found = answered(additional=["@ 5 IN AAAA ::", "@ 5 IN AAAA ::ffff:192.0.2.9", "@ 5 IN A 192.0.2.9"])
        assert [str(endpoint) for endpoint in found.endpoints] == ["192.0.2.9:51820"]

    def test_endpoints_have_an_end(self) -> None:
        found = answered(additional=[f"@ 5 IN A 192.0.2.{last}" for last in range(1, 100)])
        assert len(found.endpoints) == dnssd.MAX_ENDPOINTS

    @pytest.mark.parametrize("pub", ["", "x", str(PublicKey(bytes(32))), str(KEY)[:-1], str(KEY) + "=", "\\000"])
    def test_another_key_is_no_answer(self, pub: str) -> None:
        refused(BadAnswer, ["@ 5 IN SRV 0 0 7 @"], ["@ 5 IN A 192.0.2.7", f'@ 5 IN TXT "txtvers=1" "PUB={pub}"'])

    def test_the_first_of_equal_keys_counts(self) -> None:
        assert dnssd.attributes([[b"a=1", b"A=2", b"=3", b"b", b"c="]]) == (("a", "1"), ("b", ""), ("c", ""))

    def test_the_record_that_ucode_wants_beside_wgsds(self) -> None:
        second = f'@ 5 IN TXT "v=WGSD1;pub={KEY};allowed=10.0.0.0/8"'
        first = f'@ 5 IN TXT "txtvers=1" "pub={KEY}" "name=x"'
        assert answered(additional=["@ 5 IN A 192.0.2.7", second, first]).name == "x"

    def test_a_later_version_is_not_read(self) -> None:
        assert answered(additional=["@ 5 IN A 192.0.2.7", '@ 5 IN TXT "txtvers=2" "pub=x" "name=x"']).txt == ()

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            (b"  anna ", "anna"),
            (b"x" * 100, "x" * 63),
            ("ä".encode(), "ä"),
            (b"a\nb\0\x1b", "a���b���"[:2] + "b��"),
            (b"\xff", "�"),
            ("\N{RIGHT-TO-LEFT OVERRIDE}x".encode(), "�x"),
        ],
    )
    def test_a_name_is_for_showing(self, name: bytes, shown: str) -> None:
        assert dnssd.advertised(KEY, [(ip_address("192.0.2.7"), 7)], [[b"name=" + name]], 0).name == shown


class TestNegativeAnswers:
    @pytest.mark.parametrize(
        ("soa", "ttl"),
        [
            ([SOA.format(ttl=60, minimum=5)], 5),
            ([SOA.format(ttl=4, minimum=5)], 4),
            ([], 0),
            ([SOA.format(ttl=60, minimum=5).replace("wg.example.com. 60", "other.example. 60")], 0),
        ],
    )
    @pytest.mark.parametrize(("rcode", "error"), [(dns.rcode.NXDOMAIN, NoSuchPeer), (dns.rcode.NOERROR, NoEndpoint)])
    def test_how_long_they_hold(
        self, rcode: dns.rcode.Rcode, error: type[NegativeAnswer], soa: list[str], ttl: int
    ) -> None:
        wire = reply(query(), authority=soa if rcode or "other" not in str(soa) else [], rcode=rcode)
        with pytest.raises(error) as caught:
            dnssd.advertisement(dnssd.parse(wire), KEY, ZONE)
        assert caught.value.ttl == ttl

    def test_the_peer_is_named(self) -> None:
        assert str(KEY) in refused(NoSuchPeer, [], rcode=dns.rcode.NXDOMAIN)

    def test_no_such_name_whatever_comes_along(self) -> None:
        refused(NoSuchPeer, ["@ 5 IN SRV 0 0 7 @"], rcode=dns.rcode.NXDOMAIN)

    def test_an_alias_to_nowhere(self) -> None:
        refused(NoSuchPeer, ["@ 5 IN CNAME a."], [], rcode=dns.rcode.NXDOMAIN)

    def test_an_alias_in_the_zone_without_records(self) -> None:
        refused(NoEndpoint, ["@ 5 IN CNAME a.wg.example.com."], [], [SOA.format(ttl=1, minimum=1)])

    @pytest.mark.parametrize("rcode", [dns.rcode.REFUSED, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.BADVERS])
    def test_errors(self, rcode: dns.rcode.Rcode) -> None:
        assert dns.rcode.to_text(rcode) in refused(RegistryRefused, rcode=rcode)

    def test_a_referral_is_no_denial(self) -> None:
        assert "refers" in refused(RegistryRefused, [], [], ["example.com. 5 IN NS ns.example.com."])


class TestAddresses:
    HOST = dns.name.from_text("host.example.")

    @pytest.mark.parametrize("rdtype", [A, AAAA])
    def test_the_family_that_there_is(self, rdtype: dns.rdatatype.RdataType) -> None:
        wire = reply(query(self.HOST, rdtype), ["@ 7 IN A 192.0.2.7", "@ 7 IN A 192.0.2.8"])
        found = (IPv4Address("192.0.2.7"), IPv4Address("192.0.2.8"))
        assert dnssd.addresses(dnssd.parse(wire), self.HOST, rdtype) == (found, 7)

    def test_an_alias(self) -> None:
        wire = reply(query(self.HOST, A), ["@ 7 IN CNAME b."])
        assert dnssd.addresses(dnssd.parse(wire), self.HOST, A) == dnssd.Alias(dns.name.from_text("b."), 7)
        wire = reply(query(self.HOST, A), ["@ 7 IN CNAME b.", "b. 3 IN A 192.0.2.7"])
        assert dnssd.addresses(dnssd.parse(wire), self.HOST, A) == ((IPv4Address("192.0.2.7"),), 3)

    def test_none(self) -> None:
        with pytest.raises(NoEndpoint):
            dnssd.addresses(dnssd.parse(reply(query(self.HOST, A))), self.HOST, A)


def judged(wire: bytes) -> Advertisement | type[LookupFailed]:
    """What dnspython's reading of an answer comes to."""
    try:
        found = dnssd.service(dnssd.parse(wire), KEY, NAME)
        return found.advertisement() if isinstance(found, dnssd.Service) else BadAnswer
    except LookupFailed as error:
        return type(error)


def quickly(wire: bytes) -> Advertisement | type[LookupFailed] | None:
    """What the quick reading comes to, None where it has no opinion."""
    try:
        return dnsbytes.usual_answer(wire, dnssd.wire(NAME), KEY)
    except LookupFailed as error:
        return type(error)


records = st.lists(
    st.sampled_from(
        [
            *(
                "@ 5 IN A 192.0.2.7",
                "@ 9 IN AAAA 2001:db8::7",
                "@ 1 IN AAAA ::",
                '@ 3 IN TXT "name=x"',
                "x. 5 IN A 192.0.2.9",
            ),
            *(f'@ 5 IN TXT "txtvers=1" "pub={KEY}" "allowed="', '@ 5 IN TXT "pub=other"', "@ 5 CH TXT x"),
            *("@ 5 IN A 192.0.2.8", "@ 4294967295 IN A 192.0.2.6", "@ 5 IN SRV 0 0 7 @", "@ 5 IN MX 5 @"),
        ]
    ),
    max_size=5,
)


def push_port(*answer: str, rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> int:
    asked = query(dnssd.push_name(ZONE))
    return dnssd.push_port(dnssd.parse(reply(asked, answer, rcode=rcode)), ZONE)


class TestPush:
    def test_the_name_promises_no_tls(self) -> None:
        assert dnssd.push_name(ZONE).to_text() == "_wgsd-push._tcp.wg.example.com."

    @pytest.mark.parametrize(
        ("records", "port"),
        [
            (["@ 0 IN SRV 0 0 53 ns1.wg.example.com."], 53),
            (["@ 0 IN SRV 1 0 1 x.", "@ 0 IN SRV 0 1 2 y.", "@ 0 IN SRV 0 9 3 z."], 3),
        ],
    )
    def test_the_best_port_whatever_host_it_is_at(self, records: list[str], port: int) -> None:
        assert push_port(*records) == port

    @pytest.mark.parametrize("record", ["@ 7 IN SRV 0 0 53 .", "@ 7 IN SRV 0 0 0 x.", "@ 7 IN CNAME x."])
    def test_none(self, record: str) -> None:
        with pytest.raises(NoEndpoint):
            push_port(record)

    def test_denied_refused_and_answered_for_something_else(self) -> None:
        with pytest.raises(NoSuchPeer, match="does not know the push service"):
            push_port(rcode=dns.rcode.NXDOMAIN)
        with pytest.raises(RegistryRefused):
            push_port(rcode=dns.rcode.REFUSED)
        with pytest.raises(BadAnswer):
            dnssd.push_port(dnssd.parse(reply(query(), ["@ 0 IN SRV 0 0 53 x."])), ZONE)


class TestBytes:
    def test_records_that_came_twice_are_read_in_the_same_order(self) -> None:
        ours, other = f'@ 5 IN TXT "txtvers=1" "pub={KEY}" "allowed="', '@ 3 IN TXT "name=x"'
        wire = reply(query(), ["@ 5 IN SRV 0 0 7 @"], ["@ 5 IN A 192.0.2.7", ours, other, ours])
        assert quickly(wire) == judged(wire)

    @settings(max_examples=60)
    @given(srv=st.sampled_from(["@ 5 IN SRV 0 0 7 @", "@ 5 IN SRV 0 0 0 @", "@ 5 IN SRV 0 0 7 x."]), additional=records)
    def test_the_quick_reading_is_dnspythons(self, srv: str, additional: list[str]) -> None:
        wire = reply(query(), [srv], additional)
        assert quickly(wire) in (judged(wire), None)

    @settings(max_examples=150)
    @given(additional=records, data=st.data())
    def test_damage_is_read_alike_and_raises_nothing_else(self, additional: list[str], data: st.DataObject) -> None:
        wire = bytearray(reply(query(), ["@ 5 IN SRV 0 0 7 @"], additional))
        start = dnsbytes.HEADER + len(dnssd.wire(NAME)) + 4  # the question has been compared when an answer is read
        places = st.one_of(st.integers(2, 3), st.integers(6, 11), st.integers(start, len(wire) - 1))
        for place in data.draw(st.lists(places, max_size=4)):
            wire[place] = data.draw(st.integers(0, 255))
        del wire[data.draw(st.integers(start, len(wire))) :]
        quick = quickly(bytes(wire))
        assert quick in (judged(bytes(wire)), None)

    @settings(max_examples=60)
    @given(st.binary(max_size=200))
    def test_noise_is_a_bad_answer(self, noise: bytes) -> None:
        assert judged(noise) is BadAnswer

    def test_uncompressed_names_as_coredns_sends_them(self) -> None:
        name = dnssd.wire(NAME)
        asked = dnsbytes.question(bytes(name).upper(), SRV)
        srv = name + b"\0\x21\0\1\0\0\0\0" + (6 + len(name)).to_bytes(2) + b"\0\0\0\0\0\7" + name
        address = name + b"\0\1\0\1\0\0\0\0\0\4\xc0\0\2\7"
        wire = b"\0\0\x84\0\0\1\0\1\0\0\0\1" + asked + srv + address
        assert quickly(wire) == judged(wire) == Advertisement(KEY, (Endpoint(IPv4Address("192.0.2.7"), 7),), 0)

    @settings(max_examples=60)
    @given(st.binary(min_size=120, max_size=120))
    def test_letter_case_is_mixed_and_nothing_else(self, noise: bytes) -> None:
        name = dnssd.wire(NAME)
        mixed = dnsbytes.mixed_case(name, noise[: len(name)])
        assert mixed.lower() == name
        letters = sum(bytes((octet,)).isalpha() for octet in name)
        assert len({dnsbytes.mixed_case(name, bytes(len(name))), dnsbytes.mixed_case(name, b"\xff" * len(name))}) == 2
        assert sum(a != b for a, b in zip(name, dnsbytes.mixed_case(name, b"\xff" * len(name)), strict=True)) == letters

    @pytest.mark.parametrize("cookie", [None, bytes(8), bytes(range(40))])
    def test_a_query_as_dnspython_reads_it(self, cookie: bytes | None) -> None:
        message = dns.message.from_wire(dnsbytes.query(7, dnsbytes.question(dnssd.wire(NAME), SRV), cookie))
        assert message.id == 7
        assert [(asked.name, asked.rdtype) for asked in message.question] == [(NAME, SRV)]
        assert message.edns == (-1 if cookie is None else 0)
        assert [option.to_wire() for option in message.options] == ([] if cookie is None else [cookie])
        assert message.payload == (0 if cookie is None else dnsbytes.MAX_UDP)

    def test_the_servers_cookie(self) -> None:
        mine, theirs = b"8 octets", b"16 octets of his"
        asked = dnsbytes.question(dnssd.wire(NAME), SRV)
        assert dnsbytes.server_cookie(dnsbytes.query(7, asked, mine + theirs), mine) == theirs
        assert dnsbytes.server_cookie(dnsbytes.query(7, asked, mine), mine) == b""
        assert dnsbytes.server_cookie(dnsbytes.query(7, asked, mine + b"short"), mine) == b""
        assert dnsbytes.server_cookie(dnsbytes.query(7, asked, b"another!"), mine) is None
        assert dnsbytes.server_cookie(mine, mine) is None


def test_an_answer_for_another_key_is_bad_also_where_its_addresses_are_missing() -> None:
    other = base64.b64encode(bytes(32)).decode()
    wire = reply(query(), ["@ 5 IN SRV 0 0 51820 @"], [f'@ 5 IN TXT "txtvers=1" "pub={other}"'], [])
    with pytest.raises(BadAnswer, match="another key"):
        dnssd.service(dnssd.parse(wire), KEY, NAME)
