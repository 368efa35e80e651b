# SPDX-License-Identifier: GPL-2.0-or-later
"""The zone: a WireGuard device's peers as DNS-SD records, rendered once and found in constant time. Knows no sockets.

The shapes are those of wgsd, which its clients rely on: every owner in lower case, whatever the question's case was;
one SRV whose target is its owner; the address and the TXT record in its additional section, in that order. Where wgsd
denies what exists, this answers as the RFCs have it: NODATA and empty non-terminals (RFC 2308, RFC 8020), the apex,
ANY (RFC 8482), and the names by which a browser of RFC 6763 finds the service.

A peer with an endpoint is listed and has SRV, A or AAAA, and TXT. One without has its TXT record only. A browse whose
PTR records alone do not fit a message over TCP (some 920 peers) is truncated even there.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import is_not

import dns.name
from dns.rcode import NOERROR, NXDOMAIN, Rcode
from dns.rdatatype import AAAA, ANY, NS, PTR, SOA, SRV, TXT, A

from wgsd_nm.core import push
from wgsd_nm.core.dnssd import SERVICE, instance_label, wire
from wgsd_nm.core.model import IPAddress, Peer, PublicKey, unmapped
from wgsd_nm.registry import records
from wgsd_nm.registry.query import HEADER, MAX_MESSAGE
from wgsd_nm.registry.records import PEER_TTL, ZONE_TTL, Record

_LABEL_LENGTH = 56
_PADDING = b"===="


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes behind the question: records, back to back, ready to send.

    `ends` are the lengths of `records` after each of them. `needed` of them must be there for the answer to be worth
    anything; if they do not fit, the answer is truncated (TC), while records behind them are left out silently
    (RFC 2181 section 9). `counts` are ANCOUNT, NSCOUNT and ARCOUNT; the octet forms are for the header.
    """

    rcode: Rcode
    counts: tuple[int, int, int]
    records: bytes
    ends: tuple[int, ...]
    needed: int
    header: bytes = field(init=False)
    header_with_opt: bytes = field(init=False)

    def __post_init__(self) -> None:
        answers, authority, additional = self.counts
        object.__setattr__(self, "header", _COUNTS.pack(self.rcode, 1, answers, authority, additional))
        object.__setattr__(self, "header_with_opt", _COUNTS.pack(self.rcode, 1, answers, authority, additional + 1))

    def within(self, room: int) -> tuple[Answer, bool]:
        """The answer cut down to records that fit `room` octets, and whether that made it a truncated one."""
        if len(self.records) <= room:
            return self, False
        kept = bisect_right(self.ends, room)
        left, counts = kept, []
        for count in self.counts:
            counts.append(min(left, count))
            left -= counts[-1]
        answers, authority, additional = counts
        records = self.records[: self.ends[kept - 1] if kept else 0]
        return Answer(self.rcode, (answers, authority, additional), records, (), 0), kept < self.needed


_COUNTS = struct.Struct("!BHHHH")


def _answer(
    answers: Sequence[bytes] = (),
    authority: Sequence[bytes] = (),
    additional: Sequence[bytes] = (),
    *,
    rcode: Rcode = NOERROR,
    needed: int | None = None,
) -> Answer:
    together = (*answers, *authority, *additional)
    ends, length = [], 0
    for record in together:
        length += len(record)
        ends.append(length)
    counts = (len(answers), len(authority), len(additional))
    return Answer(
        rcode, counts, b"".join(together), tuple(ends), len(answers) + len(authority) if needed is None else needed
    )


