# SPDX-License-Identifier: GPL-2.0-or-later
"""Flags and TOML to a Config; every complaint names where, which key and what was expected."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from wgsd_nm.core.errors import ConfigError, InvalidValue
from wgsd_nm.core.model import Endpoint
from wgsd_nm.registry.config import Config, parse, parse_listen, parse_toml

FILE = """
device = "wg0"
zone = "WG.example.com"
listen = ["10.0.0.1", "[fd00::1]:5353", "10.0.0.1:53"]
user = "wgsd"
"""


def configured(text: str = FILE, **flags: object) -> Config:
    return parse(flags, parse_toml(text, "registry.toml"), "registry.toml")


def test_a_file_says_it_all() -> None:
    config = configured()
    assert (config.device, str(config.zone), config.user) == ("wg0", "wg.example.com.", "wgsd")
    assert config.listen == (Endpoint.parse("10.0.0.1:53"), Endpoint.parse("[fd00::1]:5353"))
    assert config.addresses == (ip_address("10.0.0.1"), ip_address("fd00::1"))


def test_flags_go_before_the_file_and_may_stand_alone() -> None:
    assert configured(device="wg9", listen=["127.0.0.1"]).listen == (Endpoint.parse("127.0.0.1:53"),)
    config = parse({"device": "wg1", "zone": "wg.home.arpa", "listen": ["0.0.0.0", "::1"]}, {}, "the command line")
    assert (config.device, config.user, config.addresses) == ("wg1", "nobody", ())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("device = ", r"^registry\.toml is not TOML: "),
        (FILE + "listne = 1", r"^registry\.toml: 'listne' is not known: expected device, zone, listen, user$"),
        ('zone = "wg.example.com"', r"^registry\.toml: device is missing: expected the name of a WireGuard device"),
        (FILE.replace('"wg0"', "7"), r"^registry\.toml: device: expected the name of a WireGuard device"),
        (FILE.replace('"wg0"', '"wg/0"'), r"^registry\.toml: device: 'wg/0' is not a network interface name"),
        (FILE.replace("WG.example.com", "office.local"), r"^registry\.toml: zone: 'office\.local' cannot be a zone"),
        (FILE.replace("WG.example.com", ""), r"^registry\.toml: zone: '' is not a zone"),
        (FILE.replace('"10.0.0.1"', '"registry"'), r"^registry\.toml: listen: 'registry' is not an address to listen"),
        (FILE.replace('"10.0.0.1"', "10"), r"^registry\.toml: listen: expected a list of addresses"),
        ('device="wg0"\nzone="wg"\nlisten="10.0.0.1"', r"^registry\.toml: listen: expected a list of addresses"),
        ('device="wg0"\nzone="wg"\nlisten=[]', r"^registry\.toml: listen: expected a list of addresses"),
        (FILE.replace('"wgsd"', "false"), r"^registry\.toml: user: expected the name of an unprivileged user"),
    ],
)
def test_complaints(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        configured(text)


def test_a_wrong_flag_is_not_blamed_on_the_file() -> None:
    with pytest.raises(ConfigError, match=r"^the command line: zone: 'x y' is not a zone"):
        configured(zone="x y")


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("192.0.2.1", "192.0.2.1:53"),
        ("192.0.2.1:5300", "192.0.2.1:5300"),
        ("2001:db8::1", "[2001:db8::1]:53"),
        ("[2001:db8::1]", "[2001:db8::1]:53"),
        ("[2001:db8::1]:5300", "[2001:db8::1]:5300"),
        ("::", "[::]:53"),
    ],
)
def test_addresses_to_listen_at(text: str, endpoint: str) -> None:
    assert parse_listen(text) == Endpoint.parse(endpoint)


@pytest.mark.parametrize(
    "text",
    ["", "wg0", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "[10.0.0.1]", "[::1", "224.0.0.251", "[ff02::fb]:53"],
)
def test_what_is_no_address_to_listen_at(text: str) -> None:
    with pytest.raises(InvalidValue, match="expected an IP address with or without a port"):
        parse_listen(text)
