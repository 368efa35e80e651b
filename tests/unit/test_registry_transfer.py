# SPDX-License-Identifier: GPL-2.0-or-later
"""Transfers: who may, and what goes over TCP, with dnspython's secondary as the judge."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.xfr
import dns.zone
import pytest
from dns.rdatatype import RdataType

from tests.unit.registry_objects import PEERS, many, peer, zone_of
from wgsd_nm.core.model import Endpoint, Peer
from wgsd_nm.registry.config import Secondary
from wgsd_nm.registry.query import MAX_MESSAGE
from wgsd_nm.registry.responder import Question, Responder
from wgsd_nm.registry.signing import Keyring
from wgsd_nm.registry.transfer import MAX_LENGTH, Transfers
from wgsd_nm.registry.zone import Zone

KEY = dns.tsig.Key("a.key.", "A" * 43 + "=")
OTHER = dns.tsig.Key("other.key.", "A" * 43 + "=")
KEYS = Keyring({key.name: key for key in (KEY, OTHER)})
NAME = dns.name.from_text("wg.example.com.")


def secondary(text: str, key: dns.tsig.Key | None = None) -> Secondary:
    return Secondary(Endpoint.parse(text), None if key is None else key.name)


def asked(rdtype: str = "AXFR", *, serial: int | None = None, key: dns.tsig.Key | None = None, edns: int = -1) -> bytes:
    return query(rdtype, serial=serial, key=key, edns=edns).to_wire()


def query(
    rdtype: str = "AXFR", *, serial: int | None = None, key: dns.tsig.Key | None = None, edns: int = -1
) -> dns.message.Message:
    message = dns.message.make_query(NAME, rdtype, use_edns=edns)
    if serial is not None:
        message.authority.append(
            dns.rrset.from_text(NAME, 0, "IN", "SOA", f"ns1.wg.example.com. x. {serial} 60 10 86400 5")
        )
    if key is not None:
        message.use_tsig(key)
        message.to_wire()
    return message


def question(zone: Zone, wire: bytes) -> Question:
    made = Responder([zone], KEYS).examine(wire)
    assert isinstance(made, Question)
    return made


def transferred(zone: Zone, message: dns.message.Message) -> list[bytes]:
    return list(Transfers(KEYS, {zone: ()}).messages(question(zone, message.to_wire())))


def read(messages: Iterable[bytes], asked: dns.message.Message) -> list[dns.message.Message]:
    """As dnspython reads a transfer; with the right signature on each message if the query had one."""
    keyring = {KEY.name: KEY}
    found, context = [], None
    for wire in messages:
        assert len(wire) <= MAX_MESSAGE
        message = dns.message.from_wire(
            wire,
            keyring=keyring,
            request_mac=asked.mac or b"",
            xfr=True,
            tsig_ctx=context,
            multi=True,
            one_rr_per_rrset=True,
        )
        assert message.had_tsig == (asked.keyring is not None)
        assert message.id == asked.id
        context = message.tsig_ctx
        found.append(message)
    return found


def loaded(messages: Iterable[bytes], asked: dns.message.Message) -> dns.zone.Zone:
    """The zone that a secondary has afterwards."""
    zone = dns.zone.Zone(NAME, relativize=False)
    rdtype = asked.question[0].rdtype
    serial = int(asked.authority[0][0].serial) if asked.authority else None
    with dns.xfr.Inbound(zone, rdtype, serial) as inbound:
        done = [inbound.process_message(message) for message in read(messages, asked)]
    assert done[-1]
    assert not any(done[:-1])
    return zone


def content(zone: dns.zone.Zone) -> set[str]:
    return {f"{name} {ttl} {RdataType.to_text(rdata.rdtype)} {rdata}" for name, ttl, rdata in zone.iterate_rdatas()}


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("edns", [-1, 0])
@pytest.mark.parametrize("peers", [(), PEERS, many(300)])
def test_a_transfer_is_the_whole_zone(key: dns.tsig.Key | None, edns: int, peers: tuple[Peer, ...]) -> None:
    zone = zone_of(*peers)
    message = query(key=key, edns=edns)
    messages = transferred(zone, message)
    records = list(zone.transfer())
    found = read(messages, message)
    assert sum(len(one.answer) for one in found) == len(records)
    expected = {one.to_text() for wire in records for one in record(wire)}
    assert {rrset.to_text() for one in found for rrset in one.answer} == expected
    assert [len(one.question) for one in found] == [1] + [0] * (len(found) - 1)
    assert [one.edns for one in found] == [edns] + [-1] * (len(found) - 1)
    assert all(one.flags & dns.flags.AA for one in found)
    assert content(loaded(messages, message))
    if len(peers) == 300:
        assert len(messages) > 5
        assert all(len(wire) > MAX_LENGTH // 2 for wire in messages[:-1])
        assert all(len(wire) <= MAX_LENGTH + 200 for wire in messages)


def record(wire: bytes) -> list[dns.rrset.RRset]:
    return dns.message.from_wire(bytes(4) + b"\0\0\0\1" + bytes(4) + wire).answer


def test_a_record_that_is_larger_than_a_message_should_be_goes_alone() -> None:
    zone = zone_of(peer("huge", "192.0.2.1:1", *(f"10.{a}.{b}.0/24" for a in range(20) for b in range(250))))
    message = query()
    messages = transferred(zone, message)
    assert len(content(loaded(messages, message))) > 3
    assert any(len(wire) > MAX_LENGTH for wire in messages)


def test_ixfr_is_answered_in_full() -> None:
    zone = zone_of(*PEERS)
    for serial in (zone.serial - 1, (zone.serial + 0x8000_0000) & 0xFFFF_FFFF):
        message = query("IXFR", serial=serial, key=KEY)
        assert content(loaded(transferred(zone, message), message)) == content(
            loaded(transferred(zone, full := query()), full)
        )


def test_axfr_is_answered_in_full_whatever_the_client_has() -> None:
    zone = zone_of(*PEERS)
    message = query("AXFR", serial=zone.serial)
    (wire,) = transferred(zone, message)
    assert len(read([wire], message)[0].answer) == len(list(zone.transfer()))


@pytest.mark.parametrize("ahead", [0, 1, 0x7FFF_FFFF])
def test_ixfr_of_those_who_have_it_is_the_soa(ahead: int) -> None:
    zone = zone_of(*PEERS)
    message = query("IXFR", serial=(zone.serial + ahead) & 0xFFFF_FFFF)
    (wire,) = transferred(zone, message)
    (rrset,) = read([wire], message)[0].answer
    assert (rrset.rdtype, rrset[0].serial) == (RdataType.SOA, zone.serial)


def test_what_changes_meanwhile_does_not_tear_a_transfer() -> None:
    """Each transfer has a query of its own: dnspython signs one anew, with the time, whenever it renders it."""
    zone = zone_of(*many(300))
    quiet, torn, later = (query(key=KEY) for _ in range(3))
    before = content(loaded(transferred(zone, quiet), quiet))
    transfers = Transfers(KEYS, {zone: ()})
    first = transfers.messages(question(zone, torn.to_wire()))
    begun = [next(first)]
    zone.update(PEERS, 1_790_000_100)
    second = transfers.messages(question(zone, later.to_wire()))
    begun_second = [next(second)]
    zone.update((), 1_790_000_200)
    assert content(loaded([*begun, *first], torn)) == before
    after = content(loaded([*begun_second, *second], later))
    assert any(" 1790000100 " in text for text in after)
    assert sum(" SRV " in text for text in after) == 6


HERE = "192.0.2.2:53"


@pytest.mark.parametrize(
    ("secondaries", "key", "source", "permitted"),
    [
        ((), None, "192.0.2.2", False),
        ((secondary(HERE),), None, "192.0.2.2", True),
        ((secondary(HERE),), KEY, "192.0.2.2", True),
        ((secondary(HERE),), None, "192.0.2.3", False),
        ((secondary("192.0.2.3:53"),), None, "192.0.2.2", False),
        ((secondary(HERE, KEY),), None, "192.0.2.2", False),
        ((secondary(HERE, KEY),), OTHER, "192.0.2.2", False),
        ((secondary(HERE, KEY),), KEY, "192.0.2.2", True),
        ((secondary(HERE, KEY),), KEY, "192.0.2.3", False),
        ((secondary(HERE, KEY), secondary(HERE, OTHER)), OTHER, "192.0.2.2", True),
        ((secondary(HERE),), None, "::ffff:192.0.2.2", True),
        ((secondary("[::ffff:192.0.2.2]:53"),), None, "192.0.2.2", True),
        ((secondary("[fe80::1]:53"),), None, "fe80::1%eth0", True),
        ((secondary("[2001:db8::1]:53"),), None, "2001:db8::1", True),
    ],
)
def test_only_secondaries_may(
    secondaries: tuple[Secondary, ...], key: dns.tsig.Key | None, source: str, permitted: bool
) -> None:
    zone = zone_of(*PEERS)
    transfers = Transfers(KEYS, {zone: secondaries})
    assert transfers.permits(question(zone, asked(key=key)), source) is permitted


def test_a_zone_without_secondaries_is_nobodys() -> None:
    zone, other = zone_of(), zone_of()
    transfers = Transfers(KEYS, {other: (secondary(HERE),)})
    assert not transfers.permits(question(zone, asked()), "192.0.2.2")
    assert transfers.permits(question(other, asked()), "192.0.2.2")


def test_who_may_not_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    zone = zone_of()
    transfers = Transfers(KEYS, {zone: (secondary(HERE, KEY), secondary(HERE, OTHER))})
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            transfers.permits(question(zone, asked()), "192.0.2.2")
            transfers.permits(question(zone, asked(key=KEY)), "192.0.2.3")
        transfers.permits(question(zone, asked(key=KEY)), "192.0.2.2")
    assert caplog.messages == [
        "192.0.2.2 may not transfer wg.example.com: expected a query signed with the key a.key or other.key",
        "192.0.2.3 may not transfer wg.example.com: it is not among its secondaries",
    ]
