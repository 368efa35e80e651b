# SPDX-License-Identifier: GPL-2.0-or-later
"""One UDP socket of the registry: who asks, by which interface, and the answers. Knows nothing of what queries mean."""

from __future__ import annotations

import asyncio
import socket
from time import monotonic
from typing import Any

from dns.rcode import REFUSED

from wgsd_nm.registry.access import RateLimit
from wgsd_nm.registry.batch import CONTROL_ROOM, Batch
from wgsd_nm.registry.query import MAX_DATAGRAM, rcode_of
from wgsd_nm.registry.responder import Question
from wgsd_nm.registry.site import Site
from wgsd_nm.registry.sockets import (
    MAX_QUERY,
    Ancillary,
    answering,
    arrival_of,
    control_messages,
    control_octets,
    dropped,
)
from wgsd_nm.registry.statistics import Statistics
from wgsd_nm.registry.zone import Zone

BURST = 64
"""Datagrams that are read in one turn of the event loop."""
FEW = 32
"""Datagrams that are read one by one before it is seen whether more wait."""
VERDICT_AGE = 1.0
"""Seconds for which it is remembered who may ask what."""
MAX_VERDICTS = 4096

_NO_ZONES: tuple[Zone, ...] = ()
_Key = bytes | tuple[bytes, str]
"""Who asks, and by which way: as a batch has it, or packet information and address."""
_Verdict = tuple[tuple[Zone, ...], Ancillary, bytes]
"""What somebody may ask for, and the control messages to answer with, also as octets."""
_Client = tuple[Any, Ancillary]
"""An address as the socket module has it, and the control messages to answer with."""


class Datagrams:
    """Answers at a bound socket until it is closed. Takes the socket over."""

    def __init__(self, udp: socket.socket, site: Site, statistics: Statistics, limit: RateLimit) -> None:
        self._socket = udp
        self._receive, self._send = udp.recvmsg, udp.sendto
        self._crowded = False
        self._batch = Batch(udp, BURST, MAX_QUERY, MAX_DATAGRAM)
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
        self._verdicts: dict[_Key, _Verdict] = {}

    def close(self) -> None:
        """No answer is sent any more."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _readable(self) -> None:
        now = monotonic()
        if now >= self._verdicts_until:
            self._verdicts.clear()
            self._verdicts_until = now + VERDICT_AGE
        left = BURST if self._crowded else BURST - self._few()
        while self._crowded and left > 0 and (taken := self._many()):
            left -= taken

    def _few(self) -> int:
        """Answer what comes, one by one. Returns how many datagrams that was.

        Of a single one this takes less time than _many().
        """
        receive, send, verdicts, quick, statistics = (
            self._receive,
            self._send,
            self._verdicts,
            self._quick,
            self._statistics,
        )
        allowed = fresh = _NO_ZONES
        for taken in range(FEW):
            try:
                query, ancillary, _, address = receive(MAX_QUERY, CONTROL_ROOM)
            except BlockingIOError:
                return taken
            except OSError:
                continue  # what the kernel has to say of an answer sent before
            statistics.udp += 1
            try:
                zones, way, _ = verdicts[ancillary[0][2], address[0]]
            except LookupError:
                key = (ancillary[0][2], address[0]) if ancillary else b""
                zones, way, _ = self._judge(key, ancillary, address[0])
            if zones is not allowed:
                allowed, fresh = zones, self._fresh(zones)
            answer = quick(query, fresh)
            if answer is None:
                self._ask(query, (address, way), zones)
                fresh = self._fresh(zones)
                continue
            statistics.rcodes[answer[3] & 0xF] += 1
            try:
                if way:
                    self._socket.sendmsg((answer,), way, 0, address)
                else:
                    send(answer, address)
            except OSError:
                statistics.unsent += 1
        self._crowded = True
        return FEW

    def _many(self) -> int:
        """Answer what has come, by few system calls. Returns how many datagrams that was."""
        # The usual query, of somebody known and of a question that was answered before, is one look into each of two
        # dictionaries. All others take _ask().
        batch, verdicts, quick, statistics = self._batch, self._verdicts, self._quick, self._statistics
        rcodes = statistics.rcodes
        allowed = fresh = _NO_ZONES
        taken = 0
        for slot, query, key in batch.receive():
            taken += 1
            try:
                try:
                    zones, way, control = verdicts[key]
                except KeyError:
                    zones, way, control = self._judge(key, control_messages(batch.control(key)), batch.source(key))
                if zones is not allowed:
                    allowed, fresh = zones, self._fresh(zones)
                answer = quick(query, fresh)
                if answer is None:
                    self._ask(query, (batch.address(slot), way), zones)
                    fresh = self._fresh(zones)
                    continue
                batch.answer(slot, answer, control)
                rcodes[answer[3] & 0xF] += 1
            except Exception as error:  # the rest of the burst has not failed
                self._loop.call_exception_handler({"message": "a query was not answered", "exception": error})
        statistics.udp += taken
        statistics.unsent += batch.send()
        if taken == 1:
            self._crowded = False
        return taken

    def _judge(self, key: _Key, ancillary: Ancillary, source: str) -> _Verdict:
        zones = self._site.access.zones(arrival_of(ancillary, source), source)
        way = answering(ancillary) if self._is_wildcard else []
        verdict = zones, way, control_octets(way)
        if len(ancillary) == 1:
            if len(self._verdicts) >= MAX_VERDICTS:
                self._verdicts.clear()
            self._verdicts[key] = verdict
        return verdict

    def _fresh(self, zones: tuple[Zone, ...]) -> tuple[Zone, ...]:
        contents = self._site.contents
        for zone in zones:
            if not contents[zone].use():
                return tuple(zone for zone in zones if contents[zone].use())
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
        elif (content := site.contents[asked.zone]).use():
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
        self._statistics.rcodes[rcode_of(answer)] += 1
        try:
            self._socket.sendmsg((answer,), way, 0, address)
        except OSError:
            self._statistics.unsent += 1  # no room, no route, a firewall: the client asks again
