# SPDX-License-Identifier: GPL-2.0-or-later
"""What there is to tell people unasked: which wanted peers are not reached and why, and which are.

It knows nothing of when it is told, nor of what was told before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from wgsd_nm.core.discovery import has_usable_uplink
from wgsd_nm.core.model import Connectivity, PeerState, PublicKey, State
from wgsd_nm.core.reason import Reason, of_failure, sentence
from wgsd_nm.core.remedy import REMEDIES
from wgsd_nm.core.status import AgentStatus, PeerStatus
from wgsd_nm.core.watch import AgentWatch, PeerWatch, TunnelWatch

Subject = tuple[str, PublicKey | None]
"""What a fact is about: a peer by its tunnel's interface and key; without a key the tunnel, and without both all."""

PORTAL: Final = "captive-portal"
REFUSED: Final = "refused"
REGISTRY: Final = "registry"
"""What is the case where it concerns more than one peer; of a peer it is the code of a Reason."""

DOCTOR: Final = "wgsd-nm doctor tells what to do"

_REACHED: Final = (PeerState.CONNECTED, PeerState.IDLE)
_GIVEN_UP: Final = (PeerState.UNREACHABLE, PeerState.STALE)
_LONGEST_NAME: Final = 48


@dataclass(frozen=True, slots=True)
class Fact:
    """`what` is the case of `name`; why, and what to do about it, in words; "" for nothing."""

    what: str
    name: str
    why: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """The facts as of now. Of the `undecided` it cannot be said yet: the agent is still trying.

    `quiet_since` tells for each interface when the agent last had reason to begin anew (monotonic, seconds).
    """

    facts: Mapping[Subject, Fact] = field(default_factory=dict)
    undecided: frozenset[Subject] = frozenset()
    quiet_since: Mapping[str, float] = field(default_factory=dict)


def failures(watch: AgentWatch, status: AgentStatus, now: float) -> View:
    """Which wanted peers are not reached. None while we are offline, which the desktop itself says, or not in charge.

    What keeps several peers from being reached is one fact: the registry's silence, a refusing helper, a portal.
    """
    if not _in_charge(watch):
        return View()
    peers = _lost(status.peers)
    if watch.network.connectivity is Connectivity.PORTAL:
        return View({("", None): _PORTAL} if peers else {})
    facts: dict[Subject, Fact] = {}
    undecided: set[Subject] = set()
    for tunnel in status.tunnels:
        interface, watched = tunnel.interface, watch.tunnels[tunnel.interface]
        lost = peers.get(interface, [])
        subjects: set[Subject] = {(interface, peer.public_key) for peer in lost}
        shared = _shared(watched, lost)
        if tunnel.state is State.LOOKING_UP:
            undecided |= {*subjects, (interface, None)} if lost else subjects
        elif shared is not None:
            facts[interface, None] = shared
            undecided |= subjects
        else:
            failed = [peer for peer in lost if _is_failed(watched, peer, now)]
            facts.update(((interface, peer.public_key), _failure(peer)) for peer in failed)
            undecided |= subjects - facts.keys()
    quiet_since = {interface: each.last_pass for interface, each in watch.tunnels.items()}
    return View(facts, frozenset(undecided), quiet_since)


def successes(watch: AgentWatch, status: AgentStatus) -> View:
    """Which peers are reached, but for those that lead to a registry."""
    if not _in_charge(watch):
        return View()
    leading = {name: tunnel.discovery.registry_peers for name, tunnel in watch.tunnels.items()}
    reached = (peer for peer in status.peers if peer.state is PeerState.CONNECTED)
    return View(
        {
            (peer.interface, peer.public_key): Fact(Reason.CONNECTED, _name(peer), readable(peer.text))
            for peer in reached
            if peer.public_key not in leading[peer.interface]
        }
    )


def readable(text: str) -> str:
    """A text from outside as people may be shown it: without control and formatting characters."""
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text.strip()


_PORTAL: Final = Fact(
    PORTAL,
    "any peer through this network",
    "It wants a login first, and until then the registry is not asked.",
    "Log in: open any page without https in a browser",
)


def _in_charge(watch: AgentWatch) -> bool:
    return watch.network.available and watch.seat_active and has_usable_uplink(watch.network)


def _lost(peers: Iterable[PeerStatus]) -> dict[str, list[PeerStatus]]:
    """The wanted peers that are not reached, by interface."""
    lost: dict[str, list[PeerStatus]] = {}
    for peer in peers:
        if peer.state not in _REACHED:
            lost.setdefault(peer.interface, []).append(peer)
    return lost


def _shared(tunnel: TunnelWatch, lost: list[PeerStatus]) -> Fact | None:
    """What keeps all of a tunnel's peers from being reached, whatever else may."""
    interface, name = tunnel.tunnel.interface, f"the registry of {tunnel.tunnel.interface}"
    if tunnel.refusal is not None:
        return Fact(REFUSED, f"the peers of {interface}", _ended(readable(str(tunnel.refusal))), DOCTOR)
    silent = [peer for peer in lost if peer.reason is Reason.REGISTRY_SILENT]
    if silent:
        return Fact(REGISTRY, name, readable(silent[0].text), REMEDIES[Reason.REGISTRY_SILENT])
    if lost and tunnel.registry_error is not None:
        reason = of_failure(tunnel.registry_error)
        return Fact(REGISTRY, name, sentence(reason), REMEDIES[reason])
    if lost and not tunnel.discovery.servers:
        return Fact(REGISTRY, name, _ended(readable(tunnel.discovery.problem)), DOCTOR)
    return None


def _is_failed(tunnel: TunnelWatch, peer: PeerStatus, now: float) -> bool:
    """Whether a peer is not reached, and nothing is being tried any more that was not tried in vain before."""
    watched = tunnel.peers[peer.public_key]
    return peer.state in _GIVEN_UP and not _on_trial(watched, now)


def _on_trial(peer: PeerWatch, now: float) -> bool:
    trial = peer.trial
    return trial is not None and now < trial.until and trial.endpoint not in peer.tried


def _failure(peer: PeerStatus) -> Fact:
    return Fact(peer.reason, _name(peer), readable(peer.text), REMEDIES.get(peer.reason, DOCTOR))


def _name(peer: PeerStatus) -> str:
    return readable(peer.name)[:_LONGEST_NAME] or str(peer.public_key)[:8]


def _ended(text: str) -> str:
    """The text as a sentence."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
