# SPDX-License-Identifier: GPL-2.0-or-later
"""Both ends of a push session against somebody who means harm: `python -m tests.fuzz.push 5000000` sends more.

A hostile client talks to the registry's end, a hostile server to the agent's: sound messages of every kind in any
order, and what damage leaves of them. What breaks a promise is printed; the seed makes the same messages again.
"""

from __future__ import annotations

import argparse
import random
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from tests.fuzz.damage import Damage
from wgsd_nm.core import dnssd, dso, push
from wgsd_nm.core.dso import Keepalive, ProtocolError, RetryDelay, Tlv
from wgsd_nm.core.model import Advertisement, PublicKey
from wgsd_nm.core.push import ANY, IN, Add, Change, Reconfirm, Remove, RemoveAll, Subscribe, Unsubscribe
from wgsd_nm.core.pushed import Answer
from wgsd_nm.core.subscriber import Heard, Subscriber
from wgsd_nm.registry.push import Session
from wgsd_nm.registry.records import Record
from wgsd_nm.registry.subscriptions import Subscriptions

ZONE = dnssd.wire(dnssd.parse_zone("wg.example.com"))
KEYS = tuple(PublicKey(bytes((number,)) * 32) for number in range(8))
NAMES = tuple(dnssd.instance_wire(key, ZONE) for key in KEYS)
A, TXT, AAAA, SRV = 1, 16, 28, 33
TYPES = (A, TXT, AAAA, SRV, 12, ANY, 0, 65535)
CLASSES = (IN, IN, IN, IN, IN, IN, 3, 254, ANY)
LONG = 200
"""Messages after which a session that still lives is replaced."""
MAX_ANSWER = 4096
"""Octets that one message may draw from the registry here: its response, and the few records of a name."""
GREETING = dso.request(1, Keepalive(0, 0).tlv()).encode()
SHOWN = 20
PART = 100_000


class PromiseBroken(AssertionError):
    """An end did what it must not. The text has the messages of its session."""


