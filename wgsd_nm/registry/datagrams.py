# SPDX-License-Identifier: GPL-2.0-or-later
"""One UDP socket of the registry: who asks, by which interface, and the answers. Knows nothing of what queries mean."""

from __future__ import annotations

import asyncio
import socket
from time import monotonic
from typing import Any

from dns.rcode import REFUSED

from wgsd_nm.registry.access import RateLimit
from wgsd_nm.registry.responder import Question
from wgsd_nm.registry.site import Site
from wgsd_nm.registry.sockets import MAX_QUERY, Ancillary, answering, arrival_of, dropped
from wgsd_nm.registry.statistics import Statistics
from wgsd_nm.registry.zone import Zone

BURST = 64
"""Datagrams that are read in one turn of the event loop."""
MAX_ANCILLARY = 64
"""Octets of a datagram's control messages: one that tells of the interface takes 40."""
VERDICT_AGE = 1.0
"""Seconds for which it is remembered who may ask what."""
MAX_VERDICTS = 4096

_NO_ZONES: tuple[Zone, ...] = ()
_Verdict = tuple[tuple[Zone, ...], Ancillary | None]
"""What somebody may ask for, and the control messages to answer with, if it needs any."""
_Client = tuple[Any, Ancillary | None]
"""An address as the socket module has it, and the control messages to answer with."""


class Datagrams:
    """Answers at a bound socket until it is closed. Takes the socket over."""

    def __init__(self, udp: socket.socket, site: Site, statistics: Statistics, limit: RateLimit) -> None:
        self._socket = udp
        self._receive, self._send = udp.recvmsg, udp.sendto
        self.use(site)
        self._statistics = statistics
        self._limit = limit
        self._is_wildcard = udp.getsockname()[0] in ("0.0.0.0", "::")
        self._verdicts_until = float("-inf")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(udp, self._readable)

    @property
    def remembered(self) -> int:
        """Of how many sources it is remembered what they may ask."""
        return len(self._verdicts)

    @property
    def dropped(self) -> int:
        """Datagrams that found no room in the socket's queue."""
        return dropped(self._socket)

    def use(self, site: Site) -> None:
        """Answer new queries from this site. Those that wait get the answers of the site that they were asked of."""
        self._site = site
        self._quick = site.responder.quick
        self._verdicts: dict[tuple[bytes, str], _Verdict] = {}

    def close(self) -> None:
        """No answer is sent any more."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _readable(self) -> None:
        # The usual query, of somebody known and of a question that was answered before, is one look into each of two
        # dictionaries. All others take _ask().
        now = monotonic()
        verdicts = self._verdicts
        if now >= self._verdicts_until:
            verdicts.clear()
            self._verdicts_until = now + VERDICT_AGE
        receive, send, quick, statistics = self._receive, self._send, self._quick, self._statistics
        rcodes = statistics.rcodes
        allowed = fresh = _NO_ZONES
        for _ in range(BURST):
            try:
                query, ancillary, _, address = receive(MAX_QUERY, MAX_ANCILLARY)
            except BlockingIOError:
                break
            except OSError:
                continue  # what the kernel has to say of an answer sent before
            statistics.udp += 1
            try:
                zones, way = verdicts[ancillary[0][2], address[0]]
            except LookupError:
                zones, way = self._judge(ancillary, address[0])
            if zones is not allowed:
                allowed, fresh = zones, self._fresh(zones)
            answer = quick(query, fresh)
            if answer is None:
                self._ask(query, (address, way), zones)
                fresh = self._fresh(zones)
                continue
            rcodes[answer[3] & 0xF] += 1
            try:
                if way is None:
                    send(answer, address)
                else:
                    self._socket.sendmsg((answer,), way, 0, address)
            except OSError:
                statistics.unsent += 1

    def _judge(self, ancillary: Ancillary, source: str) -> _Verdict:
        zones = self._site.access.zones(arrival_of(ancillary, source), source)
        verdict = zones, answering(ancillary) if self._is_wildcard else None
        if len(ancillary) == 1:
            if len(self._verdicts) >= MAX_VERDICTS:
                self._verdicts.clear()
            self._verdicts[ancillary[0][2], source] = verdict
        return verdict

    def _fresh(self, zones: tuple[Zone, ...]) -> tuple[Zone, ...]:
        contents = self._site.contents
        for zone in zones:
            if not contents[zone].fresh:
                return tuple(zone for zone in zones if contents[zone].fresh)
        return zones

    def _ask(self, query: bytes, client: _Client, zones: tuple[Zone, ...]) -> None:
        """Answer, at once or when the content is there."""
        site = self._site
        if not zones:
            self._refuse(site.responder.refuse(query), client)
            return
        asked = site.responder.examine(query, client[0][0])
        if not isinstance(asked, Question):
            self._answer(asked, client)
        elif asked.zone not in zones:
            self._refuse(site.responder.fail(asked, REFUSED), client)
        elif (content := site.contents[asked.zone]).fresh:
            self._answer(site.responder.answer(asked, datagram=True), client)
        else:

            def told(fresh: bool) -> None:
                responder = site.responder
                self._answer(responder.answer(asked, datagram=True) if fresh else responder.fail(asked), client)

            content.wait(told)

    def _refuse(self, answer: bytes | None, client: _Client) -> None:
        """Answer a stranger, who may have only so many."""
        if answer is None:
            self._statistics.unanswered += 1
        elif self._limit.permits(client[0][0]):
            self._statistics.strangers += 1
            self._answer(answer, client)
        else:
            self._statistics.limited += 1

    def _answer(self, answer: bytes | None, client: _Client) -> None:
        if answer is None:
            self._statistics.unanswered += 1
            return
        if self._socket.fileno() < 0:
            return
        address, way = client
        self._statistics.rcodes[answer[3] & 0xF] += 1
        try:
            self._socket.sendmsg((answer,), way or (), 0, address)
        except OSError:
            self._statistics.unsent += 1  # no room, no route, a firewall: the client asks again
