# SPDX-License-Identifier: GPL-2.0-or-later
"""What the registry is told: TOML text and flags in, a Config out. Knows nothing of files, sockets or devices.

listen = ["10.0.0.254", "[fd00::1]:53"]       # where to answer; not needed where systemd passes the sockets
user = "wgsd-nm-registry"                      # whom to run as when started by root
state = "/var/lib/wgsd-nm-registry/serials"    # keeps the zones' serials
metrics = "/run/wgsd-nm-registry/metrics"      # Unix socket with statistics

[zone."wg.example.com"]
device = "wg0"
allow = ["192.0.2.0/24"]                       # who may ask besides the device's peers and this machine
include = ["KEY", "10.0.0.0/25"]               # publish these peers only: by key, or by an allowed IP inside a prefix
exclude = ["KEY", "10.0.0.128/25"]             # never publish these; goes before include
max-handshake-age = 240                        # seconds; hide peers whose last handshake is older

[zone."wg.example.com".names]
alice = "KEY"

[zone."wg.example.com".self]                   # publish the registry itself
endpoint = "203.0.113.1:51820"                 # ADDRESS or ADDRESS:PORT
allowed-ips = ["10.0.0.254/32"]

[[zone."wg.example.com".secondary]]            # a stock name server that serves the zone too
address = "10.0.0.2"                           # ADDRESS or ADDRESS:PORT
key = "knot.example.com"

[key."knot.example.com"]                       # TSIG (RFC 8945)
algorithm = "hmac-sha256"
secret-file = "/etc/wgsd-nm/knot.key"
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Final

import dns.exception
import dns.name

from wgsd_nm.core.dnssd import parse_zone
from wgsd_nm.core.errors import ConfigError, InvalidValue
from wgsd_nm.core.model import Endpoint, IPAddress, IPNetwork, PublicKey, parse_interface, shown
from wgsd_nm.registry.addresses import DNS_PORT, is_public, parse_address, parse_listen, parse_network
from wgsd_nm.registry.setting import Setting

DEFAULT_USER: Final = "nobody"
FLAGS: Final = "the command line"
"""The name of the flags where a file's name would stand in a complaint."""
KEYS: Final = ("zone", "listen", "user", "state", "metrics", "key")
ZONE_KEYS: Final = ("device", "allow", "include", "exclude", "max-handshake-age", "names", "self", "secondary")
SELF_KEYS: Final = ("endpoint", "allowed-ips")
SECONDARY_KEYS: Final = ("address", "key")
KEY_KEYS: Final = ("algorithm", "secret-file")
"""Known keys: of the file, [zone.Z], [zone.Z.self], [[zone.Z.secondary]] and [key.K], in this order."""
ALGORITHMS: Final = ("hmac-sha256", "hmac-sha384", "hmac-sha512")
"""Of TSIG (RFC 8945 section 6), the default first."""
MAX_DISPLAY_NAME: Final = 63
"""Octets of a peer's name in UTF-8, as of a DNS-SD instance's (RFC 6763 section 4.1.1)."""
MAX_SOCKET_PATH: Final = 107
"""Octets of a Unix socket's path (unix(7), sun_path without its final zero)."""
SESSION_LIFE: Final = 180
"""Seconds after which WireGuard itself gives a session up (whitepaper section 6.1, Reject-After-Time)."""

_ADDRESS: Final = 'an address with or without a port, like "10.0.0.2" or "[fd00::2]:53"'
_LISTEN: Final = 'a list of addresses with or without a port, like ["10.0.0.1", "[fd00::1]:53"]'
_NETWORKS: Final = 'a list of networks, like ["192.0.2.0/24", "2001:db8::/32"]'
_PEERS: Final = 'a list of public keys and networks, like ["10.0.0.0/25"]'
_SELF: Final = 'the address where peers reach this machine, like "203.0.113.1" or "203.0.113.1:51820"'


@dataclass(frozen=True, slots=True)
class Selection:
    """Peers by their key, or by an allowed IP that lies within a network."""

    keys: frozenset[PublicKey] = frozenset()
    networks: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class SelfConfig:
    """The registry's own record. None: this machine's public address, the device's port."""

    address: IPAddress | None = None
    port: int | None = None
    allowed_ips: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class Secondary:
    """A name server that serves the zone too: NOTIFY goes to its address and port, transfers come from its address."""

    address: Endpoint
    key: dns.name.Name | None = None


