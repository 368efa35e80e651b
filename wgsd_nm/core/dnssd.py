# SPDX-License-Identifier: GPL-2.0-or-later
"""Peers as DNS-SD instances (RFC 6763): their names, and what an answer says of them. It knows nothing of sockets.

A peer is the instance `<base32 of its key>._wireguard._udp.<zone>`. Its SRV record (RFC 2782) holds the endpoint's port
and names a target, whose A or AAAA is the endpoint's address; its TXT record repeats the key as `pub=`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import dns.flags
import dns.name
import dns.opcode
import dns.rcode
from dns.rdataclass import IN
from dns.rdatatype import AAAA, CNAME, SOA, SRV, TXT, A, RdataType

from wgsd_nm.core import push
from wgsd_nm.core.errors import BadAnswer, InvalidValue, NoEndpoint, NoSuchPeer, RegistryRefused
from wgsd_nm.core.model import KEY_LENGTH, Advertisement, Endpoint, IPAddress, PublicKey, shown, unmapped

if TYPE_CHECKING:
    from dns.message import Message
    from dns.rrset import RRset

# dns.message costs 25 ms and 2 MB at start-up and the usual answer (dnsbytes) never needs it, so parse() imports it.

SERVICE: Final = "_wireguard._udp"
MAX_NAME: Final = 255
"""Octets of a name on the wire (RFC 1035 section 3.1)."""
MAX_ALIASES: Final = 8
"""CNAME records that are followed from one name."""
MAX_TTL: Final = 0x7FFF_FFFF
"""Seconds (RFC 2181 section 8)."""
MAX_ENDPOINTS: Final = 16
MAX_DISPLAY_NAME: Final = 63

_SERVICE_LABELS: Final = tuple(label.encode() for label in SERVICE.split("."))
_SERVICE_WIRE: Final = b"".join(bytes((len(label),)) + label for label in _SERVICE_LABELS)
_PADDING: Final = "===="
_LABEL_LENGTH: Final = 52
_ZONE_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


@lru_cache(maxsize=4096)
def instance_label(key: PublicKey) -> str:
    """The first label of a peer's name: 52 lower-case letters of base32 and the padding `====`."""
    return base64.b32encode(key.raw).decode().lower()


def key_from_label(label: str) -> PublicKey:
    """The key that a label stands for, padded or not, in any case. Raises InvalidValue."""
    text = label.removesuffix(_PADDING)
    if label.isascii() and len(text) == _LABEL_LENGTH:
        try:
            key = PublicKey(base64.b32decode(text.upper() + _PADDING))
        except ValueError:
            pass
        else:
            if instance_label(key) == text.lower() + _PADDING:  # the last letter has four bits to spare
                return key
    raise InvalidValue(
        f"{shown(label)} is not the base32 form of a WireGuard public key: expected {_LABEL_LENGTH} letters and digits "
        f"2 to 7, with or without {_PADDING} behind them"
    )


