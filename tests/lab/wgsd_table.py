# SPDX-License-Identifier: GPL-2.0-or-later
"""The table: what wgsd and our registry answer to the same query about the same devices. Knows no sockets.

Where the contract with wgsd's clients says so the answers are EQUAL: code, flags, and all records in order. Where wgsd
is wrong both answers stand here, with the reason why they differ; one that stops differing is a fault of the table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.lab.wgsd_talk import SILENCE, Query
from wgsd_nm.core.model import PublicKey

SERVICE = "_wireguard._udp"
RD, CD, AD, TC, QR = 0x0100, 0x0010, 0x0020, 0x0200, 0x8000
"""Flags of the header."""
MANY = tuple(f"10.9.{number}.0/24" for number in range(40))
MANY_FIT = 19
"""So many of them are in one string."""


@dataclass(frozen=True, slots=True)
class Given:
    """A peer as the devices have it."""

    endpoint: str
    allowed: tuple[str, ...]

    @property
    def host(self) -> str:
        """Type and data of the record of its address."""
        address = self.endpoint.rpartition(":")[0].strip("[]").removeprefix("::ffff:")
        return f"{'AAAA' if ':' in address else 'A'} {address}"

    @property
    def strings(self) -> tuple[str, ...]:
        """The strings of our TXT record that have the allowed IPs; wgsd has one, and none that is longer than 255."""
        parts = [self.allowed[at : at + MANY_FIT] for at in range(0, len(self.allowed), MANY_FIT)] or [()]
        return tuple(f"allowed{number or ''}={','.join(part)}" for number, part in zip((0, 2, 3), parts, strict=False))


PEERS = {
    "alice": Given("192.0.2.1:51820", ("10.0.0.1/32",)),
    "bob": Given("[2001:db8::2]:51821", ("10.0.0.2/32", "fd00::2/128")),
    "carol": Given("[::ffff:192.0.2.3]:51822", ("10.0.0.3/32",)),
    "dave": Given("", ("10.0.0.4/32",)),
    "erin": Given("198.51.100.5:1", ()),
    "frank": Given("198.51.100.6:65535", MANY),
    "grace": Given("198.51.100.7:7", ("10.0.7.0/24",)),
    "heidi": Given("198.51.100.8:8", ("10.0.8.0/24",)),
}
"""In the kernel's order."""
MYSELF = Given("203.0.113.1:51820", ("10.0.0.254/32",))
PUBLIC_ADDRESS = "11.22.33.44"
"""The machine's own."""
LISTEN_PORT = 51820


@dataclass(frozen=True, slots=True)
class Better:
    """Where the answers differ, and why ours is the better one."""

    why: str
    wgsd: str
    ours: str


DEVICE, EMPTY_DEVICE, NO_DEVICE = "wgtable", "wgempty", "wgnone"


@dataclass(frozen=True, slots=True)
class Served:
    """A zone of both: its device, whether the registry itself is in it, and as what; None: as it finds itself."""

    device: str = DEVICE
    serves_itself: bool = False
    myself: Given | None = None


ZONES = {
    "wg.example.com": Served(),
    "self.example.com": Served(serves_itself=True, myself=MYSELF),
    "own.example.com": Served(serves_itself=True),
    "Upper.Example.com": Served(),
    "empty.example.com": Served(EMPTY_DEVICE),
    "gone.example.com": Served(NO_DEVICE),
}

EQUAL = None
"""Where both answer the same."""


@dataclass(frozen=True, slots=True)
class Row:
    """One query and what is expected of both."""

    query: Query
    expected: Better | None


def key_of(nick: str) -> PublicKey:
    """The key of a peer of the table, the same in each run."""
    return PublicKey(hashlib.sha256(nick.encode()).digest())


# What answers are made of, as wgsd_talk.told() has them.

SOA_OF_WGSD = "au @ 60 SOA ns1 postmaster 1 86400 7200 3600000 60"
SOA_OF_OURS = "au @ 5 SOA ns1 postmaster SERIAL 60 10 86400 5"
APEX_SOA = "an @ 60 SOA ns1 postmaster SERIAL 60 10 86400 5"
DENIED_BY_WGSD = f"NXDOMAIN aa | {SOA_OF_WGSD}"
DENIED = f"NXDOMAIN aa | {SOA_OF_OURS}"
NODATA = f"NOERROR aa | {SOA_OF_OURS}"


