# SPDX-License-Identifier: GPL-2.0-or-later
"""TOML text in, Config out. It knows nothing of files: `source` is only what a complaint calls the text.

[tunnel.wg-home]                 # a connection's name or UUID, or an interface
zone = "wg.example.com"          # or "auto": DNS server and search domain of the NetworkManager profile
registry = "10.0.0.254"          # ADDRESS or ADDRESS:PORT, or a list of them
profile-endpoints = "keep"       # or "replace": also manage peers whose profile names an endpoint

[tunnel.wg-home.names]
bob = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="

[notifications]                  # what the desktop shows people unasked
failures = true                  # a wanted peer cannot be reached
successes = false                # a peer is reached
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from wgsd_nm.core.dnssd import parse_zone
from wgsd_nm.core.errors import ConfigError, InvalidValue
from wgsd_nm.core.model import Endpoint, PublicKey, Server, Tunnel, shown

AUTO: Final = "auto"
MAX_REGISTRIES: Final = 8
DNS_PORT: Final = 53


@dataclass(frozen=True, slots=True)
class TunnelConfig:
    """One configured tunnel. `zone` is "" for auto; `names` maps a peer's key to what people call it."""

    connection: str
    zone: str
    registries: tuple[Server, ...]
    replace_profile_endpoints: bool
    names: Mapping[PublicKey, str]


@dataclass(frozen=True, slots=True)
class NotificationConfig:
    """What people are told unasked."""

    failures: bool = True
    successes: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """All that is configured."""

    tunnels: tuple[TunnelConfig, ...] = ()
    notifications: NotificationConfig = NotificationConfig()

    def section(self, tunnel: Tunnel) -> TunnelConfig | None:
        """The section about a tunnel: by UUID before name before interface. None: the tunnel is not ours to touch."""
        for own in (tunnel.connection_uuid, tunnel.connection_id, tunnel.interface):
            for section in self.tunnels:
                if section.connection == own:
                    return section
        return None


def parse(text: str, source: str) -> Config:
    """Raises ConfigError: file, key, what was expected."""
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers and nesting beyond what Python takes
        raise ConfigError(f"{source}: not TOML: {error}") from error
    return _Reader(source).config(tree)


class _Reader:
    """Walks the tree; every complaint begins with the source and the key."""

    def __init__(self, source: str) -> None:
        self._source = source

    def config(self, tree: dict[str, Any]) -> Config:
        self._known("", tree, {"tunnel", "notifications"})
        sections = self._table("tunnel", tree.get("tunnel", {}))
        tunnels = tuple(self._tunnel(connection, value) for connection, value in sections.items())
        return Config(tunnels, self._notifications("notifications", tree.get("notifications", {})))

    def _notifications(self, key: str, value: Any) -> NotificationConfig:
        table = self._table(key, value)
        default = NotificationConfig()
        self._known(key, table, {"failures", "successes"})
        return NotificationConfig(
            failures=self._switch(f"{key}.failures", table.get("failures", default.failures)),
            successes=self._switch(f"{key}.successes", table.get("successes", default.successes)),
        )

    def _switch(self, key: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise self._wrong(key, f"true or false is expected, not {_given(value)}")
        return value

    def _tunnel(self, connection: str, value: Any) -> TunnelConfig:
        key = f"tunnel.{connection}"
        table = self._table(key, value)
        self._known(key, table, {"zone", "registry", "profile-endpoints", "names"})
        if not connection:
            raise self._wrong("tunnel", "a connection's name or UUID, or an interface, is expected after the dot")
        zone = self._zone(f"{key}.zone", table.get("zone"))
        registries = self._registries(f"{key}.registry", table.get("registry", []))
        if zone and not registries:
            raise self._wrong(f"{key}.registry", 'the address of the registry is expected, like "10.0.0.254"')
        policy = table.get("profile-endpoints", "keep")
        if policy not in ("keep", "replace"):
            raise self._wrong(f"{key}.profile-endpoints", f'"keep" or "replace" is expected, not {_given(policy)}')
        names = self._names(f"{key}.names", table.get("names", {}))
        return TunnelConfig(connection, zone, registries, policy == "replace", names)

    def _zone(self, key: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self._wrong(key, f'a DNS zone, like "wg.example.com", or "auto" is expected, not {_given(value)}')
        if value == AUTO:
            return ""
        try:
            return parse_zone(value).to_text()
        except InvalidValue as error:
            raise self._wrong(key, str(error)) from error

    def _registries(self, key: str, value: Any) -> tuple[Server, ...]:
        texts = value if isinstance(value, list) else [value]
        if len(texts) > MAX_REGISTRIES:
            raise self._wrong(key, f"at most {MAX_REGISTRIES} registries are expected, not {len(texts)}")
        servers = tuple(self._server(key, text) for text in texts)
        if len(set(servers)) != len(servers):
            raise self._wrong(key, "each registry is expected once")
        return servers

    def _server(self, key: str, value: Any) -> Server:
        if isinstance(value, str):
            try:
                return parse_server(value)
            except InvalidValue as error:
                raise self._wrong(key, str(error)) from error
        raise self._wrong(key, f'an address, like "10.0.0.254", is expected, not {_given(value)}')

    def _names(self, key: str, value: Any) -> dict[PublicKey, str]:
        names: dict[PublicKey, str] = {}
        for name, text in self._table(key, value).items():
            if not isinstance(text, str):
                raise self._wrong(f"{key}.{name}", f"a peer's public key is expected, not {_given(text)}")
            try:
                public_key = PublicKey.parse(text)
            except InvalidValue as error:
                raise self._wrong(f"{key}.{name}", str(error)) from error
            if public_key in names:
                raise self._wrong(f"{key}.{name}", f"this key is already named {shown(names[public_key])}")
            names[public_key] = name
        return names

    def _table(self, key: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._wrong(key, f"a table, [{key}], is expected, not {_given(value)}")
        return value

    def _known(self, key: str, table: dict[str, Any], known: set[str]) -> None:
        for name in table:
            if name not in known:
                path = f"{key}.{name}" if key else name
                raise self._wrong(path, f"unknown key; expected one of: {', '.join(sorted(known))}")

    def _wrong(self, key: str, complaint: str) -> ConfigError:
        return ConfigError(f"{self._source}: {key}: {complaint}")


def parse_server(text: str) -> Server:
    """A DNS server from ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT. Raises InvalidValue."""
    try:
        try:
            endpoint = Endpoint(ip_address(text), DNS_PORT)
        except ValueError:
            endpoint = Endpoint.parse(text)
        if endpoint.port == 0 or endpoint.address.is_unspecified or endpoint.address.is_multicast:
            raise InvalidValue
    except InvalidValue:
        raise InvalidValue(
            f"{shown(text)} is not a DNS server's address: expected ADDRESS or ADDRESS:PORT, like 10.0.0.254:53"
        ) from None
    return Server(endpoint.address, endpoint.port)


def _given(value: Any) -> str:
    if value is None:
        return "nothing"
    try:
        return shown(value if isinstance(value, str) else repr(value))
    except ValueError:
        return "a number of thousands of digits"  # which Python does not turn into text
