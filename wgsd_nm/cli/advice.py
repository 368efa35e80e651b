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

ZONE_UNKNOWN: Final = (
    'Write zone = "wg.example.com" and registry = "10.0.0.254", as they are at your registry, into the section of '
    "this tunnel in the configuration"
)
NOT_SEEN: Final = "It learns where we are from a handshake: look at the registry peer below"
NOT_PUBLISHED: Final = "wgsd-nm refresh asks again; if that does not help, ask the registry's administrator"
REGISTRY_PEER_SILENT: Final = (
    "Is the endpoint in the profile right, and UDP to its port let through here and there? Do both sides have each "
    "other's public key? On the registry, wg show tells whether our handshakes arrive"
)
OUR_NAT: Final = (
    "Peers behind such NATs, or strict ones, cannot be reached from here. Use IPv6 where there is some, forward the "
    "tunnel's UDP port in the router, or use another network"
)
IF_WANTED: Final = "If it should be reachable at any time"

_HOLE: Final = (
    "Is that machine on, with its agent running and a keepalive towards us? Both sides have to send for their NATs to "
    "open; a firewall on either side has to let the tunnel's UDP port through"
)
_REGISTRY: Final = "See the registry's line above"
_ADDRESS: Final = "The registry serves an endpoint that leads nowhere: its administrator has to correct that"
_WAIT: Final = "It is found as soon as it has shaken hands with the registry: is it on, and its tunnel up?"

_BY_REASON: Final[Mapping[str, str]] = {
    Reason.NO_REPLY: _HOLE,
    Reason.NOT_REGISTERED: f"{_WAIT} Does the registry publish it in this zone?",
    Reason.NO_ENDPOINT: _WAIT,
    Reason.NO_ANSWER: _REGISTRY,
    Reason.REGISTRY_UNREACHABLE: _REGISTRY,
    Reason.REGISTRY_REFUSED: _REGISTRY,
    Reason.BAD_ANSWER: "Does the registry's name for this peer belong to another key? Its administrator can tell",
    Reason.UNSPECIFIED: _ADDRESS,
    Reason.LOOPBACK: _ADDRESS,
    Reason.MULTICAST: _ADDRESS,
    Reason.LINK_LOCAL: _ADDRESS,
    Reason.RESERVED_ADDRESS: _ADDRESS,
    Reason.PORT_ZERO: _ADDRESS,
    Reason.BROADCAST: _ADDRESS,
    Reason.OWN_ADDRESS: "Do two machines use the same key? Each needs one of its own",
    Reason.INSIDE_TUNNEL: "The registry sees that peer through another tunnel, or has a wrong endpoint for it",
    Reason.NO_ROUTE: "The peer is on the other family of addresses: use a network that has both IPv4 and IPv6",
    Reason.SYMMETRIC_NAT: "The NAT of that peer gives each destination another port: forward a port there, or use IPv6",
    Reason.OWN_SYMMETRIC_NAT: OUR_NAT,
    Reason.BOTH_SYMMETRIC: "Neither NAT can be passed: forward the tunnel's UDP port in one router, or use IPv6",
    Reason.SAME_PUBLIC_ADDRESS: "Switch hairpin NAT on in the router that you share, or set the peer's local address",
    Reason.STOOD_DOWN: "Find out which script or program sets it, and stop that; the next change of network ends this",
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
