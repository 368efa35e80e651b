# SPDX-License-Identifier: GPL-2.0-or-later
"""The zone: a WireGuard device's peers as DNS-SD records, rendered once and found in constant time. Knows no sockets.

The shapes are those of wgsd, which its clients rely on: every owner in lower case, whatever the question's case was;
one SRV whose target is its owner; the address and the TXT record in its additional section, in that order. Where wgsd
denies what exists, this answers as the RFCs have it: NODATA and empty non-terminals (RFC 2308, RFC 8020), the apex,
ANY (RFC 8482), and the names by which a browser of RFC 6763 finds the service.

A peer with an endpoint is listed and has SRV, A or AAAA, and TXT. One without has its TXT record only.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from itertools import chain, repeat

import dns.name
from dns.rcode import NOERROR, NXDOMAIN, Rcode
from dns.rdataclass import IN
from dns.rdatatype import AAAA, ANY, HINFO, NS, PTR, SOA, SRV, TXT, A, RdataType

from wgsd_nm.core.dnssd import SERVICE, instance_label
from wgsd_nm.core.model import Device, Endpoint, IPAddress, IPNetwork, Peer

HEADER = 12
"""Octets of a message before the question (RFC 1035 section 4.1.1)."""
PEER_TTL = 0
"""Seconds; what wgsd's clients saw."""
ZONE_TTL = 60
"""Seconds, for what does not depend on a peer's endpoint."""
NEGATIVE_TTL = 5
"""Seconds; the SOA's MINIMUM (RFC 2308 section 5): so long may a peer that just joined be denied by a cache."""
REFRESH, RETRY, EXPIRE = 60, 10, 86400
"""Seconds, for secondaries (RFC 1035 section 3.3.13)."""
MAX_STRING = 255
"""Octets of a character-string (RFC 1035 section 3.3)."""
MAX_TXT = 48 * 1024
"""Octets of a TXT record; allowed IPs beyond are left out, so that an SRV answer always fits a message over TCP."""

_LABEL_LENGTH = 56
_PADDING = b"===="
_HINFO_RFC8482 = b"\x07RFC8482\x00"


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
_RECORD = struct.Struct("!HHIH")
_SRV = struct.Struct("!HHH")
_SOA_TIMES = struct.Struct("!IIIII")


def _answer(
    answers: Sequence[bytes] = (),
    authority: Sequence[bytes] = (),
    additional: Sequence[bytes] = (),
    *,
    rcode: Rcode = NOERROR,
    needed: int | None = None,
) -> Answer:
    records = (*answers, *authority, *additional)
    ends, length = [], 0
    for record in records:
        length += len(record)
        ends.append(length)
    counts = (len(answers), len(authority), len(additional))
    return Answer(
        rcode, counts, b"".join(records), tuple(ends), len(answers) + len(authority) if needed is None else needed
    )


def _record(owner: bytes, rdtype: int, ttl: int, rdata: bytes) -> bytes:
    return owner + _RECORD.pack(rdtype, IN, ttl, len(rdata)) + rdata


def _pointer(offset: int) -> bytes:
    """A compressed name (RFC 1035 section 4.1.4)."""
    return (0xC000 | offset).to_bytes(2)


