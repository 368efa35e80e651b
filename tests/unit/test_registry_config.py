# SPDX-License-Identifier: GPL-2.0-or-later
"""Flags and TOML to a Config; every complaint names where, which key and what was expected."""

from __future__ import annotations

import datetime
from ipaddress import ip_address, ip_network
from pathlib import Path

import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.registry_objects import key
from wgsd_nm.core.dnssd import parse_zone
from wgsd_nm.core.errors import ConfigError
from wgsd_nm.core.model import Endpoint
from wgsd_nm.registry import config as module
from wgsd_nm.registry.config import (
    Config,
    KeyConfig,
    Secondary,
    Selection,
    SelfConfig,
    ZoneConfig,
    parse,
    parse_toml,
)

ALICE, BOB = key("alice"), key("bob")
KNOT = dns.name.from_text("knot.example.com")
ZONE = '[zone."wg.example.com"]\ndevice = "wg0"\n'
FILE = f"""
listen = ["10.0.0.254", "[fd00::1]:5353", "10.0.0.254:53"]
user = "wgsd"
state = "/var/lib/wgsd-nm-registry/serials"
metrics = "/run/wgsd-nm-registry/metrics"

[zone."WG.Example.com"]
device = "wg0"
allow = ["192.0.2.0/24", "2001:db8::7"]
include = ["{ALICE}", "10.0.0.0/25"]
exclude = ["{BOB}", "10.0.0.128/25", "fd00::/64"]
max-handshake-age = 240

[zone."WG.Example.com".names]
alice = "{ALICE}"
"Bob's phone" = "{BOB}"

[zone."WG.Example.com".self]
endpoint = "203.0.113.1:51820"
allowed-ips = ["10.0.0.254/32"]

[[zone."WG.Example.com".secondary]]
address = "10.0.0.2"
key = "Knot.example.com"

[[zone."WG.Example.com".secondary]]
address = "[fd00::2]:5300"

[zone.office]
device = "wg0"

[key."knot.example.com"]
secret-file = "/etc/wgsd-nm/knot.key"

[key.other]
algorithm = "hmac-sha512"
secret-file = "/etc/wgsd-nm/other.key"
"""


def configured(text: str = FILE, **flags: object) -> Config:
    return parse(flags, parse_toml(text, "registry.toml"), "registry.toml")


def test_a_file_says_it_all() -> None:
    config = configured()
    assert config == Config(
        zones=(
            ZoneConfig(
                name=parse_zone("wg.example.com"),
                device="wg0",
                allow=(ip_network("192.0.2.0/24"), ip_network("2001:db8::7/128")),
                include=Selection(frozenset([ALICE]), (ip_network("10.0.0.0/25"),)),
                exclude=Selection(frozenset([BOB]), (ip_network("10.0.0.128/25"), ip_network("fd00::/64"))),
                max_handshake_age=240,
                names={ALICE: "alice", BOB: "Bob's phone"},
                myself=SelfConfig(ip_address("203.0.113.1"), 51820, (ip_network("10.0.0.254/32"),)),
                secondaries=(
                    Secondary(Endpoint.parse("10.0.0.2:53"), KNOT),
                    Secondary(Endpoint.parse("[fd00::2]:5300"), None),
                ),
            ),
            ZoneConfig(parse_zone("office"), "wg0"),
        ),
        listen=(Endpoint.parse("10.0.0.254:53"), Endpoint.parse("[fd00::1]:5353")),
        user="wgsd",
        state=Path("/var/lib/wgsd-nm-registry/serials"),
        metrics=Path("/run/wgsd-nm-registry/metrics"),
        keys={
            KNOT: KeyConfig(KNOT, "hmac-sha256", Path("/etc/wgsd-nm/knot.key")),
            dns.name.from_text("other"): KeyConfig(
                dns.name.from_text("other"), "hmac-sha512", Path("/etc/wgsd-nm/other.key")
            ),
        },
    )
    assert config.addresses == (ip_address("10.0.0.254"), ip_address("fd00::1"))
    assert [zone.text for zone in config.zones] == ["wg.example.com", "office"]


