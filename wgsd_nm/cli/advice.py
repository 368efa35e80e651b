# SPDX-License-Identifier: GPL-2.0-or-later
"""What to do about what the doctor finds, in words. docs/troubleshooting.md says the same at length."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Final

from wgsd_nm.cli import quoting
from wgsd_nm.cli.facts import ConnectionFacts
from wgsd_nm.cli.view import PeerView
from wgsd_nm.core.reason import Reason
from wgsd_nm.core.remedy import REMEDIES

ZONE_UNKNOWN: Final = (
    'Write zone = "wg.example.com" and registry = "10.0.0.254", as they are at your registry, into the section of '
    "this tunnel in the configuration"
)
NOT_SEEN: Final = "It learns where we are from a handshake: look at the registry peer below"
NOT_PUBLISHED: Final = "wgsd-nm refresh asks again; if that does not help, ask the registry's administrator"
REGISTRY_PEER_SILENT: Final = REMEDIES[Reason.REGISTRY_SILENT]
OUR_NAT: Final = REMEDIES[Reason.OWN_SYMMETRIC_NAT]
IF_WANTED: Final = "If it should be reachable at any time"

_REGISTRY: Final = "See the registry's line above"

_BY_REASON: Final[Mapping[str, str]] = {
    **REMEDIES,
    Reason.NO_ANSWER: _REGISTRY,
    Reason.REGISTRY_UNREACHABLE: _REGISTRY,
    Reason.REGISTRY_REFUSED: _REGISTRY,
}


def for_reason(peer: PeerView, connection: ConnectionFacts | None) -> str:
    """What to do about a peer that is not reached for that reason; "" where that is a newer agent's."""
    if peer.reason == Reason.PROFILE_ENDPOINT:
        section = _section(peer, connection)
        return (
            f"To have it found, take the endpoint out of {section}, or write "
            'profile-endpoints = "replace" into the section of this tunnel in the configuration'
        )
    return _BY_REASON.get(peer.reason, "")


def keepalive(peer: PeerView, connection: ConnectionFacts | None) -> str:
    """How to switch a peer's keepalive on."""
    name, value = "persistent-keepalive=25", _section(peer, connection)
    if connection is None or connection.external:
        return f"write PersistentKeepalive = 25 into {value}, and make the device anew"
    up = f"nmcli connection up {quoting.connection_id(connection)}"
    return f"write {name} into {value}, then: nmcli connection reload && {up}"


def _section(peer: PeerView, connection: ConnectionFacts | None) -> str:
    if connection is None or connection.external:
        return f"the section of {peer.public_key} in the file that the device is made of"
    return (
        f"[wireguard-peer.{peer.public_key}] of the connection's file "
        f"(nmcli -f NAME,FILENAME connection show tells where it is)"
    )


def name_to_helper(interface: str) -> str:
    """How to have the helper act on a device that NetworkManager has not made."""
    return (
        f"NetworkManager did not make {interface}, so root has to name it: "
        f"interfaces = [{quoting.toml_text(interface)}] in /etc/wgsd-nm/helper.toml"
    )


def admit(connection: ConnectionFacts, user: str) -> str:
    """How to have a profile's permissions admit a user."""
    permission = shlex.quote(f"user:{user}")
    return f"sudo nmcli connection modify {quoting.connection_id(connection)} +connection.permissions {permission}"


def loosen(interfaces: Sequence[str]) -> str:
    """How to have strict reverse path filters let in what comes beside a tunnel."""
    settings = " ".join(shlex.quote(f"net.ipv4.conf.{name.replace('.', '/')}.rp_filter=2") for name in interfaces)
    return f"Make it loose: sysctl {settings}"


def registry_fails(zone: str, registries: Sequence[str], others: Sequence[PeerView]) -> str:
    """What to do where lookups fail."""
    if any(peer.reason == Reason.REGISTRY_REFUSED for peer in others):
        return f"Does it serve {zone}, and may we ask? {_ask(zone, registries, 'SOA')} shows what it says"
    return (
        "Is the registry peer below reached, and the registry's program running at that address? "
        f"{_ask(zone, registries, 'SOA')} shows what it says"
    )


def list_zone(zone: str, registries: Sequence[str]) -> str:
    """How to see which peers a registry publishes."""
    return f"{_ask(f'_wireguard._udp.{zone}', registries, 'PTR')} lists the peers that it has there"


def _ask(name: str, registries: Sequence[str], kind: str) -> str:
    name, server = shlex.quote(name), registries[0] if registries else "10.0.0.254"
    host, colon, port = server.rpartition(":")
    if colon and (host.startswith("[") or ":" not in host):
        return f"dig -p {port} @{host.strip('[]')} {name} {kind}"
    return f"dig @{server} {name} {kind}"
