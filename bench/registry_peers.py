# SPDX-License-Identifier: GPL-2.0-or-later
"""The peers that the registry's bench is about, in every form that a server or a generator wants. No I/O.

Peer number N is the same everywhere: in the kernel, in NSD's zone file, in the questions. Each has an IPv4 endpoint and
two allowed IPs.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from wgsd_nm.core.dnssd import SERVICE, instance_name, parse_zone
from wgsd_nm.core.model import Endpoint, Peer, PublicKey

ZONE = parse_zone("wg.example.com")
KEEPALIVE = 25
"""Seconds."""
FEWEST = 1000
"""Lines in a file of questions that dnsperf reads again and again."""
MISSES = 10_000


def peer(number: int) -> Peer:
    """The peer of that number."""
    return Peer(
        _key(f"peer {number}"),
        Endpoint(IPv4Address("198.18.0.0") + number, 1024 + number),
        persistent_keepalive=KEEPALIVE,
        allowed_ips=(IPv4Network((0x0A000000 + number, 32)), IPv6Network((0xFD00 << 112 | number, 128))),
    )


def settings(count: int) -> str:
    """What `wg setconf` takes."""
    return "".join(
        f"[Peer]\nPublicKey={each.public_key}\nEndpoint={each.endpoint}\nPersistentKeepalive={KEEPALIVE}\n"
        f"AllowedIPs={', '.join(map(str, each.allowed_ips))}\n"
        for each in map(peer, range(count))
    )


def zone_file(count: int) -> str:
    """The zone that the registry would serve, as a master file (RFC 1035 section 5)."""
    return "\n".join(("$TTL 0", *_records(map(peer, range(count))), ""))


def _records(peers: Iterable[Peer]) -> Iterator[str]:
    yield f"{ZONE} 60 IN SOA ns1.{ZONE} postmaster.{ZONE} 1 60 10 86400 5"
    yield f"{ZONE} 60 IN NS ns1.{ZONE}"
    yield f"ns1.{ZONE} 60 IN A 127.0.0.1"
    for each in peers:
        assert each.endpoint is not None
        name = instance_name(each.public_key, ZONE)
        allowed = ",".join(map(str, each.allowed_ips))
        yield f"{SERVICE}.{ZONE} IN PTR {name}"
        yield f"{name} IN SRV 0 0 {each.endpoint.port} {name}"
        yield f"{name} IN A {each.endpoint.address}"
        yield f'{name} IN TXT "txtvers=1" "pub={each.public_key}" "allowed={allowed}"'


def hits(count: int, length: int = 0) -> str:
    """dnsperf's questions: the SRV records of peers, each as often as the others, in random order."""
    names = [str(instance_name(peer(number).public_key, ZONE)) for number in range(count)]
    lines = [f"{names[number % count]} SRV" for number in range(length or max(count, FEWEST))]
    random.Random(0).shuffle(lines)
    return "\n".join((*lines, ""))


def misses(length: int = MISSES) -> str:
    """dnsperf's questions: the SRV records of keys that no peer has."""
    return "\n".join((*(f"{instance_name(_key(f'nobody {number}'), ZONE)} SRV" for number in range(length)), ""))


def _key(seed: str) -> PublicKey:
    return PublicKey(hashlib.sha256(seed.encode()).digest())
