# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP (RFC 7766): connections, their places, and conversations on them. Knows nothing of what queries mean.

A connection holds a few kilobytes and one of a bounded number of places. Whoever stalls, drips, floods or does not read
loses only its own. One with a push session has its place among those (`sessions`).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from time import monotonic

from dns.rcode import REFUSED

from wgsd_nm.core.dso import ProtocolError, is_dso
from wgsd_nm.registry.access import RateLimit, network_of
from wgsd_nm.registry.connection import Connection
from wgsd_nm.registry.query import IDLE_TIMEOUT, rcode_of
from wgsd_nm.registry.responder import Question
from wgsd_nm.registry.sessions import Sessions, refusal
from wgsd_nm.registry.site import Site
from wgsd_nm.registry.sockets import arrival
from wgsd_nm.registry.statistics import Statistics

MAX_CONNECTIONS = 256
MAX_OF_CLIENT = 16
"""Connections of one address; of those who may ask nothing, of one network."""
MAX_STRANGERS = 32
"""Connections of those who may ask nothing, altogether."""
MAX_TRANSFERS = 8
TRANSFER_TIMEOUT = 120.0
"""Seconds for a whole zone transfer."""
ACCEPT_BURST = 16
"""Connections that are taken in one turn of the event loop."""
ACCEPT_PAUSE = 1.0
"""Seconds without a new connection when this process has no descriptor left for one."""

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_log = logging.getLogger(__name__)