class Zone:
    """One zone over one device. `update()` is the only place where it changes.

    `rendered` holds answers by question (name in lower case, type and class, as on the wire) for as long as they hold:
    whoever finds one there need not call `answer()`. It never holds more than what the peers account for.
    """

    def __init__(self, name: dns.name.Name, *, addresses: Iterable[IPAddress] = ()) -> None:
        """`addresses` are the registry's own, for the name server that the zone's NS record tells of."""
        self.name = name.canonicalize()
        self.rendered: dict[bytes, Answer] = {}
        self.serial = 0
        self._apex = _wire(self.name)
        self._addresses = tuple(addresses)
        self._server = b"\x03ns1" + self._apex
        service = dns.name.from_text(SERVICE, self.name)
        self._browse = _wire(service)
        self._names = self._fixed_names(service)
        self._labels: dict[bytes, bytes] = {}
        self._peers: dict[bytes, Peer] = {}
        self._listed: tuple[bytes, ...] = ()
        self._set_serial(0)

    def update(self, device: Device, now: int) -> bool:
        """Take a device as it is at `now`, seconds since the epoch. Whether anything that is answered changed.

        Only the answers of peers that changed are rendered anew, and only when somebody asks for them. The serial
        becomes the time, or the next number if it has reached that already.
        """
        labels, peers, changed = {}, {}, False
        before = self._peers
        for peer in device.peers:
            key = peer.public_key.raw
            label = labels[key] = self._labels.get(key) or instance_label(peer.public_key).encode()
            peers[label] = peer
            known = before.get(label)
            if known is not peer and (known is None or _says_otherwise(known, peer)):
                self._forget(label)
                changed = True
        for label in before.keys() - peers.keys():
            self._forget(label)
            changed = True
        self._labels, self._peers = labels, peers
        listed = tuple(label for label, peer in peers.items() if peer.endpoint)
        if listed != self._listed:
            self._listed = listed
            self.rendered.pop(_question(self._browse, PTR), None)
            changed = True
        if changed or not self.serial:
            self._set_serial(max(self.serial + 1, now) & 0xFFFF_FFFF)
        return changed

    def contains(self, name: bytes) -> bool:
        """Whether a name, in lower case as on the wire, is the zone's apex or below it."""
        return any(suffix == self._apex for suffix in _suffixes(name))

    def answer(self, name: bytes, rdtype: int) -> Answer:
        """The answer for a name that the zone contains, in lower case as on the wire, in class IN."""
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
            self.rendered[_question(name, rdtype)] = answer
        return answer

    def _fixed_names(self, service: dns.name.Name) -> dict[bytes, dict[int, tuple[bytes, ...]]]:
        """The record data by name and type of all that is not a peer; the empty non-terminals have none."""

        def wire(relative: str) -> bytes:
            return _wire(dns.name.from_text(relative, self.name))

        server: dict[int, tuple[bytes, ...]] = {
            rdtype: found
            for rdtype, version in ((A, 4), (AAAA, 6))
            if (found := tuple(address.packed for address in self._addresses if address.version == version))
        }
        return {
            self._apex: {NS: (self._server,)},  # and SOA, whose serial changes
            self._server: server,
            _wire(service.parent()): {},
            self._browse: {},  # and PTR, one for each peer
            wire("_dns-sd._udp"): {},
            wire("_services._dns-sd._udp"): {PTR: (self._browse,)},  # RFC 6763 section 9
            wire("b._dns-sd._udp"): {PTR: (self._apex,)},  # RFC 6763 section 11
            wire("lb._dns-sd._udp"): {PTR: (self._apex,)},
        }

    def _fixed_answer(self, name: bytes, at: int, rdtype: int) -> Answer | None:
        if name == self._apex and rdtype in (SOA, ANY):
            return _answer([self._soa(ZONE_TTL)])
        if name == self._browse and rdtype == PTR:
            if not self._listed:
                return None
            first = _pointer(at)
            owners = chain((name,), repeat(first))
            targets = (bytes((_LABEL_LENGTH,)) + label + first for label in self._listed)
            return _answer(
                [_record(owner, PTR, PEER_TTL, target) for owner, target in zip(owners, targets, strict=False)]
            )
        found = self._names[name]
        if rdtype == ANY and (found or (name == self._browse and self._listed)):
            return _any(name)
        if rdtype not in found:
            return None
        additional: list[bytes] = []
        if rdtype == NS:
            additional = [
                _record(self._server, glue, ZONE_TTL, address)
                for glue, addresses in self._names[self._server].items()
                for address in addresses
            ]
        answers = [_record(name, rdtype, ZONE_TTL, rdata) for rdata in found[rdtype]]
        return _answer(answers, additional=additional)

    def _label(self, name: bytes) -> bytes | None:
        """The label, padded, of the peer that a name belongs to."""
        length = name[0]
        if len(name) != 1 + length + len(self._browse) or not name.endswith(self._browse):
            return None
        label = name[1 : 1 + length]
        if length == _LABEL_LENGTH - len(_PADDING):
            label += _PADDING
        return label if label in self._peers else None

    def _peer_answer(self, name: bytes, at: int, peer: Peer, rdtype: int) -> Answer | None:
        if rdtype == ANY:
            return _any(name)
        if rdtype == TXT:
            return _answer([_record(name, TXT, PEER_TTL, _txt(peer))])
        if peer.endpoint is None:
            return None
        family, address = _address(peer.endpoint)
        if rdtype == family:
            return _answer([_record(name, family, PEER_TTL, address)])
        if rdtype != SRV:
            return None
        owner = _pointer(at)
        service = _SRV.pack(0, 0, peer.endpoint.port) + name  # a target is never compressed (RFC 2782)
        return _answer(
            [_record(name, SRV, PEER_TTL, service)],
            additional=[_record(owner, family, PEER_TTL, address), _record(owner, TXT, PEER_TTL, _txt(peer))],
            needed=2,  # an endpoint is a port and an address
        )

    def _set_serial(self, serial: int) -> None:
        self.serial = serial
        soa = self._soa(NEGATIVE_TTL)
        self._empty = _answer(authority=[soa])
        self._denied = _answer(authority=[soa], rcode=NXDOMAIN)

    def _soa(self, ttl: int) -> bytes:
        times = _SOA_TIMES.pack(self.serial, REFRESH, RETRY, EXPIRE, NEGATIVE_TTL)
        return _record(self._apex, SOA, ttl, self._server + b"\x0apostmaster" + self._apex + times)

    def _forget(self, label: bytes) -> None:
        for form in (label, label.removesuffix(_PADDING)):
            name = bytes((len(form),)) + form + self._browse
            for rdtype in _KEPT_OF_PEERS:
                self.rendered.pop(_question(name, rdtype), None)


