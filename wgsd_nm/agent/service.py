# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent on the session bus: io.github.wgsd_nm.Agent1, as data/dbus/interfaces documents it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from math import inf
from typing import Final

from wgsd_nm import __version__
from wgsd_nm.agent.loop import Loop
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus, Caller, Interface, Method, Property, Signal
from wgsd_nm.bus.wire import Variant
from wgsd_nm.core.events import Announce
from wgsd_nm.core.model import State, endpoint_text, parse_interface
from wgsd_nm.core.status import AgentStatus, PeerStatus, TunnelStatus, status
from wgsd_nm.core.watch import AgentWatch

PUBLISH_INTERVAL: Final = 0.25
"""Seconds between two tellings of what changed; the first is told at once, without waking up again for it."""

HASTE: Final = 1.0
"""Seconds that a pass has to itself before clients are told of what it did so far."""

Wire = dict[str, Variant]


class Service:
    """What clients see: the state as properties, `Refresh`, `Reload`, and a signal for each changed endpoint."""

    def __init__(self, bus: Bus, reload: Callable[[], None], look: Callable[[AgentWatch, AgentStatus], None]) -> None:
        """`look` is called whenever clients may be told of something, be it that they are not."""
        self._bus = bus
        self._reload = reload
        self._look = look
        self._loop: Loop | None = None
        self._published = AgentStatus(State.IDLE, (), ())
        self._known: tuple[AgentWatch, float, AgentStatus] | None = None
        self._announced: list[Announce] = []
        self._timer: asyncio.Handle | None = None
        self._told_at = -inf

    def interface(self) -> Interface:
        """The table that the XML documents."""
        return Interface(
            name=names.AGENT,
            methods={
                "Refresh": Method(self._refresh),
                "RefreshTunnel": Method(self._refresh_tunnel, arguments=(("interface", "s"),)),
                "Reload": Method(self._reload_config),
            },
            properties={
                "Version": Property("s", lambda: __version__),
                "State": Property("s", lambda: str(self._status().state)),
                "LastError": Property("s", lambda: self._status().last_error),
                "Tunnels": Property("aa{sv}", lambda: [_tunnel(tunnel) for tunnel in self._status().tunnels]),
                "Peers": Property("aa{sv}", lambda: [_peer(peer) for peer in self._status().peers]),
            },
            signals={
                "EndpointChanged": Signal(
                    (("interface", "s"), ("public_key", "s"), ("old", "s"), ("new", "s"), ("reason", "s"))
                )
            },
        )

    def start(self, loop: Loop) -> None:
        self._loop = loop
        self._published = self._status()
        self._bus.export(names.AGENT_PATH, self.interface())

    def changed(self) -> None:
        """Something may differ from what clients were told."""
        if self._timer is not None:
            return
        running = asyncio.get_running_loop()
        if running.time() < self._told_at + PUBLISH_INTERVAL or self._is_in_haste():
            self._timer = running.call_later(PUBLISH_INTERVAL, self._publish)
        else:
            self._timer = running.call_soon(self._publish)

    def announce(self, change: Announce) -> None:
        """Clients are told of it together with all else that changed."""
        self._announced.append(change)
        self.changed()

    def _emit(self, change: Announce) -> None:
        self._bus.emit(
            names.AGENT_PATH,
            names.AGENT,
            "EndpointChanged",
            change.interface,
            str(change.public_key),
            endpoint_text(change.old),
            endpoint_text(change.new),
            str(change.reason),
        )

    def _status(self) -> AgentStatus:
        """As of now, or of a moment ago if nothing has happened since: all properties are asked for at once."""
        assert self._loop is not None
        watch, now = self._loop.watch, self._loop.now()
        if self._known is None or self._known[0] is not watch or now - self._known[1] > PUBLISH_INTERVAL:
            self._known = watch, now, status(watch, now)
        return self._known[2]

    def _publish(self) -> None:
        self._timer = None
        if self._is_in_haste():
            self.changed()
            return
        announced, self._announced = self._announced, []
        for change in announced:
            self._emit(change)
        old, new = self._published, self._status()
        changed = []
        if new.state != old.state:
            changed.append("State")
        if new.last_error != old.last_error:
            changed.append("LastError")
        if len(new.tunnels) != len(old.tunnels) or any(map(TunnelStatus.differs, new.tunnels, old.tunnels)):
            changed.append("Tunnels")
        if len(new.peers) != len(old.peers) or any(map(PeerStatus.differs, new.peers, old.peers)):
            changed.append("Peers")
        if changed or announced:
            self._told_at = asyncio.get_running_loop().time()
        if changed:
            self._published = new
            self._bus.changed(names.AGENT_PATH, names.AGENT, *changed)
        assert self._loop is not None
        self._look(self._loop.watch, new)

    def _is_in_haste(self) -> bool:
        """Whether a pass has just begun: a thousand peers would wait for their endpoints while clients are told."""
        assert self._loop is not None
        now = self._loop.now()
        tunnels = self._loop.watch.tunnels.values()
        return any(tunnel.pass_started is not None and now - tunnel.pass_started < HASTE for tunnel in tunnels)

    async def _refresh(self, _caller: Caller) -> tuple[()]:
        assert self._loop is not None
        await self._loop.refresh()
        return ()

    async def _refresh_tunnel(self, _caller: Caller, interface: str) -> tuple[()]:
        assert self._loop is not None
        await self._loop.refresh(parse_interface(interface))
        return ()

    async def _reload_config(self, _caller: Caller) -> tuple[()]:
        self._reload()
        return ()


