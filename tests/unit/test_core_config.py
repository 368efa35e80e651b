# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration: what it means, and that each complaint names file, key and what was expected."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgsd_nm.core.config import Config, NotificationConfig, TunnelConfig, parse, parse_server
from wgsd_nm.core.errors import ConfigError, InvalidValue
from wgsd_nm.core.model import PublicKey, Server, Tunnel

KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
GOOD = f"""
[tunnel.wg-home]
zone = "WG.example.com"
registry = ["10.0.0.254", "[fd00::254]:5353"]
profile-endpoints = "replace"

[tunnel.wg-home.names]
bob = "{KEY}"

[tunnel."Office VPN"]
zone = "auto"
"""


def test_all_of_it() -> None:
    assert parse(GOOD, "config.toml") == Config(
        (
            TunnelConfig(
                "wg-home",
                "wg.example.com.",
                (Server(ip_address("10.0.0.254")), Server(ip_address("fd00::254"), 5353)),
                replace_profile_endpoints=True,
                names={PublicKey.parse(KEY): "bob"},
            ),
            TunnelConfig("Office VPN", "", (), replace_profile_endpoints=False, names={}),
        )
    )


def test_nothing_is_a_configuration_too() -> None:
    assert parse("", "config.toml") == Config()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", NotificationConfig(failures=True, successes=False)),
        ("failures = false", NotificationConfig(failures=False, successes=False)),
        ("successes = true", NotificationConfig(failures=True, successes=True)),
    ],
)
def test_failures_are_told_and_successes_are_not_unless_people_want_it_otherwise(
    text: str, expected: NotificationConfig
) -> None:
    assert parse(f"[notifications]\n{text}", "config.toml") == Config((), expected)


def test_a_section_is_found_by_uuid_before_name_before_interface() -> None:
    text = "".join(f'[tunnel.{name}]\nzone = "auto"\n' for name in ("by-interface", "by-name", "by-uuid"))
    config = parse(text, "config.toml")
    tunnel = Tunnel("by-interface", "by-name", "by-uuid", "/active/1")
    for name in ("by-uuid", "by-name", "by-interface"):
        section = config.section(tunnel)
        assert section is not None
        assert section.connection == name
        config = Config(tuple(each for each in config.tunnels if each.connection != name))
    assert config.section(tunnel) is None


REGISTRY = 'registry = "10.0.0.254"\n'
ZONE = 'zone = "wg.example.com"\n'


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("tunnel = 1", "tunnel", "table"),
        ("tunnels = {}", "tunnels", "expected one of: notifications, tunnel"),
        ("[tunnel]\nhome = 1", "tunnel.home", "table"),
        ("[tunnel.home]", "tunnel.home.zone", "zone"),
        ("[tunnel.home]\nzone = 1", "tunnel.home.zone", "auto"),
        (f"[tunnel.home]\nzone = 0x{'F' * 5000}", "tunnel.home.zone", "not a number of thousands of digits"),
        ('[tunnel.home]\nzone = ""', "tunnel.home.zone", "domain name"),
        ('[tunnel.home]\nzone = "wg.local"', "tunnel.home.zone", "multicast DNS"),
        ("[tunnel.home]\n" + ZONE, "tunnel.home.registry", "address of the registry"),
        ("[tunnel.home]\nregistry = 7\n" + ZONE, "tunnel.home.registry", "10.0.0.254"),
        ('[tunnel.home]\nregistry = "dns.example.com"\n' + ZONE, "tunnel.home.registry", "ADDRESS"),
        ('[tunnel.home]\nregistry = "10.0.0.254:0"\n' + ZONE, "tunnel.home.registry", "ADDRESS"),
        ('[tunnel.home]\nregistry = "0.0.0.0"\n' + ZONE, "tunnel.home.registry", "ADDRESS"),
        ('[tunnel.home]\nregistry = "ff02::fb"\n' + ZONE, "tunnel.home.registry", "ADDRESS"),
        ('[tunnel.home]\nregistry = "fe80::1%a b"\n' + ZONE, "tunnel.home.registry", "ADDRESS"),
        ('[tunnel.home]\nregistry = ["::1", "::1"]\n' + ZONE, "tunnel.home.registry", "once"),
        (f"[tunnel.home]\nregistry = {['::1'] * 9}\n" + ZONE, "tunnel.home.registry", "at most 8"),
        ("[tunnel.home]\nregistery = 1\n" + ZONE + REGISTRY, "tunnel.home.registery", "registry"),
        ('[tunnel.home]\nprofile-endpoints = "no"\n' + ZONE + REGISTRY, "tunnel.home.profile-endpoints", '"keep"'),
        ("[tunnel.home]\nprofile-endpoints = []\n" + ZONE + REGISTRY, "tunnel.home.profile-endpoints", '"keep"'),
        ("[tunnel.home]\nnames = 1\n" + ZONE + REGISTRY, "tunnel.home.names", "table"),
        ("[tunnel.home]\nnames.bob = 1\n" + ZONE + REGISTRY, "tunnel.home.names.bob", "public key"),
        ('[tunnel.home]\nnames.bob = "x"\n' + ZONE + REGISTRY, "tunnel.home.names.bob", "44 letters"),
        (
            f'[tunnel.home]\nnames.bob = "{KEY}"\nnames.rob = "{KEY}"\n' + ZONE + REGISTRY,
            "tunnel.home.names.rob",
            "'bob'",
        ),
        ('[tunnel.""]\nzone = "auto"', "tunnel", "after the dot"),
        ("notifications = true", "notifications", "table"),
        ("[notifications]\nfailure = true", "notifications.failure", "expected one of: failures, successes"),
        ("[notifications]\nfailures = 1", "notifications.failures", "true or false is expected, not '1'"),
        ('[notifications]\nsuccesses = "yes"', "notifications.successes", "true or false is expected, not 'yes'"),
        ("tunnel]", "not TOML", "line 1"),
        ("a = " + "9" * 5000, "not TOML", "digits"),
        ("a = " + "[" * 5000, "not TOML", ""),
    ],
)
def test_a_complaint_names_file_key_and_what_was_expected(text: str, key: str, expected: str) -> None:
    with pytest.raises(ConfigError) as complaint:
        parse(text, "/etc/config.toml")
    assert str(complaint.value).startswith(f"/etc/config.toml: {key}: ")
    assert expected in str(complaint.value)
    assert "\n" not in str(complaint.value)