def _all(*parts: str) -> str:
    return " | ".join(part for part in parts if part)


def _srv(nick: str, service: str = SERVICE, section: str = "an") -> str:
    port = GIVEN[nick.removesuffix("_bare")].endpoint.rpartition(":")[2]
    name = f"<{nick}>.{service}"
    return f"{section} {name} 0 SRV 0 0 {port} {name}"


def _host(nick: str, section: str = "ad") -> str:
    return f"{section} <{nick}>.{SERVICE} 0 {GIVEN[nick.removesuffix('_bare')].host}"


def _txt(nick: str, section: str = "ad", service: str = SERVICE) -> str:
    peer = nick.removesuffix("_bare")
    strings = " ".join(f'"{allowed}"' for allowed in GIVEN[peer].strings)
    return f'{section} <{nick}>.{service} 0 TXT "txtvers=1" "pub=<{peer}>" {strings}'


def _located(nick: str, opt: str = "", flags: str = "aa") -> str:
    return _all(f"NOERROR {flags}", _srv(nick), _host(nick), _txt(nick), opt)


def _listed(nicks: Iterable[str]) -> str:
    return _all(*(f"an {SERVICE} 0 PTR <{nick}>.{SERVICE}" for nick in nicks))


def _shown(nicks: Iterable[str]) -> str:
    return _all(*(_all(_srv(nick, section="ad"), _host(nick), _txt(nick)) for nick in nicks))


def _peer(nick: str) -> str:
    return f"<{nick}>.{SERVICE}"


GIVEN = PEERS | {"registry": MYSELF}
LISTED = tuple(nick for nick, peer in PEERS.items() if peer.endpoint)
ALICE = _peer("alice")
COOKIE, KEEPALIVE, UNKNOWN_OPTION = "000a00080102030405060708", "000b0000", "fde90001ff"
ASKED_FOR_KEEPALIVE = "000b00020064"

# Why.

BLIND = "a peer that has just come must not be denied by caches for a minute (RFC 2308); the serial is a real one"
EXISTS = "the name exists, so there is no such record, not no such name (RFC 2308, RFC 8020)"
NON_TERMINAL = "there are names below, so this one exists: a resolver that asks label by label stops here (RFC 8020)"
FAMILY = "an answer to another question than was asked is thrown away; the family that the peer has not is NODATA"
KNOWN = "the peer exists; only its endpoint is not known"
SIZE = "the size is that of the answering side's own buffer (RFC 6891 section 6.2.3)"
BROWSING = "who browses wants SRV, address and TXT next (RFC 6763 section 12.1)"
LONG = "allowed IPs of more than 255 octets are several strings, not silence (RFC 6763 section 6.1)"
TCP_NAME = "only what is below _wireguard._udp is there"
PADDING = "some servers and forms do not take = in a name; the label says the same without its padding"
APEX = "a zone has an SOA and an NS record at its apex (RFC 1034 section 4.2.1)"
BROWSERS = "how a browser finds out what there is (RFC 6763)"
OURS_ONLY = "not our zone, and nobody will ever answer for it here: REFUSED, not a failure to try again"
CAPITALS = "names have no case (RFC 4343), in a configuration, too"
TRANSFER = "a zone transfer is granted or refused, not denied as a name (RFC 5936 section 2.2.1)"
NOWHERE = "an endpoint that nobody can reach is worse than none"


def _rows() -> Iterator[Row]:
    yield from _equal()
    yield from _peers()
    yield from _names()
    yield from _browses()
    yield from _long_texts()
    yield from _extensions()
    yield from _elsewhere()
    yield from _messages()


