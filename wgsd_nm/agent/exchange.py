# SPDX-License-Identifier: GPL-2.0-or-later
"""One DNS server, asked many questions at once over UDP and TCP. It knows nothing of what they mean.

Against forged answers (RFC 5452): connected sockets with ports that are soon given up, random identifiers, the
letter case of the question (0x20), a cookie (RFC 7873), one query under way for a question; and an answer that does not
fit, or that the caller's judge finds malformed, never ends the wait for the true one.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import Any, Final, Generic, TypeVar

from wgsd_nm.core import dnsbytes
from wgsd_nm.core.errors import BadAnswer, LookupFailed, NoAnswer, RegistryUnreachable
from wgsd_nm.core.model import Server

T = TypeVar("T")

TRIES: Final = 4
WINDOW: Final = 256
"""Questions under way at a time. The answers to more would not fit the receive buffers of the sockets."""
PORTS: Final = 4
QUESTIONS_PER_PORT: Final = 512
PORT_LIFETIME: Final = 60.0
"""Seconds after which a socket is replaced: a connected one keeps the source address that it began with."""
FIRST_TIMEOUT: Final = 0.5
"""Seconds to wait before the round-trip time is known. An answer that comes later than the next try still counts."""
MIN_TIMEOUT: Final = 0.2
MAX_TIMEOUT: Final = 1.0
TCP_TIMEOUT: Final = 3.0
SILENCES: Final = 2
"""Times in a row that a server must have answered plain DNS after EDNS stayed unanswered: one packet may be lost."""
PLAIN_LIFETIME: Final = 300.0
"""Seconds after which a server that seemed not to read EDNS is asked with it again."""
TCP_CONNECTIONS: Final = 16
MAX_DATAGRAM: Final = 4096
DATAGRAMS_PER_WAKEUP: Final = 64

_FORMERR, _NOTIMP, _BADCOOKIE = 1, 4, 7  # BADCOOKIE is 23: the low four bits in the header, the rest in OPT
_TRUNCATED: Final = 0x02


class _Turn(Enum):
    """How a try can end, other than by an answer."""

    TIMEOUT = auto()
    PLAIN = auto()
    """The server cannot read EDNS."""
    TCP = auto()
    """The answer is truncated, or its question came back in other letters, or the server wants a cookie."""


@dataclass(frozen=True, slots=True)
class _Answered(Generic[T]):
    value: T


class NameServer:
    """A DNS server and what was learnt of it: its round-trip time, its cookie, what it cannot do."""

    def __init__(self, server: Server, window: int = WINDOW) -> None:
        self.server = server
        self._window = asyncio.Semaphore(window)
        self._connections = asyncio.Semaphore(TCP_CONNECTIONS)
        self._ports: list[_Port] = []
        self._closed = False
        self._round_trip = 0.0
        self._client_cookie = os.urandom(dnsbytes.CLIENT_COOKIE_LENGTH)
        self._server_cookie = b""
        self._repeats_cookie = False
        self._plain_until = -inf
        self._silences = 0
        self._silent_at = -inf
        self._folds_case = False
        self._lacks_tcp = False

    async def ask(self, name: bytes, rdtype: int, judge: Callable[[bytes], T]) -> T:
        """What `judge` makes of the answer to the question for a name on the wire.

        The judge is called with each answer to this question that comes, until one does not raise BadAnswer.
        Raises NoAnswer, RegistryUnreachable, and what the judge raises.
        """
        async with self._window:
            asking = _Asking(self, name, rdtype, judge)
            try:
                return await self._ask(asking)
            finally:
                asking.forget()

    def close(self) -> None:
        """Give up the sockets. What is under way ends with RegistryUnreachable."""
        self._closed = True
        for port in list(self._ports):
            port.fail(OSError(errno.ENETRESET, "the question was given up"))

    async def _ask(self, asking: _Asking[T]) -> T:
        patience = min(max(4 * self._round_trip, MIN_TIMEOUT), MAX_TIMEOUT) if self._round_trip else FIRST_TIMEOUT
        for attempt in range(TRIES):
            if attempt:
                asking.is_plain = True  # wgsd is silent for ever when EDNS gives room for a TXT that it cannot pack
            turn = await self._try(asking, patience)
            if turn is _Turn.PLAIN:
                asking.is_plain = asking.is_refused = True
                turn = await self._try(asking, patience)
            match turn:
                case _Answered(value):
                    return value
                case _Turn.TCP:
                    return await self._ask_tcp(asking)
                case _Turn.TIMEOUT | _Turn.PLAIN:
                    patience *= 2
        if asking.bad is not None:
            raise asking.bad
        raise NoAnswer(f"the registry {self.server} did not answer {TRIES} questions")

    async def _try(self, asking: _Asking[T], patience: float) -> _Answered[T] | _Turn:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[_Answered[T] | _Turn] = loop.create_future()
        asking.turn = turn
        timer = loop.call_later(patience * random.uniform(1, 1.25), asking.end, _Turn.TIMEOUT)
        try:
            self._port(loop).send(asking)
            return await turn
        except OSError as error:
            raise self._unreachable(error) from error
        finally:
            timer.cancel()

    def _port(self, loop: asyncio.AbstractEventLoop) -> _Port:
        """One of the sockets, made when there are too few. Raises OSError."""
        if self._closed:
            raise OSError(errno.ENETRESET, "the question was given up")
        now = loop.time()
        for port in [port for port in self._ports if port.is_used_up(now)]:
            if not port.waiting:
                port.close()
                self._ports.remove(port)
        fresh = [port for port in self._ports if not port.is_used_up(now)]
        if len(fresh) < PORTS:
            fresh.append(_Port(self, loop))
            self._ports.append(fresh[-1])
        return random.choice(fresh)

    async def _ask_tcp(self, asking: _Asking[T]) -> T:
        """The answer over TCP; where TCP brings none, what a truncated one is good for."""
        if asking.truncated is not None and self._lacks_tcp:
            value = _judged(asking.truncated, asking.judge)
            if value is not None:
                return value.value
        try:
            async with self._connections, asyncio.timeout(TCP_TIMEOUT):
                asked, answer = await self._over_tcp(asking)
        except (OSError, EOFError) as error:  # TimeoutError is an OSError
            if asking.truncated is not None:
                value = _judged(asking.truncated, asking.judge)
                if value is not None:
                    self._lacks_tcp = True
                    return value.value
            if isinstance(error, TimeoutError | EOFError):
                raise NoAnswer(f"the registry {self.server} did not answer over TCP") from error
            raise self._unreachable(error) from error
        end = dnsbytes.HEADER + len(asked)
        echoed = answer[dnsbytes.HEADER : end]
        if answer[2] & 0xF8 != 0x80 or answer[4:6] != b"\0\1" or echoed.lower() != asked.lower():
            raise BadAnswer(f"the registry {self.server} answered another question over TCP")
        self._folds_case = echoed != asked
        return asking.judge(answer)

    async def _over_tcp(self, asking: _Asking[Any]) -> tuple[bytes, bytes]:
        """The question as asked and the message that came back. Raises OSError, EOFError."""
        loop = asyncio.get_running_loop()
        identifier, asked, message = self.query(asking)
        with self.open_socket(socket.SOCK_STREAM) as connection:
            await loop.sock_connect(connection, (str(self.server.address), self.server.port))
            await loop.sock_sendall(connection, struct.pack("!H", len(message)) + message)
            (length,) = struct.unpack("!H", await _receive(connection, 2))
            answer = await _receive(connection, max(length, dnsbytes.HEADER))
        if answer[:2] != struct.pack("!H", identifier):
            raise EOFError("an answer with another identifier")
        return asked, answer

    def open_socket(self, kind: socket.SocketKind) -> socket.socket:
        """A non-blocking socket of the server's family, bound to its device. Raises OSError."""
        family = socket.AF_INET6 if self.server.address.version == 6 else socket.AF_INET
        opened = socket.socket(family, kind)
        try:
            opened.setblocking(False)
            if self.server.device:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.server.device.encode())
        except BaseException:
            opened.close()
            raise
        return opened

    def query(self, asking: _Asking[Any]) -> tuple[int, bytes, bytes]:
        """A new query for a question: its identifier, its question section, and the whole message."""
        noise = os.urandom(2 + len(asking.name))
        name = asking.name.lower() if self._folds_case else dnsbytes.mixed_case(asking.name, noise[2:])
        identifier, asked = int.from_bytes(noise[:2]), dnsbytes.question(name, asking.rdtype)
        cookie = self._client_cookie + self._server_cookie if self.speaks_edns(asking) else None
        return identifier, asked, dnsbytes.query(identifier, asked, cookie)

    def speaks_edns(self, asking: _Asking[Any]) -> bool:
        """Whether the next query for a question may use EDNS."""
        return not asking.is_plain and asyncio.get_running_loop().time() >= self._plain_until

    def is_genuine(self, answer: bytes, has_edns: bool) -> bool:
        """Learn the cookie of an answer; False for one without, from a server that always repeats ours."""
        if not has_edns:
            return True
        cookie = dnsbytes.server_cookie(answer, self._client_cookie)
        if cookie is None:
            return not self._repeats_cookie
        self._repeats_cookie = True
        self._server_cookie = cookie
        return True

    def answered(self, asking: _Asking[Any], sent: _Try) -> None:
        """Learn the time of one round trip (smoothed as in RFC 6298), and whether it took a query without EDNS.

        Silence to questions that were under way together is one silence.
        """
        now = asyncio.get_running_loop().time()
        seconds = now - sent.sent_at
        self._round_trip = self._round_trip * 0.875 + seconds * 0.125 if self._round_trip else seconds
        if sent.has_edns:
            self._silences, self._plain_until = 0, -inf
            return
        first = asking.tries[0]
        if first.has_edns and not asking.is_refused and first.sent_at > self._silent_at:
            self._silences += 1
            self._silent_at = now
        if asking.is_refused or (first.has_edns and self._silences >= SILENCES):
            self._plain_until = now + PLAIN_LIFETIME

    def drop(self, port: _Port) -> None:
        """Use a socket that failed no more."""
        if port in self._ports:
            self._ports.remove(port)

    def _unreachable(self, error: OSError) -> RegistryUnreachable:
        device = self.server.device
        match error.errno:
            case errno.EPERM | errno.EACCES if device:
                text = f"this kernel does not let us ask over {device} (needs Linux 5.7, or CAP_NET_RAW)"
            case errno.ENODEV:
                text = f"there is no network interface {device}"
            case errno.EDESTADDRREQ:
                text = "the WireGuard peer that leads there has no endpoint"
            case errno.ENOKEY:
                text = f"no WireGuard peer of {device or 'the tunnel'} has its address in AllowedIPs"
            case _:
                text = (error.strerror or str(error)).lower()
        return RegistryUnreachable(f"the registry {self.server} cannot be asked: {text}")


