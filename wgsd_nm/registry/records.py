# SPDX-License-Identifier: GPL-2.0-or-later
"""DNS records as octets: the shapes of those that a zone of peers has. Pure; knows neither zones nor messages."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dns.rdataclass import IN
from dns.rdatatype import AAAA, HINFO, SRV, TXT, A, RdataType

from wgsd_nm.core.model import Endpoint, IPNetwork, Peer, unmapped

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
"""Octets of allowed IPs in a TXT record; those beyond are left out, so that an SRV answer fits a message over TCP."""
MAX_POINTER = 0x3FFF
"""The last offset that a compressed name can point to (RFC 1035 section 4.1.4)."""

_RECORD = struct.Struct("!HHIH")
_SRV = struct.Struct("!HHH")
_SOA_TIMES = struct.Struct("!IIIII")
_QUESTION = struct.Struct("!HH")
_HINFO_RFC8482 = b"\x07RFC8482\x00"


class Record(NamedTuple):
    """One record of a name, in class IN. `rdata` is uncompressed."""

    rdtype: int
    ttl: int
    rdata: bytes


def pointer(offset: int) -> bytes:
    """A compressed name (RFC 1035 section 4.1.4)."""
    return (0xC000 | offset).to_bytes(2)


def question(name: bytes, rdtype: int) -> bytes:
    """A question in class IN (RFC 1035 section 4.1.2)."""
    return name + _QUESTION.pack(rdtype, IN)


def record(owner: bytes, rdtype: int, ttl: int, rdata: bytes) -> bytes:
    """A record in class IN (RFC 1035 section 3.2.1)."""
    return owner + _RECORD.pack(rdtype, IN, ttl, len(rdata)) + rdata


def authority_data(apex: bytes, server: bytes, serial: int) -> bytes:
    """The data of a zone's SOA record, with postmaster of the zone as the mailbox."""
    times = _SOA_TIMES.pack(serial, REFRESH, RETRY, EXPIRE, NEGATIVE_TTL)
    return server + b"\x0apostmaster" + apex + times


def service_data(target: bytes, port: int, priority: int = 0) -> bytes:
    """The data of an SRV record. The target is never compressed (RFC 2782)."""
    return _SRV.pack(priority, 0, port) + target


def service(owner: bytes, target: bytes, port: int) -> bytes:
    """A peer's SRV record."""
    return record(owner, SRV, PEER_TTL, service_data(target, port))


def of_peer(owner: bytes, endpoint: Endpoint | None, text: bytes) -> Iterator[Record]:
    """All records of one of a peer's names; `text` are the TXT record's data."""
    if endpoint:
        family, address = address_data(endpoint)
        yield Record(SRV, PEER_TTL, service_data(owner, endpoint.port))
        yield Record(family, PEER_TTL, address)
    yield Record(TXT, PEER_TTL, text)


def minimal(owner: bytes) -> bytes:
    """The record that answers a question for ANY (RFC 8482 section 4.2)."""
    return record(owner, HINFO, ZONE_TTL, _HINFO_RFC8482)


def address_data(endpoint: Endpoint) -> tuple[RdataType, bytes]:
    """Type and data of an endpoint's A or AAAA record."""
    address = unmapped(endpoint.address)
    return (A if address.version == 4 else AAAA), address.packed


def text_data(peer: Peer, name: str) -> bytes:
    """The data of a peer's TXT record: wgsd's three strings, then name=, then allowed2= ... where one is not enough.

    The name goes before the further allowed IPs, which may be so many that no reader shows what is behind them.
    """
    allowed, *more = _allowed(peer.allowed_ips)
    strings = [b"txtvers=1", f"pub={peer.public_key}".encode(), allowed]
    if name:
        strings.append(f"name={name}".encode())
    return b"".join(bytes((len(string),)) + string for string in (*strings, *more))


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