class Messages:
    """Messages of both sides; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._damage = Damage(self._chance)
        self._broken = 0.0

    def begin(self) -> None:
        """Another session: a rough one, that soon ends, or a gentle one, that may last."""
        self._broken = self._chance.choice((0.5, 0.02))

    def of_client(self) -> bytes:
        """What a client may say."""
        return self._perhaps_broken((self._keepalive, self._subscribe, self._subscribe, self._end))

    def of_server(self, asked: Mapping[int, int]) -> bytes:
        """What a server may say to one that made these requests, of these kinds."""
        identifier = self._chance.choice((*asked, 0))
        if not identifier:
            return self._perhaps_broken((self._push,))
        kind = asked[identifier]
        return self._perhaps_broken((self._push, self._push, self._push, lambda: self._response(identifier, kind)))

    def truth(self, identifier: int, kind: int) -> bytes:
        """The answer to a request of this kind that makes a session go on."""
        tlvs = (Keepalive(15_000, 60_000).tlv(),) if kind == dso.KEEPALIVE else ()
        return dso.response(identifier, dso.NOERROR, *tlvs).encode()

    def _perhaps_broken(self, kinds: tuple[Callable[[], bytes], ...]) -> bytes:
        octets = self._chance.choice(kinds)()
        if self._chance.random() >= self._broken:
            return octets
        if self._chance.random() < 0.2:
            return self._foreign()
        broken = self._damage(octets)
        if self._chance.random() < 0.8:  # most often the header is whole, so that it is read on
            broken = octets[:12] + broken[12:]
        return broken[:0xFFFF]

    def _identifier(self) -> int:
        few = self._chance.random() < 0.1
        return self._chance.randrange(12 if few else 0x10000)

    def _additional(self) -> list[Tlv]:
        chance = self._chance
        return [
            chance.choice((dso.padding(chance.randrange(9)), Tlv(0xF800, chance.randbytes(3)), RetryDelay(1).tlv()))
            for _ in range(chance.choice((0, 0, 0, 1, 2)))
        ]

    def _keepalive(self) -> bytes:
        wish = Keepalive(self._chance.getrandbits(32), self._chance.choice((0, 10_000, dso.INFINITE)))
        return dso.request(self._identifier() or 1, wish.tlv(), *self._additional()).encode()

    def _subscribe(self) -> bytes:
        chance = self._chance
        several = b"\x04" + chance.randbytes(4) + ZONE
        name = chance.choice((*NAMES, NAMES[0].upper(), b"\0", b"\3com\0", several, several, several, several))
        wish = Subscribe(name, chance.choice(TYPES), chance.choice(CLASSES))
        return dso.request(self._identifier() or 1, wish.tlv(), *self._additional()).encode()

    def _end(self) -> bytes:
        chance = self._chance
        doubt = Reconfirm(chance.choice(NAMES), chance.choice(TYPES[:5]), IN, b"1234")
        tlv = chance.choice((Unsubscribe(self._identifier()).tlv(), doubt.tlv()))
        return dso.unidirectional(tlv, *self._additional()).encode()

    def _foreign(self) -> bytes:
        """What one side never says, or nobody."""
        chance = self._chance
        tlv = Tlv(chance.choice((0, 1, 2, 3, 4, 0x40, 0x41, 0x42, 0x43, 0xFFFF)), chance.randbytes(chance.randrange(9)))
        identifier = self._identifier()
        is_response = identifier > 0 and chance.random() < 0.3
        return dso.Message(identifier, is_response, chance.randrange(16), (tlv, *self._additional())).encode()

    def _response(self, identifier: int, kind: int) -> bytes:
        chance = self._chance
        tlvs = self._additional()
        if kind == dso.KEEPALIVE:
            tlvs.insert(0, Keepalive(chance.choice((0, 15_000)), chance.choice((10_000, 60_000))).tlv())
            return dso.response(identifier, dso.NOERROR, *tlvs).encode()
        return dso.response(identifier, chance.choice((0, 0, 0, 0, 1, 2, 5, 9, 15)), *tlvs).encode()

    def _push(self) -> bytes:
        changes = [self._change() for _ in range(self._chance.choice((1, 2, 3, 3, 20)))]
        return self._chance.choice(push.encode_pushes(changes))

    def _change(self) -> Change:
        chance = self._chance
        name = chance.choice((*NAMES, NAMES[1].upper(), ZONE))
        rdtype, rdclass = chance.choice(TYPES), chance.choice(CLASSES)
        match chance.randrange(8):
            case 0:
                return RemoveAll(name, rdtype, rdclass)
            case 1:
                rdtype, rdata = self._record(name)
                return Remove(name, rdtype, rdclass, rdata)
        rdtype, rdata = self._record(name)
        return Add(name, rdtype, rdclass, chance.choice((0, 5, 0x7FFFFFFF)), rdata)

    def _record(self, name: bytes) -> tuple[int, bytes]:
        chance = self._chance
        match chance.randrange(6):
            case 0 | 1:
                target = chance.choice((name, name, name, name.upper(), b"\0", ZONE))
                return SRV, bytes(4) + chance.choice((0, 1, 51820)).to_bytes(2) + target
            case 2:
                right = name in NAMES and chance.random() < 0.9
                pub = KEYS[NAMES.index(name)] if right else chance.choice(KEYS)
                return TXT, b"\x30" + f"pub={pub}".encode() if chance.random() < 0.9 else chance.randbytes(9)
            case 3:
                return AAAA, chance.randbytes(16) if chance.random() < 0.9 else chance.choice((bytes(16), b""))
        address = bytes((192, 0, 2, chance.randrange(8)))
        return A, address if chance.random() < 0.9 else chance.choice((bytes(4), b"123"))


class _Table:
    def records(self, name: bytes) -> Iterable[Record]:
        if name in NAMES[:4]:
            yield Record(A, 0, b"1234")
            yield Record(SRV, 0, bytes(6) + name)


def _permits(name: bytes) -> int:
    return dso.NOERROR if name.endswith(ZONE) else dso.NOTAUTH


class Run:
    """Both ends, and what became of their sessions, counted in `ended`. `messages` were sent."""

    def __init__(self, seed: int) -> None:
        self.messages = 0
        self.ended: Counter[str] = Counter()
        self._source = Messages(seed)
        self._hub: Subscriptions[Session] = Subscriptions(_Table())

    def until(self, count: int) -> Run:
        """Send until so many messages were sent. Raises PromiseBroken."""
        while self.messages < count:
            said: list[bytes] = []
            try:
                self.ended[self._registry_session(said)] += 1
                said.clear()
                self.ended[self._agent_session(said)] += 1
            except PromiseBroken:
                raise
            except Exception as error:
                shown = "\n".join(octets.hex() for octets in said[-SHOWN:])
                raise PromiseBroken(f"{type(error).__name__}: {error}; the last messages were:\n{shown}") from error
        return self

    def _registry_session(self, said: list[bytes]) -> str:
        session, now = Session(self._hub, "10.0.0.1", 0.0), 0.0
        self._source.begin()
        try:
            for number in range(LONG):
                now += 1.0
                octets = self._source.of_client() if number else GREETING
                said.append(octets)
                self.messages += 1
                self._judge_answers(octets, session.receive(octets, _permits, now))
                _require(session.deadline > now, "a session that was just heard is overdue")
                _require(len(self._hub) == session.count, "the count of subscriptions is wrong")
        except ProtocolError as error:
            _require(error.rcode is None, "an error that has an answer was raised")
            return "aborted by the registry"
        finally:
            session.end()
            _require(not len(self._hub) and not list(self._hub.names), "a subscription outlived its session")
        return "kept by the registry"

    def _judge_answers(self, octets: bytes, answers: list[bytes]) -> None:
        messages = [dso.parse(answer) for answer in answers]
        identifier = dso.identifier_of(octets)
        _require(len(b"".join(answers)) <= MAX_ANSWER, "too long an answer")
        _require(bool(messages) == bool(identifier), "a request has an answer, and nothing else has one")
        if messages:
            _require(messages[0].is_response and messages[0].identifier == identifier, "an answer to something else")
        for answer in answers[1:]:
            push.parse_push(answer)

    def _agent_session(self, said: list[bytes]) -> str:
        subscriber, now = Subscriber(ZONE), 0.0
        self._source.begin()
        asked: dict[int, int] = {}
        try:
            self._judge_heard(subscriber.begin(now), said, asked)
            self._judge_heard(subscriber.want(KEYS[:6], now), said, asked)
            for number in range(LONG):
                now += 1.0
                if number % 3 == 0 and asked:
                    octets = self._source.truth(*asked.popitem())
                else:
                    octets = self._source.of_server(asked)
                said.append(octets)
                self.messages += 1
                for heard in (subscriber.received(octets, now), subscriber.tick(now)):
                    self._judge_heard(heard, said, asked)
                    if heard.end is not None:
                        return f"{heard.end.why} for the agent"
                _require(subscriber.following <= set(KEYS), "somebody is followed who was not wanted")
        except ProtocolError as error:
            _require(error.rcode is None, "an error that has an answer was raised")
            return "aborted by the agent"
        return "kept by the agent"

    def _judge_heard(self, heard: Heard, said: list[bytes], asked: dict[int, int]) -> None:
        for octets in heard.send:
            message = dso.parse(octets)
            if message.identifier and not message.is_response:
                asked[message.identifier] = message.primary.type
        for key, answer in heard.answers:
            _require(key in KEYS[:6], "an answer about somebody who was not wanted")
            self.ended[_judge_answer(answer, said)] += 1


def _judge_answer(answer: Answer, said: list[bytes]) -> str:
    """An endpoint is one that was pushed: its address and its port are somewhere in what was said."""
    if not isinstance(answer, Advertisement):
        return type(answer).__name__
    together = b"".join(said)
    for endpoint in answer.endpoints:
        packed = endpoint.address.packed
        _require(packed in together and endpoint.port.to_bytes(2) in together, f"{endpoint} was never pushed")
    return "Advertisement"


def _require(holds: bool, promise: str) -> None:
    if not holds:
        raise AssertionError(promise)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.push", description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    run = Run(options.seed)
    try:
        while run.messages < options.count:
            run.until(min(run.messages + PART, options.count))
            print(f"{run.messages} messages: {dict(run.ended)}", flush=True)
    except PromiseBroken as error:
        print(error)
        return 1
    print("every promise kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
