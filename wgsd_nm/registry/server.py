# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry's server: all its sockets, over one site that can be exchanged. Knows nothing of what queries mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wgsd_nm.registry.access import RateLimit
from wgsd_nm.registry.datagrams import Datagrams
from wgsd_nm.registry.sessions import Sessions
from wgsd_nm.registry.site import Site
from wgsd_nm.registry.sockets import Listener
from wgsd_nm.registry.statistics import DeviceState, State, Statistics, ZoneState
from wgsd_nm.registry.streams import Streams


class Server:
    """Answers at bound sockets until it is closed: at `datagrams`, one for each UDP socket, and at `streams`.

    `sessions` are those of the streams whose clients want to be told of changes.
    """

    def __init__(self, site: Site, statistics: Statistics, limit: RateLimit | None = None) -> None:
        """`limit` is for strangers."""
        self.statistics = statistics
        self._site = site
        self._limit = limit or RateLimit()
        self.sessions = Sessions(site, statistics)
        self.streams = Streams(site, statistics, self._limit, self.sessions)
        self.datagrams: list[Datagrams] = []

    async def serve(self, listeners: Sequence[Listener]) -> None:
        """Begin to answer. Takes the sockets over."""
        for listener in listeners:
            if listener.udp is not None:
                self.datagrams.append(Datagrams(listener.udp, self._site, self.statistics, self._limit))
            if listener.tcp is not None:
                self.streams.serve(listener.tcp)

    def use(self, site: Site) -> None:
        """Answer from this site. A query that waits is answered from the one that it was asked of."""
        self._site = site
        for datagrams in self.datagrams:
            datagrams.use(site)
        self.streams.use(site)
        self.sessions.use(site)

    def changed(self, names: Iterable[bytes]) -> None:
        """The records of these names, in lower case, are others now."""
        self.sessions.changed(names)

    def close(self) -> None:
        """No answer is sent any more."""
        for datagrams in self.datagrams:
            datagrams.close()
        self.datagrams.clear()
        self.sessions.close()
        self.streams.close()

    def line(self) -> str:
        """The statistics for the log."""
        return self.statistics.line(self._state())

    def prometheus(self) -> str:
        """The statistics in Prometheus's text format."""
        return self.statistics.prometheus(self._state())

    def _state(self) -> State:
        contents = tuple(self._site.devices)
        return State(
            devices=tuple(DeviceState(one.interface, one.peers, one.reads, one.failures, one.age) for one in contents),
            zones=tuple(ZoneState(str(zone.name), zone.serial) for zone in self._site.contents),
            waiting=sum(one.waiting for one in contents),
            connections=len(self.streams),
            sessions=len(self.sessions),
            subscriptions=self.sessions.subscribed,
            dropped=sum(datagrams.dropped for datagrams in self.datagrams),
        )