class Streams:
    """Answers at bound sockets until it is closed. `transferring` zone transfers are under way.

    A client has IDLE_TIMEOUT for each query, and to take each message of an answer.
    """

    def __init__(self, site: Site, statistics: Statistics, limit: RateLimit, sessions: Sessions) -> None:
        self._site = site
        self._statistics = statistics
        self._limit = limit
        self._sessions = sessions
        self._listening: list[socket.socket] = []
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._connections: set[Connection] = set()
        self.transferring = 0

    def __len__(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    def serve(self, tcp: socket.socket) -> None:
        """Begin to answer at a listening socket. Takes it over."""
        self._listening.append(tcp)
        asyncio.get_running_loop().add_reader(tcp, self._acceptable, tcp)

    def use(self, site: Site) -> None:
        """Answer new queries from this site. Those that wait get the answers of the site that they were asked of."""
        self._site = site

    def close(self) -> None:
        """No answer is sent any more."""
        for pause in self._pauses.values():
            pause.cancel()
        for tcp in self._listening:
            asyncio.get_running_loop().remove_reader(tcp)
            tcp.close()
        self._listening.clear()
        for connection in tuple(self._connections):
            self._end(connection)

    def _acceptable(self, tcp: socket.socket) -> None:
        for _ in range(ACCEPT_BURST):
            try:
                accepted, address = tcp.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(tcp, error)
                    return
                continue  # the client left before it was its turn
            accepted.setblocking(False)
            self._admit(accepted, address[0])

    def _pause(self, tcp: socket.socket, error: OSError) -> None:
        """The socket would be readable again at once."""

        loop = asyncio.get_running_loop()

        def resume() -> None:
            del self._pauses[tcp]
            loop.add_reader(tcp, self._acceptable, tcp)

        _log.error("no TCP connection can be taken for %g s: %s", ACCEPT_PAUSE, error.strerror)
        loop.remove_reader(tcp)
        self._pauses[tcp] = loop.call_later(ACCEPT_PAUSE, resume)

    def _admit(self, accepted: socket.socket, source: str) -> None:
        interface = arrival(accepted)
        is_stranger = not self._site.access.zones(interface, source)
        client = network_of(source) if is_stranger else source
        connection = Connection(accepted, source, interface, client, is_stranger, monotonic())
        if not self._make_place(connection):
            self._statistics.turned_away += 1
            accepted.close()
            return
        self._statistics.connections += 1
        self._connections.add(connection)
        connection.task = asyncio.get_running_loop().create_task(self._converse(connection))

    def _make_place(self, newcomer: Connection) -> bool:
        """Whether there is a place, if need be that of the one which has said nothing for longest."""
        of_client = [one for one in self._connections if one.client == newcomer.client]
        if len(of_client) >= MAX_OF_CLIENT:
            return self._displace(of_client)
        if newcomer.is_stranger:
            strangers = [one for one in self._connections if one.is_stranger]
            if len(strangers) >= MAX_STRANGERS:
                return self._displace(strangers)
        plain = len(self._connections) - len(self._sessions)
        return plain < MAX_CONNECTIONS or self._displace(list(self._connections))

    def _displace(self, candidates: list[Connection]) -> bool:
        idle = [one for one in candidates if one.idle and one not in self._sessions]
        if not idle:
            return False
        self._statistics.displaced += 1
        self._end(min(idle, key=lambda one: (not one.is_stranger, one.since)))
        return True

    def _end(self, connection: Connection) -> None:
        self._connections.discard(connection)
        connection.end()

    async def _converse(self, connection: Connection) -> None:
        try:
            while (message := await connection.receive(self._patience(connection))) is not None:
                connection.idle = False
                if not await self._exchange(connection, message):
                    break
                connection.idle, connection.since = True, monotonic()
        except TimeoutError as error:
            if error.errno is None:  # else the kernel has given the client up
                self._statistics.timed_out += 1
            if not connection.idle:  # it does not take its answers
                connection.reset()
        except ProtocolError:
            self._statistics.sessions_broken += 1
            connection.reset()
        except OSError:
            pass  # the client has left
        finally:
            self._sessions.ended(connection)
            self._connections.discard(connection)
            connection.close()

    def _patience(self, connection: Connection) -> float | None:
        """Seconds for the next message; of a session others know how long it may be silent."""
        return None if connection in self._sessions else IDLE_TIMEOUT

    async def _exchange(self, connection: Connection, query: bytes) -> bool:
        """One message and its answer; whether another may follow. Raises OSError, TimeoutError, ProtocolError."""
        site = self._site
        zones = site.access.zones(connection.interface, connection.source)
        if is_dso(query):
            if not zones and connection not in self._sessions:
                return await self._refuse(connection, refusal(query, REFUSED))
            await self._sessions.take(connection, query)
            return True
        self._statistics.tcp += 1
        if connection in self._sessions:
            self._sessions.used(connection, query)
        if not zones:
            return await self._refuse(connection, site.responder.refuse(query))
        asked = site.responder.examine(query, connection.source)
        if not isinstance(asked, Question):
            return await self._answer(connection, asked)
        if asked.zone not in zones:
            return await self._refuse(connection, site.responder.fail(asked, REFUSED))
        content = site.contents[asked.zone]
        if not (content.use() or await content.available()):
            return await self._answer(connection, site.responder.fail(asked))
        if asked.is_transfer:
            return await self._transfer(connection, site, asked)
        return await self._answer(connection, site.responder.answer(asked, datagram=False))

    async def _transfer(self, connection: Connection, site: Site, asked: Question) -> bool:
        if not site.transfers.permits(asked, connection.source):
            self._statistics.transfers_refused += 1
            return await self._answer(connection, site.responder.fail(asked, REFUSED))
        if self.transferring >= MAX_TRANSFERS:
            self._statistics.transfers_failed += 1
            return await self._answer(connection, site.responder.fail(asked))
        self.transferring += 1
        whole = False
        try:
            async with asyncio.timeout(TRANSFER_TIMEOUT):
                for message in site.transfers.messages(asked):
                    await self._answer(connection, message)
                    await asyncio.sleep(0)  # a fast client leaves nothing to wait for
            whole = True
        finally:
            self.transferring -= 1
            if whole:
                self._statistics.transfers += 1
            else:
                self._statistics.transfers_failed += 1
        return True

    async def _refuse(self, connection: Connection, answer: bytes | None) -> bool:
        """Answer a stranger, who may have only so many."""
        if answer is None:
            self._statistics.unanswered += 1
            return False
        if not self._limit.permits(connection.source):
            self._statistics.limited += 1
            return False
        self._statistics.strangers += 1
        return await self._answer(connection, answer)

    async def _answer(self, connection: Connection, answer: bytes | None) -> bool:
        if answer is None:
            self._statistics.unanswered += 1
            return False
        self._statistics.rcodes[rcode_of(answer)] += 1
        connection.post(answer)
        await connection.flushed(IDLE_TIMEOUT)
        return True
