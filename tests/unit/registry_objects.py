# SPDX-License-Identifier: GPL-2.0-or-later
"""A small device and its zone, and questions to the zone with dnspython as the judge of every answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import dns.flags
import dns.message
import dns.name
from dns.rdatatype import RdataType

from wgsd_nm.core.dnssd import instance_label, parse_zone
from wgsd_nm.core.model import Device, Endpoint, IPNetwork, Peer, PublicKey
from wgsd_nm.registry.query import HEADER, MAX_MESSAGE
from wgsd_nm.registry.zone import Zone

NOW = 1_790_000_000


def key(name: str) -> PublicKey:
    return PublicKey(hashlib.sha256(name.encode()).digest())


def peer(name: str, endpoint: str = "", *allowed: str) -> Peer:
    networks: tuple[IPNetwork, ...] = tuple(IPv6Network(text) if ":" in text else IPv4Network(text) for text in allowed)
    return Peer(key(name), Endpoint.parse(endpoint) if endpoint else None, allowed_ips=networks)


def device(*peers: Peer) -> Device:
    return Device("wg0", key("registry"), 51820, 0, peers)


ALICE = peer("alice", "192.0.2.1:51820", "10.0.0.1/32", "fd00::1/128")
BOB = peer("bob", "[2001:db8::2]:40000", "10.0.0.2/32")
CAROL = peer("carol", "", "10.0.0.3/32")
MAPPED = peer("mapped", "[::ffff:192.0.2.4]:4")
PEERS = (ALICE, BOB, CAROL, MAPPED)
NAME_SERVER = (IPv4Address("10.0.0.254"), IPv6Address("fd00::254"))


def label(name: str) -> str:
    return instance_label(key(name))


def zone_of(*peers: Peer, name: str = "wg.example.com", names: Mapping[PublicKey, str] | None = None) -> Zone:
    zone = Zone(parse_zone(name), addresses=NAME_SERVER, names=names)
    zone.update(peers, NOW)
    return zone


def many(count: int, *allowed: str) -> tuple[Peer, ...]:
    return tuple(peer(f"peer {number}", f"192.0.2.1:{1 + number % 65535}", *allowed) for number in range(count))


def query(name: str, rdtype: str, *, payload: int | None = None) -> dns.message.Message:
    """As a client asks; with EDNS if a payload size is given."""
    edns = {} if payload is None else {"use_edns": 0, "payload": payload}
    return dns.message.make_query(dns.name.from_text(name), RdataType.make(rdtype), **edns)  # type: ignore[arg-type]


def ask_wire(zone: Zone, asked: dns.message.Message, *, datagram: bool = True) -> bytes:
    """A message of what the zone answers to a query, cut to what the client takes."""
    wire = asked.to_wire()
    end = HEADER + len(asked.question[0].name.to_wire() or b"") + 4
    name, rdtype = wire[HEADER : end - 4].lower(), asked.question[0].rdtype
    answer = zone.rendered.get(name + wire[end - 4 : end]) or zone.answer(name, rdtype)
    size = min(max(asked.payload, 512), 1232) if asked.edns >= 0 else 512
    opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0" if asked.edns >= 0 else b""
    cut, truncated = answer.within((size if datagram else MAX_MESSAGE) - end - len(opt))
    counts = cut.header_with_opt if opt else cut.header
    return wire[:2] + bytes((0x84 | truncated << 1,)) + counts + wire[HEADER:end] + cut.records + opt


def ask(zone: Zone, asked: dns.message.Message, *, datagram: bool = True) -> dns.message.Message:
    """What the zone answers to a query, checked to belong to it."""
    answer = dns.message.from_wire(ask_wire(zone, asked, datagram=datagram))
    assert asked.is_response(answer)
    assert [question.name.labels for question in answer.question] == [
        question.name.labels for question in asked.question
    ]
    assert (answer.edns >= 0) == (asked.edns >= 0)
    assert not answer.flags & dns.flags.RA
    return answer


def texts(section: list[dns.rrset.RRset]) -> list[str]:
    """A section's records as a zone file has them, in order."""
    return [
        f"{rrset.name} {rrset.ttl} {RdataType.to_text(rrset.rdtype)} {record}" for rrset in section for record in rrset
    ]