def test_the_example_in_the_documentation_is_right() -> None:
    assert module.__doc__ is not None
    example = module.__doc__.partition("\n\n")[2].replace('"KEY"', f'"{ALICE}"')
    (zone,) = configured(example).zones
    given = set(parse_toml(example, "")["zone"]["wg.example.com"])  # type: ignore[index]  # tables
    assert given == set(module.ZONE_KEYS)
    assert zone.secondaries[0].key == KNOT


def test_what_is_left_out_has_a_default() -> None:
    assert configured(ZONE) == Config((ZoneConfig(parse_zone("wg.example.com"), "wg0"),), (), "nobody", None, None, {})
    (zone,) = configured(ZONE + '[zone."wg.example.com".self]').zones
    assert zone.myself == SelfConfig(None, None, ())


def test_flags_go_before_the_file_and_may_stand_alone() -> None:
    config = configured(listen=["127.0.0.1"], user="dns")
    assert (config.listen, config.user, len(config.zones)) == ((Endpoint.parse("127.0.0.1:53"),), "dns", 2)
    flags = {"device": "wg1", "zone": "WG.home.arpa.", "allow": ["192.0.2.1"], "listen": ["0.0.0.0", "::1"]}
    config = parse(flags, {}, "the command line")
    assert config == Config(
        (ZoneConfig(parse_zone("wg.home.arpa"), "wg1", (ip_network("192.0.2.1/32"),)),),
        (Endpoint.parse("0.0.0.0:53"), Endpoint.parse("[::1]:53")),
    )
    assert config.addresses == ()
    assert configured('user = "dns"', device="wg1", zone="wg").user == "dns"


def in_zone(line: str) -> str:
    return ZONE + line


def secondary(text: str) -> str:
    return f'{ZONE}[[zone."wg.example.com".secondary]]\n{text}'


def of_self(text: str) -> str:
    return f'{ZONE}[zone."wg.example.com".self]\n{text}'


def names(text: str) -> str:
    return f'{ZONE}[zone."wg.example.com".names]\n{text}'