def _equal() -> Iterator[Row]:
    """What wgsd's clients rely on."""
    for query in (
        Query(ALICE),
        Query(ALICE, flags=RD),
        Query(_peer("ALICE"), flags=RD),  # as wgsd-client asks
        Query("<ALICE>._WIREGUARD._UDP.WG.EXAMPLE.COM."),
        Query("<alice>._WireGuard._Udp.wG.eXample.cOM."),
        Query(ALICE, tcp=True),
        Query(_peer("ALICE"), flags=RD, tcp=True),
        Query(_peer("bob")),
        Query(_peer("carol")),
        Query(_peer("erin")),
        Query(_peer("heidi")),
        Query(ALICE, "A"),
        Query(_peer("bob"), "AAAA"),
        Query(_peer("carol"), "A"),
        Query(_peer("frank"), "A"),
        Query(ALICE, "TXT"),
        Query(_peer("bob"), "TXT"),
        Query(_peer("erin"), "TXT"),
        Query(ALICE, "TXT", tcp=True),
        Query(_peer("frank"), "TXT"),
        Query(ALICE, edns=1232),
        Query(ALICE, edns=1232, dnssec=True),
        Query(ALICE, edns=1232, tcp=True),
        Query(ALICE, edns=1232, options=bytes.fromhex(UNKNOWN_OPTION)),
        Query(ALICE, flags=TC),
        Query(ALICE, flags=AD),
        Query(SERVICE, "PTR"),
        Query("_WIREGUARD._udp", "PTR", flags=RD),
        Query(_peer("registry"), zone="self.example.com"),
        Query(_peer("registry"), "A", zone="self.example.com"),
        Query(_peer("registry"), "TXT", zone="self.example.com"),
        Query(ALICE, zone="self.example.com"),
        *(Query(ALICE, rdclass=rdclass) for rdclass in ("CH", "HS", "NONE", "ANY")),
        *(Query("", "SOA", opcode=opcode) for opcode in (1, 2, 3, 5, 6, 15)),
        Query(SERVICE, "PTR", zone="gone.example.com"),
        Query(ALICE, zone="gone.example.com"),
        Query(ALICE, flags=QR),
        Query(raw=bytes.fromhex("0000 0001 0000")),
        Query(raw=bytes.fromhex("0000 0000 0000 0000 0000")),
        Query(raw=bytes.fromhex("0000 0002 0000 0000 0000 0161 00 0001 0001 0161 00 0001 0001")),
    ):
        yield Row(query, EQUAL)


def _peers() -> Iterator[Row]:
    alice, bob, dave = (_peer(nick) for nick in ("alice", "bob", "dave"))
    yield Row(Query(alice, "AAAA"), Better(FAMILY, _all("NOERROR aa", _host("alice", "an")), NODATA))
    yield Row(Query(bob, "A"), Better(FAMILY, _all("NOERROR aa", _host("bob", "an")), NODATA))
    for rdtype in ("SRV", "A"):
        yield Row(Query(dave, rdtype), Better(KNOWN, DENIED_BY_WGSD, NODATA))
    yield Row(Query(dave, "TXT"), Better(KNOWN, DENIED_BY_WGSD, _all("NOERROR aa", _txt("dave", "an"))))
    for rdtype in ("HTTPS", "CNAME", "PTR", "NS", "MX", "OPT"):
        yield Row(Query(alice, rdtype), Better(EXISTS, DENIED_BY_WGSD, NODATA))
    minimal = f'NOERROR aa | an {alice} 60 HINFO "RFC8482" ""'
    yield Row(Query(alice, "ANY"), Better("the name exists (RFC 8482)", DENIED_BY_WGSD, minimal))
    yield Row(Query(_peer("alice_bare")), Better(PADDING, DENIED_BY_WGSD, _located("alice_bare")))
    bare = _all("NOERROR aa", _txt("alice_bare", "an"))
    yield Row(Query(_peer("alice_bare"), "TXT"), Better(PADDING, DENIED_BY_WGSD, bare))
    for name in (_peer("nobody"), "www", f"x.{alice}", "<alice>", "x._udp"):
        yield Row(Query(name), Better(BLIND, DENIED_BY_WGSD, DENIED))
    yield Row(Query(_peer("nobody"), "A"), Better(BLIND, DENIED_BY_WGSD, DENIED))
    tcp = "_wireguard._tcp"
    found = _all("NOERROR aa", _srv("alice", tcp), f"ad <alice>.{tcp} 0 A 192.0.2.1", _txt("alice", service=tcp))
    yield Row(Query(f"<alice>.{tcp}"), Better(TCP_NAME, found, DENIED))
    found = "NOERROR aa | an <alice>.0123456789abcde 0 A 192.0.2.1"
    yield Row(Query("<alice>.0123456789abcde", "A"), Better(TCP_NAME, found, DENIED))