class _Asking(Generic[T]):
    """One question under way: any of its tries may still be answered."""

    def __init__(self, server: NameServer, name: bytes, rdtype: int, judge: Callable[[bytes], T]) -> None:
        self.name = name
        self.rdtype = rdtype
        self.judge = judge
        self.is_plain = False
        self.is_refused = False
        """Whether the server said that it cannot read EDNS."""
        self.turn: asyncio.Future[_Answered[T] | _Turn]
        self.bad: BadAnswer | None = None
        self.truncated: bytes | None = None
        self.tries: list[_Try] = []
        self._server = server

    def forget(self) -> None:
        """No answer is awaited any more."""
        for sent in self.tries:
            sent.port.waiting.pop(sent.identifier, None)

    def end(self, turn: _Answered[T] | _Turn) -> None:
        """The present try has ended."""
        if not self.turn.done():
            self.turn.set_result(turn)

    def fail(self, error: Exception) -> None:
        """The question has failed."""
        if not self.turn.done():
            self.turn.set_exception(error)

    def received(self, sent: _Try, answer: bytes) -> None:
        """An answer with the identifier of one of the tries."""
        if len(answer) < dnsbytes.HEADER or answer[2] & 0xF8 != 0x80:
            return
        code = answer[3] & 0x0F
        cannot_edns = sent.has_edns and not self.is_plain and code in (_FORMERR, _NOTIMP)
        if cannot_edns and answer[4:6] == b"\0\0":  # some leave the question out that they could not read
            self.end(_Turn.PLAIN)
            return
        asked = answer[dnsbytes.HEADER : dnsbytes.HEADER + len(sent.asked)]
        if answer[4:6] != b"\0\1" or asked.lower() != sent.asked.lower():
            return
        if asked != sent.asked:
            self.end(_Turn.TCP)
            return
        if cannot_edns:
            self.end(_Turn.PLAIN)
            return
        if not self._server.is_genuine(answer, sent.has_edns):
            return
        self._server.answered(self, sent)
        if answer[2] & _TRUNCATED:
            self.truncated = answer
            self.end(_Turn.TCP)
        elif code == _BADCOOKIE and sent.has_edns:
            self.end(_Turn.TCP)
        else:
            try:
                value = self.judge(answer)
            except BadAnswer as error:
                self.bad = error
            except LookupFailed as error:
                self.fail(error)
            else:
                self.end(_Answered(value))


