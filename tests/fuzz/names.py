# SPDX-License-Identifier: GPL-2.0-or-later
"""Names that a registry for wg.example.com with the peers ALICE, BOB and CAROL knows, and their neighbours."""

from __future__ import annotations

import dns.name

from wgsd_nm.core.dnssd import instance_name, parse_zone, wire
from wgsd_nm.core.model import PublicKey

ZONE = parse_zone("wg.example.com")
ALICE, BOB, CAROL = (PublicKey(letter * 32) for letter in (b"a", b"b", b"c"))
"""With an IPv4 endpoint, with an IPv6 endpoint, without one."""

_PEERS = [wire(instance_name(key, ZONE)) for key in (ALICE, BOB, CAROL, PublicKey(b"x" * 32))]
_OTHERS = (
    "", "_udp", "_wireguard._udp", "_services._dns-sd._udp", "b._dns-sd._udp", "lb._dns-sd._udp", "_dns-sd._udp", "ns1",
    "www", "alice._wireguard._udp",
)  # fmt: skip

NAMES = (
    *_PEERS,
    *(bytes((name[0] - 4,)) + name[1 : name[0] - 3] + name[name[0] + 1 :] for name in _PEERS),  # without the padding
    *(wire(dns.name.from_text(name, ZONE) if name else ZONE) for name in _OTHERS),
    wire(dns.name.from_text("example.com.")),
    wire(dns.name.from_text("wg.example.org.")),
)
