# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from dns.rdatatype import AAAA, SRV, A

from tests.unit.nameserver import NameServer, Registry, reply
from wgsd_nm.agent import exchange
from wgsd_nm.agent.resolver import Resolver
from wgsd_nm.core import dnssd
from wgsd_nm.core.dnsbytes import HEADER
from wgsd_nm.core.errors import (
    BadAnswer,
    InvalidValue,
    LookupFailed,
    NegativeAnswer,
    NoAnswer,
    NoEndpoint,
    NoSuchPeer,
    RegistryRefused,
    RegistryUnreachable,
)
from wgsd_nm.core.model import Advertisement, Endpoint, PublicKey, Server

T = TypeVar("T")
Handler = Callable[[bytes, bool], Sequence[bytes]]

ZONE = "wg.example.com"
KEY = PublicKey(bytes(range(32)))
HERE = Endpoint(ip_address("192.0.2.7"), 51820)
NAME_END = HEADER + len(dnssd.wire(dnssd.instance_name(KEY, dnssd.parse_zone(ZONE))))


class Scripted(NameServer):
    """A name server whose `handle` is a function of the test's."""

    def __init__(self, handler: Handler, *, delay: float = 0.0, with_tcp: bool = True) -> None:
        super().__init__(delay=delay, with_tcp=with_tcp)
        self.handler = handler

    def handle(self, request: bytes, tcp: bool) -> Sequence[bytes]:
        return self.handler(request, tcp)

    @property
    def udp(self) -> list[bytes]:
        return [request for request, tcp in self.requests if not tcp]

    @property
    def tcp(self) -> list[bytes]:
        return [request for request, tcp in self.requests if tcp]


def good(request: bytes, tcp: bool = False, address: str = "192.0.2.7") -> list[bytes]:
    """What a registry answers for the peer, over UDP and TCP alike."""
    additional = [f"@ 5 IN A {address}", f'@ 5 IN TXT "txtvers=1" "pub={KEY}" "over={"tcp" if tcp else "udp"}"']
    return [reply(request, ["@ 5 IN SRV 0 0 51820 @"], additional)]


def forged(request: bytes) -> bytes:
    """An answer that must never be believed."""
    return good(request, address="203.0.113.66")[0]


def asked(request: bytes) -> tuple[str, dns.rdatatype.RdataType]:
    question = dns.message.from_wire(request).question[0]
    return str(question.name).lower(), question.rdtype


def has_edns(request: bytes) -> bool:
    return dns.message.from_wire(request).edns == 0


def over(advertisement: Advertisement) -> str:
    return dict(advertisement.txt)["over"]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


EVENT_LOOP_FILES = 3
"""Its epoll and the pair of sockets that wake it."""


async def lookup(server: Server) -> Advertisement:
    """One lookup by a new resolver."""
    with resolving() as resolver:
        return await look_up(resolver, server)


async def look_up(resolver: Resolver, server: Server, key: PublicKey = KEY, zone: str = ZONE) -> Advertisement:
    """What the server says of one peer. Raises what the resolver reports of it."""
    answers: list[Advertisement | LookupFailed] = []
    await resolver.lookups(server, zone, [key], lambda _, answer: answers.append(answer))
    (answer,) = answers
    if isinstance(answer, LookupFailed):
        raise answer
    return answer


async def begun() -> None:
    """The lookups that were started before have sent their questions."""
    for _ in range(4):
        await asyncio.sleep(0)


@contextmanager
def resolving() -> Iterator[Resolver]:
    resolver = Resolver()
    try:
        yield resolver
    finally:
        resolver.close()


def run(work: Awaitable[T]) -> T:
    async def limited() -> T:
        return await asyncio.wait_for(work, 20)

    return asyncio.run(limited())


def found(handler: Handler, *, delay: float = 0.0, with_tcp: bool = True) -> Advertisement:
    """What a lookup finds at a server that works as scripted."""
    with Scripted(handler, delay=delay, with_tcp=with_tcp) as server:
        return run(lookup(server.server))


def failed(handler: Handler, error: type[LookupFailed], *, with_tcp: bool = True) -> LookupFailed:
    """How a lookup fails at a server that works as scripted."""
    with pytest.raises(error) as caught:
        found(handler, with_tcp=with_tcp)
    return caught.value


