# SPDX-License-Identifier: GPL-2.0-or-later
"""What the registry is told: TOML text and flags in, a Config out. Knows nothing of sockets or devices.

device = "wg0"
zone = "wg.example.com"
listen = ["10.0.0.1", "[fd00::1]:53"]
user = "nobody"
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import dns.name

from wgsd_nm.core.dnssd import parse_zone
from wgsd_nm.core.errors import ConfigError, InvalidValue
from wgsd_nm.core.model import Endpoint, IPAddress, parse_interface, shown

T = TypeVar("T")

DNS_PORT = 53
DEFAULT_USER = "nobody"
FLAGS = "the command line"
"""The name of the flags where a file's name would stand in a complaint."""
KEYS = {
    "device": 'the name of a WireGuard device, like "wg0"',
    "zone": 'a domain name, like "wg.example.com"',
    "listen": 'a list of addresses with or without a port, like ["10.0.0.1", "[fd00::1]:53"]',
    "user": 'the name of an unprivileged user, like "nobody"',
}
"""What is expected of each."""


@dataclass(frozen=True, slots=True)
class Config:
    """One zone over one device, at some addresses."""

    device: str
    zone: dns.name.Name
    listen: tuple[Endpoint, ...]
    user: str = DEFAULT_USER

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Those by which others may know the registry."""
        found = (endpoint.address for endpoint in self.listen)
        return tuple(dict.fromkeys(address for address in found if not (address.is_unspecified or address.is_loopback)))


def parse_toml(text: str, source: str) -> dict[str, object]:
    """The keys and values of a configuration file called `source`. Raises ConfigError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not TOML: {error}") from error


def parse(flags: Mapping[str, object], file: Mapping[str, object], source: str) -> Config:
    """The configuration of flags over that of a file called `source`, by the same keys. Raises ConfigError."""
    for key in file:
        if key not in KEYS:
            raise ConfigError(f"{source}: {shown(key)} is not known: expected {', '.join(KEYS)}")

    def value(key: str, read: Callable[[object], T], default: T | None = None) -> T:
        named, values = (FLAGS, flags) if key in flags else (source, file)
        if key not in values:
            if default is None:
                raise ConfigError(f"{source or FLAGS}: {key} is missing: expected {KEYS[key]}")
            return default
        try:
            return read(values[key])
        except InvalidValue as error:
            raise ConfigError(f"{named}: {key}: {error}") from error
        except TypeError:
            raise ConfigError(f"{named}: {key}: expected {KEYS[key]}") from None

    return Config(
        device=value("device", lambda given: parse_interface(_text(given))),
        zone=value("zone", lambda given: parse_zone(_text(given))),
        listen=value("listen", _listen),
        user=value("user", _text, DEFAULT_USER),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _listen(value: object) -> tuple[Endpoint, ...]:
    if not isinstance(value, list) or not value:
        raise TypeError
    return tuple(dict.fromkeys(parse_listen(_text(item)) for item in value))


def parse_listen(text: str) -> Endpoint:
    """From `192.0.2.1`, `192.0.2.1:53`, `2001:db8::1` or `[2001:db8::1]:53`; port 53 if none is given.

    Raises InvalidValue.
    """
    for form in (text, f"{text}:{DNS_PORT}", f"[{text}]:{DNS_PORT}"):
        try:
            endpoint = Endpoint.parse(form)
        except InvalidValue:
            continue
        if endpoint.port and not endpoint.address.is_multicast:
            return endpoint
    raise InvalidValue(
        f"{shown(text)} is not an address to listen at: expected an IP address with or without a port, "
        "like 10.0.0.1, 10.0.0.1:53 or [fd00::1]:53"
    )
