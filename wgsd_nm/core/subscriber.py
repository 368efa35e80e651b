# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's end of one push session with a registry (RFC 8490, RFC 8765): messages in, messages and answers out.

It knows neither sockets nor the clock. A session begins with a Keepalive; if that is answered, there is one
subscription for each peer, to all records of its name. What is pushed becomes what a lookup would have said. Whatever
the session says, a change of the network is a reason to ask by UDP at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Final

from wgsd_nm.core import dnssd, dso, push
from wgsd_nm.core.dso import Keepalive, Message, ProtocolError, RetryDelay
from wgsd_nm.core.model import PublicKey
from wgsd_nm.core.push import ANY, Change, Subscribe, Unsubscribe
from wgsd_nm.core.pushed import Answer, PushedRecords

WISH: Final = Keepalive(inactivity=dso.DEFAULT_TIMEOUT, interval=60_000)
"""The timeouts that we ask for. The registry decides."""
FIRST_ANSWER: Final = 30.0
"""Seconds for a server to show that it knows of sessions (RFC 8490 section 5.1.1)."""
ANSWER: Final = 10.0
"""Seconds in which the server has to say something while any later answer is due. Then the session is dead."""
PROOF: Final = 2.0
"""The same where the server has just answered elsewhere: what is said here must be waiting in TCP's back-off.

Or the server has forgotten the session. TCP sends again what was lost after 0.2, 0.6 and 1.4 s, then ever more rarely.
"""
LEAST_DELAY: Final = 1.0
"""Seconds after which a refused subscription is tried again, if the server would have it earlier."""

_NEVER_RESPONSES: Final = frozenset((push.PUSH, push.UNSUBSCRIBE, push.RECONFIRM))


class Why(StrEnum):
    """Why a connection is to be closed."""

    NO_PUSH = "no-push"
    """The server has no push."""
    DISMISSED = "dismissed"
    """The server told us to leave, and to come back after the delay."""
    IDLE = "idle"
    """There is nothing to follow."""
    DEAD = "dead"
    """No answer came in time, not even the first: abort it."""


