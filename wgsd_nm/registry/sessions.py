# SPDX-License-Identifier: GPL-2.0-or-later
"""The push sessions of all TCP connections: who has one, what is pushed when, and when one is over.

It knows neither what the messages say nor how octets are sent. While somebody is subscribed, and only then, the device
is read as often as it may be.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import monotonic

from wgsd_nm.core import dso, push
from wgsd_nm.core.dso import ProtocolError, RetryDelay
from wgsd_nm.core.push import Subscribe
from wgsd_nm.registry.connection import PATIENCE, Connection
from wgsd_nm.registry.content import Content
from wgsd_nm.registry.push import Permits, Session, retry_delay
from wgsd_nm.registry.query import wants_keepalive
from wgsd_nm.registry.site import Site
from wgsd_nm.registry.statistics import Statistics
from wgsd_nm.registry.subscriptions import Subscriptions
from wgsd_nm.registry.zone import Zone

MAX_SESSIONS = 4096
MAX_OF_CLIENT = 8
"""Sessions of one address: an agent has one for each zone, and those before it may not have been found dead yet."""
CROWDED = 60_000
"""Milliseconds for which a client is sent away for whom there is no place."""
MAX_UNSENT = 1 << 20
"""Octets that may wait for a client; one who lets more come up is too slow to be told of changes."""
BURST = 16
"""Clients that are told of a change in one turn of the event loop. A message for one alone may cost a millisecond."""
LOOK = 1.0
"""Seconds from one look for sessions that are over to the next, and until a device is tried again after a reload."""
USER_TIMEOUT = 30_000
"""Milliseconds after which the kernel gives a client up who acknowledges nothing (tcp(7)). Roaming takes less.

