# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's resolver against a hostile server: a hundred thousand bad answers, floods, and TCP that never ends.

Nothing but LookupFailed's children comes out, no endpoint that an answer to the question did not give, in time, and
nothing is left behind. `python -m tests.fuzz.resolver` sends more.
"""

from __future__ import annotations

import asyncio
import gc
import struct
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.answers import Question, truth
from tests.fuzz.hostile import HONEST, ZONE, Run, Sent, judge
from tests.unit.nameserver import NameServer
from wgsd_nm.agent import exchange
from wgsd_nm.agent.resolver import Resolver
from wgsd_nm.core import dnsbytes, dnssd
from wgsd_nm.core.errors import BadAnswer, LookupFailed, NoAnswer, NoEndpoint, RegistryUnreachable
from wgsd_nm.core.model import Advertisement, Endpoint, PublicKey

ANSWERS = 100_000
SEED = 20_260_101
MAX_GROWTH = 4096
"""kB of resident memory from the first quarter to the end."""
PATIENCE = 20.0
"""Seconds, on a busy machine."""
TORRENT = 300
MANY = 10
"""Lookups at a time."""
KEY = PublicKey(bytes(range(32)))
ANOTHER = Endpoint(ip_address("198.51.100.7"), 51820)


def resident() -> int:
    """kB of this process."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_bad_answer_is_believed() -> None:
    async def work() -> Run:
        run = await Run(SEED).until(ANSWERS // 4)
        warm, files = resident(), open_files()
        await run.until(ANSWERS)
        assert resident() - warm < MAX_GROWTH
        assert open_files() == files
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return run

    ended = asyncio.run(work()).ended
    assert set(ended) >= {
        "true",
        "said otherwise",
        "NoEndpoint",
        "NoSuchPeer",
        "NoAnswer",
        "BadAnswer",
        "RegistryRefused",
    }
    assert ended["true"] >= sum(ended.values()) / 2, "every second lookup met nothing but lies"


class Torrent(NameServer):
    """Answers each question with many answers to it that nobody can read, and no true one."""

    def handle(self, request: bytes, tcp: bool) -> Sequence[bytes]:  # noqa: ARG002  # the same over both
        """All of them."""
        honest = truth(Question(request), KEY, HONEST.address.packed, HONEST.port)
        return [honest[:-1]] * TORRENT


class Stalling(NameServer):
    """Truncates over UDP; over TCP sends `stream(query)`, and leaves the connection open, or closes it."""

    def __init__(self, stream: Callable[[bytes], bytes], *, closes: bool = False) -> None:
        super().__init__()
        self.stream = stream
        self._closes = closes
        self.connections = 0

    def handle(self, request: bytes, tcp: bool) -> Sequence[bytes]:  # noqa: ARG002  # TCP has its own below
        """TC and nothing more."""
        question = Question(request)
        return [question.identifier + struct.pack("!HHHHH", 0x8600, 1, 0, 0, 0) + question.octets]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            writer.write(self.stream(await reader.readexactly(length)))
            await writer.drain()
            if not self._closes:
                await reader.read()
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def answered(query: bytes) -> bytes:
    return truth(Question(query), KEY, HONEST.address.packed, HONEST.port)


def framed(answer: bytes, length: int | None = None) -> bytes:
    return struct.pack("!H", len(answer) if length is None else length) + answer


def foreign(query: bytes) -> bytes:
    answer = answered(query)
    return framed(answer[:2] + answer[2:].replace(Question(query).name[1:53], b"a" * 52))


STREAMS = {
    "nothing": (lambda _: b"", False, NoAnswer),
    "nothing, and closed": (lambda _: b"", True, NoAnswer),
    "half a length": (lambda _: b"\0", False, NoAnswer),
    "half a length, and closed": (lambda _: b"\0", True, NoAnswer),
    "a length and nothing": (lambda _: b"\xff\xff", False, NoAnswer),
    "one octet too few": (lambda query: framed(answered(query))[:-1], False, NoAnswer),
    "one octet too few, and closed": (lambda query: framed(answered(query))[:-1], True, NoAnswer),
    "the greatest length": (lambda query: framed(answered(query), 0xFFFF), False, NoAnswer),
    "the greatest length, and closed": (lambda query: framed(answered(query), 0xFFFF), True, NoAnswer),
    "a length of none": (lambda query: framed(answered(query), 0), True, BadAnswer),
    "a length of a header": (lambda query: framed(answered(query), dnsbytes.HEADER), True, BadAnswer),
    "a length that cuts": (lambda query: framed(answered(query), len(answered(query)) - 1), True, BadAnswer),
    "junk counted in": (lambda query: framed(answered(query) + b"x"), True, BadAnswer),
    "another identifier": (lambda query: framed(bytes((query[0] ^ 1,)) + answered(query)[1:]), True, NoAnswer),
    "another question": (foreign, True, BadAnswer),
    "the query itself": (framed, True, BadAnswer),
    "garbage": (lambda _: b"\xab" * 0x10000, True, NoAnswer),
    "a million octets behind the answer": (lambda query: framed(answered(query)) + bytes(1_000_000), True, None),
}  # fmt: skip


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is given up, or asked again, only because this machine is busy."""
    for name in ("FIRST_TIMEOUT", "MIN_TIMEOUT", "MAX_TIMEOUT", "TCP_TIMEOUT"):
        monkeypatch.setattr(exchange, name, PATIENCE)


async def outcomes(resolver: Resolver, server: NameServer, number: int) -> list[Advertisement | LookupFailed]:
    """What becomes of so many lookups at a time; the first is for KEY."""
    found: list[Advertisement | LookupFailed] = []
    keys = [KEY, *(PublicKey(bytes((index,)) * 32) for index in range(1, number))]
    await resolver.lookups(server.server, ZONE, keys, lambda _, answer: found.append(answer))
    assert len(found) == number
    return found


def leaving_nothing(work: Coroutine[Any, Any, float]) -> float:
    """Run it; an error in the event loop, a task or a file that is left over is a failure."""

    async def main() -> float:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        took = await work
        gc.collect()
        assert not complaints
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return took

    files = open_files()
    took = asyncio.run(main())
    deadline = time.monotonic() + PATIENCE
    while open_files() > files and time.monotonic() < deadline:
        time.sleep(0.01)  # the server's ends are files of this process, too
    assert open_files() <= files
    return took


def timed(server: NameServer, number: int, judge_outcome: Callable[[Advertisement | LookupFailed], None]) -> float:
    """The seconds that so many lookups took."""

    async def work() -> float:
        resolver = Resolver()
        started = time.monotonic()
        for outcome in await outcomes(resolver, server, number):
            judge_outcome(outcome)
        resolver.close()
        return time.monotonic() - started

    return leaving_nothing(work())


def test_a_torrent_of_bad_answers_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_TIMEOUT", "MIN_TIMEOUT", "MAX_TIMEOUT"):
        monkeypatch.setattr(exchange, name, 0.1)

    def bad(outcome: Advertisement | LookupFailed) -> None:
        assert isinstance(outcome, BadAnswer | NoAnswer)  # where the socket's buffer was full none was heard

    with Torrent() as server:
        assert timed(server, MANY, bad) < PATIENCE
    assert len(server.requests) <= MANY * exchange.TRIES


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("what", STREAMS)
def test_a_stream_that_lies_or_stalls(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, closes, error = STREAMS[what]
    if not closes:
        monkeypatch.setattr(exchange, "TCP_TIMEOUT", 0.1)

    def as_expected(outcome: Advertisement | LookupFailed) -> None:
        if error is None:
            assert isinstance(outcome, Advertisement | BadAnswer)  # all but one are asked for a key that is not theirs
        else:
            assert type(outcome) in (error, RegistryUnreachable if closes else error)  # a reset may overtake the answer

    with Stalling(stream, closes=closes) as server:
        assert timed(server, MANY, as_expected) < PATIENCE / 4
        assert server.connections == MANY


@pytest.fixture
def query() -> bytes:
    name = dnssd.instance_wire(KEY, dnssd.wire(dnssd.parse_zone(ZONE)))
    return dnsbytes.query(7, dnsbytes.question(name, 33), bytes(8))


def good(query: bytes, endpoint: Endpoint) -> bytes:
    return truth(Question(query), KEY, endpoint.address.packed, endpoint.port)


class TestJudge:
    """The judge of the hundred thousand sees each kind of wrong."""

    def complaints(
        self, outcome: Advertisement | LookupFailed, sent: Iterator[Sent] | Sequence[Sent], strict: bool = False
    ) -> list[str]:
        return list(judge(KEY, [outcome], list(sent), strict))

    def test_the_true_answer(self, query: bytes) -> None:
        found = Advertisement(KEY, (HONEST,), 5)
        assert self.complaints(found, [Sent(query, good(query, HONEST), False)], strict=True) == []

    def test_another_answer_that_was_given(self, query: bytes) -> None:
        sent = [Sent(query, good(query, ANOTHER), False), Sent(query, good(query, HONEST), False)]
        assert self.complaints(Advertisement(KEY, (ANOTHER,), 5), sent) == []
        assert self.complaints(Advertisement(KEY, (ANOTHER,), 5), sent, strict=True)

    @pytest.mark.parametrize(
        "forge",
        [
            pytest.param(lambda answer: b"\0\1" + answer[2:], id="identifier"),
            pytest.param(lambda answer: answer[:13] + bytes((answer[13] ^ 0x20,)) + answer[14:], id="letter case"),
            pytest.param(lambda answer: answer[:13] + bytes((answer[13] ^ 1,)) + answer[14:], id="question"),
            pytest.param(lambda answer: answer[:2] + b"\0" + answer[3:], id="no answer"),
            pytest.param(lambda answer: answer[:-1], id="malformed"),
            pytest.param(lambda answer: answer.replace(str(KEY).encode(), b"A" * 44), id="key"),
            pytest.param(lambda answer: answer.replace(b"\xc0\x0c\0\x21", b"\xc0\x45\0\x21", 1), id="owner"),
            pytest.param(lambda answer: answer.replace(b"\xc0\x0c\0\1\0\1", b"\xc0\x45\0\1\0\1", 1), id="host"),
        ],
    )
    def test_an_answer_that_does_not_count(self, query: bytes, forge: Callable[[bytes], bytes]) -> None:
        forged = forge(good(query, ANOTHER))
        assert forged != good(query, ANOTHER)
        sent = [Sent(query, forged, False), Sent(query, good(query, HONEST), False)]
        assert self.complaints(Advertisement(KEY, (ANOTHER,), 5), sent)

    @pytest.mark.parametrize("error", [NoAnswer, NoEndpoint, BadAnswer, RegistryUnreachable])
    def test_an_error_without_a_reason(self, query: bytes, error: type[LookupFailed]) -> None:
        assert self.complaints(error("x"), [Sent(query, good(query, HONEST), False)])

    def test_a_question_without_a_reason(self, query: bytes) -> None:
        other = dnsbytes.query(7, dnsbytes.question(b"\1x\0", 1), bytes(8))
        sent = [Sent(query, good(query, HONEST), False), Sent(other, good(other, ANOTHER), False)]
        assert self.complaints(Advertisement(KEY, (HONEST,), 5), sent)

    def test_two_readings_that_differ(self, query: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        usual = dnsbytes.usual_answer
        monkeypatch.setattr(dnsbytes, "usual_answer", lambda *of: replace(usual(*of) or pytest.fail("unusual"), ttl=99))
        assert self.complaints(Advertisement(KEY, (HONEST,), 5), [Sent(query, good(query, HONEST), False)])
