# SPDX-License-Identifier: GPL-2.0-or-later
"""What to do about a peer that is not reached, for each reason in words. docs/troubleshooting.md says it at length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wgsd_nm.core.reason import Reason

_ADDRESS: Final = "The registry serves an endpoint that leads nowhere: its administrator has to correct that"
_WAIT: Final = "It is found as soon as it has shaken hands with the registry: is it on, and its tunnel up?"
_SERVER: Final = "Is the registry's program running, at the address that the configuration names?"

REMEDIES: Final[Mapping[str, str]] = {
    Reason.NO_REPLY: (
        "Is that machine on, with its agent running and a keepalive towards us? Both sides have to send for their NATs "
        "to open; a firewall on either side has to let the tunnel's UDP port through"
    ),
    Reason.PROFILE_ENDPOINT: (
        "To have it found, take the endpoint out of the connection's profile, or write "
        'profile-endpoints = "replace" into the section of this tunnel in the configuration'
    ),
    Reason.REGISTRY_SILENT: (
        "Is the endpoint in the profile right, and UDP to its port let through here and there? Do both sides have each "
        "other's public key? On the registry, wg show tells whether our handshakes arrive"
    ),
    Reason.STOOD_DOWN: (
        "Find out which script or program sets it, and stop that; the next change of network ends this"
    ),
    Reason.SAME_PUBLIC_ADDRESS: ("Switch hairpin NAT on in the router that you share, or set the peer's local address"),
    Reason.SYMMETRIC_NAT: "The NAT of that peer gives each destination another port: forward a port there, or use IPv6",
    Reason.OWN_SYMMETRIC_NAT: (
        "Peers behind such NATs, or strict ones, cannot be reached from here. Use IPv6 where there is some, forward "
        "the tunnel's UDP port in the router, or use another network"
    ),
    Reason.BOTH_SYMMETRIC: "Neither NAT can be passed: forward the tunnel's UDP port in one router, or use IPv6",
    Reason.NOT_REGISTERED: f"{_WAIT} Does the registry publish it in this zone?",
    Reason.NO_ENDPOINT: _WAIT,
    Reason.NO_ANSWER: _SERVER,
    Reason.REGISTRY_UNREACHABLE: _SERVER,
    Reason.REGISTRY_REFUSED: "Does it serve the zone that the configuration names, and may we ask?",
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
}
"""Each for a peer that people want and that is not reached. Without the full stop."""