@dataclass(frozen=True, slots=True)
class KeyConfig:
    """A TSIG key, whose secret is in a file of its own."""

    name: dns.name.Name
    algorithm: str
    secret_file: Path


@dataclass(frozen=True, slots=True)
class ZoneConfig:
    """One zone over one device. `max_handshake_age` is in seconds, None for off; `include` None is every peer."""

    name: dns.name.Name
    device: str
    allow: tuple[IPNetwork, ...] = ()
    include: Selection | None = None
    exclude: Selection = Selection()
    max_handshake_age: int | None = None
    names: Mapping[PublicKey, str] = field(default_factory=dict)
    myself: SelfConfig | None = None
    secondaries: tuple[Secondary, ...] = ()

    @property
    def text(self) -> str:
        """The zone's name as people write it."""
        return self.name.to_text(omit_final_dot=True)


@dataclass(frozen=True, slots=True)
class Config:
    """Zones, and how they are served. `listen` is () where nothing says where to answer."""

    zones: tuple[ZoneConfig, ...]
    listen: tuple[Endpoint, ...] = ()
    user: str = DEFAULT_USER
    state: Path | None = None
    metrics: Path | None = None
    keys: Mapping[dns.name.Name, KeyConfig] = field(default_factory=dict)

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Those by which others may know the registry."""
        found = (endpoint.address for endpoint in self.listen)
        return tuple(dict.fromkeys(address for address in found if not (address.is_unspecified or address.is_loopback)))

    def dangers(self) -> tuple[str, ...]:
        """One sentence for each setting that is allowed and dangerous."""
        return tuple(danger for zone in self.zones for danger in _dangers(zone))


def _dangers(zone: ZoneConfig) -> Iterator[str]:
    where = f'zone."{zone.text}"'
    for network in zone.allow:
        if not network.prefixlen:
            yield (
                f"{where}.allow: {network} lets the whole Internet ask: everybody learns where all peers are; "
                "name the networks that need to ask"
            )
        elif is_public(network):
            yield (
                f"{where}.allow: {network} lets a public network ask: everybody there learns where all peers are, and "
                "whoever forges its addresses has answers sent there; let them ask through the tunnel"
            )
    for number, secondary in enumerate(zone.secondaries, start=1):
        address = secondary.address.address
        if secondary.key is None and is_public(ip_network(address)):
            yield (
                f"{where}.secondary#{number}: {address} is in a public network and has no key: whoever can send from "
                "that address gets the whole zone; give it a TSIG key"
            )
    if zone.max_handshake_age is not None and zone.max_handshake_age < SESSION_LIFE:
        yield (
            f"{where}.max-handshake-age: {zone.max_handshake_age} s hides peers that are connected, because a session "
            f"lives for {SESSION_LIFE} s without another handshake; set {SESSION_LIFE} or more"
        )


def parse_toml(text: str, source: str) -> dict[str, object]:
    """The keys and values of a configuration file called `source`. Raises ConfigError."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers and nesting beyond what Python takes
        raise ConfigError(f"{source} is not TOML: {error}") from error


def parse(flags: Mapping[str, object], file: Mapping[str, object], source: str) -> Config:
    """The configuration of a file called `source` and of flags, which go before it. Raises ConfigError.

    The flags are device, zone, listen, allow and user, each a text or, for listen and allow, a list of texts. Device,
    zone and allow make one zone, of which the file must have none then.
    """

    def flag(name: str) -> Setting:
        return Setting(FLAGS, f"--{name}", flags.get(name))

    root = Setting(source, "", dict(file))
    settings = root.table(KEYS)
    keys = _keys(settings["key"])
    zones = _zones(settings["zone"], keys)
    of_flags = {name: flag(name) for name in ("zone", "device", "allow")}
    if any(setting.given for setting in of_flags.values()):
        if zones:
            raise flag("zone").wrong(f"{source} has zones, too: expected them from there or from flags, not from both")
        zones = (_zone_of_flags(of_flags),)
    if not zones:
        raise settings["zone"].wrong(
            'no zone is there: expected [zone."wg.example.com"] with device = "wg0", or the flags --zone and --device'
        )
    listen, user = (flag(name) if flag(name).given else settings[name] for name in ("listen", "user"))
    return Config(
        zones=zones,
        listen=_listen(listen),
        user=user.text('the name of an unprivileged user, like "nobody"') if user.given else DEFAULT_USER,
        state=settings["state"].path("/var/lib/wgsd-nm-registry/serials") if settings["state"].given else None,
        metrics=_metrics(settings["metrics"]) if settings["metrics"].given else None,
        keys=keys,
    )


