# SPDX-License-Identifier: GPL-2.0-or-later
"""What has happened, from what the agent says one time after the other. It knows nothing of buses and terminals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from wgsd_nm.cli.view import AgentView, PeerView, Properties, TunnelView
from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import Endpoint
from wgsd_nm.core.reason import Reason, sentence

RUNNING: Final = "running"
GONE: Final = "gone"
UP: Final = "up"


@dataclass(frozen=True, slots=True)
class Event:
    """Something changed from `old` to `new`, "" for none; `what` is what: one of the words below.

    agent            the agent itself: "running" or "gone"
    state            the agent's or a tunnel's state, a peer's with the code of its reason in `reason`
    error            what is wrong with the agent or a tunnel, "" if nothing is any more
    public-endpoint  what the registries see of us, by that tunnel
    updates          how the agent learns by that tunnel that a peer has moved: "push" or "polling"
    endpoint         a peer's, `reason` is the code
    """

    what: str
    old: str
    new: str
    interface: str = ""
    public_key: str = ""
    name: str = ""
    reason: str = ""
    text: str = ""

    def record(self) -> dict[str, str]:
        """As JSON has it."""
        return asdict(self)


class History:
    """The agent as it was last heard of. Each method returns what is new in what it is told."""

    def __init__(self) -> None:
        self._properties: dict[str, Any] = {}
        self._seen: AgentView | None = None

    def present(self, properties: Properties) -> tuple[Event, ...]:
        """The agent runs, and this is all that it says."""
        self._properties = dict(properties)
        before, now = self._seen, AgentView.of(self._properties)
        self._seen = now
        begun = () if before else (Event("agent", "", RUNNING, text=f"version {now.version}" if now.version else ""),)
        return (*begun, *_between(before or AgentView(), now))

    def changed(self, properties: Properties) -> tuple[Event, ...]:
        """Some properties have new values. Without a `present` before nothing can be said of it."""
        return self.present({**self._properties, **properties}) if self._seen else ()

    def moved(self, interface: str, public_key: str, old: str, new: str, reason: str) -> tuple[Event, ...]:
        """Agent1's signal EndpointChanged."""
        name = public_key[:8]
        if self._seen:
            one = PeerView(interface, public_key, name)
            peers = {_key(peer): peer for peer in self._seen.peers}
            name = peers.get(_key(one), one).name
            known = (replace(peer, endpoint=new) if _key(peer) == _key(one) else peer for peer in self._seen.peers)
            self._seen = replace(self._seen, peers=tuple(known))
        return (Event("endpoint", old, new, interface, public_key, name, reason, _why(reason, new)),)

    def gone(self) -> tuple[Event, ...]:
        """The agent has left the bus."""
        was_there, self._seen = self._seen is not None, None
        return (Event("agent", RUNNING, GONE),) if was_there else ()


def _between(old: AgentView, new: AgentView) -> Iterator[Event]:
    if old.state != new.state:
        yield Event("state", old.state, new.state)
    if old.last_error != new.last_error:
        yield Event("error", old.last_error, new.last_error)
    for tunnel_before, tunnel in _pairs(old.tunnels, new.tunnels, lambda tunnel: tunnel.interface):
        yield from _of_tunnel(tunnel_before, tunnel)
    for peer_before, peer in _pairs(old.peers, new.peers, _key):
        yield from _of_peer(peer_before, peer)


def _of_tunnel(old: TunnelView | None, new: TunnelView | None) -> Iterator[Event]:
    interface = (new or old or TunnelView("")).interface
    if new is None or old is None or old.state != new.state:
        yield Event("state", old.state if old else "", new.state if new else GONE, interface)
    if new is None:
        return
    old = old or TunnelView(interface)
    if old.public_endpoints != new.public_endpoints:
        yield Event("public-endpoint", ", ".join(old.public_endpoints), ", ".join(new.public_endpoints), interface)
    if new.updates and old.updates != new.updates:
        yield Event("updates", old.updates, new.updates, interface)
    if old.last_error != new.last_error:
        yield Event("error", old.last_error, new.last_error, interface)


def _of_peer(old: PeerView | None, new: PeerView | None) -> Iterator[Event]:
    peer = new or old or PeerView("", "")
    who = peer.interface, peer.public_key, peer.name
    if new is None:
        yield Event("state", peer.state, GONE, *who)
        return
    if old is None or (old.state, old.reason) != (new.state, new.reason):
        yield Event("state", old.state if old else "", new.state, *who, new.reason, new.text)
    if old is not None and old.endpoint != new.endpoint:
        yield Event("endpoint", old.endpoint, new.endpoint, *who)


def _pairs(old: tuple[Any, ...], new: tuple[Any, ...], key: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
    """What was and what is of each, in order; None for what was or is not there."""
    before, now = {key(each): each for each in old}, {key(each): each for each in new}
    for each in {**before, **now}:
        yield before.get(each), now.get(each)


def _key(peer: PeerView) -> tuple[str, str]:
    return peer.interface, peer.public_key


def _why(reason: str, endpoint: str) -> str:
    """The sentence for a code of EndpointChanged; the code itself where it is a newer agent's."""
    try:
        return sentence(Reason(reason), Endpoint.parse(endpoint) if endpoint else None)
    except (ValueError, InvalidValue):
        return reason
