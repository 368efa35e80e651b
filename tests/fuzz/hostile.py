# SPDX-License-Identifier: GPL-2.0-or-later
"""A DNS server that means harm to the agent's resolver, and the resolver's work with it, judged.

Each question over UDP gets a volley of bad answers, from the server's own address and from others, and then the true
one. Over TCP lengths lie, and answers stop in the middle.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any, Self
from unittest.mock import patch

import dns.name

from tests.fuzz.answers import FORGED_KEY, SRV, Answers, Question, truth
from tests.fuzz.oracle import Oracle, fits, leads_to_tcp
from tests.unit.nameserver import NameServer
from wgsd_nm.agent import exchange
from wgsd_nm.agent.resolver import Resolver
from wgsd_nm.core import dnsbytes, dnssd
from wgsd_nm.core.errors import BadAnswer, LookupFailed, NegativeAnswer, NoAnswer, RegistryRefused, RegistryUnreachable
from wgsd_nm.core.model import Advertisement, Endpoint, PublicKey

ZONE = "wg.example.com"
VOLLEY = 40
"""Bad answers to one question; they fit a socket's buffer."""
HONEST = Endpoint(ip_address("192.0.2.99"), 40_099)
LIMIT = 60.0
"""Seconds for one lookup: an alias may lead to another eight times, each with four tries and TCP."""
FORGET = 8
"""Lookups between two changes of the network."""
PATIENCE: dict[str, Any] = {"FIRST_TIMEOUT": 1.0, "MIN_TIMEOUT": 1.0, "MAX_TIMEOUT": 1.0, "TCP_TIMEOUT": 0.1}
"""Seconds. The true answer always comes; over TCP it is not waited for, since most answers there stop halfway."""
SHOWN = 1000
"""Octets of each message in the report of a broken promise."""
MARKER = b"settle"
LENGTH = struct.Struct("!H")


class PromiseBroken(AssertionError):
    """The resolver did what it must not. The text has what is needed to see it again."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as the resolver could read it, and the query that it came after."""

    query: bytes
    answer: bytes
    tcp: bool