def _names() -> Iterator[Row]:
    for rdtype in ("SRV", "A", "TXT"):
        yield Row(Query(SERVICE, rdtype), Better(EXISTS, DENIED_BY_WGSD, NODATA))
    minimal = f'NOERROR aa | an {SERVICE} 60 HINFO "RFC8482" ""'
    yield Row(Query(SERVICE, "ANY"), Better("the name exists (RFC 8482)", DENIED_BY_WGSD, minimal))
    for name, rdtype in (("_udp", "PTR"), ("_udp", "A"), ("_dns-sd._udp", "PTR")):
        yield Row(Query(name, rdtype), Better(NON_TERMINAL, DENIED_BY_WGSD, NODATA))
    for name, target in (("_services._dns-sd._udp", SERVICE), ("b._dns-sd._udp", "@"), ("lb._dns-sd._udp", "@")):
        pointer = f"NOERROR aa | an {name} 60 PTR {target}"
        yield Row(Query(name, "PTR"), Better(BROWSERS, DENIED_BY_WGSD, pointer))
    for rdtype in ("SOA", "ANY"):
        yield Row(Query("", rdtype), Better(APEX, DENIED_BY_WGSD, f"NOERROR aa | {APEX_SOA}"))
    server = f"A {PUBLIC_ADDRESS}"
    yield Row(Query("", "NS"), Better(APEX, DENIED_BY_WGSD, f"NOERROR aa | an @ 60 NS ns1 | ad ns1 60 {server}"))
    yield Row(Query("ns1", "A"), Better(APEX, DENIED_BY_WGSD, f"NOERROR aa | an ns1 60 {server}"))
    for rdtype in ("A", "TXT", "PTR"):
        yield Row(Query("", rdtype), Better(EXISTS, DENIED_BY_WGSD, NODATA))


def _browses() -> Iterator[Row]:
    """Without EDNS there is room for six pointers; with 1232 octets, for what is wanted next of the first few."""
    wgsd = _all("NOERROR aa", _listed(LISTED))
    cut = _all(wgsd, _shown(("alice", "bob")), _srv("carol", section="ad"), _host("carol"), "opt 1232")
    for octets in (1232, 4096):
        yield Row(Query(SERVICE, "PTR", edns=octets), Better(BROWSING, f"{wgsd} | opt {octets}", cut))
    yield Row(Query(SERVICE, "PTR", tcp=True), Better(BROWSING, wgsd, _all(wgsd, _shown(LISTED))))
    more = _all("NOERROR aa", _listed((*LISTED, "registry")))
    query = Query(SERVICE, "PTR", zone="self.example.com", tcp=True)
    yield Row(query, Better(BROWSING, more, _all(more, _shown((*LISTED, "registry")))))
    empty = Query(SERVICE, "PTR", zone="empty.example.com")
    yield Row(empty, Better("NODATA has an SOA, for caches (RFC 2308 section 2.2)", "NOERROR aa", NODATA))
    yield Row(Query(ALICE, zone="empty.example.com"), Better(BLIND, DENIED_BY_WGSD, DENIED))


def _long_texts() -> Iterator[Row]:
    frank = _peer("frank")
    yield Row(
        Query(frank),
        Better(
            "what is left out of the additional section does not make the answer truncated (RFC 2181 section 9)",
            _all("NOERROR aa tc", _srv("frank"), _host("frank")),
            _all("NOERROR aa", _srv("frank"), _host("frank")),
        ),
    )
    yield Row(Query(frank, edns=1232), Better(LONG, SILENCE, _located("frank", "opt 1232")))
    yield Row(Query(frank, tcp=True), Better(LONG, SILENCE, _located("frank")))
    told = _all("NOERROR aa", _txt("frank", "an"))
    yield Row(Query(frank, "TXT", tcp=True), Better(LONG, SILENCE, told))
    yield Row(Query(frank, "TXT", edns=4096), Better(LONG, SILENCE, f"{told} | opt 1232"))