def parse_zone(text: str) -> dns.name.Name:
    """The zone that holds the peers' names: a domain name in any case, the final dot is optional. Raises InvalidValue.

    Refused are the root, `.local` (which is multicast DNS, RFC 6762 section 3), and a zone so long that a peer's name
    in it would pass 255 octets.
    """
    labels = text.lower().removesuffix(".").split(".")
    if not text.isascii() or not all(_ZONE_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise InvalidValue(f"{shown(text)} is not a zone: expected a domain name like wg.example.com")
    if labels[-1] == "local":
        raise InvalidValue(
            f"{shown(text)} cannot be a zone: .local belongs to multicast DNS; use a domain of yours, or wg.home.arpa"
        )
    zone = dns.name.Name([*(label.encode() for label in labels), b""])
    try:
        instance_name(PublicKey(bytes(KEY_LENGTH)), zone)
    except dns.name.NameTooLong:
        raise InvalidValue(
            f"{shown(text)} is too long for a zone: the name of a peer in it would pass {MAX_NAME} octets"
        ) from None
    return zone


def instance_name(key: PublicKey, zone: dns.name.Name) -> dns.name.Name:
    """The name of a peer in a zone."""
    return dns.name.Name((instance_label(key).encode(), *_SERVICE_LABELS, *zone.labels))


def wire(name: dns.name.Name) -> bytes:
    """A name as it goes over the wire, uncompressed (RFC 1035 section 3.1)."""
    return b"".join(bytes((len(label),)) + label for label in name.labels)


def instance_wire(key: PublicKey, zone: bytes) -> bytes:
    """The name of a peer in a zone, both on the wire: what `wire(instance_name())` is, at a tenth of its cost."""
    return b"%c%s%s%s" % (len(_PADDING) + _LABEL_LENGTH, instance_label(key).encode(), _SERVICE_WIRE, zone)


def push_name(zone: dns.name.Name) -> dns.name.Name:
    """Where a zone names its push service (SRV)."""
    return dns.name.Name((*(label.encode() for label in push.SERVICE.split(".")), *zone.labels))


@dataclass(frozen=True, slots=True)
class Target:
    """A host and port that an SRV record names, with the addresses that came along: () where they have to be asked."""

    host: dns.name.Name
    port: int
    addresses: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """What the SRV answer for one peer says: targets, best first, and the strings of each TXT record."""

    public_key: PublicKey
    targets: tuple[Target, ...]
    txt: tuple[tuple[bytes, ...], ...]
    ttl: int

    def advertisement(self) -> Advertisement:
        """All of it as an advertisement. Raises BadAnswer."""
        candidates = ((address, target.port) for target in self.targets for address in target.addresses)
        return advertised(self.public_key, candidates, self.txt, self.ttl)


@dataclass(frozen=True, slots=True)
class Alias:
    """The name asked for is another's (CNAME), of which the answer says nothing more: that one is to be asked."""

    name: dns.name.Name
    ttl: int


def parse(answer: bytes) -> Message:
    """A DNS message from the wire. Raises BadAnswer."""
    import dns.message

    try:
        return dns.message.from_wire(answer)
    except Exception as error:  # some record types raise more than DNSException for octets from a hostile hand
        raise BadAnswer(f"the registry sent a malformed DNS message: {type(error).__name__}") from error


def advertisement(message: Message, key: PublicKey, zone: dns.name.Name) -> Advertisement:
    """What the answer to the SRV question for a peer says of it. Raises LookupFailed's children.

    The answer must be whole: one that names a host without its address is a BadAnswer here. Whoever can ask again
    takes `service()` and `addresses()`.
    """
    match service(message, key, instance_name(key, zone)):
        case Alias(name):
            raise BadAnswer(f"the registry says that {key} is an alias of {name}, and nothing more")
        case Service() as found:
            return found.advertisement()


def service(message: Message, key: PublicKey, owner: dns.name.Name) -> Service | Alias:
    """What the answer to the SRV question for `owner` says of the peer. Raises LookupFailed's children.

    Targets are ordered by priority, then by weight, heaviest first. RFC 2782's draw by weight, meant to spread many
    clients over many hosts, would only make a peer's endpoint flap.
    """
    answer = _records(message, owner, SRV, f"the peer {key}")
    if isinstance(answer, Alias):
        return answer
    found, ttl = answer
    records = sorted(found, key=lambda record: (record.priority, -record.weight, record.target, record.port))
    records = [record for record in records if record.target != dns.name.root]
    if not records:
        raise NoEndpoint(f"the registry says that the peer {key} has no endpoint", ttl)
    hosts = {record.target for record in records}
    texts = _additional(message, {owner, found.name}, {TXT})
    _require_same(key, attributes(record.strings for rrset in texts for record in rrset))
    addresses = _additional(message, hosts, {A, AAAA})
    targets = tuple(
        Target(
            record.target,
            record.port,
            tuple(ip_address(item.address) for rrset in addresses if rrset.name == record.target for item in rrset),
        )
        for record in records
    )
    return Service(
        key,
        targets,
        tuple(record.strings for rrset in texts for record in rrset),
        min([ttl, *(rrset.ttl for rrset in (*texts, *addresses))]),
    )


def addresses(message: Message, host: dns.name.Name, rdtype: RdataType) -> tuple[tuple[IPAddress, ...], int] | Alias:
    """The addresses of a host in the answer to its A or AAAA question, and their TTL. Raises LookupFailed's children.

    Both families are taken whatever the question was: wgsd answers AAAA with the A record that it has.
    """
    found = _records(message, host, rdtype, f"the host {host}", also=(A, AAAA))
    if isinstance(found, Alias):
        return found
    records, ttl = found
    return tuple(ip_address(record.address) for record in records), ttl


def push_port(message: Message, zone: dns.name.Name) -> int:
    """The port of the push service in the answer to the SRV question for it. Raises LookupFailed's children.

    The host that it names does not matter: whoever was asked is to push.
    """
    owner = push_name(zone)
    found = _records(message, owner, SRV, f"the push service {owner}")
    if isinstance(found, Alias):
        raise NoEndpoint(f"the registry says that its push service {owner} is another's", found.ttl)
    records, ttl = found
    best = min(records, key=lambda record: (record.priority, -record.weight, record.port))
    if not best.port or best.target == dns.name.root:
        raise NoEndpoint(f"the registry says that there is no push service {owner}", ttl)
    return int(best.port)


def advertised(
    key: PublicKey, candidates: Iterable[tuple[IPAddress, int]], txt: Iterable[Sequence[bytes]], ttl: int
) -> Advertisement:
    """The advertisement from an answer's parts: addresses with ports, best first, and TXT records. Raises BadAnswer.

    IPv4-mapped addresses become IPv4. Port 0 and the unspecified address, which wgsd serves for itself when it does not
    know better, are left out, and are a BadAnswer if nothing else is there.
    """
    txt_keys = attributes(txt)
    _require_same(key, txt_keys)
    endpoints: list[Endpoint] = []
    for address, port in candidates:
        address = unmapped(address)
        if port and not address.is_unspecified and len(endpoints) < MAX_ENDPOINTS:
            endpoint = Endpoint(address, port)
            if endpoint not in endpoints:
                endpoints.append(endpoint)
    if not endpoints:
        raise BadAnswer(f"the registry's record for the peer {key} holds no address and port that could be used")
    name = dict(txt_keys).get("name", "").strip()[:MAX_DISPLAY_NAME]
    return Advertisement(key, tuple(endpoints), ttl, name, txt_keys)


def _require_same(key: PublicKey, txt_keys: Iterable[tuple[str, str]]) -> None:
    """Raises BadAnswer where the TXT record names another peer's key."""
    said = dict(txt_keys).get("pub", str(key))
    if said != str(key):
        raise BadAnswer(f"the registry answered for another key than {key}: its TXT record says {shown(said)}")


def attributes(txt: Iterable[Sequence[bytes]]) -> tuple[tuple[str, str], ...]:
    """The keys, in lower case, and values of TXT records (RFC 6763 section 6), for showing: printable text only.

    The first of equal keys counts; a string without a key is ignored; a record of another version than `txtvers=1`
    is not ours to read; what is no printable text becomes U+FFFD.
    """
    found: dict[str, str] = {}
    for strings in txt:
        record: dict[str, str] = {}
        for string in strings:
            name, _, value = _printable(string).partition("=")
            if name:
                record.setdefault(name.lower(), value)
        if record.get("txtvers", "1") == "1":
            for name, value in record.items():
                found.setdefault(name, value)
    return tuple(found.items())


def _printable(text: bytes) -> str:
    decoded = text.decode(errors="replace")
    if decoded.isprintable():
        return decoded
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in decoded)


