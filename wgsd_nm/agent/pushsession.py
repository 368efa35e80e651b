# SPDX-License-Identifier: GPL-2.0-or-later
"""Push sessions over TCP: one with each registry of a tunnel that has push. It knows nothing of what is pushed.

What is said in a session is `core.subscriber`'s affair, when the next one may be tried `core.reconnect`'s. The port is
found by asking the registry itself; one that has none is polled as before.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Final, NamedTuple, cast

from wgsd_nm.agent.exchange import NameServer
from wgsd_nm.agent.resolver import push_port
from wgsd_nm.core import dnssd
from wgsd_nm.core.dso import ProtocolError
from wgsd_nm.core.errors import BadAnswer, LookupFailed, NegativeAnswer, NoAnswer, RegistryUnreachable
from wgsd_nm.core.events import Event, Follow, RecordsPushed, SessionChanged
from wgsd_nm.core.model import PublicKey, Server
from wgsd_nm.core.pushed import Answer
from wgsd_nm.core.reconnect import Reconnect
from wgsd_nm.core.subscriber import End, Subscriber, Why

CONNECT: Final = 10.0
"""Seconds for a TCP connection: an initiation of WireGuard's may be lost on the way, and the next comes after 5 s."""
UNACKNOWLEDGED: Final = 15_000
"""Milliseconds after which the kernel gives a connection up on which what we sent is not acknowledged."""
READING: Final = 1 << 14
BREATH: Final = 0.02
"""Octets of a reading at the most, and seconds to the next.

A registry that never ends to talk does not keep the agent from all else.
"""
MAX_UNSENT: Final = 1 << 23
"""Octets that may wait for a registry that makes requests and does not take our answers."""

_LENGTH: Final = struct.Struct("!H")
_RESET: Final = struct.pack("ii", 1, 0)

_log = logging.getLogger(__name__)


class _Place(NamedTuple):
    """Which session it is. Another device, another activation or another zone means another session."""

    interface: str
    activation: str
    server: Server
    zone: str