def _tunnel(tunnel: TunnelStatus) -> Wire:
    return {
        "Interface": Variant("s", tunnel.interface),
        "ConnectionId": Variant("s", tunnel.connection_id),
        "ConnectionUuid": Variant("s", tunnel.connection_uuid),
        "Zone": Variant("s", tunnel.zone),
        "Registries": Variant("as", list(tunnel.registries)),
        "State": Variant("s", str(tunnel.state)),
        "PublicKey": Variant("s", str(tunnel.public_key or "")),
        "PublicEndpoint": Variant("s", endpoint_text(next(iter(tunnel.public_endpoints), None))),
        "PublicEndpoints": Variant("as", [str(endpoint) for endpoint in tunnel.public_endpoints]),
        "LastLookup": Variant("t", _microseconds(tunnel.last_lookup)),
        "LastError": Variant("s", tunnel.last_error),
        "Updates": Variant("s", str(tunnel.updates)),
        "PollingInterval": Variant("u", round(tunnel.polling_interval)),
    }


def _peer(peer: PeerStatus) -> Wire:
    return {
        "Interface": Variant("s", peer.interface),
        "PublicKey": Variant("s", str(peer.public_key)),
        "Name": Variant("s", peer.name),
        "Endpoint": Variant("s", endpoint_text(peer.endpoint)),
        "Source": Variant("s", str(peer.source)),
        "Path": Variant("s", str(peer.way)),
        "State": Variant("s", str(peer.state)),
        "Reason": Variant("s", str(peer.reason)),
        "ReasonText": Variant("s", peer.text),
        "Candidates": Variant("as", [str(endpoint) for endpoint in peer.candidates]),
        "PersistentKeepalive": Variant("q", peer.persistent_keepalive),
        "LatestHandshake": Variant("t", peer.latest_handshake),
        "ConnectedSince": Variant("t", _microseconds(peer.connected_since)),
        "LastLookup": Variant("t", _microseconds(peer.last_lookup)),
        "LastError": Variant("s", peer.last_error),
    }


def _microseconds(at: float) -> int:
    """A time of the agent's clock as microseconds since the epoch, 0 for never."""
    return 0 if at == -inf else max(0, int((time.time() - Loop.now() + at) * 1e6))
