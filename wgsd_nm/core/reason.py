# SPDX-License-Identifier: GPL-2.0-or-later
"""Why something is as it is: the documented codes of the bus, and for each one sentence for a person."""

from __future__ import annotations

from enum import StrEnum

from wgsd_nm.core.errors import BadAnswer, LookupFailed, NoEndpoint, NoSuchPeer, RegistryRefused, RegistryUnreachable
from wgsd_nm.core.model import Endpoint, endpoint_text


class Reason(StrEnum):
    """The codes. A client shows the sentence that came with a code that it does not know."""

    # Why an endpoint changed.
    FOUND = "found"
    MOVED = "moved"
    SILENT = "silent"
    ROAMED = "roamed"
    CACHED = "cached"
    ROLLED_BACK = "rolled-back"
    RESOLVED = "resolved"

    # Why a peer is in its state.
    CONNECTED = "connected"
    UNPROVEN = "unproven"
    NO_REPLY = "no-reply"
    NOT_WANTED = "not-wanted"
    LOOKING_UP = "looking-up"
    PROFILE_ENDPOINT = "profile-endpoint"
    REGISTRY_SILENT = "registry-silent"
    STOOD_DOWN = "stood-down"
    SAME_PUBLIC_ADDRESS = "same-public-address"
    SYMMETRIC_NAT = "symmetric-nat"
    OWN_SYMMETRIC_NAT = "own-symmetric-nat"
    BOTH_SYMMETRIC = "both-symmetric"

    # Why a lookup gave nothing.
    NOT_REGISTERED = "not-registered"
    NO_ENDPOINT = "no-endpoint"
    NO_ANSWER = "no-answer"
    REGISTRY_UNREACHABLE = "registry-unreachable"
    REGISTRY_REFUSED = "registry-refused"
    BAD_ANSWER = "bad-answer"

    # Why the registry's endpoint is not used.
    UNSPECIFIED = "unspecified-address"
    LOOPBACK = "loopback-address"
    MULTICAST = "multicast-address"
    LINK_LOCAL = "link-local-address"
    RESERVED_ADDRESS = "reserved-address"
    PORT_ZERO = "port-zero"
    BROADCAST = "broadcast-address"
    OWN_ADDRESS = "own-address"
    INSIDE_TUNNEL = "inside-tunnel"
    NO_ROUTE = "no-route"


_SENTENCES = {
    Reason.FOUND: "The registry reported {endpoint}.",
    Reason.MOVED: "The registry reports that the peer has moved to {endpoint}.",
    Reason.SILENT: "The endpoint in use carried nothing, so {endpoint} of the registry is tried.",
    Reason.ROAMED: "The kernel has another endpoint, {endpoint}: the peer was heard there, or somebody set it.",
    Reason.CACHED: "No registry's endpoint works, so {endpoint}, which last worked on this network, is tried.",
    Reason.ROLLED_BACK: "The new endpoint carried nothing, so {endpoint}, the one before, is tried again.",
    Reason.RESOLVED: "The host name in the profile stands for {endpoint} now.",
    Reason.CONNECTED: "The peer answers from {endpoint}.",
    Reason.UNPROVEN: "{endpoint} is being tried; nothing has come back yet.",
    Reason.NO_REPLY: "Nothing comes back from {endpoint}; a NAT or firewall on the way may not let us through.",
    Reason.NOT_WANTED: "Nothing is sent to this peer, so its path is not tried.",
    Reason.LOOKING_UP: "The registry is being asked.",
    Reason.PROFILE_ENDPOINT: "The connection's profile names an endpoint for this peer, so it is left alone.",
    Reason.REGISTRY_SILENT: "Nothing comes back from the registry's peer at {endpoint}; every lookup depends on it.",
    Reason.STOOD_DOWN: "Something else keeps setting {endpoint}, so it is left alone until the network changes.",
    Reason.SAME_PUBLIC_ADDRESS: "The peer is behind the same public address as we are, and the router does not lead "
    "{endpoint} back inside; on one network set the peer's local address.",
    Reason.SYMMETRIC_NAT: "The peer's NAT gives it another port for each destination, so nobody else can reach "
    "{endpoint}.",
    Reason.OWN_SYMMETRIC_NAT: "Our NAT gives us another port for each destination, so {endpoint} does not expect us.",
    Reason.BOTH_SYMMETRIC: "Both our NAT and the peer's give another port for each destination: no direct path to "
    "{endpoint} is possible.",
    Reason.NOT_REGISTERED: "The registry does not know this peer, or has not heard from it yet.",
    Reason.NO_ENDPOINT: "The registry has not heard from this peer yet.",
    Reason.NO_ANSWER: "The registry did not answer in time.",
    Reason.REGISTRY_UNREACHABLE: "The registry cannot be reached.",
    Reason.REGISTRY_REFUSED: "The registry refused to answer.",
    Reason.BAD_ANSWER: "The registry's answer is not about this peer, so nothing in it is used.",
    Reason.UNSPECIFIED: "The registry reported {endpoint}, which is nobody's address.",
    Reason.LOOPBACK: "The registry reported {endpoint}, which means this machine itself.",
    Reason.MULTICAST: "The registry reported {endpoint}, which is a multicast address.",
    Reason.LINK_LOCAL: "The registry reported {endpoint}, which means something only on the registry's own link.",
    Reason.RESERVED_ADDRESS: "The registry reported {endpoint}, which is reserved and used by nobody.",
    Reason.PORT_ZERO: "The registry reported {endpoint}, to whose port nothing can be sent.",
    Reason.BROADCAST: "The registry reported {endpoint}, which is this network's broadcast address.",
    Reason.OWN_ADDRESS: "The registry reported {endpoint}, which is this machine's own address.",
    Reason.INSIDE_TUNNEL: "The registry reported {endpoint}, which lies inside the tunnel itself.",
    Reason.NO_ROUTE: "The registry reported {endpoint}, and this network has no route to such addresses.",
}


def sentence(reason: Reason, endpoint: Endpoint | None = None) -> str:
    """The reason in English, about that endpoint."""
    return _SENTENCES[reason].format(endpoint=endpoint_text(endpoint) or "no endpoint")


def of_failure(error: LookupFailed) -> Reason:
    """The code for a lookup that gave nothing."""
    match error:
        case NoSuchPeer():
            return Reason.NOT_REGISTERED
        case NoEndpoint():
            return Reason.NO_ENDPOINT
        case RegistryUnreachable():
            return Reason.REGISTRY_UNREACHABLE
        case RegistryRefused():
            return Reason.REGISTRY_REFUSED
        case BadAnswer():
            return Reason.BAD_ANSWER
        case _:
            return Reason.NO_ANSWER