class PushSessions:
    """Keeps the sessions that were last ordered; what comes of them is told in events, never from within a call."""

    def __init__(self, handle: Callable[[Event], None]) -> None:
        self._handle = handle
        self._registries: dict[_Place, _Registry] = {}
        self._left: dict[_Place, Reconnect] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, order: Follow) -> None:
        """Have these sessions and no others. Of those that end nothing more is told.

        For how long a registry wanted to be left alone is kept (RFC 8490 section 6.6.3).
        """
        wanted = {
            _Place(each.interface, each.activation, server, each.zone): each.keys
            for each in order.tunnels
            for server in each.servers
        }
        for place in self._registries.keys() - wanted.keys():
            registry = self._registries.pop(place)
            registry.close()
            self._left[place._replace(activation="")] = registry.reconnect
        now = asyncio.get_running_loop().time()
        self._left = {place: left for place, left in self._left.items() if left.ordered > now}
        for place, keys in wanted.items():
            if place not in self._registries:
                left = self._left.pop(place._replace(activation=""), Reconnect())
                self._registries[place] = _Registry(place, left.network_changed(), self._handle, self._tasks)
            self._registries[place].follow(keys, may_work=order.may_work)

    def network_changed(self) -> None:
        """Find out whether the sessions live, and try at once what failed before."""
        for registry in self._registries.values():
            registry.network_changed()

    def answered(self, interface: str, source: str) -> None:
        """The registry `source` has answered a question by UDP: where its session does not live, it wants a new one."""
        for place, registry in self._registries.items():
            if (place.interface, str(place.server)) == (interface, source):
                registry.answered()

    async def close(self) -> None:
        """End all sessions."""
        self.follow(Follow())
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Registry:
    """What there is with one registry: a timer for the next try, a try under way, or a connection; at most one of them.

    While nothing may be done there is no timer and no try, and a connection is left as it is.
    """

    def __init__(
        self, place: _Place, known: Reconnect, handle: Callable[[Event], None], tasks: set[asyncio.Task[None]]
    ) -> None:
        self.reconnect = known
        self.keys: frozenset[PublicKey] = frozenset()
        self.may_work = False
        self._place = place
        self._handle = handle
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._trying: asyncio.Task[None] | None = None
        self._connection: _Connection | None = None
        self._told: frozenset[PublicKey] = frozenset()

    def follow(self, keys: frozenset[PublicKey], *, may_work: bool) -> None:
        self.keys, self.may_work = keys, may_work
        if self._connection is None:
            self._arrange()
        else:
            self._connection.wanted()

    def network_changed(self) -> None:
        self.reconnect = self.reconnect.network_changed()
        if self._connection is None or not self._connection.is_established:
            self.close()
            self._arrange()
        else:  # the order that says whether anything may be done comes next
            self._loop.call_soon(self._connection.ping)

    def answered(self) -> None:
        if self._connection is not None:
            if self._told:
                self._connection.prove()
            return
        before = self.reconnect
        self.reconnect = before.answers(self._loop.time(), random.random())
        if self._timer is not None and self.reconnect.due < before.due:
            self._give_up()
            self._arrange()

    def close(self) -> None:
        """Give up what there is; nothing more is told of it."""
        self._give_up()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def established(self) -> None:
        self.reconnect = self.reconnect.established()

    def heard(self, answers: dict[PublicKey, Answer], ask: dict[PublicKey, None]) -> None:
        if answers or ask:
            source = str(self._place.server)
            self._handle(RecordsPushed(self._place.interface, source, tuple(answers.items()), tuple(ask)))

    def follows(self, following: frozenset[PublicKey]) -> None:
        """Tell whose changes are pushed, if they are others now."""
        if following != self._told:
            self._told = following
            self._handle(SessionChanged(self._place.interface, str(self._place.server), following))

    def over(self, connection: _Connection, outcome: End | ProtocolError | None, lasted: float | None) -> None:
        """The connection has ended: by the session's will, by a break of the protocol, or without a word."""
        if connection is not self._connection:
            return
        now, chance, server = self._loop.time(), random.random(), self._place.server
        match outcome:
            case None:
                self.reconnect = self.reconnect.lost(lasted, now, chance)
            case End():
                self.reconnect = self.reconnect.ended(outcome, lasted, now, chance)
            case ProtocolError():
                _log.warning("the registry %s breaks the push protocol, so it is polled: %s", server, outcome)
                self.reconnect = self.reconnect.broken(now)
        _log.debug("the push session with %s is over: %s", server, outcome or "lost")
        self._connection = None
        self._arrange()
        self.follows(frozenset())

    def _arrange(self) -> None:
        """Have the next try made when it may be."""
        if not self.may_work or not self.keys:
            self._give_up()
        elif self._timer is None and self._trying is None:
            self._timer = self._loop.call_at(max(self.reconnect.due, self._loop.time()), self._try)

    def _give_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._trying is not None:
            self._trying.cancel()
        self._timer = self._trying = None

    def _try(self) -> None:
        self._timer = None
        self._trying = self._loop.create_task(self._connect())
        self._tasks.add(self._trying)
        self._trying.add_done_callback(self._tried)

    def _tried(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._loop.call_exception_handler({"message": "a push session failed", "exception": task.exception()})

    async def _connect(self) -> None:
        name_server = NameServer(self._place.server)
        try:
            port = await push_port(name_server, self._place.zone)
            async with asyncio.timeout(CONNECT):
                self._connection = await self._open(name_server, port)
        except (NegativeAnswer, BadAnswer) as error:
            _log.debug("no push at %s: %s", self._place.server, error)
            self.reconnect = self.reconnect.absent(self._loop.time(), random.random())
        except (LookupFailed, OSError) as error:  # TimeoutError is an OSError
            _log.debug("no push session with %s: %s", self._place.server, error)
            silent = isinstance(error, NoAnswer | RegistryUnreachable)
            self.reconnect = self.reconnect.unreachable(self._loop.time(), random.random(), silent=silent)
        finally:
            name_server.close()
        self._trying = None
        if self._connection is None:
            self._arrange()
        else:
            self._connection.begin()

    async def _open(self, name_server: NameServer, port: int) -> _Connection:
        """A connection, which says nothing yet. Raises OSError."""
        opened = name_server.open_socket(socket.SOCK_STREAM)
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED)
            await self._loop.sock_connect(opened, (str(self._place.server.address), port))
            zone = dnssd.wire(dnssd.parse_zone(self._place.zone))
            _, connection = await self._loop.create_connection(lambda: _Connection(self, zone), sock=opened)
        except BaseException:
            opened.close()
            raise
        return connection


