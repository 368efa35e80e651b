# SPDX-License-Identifier: GPL-2.0-or-later
"""One client's session of DNS Stateful Operations (RFC 8490), with its subscriptions (RFC 8765). Knows no sockets.

It follows RFC 8765's messages, not its transport: inside of a tunnel WireGuard encrypts and authenticates already.
Time is an argument, in seconds of any clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from math import inf

from wgsd_nm.core import dso, push
from wgsd_nm.core.dso import Keepalive, Message, ProtocolError, RetryDelay, Tlv
from wgsd_nm.core.push import ANY, IN, Reconfirm, Subscribe, Unsubscribe
from wgsd_nm.registry.subscriptions import MAX_OF_SESSION, Subscriptions

TIMEOUTS = Keepalive(inactivity=dso.DEFAULT_TIMEOUT, interval=60_000)
"""What clients are told. While there is a subscription the session is not inactive (RFC 8490 section 6.3)."""
PATIENCE = 5.0
"""Seconds to close a connection after having been told to, or twice the inactivity timeout (sections 6.4.1, 6.6.1)."""
RESTART = 1_000
STAGGER = 10
MAX_STAGGER = 10_000
"""Milliseconds after which the first client may come back to a registry that restarts, and each further one."""

Permits = Callable[[bytes], int]
"""NOERROR if the client may subscribe to a name in lower case, else NOTAUTH, REFUSED or SERVFAIL."""


class Session:
    """One connection's; `client` is whose. Whatever raises ProtocolError wants the connection aborted.

    `established` is whether client and server know of each other that they have a session (RFC 8490 section 5.1).
    """

    __slots__ = ("_active", "_closing", "_heard", "_questions", "_subscriptions", "_timeouts", "client", "established")

    def __init__(self, subscriptions: Subscriptions[Session], client: Hashable, now: float) -> None:
        self.client = client
        self.established = False
        self._subscriptions = subscriptions
        self._questions: dict[int, Subscribe] = {}
        self._timeouts = Keepalive(dso.DEFAULT_TIMEOUT, dso.DEFAULT_TIMEOUT)
        self._heard = self._active = now
        self._closing: float | None = None

    @property
    def count(self) -> int:
        """How many subscriptions it has."""
        return len(self._questions)

    @property
    def closed(self) -> bool:
        """Whether the client was told to leave."""
        return self._closing is not None

    @property
    def deadline(self) -> float:
        """When the connection is to be aborted if nothing is said before."""
        if self._closing is not None:
            return self._closing + PATIENCE
        silent = self._heard + 2 * dso.seconds(self._timeouts.interval)
        inactivity = dso.seconds(self._timeouts.inactivity)
        return min(silent, inf if self._questions else self._active + max(PATIENCE, 2 * inactivity))

    def used(self, now: float) -> None:
        """Another DNS message came or went by this connection: a query, an answer, a PUSH."""
        self._heard = self._active = now

    def receive(self, octets: bytes, permits: Permits, now: float) -> list[bytes]:
        """Take a DSO message of the client's. What to send, in order. Raises ProtocolError."""
        if self._closing is not None:
            return []  # RFC 8490 section 6.6.1.1
        self._heard = now
        try:
            message = dso.parse(octets)
        except ProtocolError as error:
            if error.rcode is None:
                raise
            return [dso.response(dso.identifier_of(octets), error.rcode).encode()]
        if message.is_response:
            raise ProtocolError("a client sent a DSO response: it was asked nothing")
        if message.primary.type != dso.KEEPALIVE:
            self._active = now
        if not message.identifier:
            self._take(message)
            return []
        if message.identifier in self._questions:
            raise ProtocolError(f"a DSO request has the id {message.identifier}, which is that of a subscription")
        return self._answer(message, permits)

    def review(self, permits: Permits, now: float) -> list[bytes]:
        """End the subscriptions that are not permitted any more. What to send (RFC 8490 section 5.6).

        When the last one ends, the session begins to be inactive (section 6.4).

        Here SERVFAIL ends them, too: content that is missing for a while is no reason to call this.
        """
        sent = []
        for identifier, question in tuple(self._questions.items()):
            rcode = permits(question.name)
            if rcode != dso.NOERROR:
                self._drop(identifier)
                self._active = now
                sent.append(_refusal(identifier, rcode).encode())
        return sent

    def shut_down(self, delay: int, now: float, rcode: int = dso.NOERROR) -> list[bytes]:
        """Tell the client to leave, and not to come back for so many milliseconds; nothing is heard any more.

        A client that is not known to understand is told nothing (RFC 8490 section 5.1).
        """
        self.end()
        self._closing = now
        return [dso.unidirectional(RetryDelay(delay).tlv(), rcode=rcode).encode()] if self.established else []

    def end(self) -> None:
        """The connection is no more."""
        for identifier in tuple(self._questions):
            self._drop(identifier)

    def _answer(self, message: Message, permits: Permits) -> list[bytes]:
        """A request's response, and what follows it."""
        identifier, primary = message.identifier, message.primary
        pushes: Sequence[bytes] = ()
        match primary.type:
            case dso.KEEPALIVE:
                Keepalive.read(primary)
                self._timeouts = TIMEOUTS
                self.established = True
                answer = dso.response(identifier, dso.NOERROR, TIMEOUTS.tlv())
            case push.SUBSCRIBE:
                answer, pushes = self._subscribe(identifier, primary, permits)
            case dso.PADDING:
                answer = dso.response(identifier, dso.FORMERR)
            case dso.RETRY_DELAY | push.PUSH | push.UNSUBSCRIBE | push.RECONFIRM:
                raise ProtocolError(f"a client made a request of the DSO type {primary.type:#x}, which is never one")
            case _:
                answer = dso.response(identifier, dso.DSOTYPENI)
        if message.find(dso.PADDING):  # RFC 8490 section 7.3
            answer = replace(answer, tlvs=(*answer.tlvs, dso.padding()))
        return [answer.encode(), *pushes]

    def _subscribe(self, identifier: int, tlv: Tlv, permits: Permits) -> tuple[Message, Sequence[bytes]]:
        try:
            asked = Subscribe.read(tlv)
        except ProtocolError as error:
            if error.rcode is None:
                raise
            return _refusal(identifier, error.rcode), ()
        name, rdtype = asked.name.lower(), asked.rdtype
        if asked.rdclass not in (IN, ANY):
            return _refusal(identifier, dso.NOTIMP), ()  # RFC 8765 section 3
        rcode = permits(name)
        if rcode == dso.NOERROR:
            if self._has(Subscribe(name, rdtype, asked.rdclass)):
                raise ProtocolError("a client subscribed twice to the same")
            rcode = dso.REFUSED if self.count >= MAX_OF_SESSION else self._subscriptions.room(self)
        if rcode != dso.NOERROR:
            return _refusal(identifier, rcode), ()
        self.established = True
        name, pushes = self._subscriptions.add(self, name, rdtype)
        self._questions[identifier] = Subscribe(name, rdtype, asked.rdclass)
        return dso.response(identifier, dso.NOERROR), pushes

    def _has(self, question: Subscribe) -> bool:
        has = self._subscriptions.has(self, question.name, question.rdtype)
        return has and question in self._questions.values()

    def _take(self, message: Message) -> None:
        """A unidirectional message."""
        primary = message.primary
        if not self.established:
            raise ProtocolError("a client sent a unidirectional DSO message before a session was established")
        match primary.type:
            case push.UNSUBSCRIBE:
                self._drop(Unsubscribe.read(primary).identifier)
            case push.RECONFIRM:
                Reconfirm.read(primary)  # records are as fresh as the device is; nothing is to be done
            case _:
                raise ProtocolError(f"a client sent a unidirectional message of the DSO type {primary.type:#x}")

    def _drop(self, identifier: int) -> None:
        question = self._questions.pop(identifier, None)
        if question is not None:
            self._subscriptions.drop(self, question.name, question.rdtype)


def retry_delay(number: int) -> int:
    """Milliseconds for the session of this number, from 0, when all are shut down (RFC 8490 section 6.6.1.1)."""
    return RESTART + min(number * STAGGER, MAX_STAGGER)


def _refusal(identifier: int, rcode: int) -> Message:
    delay = push.DELAYS.get(rcode, push.DELAY)
    return dso.response(identifier, rcode, RetryDelay(int(delay * 1000)).tlv())
