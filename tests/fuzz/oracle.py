# SPDX-License-Identifier: GPL-2.0-or-later
"""What may be believed of the answers that a resolver got, as dnspython reads them. It shares no code with it.

An answer counts if it has the query's identifier and question and dnspython can read it; from it count a service that
is the name's own (over aliases), the addresses of the hosts that services name, and aliases.
"""

from __future__ import annotations

from collections import defaultdict
from ipaddress import IPv4Address, IPv6Address, ip_address

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
from dns.rdataclass import IN
from dns.rdatatype import AAAA, CNAME, SRV, TXT, A

from wgsd_nm.core.model import Endpoint, PublicKey

HEADER = 12
TRUNCATED, BADCOOKIE = 0x02, 7
"""The flag, and the low four bits of the error code, in the octets of a header where they are."""
Addresses = set[IPv4Address | IPv6Address]


def fits(query: bytes, answer: bytes, tcp: bool) -> bool:
    """Whether an answer has the identifier and question of a query: over UDP letter by letter."""
    end = query.index(0, HEADER) + 5
    asked, answered = query[HEADER:end], answer[HEADER:end]
    same = answered.lower() == asked.lower() if tcp else answered == asked
    return same and answer[:2] == query[:2] and answer[4:6] == b"\0\1" and answer[2:3] >= b"\x80"


def leads_to_tcp(query: bytes, answer: bytes) -> bool:
    """Whether an answer over UDP makes a resolver ask over TCP: truncated, in other letters, or asking for a cookie."""
    if not fits(query, answer, tcp=True):
        return False
    return not fits(query, answer, tcp=False) or bool(answer[2] & TRUNCATED) or answer[3] & 0x0F == BADCOOKIE


class Oracle:
    """Collects what answers say, and judges what was made of them."""

    def __init__(self, key: PublicKey, owner: dns.name.Name) -> None:
        self._key = key
        self._owner = owner
        self._services: set[tuple[dns.name.Name, int]] = set()
        """Of all services: whose key it is may be known only when their addresses are."""
        self._addresses: defaultdict[dns.name.Name, Addresses] = defaultdict(set)
        self._aliases: defaultdict[dns.name.Name, set[dns.name.Name]] = defaultdict(set)

    def hear(self, query: bytes, answer: bytes, tcp: bool) -> None:
        """Take an answer for what it is worth."""
        if not fits(query, answer, tcp):
            return
        try:
            asked, read = dns.message.from_wire(query), dns.message.from_wire(answer)
        except Exception:
            return  # what dnspython cannot read is worth nothing
        if not asked.is_response(read) or read.opcode() != dns.opcode.QUERY:
            return
        name, rdtype = asked.question[0].name, asked.question[0].rdtype
        names = {name}
        for _ in read.answer:
            for rrset in read.answer:
                if rrset.name in names and rrset.rdtype == CNAME and rrset.rdclass == IN:
                    names.add(rrset[0].target)
                    self._aliases[rrset.name].add(rrset[0].target)
        if read.rcode() != dns.rcode.NOERROR:
            return
        own = [rrset for rrset in read.answer if rrset.name in names and rrset.rdclass == IN]
        if rdtype == SRV:
            services = {(record.target, record.port) for rrset in own if rrset.rdtype == SRV for record in rrset}
            if self._is_for_another(read, names):
                return
            self._services |= services
            own = [rrset for rrset in read.additional if rrset.rdclass == IN]
        for rrset in own:
            if rrset.rdtype in (A, AAAA):
                self._addresses[rrset.name] |= {_unmapped(record.address) for record in rrset}

    def allows(self, endpoint: Endpoint) -> bool:
        """Whether an answer that counts gave this endpoint."""
        return any(
            port == endpoint.port and any(endpoint.address in self._addresses[name] for name in self._reached({host}))
            for host, port in self._services
        )

    def allows_question(self, query: bytes) -> bool:
        """Whether the peer's own name, or an answer that counts, is the reason for a question."""
        name = dns.message.from_wire(query).question[0].name
        return name in self._reached({self._owner} | {host for host, _ in self._services})

    def _is_for_another(self, read: dns.message.Message, names: set[dns.name.Name]) -> bool:
        """Whether all keys that TXT records of the name tell are another's."""
        keys = {
            string[4:].decode(errors="replace")
            for rrset in read.additional
            if rrset.name in names and rrset.rdtype == TXT and rrset.rdclass == IN
            for record in rrset
            for string in record.strings
            if string.lower().startswith(b"pub=")
        }
        return bool(keys) and str(self._key) not in keys

    def _reached(self, names: set[dns.name.Name]) -> set[dns.name.Name]:
        reached, new = set(names), set(names)
        while new:
            new = {target for name in new for target in self._aliases[name]} - reached
            reached |= new
        return reached


def _unmapped(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