class _Connection(asyncio.BufferedProtocol):
    """A TCP connection, and the session in it. It is over once, when the session or the network ends it."""

    def __init__(self, registry: _Registry, zone: bytes) -> None:
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._session = Subscriber(zone)
        self._reading = bytearray(READING)
        self._received = bytearray()
        self._established_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self._is_over = False

    @property
    def is_established(self) -> bool:
        return self._established_at is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def begin(self) -> None:
        """Say the first words, unless the other side has closed already."""
        if self._is_over:
            self._registry.over(self, None, None)
            return
        now = self._loop.time()
        self._say(self._session.begin(now).send)
        self._say(self._session.want(self._registry.keys, now).send)
        self._wait()

    def wanted(self) -> None:
        """Others are to be followed, or work makes sense again, or not any more."""
        if self._registry.may_work and not self._is_over:
            self._say(self._session.want(self._registry.keys, self._loop.time()).send)
        self._wait()

    def ping(self) -> None:
        """Find out whether the session is alive."""
        if self._registry.may_work and not self._is_over:
            self._say(self._session.ping(self._loop.time()).send)
            self._wait()

    def prove(self) -> None:
        """Find out whether the session is alive, now that the registry has answered elsewhere."""
        if self._registry.may_work and not self._is_over:
            self._say(self._session.prove(self._loop.time()).send)
            self._wait()

    def close(self) -> None:
        """End it in order."""
        self._stop()
        self._transport.close()

    def get_buffer(self, _size: int) -> bytearray:
        return self._reading

    def buffer_updated(self, count: int) -> None:
        self._received += memoryview(self._reading)[:count]
        now = self._loop.time()
        send: list[bytes] = []
        answers: dict[PublicKey, Answer] = {}
        ask: dict[PublicKey, None] = {}
        outcome: End | ProtocolError | None = None
        try:
            for message in self._messages():
                heard = self._session.received(message, now)
                send += heard.send
                answers.update(heard.answers)
                ask.update(dict.fromkeys(heard.ask))
                if heard.end is not None:
                    outcome = heard.end
                    break
        except ProtocolError as error:
            outcome = error
        self._say(send)
        if outcome is None and self._transport.get_write_buffer_size() > MAX_UNSENT:
            outcome = End(Why.DEAD)
        if self._session.established and self._established_at is None:
            self._established_at = now
            self._registry.established()
        if outcome is None:
            self._wait()
            self._transport.pause_reading()
            self._loop.call_later(BREATH, self._read_on)
        self._registry.heard(answers, ask)
        if outcome is not None:
            self._end(outcome)
        elif self._session.settled and not self._is_over:
            self._registry.follows(self._session.following)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._is_over:
            self._stop()
            self._registry.over(self, None, self._lasted())

    def _messages(self) -> Iterator[bytes]:
        """What has come as whole messages, each behind its length (RFC 1035 section 4.2.2)."""
        while len(self._received) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._received)
            end = _LENGTH.size + length
            if len(self._received) < end:
                return
            message = bytes(self._received[_LENGTH.size : end])
            del self._received[:end]
            yield message

    def _say(self, messages: Sequence[bytes]) -> None:
        if messages and not self._transport.is_closing():
            self._transport.write(b"".join(_LENGTH.pack(len(message)) + message for message in messages))

    def _tick(self) -> None:
        self._timer = None
        heard = self._session.tick(self._loop.time())
        self._say(heard.send)
        if heard.end is None:
            self._wait()
        else:
            self._end(heard.end)

    def _wait(self) -> None:
        """For what is due next; while nothing may be done, for nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self._session.deadline
        if at < inf and self._registry.may_work and not self._is_over:
            self._timer = self._loop.call_at(at, self._tick)

    def _read_on(self) -> None:
        if not self._is_over and not self._transport.is_closing():
            self._transport.resume_reading()

    def _end(self, outcome: End | ProtocolError) -> None:
        """Close the connection; where the protocol is broken or nobody answers, with a reset (RFC 8490 section 5.3)."""
        if self._is_over:
            return
        self._stop()
        if isinstance(outcome, ProtocolError) or outcome.why is Why.DEAD:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
        else:
            self._transport.close()
        self._registry.over(self, outcome, self._lasted())

    def _stop(self) -> None:
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _lasted(self) -> float | None:
        return None if self._established_at is None else self._loop.time() - self._established_at
