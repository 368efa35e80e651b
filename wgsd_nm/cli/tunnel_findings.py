# SPDX-License-Identifier: GPL-2.0-or-later
"""The part of the doctor's walk that is about one tunnel: its registry, the registry's peer, the other peers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from wgsd_nm.cli import advice
from wgsd_nm.cli.facts import ConnectionFacts, Facts
from wgsd_nm.cli.finding import Finding, cannot_tell, capital, ok, problem, sentence
from wgsd_nm.cli.profiles import registry_peers
from wgsd_nm.cli.status import ago
from wgsd_nm.cli.view import PeerView, TunnelView
from wgsd_nm.core.ground import WHOLE
from wgsd_nm.core.model import ProfilePeer

REGISTRY_SILENT = "registry-silent"
UNDER_WAY = ("probing", "unknown")


def tunnel_findings(
    tunnel: TunnelView, peers: Sequence[PeerView], connection: ConnectionFacts | None, facts: Facts
) -> Iterator[Finding]:
    """Of a tunnel that nothing keeps from working but itself."""
    profile = registry_peers(connection, tunnel.registries) if connection else ()
    keys = {str(peer.public_key) for peer in profile} | {p.public_key for p in peers if p.reason == REGISTRY_SILENT}
    leading, others = ([p for p in peers if (p.public_key in keys) is wanted] for wanted in (True, False))
    found = [
        _registry(tunnel, leading, others, facts),
        *_registry_peer(tunnel, leading, connection, profile),
        *_filter(tunnel, leading, connection, facts),
        *_nat(tunnel, others),
        *(_peer(peer, connection) for peer in others),
    ]
    yield from (replace(each, interface=tunnel.interface) for each in found)


def _registry(tunnel: TunnelView, leading: Sequence[PeerView], others: Sequence[PeerView], facts: Facts) -> Finding:
    step, where = "registry", ", ".join(tunnel.registries)
    general = {"", facts.config.problem, facts.agent.said.last_error if facts.agent.said else ""}
    if not tunnel.zone:
        return problem(step, sentence(tunnel.last_error or "No zone is known"), advice.ZONE_UNKNOWN)
    if tunnel.last_error not in general:
        return problem(step, sentence(tunnel.last_error), advice.registry_fails(tunnel.zone, tunnel.registries, others))
    if not tunnel.last_lookup:
        return cannot_tell(step, f"{where} has not answered yet.", "Run this again in a few seconds")
    answers = f"{where} answers for {tunnel.zone}"
    if tunnel.public_endpoints:
        how = ", ".join(filter(None, (f"last {ago(tunnel.last_lookup, facts.clock.now)}", tunnel.learns_by)))
        return ok(step, f"{answers} ({how}), and sees us at {', '.join(tunnel.public_endpoints)}.")
    if tunnel.state == "looking-up":
        return cannot_tell(step, f"{where} is being asked.", "Run this again in a few seconds")
    if others and all(peer.last_error for peer in others):
        text = f"{answers}, but knows neither us nor any of our peers there: is the zone right?"
        return problem(step, text, advice.list_zone(tunnel.zone, tunnel.registries))
    if any(peer.state == "connected" for peer in leading):
        text = f"{answers}, but has not said where it sees us. If it does not publish us, nobody can find us."
        return cannot_tell(step, text, advice.NOT_PUBLISHED)
    return problem(step, f"{answers}, but has no endpoint of ours yet, so nobody can find us.", advice.NOT_SEEN)


def _registry_peer(
    tunnel: TunnelView,
    leading: Sequence[PeerView],
    connection: ConnectionFacts | None,
    profile: Sequence[ProfilePeer],
) -> Iterator[Finding]:
    step = "registry peer"
    if not leading:
        if tunnel.registries and connection and connection.peers:
            where = ", ".join(tunnel.registries)
            text = f"No peer's allowed IPs hold {where} in particular, so the registry is asked outside of the tunnel."
            yield cannot_tell(step, text, "If it is inside, add its address to the allowed IPs of its peer")
        return
    configured = {str(peer.public_key): peer.persistent_keepalive for peer in profile}
    for peer in leading:
        keepalive = _keepalive(peer, configured.get(peer.public_key))
        yield replace(_leading(peer, keepalive, connection), name=peer.name)


def _leading(peer: PeerView, keepalive: int | None, connection: ConnectionFacts | None) -> Finding:
    step = "registry peer"
    if keepalive == 0:
        text = "Its keepalive is off: when nothing is sent for a while our NAT forgets us, and the registry loses us."
        return problem(step, text, capital(advice.keepalive(peer, connection)))
    if peer.state == "connected":
        return ok(step, peer.text)
    if not peer.latest_handshake and peer.state not in UNDER_WAY:
        text = "It has never answered, and every lookup depends on it."
        return problem(step, f"{peer.text} {text}", advice.REGISTRY_PEER_SILENT)
    if peer.state in UNDER_WAY:
        return cannot_tell(step, peer.text, "Run this again in a quarter of a minute")
    if peer.state == "idle":
        return ok(step, peer.text)
    return problem(step, peer.text, advice.REGISTRY_PEER_SILENT)


def _filter(
    tunnel: TunnelView, leading: Sequence[PeerView], connection: ConnectionFacts | None, facts: Facts
) -> Iterator[Finding]:
    """Of the kernel's reverse path filter, where it may be what keeps the registry silent."""
    manager = facts.network_manager
    tunnels = {each.interface for each in manager.tunnels} if manager else set()
    strict = sorted(facts.strict_filters - tunnels)
    carries_everything = connection is not None and any(
        prefix.version == 4 and prefix.prefixlen <= WHOLE for peer in connection.peers for prefix in peer.allowed_ips
    )
    suffers = tunnel.last_error or any(peer.state != "connected" for peer in leading)
    if strict and carries_everything and suffers:
        text = (
            "This tunnel carries everything, and the kernel's reverse path filter is strict on "
            f"{' and '.join(strict)}: answers beside the tunnel may be dropped, WireGuard's own among them."
        )
        yield problem("filter", text, advice.loosen(strict))