_KEPT_OF_PEERS = (SRV, A, AAAA, TXT)
_KEPT = frozenset((*_KEPT_OF_PEERS, PTR))
"""The types whose answers are kept. None may have an octet from 97 to 122: see Responder."""


def _question(name: bytes, rdtype: int) -> bytes:
    return name + struct.pack("!HH", rdtype, IN)


def _wire(name: dns.name.Name) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in name.labels)


def _suffixes(name: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(name):
        yield name[at:]
        at += 1 + name[at]


def _says_otherwise(known: Peer, peer: Peer) -> bool:
    return known.endpoint != peer.endpoint or known.allowed_ips != peer.allowed_ips


def _any(name: bytes) -> Answer:
    return _answer([_record(name, HINFO, ZONE_TTL, _HINFO_RFC8482)])


def _address(endpoint: Endpoint) -> tuple[RdataType, bytes]:
    address = endpoint.address
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return (A if address.version == 4 else AAAA), address.packed


def _txt(peer: Peer) -> bytes:
    """The data of a peer's TXT record: wgsd's three strings, then allowed2=, allowed3= ... where one is not enough."""
    strings = [b"txtvers=1", f"pub={peer.public_key}".encode(), *_allowed(peer.allowed_ips)]
    return b"".join(bytes((len(string),)) + string for string in strings)


def _allowed(networks: Iterable[IPNetwork]) -> Iterator[bytes]:
    string, room = b"allowed=", MAX_TXT
    count, filled = 1, False
    for network in networks:
        text = str(network).encode()
        if filled and len(string) + 1 + len(text) > MAX_STRING:
            room -= 1 + len(string)
            if room < 2 * MAX_STRING:
                break
            yield string
            count += 1
            string, filled = b"allowed%d=" % count, False
        string += b"," + text if filled else text
        filled = True
    yield string