scalars = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(["auto", "wg.example.com", "10.0.0.254", "keep", "replace", KEY]),
)
words = st.one_of(
    st.sampled_from(
        ["tunnel", "notifications", "failures", "home", "zone", "registry", "profile-endpoints", "names", "bob", ""]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
trees = st.recursive(
    st.one_of(scalars, st.lists(scalars, max_size=3)),
    lambda inner: st.dictionaries(words, inner, max_size=5),
    max_leaves=12,
)
sections = st.fixed_dictionaries(
    {},
    optional={
        "zone": st.one_of(st.just("wg.example.com"), scalars),
        "registry": st.one_of(st.just("10.0.0.254"), scalars, st.lists(scalars, max_size=2)),
        "profile-endpoints": st.one_of(st.just("keep"), scalars),
        "names": st.dictionaries(words, scalars, max_size=2),
    },
)


def toml(value: Any) -> str:
    """Inline TOML of a tree."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case str():
            return '"' + "".join(letter if letter.isalnum() else f"\\U{ord(letter):08x}" for letter in value) + '"'
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case Mapping():
            return "{" + ", ".join(f"{toml(name)} = {toml(inner)}" for name, inner in value.items()) + "}"
    raise TypeError(value)


@settings(max_examples=50)
@given(
    st.one_of(
        st.dictionaries(words, trees, max_size=4),
        st.fixed_dictionaries({"tunnel": st.dictionaries(words, sections, max_size=2)}),
    )
)
def test_any_tree_is_a_configuration_or_a_complaint_about_one_of_its_keys(tree: dict[str, Any]) -> None:
    text = "\n".join(f"{toml(name)} = {toml(value)}" for name, value in tree.items())
    complaint, config = "", Config()
    try:
        config = parse(text, "/etc/config.toml")
    except ConfigError as error:
        complaint = str(error)
    assert complaint.startswith(tuple(f"/etc/config.toml: {name}" for name in ("tunnel", *tree))) or not complaint
    assert all(section.registries or not section.zone for section in config.tunnels)


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("10.0.0.254", Server(ip_address("10.0.0.254"))),
        ("10.0.0.254:5353", Server(ip_address("10.0.0.254"), 5353)),
        ("fd00::1", Server(ip_address("fd00::1"))),
        ("[fd00::1]:53", Server(ip_address("fd00::1"))),
        ("fe80::1%wg0", Server(ip_address("fe80::1%wg0"))),
    ],
)
def test_servers(text: str, server: Server) -> None:
    assert parse_server(text) == server


@pytest.mark.parametrize("text", ["", "registry", "10.0.0.254:", "[10.0.0.1]:53", "[fd00::1]", "10.0.0.254:0", "::"])
def test_what_is_no_server(text: str) -> None:
    with pytest.raises(InvalidValue, match="expected ADDRESS"):
        parse_server(text)