@dataclass(frozen=True, slots=True)
class End:
    """The connection is to be closed. `delay` is in seconds, before the next one."""

    why: Why
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What follows from a message, or from the time: what to send, in order, what is known of peers now, and the end.

    `ask` are peers whose records changed and lead to other names: a lookup has to find out.
    """

    send: tuple[bytes, ...] = ()
    answers: tuple[tuple[PublicKey, Answer], ...] = ()
    ask: tuple[PublicKey, ...] = ()
    end: End | None = None


@dataclass(slots=True)
class _Peer:
    """One whose name is to be followed, by the subscription of this id, 0 for none."""

    key: PublicKey
    identifier: int = 0
    confirmed: bool = False
    records: PushedRecords = field(default_factory=PushedRecords)


class Subscriber:
    """One connection's session. Whatever raises ProtocolError wants the connection aborted (a TCP reset).

    Time is an argument, in seconds of any clock that never goes back.
    """

    def __init__(self, zone: bytes) -> None:
        """`zone` is the zone's name in lower case, as on the wire."""
        self._zone = zone
        self._peers: dict[bytes, _Peer] = {}
        self._subscribed: dict[int, bytes] = {}
        self._cancelled: set[int] = set()
        self._asked: dict[int, tuple[float, tuple[bytes, ...]]] = {}
        self._timeouts = Keepalive(dso.DEFAULT_TIMEOUT, dso.DEFAULT_TIMEOUT)
        self._last = self._active = self._heard = -inf
        self._proof_by = inf
        self._hold = -inf
        self._identifier = 0
        self.established = False

    @property
    def following(self) -> frozenset[PublicKey]:
        """The peers whose changes are pushed."""
        return frozenset(peer.key for peer in self._peers.values() if peer.confirmed)

    @property
    def settled(self) -> bool:
        """Whether all that was asked is answered, so that of the peers that are followed all is known."""
        return self.established and not self._asked

    @property
    def deadline(self) -> float:
        """When `tick` is to be called, if nothing was said before."""
        times = [self._dead_at]
        if self.established:
            times.append(self._last + dso.seconds(self._timeouts.interval))
            if not self._subscribed:
                times.append(self._active + dso.seconds(self._timeouts.inactivity))
            if len(self._subscribed) < len(self._peers):
                times.append(self._hold)
        return min(times)

    @property
    def _dead_at(self) -> float:
        """When there is no hope any more, if nothing is heard before."""
        asked_at = min((at for at, _ in self._asked.values()), default=inf)
        if not self.established:
            return asked_at + FIRST_ANSWER
        return min(max(asked_at, self._heard) + ANSWER, self._proof_by)

    def begin(self, now: float) -> Heard:
        """The connection is there."""
        self._active = now
        return Heard(send=(self._keepalive(now),))

    def want(self, keys: Iterable[PublicKey], now: float) -> Heard:
        """Follow these peers, and no others."""
        wanted = {dnssd.instance_wire(key, self._zone): key for key in keys}
        leave = []
        for name in self._peers.keys() - wanted.keys():
            identifier = self._peers.pop(name).identifier
            if identifier:
                del self._subscribed[identifier]
                self._cancelled.add(identifier)
                leave.append(dso.unidirectional(Unsubscribe(identifier).tlv()).encode())
        for name, key in wanted.items():
            if name not in self._peers:
                self._peers[name] = _Peer(key)
        if leave:
            self._last = self._active = now
        return Heard(send=(*leave, *self._subscriptions(now)))

    def ping(self, now: float) -> Heard:
        """The network changed: find out whether the session is alive, unless that is under way."""
        self._proof_by = inf
        return Heard() if self._asked else Heard(send=(self._keepalive(now),))

    def prove(self, now: float) -> Heard:
        """The server has answered elsewhere: it has PROOF seconds to say something here, if it has not lately."""
        if not self._asked and now < self._heard + ANSWER:
            return Heard()
        proof_by = min(self._proof_by, now + PROOF)
        heard = self.ping(now)
        self._proof_by = proof_by
        return heard

    def tick(self, now: float) -> Heard:
        """Time has passed."""
        if self._dead_at <= now:
            return Heard(end=End(Why.DEAD))
        if not self.established:
            return Heard()
        send = tuple(self._subscriptions(now))
        if not self._subscribed and self._active + dso.seconds(self._timeouts.inactivity) <= now:
            return Heard(end=End(Why.IDLE, max(0.0, self._hold - now)))
        if not self._asked and self._last + dso.seconds(self._timeouts.interval) <= now:
            send += (self._keepalive(now),)
        return Heard(send=send)

    def received(self, octets: bytes, now: float) -> Heard:
        """Take a message of the server's. Raises ProtocolError."""
        if not self.established:
            return self._first(octets, now)
        self._last = self._heard = now
        self._proof_by = inf
        try:
            message = dso.parse(octets)
        except ProtocolError as error:
            if error.rcode is None:
                raise
            return Heard(send=(dso.response(dso.identifier_of(octets), error.rcode).encode(),))
        if message.is_response:
            return self._answered(message, now)
        if message.identifier:
            return _requested(message)
        return self._told(message, octets, now)

    def _first(self, octets: bytes, now: float) -> Heard:
        """The answer to the first Keepalive. A server that knows of no sessions may say anything (section 5.1.1)."""
        try:
            message = dso.parse(octets)
            if message.is_response and message.identifier in self._asked and message.rcode == dso.NOERROR:
                self._take(_timeouts(message))
                del self._asked[message.identifier]
                self.established = True
                self._last = self._heard = now
                return Heard(send=tuple(self._subscriptions(now)))
            tlv = message.find(dso.RETRY_DELAY)
            if message.is_response and message.identifier in self._asked and tlv is not None:
                return Heard(end=End(Why.DISMISSED, RetryDelay.read(tlv).delay / 1000))
        except ProtocolError:
            pass
        return Heard(end=End(Why.NO_PUSH))

    def _answered(self, message: Message, now: float) -> Heard:
        identifier, tlvs = message.identifier, message.tlvs
        if tlvs and tlvs[0].type in _NEVER_RESPONSES:
            raise ProtocolError(f"a server sent a response of the DSO type {tlvs[0].type:#x}, which is never one")
        if identifier in self._asked:
            if message.rcode != dso.NOERROR:
                raise ProtocolError(f"a server answered a Keepalive with RCODE {message.rcode}: expected {dso.NOERROR}")
            self._take(_timeouts(message))
            _, names = self._asked.pop(identifier)
            return self._read(names, if_absent=True)
        self._active = now
        if identifier in self._subscribed:
            peer = self._peers[self._subscribed[identifier]]
            if message.rcode == dso.NOERROR:
                peer.confirmed = True
                return Heard()
            return self._refused(peer, message, now)
        if identifier in self._cancelled:  # its answer was on its way
            return Heard()
        raise ProtocolError(f"a server answered the DSO request {identifier}, which it was not sent")

    def _refused(self, peer: _Peer, message: Message, now: float) -> Heard:
        """A subscription was refused, or ended by the server (section 5.6). None is tried before the delay is over."""
        del self._subscribed[peer.identifier]
        peer.identifier, peer.confirmed = 0, False
        peer.records = PushedRecords()
        tlv = message.find(dso.RETRY_DELAY)
        delay = push.DELAYS.get(message.rcode, push.DELAY) if tlv is None else RetryDelay.read(tlv).delay / 1000
        if message.rcode in (dso.NOTIMP, dso.DSOTYPENI):
            return Heard(end=End(Why.NO_PUSH, delay))
        self._hold = max(self._hold, now + max(delay, LEAST_DELAY))
        return Heard()

    def _told(self, message: Message, octets: bytes, now: float) -> Heard:
        """A unidirectional message."""
        primary = message.primary
        match primary.type:
            case dso.KEEPALIVE:
                self._take(Keepalive.read(primary))
                return Heard()
            case dso.RETRY_DELAY:
                return Heard(end=End(Why.DISMISSED, RetryDelay.read(primary).delay / 1000))
            case push.PUSH:
                self._active = now
                names = [self._apply(change) for change in push.parse_push(octets)]
                return self._read(dict.fromkeys(name for name in names if name))
        raise ProtocolError(f"a server sent a unidirectional message of the DSO type {primary.type:#x}")

    def _apply(self, change: Change) -> bytes | None:
        """The name, in lower case, if its records are others now (RFC 8765 section 6.3.1).

        What comes before the answer to a subscription is of one that was given up, and may have gone meanwhile.
        """
        name = change.name.lower()
        peer = self._peers.get(name)
        if peer is None or not peer.confirmed:
            return None
        return name if peer.records.apply(change) else None

    def _read(self, names: Iterable[bytes], *, if_absent: bool = False) -> Heard:
        """What is known now of these names; or only of those of which nothing was pushed."""
        answers, ask = [], []
        for name in names:
            peer = self._peers.get(name)
            if peer is None or (if_absent and (len(peer.records) or not peer.confirmed)):
                continue
            answer = peer.records.reading(peer.key, name)
            if answer is None:
                ask.append(peer.key)
            else:
                answers.append((peer.key, answer))
        return Heard(answers=tuple(answers), ask=tuple(ask))

    def _subscriptions(self, now: float) -> Iterator[bytes]:
        """Requests for the peers that are not followed, and a Keepalive: when that is answered, all is known of them.

        A server acts on messages in order (RFC 8490 section 6.1), and only records that are there are pushed.
        """
        if not self.established or now < self._hold:
            return
        names = [name for name, peer in self._peers.items() if not peer.identifier]
        for name in names:
            identifier = self._peers[name].identifier = self._next()
            self._subscribed[identifier] = name
            yield dso.request(identifier, Subscribe(name, ANY).tlv()).encode()
        if names:
            yield self._keepalive(now, tuple(names))

    def _keepalive(self, now: float, names: tuple[bytes, ...] = ()) -> bytes:
        identifier = self._next()
        self._asked[identifier] = now, names
        self._last = now
        return dso.request(identifier, WISH.tlv()).encode()

    def _next(self) -> int:
        """An id that is not in use, and was not lately."""
        while True:
            self._identifier = self._identifier % 0xFFFF + 1
            if self._identifier not in self._subscribed and self._identifier not in self._asked:
                self._cancelled.discard(self._identifier)
                return self._identifier

    def _take(self, timeouts: Keepalive) -> None:
        if timeouts.interval < dso.LEAST_INTERVAL:
            raise ProtocolError(
                f"a server wants a Keepalive every {timeouts.interval} ms: expected {dso.LEAST_INTERVAL} at the least"
            )
        self._timeouts = timeouts


def _timeouts(message: Message) -> Keepalive:
    """Those of a response to a Keepalive, which has exactly one such TLV, the first (RFC 8490 section 7.1)."""
    if [tlv.type for tlv in message.tlvs if tlv.type == dso.KEEPALIVE] != [dso.KEEPALIVE]:
        raise ProtocolError("a server answered a Keepalive without one Keepalive TLV")
    return Keepalive.read(message.tlvs[0])


def _requested(message: Message) -> Heard:
    """The answer to a request of the server's: there is none that we know (RFC 8490 section 5.4.5)."""
    dso_type = message.primary.type
    if dso_type in (dso.KEEPALIVE, dso.RETRY_DELAY, push.SUBSCRIBE, *_NEVER_RESPONSES):
        raise ProtocolError(f"a server made a request of the DSO type {dso_type:#x}")
    rcode = dso.FORMERR if dso_type == dso.PADDING else dso.DSOTYPENI
    return Heard(send=(dso.response(message.identifier, rcode).encode(),))