WHERE = r'^registry\.toml: zone\."wg\.example\.com"'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("listen = ", r"^registry\.toml is not TOML: "),
        (f"x = {'9' * 5000}", r"^registry\.toml is not TOML: "),
        (f"x = {'[' * 5000}", r"^registry\.toml is not TOML: "),
        ("", r"^registry\.toml: zone: no zone is there: expected \[zone\.\"wg\.example\.com\"\] with device"),
        (
            "listne = 1",
            r"^registry\.toml: listne: unknown key: expected one of zone, listen, user, state, metrics, key",
        ),
        ('zone = "wg.example.com"', r"^registry\.toml: zone: expected a table, \[zone\], not 'wg\.example\.com'$"),
        (
            '[zone.wg.example.com]\ndevice = "wg0"\n[zone.wg.example.com.names]',
            r": zone\.wg: a name with dots has to be in quotes: expected \[zone\.\"wg\.example\.com\"\]$",
        ),
        (f'{ZONE}[key.knot.example]\nsecret-file = "/k"', r": key\.knot: .* expected \[key\.\"knot\.example\"\]$"),
        (in_zone('[zone."wg.example.com".naems]'), WHERE + r"\.naems: unknown key: expected one of device, allow,"),
        ('[zone.wg]\ndevice = "wg0"\n[zone.wg.naems]', r"^registry\.toml: zone\.wg\.naems: unknown key: expected one"),
        ('[zone."wg.example.com"]', WHERE + r"\.device: is missing: expected the name of a WireGuard device"),
        (ZONE.replace('"wg0"', "7"), WHERE + r"\.device: expected the name of a WireGuard device.*, not a number$"),
        (ZONE.replace("wg0", "wg/0"), WHERE + r"\.device: 'wg/0' is not a network interface name"),
        ('[zone."office.local"]\ndevice = "wg0"', r'^registry\.toml: zone\."office\.local": .* cannot be a zone'),
        ('[zone.""]\ndevice = "wg0"', r'^registry\.toml: zone\."": \'\' is not a zone'),
        ('[zone."\\u001b[2J"]\ndevice = "wg0"', r'^registry\.toml: zone\."\\u001b\[2J": '),
        (ZONE + ZONE.upper().replace("DEVICE", "device").replace("ZONE", "zone"), r"\"WG\.EXAMPLE\.COM\": .* already"),
        (ZONE + '[zone."x.wg.example.com"]\ndevice = "wg1"', r"the zone wg\.example\.com would deny x\.wg\.example"),
        ('[zone."x.wg.example.com"]\ndevice="wg1"\n' + ZONE, r"the zone wg\.example\.com would deny x\.wg\.example"),
        ('listen = "10.0.0.1"', r"^registry\.toml: (listen|zone): "),
        (
            f'listen = "10.0.0.1"\n{ZONE}',
            r"^registry\.toml: listen: expected a list of addresses.*, not '10\.0\.0\.1'$",
        ),
        (f"listen = []\n{ZONE}", r"^registry\.toml: listen: the list is empty: expected a list of addresses"),
        (f"listen = [10]\n{ZONE}", r"^registry\.toml: listen#1: expected a list of addresses.*, not a number$"),
        (f'listen = ["::1", "registry"]\n{ZONE}', r"^registry\.toml: listen#2: 'registry' is not an address to listen"),
        (f"user = false\n{ZONE}", r"^registry\.toml: user: expected the name of an unprivileged user.*a truth value$"),
        (f"user = 0x{'F' * 5000}\n{ZONE}", r"^registry\.toml: user: expected the name .*, not a number$"),
        (f'user = ""\n{ZONE}', r"^registry\.toml: user: expected the name of an unprivileged user.*, not ''$"),
        (f'state = "serials"\n{ZONE}', r"^registry\.toml: state: expected an absolute path.*, not 'serials'$"),
        (f'state = "/a\\u0000"\n{ZONE}', r"^registry\.toml: state: expected an absolute path"),
        (f"metrics = 2026-01-01\n{ZONE}", r"^registry\.toml: metrics: expected an absolute path.*a date or time$"),
        (f'metrics = "/{"m" * 107}"\n{ZONE}', r"^registry\.toml: metrics: expected a path of 107 octets at the most"),
        (in_zone("alow = []"), WHERE + r"\.alow: unknown key: expected one of device, allow, include, exclude, max-"),
        (in_zone('allow = "10.0.0.0/8"'), WHERE + r"\.allow: expected a list of networks.*, not '10\.0\.0\.0/8'$"),
        (in_zone('allow = ["10.0.0.1/8"]'), WHERE + r"\.allow#1: .*inside a network: expected 10\.0\.0\.0/8$"),
        (in_zone("include = []"), WHERE + r"\.include: nobody would be published: expected .*leave it out"),
        (in_zone('include = ["alice"]'), WHERE + r"\.include#1: 'alice' is not a WireGuard public key"),
        (in_zone('exclude = ["10.0.0/8"]'), WHERE + r"\.exclude#1: '10\.0\.0/8' is not a network"),
        (in_zone("exclude = [[]]"), WHERE + r"\.exclude#1: expected a list of public keys.*, not a list$"),
        *(
            (in_zone(f"max-handshake-age = {age}"), WHERE + r"\.max-handshake-age: expected a whole number of seconds")
            for age in ("0", "-1", "true", "240.0", '"240"')
        ),
        (names(f'a = "{ALICE}"\nb = "{ALICE}"'), WHERE + r"\.names\.b: this key is already named 'a'"),
        (names(f'a = "{ALICE}"\nA = "{BOB}"'), WHERE + r"\.names\.A: 'a' is a name already"),
        (names(f'a = "{ALICE}"\na = "{BOB}"'), r"^registry\.toml is not TOML: "),
        (names('a = "b"'), WHERE + r"\.names\.a: 'b' is not a WireGuard public key"),
        (names("a = 1"), WHERE + r"\.names\.a: expected the public key of a peer, not a number$"),
        *(
            (names(f'"{name}" = "{ALICE}"'), WHERE + r"\.names\..*: expected a name of 1 to 63 octets")
            for name in ("", " a", "a ", "\\u0007", "a\\n", "é" * 32)
        ),
        (in_zone("self = true"), WHERE + r"\.self: expected a table, .*, not a truth value$"),
        (of_self("port = 1"), WHERE + r"\.self\.port: unknown key: expected one of endpoint, allowed-ips$"),
        (of_self('endpoint = "registry.example.com"'), WHERE + r"\.self\.endpoint: 'registry.* is not an address"),
        (of_self('endpoint = "203.0.113.1:0"'), WHERE + r"\.self\.endpoint: '203.* is not an address"),
        *(
            (of_self(f'endpoint = "{address}"'), WHERE + rf"\.self\.endpoint: no peer reaches a {kind} address")
            for address, kind in (
                ("::", "unspecified"),
                ("0.0.0.0:1", "unspecified"),
                ("[::ffff:0.0.0.0]:1", "unspecified"),
                ("127.0.0.2", "loopback"),
                ("::1", "loopback"),
                ("224.0.0.1", "multicast"),
                ("ff0e::1", "multicast"),
                ("169.254.0.1", "link-local"),
                ("fe80::1%eth0", "link-local"),
                ("255.255.255.255", "reserved"),
            )
        ),
        (of_self('allowed-ips = ["x"]'), WHERE + r"\.self\.allowed-ips#1: 'x' is not a network"),
        (in_zone('secondary = "10.0.0.2"'), WHERE + r"\.secondary: expected tables, each \[\[zone.*, not '10"),
        (in_zone("secondary = [1]"), WHERE + r"\.secondary#1: expected a table, \[\[zone.*, not a number$"),
        (secondary(""), WHERE + r"\.secondary#1\.address: is missing: expected an address with or without a port"),
        (secondary('address = "knot"'), WHERE + r"\.secondary#1\.address: 'knot' is not an address"),
        *(
            (secondary(f'address = "{address}"'), WHERE + r"\.secondary#1\.address: .* not the address of one name")
            for address in ("0.0.0.0", "ff02::1", "fe80::1%eth0")
        ),
        (
            secondary('address = "::1"\n[[zone."wg.example.com".secondary]]\naddress = "[::1]:53"'),
            WHERE + r"\.secondary#2\.address: \[::1\]:53 is there already",
        ),
        (
            secondary('address = "::1"\nkey = "knot"'),
            WHERE + r"\.secondary#1\.key: there is no such key: expected a table \[key\.\"knot\"\] with secret-file$",
        ),
        (secondary('address = "::1"\nkey = ""'), WHERE + r"\.secondary#1\.key: expected the name of a TSIG key"),
        (f"{ZONE}[key.k]", r"^registry\.toml: key\.k\.secret-file: is missing: expected an absolute path"),
        (f'{ZONE}[key.k]\nsecret = "x"', r"^registry\.toml: key\.k\.secret: unknown key: expected one of algorithm,"),
        (f'{ZONE}[key.k]\nalgorithm = "hmac-md5"', r"^registry\.toml: key\.k\.algorithm: expected one of hmac-sha256,"),
        (
            f'{ZONE}[key.k]\nsecret-file = "c2VjcmV0"',
            r"key\.k\.secret-file: expected an absolute path, .* has the secret$",
        ),
        (f"{ZONE}[key.k]\nalgorithm = []", r"^registry\.toml: key\.k\.algorithm: expected one of .*, not a list$"),
        (f'{ZONE}[key.k]\nsecret-file = "/k"\n[key.K]\nsecret-file = "/k"', r"key\.K: this key is there already"),
        *(
            (f'{ZONE}[key."{name}"]\nsecret-file = "/k"', r"^registry\.toml: key\..*: .* cannot name a key: expected")
            for name in ("", ".", "a..b", "a b", "é", "x" * 64, "\\\\000")
        ),
    ],
)
def test_complaints(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as raised:
        configured(text)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"zone": "x y", "device": "wg0"}, r"^the command line: --zone: 'x y' is not a zone"),
        ({"zone": "wg"}, r"^the command line: --device: is missing: expected --device and --zone together$"),
        ({"device": "wg0"}, r"^the command line: --zone: is missing: expected --zone and --device together$"),
        ({"allow": ["::1"]}, r"^the command line: --zone: is missing"),
        ({"zone": "wg", "device": "wg/0"}, r"^the command line: --device: 'wg/0' is not"),
        ({"zone": "wg", "device": "wg0", "allow": ["x"]}, r"^the command line: --allow#1: 'x' is not a network"),
        ({"zone": "wg", "device": "wg0", "listen": ["x"]}, r"^the command line: --listen#1: 'x' is not an address to"),
    ],
)
def test_a_wrong_flag_is_not_blamed_on_the_file(flags: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        configured('user = "dns"', **flags)


def test_zones_come_from_the_file_or_from_flags() -> None:
    with pytest.raises(ConfigError, match=r"^the command line: --zone: registry\.toml has zones, too: expected them"):
        configured(device="wg0", zone="wg.home.arpa")


@pytest.mark.parametrize(
    ("line", "danger"),
    [
        ('allow = ["0.0.0.0/0"]', r'^zone\."wg\.example\.com"\.allow: 0\.0\.0\.0/0 lets the whole Internet ask'),
        ('allow = ["::/0"]', r"\.allow: ::/0 lets the whole Internet ask"),
        ('allow = ["10.0.0.0/7"]', r"\.allow: 10\.0\.0\.0/7 lets a public network ask"),
        ('allow = ["203.0.113.0/24"]', r"\.allow: 203\.0\.113\.0/24 lets a public network ask"),
        ('allow = ["::ffff:203.0.113.0/120"]', r"\.allow: 203\.0\.113\.0/24 lets a public network ask"),
        ('allow = ["2000::/3"]', r"\.allow: 2000::/3 lets a public network ask"),
        ('secondary = [{address = "203.0.113.2"}]', r"\.secondary#1: 203\.0\.113\.2 is in a public network and has no"),
        (
            'secondary = [{address = "2001:db8::2"}]',
            r"\.secondary#1: 2001:db8::2 is in a public network and has no key",
        ),
        ("max-handshake-age = 179", r"\.max-handshake-age: 179 s hides peers that are connected"),
    ],
)
def test_dangers(line: str, danger: str) -> None:
    (found,) = configured(in_zone(line)).dangers()
    with pytest.raises(ValueError, match=danger):
        raise ValueError(found)


def test_what_is_not_dangerous() -> None:
    text = f"""{ZONE}
    allow = ["10.0.0.0/8", "172.16.9.0/24", "192.168.1.1", "100.64.0.0/10", "127.0.0.0/8", "fd00::/8", "::1"]
    max-handshake-age = 180
    secondary = [{{address = "203.0.113.2", key = "k"}}, {{address = "10.0.0.2"}}, {{address = "fd00::2"}}]
    [key.k]
    secret-file = "/k"
    """
    assert configured(text).dangers() == ()


KEYS = (
    *("zone", "listen", "user", "state", "metrics", "key", "wg.example.com", "x.wg.example.com", "knot", ""),
    *("device", "allow", "include", "exclude", "max-handshake-age", "names", "self", "secondary", "endpoint"),
    *("allowed-ips", "address", "algorithm", "secret-file"),
)
TEXTS = ("wg0", "10.0.0.1", "10.0.0.0/8", "::1", "[fd00::1]:53", "203.0.113.1:51820", "/run/x", "knot", "hmac-sha256")
VALUES = st.recursive(
    st.one_of(
        st.sampled_from((*TEXTS, str(ALICE))),
        st.text(max_size=20),
        st.integers(),
        st.booleans(),
        st.floats(),
        st.dates(),
        st.just(datetime.time(1)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=9)), inner)
    ),
    max_leaves=12,
)
LISTS = st.one_of(st.lists(st.sampled_from((*TEXTS, str(ALICE), str(BOB))), max_size=3), VALUES)
ALMOST_ZONE = st.fixed_dictionaries(
    {"device": st.one_of(st.just("wg0"), VALUES)},
    optional={
        "allow": LISTS,
        "include": LISTS,
        "exclude": LISTS,
        "max-handshake-age": st.one_of(st.integers(1, 999), VALUES),
        "names": st.one_of(st.dictionaries(st.text(max_size=9), st.sampled_from((str(ALICE), str(BOB)))), VALUES),
        "self": st.one_of(
            st.fixed_dictionaries({}, optional={"endpoint": st.sampled_from(TEXTS), "allowed-ips": LISTS}), VALUES
        ),
        "secondary": st.one_of(
            st.lists(
                st.fixed_dictionaries({"address": st.sampled_from(TEXTS)}, optional={"key": st.just("knot")}),
                max_size=2,
            ),
            VALUES,
        ),
    },
)
ALMOST_FILE = st.fixed_dictionaries(
    {"zone": st.dictionaries(st.sampled_from(("wg", "a.wg", "home.arpa", "x y")), ALMOST_ZONE, max_size=2)},
    optional={
        "listen": LISTS,
        "user": VALUES,
        "state": st.sampled_from(TEXTS),
        "metrics": st.sampled_from(TEXTS),
        "key": st.dictionaries(
            st.sampled_from(("knot", "KNOT", "a..b")),
            st.fixed_dictionaries({"secret-file": st.just("/k")}, optional={"algorithm": st.sampled_from(TEXTS)}),
        ),
    },
)
FILES = st.one_of(ALMOST_FILE, st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=9)), VALUES))
FLAGS = st.fixed_dictionaries(
    {},
    optional={
        "device": st.sampled_from(TEXTS),
        "zone": st.sampled_from(("wg.home.arpa", *TEXTS)),
        "listen": st.lists(st.sampled_from(TEXTS), max_size=2),
        "allow": st.lists(st.sampled_from(TEXTS), max_size=2),
        "user": st.text(max_size=5),
    },
)


@given(FILES, st.one_of(st.just({}), FLAGS))
def test_any_tree_is_a_configuration_or_a_configuration_error(
    tree: dict[str, object], flags: dict[str, object]
) -> None:
    try:
        config = parse(flags, tree, "registry.toml")
    except ConfigError as error:
        complaint = str(error)
    else:
        complaint = ""
        assert config.zones
        assert all(isinstance(danger, str) for danger in config.dangers())
    assert complaint.isprintable()
    assert complaint.startswith(("registry.toml: ", "the command line: --")) or not complaint


@given(st.one_of(st.text(), st.sampled_from(FILE.splitlines()).map(lambda line: FILE.replace(line, ""))))
def test_any_text_is_a_configuration_or_a_configuration_error(text: str) -> None:
    try:
        configured(text)
    except ConfigError as error:
        complaint = str(error)
    else:
        complaint = "registry.toml"
    assert complaint.startswith("registry.toml")