@dataclass(frozen=True, slots=True, eq=False)
class _Try:
    """A query on its way."""

    port: _Port
    identifier: int
    asked: bytes
    has_edns: bool
    asking: _Asking[Any]
    sent_at: float


class _Port:
    """A UDP socket connected to the server: the kernel drops what comes from elsewhere, and reports ICMP errors."""

    def __init__(self, server: NameServer, loop: asyncio.AbstractEventLoop) -> None:
        self.waiting: dict[int, _Try] = {}
        self._server = server
        self._loop = loop
        self._questions = 0
        self._retires_at = loop.time() + PORT_LIFETIME
        self._socket = server.open_socket(socket.SOCK_DGRAM)
        try:
            self._socket.connect((str(server.server.address), server.server.port))
        except BaseException:
            self._socket.close()
            raise
        loop.add_reader(self._socket, self._readable)

    def is_used_up(self, now: float) -> bool:
        """Whether a fresh port should take its place."""
        return self._questions >= QUESTIONS_PER_PORT or now >= self._retires_at

    def send(self, asking: _Asking[Any]) -> None:
        """Send a query for a question. An error of the network fails all that wait here."""
        has_edns = self._server.speaks_edns(asking)
        identifier, asked, message = self._server.query(asking)
        while identifier in self.waiting:
            identifier, asked, message = self._server.query(asking)
        sent = self.waiting[identifier] = _Try(self, identifier, asked, has_edns, asking, self._loop.time())
        asking.tries.append(sent)
        self._questions += 1
        try:
            self._socket.send(message)
        except BlockingIOError:
            pass  # as good as lost on the way: the next try comes
        except OSError as error:
            self.fail(error)

    def fail(self, error: OSError) -> None:
        """Close the socket and fail all that wait for an answer here."""
        self.close()
        self._server.drop(self)
        for sent in list(self.waiting.values()):
            sent.asking.fail(error)

    def close(self) -> None:
        """Close the socket."""
        if self._socket.fileno() != -1:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _readable(self) -> None:
        try:
            for _ in range(DATAGRAMS_PER_WAKEUP):
                self._received(self._socket.recv(MAX_DATAGRAM))
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self.fail(error)

    def _received(self, answer: bytes) -> None:
        sent = self.waiting.get(int.from_bytes(answer[:2]))
        if sent is not None:
            sent.asking.received(sent, answer)


def _judged(answer: bytes, judge: Callable[[bytes], T]) -> _Answered[T] | None:
    """What a truncated answer is good for: None where it says nothing certain."""
    try:
        return _Answered(judge(answer))
    except LookupFailed:
        return None


async def _receive(connection: socket.socket, length: int) -> bytes:
    """Exactly so many octets of a stream. Raises OSError, EOFError."""
    loop = asyncio.get_running_loop()
    received = bytearray()
    while len(received) < length:
        chunk = await loop.sock_recv(connection, length - len(received))
        if not chunk:
            raise EOFError("the connection was closed")
        received += chunk
    return bytes(received)