class Zone:
    """One zone of peers. `update()` is the only place where it changes.

    `rendered` holds answers by question (name in lower case, type and class, as on the wire) for as long as they hold:
    whoever finds one there need not call `answer()`. It never holds more than what the peers account for.

    The name of the service exists even while no peer does, where a browser asks for peers.
    """

    def __init__(
        self,
        name: dns.name.Name,
        *,
        addresses: Iterable[IPAddress] = (),
        names: Mapping[PublicKey, str] | None = None,
        serial: int = 0,
        push_ports: Iterable[int] = (),
    ) -> None:
        """`addresses` are the registry's own, for the name server that the zone's NS record tells of.

        At `push_ports` it takes subscriptions, at the first one rather than at others. `names` are what people call the
        peers, each of MAX_STRING - 5 octets at the most. `serial` is the last one that others may have seen, 0 if there
        was none.
        """
        self.name = name.canonicalize()
        self.apex = wire(self.name)
        self.rendered: dict[bytes, Answer] = {}
        self.serial = serial
        self._updated = False
        self._addresses = tuple(unmapped(address) for address in addresses)
        self._display = dict(names or {})
        self._server = b"\x03ns1" + self.apex
        service_name = dns.name.from_text(SERVICE, self.name)
        self.service = wire(service_name)
        self._names = self._fixed_names(service_name, push_ports)
        self._seen: Sequence[Peer] = ()
        self._labels: dict[bytes, bytes] = {}
        self._peers: dict[bytes, Peer] = {}
        self._listed: tuple[bytes, ...] = ()
        self._set_serial(serial)

    def update(self, peers: Sequence[Peer], now: int) -> Collection[bytes]:
        """Take the peers as they are at `now`, seconds since the epoch. The names whose records changed.

        Only the answers of peers that changed are rendered anew, and only when somebody asks for them. The serial
        becomes the time, or the next number if it has reached that already.
        """
        before, self._seen = self._seen, tuple(peers)
        other = list(compress(zip(before, self._seen, strict=False), map(is_not, before, self._seen)))
        are_the_same = len(before) == len(peers) and all(old.public_key == new.public_key for old, new in other)
        changed = self._renew(other) if are_the_same else self._replace(self._seen)
        names = [name for label in changed for name in self._forget(label)]
        if (changed or not are_the_same) and self._list():
            names.append(self.service)
        if names:
            self.rendered.pop(records.question(self.service, PTR), None)
            names.append(self.apex)  # whose SOA record has the serial
        if names or not self._updated:
            self._updated = True
            self._set_serial(next_serial(self.serial, now))
        return names

    def answer(self, name: bytes, rdtype: int) -> Answer:
        """The answer for a name of the zone, its apex or below, in lower case as on the wire, in class IN."""
        at = HEADER + len(name) + 4
        label = self._label(name)
        if label is not None:
            answer = self._peer_answer(name, at, self._peers[label], rdtype)
        elif name in self._names:
            answer = self._fixed_answer(name, at, rdtype)
        else:
            return self._denied
        if answer is None:
            return self._empty
        if rdtype in _KEPT:
            self.rendered[records.question(name, rdtype)] = answer
        return answer

    def records(self, name: bytes) -> Iterator[Record]:
        """All records of a name in lower case; none where it does not exist."""
        label = self._label(name)
        if label is not None:
            peer = self._peers[label]
            yield from records.of_peer(name, peer.endpoint, self._txt(peer))
            return
        if name == self.apex:
            yield Record(SOA, ZONE_TTL, records.authority_data(self.apex, self._server, self.serial))
        yield from _fixed_records(self._names.get(name, {}))
        if name == self.service:
            for listed in self._listed:
                yield Record(PTR, PEER_TTL, self._instance(listed))

    def soa(self) -> bytes:
        """The SOA record, uncompressed."""
        return self._soa(ZONE_TTL)

    def transfer(self) -> Iterator[bytes]:
        """All records as they are now, whatever changes meanwhile: the SOA record, the others, the SOA record again.

        Each is uncompressed and made when it is asked for. A peer is there by both of its names, as in answers.
        """
        return self._transfer(self.soa(), self._peers)

    def _transfer(self, soa: bytes, peers: Mapping[bytes, Peer]) -> Iterator[bytes]:
        yield soa
        for name, found in self._names.items():
            for one in _fixed_records(found):
                yield records.record(name, *one)
        for label, peer in peers.items():
            if peer.endpoint:
                yield records.record(self.service, PTR, PEER_TTL, self._instance(label))
        for label, peer in peers.items():
            txt = self._txt(peer)
            for owner in self._instances(label):
                for one in records.of_peer(owner, peer.endpoint, txt):
                    yield records.record(owner, *one)
        yield soa

    def _renew(self, pairs: Iterable[tuple[Peer, Peer]]) -> Collection[bytes]:
        """Put what the same peers are now in the place of what they were. The labels of those that say otherwise."""
        changed = {self._labels[new.public_key.raw]: new for old, new in pairs if _says_otherwise(old, new)}
        if changed:
            self._peers = self._peers | changed  # another one, for a transfer may be under way
        return changed

    def _replace(self, peers: Sequence[Peer]) -> Collection[bytes]:
        """Put other peers in the place of those that were there. The labels of those that changed."""
        labels: dict[bytes, bytes] = {}
        found: dict[bytes, Peer] = {}
        before, changed = self._peers, []
        for peer in peers:
            key = peer.public_key.raw
            label = labels[key] = self._labels.get(key) or instance_label(peer.public_key).encode()
            found[label] = peer
            known = before.get(label)
            if known is None or (known is not peer and _says_otherwise(known, peer)):
                changed.append(label)
        changed += before.keys() - found.keys()
        self._labels, self._peers = labels, found
        return changed

    def _list(self) -> bool:
        """List those that have an endpoint. Whether they are others than before."""
        before = self._listed
        self._listed = tuple(label for label, peer in self._peers.items() if peer.endpoint)
        return self._listed != before

    def _fixed_names(
        self, service: dns.name.Name, push_ports: Iterable[int]
    ) -> dict[bytes, dict[int, tuple[bytes, ...]]]:
        """The record data by name and type of all that is not a peer; the empty non-terminals have none."""

        def below(relative: str) -> bytes:
            return wire(dns.name.from_text(relative, self.name))

        server: dict[int, tuple[bytes, ...]] = {
            rdtype: found
            for rdtype, version in ((A, 4), (AAAA, 6))
            if (found := tuple(address.packed for address in self._addresses if address.version == version))
        }
        pushing = tuple(records.service_data(self._server, port, priority) for priority, port in enumerate(push_ports))
        return {
            self.apex: {NS: (self._server,)},  # and SOA, whose serial changes
            **({self._server: server} if server else {}),
            wire(service.parent()): {},
            self.service: {},  # and PTR, one for each peer
            below("_dns-sd._udp"): {},
            below("_services._dns-sd._udp"): {PTR: (self.service,)},  # RFC 6763 section 9
            below("b._dns-sd._udp"): {PTR: (self.apex,)},  # RFC 6763 section 11
            below("lb._dns-sd._udp"): {PTR: (self.apex,)},
            **({below("_tcp"): {}, below(push.SERVICE): {SRV: pushing}} if pushing else {}),
        }

    def _fixed_answer(self, name: bytes, at: int, rdtype: int) -> Answer | None:
        if name == self.apex and rdtype in (SOA, ANY):
            return _answer([self.soa()])
        if name == self.service and rdtype == PTR:
            return self._browse_answer(at) if self._listed else None
        found = self._names[name]
        if rdtype == ANY and (found or (name == self.service and self._listed)):
            return _answer([records.minimal(name)])
        if rdtype not in found:
            return None
        additional: list[bytes] = []
        if rdtype in (NS, SRV):
            additional = [
                records.record(self._server, glue, ZONE_TTL, address)
                for glue, addresses in self._names.get(self._server, {}).items()
                for address in addresses
            ]
        answers = [records.record(name, rdtype, ZONE_TTL, rdata) for rdata in found[rdtype]]
        return _answer(answers, additional=additional)

    def _browse_answer(self, at: int) -> Answer:
        """A PTR record for each listed peer, and behind them all that a browser will ask next (RFC 6763 section 12.1).

        Peer by peer, in the same order, come the SRV record, the address and the TXT record, as long as they fit the
        largest message. What goes beyond that is rendered no further than to show that the answer has to be truncated.
        """
        service = records.pointer(at)
        pointers: list[bytes] = []
        instances: list[bytes] = []  # the owners behind, compressed
        for label in self._listed:
            target = bytes((len(label),)) + label + service
            entry = records.record(service if pointers else self.service, PTR, PEER_TTL, target)
            at += len(entry)
            start = at - len(target)
            instances.append(records.pointer(start) if start <= records.MAX_POINTER else target)
            pointers.append(entry)
            if at > MAX_MESSAGE:
                break
        additional: list[bytes] = []
        for label, owner in zip(self._listed, instances, strict=False):
            found = self._listed_records(label, owner)
            at += sum(map(len, found))
            if at > MAX_MESSAGE:
                break
            additional += found
        return _answer(pointers, additional=additional)

    def _listed_records(self, label: bytes, owner: bytes) -> tuple[bytes, ...]:
        peer = self._peers[label]
        assert peer.endpoint  # as of all that are listed
        family, address = records.address_data(peer.endpoint)
        return (
            records.service(owner, self._instance(label), peer.endpoint.port),
            records.record(owner, family, PEER_TTL, address),
            records.record(owner, TXT, PEER_TTL, self._txt(peer)),
        )

    def _label(self, name: bytes) -> bytes | None:
        """The label, padded, of the peer that a name belongs to."""
        length = name[0]
        if len(name) != 1 + length + len(self.service) or not name.endswith(self.service):
            return None
        label = name[1 : 1 + length]
        if length == _LABEL_LENGTH - len(_PADDING):
            label += _PADDING
        return label if label in self._peers else None

    def _instance(self, label: bytes) -> bytes:
        return bytes((len(label),)) + label + self.service

    def _instances(self, label: bytes) -> tuple[bytes, bytes]:
        """The names that a peer has: its label with and without the padding."""
        return self._instance(label), self._instance(label.removesuffix(_PADDING))

    def _peer_answer(self, name: bytes, at: int, peer: Peer, rdtype: int) -> Answer | None:
        if rdtype == ANY:
            return _answer([records.minimal(name)])
        if rdtype == TXT:
            return _answer([records.record(name, TXT, PEER_TTL, self._txt(peer))])
        if peer.endpoint is None:
            return None
        family, address = records.address_data(peer.endpoint)
        if rdtype == family:
            return _answer([records.record(name, family, PEER_TTL, address)])
        if rdtype != SRV:
            return None
        owner = records.pointer(at)
        return _answer(
            [records.service(name, name, peer.endpoint.port)],
            additional=[
                records.record(owner, family, PEER_TTL, address),
                records.record(owner, TXT, PEER_TTL, self._txt(peer)),
            ],
            needed=2,  # an endpoint is a port and an address
        )

    def _txt(self, peer: Peer) -> bytes:
        return records.text_data(peer, self._display.get(peer.public_key, ""))

    def _set_serial(self, serial: int) -> None:
        self.serial = serial
        soa = self._soa(records.NEGATIVE_TTL)
        self._empty = _answer(authority=[soa])
        self._denied = _answer(authority=[soa], rcode=NXDOMAIN)

    def _soa(self, ttl: int) -> bytes:
        data = records.authority_data(self.apex, self._server, self.serial)
        return records.record(self.apex, SOA, ttl, data)

    def _forget(self, label: bytes) -> tuple[bytes, bytes]:
        """The names of the peer."""
        names = self._instances(label)
        for name in names:
            for rdtype in _KEPT_OF_PEERS:
                self.rendered.pop(records.question(name, rdtype), None)
        return names


def _fixed_records(found: Mapping[int, Iterable[bytes]]) -> Iterator[Record]:
    return (Record(rdtype, ZONE_TTL, rdata) for rdtype, several in found.items() for rdata in several)


def next_serial(serial: int, now: int) -> int:
    """The time if a secondary takes it for newer than `serial`, else the next number (RFC 1982 section 3.2).

    Never 0, which stands for a zone that nobody has seen.
    """
    now &= 0xFFFF_FFFF
    if not serial or 0 < (now - serial) & 0xFFFF_FFFF < 0x8000_0000:
        return now or 1
    return (serial + 1) & 0xFFFF_FFFF or 1


_KEPT_OF_PEERS = (SRV, A, AAAA, TXT)
_KEPT = frozenset((*_KEPT_OF_PEERS, PTR))
"""The types whose answers are kept. None may have an octet from 97 to 122: see Responder."""


def _says_otherwise(known: Peer, peer: Peer) -> bool:
    return known.endpoint != peer.endpoint or known.allowed_ips != peer.allowed_ips