def _listen(setting: Setting) -> tuple[Endpoint, ...]:
    found = setting.several(_LISTEN, parse_listen)
    if setting.given and not found:
        raise setting.wrong(f"the list is empty: expected {_LISTEN}")
    return found


def _metrics(setting: Setting) -> Path:
    path = setting.path("/run/wgsd-nm-registry/metrics")
    if len(str(path).encode()) > MAX_SOCKET_PATH:
        raise setting.wrong(f"expected a path of {MAX_SOCKET_PATH} octets at the most, as a Unix socket can have")
    return path


def _keys(setting: Setting) -> dict[dns.name.Name, KeyConfig]:
    keys: dict[dns.name.Name, KeyConfig] = {}
    for text, entry in setting.entries().items():
        name = _named(entry, text, _key_name)
        if name in keys:
            raise entry.wrong("this key is there already: expected it once, in whatever case")
        given = _table(entry, text, KEY_KEYS)
        algorithm = given["algorithm"].value if given["algorithm"].given else ALGORITHMS[0]
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise given["algorithm"].expected(f"one of {', '.join(ALGORITHMS)}")
        keys[name] = KeyConfig(name, algorithm, _secret_file(given["secret-file"]))
    return keys


def _secret_file(setting: Setting) -> Path:
    if isinstance(setting.value, str) and not setting.value.startswith("/"):  # it may be the secret: it is not shown
        raise setting.wrong('expected an absolute path, like "/etc/wgsd-nm/knot.key", of a file that has the secret')
    return setting.path("/etc/wgsd-nm/knot.key")


def _key_name(text: str) -> dns.name.Name:
    try:
        if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
            raise InvalidValue
        name = dns.name.from_text(text)
        if name == dns.name.root:
            raise InvalidValue
    except (dns.exception.DNSException, InvalidValue):
        raise InvalidValue(f"{shown(text)} cannot name a key: expected a domain name, like knot.example.com") from None
    return name


def _zones(setting: Setting, keys: Collection[dns.name.Name]) -> tuple[ZoneConfig, ...]:
    zones: dict[dns.name.Name, ZoneConfig] = {}
    for text, entry in setting.entries().items():
        name = _named(entry, text, parse_zone)
        for other in zones:
            if name == other:
                raise entry.wrong("this zone is there already: expected it once, in whatever case")
            if name.is_subdomain(other) or other.is_subdomain(name):
                inner, outer = sorted((name.to_text(True), other.to_text(True)), key=len, reverse=True)
                raise entry.wrong(f"the zone {outer} would deny {inner} inside it: expected zones beside each other")
        zones[name] = _zone(name, _table(entry, text, ZONE_KEYS), keys)
    return tuple(zones.values())


def _zone_of_flags(flags: Mapping[str, Setting]) -> ZoneConfig:
    for one, other in (("zone", "device"), ("device", "zone")):
        if not flags[one].given:
            raise flags[one].wrong(f"is missing: expected --{one} and --{other} together")
    return _zone(flags["zone"].parsed('a domain name, like "wg.example.com"', parse_zone), flags, ())


def _zone(name: dns.name.Name, given: Mapping[str, Setting], keys: Collection[dns.name.Name]) -> ZoneConfig:
    absent = Setting("", "", None)
    include, exclude, max_handshake_age, names, myself, secondaries = (
        given.get(key, absent) for key in ("include", "exclude", "max-handshake-age", "names", "self", "secondary")
    )
    return ZoneConfig(
        name=name,
        device=given["device"].parsed('the name of a WireGuard device, like "wg0"', parse_interface),
        allow=given["allow"].several(_NETWORKS, parse_network),
        include=_include(include) if include.given else None,
        exclude=_selection(exclude),
        max_handshake_age=_seconds(max_handshake_age) if max_handshake_age.given else None,
        names=_names(names),
        myself=_self(myself) if myself.given else None,
        secondaries=_secondaries(secondaries, keys),
    )