TIMES = ("FIRST_TIMEOUT", "MIN_TIMEOUT", "MAX_TIMEOUT", "TCP_TIMEOUT")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked again only because the machine that runs the tests is busy."""
    for name in TIMES:
        monkeypatch.setattr(exchange, name, 10.0)


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch, patience: None) -> None:  # noqa: ARG001  # to come after it
    """For where the waiting is what is tested."""
    for name in TIMES:
        monkeypatch.setattr(exchange, name, 0.05)


class TestLookup:
    @pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
    def test_a_peer_is_found(self, address: str) -> None:
        with Registry(ZONE, {KEY: HERE}, address=address) as registry:
            advertisement = run(lookup(registry.server))
        assert advertisement == Advertisement(
            KEY, (HERE,), 0, "", (("txtvers", "1"), ("pub", str(KEY)), ("allowed", ""))
        )

    def test_a_bad_zone_is_refused_before_a_question_is_asked(self) -> None:
        with Scripted(good) as server, resolving() as resolver:
            with pytest.raises(InvalidValue):
                run(look_up(resolver, server.server, zone="wg.local"))
            assert server.requests == []

    @pytest.mark.parametrize(
        ("rcode", "error"),
        [
            (dns.rcode.NXDOMAIN, NoSuchPeer),
            (dns.rcode.NOERROR, NoEndpoint),
            (dns.rcode.SERVFAIL, RegistryRefused),
            (dns.rcode.REFUSED, RegistryRefused),
        ],
    )
    def test_negative_answers(self, rcode: dns.rcode.Rcode, error: type[LookupFailed]) -> None:
        soa = f"{ZONE}. 60 IN SOA ns1.{ZONE}. postmaster.{ZONE}. 1 2 3 4 5"
        failure = failed(lambda request, _: [reply(request, authority=[soa], rcode=rcode)], error)
        if isinstance(failure, NegativeAnswer):
            assert failure.ttl == 5

    def test_the_letter_case_is_another_each_time_and_the_registry_repeats_it(self) -> None:
        with Scripted(good) as server, resolving() as resolver:

            async def twice() -> None:
                for _ in range(2):
                    await look_up(resolver, server.server)

            run(twice())
            first, second = (request[HEADER:NAME_END] for request in server.udp)
        assert first != second
        assert first.lower() == second.lower()

    def test_the_same_question_at_the_same_time_is_one_query(self) -> None:
        with Scripted(good, delay=0.02) as server, resolving() as resolver:

            async def many() -> None:
                answers = await asyncio.gather(*(look_up(resolver, server.server) for _ in range(10)))
                assert set(answers) == {answers[0]}

            run(many())
            assert len(server.requests) == 1

    def test_the_same_question_fails_for_all_that_asked_it(self) -> None:
        with Scripted(lambda request, _: [reply(request, rcode=dns.rcode.NXDOMAIN)], delay=0.02) as server:

            async def many() -> None:
                with resolving() as resolver:
                    work = (look_up(resolver, server.server) for _ in range(3))
                    answers = await asyncio.gather(*work, return_exceptions=True)
                    assert [type(answer) for answer in answers] == [NoSuchPeer] * 3

            run(many())
            assert len(server.requests) == 1

    @pytest.mark.parametrize("cancelled", [0, 1])
    def test_one_that_is_cancelled_leaves_the_others_alone(self, cancelled: int) -> None:
        with Scripted(good, delay=0.02) as server, resolving() as resolver:

            async def two() -> None:
                tasks = [asyncio.create_task(look_up(resolver, server.server)) for _ in range(2)]
                await begun()
                tasks[cancelled].cancel()
                assert (await tasks[1 - cancelled]).endpoints == (HERE,)
                with pytest.raises(asyncio.CancelledError):
                    await tasks[cancelled]

            run(two())


class TestManyAtOneHost:
    """Their SRV records have one target, about whose addresses the registry is silent: all share these questions."""

    KEYS = tuple(PublicKey(bytes([number] * 32)) for number in range(5))

    @pytest.fixture
    def heard(self) -> threading.Semaphore:
        """The questions for addresses that have come."""
        return threading.Semaphore(0)

    @pytest.fixture
    def server(self, heard: threading.Semaphore) -> Iterator[Scripted]:
        def handle(request: bytes, _: bool) -> Sequence[bytes]:
            if asked(request)[1] == SRV:
                return [reply(request, [f"@ 5 IN SRV 0 0 51820 host.{ZONE}."])]
            heard.release()
            return []

        with Scripted(handle) as server:
            yield server

    @staticmethod
    def addresses_asked(server: Scripted) -> int:
        return sum(asked(request)[1] != SRV for request in server.udp)

    def test_all_are_given_up_in_time(self, server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("wgsd_nm.agent.resolver.LOOKUP_TIMEOUT", 0.5)
        answers: dict[PublicKey, Advertisement | LookupFailed] = {}
        with resolving() as resolver:
            run(resolver.lookups(server.server, ZONE, self.KEYS, answers.__setitem__))
        assert set(answers) == set(self.KEYS)
        for answer in answers.values():
            assert isinstance(answer, NoAnswer)
            assert "no whole answer within 0.5 seconds" in str(answer)
        assert self.addresses_asked(server) <= 2 * len(self.KEYS), "whoever is left asks AAAA and A once more"

    def test_all_can_be_cancelled_together(self, server: Scripted, heard: threading.Semaphore) -> None:
        async def scenario() -> None:
            with resolving() as resolver:
                work = asyncio.create_task(resolver.lookups(server.server, ZONE, self.KEYS, lambda *_: None))
                for _ in ("AAAA", "A"):
                    assert await asyncio.to_thread(heard.acquire, timeout=10)
                work.cancel()
                done, _ = await asyncio.wait({work}, timeout=5)
                assert done, "they ask on"
                assert work.cancelled()

        run(scenario())
        assert self.addresses_asked(server) == 2


class TestMany:
    def test_all_are_reported_whatever_becomes_of_them(self) -> None:
        known = {PublicKey(bytes([number] * 32)): Endpoint(HERE.address, 1000 + number) for number in range(200)}
        unknown = [PublicKey(bytes([number] * 32)) for number in range(200, 256)]
        with Registry(ZONE, known) as registry, resolving() as resolver:
            answers: dict[PublicKey, Advertisement | LookupFailed] = {}
            run(resolver.lookups(registry.server, ZONE, [*known, *unknown], answers.__setitem__))
        assert {key: answer.endpoints for key, answer in answers.items() if isinstance(answer, Advertisement)} == {
            key: (endpoint,) for key, endpoint in known.items()
        }
        assert {type(answers[key]) for key in unknown} == {NoSuchPeer}

    def test_none(self) -> None:
        with resolving() as resolver:
            run(resolver.lookups(Server(ip_address("127.0.0.1"), 9), ZONE, [], lambda *_: None))

    def test_they_are_asked_at_once_but_not_too_many(self) -> None:
        """With a delay of 30 ms one after another would take nine seconds."""
        peers = {PublicKey(number.to_bytes(32)): HERE for number in range(300)}
        with Registry(ZONE, peers, delay=0.03) as registry, resolving() as resolver:
            answers: list[PublicKey] = []
            before_first_answer: list[int] = []

            def on_answer(key: PublicKey, _: object) -> None:
                before_first_answer.append(len(registry.requests))
                answers.append(key)

            run(resolver.lookups(registry.server, ZONE, peers, on_answer))
        assert set(answers) == set(peers)
        assert before_first_answer[0] <= exchange.WINDOW

    def test_ports_are_several_and_given_up_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exchange, "QUESTIONS_PER_PORT", 5)
        peers = {PublicKey(number.to_bytes(32)): HERE for number in range(100)}
        with Registry(ZONE, peers) as registry, resolving() as resolver:
            before = open_files()

            async def both() -> None:
                await resolver.lookups(registry.server, ZONE, peers, lambda *_: None)
                await look_up(resolver, registry.server, next(iter(peers)))
                assert open_files() - before <= exchange.PORTS + EVENT_LOOP_FILES

            run(both())
            ports = set(registry.clients)
        assert len(ports) >= 20

    def test_a_port_has_its_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exchange, "PORT_LIFETIME", 0)
        monkeypatch.setattr(exchange, "PORTS", 1)
        with Scripted(good) as server, resolving() as resolver:

            async def thrice() -> None:
                for _ in range(3):
                    await look_up(resolver, server.server)

            run(thrice())
            assert len(set(server.clients)) == 3


class TestForget:
    def test_what_is_under_way_fails_and_new_questions_go_out(self) -> None:
        with Scripted(lambda request, _: good(request), delay=0.05) as server, resolving() as resolver:

            async def change_of_network() -> None:
                before = asyncio.create_task(look_up(resolver, server.server))
                await begun()
                resolver.forget()
                after = asyncio.create_task(look_up(resolver, server.server))
                with pytest.raises(RegistryUnreachable, match="given up"):
                    await before
                assert (await after).endpoints == (HERE,)

            run(change_of_network())
            assert len(server.requests) == 2

    @pytest.mark.usefixtures("impatience")
    def test_what_was_learnt_is_forgotten(self) -> None:
        with Scripted(lambda request, _: [] if has_edns(request) else good(request)) as server, resolving() as resolver:

            async def twice() -> None:
                await look_up(resolver, server.server)
                resolver.forget()
                await look_up(resolver, server.server)

            run(twice())
            assert [kind for kind, _ in groupby(map(has_edns, server.udp))] == [True, False, True, False]


class TestForgers:
    """What comes from somebody else, or is broken, never ends the wait for the true answer."""

    @pytest.mark.parametrize(
        "first",
        [
            pytest.param(lambda request: forged(bytes((request[0] ^ 1,)) + request[1:]), id="another identifier"),
            pytest.param(lambda request: forged(_renamed(request)), id="another name"),
            pytest.param(
                lambda request: forged(request[:NAME_END] + b"\0\x01" + request[NAME_END + 2 :]), id="another type"
            ),
            pytest.param(
                lambda request: forged(request[: NAME_END + 2] + b"\0\x03" + request[NAME_END + 4 :]),
                id="another class",
            ),
            pytest.param(lambda request: request, id="the question"),
            pytest.param(lambda request: _flags(forged(request), 0x28), id="another opcode"),
            pytest.param(lambda request: request[:2], id="two octets"),
            pytest.param(lambda request: request[:0], id="nothing"),
            pytest.param(lambda request: request[:2] + b"\xff" * 100, id="garbage"),
            pytest.param(lambda request: _flags(forged(request)[:40], 0), id="cut in the question"),
            pytest.param(lambda request: forged(request)[:-3], id="cut in a record"),
            pytest.param(lambda request: forged(request) + b"x", id="junk behind"),
            pytest.param(lambda request: forged(request).replace(b"\xc0\x0c", b"\xc0\xff"), id="a pointer forward"),
            pytest.param(lambda request: _pointing_at_itself(forged(request)), id="a pointer in a circle"),
            pytest.param(lambda request: forged(request)[:4] + b"\0\0" + forged(request)[6:], id="no question"),
            pytest.param(lambda request: reply(request, ["@ 5 IN CNAME @"]), id="an alias of itself"),
            pytest.param(
                lambda request: reply(request, ["@ 5 IN SRV 0 0 0 @"], ["@ 5 IN A 203.0.113.66"]), id="port 0"
            ),
            pytest.param(
                lambda request: reply(
                    request,
                    ["@ 5 IN SRV 0 0 9 @"],
                    ["@ 5 IN A 203.0.113.66", f'@ 5 IN TXT "pub={PublicKey(bytes(32))}"'],
                ),
                id="another key",
            ),
        ],
    )
    def test_the_true_answer_comes_after(self, first: Callable[[bytes], bytes]) -> None:
        with Scripted(lambda request, _: [first(request), *good(request), *good(request)]) as server:
            assert run(lookup(server.server)).endpoints == (HERE,)
            assert len(server.requests) == 1

    def test_records_of_another_owner_are_no_answer(self) -> None:
        records = ["other.wg.example.com. 5 IN SRV 0 0 9 @"], ["@ 5 IN A 203.0.113.66"]
        failed(lambda request, _: [reply(request, *records)], NoEndpoint)

    def test_from_another_port(self) -> None:
        elsewhere = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

        def handler(request: bytes, _: bool) -> list[bytes]:
            elsewhere.sendto(forged(request), ("127.0.0.1", server.clients[-1]))
            return good(request)

        with elsewhere, Scripted(handler, delay=0.02) as server:
            assert run(lookup(server.server)).endpoints == (HERE,)

    @pytest.mark.usefixtures("impatience")
    def test_nothing_but_bad_answers(self) -> None:
        with (
            Scripted(lambda request, _: [good(request)[0][:-3]]) as server,
            pytest.raises(BadAnswer, match="malformed"),
        ):
            run(lookup(server.server))
        assert len(server.requests) == exchange.TRIES

    def test_once_a_server_repeats_our_cookie_it_always_must(self) -> None:
        with Scripted(_with_cookie) as server, resolving() as resolver:

            async def twice() -> None:
                await look_up(resolver, server.server)
                server.handler = lambda request, _: [forged(request), *_with_cookie(request)]
                assert (await look_up(resolver, server.server)).endpoints == (HERE,)

            run(twice())
            cookies = [_cookie(request) for request in server.udp]
        assert [len(cookie) for cookie in cookies] == [8, 24]
        assert cookies[1] == cookies[0] + b"16 octets of his"


def _renamed(request: bytes) -> bytes:
    return request[: HEADER + 1] + bytes((request[HEADER + 1] ^ 1,)) + request[HEADER + 2 :]


def _flags(message: bytes, flags: int) -> bytes:
    return message[:2] + bytes((message[2] | flags,)) + message[3:]


def _pointing_at_itself(message: bytes) -> bytes:
    at = message.index(b"\xc0\x0c")
    return message[:at] + (0xC000 | at).to_bytes(2) + message[at + 2 :]


def _cookie(request: bytes) -> bytes:
    return b"".join(
        option.to_wire() or b""
        for option in dns.message.from_wire(request).options
        if option.otype == dns.edns.OptionType.COOKIE
    )


def _with_cookie(request: bytes, tcp: bool = False) -> list[bytes]:
    message = dns.message.from_wire(good(request, tcp)[0])
    cookie = _cookie(request)[:8] + b"16 octets of his"
    message.use_edns(0, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, cookie)])
    return [message.to_wire()]


@pytest.mark.usefixtures("impatience")
class TestLoss:
    @pytest.mark.parametrize("lost", [1, 2, 3])
    def test_the_question_is_asked_again(self, lost: int) -> None:
        with Scripted(lambda request, _: good(request) if len(server.requests) > lost else []) as server:
            assert run(lookup(server.server)).endpoints == (HERE,)

    def test_an_answer_to_an_earlier_try_counts(self) -> None:
        with Scripted(lambda request, _: good(request) if len(server.requests) == 1 else [], delay=0.12) as server:
            assert run(lookup(server.server)).endpoints == (HERE,)
            assert len(server.requests) > 1

    def test_silence(self) -> None:
        with Scripted(lambda *_: []) as server, pytest.raises(NoAnswer, match=str(server.port)):
            run(lookup(server.server))
        assert len(server.requests) == exchange.TRIES

    def test_a_closed_port_is_known_at_once(self) -> None:
        with Scripted(good) as server:
            closed = server.server

        async def refused() -> None:
            async with asyncio.timeout(exchange.FIRST_TIMEOUT / 2):
                await lookup(closed)

        with pytest.raises(RegistryUnreachable, match="refused"):
            run(refused())

    @pytest.mark.parametrize(
        ("server", "text"),
        [
            (Server(ip_address("127.0.0.1"), 53, "no-such-dev"), "no network interface no-such-dev"),
            (Server(ip_address("fe80::1"), 53), "cannot be asked"),
            (Server(ip_address("255.255.255.255"), 53), "cannot be asked"),
        ],
    )
    def test_where_no_packet_can_go(self, server: Server, text: str) -> None:
        with pytest.raises(RegistryUnreachable, match=text):
            run(lookup(server))

    def test_a_socket_bound_to_a_device(self) -> None:
        with Scripted(good) as server:
            assert run(lookup(Server(server.server.address, server.port, "lo"))).endpoints == (HERE,)


class TestPlainDns:
    @staticmethod
    def silent(request: bytes, _tcp: bool) -> Sequence[bytes]:
        """Never answers EDNS, as wgsd does when it leaves room for a TXT that it cannot pack."""
        return [] if has_edns(request) else good(request)

    def questions(self, server: Scripted, rounds: int, before: Callable[[int], None] = lambda _: None) -> list[str]:
        """How each of so many lookups, one after another, was asked: E for EDNS, P for plain, EP for both in turn."""
        found: list[str] = []
        with server, resolving() as resolver:

            async def one_by_one() -> None:
                for number in range(rounds):
                    before(number)
                    asked_before = len(server.udp)
                    assert (await look_up(resolver, server.server)).endpoints == (HERE,)
                    kinds = groupby(map(has_edns, server.udp[asked_before:]))
                    found.append("".join("E" if kind else "P" for kind, _ in kinds))

            run(one_by_one())
        return found

    @pytest.mark.usefixtures("impatience")
    def test_after_two_silences_in_a_row_edns_is_not_tried_for_a_while(self) -> None:
        assert self.questions(Scripted(self.silent), 4) == ["EP", "EP", "P", "P"]

    @pytest.mark.usefixtures("impatience")
    @pytest.mark.parametrize(("silent", "asked"), [({0, 2}, ["EP", "E", "EP", "E"]), ({0, 1, 3}, ["EP", "EP", "P"])])
    def test_a_lost_packet_says_nothing_of_the_server(self, silent: set[int], asked: list[str]) -> None:
        def lose(number: int) -> None:
            server.handler = self.silent if number in silent else good

        server = Scripted(good)
        assert self.questions(server, len(asked), lose) == asked

    @pytest.mark.usefixtures("impatience")
    def test_edns_is_tried_again_after_some_minutes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exchange, "PLAIN_LIFETIME", 0.0)

        def mend(number: int) -> None:
            server.handler = good if number in (3, 5) else self.silent
            if number == 4:
                monkeypatch.setattr(exchange, "PLAIN_LIFETIME", 1000.0)

        server = Scripted(self.silent)
        assert self.questions(server, 6, mend) == ["EP", "EP", "EP", "E", "EP", "E"]

    @pytest.mark.usefixtures("impatience")
    def test_packets_lost_at_one_time_are_one_silence(self) -> None:
        peers = [KEY, *(PublicKey(bytes([number] * 32)) for number in range(9))]

        def handler(request: bytes, _: bool) -> Sequence[bytes]:
            return [] if len(server.requests) <= len(peers) else [reply(request, rcode=dns.rcode.NXDOMAIN)]

        with Scripted(handler) as server, resolving() as resolver:

            async def twice() -> None:
                for _ in range(2):
                    await resolver.lookups(server.server, ZONE, peers, lambda *_: None)

            run(twice())
            assert all(map(has_edns, server.udp[-len(peers) :]))

    @pytest.mark.parametrize("rcode", [dns.rcode.FORMERR, dns.rcode.NOTIMP])
    @pytest.mark.parametrize("with_question", [True, False])
    def test_a_server_that_cannot_read_edns(self, rcode: dns.rcode.Rcode, with_question: bool) -> None:
        def handler(request: bytes, _: bool) -> list[bytes]:
            if not has_edns(request):
                return good(request)
            answer = reply(request, rcode=rcode)
            return [answer if with_question else answer[:4] + bytes(8)]

        with Scripted(handler) as server, resolving() as resolver:

            async def twice() -> None:
                async with asyncio.timeout(exchange.FIRST_TIMEOUT / 2):
                    for _ in range(2):
                        await look_up(resolver, server.server)

            run(twice())
            assert [has_edns(request) for request in server.udp] == [True, False, False]

    def test_an_error_to_plain_dns_is_an_error(self) -> None:
        failed(lambda request, _: [reply(request, rcode=dns.rcode.FORMERR)], RegistryRefused)


def truncated(request: bytes, *, with_answer: bool = False) -> list[bytes]:
    if with_answer:
        return [reply(request, ["@ 5 IN SRV 0 0 51820 @"], ["@ 5 IN A 192.0.2.7"], flags=dns.flags.TC)]
    return [reply(request, flags=dns.flags.TC)]


class TestTcp:
    def test_a_truncated_answer(self) -> None:
        assert over(found(lambda request, tcp: good(request, tcp) if tcp else truncated(request))) == "tcp"

    def test_a_server_that_folds_the_letter_case_and_is_remembered(self) -> None:
        def handler(request: bytes, tcp: bool) -> list[bytes]:
            return good(request[:HEADER] + request[HEADER:NAME_END].lower() + request[NAME_END:], tcp)

        with Scripted(handler) as server, resolving() as resolver:

            async def twice() -> list[str]:
                return [over(await look_up(resolver, server.server)) for _ in range(2)]

            assert run(twice()) == ["tcp", "udp"]
            assert len(server.requests) == 3

    def test_a_forger_cannot_make_us_believe_that_a_server_folds(self) -> None:
        def handler(request: bytes, tcp: bool) -> list[bytes]:
            if tcp:
                return good(request, tcp)
            return [forged(request[:HEADER] + request[HEADER:NAME_END].lower() + request[NAME_END:]), *good(request)]

        with Scripted(handler) as server, resolving() as resolver:

            async def twice() -> list[str]:
                return [over(await look_up(resolver, server.server)) for _ in range(2)]

            assert run(twice()) == ["tcp", "tcp"]

    def test_a_server_that_wants_its_cookie_first(self) -> None:
        def handler(request: bytes, tcp: bool) -> list[bytes]:
            if tcp or len(_cookie(request)) > 8:
                return _with_cookie(request, tcp)
            message = dns.message.from_wire(_with_cookie(request)[0])
            message.answer.clear()
            message.set_rcode(dns.rcode.BADCOOKIE)
            return [message.to_wire()]

        with Scripted(handler) as server, resolving() as resolver:

            async def twice() -> list[str]:
                return [over(await look_up(resolver, server.server)) for _ in range(2)]

            assert run(twice()) == ["tcp", "udp"]

    @pytest.mark.usefixtures("impatience")
    @pytest.mark.parametrize("with_tcp", [True, False])
    def test_a_truncated_answer_that_is_all_there_is(self, with_tcp: bool) -> None:
        """wgsd is silent over TCP when it cannot pack the TXT, and leaves only that out of a truncated answer."""

        def handler(request: bytes, tcp: bool) -> list[bytes]:
            return [] if tcp else truncated(request, with_answer=True)

        with Scripted(handler, with_tcp=with_tcp) as server, resolving() as resolver:

            async def twice() -> None:
                for _ in range(2):
                    assert (await look_up(resolver, server.server)).endpoints == (HERE,)

            run(twice())
            assert len(server.tcp) == with_tcp  # the second time it is known

    @pytest.mark.usefixtures("impatience")
    def test_a_truncated_answer_is_no_denial(self) -> None:
        failed(lambda request, tcp: [] if tcp else truncated(request), NoAnswer)
        failed(lambda request, tcp: [] if tcp else truncated(request), RegistryUnreachable, with_tcp=False)

    @pytest.mark.usefixtures("impatience")
    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (lambda request: forged(bytes((request[0] ^ 1,)) + request[1:]), NoAnswer),
            (lambda request: request, BadAnswer),
            (lambda request: forged(request[:NAME_END] + b"\0\x01" + request[NAME_END + 2 :]), BadAnswer),
            (lambda request: forged(request)[:-3], BadAnswer),
            (lambda request: request[:5], NoAnswer),
            (lambda request: request[:0], NoAnswer),
            (lambda request: reply(request, rcode=dns.rcode.NXDOMAIN), NoSuchPeer),
        ],
    )
    def test_answers_are_checked_as_over_udp(self, answer: Callable[[bytes], bytes], error: type[LookupFailed]) -> None:
        failed(lambda request, tcp: [answer(request)] if tcp else truncated(request), error)


class TestMissingAddresses:
    """Some resolvers strip the additional section off; then the target's addresses are asked for."""

    @staticmethod
    def stripped(hosts: dict[tuple[str, dns.rdatatype.RdataType], list[str]], srv: list[str]) -> Handler:
        def handler(request: bytes, _: bool) -> list[bytes]:
            name, rdtype = asked(request)
            if rdtype == SRV:
                return [reply(request, srv)]
            answer = hosts.get((name, rdtype))
            return [reply(request, rcode=dns.rcode.NXDOMAIN) if answer is None else reply(request, answer)]

        return handler

    def test_both_families_are_asked(self) -> None:
        hosts = {("h.example.", A): ["@ 3 IN A 192.0.2.7"], ("h.example.", AAAA): ["@ 4 IN AAAA 2001:db8::7"]}
        answer = found(self.stripped(hosts, ["@ 5 IN SRV 0 0 9 h.example."]))
        assert [str(endpoint) for endpoint in answer.endpoints] == ["[2001:db8::7]:9", "192.0.2.7:9"]
        assert answer.ttl == 3

    def test_one_family_is_enough(self) -> None:
        hosts = {("h.example.", A): ["@ 3 IN CNAME x.", "x. 2 IN A 192.0.2.7"]}
        assert found(self.stripped(hosts, ["@ 5 IN SRV 0 0 9 h.example."])).endpoints == (Endpoint(HERE.address, 9),)

    def test_the_record_of_the_family_that_wgsd_has_is_taken_once(self) -> None:
        hosts = {("h.example.", A): ["@ 3 IN A 192.0.2.7"], ("h.example.", AAAA): ["@ 3 IN A 192.0.2.7"]}
        assert found(self.stripped(hosts, ["@ 5 IN SRV 0 0 9 h.example."])).endpoints == (Endpoint(HERE.address, 9),)

    def test_targets_keep_their_order(self) -> None:
        hosts = {("a.", A): ["@ 3 IN A 192.0.2.1"], ("b.", A): ["@ 3 IN A 192.0.2.2"]}
        answer = found(self.stripped(hosts, ["@ 5 IN SRV 2 0 2 b.", "@ 5 IN SRV 1 0 1 a."]))
        assert [endpoint.port for endpoint in answer.endpoints] == [1, 2]

    def test_no_address_at_all(self) -> None:
        failed(self.stripped({}, ["@ 5 IN SRV 0 0 9 h.example."]), NoEndpoint)

    @pytest.mark.usefixtures("impatience")
    def test_no_answer_for_the_addresses(self) -> None:
        def handler(request: bytes, _: bool) -> list[bytes]:
            return [reply(request, ["@ 5 IN SRV 0 0 9 h."])] if asked(request)[1] == SRV else []

        failed(handler, NoAnswer)

    def test_an_alias_leads_to_a_new_question(self) -> None:
        def handler(request: bytes, _: bool) -> list[bytes]:
            if asked(request)[0] == "anna.example.":
                return [reply(request, ["@ 5 IN SRV 0 0 9 @"], ["@ 5 IN A 192.0.2.7", f'@ 5 IN TXT "pub={KEY}"'])]
            return [reply(request, ["@ 2 IN CNAME anna.example."])]

        answer = found(handler)
        assert (answer.endpoints, answer.ttl) == ((Endpoint(HERE.address, 9),), 2)

    def test_an_alias_and_then_no_address(self) -> None:
        def handler(request: bytes, _: bool) -> list[bytes]:
            match asked(request):
                case "anna.", rdtype if rdtype == SRV:
                    return [reply(request, ["@ 5 IN SRV 0 0 9 @"])]
                case "anna.", rdtype if rdtype == A:
                    return [reply(request, ["@ 5 IN A 192.0.2.7"])]
                case "anna.", _:
                    return [reply(request)]
                case _:
                    return [reply(request, ["@ 2 IN CNAME anna."])]

        answer = found(handler)
        assert (answer.endpoints, answer.ttl) == ((Endpoint(HERE.address, 9),), 2)

    def test_aliases_without_end(self) -> None:
        with Scripted(lambda request, _: [reply(request, [f"@ 2 IN CNAME x{len(server.requests)}."])]) as server:
            with pytest.raises(BadAnswer, match="no end"):
                run(lookup(server.server))
            assert len(server.requests) == dnssd.MAX_ALIASES

    def test_a_slow_walk_along_aliases_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("wgsd_nm.agent.resolver.LOOKUP_TIMEOUT", 0.25)
        with Scripted(
            lambda request, _: [reply(request, [f"@ 2 IN CNAME x{len(server.requests)}."])], delay=0.1
        ) as server:
            with pytest.raises(NoAnswer, match="no whole answer within"):
                run(lookup(server.server))
            assert 2 <= len(server.requests) <= 4