def _nat(tunnel: TunnelView, others: Sequence[PeerView]) -> Iterator[Finding]:
    if not tunnel.is_behind_symmetric_nat:
        return
    text = f"Our NAT gives each destination another port: we are seen as {' and '.join(tunnel.public_endpoints)}."
    if all(peer.state in ("connected", "idle") for peer in others):
        yield ok("nat", f"{text} Nobody suffers from it now.")
    else:
        yield problem("nat", text, advice.OUR_NAT)


def _peer(peer: PeerView, connection: ConnectionFacts | None) -> Finding:
    return replace(_judged(peer, connection), name=peer.name)


def _judged(peer: PeerView, connection: ConnectionFacts | None) -> Finding:
    step, off = "peer", _keepalive(peer, _profile_keepalive(peer, connection)) == 0
    text = peer.text or peer.state
    match peer.state:
        case "connected":
            return ok(step, text)
        case "idle":
            return ok(step, text, f"{advice.IF_WANTED}: {advice.keepalive(peer, connection)}" if off else "")
        case state if state in UNDER_WAY:
            return cannot_tell(step, text, "Run this again in a quarter of a minute")
        case _:
            told = f" ({peer.last_error})" if peer.last_error else ""
            what = advice.for_reason(peer, connection)
            lost = f" Its keepalive is off as well: {advice.keepalive(peer, connection)}" if off else ""
            return problem(step, f"{text}{told}", f"{what}{lost}".strip())


def _keepalive(peer: PeerView, configured: int | None) -> int | None:
    """The kernel's, else the profile's; None if neither is known."""
    return configured if peer.persistent_keepalive is None else peer.persistent_keepalive


def _profile_keepalive(peer: PeerView, connection: ConnectionFacts | None) -> int | None:
    peers = connection.peers if connection else ()
    return next((each.persistent_keepalive for each in peers if str(each.public_key) == peer.public_key), None)