class Hostile(NameServer):
    """Answers by `answers`; what it sent since `begin` is in `sent`."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Sent] = []
        self.error: Exception | None = None
        self._strict = True
        self._chance = random.Random()
        self._answers = Answers(0, PublicKey(bytes(32)))
        self._key = PublicKey(bytes(32))
        self._open: set[asyncio.StreamWriter] = set()
        self._closed = asyncio.Event()
        self._elsewhere = [_socket("127.0.0.1"), _socket("127.0.0.2")]

    def __exit__(self, *reason: object) -> None:
        super().__exit__(*reason)
        for other in self._elsewhere:
            other.close()

    def begin(self, answers: Answers, chance: random.Random, key: PublicKey, strict: bool) -> None:
        """The next lookup is for this key; a strict one gets nothing that could be an answer but the true one."""
        self.sent, self._answers, self._chance, self._key, self._strict = [], answers, chance, key, strict
        self.requests.clear()
        self.clients.clear()

    async def settle(self) -> None:
        """Return when everything that was asked before has been answered: a question asked again may come late."""
        loop = asyncio.get_running_loop()
        with _socket("127.0.0.1") as client:
            client.setblocking(False)
            client.connect((self.address, self.port))
            await loop.sock_sendall(client, MARKER)
            while await loop.sock_recv(client, len(MARKER)) != MARKER:
                pass
        reader, writer = await asyncio.open_connection(self.address, self.port)
        writer.write(LENGTH.pack(0))
        await reader.read()
        writer.close()
        await writer.wait_closed()

    def handle(self, request: bytes, tcp: bool) -> Sequence[bytes]:
        """The volley."""
        if request == MARKER:
            return [MARKER]
        try:
            question = Question(request)
            return [*self._volley(request, question), self._truth(request, question, tcp)]
        except Exception as error:  # told by the one who waits for the lookup's end
            self.error = error
            raise

    def _volley(self, request: bytes, question: Question) -> Iterator[bytes]:
        for number in range(VOLLEY):
            if number % 10 == 0:
                self._forge(question)
            answer = self._bad(question)
            self.sent.append(Sent(request, answer, tcp=False))
            yield answer

    def _bad(self, question: Question) -> bytes:
        roll = self._chance.random()
        if self._strict or roll < 0.3:
            return self._answers.lie(question)
        if roll < 0.95:
            return self._answers.damaged(question)
        return self._answers.foreign(question) if roll < 0.98 else self._answers.sound(question)

    def _truth(self, request: bytes, question: Question, tcp: bool) -> bytes:
        answer = truth(question, self._key, HONEST.address.packed, HONEST.port)
        self.sent.append(Sent(request, answer, tcp))
        return answer

    def _forge(self, question: Question) -> None:
        """A perfect answer, from another port of ours and from another address; a socket may have gone already."""
        for other in self._elsewhere:
            other.sendto(truth(question, self._key, b"\xcb\0\x71\x42", 66), ("127.0.0.1", self.clients[-1]))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            (length,) = LENGTH.unpack(await reader.readexactly(2))
            if not length:  # settle(): those who came before are waited for
                while self._open != {writer}:
                    self._closed.clear()
                    await self._closed.wait()
                return
            request = await reader.readexactly(length)
            self.requests.append((request, True))
            writer.write(self._stream(request))
            await writer.drain()
            if self._chance.random() < 0.03:
                await reader.read()  # the rest never comes
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._open.discard(writer)
            self._closed.set()

    def _stream(self, request: bytes) -> bytes:
        """What is sent over TCP: a whole answer, or one whose length lies."""
        question, chance = Question(request), self._chance
        honest = self._strict or chance.random() < 0.3
        answer = self._truth(request, question, tcp=True) if honest else self._bad(question)
        length, stream = len(answer), answer
        if not honest:
            length += chance.choice((0, 0, 0, 1, 700, -1, -20, -length, 0xFFFF - length))
            stream = answer[: chance.choice((length, length, 0, 1, length // 2))] if length >= 0 else answer
        length = max(length, 0)
        self.sent.append(Sent(request, stream[:length], tcp=True))
        return (LENGTH.pack(length) + stream)[: chance.choice((None, None, None, 0, 1)) if not honest else None]


class Run:
    """Many lookups, each judged; `messages` says how many answers were sent, `ended` how the lookups did."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.messages = 0
        self.ended: Counter[str] = Counter()
        self.complaints: list[str] = []
        self._chance = random.Random(seed)
        self._resolver = Resolver()

    async def until(self, messages: int) -> Self:
        """Look up until so many were sent. Raises PromiseBroken."""
        asyncio.get_running_loop().set_exception_handler(self._complain)
        try:
            with Hostile() as server, patch.multiple(exchange, **PATIENCE):
                while self.messages < messages:
                    await self._one(server, sum(self.ended.values()))
        finally:
            self._resolver.close()
        return self

    def _complain(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")

    async def _one(self, server: Hostile, number: int) -> None:
        key = PublicKey(self._chance.randbytes(32))
        strict = number % 2 == 0
        answers = Answers(self._chance.getrandbits(64), key)
        server.begin(answers, random.Random(self._chance.getrandbits(64)), key, strict)
        found: list[Advertisement | LookupFailed] = []
        try:
            async with asyncio.timeout(LIMIT):
                await self._resolver.lookups(server.server, ZONE, [key], lambda _, answer: found.append(answer))
        except TimeoutError:
            raise self._broken(server, f"the lookup took more than {LIMIT:g} s") from None
        await server.settle()
        if number % FORGET == 0:
            self._resolver.forget()
        sent = list(server.sent)
        self.messages += len(sent)
        if server.error is not None:
            raise server.error
        if self.complaints:
            raise self._broken(server, f"an error in the event loop: {self.complaints}")
        for complaint in judge(key, found, sent, strict):
            raise self._broken(server, complaint)
        self.ended[_kind(found[0])] += 1

    def _broken(self, server: Hostile, why: str) -> PromiseBroken:
        sent = "\n".join(f"{'TCP' if each.tcp else 'UDP'} {_shown(each.answer)}" for each in server.sent)
        asked = "\n".join(request.hex() for request, _ in server.requests)
        return PromiseBroken(
            f"seed {self.seed}, lookup {sum(self.ended.values())}: {why}\nasked:\n{asked}\nsent:\n{sent}"
        )


def judge(
    key: PublicKey, found: Sequence[Advertisement | LookupFailed], sent: Sequence[Sent], strict: bool
) -> Iterator[str]:
    """What is wrong with the outcome of a lookup, after these messages."""
    if len(found) != 1:
        yield f"{len(found)} outcomes"
        return
    (outcome,) = found
    name = dnssd.instance_name(key, dnssd.parse_zone(ZONE))
    yield from disagreements(key, sent)
    if strict and any(each.tcp for each in sent):
        yield "no answer is the reason for a question over TCP"
    is_true = isinstance(outcome, Advertisement) and outcome.endpoints == (HONEST,)
    asked = {Question(each.query).name.lower() for each in sent}
    if is_true and len(asked) == 1:
        return
    if strict:
        yield f"it ended with {outcome!r} instead of the true answer"
    if isinstance(outcome, Advertisement) and len(asked) == 1 and FORGED_KEY.decode() in dict(outcome.txt):
        yield f"it has another name's TXT record: {outcome!r}"
    endpoints = outcome.endpoints if isinstance(outcome, Advertisement) else ()
    yield from unfounded(Oracle(key, name), endpoints, sent)
    match outcome:
        case RegistryUnreachable() | NoAnswer():
            if not any(each.tcp or leads_to_tcp(each.query, each.answer) for each in sent):
                yield f"{outcome!r} although it was answered"
        case NegativeAnswer() | RegistryRefused() | BadAnswer():
            if not any(fits(each.query, each.answer, each.tcp) for each in sent[:-1]):
                yield f"{outcome!r} although nobody said so"


def unfounded(oracle: Oracle, endpoints: Iterable[Endpoint], sent: Sequence[Sent]) -> Iterator[str]:
    """The endpoints found, and the questions asked, for which no answer gave a reason."""
    wanting: dict[str, Callable[[], bool]] = {
        f"no answer that counts has the endpoint {endpoint}": partial(oracle.allows, endpoint) for endpoint in endpoints
    }
    for query in {Question(each.query).name.lower(): each.query for each in sent}.values():
        wanting[f"no answer is the reason for the question {query.hex()}"] = partial(oracle.allows_question, query)
    for each in sent:
        wanting = {complaint: holds for complaint, holds in wanting.items() if not holds()}
        if not wanting:
            return
        oracle.hear(each.query, each.answer, each.tcp)
    yield from (complaint for complaint, holds in wanting.items() if not holds())


def disagreements(key: PublicKey, sent: Sequence[Sent]) -> Iterator[str]:
    """Answers that the quick reading takes, and dnspython's reading does not take or takes for something else."""
    for each in sent:
        question = Question(each.query)
        if question.rdtype != SRV or not fits(each.query, each.answer, tcp=True):
            continue
        name = question.name.lower()
        quick = _read(dnsbytes.usual_answer, each.answer, name, key)
        if quick is not None:
            slow = _read(_slowly, each.answer, name, key)
            if quick != slow:
                yield f"the quick reading of {each.answer.hex()} is {quick}, dnspython's {slow}"


def _read(reading: Callable[[bytes, bytes, PublicKey], object], answer: bytes, name: bytes, key: PublicKey) -> object:
    try:
        return reading(answer, name, key)
    except LookupFailed as error:
        return type(error)


def _slowly(answer: bytes, name: bytes, key: PublicKey) -> Advertisement:
    found = dnssd.service(dnssd.parse(answer), key, dns.name.from_wire(name, 0)[0])
    assert isinstance(found, dnssd.Service)
    return found.advertisement()


def _kind(outcome: Advertisement | LookupFailed) -> str:
    if isinstance(outcome, Advertisement):
        return "true" if outcome.endpoints == (HONEST,) else "said otherwise"
    return type(outcome).__name__


def _shown(answer: bytes) -> str:
    return answer.hex() if len(answer) <= SHOWN else f"{answer[:SHOWN].hex()} and {len(answer) - SHOWN} more octets"


def _socket(address: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, 0))
    return made