def _include(setting: Setting) -> Selection:
    if setting.value == []:
        raise setting.wrong(f"nobody would be published: expected {_PEERS}; leave it out to publish all peers")
    return _selection(setting)


def _selection(setting: Setting) -> Selection:
    found = setting.several(_PEERS, _key_or_network)
    return Selection(
        frozenset(item for item in found if isinstance(item, PublicKey)),
        tuple(item for item in found if not isinstance(item, PublicKey)),
    )


def _key_or_network(text: str) -> PublicKey | IPNetwork:
    return parse_network(text) if "." in text or ":" in text else PublicKey.parse(text)


def _seconds(setting: Setting) -> int:
    if type(setting.value) is not int or setting.value < 1:  # a truth value is an int, too
        raise setting.wrong("expected a whole number of seconds above 0, like 240")
    return setting.value


def _names(setting: Setting) -> dict[PublicKey, str]:
    names: dict[PublicKey, str] = {}
    alike: dict[str, str] = {}
    for name, entry in setting.entries().items():
        key = entry.parsed("the public key of a peer", PublicKey.parse)
        if not name.isprintable() or name != name.strip() or not 0 < len(name.encode()) <= MAX_DISPLAY_NAME:
            raise entry.wrong(f"expected a name of 1 to {MAX_DISPLAY_NAME} octets, without blanks around it")
        if key in names:
            raise entry.wrong(f"this key is already named {shown(names[key])}: expected one name for each key")
        if other := alike.get(name.casefold()):
            raise entry.wrong(f"{shown(other)} is a name already: expected names that differ in more than case")
        names[key] = alike[name.casefold()] = name
    return names


def _self(setting: Setting) -> SelfConfig:
    given = setting.table(SELF_KEYS)
    endpoint = given["endpoint"]
    address, port = endpoint.parsed(_SELF, parse_address) if endpoint.given else (None, None)
    for what in ("unspecified", "loopback", "multicast", "link_local", "reserved"):
        if address and getattr(address, f"is_{what}"):
            raise endpoint.wrong(f"no peer reaches a {what.replace('_', '-')} address from outside: expected {_SELF}")
    return SelfConfig(address, port, given["allowed-ips"].several(_NETWORKS, parse_network))


def _secondaries(setting: Setting, keys: Collection[dns.name.Name]) -> tuple[Secondary, ...]:
    found: dict[Endpoint, Secondary] = {}
    for entry in setting.array(f"tables, each [[{setting.key}]]"):
        if not isinstance(entry.value, dict):
            raise entry.expected(f"a table, [[{setting.key}]]")
        given = entry.table(SECONDARY_KEYS)
        address, port = given["address"].parsed(_ADDRESS, parse_address)
        if address.is_unspecified or address.is_multicast or address.is_link_local:
            raise given["address"].wrong(f"{address} is not the address of one name server: expected {_ADDRESS}")
        endpoint = Endpoint(address, port or DNS_PORT)
        if endpoint in found:
            raise given["address"].wrong(f"{endpoint} is there already: expected each secondary once")
        found[endpoint] = Secondary(endpoint, _key_of(given["key"], keys) if given["key"].given else None)
    return tuple(found.values())


def _key_of(setting: Setting, keys: Collection[dns.name.Name]) -> dns.name.Name:
    name = setting.parsed('the name of a TSIG key, like "knot.example.com"', _key_name)
    if name not in keys:
        raise setting.wrong(f'there is no such key: expected a table [key."{name.to_text(True)}"] with secret-file')
    return name


def _table(entry: Setting, text: str, known: Collection[str]) -> dict[str, Setting]:
    """The values of a table whose own key is a domain name. Raises ConfigError."""
    labels, inside = [text], entry.value
    while isinstance(inside, dict) and not any(key in known for key in inside):
        label, inside = next(iter(inside.items()), ("", None))
        if isinstance(inside, dict):
            labels.append(label)
    if len(labels) > 1 and "." not in text:
        kind, name = entry.key.partition(".")[0], json.dumps(".".join(labels))
        raise entry.wrong(f"a name with dots has to be in quotes: expected [{kind}.{name}]")
    return entry.table(known)


def _named(entry: Setting, text: str, parse: Callable[[str], dns.name.Name]) -> dns.name.Name:
    """The name that an entry has as its key. Raises ConfigError."""
    try:
        return parse(text)
    except InvalidValue as error:
        raise entry.wrong(error) from error