def _records(
    message: Message, owner: dns.name.Name, rdtype: RdataType, what: str, also: Sequence[RdataType] = ()
) -> tuple[RRset, int] | Alias:
    """The records that answer the question (`owner`, `rdtype`), over aliases. Raises LookupFailed's children.

    With the TTL that the aliases leave them. `what` is the thing asked for, as an error names it.
    """
    _check_question(message, owner, rdtype)
    if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise RegistryRefused(f"the registry answered {dns.rcode.to_text(message.rcode())} to the question for {what}")
    name, ttl = owner, MAX_TTL
    for _ in range(MAX_ALIASES + 1):
        for kind in (rdtype, *also):
            found = message.get_rrset(message.answer, name, IN, kind)
            if found and message.rcode() == dns.rcode.NOERROR:
                return found, min(found.ttl, ttl)
        alias = message.get_rrset(message.answer, name, IN, CNAME)
        if not alias:
            break
        name, ttl = alias[0].target, min(ttl, alias.ttl)
    else:
        raise BadAnswer(f"the registry's aliases for {what} go round in a circle")
    denial = _denial(message, name)
    if message.rcode() == dns.rcode.NXDOMAIN:
        raise NoSuchPeer(f"the registry does not know {what}", denial or 0)
    if denial is None and name != owner:
        return Alias(name, ttl)
    if denial is None and message.authority:
        raise RegistryRefused(f"the server is no registry of this zone: it refers to others for {what}")
    raise NoEndpoint(f"the registry has no endpoint for {what}", denial or 0)


def _check_question(message: Message, owner: dns.name.Name, rdtype: RdataType) -> None:
    question = [(asked.name, asked.rdclass, asked.rdtype) for asked in message.question]
    if question != [(owner, IN, rdtype)] or not message.flags & dns.flags.QR or message.opcode() != dns.opcode.QUERY:
        raise BadAnswer(f"the registry answered another question than the one for {owner}")


def _denial(message: Message, name: dns.name.Name) -> int | None:
    """The TTL of a negative answer (RFC 2308 section 5); None where no SOA record says so."""
    for rrset in message.authority:
        if rrset.rdtype == SOA and rrset.rdclass == IN and name.is_subdomain(rrset.name):
            return min(rrset.ttl, int(rrset[0].minimum))
    return None


def _additional(message: Message, owners: set[dns.name.Name], rdtypes: set[RdataType]) -> list[RRset]:
    return [
        rrset
        for rrset in message.additional
        if rrset.rdclass == IN and rrset.name in owners and rrset.rdtype in rdtypes
    ]
