# SPDX-License-Identifier: GPL-2.0-or-later
"""What one look at a registry means for the peers of a device. It knows nothing of sockets and netlink."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, assert_never

from wgsd_nm.core.errors import LookupFailed, NegativeAnswer
from wgsd_nm.core.ground import WHOLE, Ground
from wgsd_nm.core.model import (
    Advertisement,
    ChangeResult,
    Device,
    Endpoint,
    EndpointChange,
    IPAddress,
    IPNetwork,
    Network,
    Peer,
    PublicKey,
    Server,
    Tunnel,
    endpoint_text,
)
from wgsd_nm.core.reason import of_failure, sentence

ALIVE: Final = 135_000_000
"""Microseconds for which a handshake proves a path, as WireGuard's own reresolve-dns has it."""


ANY_MARK: Final = 1


class Result(StrEnum):
    """What became of a peer; a word of the JSON output."""

    SET = "set"
    WOULD_SET = "would-set"
    UNCHANGED = "unchanged"
    ALIVE = "alive"
    ROAMED = "roamed"
    REGISTRY = "registry"
    UNKNOWN = "unknown"
    UNUSABLE = "unusable"
    FAILED = "failed"


NOTEWORTHY: Final = frozenset({Result.SET, Result.WOULD_SET, Result.ROAMED, Result.UNUSABLE, Result.FAILED})


@dataclass(frozen=True, slots=True)
class Verdict:
    """One peer's: `endpoint` is the one to be in use now, None for none; `text` is for a person."""

    peer: Peer
    result: Result
    text: str
    endpoint: Endpoint | None
    name: str = ""


def registry_peer(device: Device, address: IPAddress) -> tuple[PublicKey, IPNetwork] | None:
    """The peer to which the kernel sends what goes to an address inside the tunnel, and by which of its AllowedIPs."""
    routes = [
        (prefix.prefixlen, peer.public_key, prefix)
        for peer in device.peers
        for prefix in peer.allowed_ips
        if address in prefix
    ]
    if not routes:
        return None
    _, key, prefix = max(routes, key=lambda route: route[0])
    return key, prefix


def bound(server: Server, device: Device) -> Server:
    """The server, to be asked on the device if it is inside the tunnel: then no question ever leaks outside.

    An address that only a peer with all of the internet behind it covers may be meant to be asked beside the tunnel.
    """
    route = registry_peer(device, server.address)
    return replace(server, device=device.interface) if route and route[1].prefixlen > WHOLE else server


def judge(
    device: Device,
    registry: PublicKey | None,
    answers: Mapping[PublicKey, Advertisement | LookupFailed],
    now: int,
    *,
    force: bool = False,
) -> list[Verdict]:
    """What to do with each peer, in the kernel's order. `now` is in microseconds since the epoch."""
    ground = _ground(device)
    return [
        Verdict(peer, Result.REGISTRY, "left alone: the registry is behind it", peer.endpoint)
        if peer.public_key == registry
        else _judge(peer, answers[peer.public_key], ground, now, force)
        for peer in device.peers
    ]


def _ground(device: Device) -> Ground:
    """What can be reached by what stands on the device alone: nothing inside its tunnel.

    Routes are the administrator's here; a peer with all of the internet behind it has them, with or without a mark.
    """
    tunnel = Tunnel(device.interface, "", "", "", fwmark=device.fwmark or ANY_MARK)
    return replace(Ground.of(Network(), tunnel, device.peers), versions=frozenset((4, 6)))


def _judge(peer: Peer, answer: Advertisement | LookupFailed, ground: Ground, now: int, force: bool) -> Verdict:
    match answer:
        case NegativeAnswer():
            return Verdict(peer, Result.UNKNOWN, sentence(of_failure(answer)), peer.endpoint)
        case LookupFailed():
            return Verdict(peer, Result.FAILED, str(answer), peer.endpoint)
        case Advertisement():
            return _weighed(peer, answer, ground, now, force)
        case _:
            assert_never(answer)


def _weighed(peer: Peer, answer: Advertisement, ground: Ground, now: int, force: bool) -> Verdict:
    refusals = {endpoint: ground.refusal(endpoint) for endpoint in answer.endpoints}
    usable = [endpoint for endpoint, refusal in refusals.items() if refusal is None]
    if not usable:
        text = " ".join(sentence(refusal, endpoint) for endpoint, refusal in refusals.items() if refusal)
        return Verdict(peer, Result.UNUSABLE, text, peer.endpoint, answer.name)
    if peer.endpoint in usable:
        return Verdict(peer, Result.UNCHANGED, f"{peer.endpoint} is in use already", peer.endpoint, answer.name)
    age = now - peer.latest_handshake
    if peer.endpoint is not None and abs(age) < ALIVE and not force:
        text = f"left alone: it answered from {peer.endpoint} {age // 1_000_000} s ago; the registry says {usable[0]}"
        return Verdict(peer, Result.ALIVE, text, peer.endpoint, answer.name)
    text = f"would be set to {usable[0]} (from {endpoint_text(peer.endpoint) or 'none'})"
    return Verdict(peer, Result.WOULD_SET, text, usable[0], answer.name)


def change(verdict: Verdict) -> EndpointChange:
    """The change that carries out a verdict of WOULD_SET."""
    return EndpointChange(verdict.peer.public_key, verdict.peer.endpoint, verdict.endpoint)


def settled(verdict: Verdict, result: ChangeResult) -> Verdict:
    """The verdict after its change came to a result."""
    was = verdict.peer.endpoint
    match result:
        case ChangeResult.CHANGED | ChangeResult.POKED:
            text = f"set to {verdict.endpoint} (was {endpoint_text(was) or 'none'})"
            return replace(verdict, result=Result.SET, text=text)
        case ChangeResult.STALE:
            return replace(verdict, result=Result.ROAMED, text="left alone: it roamed meanwhile", endpoint=None)
        case ChangeResult.UNKNOWN_PEER | ChangeResult.NO_ENDPOINT:
            return replace(verdict, result=Result.FAILED, text="the device lost this peer meanwhile", endpoint=was)
        case _:
            assert_never(result)


def unwritten(verdict: Verdict, cause: Exception) -> Verdict:
    """The verdict after its change could not be written."""
    return replace(verdict, result=Result.FAILED, text=str(cause), endpoint=verdict.peer.endpoint)