def _extensions() -> Iterator[Row]:
    """EDNS (RFC 6891) and flags."""
    for octets in (0, 512, 4096):
        yield Row(
            Query(ALICE, edns=octets), Better(SIZE, _located("alice", f"opt {octets}"), _located("alice", "opt 1232"))
        )
    yield Row(Query(ALICE, edns=1232, version=1), Better(SIZE, "BADVERS | opt 0", "BADVERS | opt 1232"))
    yield Row(
        Query(ALICE, edns=1232, options=bytes.fromhex(COOKIE)),
        Better(
            "a client's cookie without a server's behind it is no answer (RFC 7873 section 5.2)",
            _located("alice", f"opt 1232 options {COOKIE}"),
            _located("alice", "opt 1232"),
        ),
    )
    yield Row(
        Query(ALICE, edns=1232, options=bytes.fromhex(KEEPALIVE), tcp=True),
        Better(
            "a server tells its time, in tenths of a second (RFC 7828 section 3.3.2)",
            _located("alice", f"opt 1232 options {KEEPALIVE}"),
            _located("alice", f"opt 1232 options {ASKED_FOR_KEEPALIVE}"),
        ),
    )
    yield Row(
        Query(ALICE, flags=CD),
        Better(
            "cleared in what has authority (RFC 4035 section 3.1.6)",
            _located("alice", flags="aa cd"),
            _located("alice"),
        ),
    )


def _elsewhere() -> Iterator[Row]:
    """Other zones: none of ours, one in capitals, the registry's own record, a device that is not there."""
    yield Row(Query("www.example.org.", "A"), Better(OURS_ONLY, "SERVFAIL", "REFUSED"))
    yield Row(Query("example.com.", "NS"), Better(OURS_ONLY, "SERVFAIL", "REFUSED"))
    yield Row(Query(".", "NS", edns=1232), Better(OURS_ONLY, "SERVFAIL | opt 1232", "REFUSED | opt 1232"))
    capitals = "Upper.Example.com"
    soa = f"{capitals}. 60 SOA ns1.{capitals}. postmaster.{capitals}. 1 86400 7200 3600000 60"
    denied = f"NXDOMAIN aa | au {soa}"
    yield Row(Query(ALICE, zone=capitals), Better(CAPITALS, denied, _located("alice")))
    listed = _all("NOERROR aa tc", _listed(LISTED[:6]))
    yield Row(Query(SERVICE, "PTR", zone=capitals), Better(CAPITALS, denied, listed))
    registry, own = _peer("registry"), "own.example.com"
    port = f"an {registry} 0 SRV 0 0 {LISTEN_PORT} {registry}"
    text = f'ad {registry} 0 TXT "txtvers=1" "pub=<registry>" "allowed="'
    ours = _all("NOERROR aa", port, f"ad {registry} 0 A {PUBLIC_ADDRESS}", text)
    unspecified = _all("NOERROR aa", port, f"ad {registry} 0 AAAA ::", text)
    yield Row(Query(registry, zone=own), Better(NOWHERE, unspecified, ours))
    inner = _all("NOERROR aa", port, f"ad {registry} 0 A 127.0.0.1", text)
    yield Row(Query(registry, zone=own, tcp=True), Better(NOWHERE, inner, ours))
    yield Row(Query(registry), Better(BLIND, DENIED_BY_WGSD, DENIED))
    yield Row(
        Query("", "SOA", zone="gone.example.com"),
        Better("while the device cannot be read, nothing is denied", DENIED_BY_WGSD, "SERVFAIL"),
    )


def _messages() -> Iterator[Row]:
    """What is no question, or none for records."""
    yield Row(
        Query("", "SOA", opcode=4),
        Better(
            "this is no secondary: NOTIFY is not taken for a query (RFC 1996)",
            f"NXDOMAIN aa notify | {SOA_OF_WGSD}",
            "NOTIMP notify | no question",
        ),
    )
    yield Row(Query("", "AXFR", tcp=True), Better(TRANSFER, DENIED_BY_WGSD, "REFUSED"))
    yield Row(Query("", "AXFR"), Better(TRANSFER, DENIED_BY_WGSD, "NOTIMP"))
    yield Row(Query(ALICE, "AXFR", tcp=True), Better(TRANSFER, DENIED_BY_WGSD, "NOTAUTH"))
    yield Row(Query("", "IXFR"), Better("no serial is in it (RFC 1995 section 3)", DENIED_BY_WGSD, "FORMERR"))
    cut = bytes.fromhex("0000 0001 0000 0000 0000 0161 00 0001")
    yield Row(
        Query(raw=cut),
        Better("a question without its class is none", "REFUSED | another question", "FORMERR | no question"),
    )


ROWS = tuple(_rows())
