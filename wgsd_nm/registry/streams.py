# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP (RFC 7766): connections, their places, and conversations on them. Knows nothing of what queries mean.

A connection holds a few kilobytes and one of a bounded number of places. Whoever stalls, drips, floods or does not read
loses only its own.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from dataclasses import dataclass, field
from time import monotonic

from dns.rcode import REFUSED

from wgsd_nm.registry.access import RateLimit, network_of
from wgsd_nm.registry.query import IDLE_TIMEOUT, rcode_of
from wgsd_nm.registry.responder import Question
from wgsd_nm.registry.site import Site
from wgsd_nm.registry.sockets import MAX_QUERY, arrival
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

_LENGTH = struct.Struct("!H")
_RESET = struct.pack("@ii", 1, 0)  # struct linger: what was not taken is thrown away
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Connection:
    """`client` is whose share of the places it takes. It is `idle` while it is not owed an answer, `since` then."""

    socket: socket.socket
    source: str
    interface: int
    client: str | bytes
    is_stranger: bool
    since: float
    idle: bool = True
    received: bytearray = field(default_factory=bytearray)
    task: asyncio.Task[None] | None = None


class Streams:
    """Answers at bound sockets until it is closed. `transferring` zone transfers are under way.

    A client has IDLE_TIMEOUT for each query, and to take each message of an answer.
    """

    def __init__(self, site: Site, statistics: Statistics, limit: RateLimit) -> None:
        self._site = site
        self._statistics = statistics
        self._limit = limit
        self._listening: list[socket.socket] = []
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._connections: set[_Connection] = set()
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
        connection = _Connection(accepted, source, interface, client, is_stranger, monotonic())
        if not self._make_place(connection):
            self._statistics.turned_away += 1
            accepted.close()
            return
        self._statistics.connections += 1
        self._connections.add(connection)
        connection.task = asyncio.get_running_loop().create_task(self._converse(connection))

    def _make_place(self, newcomer: _Connection) -> bool:
        """Whether there is a place, if need be that of the one which has said nothing for longest."""
        of_client = [one for one in self._connections if one.client == newcomer.client]
        if len(of_client) >= MAX_OF_CLIENT:
            return self._displace(of_client)
        if newcomer.is_stranger:
            strangers = [one for one in self._connections if one.is_stranger]
            if len(strangers) >= MAX_STRANGERS:
                return self._displace(strangers)
        return len(self._connections) < MAX_CONNECTIONS or self._displace(list(self._connections))

    def _displace(self, candidates: list[_Connection]) -> bool:
        idle = [one for one in candidates if one.idle]
        if not idle:
            return False
        self._statistics.displaced += 1
        self._end(min(idle, key=lambda one: (not one.is_stranger, one.since)))
        return True

    def _end(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        if connection.task is not None:
            connection.task.cancel()

    async def _converse(self, connection: _Connection) -> None:
        try:
            while (query := await self._receive(connection)) is not None:
                connection.idle = False
                if not await self._exchange(connection, query):
                    break
                connection.idle, connection.since = True, monotonic()
        except TimeoutError:
            self._statistics.timed_out += 1
            if not connection.idle:  # it does not take its answers: the kernel need not keep them for it
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:
            pass  # the client has left
        finally:
            self._connections.discard(connection)
            connection.socket.close()

    async def _receive(self, connection: _Connection) -> bytes | None:
        """The next query, which may have come already (RFC 7766 section 6.2.1.1); None where there is none.

        Raises OSError, TimeoutError.
        """
        received = connection.received
        async with asyncio.timeout(IDLE_TIMEOUT):
            while True:
                if len(received) >= _LENGTH.size:
                    (length,) = _LENGTH.unpack_from(received)
                    if length > MAX_QUERY:
                        return None
                    end = _LENGTH.size + length
                    if len(received) >= end:
                        query = bytes(received[_LENGTH.size : end])
                        del received[:end]
                        await asyncio.sleep(0)  # others have their turn, however many there are
                        return query
                octets = await asyncio.get_running_loop().sock_recv(connection.socket, MAX_QUERY)
                if not octets:
                    return None
                received += octets

    async def _exchange(self, connection: _Connection, query: bytes) -> bool:
        """One query and its answer; whether another may follow. Raises OSError, TimeoutError."""
        self._statistics.tcp += 1
        site = self._site
        zones = site.access.zones(connection.interface, connection.source)
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

    async def _transfer(self, connection: _Connection, site: Site, asked: Question) -> bool:
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

    async def _refuse(self, connection: _Connection, answer: bytes | None) -> bool:
        """Answer a stranger, who may have only so many."""
        if answer is None:
            self._statistics.unanswered += 1
            return False
        if not self._limit.permits(connection.source):
            self._statistics.limited += 1
            return False
        self._statistics.strangers += 1
        return await self._answer(connection, answer)

    async def _answer(self, connection: _Connection, answer: bytes | None) -> bool:
        if answer is None:
            self._statistics.unanswered += 1
            return False
        self._statistics.rcodes[rcode_of(answer)] += 1
        async with asyncio.timeout(IDLE_TIMEOUT):
            await asyncio.get_running_loop().sock_sendall(connection.socket, _LENGTH.pack(len(answer)) + answer)
        return True