What is pushed to one who has gone keeps its session from looking idle.
"""
SEND_BUFFER = 64 * 1024
"""Octets that the kernel holds for a client; it doubles this (socket(7))."""

_log = logging.getLogger(__name__)


class Sessions:
    """`len()` is how many there are. `subscribed` counts their subscriptions."""

    def __init__(self, site: Site, statistics: Statistics, clock: Callable[[], float] = monotonic) -> None:
        self._site = site
        self._statistics = statistics
        self._clock = clock
        self._subscriptions: Subscriptions[Session] = Subscriptions(site)
        self._sessions: dict[Connection, Session] = {}
        self._connections: dict[Session, Connection] = {}
        self._changed: dict[bytes, None] = {}
        self._witnesses: dict[Content, bytes] = {}
        self._pushing: asyncio.Task[None] | None = None
        self._catching_up: list[asyncio.Task[None]] = []
        self._look: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._sessions

    @property
    def subscribed(self) -> int:
        return len(self._subscriptions)

    async def take(self, connection: Connection, message: bytes) -> None:
        """Answer a DSO message of somebody who may ask, or could when the session began.

        Returns when the answer has been taken. Raises ProtocolError where the connection is to be aborted; OSError,
        TimeoutError.
        """
        if connection in self._sessions and not self._zones(connection):
            # Its device may have been made anew, which only another connection can come in by.
            self._dismiss(self._sessions[connection], retry_delay(0), dso.REFUSED)
            return
        name = _wished(message)
        fresh = name is None or await self._freshen(connection, name)
        session = self._sessions.get(connection) or self._begin(connection)
        if session is None:
            answer = refusal(message, dso.SERVFAIL, CROWDED)
            if answer is None:
                raise ProtocolError("a client without a session sent a DSO message that is no request")
            connection.post(answer)
            await connection.flushed(PATIENCE)
        else:
            before = session.count
            for answer in session.receive(message, self._permits(connection, fresh=fresh), self._clock()):
                connection.post(answer)
            if name is not None and session.count > before:
                self._statistics.subscriptions += 1
                self._follow(name)
            await connection.flushed()  # it is ended if that never is

    def used(self, connection: Connection, query: bytes) -> None:
        """Another message came by a connection with a session. Raises ProtocolError where it must not."""
        session = self._sessions[connection]
        if session.established and wants_keepalive(query):  # RFC 8490 section 7.1.2
            raise ProtocolError("a client with a session sent the EDNS option for TCP keepalive")
        session.used(self._clock())

    def ended(self, connection: Connection) -> None:
        """A connection is no more."""
        session = self._sessions.pop(connection, None)
        if session is not None:
            del self._connections[session]
            session.end()

    def changed(self, names: Iterable[bytes]) -> None:
        """The records of these names may be others now: tell those who subscribed to them.

        After a reload a read may end that was for the former site; of the present one nothing may be known yet.
        """
        watched = self._subscriptions.names
        self._changed |= dict.fromkeys(name for name in names if name in watched and self._is_known(name))
        self._begin_to_push()

    def use(self, site: Site) -> None:
        """Sessions go on with this site; subscriptions that it does not permit end."""
        self._site = site
        self._subscriptions.use(site)
        self._witnesses.clear()
        self._changed.clear()  # all is looked at again
        for session, connection in self._connections.items():
            for message in session.review(self._permits(connection, fresh=True), self._clock()):
                connection.post(message)
        for task in self._catching_up:
            task.cancel()
        loop = asyncio.get_running_loop()
        followed = [content for content in site.devices if self._follows(content)]
        self._catching_up = [loop.create_task(self._catch_up(content)) for content in followed]
        for content in followed:
            content.keep(partial(self._follows, content))

    def close(self) -> None:
        """Tell all clients to leave, and when to come back."""
        for number, session in enumerate(self._connections):
            self._dismiss(session, retry_delay(number), dso.NOERROR)
        for task in (*self._catching_up, self._pushing):
            if task is not None:
                task.cancel()
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _begin(self, connection: Connection) -> Session | None:
        """None where there is no place."""
        if len(self) >= MAX_SESSIONS:
            self._statistics.sessions_refused += 1
            return None
        of_client = [
            session for one, session in self._sessions.items() if one.client == connection.client and not session.closed
        ]
        if len(of_client) >= MAX_OF_CLIENT:
            self._statistics.sessions_displaced += 1
            self._dismiss(of_client[0], CROWDED, dso.SERVFAIL)
        session = Session(self._subscriptions, connection.client, self._clock())
        self._sessions[connection] = session
        self._connections[session] = connection
        self._statistics.sessions += 1
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(LOOK, self._look_after_all)
        return session

    def _permits(self, connection: Connection, *, fresh: bool) -> Permits:
        """Whose zones' records are as fresh as answers have to be, or not."""
        site, zones = self._site, self._zones(connection)

        def permits(name: bytes) -> int:
            zone = site.responder.zone_of(name)
            if zone is None:
                return dso.NOTAUTH
            if zone not in zones:
                return dso.REFUSED
            return dso.NOERROR if fresh else dso.SERVFAIL

        return permits

    def _zones(self, connection: Connection) -> tuple[Zone, ...]:
        """For which the client may ask now."""
        return self._site.access.zones(connection.interface, connection.source)

    async def _freshen(self, connection: Connection, name: bytes) -> bool:
        """Whether the records of a name may be told now. Nothing is read for those who may not ask for it."""
        while self._permits(connection, fresh=True)(name) == dso.NOERROR:
            site = self._site
            content = site.content_of(name)
            fresh = content is not None and (content.use() or await content.available())
            if self._site is site:
                return fresh
        return True

    def _follow(self, name: bytes) -> None:
        content = self._site.content_of(name)
        if content is not None and content not in self._witnesses:
            self._witnesses[content] = name
            content.keep(partial(self._follows, content))

    def _is_known(self, name: bytes) -> bool:
        """Whether the device that its records come from was ever read."""
        content = self._site.content_of(name)
        return content is not None and content.age is not None

    def _follows(self, content: Content) -> bool:
        """Whether somebody subscribed to a name whose records come from there. One such name is remembered."""
        names, content_of = self._subscriptions.names, self._site.content_of
        if self._witnesses.get(content) not in names:
            self._witnesses.pop(content, None)
            witness = next((name for name in names if content_of(name) is content), None)
            if witness is not None:
                self._witnesses[content] = witness
        return content in self._witnesses

    async def _catch_up(self, content: Content) -> None:
        """After a reload: tell what is another record now, as soon as the device was read."""
        while self._follows(content):
            if await content.available():
                self.changed([name for name in self._subscriptions.names if self._site.content_of(name) is content])
                return
            await asyncio.sleep(LOOK)

    def _begin_to_push(self) -> None:
        if self._changed and self._pushing is None:
            self._pushing = asyncio.get_running_loop().create_task(self._push())
            self._pushing.add_done_callback(self._pushed)

    async def _push(self) -> None:
        while self._changed:
            names, self._changed = self._changed, {}
            for number, (session, messages) in enumerate(self._subscriptions.update(names), 1):
                self._tell(session, messages)
                if not number % BURST:
                    await asyncio.sleep(0)

    def _tell(self, session: Session, messages: Sequence[bytes]) -> None:
        connection = self._connections.get(session)
        if connection is None or session.closed:
            return  # it ended while others were told
        if connection.unsent > MAX_UNSENT:
            self._abort(connection)
            return
        for message in messages:
            connection.post(message)
        session.used(self._clock())
        self._statistics.pushes += len(messages)

    def _pushed(self, task: asyncio.Task[None]) -> None:
        self._pushing = None
        if task.cancelled():
            return
        self._begin_to_push()
        if task.exception() is None:
            return
        _log.error("pushing failed, and all push sessions end; report this as a defect:", exc_info=task.exception())
        for session in self._connections:  # they do not know what they were not told
            self._dismiss(session, CROWDED, dso.SERVFAIL)

    def _dismiss(self, session: Session, delay: int, rcode: int) -> None:
        """Tell a client to leave, and not to come back for so many milliseconds, unless it was told so before."""
        if session.closed:
            return
        connection = self._connections[session]
        for message in session.shut_down(delay, self._clock(), rcode):
            connection.post(message)

    def _look_after_all(self) -> None:
        """End the sessions that are over, and those of clients who do not take what they are told."""
        self._look = None
        now = self._clock()
        for connection, session in tuple(self._sessions.items()):
            if connection.is_stuck(now):
                self._abort(connection)
            elif session.deadline <= now:
                self._statistics.sessions_idle += not session.closed
                connection.reset()
                connection.end()
        if self._sessions:
            self._look = asyncio.get_running_loop().call_later(LOOK, self._look_after_all)

    def _abort(self, connection: Connection) -> None:
        """Of a client who is too slow. It is told nothing any more."""
        self._statistics.sessions_slow += 1
        self.ended(connection)
        connection.reset()
        connection.end()


def refusal(message: bytes, rcode: int, delay: int | None = None) -> bytes | None:
    """The answer to a DSO request of somebody who gets no session; None for silence where it is none."""
    if not dso.is_request(message):
        return None
    tlvs = () if delay is None else (RetryDelay(delay).tlv(),)
    return dso.response(dso.identifier_of(message), rcode, *tlvs).encode()


def _wished(message: bytes) -> bytes | None:
    """The name, in lower case, to which a message subscribes, if it does."""
    try:
        primary = dso.parse(message).primary
        return Subscribe.read(primary).name.lower() if primary.type == push.SUBSCRIBE else None
    except (ProtocolError, IndexError):
        return None
