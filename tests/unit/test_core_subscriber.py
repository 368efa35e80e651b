# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's end of a push session, against octets that a test writes, and against the registry's own end."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.unit.registry_objects import key, peer
from wgsd_nm.core import dnssd, dso, push
from wgsd_nm.core.dso import Keepalive, Message, ProtocolError, RetryDelay, Tlv
from wgsd_nm.core.errors import BadAnswer, LookupFailed, NoEndpoint, NoSuchPeer
from wgsd_nm.core.model import Advertisement, Endpoint, Peer, PublicKey
from wgsd_nm.core.push import ANY, IN, Add, Change, Remove, RemoveAll, Subscribe, Unsubscribe, encode_pushes
from wgsd_nm.core.pushed import Answer
from wgsd_nm.core.subscriber import (
    ANSWER,
    FIRST_ANSWER,
    LEAST_DELAY,
    PROOF,
    WISH,
    End,
    Heard,
    Subscriber,
    Why,
)
from wgsd_nm.registry import records
from wgsd_nm.registry.push import Session
from wgsd_nm.registry.records import Record
from wgsd_nm.registry.subscriptions import Subscriptions

A, TXT, AAAA, SRV = 1, 16, 28, 33
ZONE = dnssd.wire(dnssd.parse_zone("wg.example.com"))
ALICE, BOB = key("alice"), key("bob")
ALICE_NAME, BOB_NAME = (dnssd.instance_wire(each, ZONE) for each in (ALICE, BOB))
GRANTED = Keepalive(15_000, 60_000)


def rrs(
    port: int = 51820, address: str = "192.0.2.1", name: bytes = ALICE_NAME, public: PublicKey = ALICE
) -> list[Add]:
    packed = ip_address(address).packed
    return [
        Add(name, SRV, IN, 0, b"\0\0\0\0" + port.to_bytes(2) + name),
        Add(name, A if len(packed) == 4 else AAAA, IN, 0, packed),
        Add(name, TXT, IN, 0, b"\x09txtvers=1" + bytes((48,)) + f"pub={public}".encode()),
    ]


def pushed(*changes: Change) -> bytes:
    (message,) = encode_pushes(changes)
    return message


class Server:
    """What a session says to a server, and what it makes of the answers."""

    def __init__(self, *keys: PublicKey, opened: bool = True) -> None:
        self.now = 0.0
        self.session = Subscriber(ZONE)
        self.said: list[Message] = []
        self.answers: list[tuple[PublicKey, Answer]] = []
        self.ask: list[PublicKey] = []
        self.end: End | None = None
        self.take(self.session.begin(self.now))
        self.take(self.session.want(keys, self.now))
        if opened:
            self.grant()

    def take(self, heard: Heard) -> None:
        self.said += map(dso.parse, heard.send)
        self.answers += heard.answers
        self.ask += heard.ask
        self.end = heard.end or self.end

    def say(self, message: Message | bytes) -> None:
        octets = message if isinstance(message, bytes) else message.encode()
        self.take(self.session.received(octets, self.now))

    def want(self, *keys: PublicKey) -> None:
        self.take(self.session.want(keys, self.now))

    def tick(self, now: float) -> None:
        self.now = now
        self.take(self.session.tick(now))

    def heard(self) -> list[Message]:
        said, self.said = self.said, []
        return said

    def grant(self, timeouts: Keepalive = GRANTED) -> None:
        """Answer all that was said, in order."""
        for message in self.heard():
            if message.primary.type == dso.KEEPALIVE:
                self.say(dso.response(message.identifier, dso.NOERROR, timeouts.tlv()))
            elif message.identifier:
                self.say(dso.response(message.identifier, dso.NOERROR))

    def settle(self) -> None:
        while self.said:
            self.grant()

    def told(self) -> list[tuple[PublicKey, Answer]]:
        answers, self.answers = self.answers, []
        return answers


def endpoint_of(answer: Answer) -> str:
    assert isinstance(answer, Advertisement)
    (endpoint,) = answer.endpoints
    return str(endpoint)


def fatal(server: Server, message: Message | bytes) -> None:
    with pytest.raises(ProtocolError):
        server.say(message)


@pytest.fixture
def server() -> Server:
    """With a session in which alice's subscription is confirmed."""
    server = Server(ALICE)
    server.settle()
    server.told()
    return server


class TestBegin:
    def test_a_keepalive_and_nothing_else(self) -> None:
        assert Server(ALICE, opened=False).heard() == [dso.request(1, WISH.tlv())]

    def test_then_a_subscription_for_each_peer_and_a_keepalive_behind_them(self) -> None:
        server = Server(ALICE, BOB)
        assert server.session.established
        assert server.heard() == [
            dso.request(2, Subscribe(ALICE_NAME, ANY, IN).tlv()),
            dso.request(3, Subscribe(BOB_NAME, ANY, IN).tlv()),
            dso.request(4, WISH.tlv()),
        ]
        assert server.session.following == frozenset()

    def test_followed_when_confirmed(self) -> None:
        server = Server(ALICE, BOB)
        server.say(dso.response(2, dso.NOERROR))
        assert server.session.following == {ALICE}

    @pytest.mark.parametrize(
        "answer",
        [
            dso.response(1, dso.NOTIMP).encode(),
            dso.response(1, dso.FORMERR).encode(),
            dso.response(1, dso.DSOTYPENI).encode(),
            dso.response(1, dso.REFUSED, GRANTED.tlv()).encode(),
            dso.response(9, dso.NOERROR, GRANTED.tlv()).encode(),
            dso.response(1, dso.NOERROR).encode(),
            dso.response(1, dso.NOERROR, Keepalive(0, 9_999).tlv()).encode(),
            dso.unidirectional(GRANTED.tlv()).encode(),
            bytes.fromhex("0001b004 0001 0000 0000 0000".replace(" ", "")),  # counts a question that is not there
            bytes.fromhex("000180010000000000000000"),  # opcode QUERY
            b"nonsense",
            b"",
        ],
    )
    def test_a_server_without_push_is_found_out(self, answer: bytes) -> None:
        server = Server(ALICE, opened=False)
        server.say(answer)
        assert server.end == End(Why.NO_PUSH)
        assert not server.session.established

    def test_a_server_that_has_no_place_says_when_to_come_back(self) -> None:
        """RFC 8490 section 7.2.2. Whoever tells a Retry Delay knows of sessions."""
        server = Server(ALICE, opened=False)
        server.say(dso.response(1, dso.SERVFAIL, RetryDelay(60_000).tlv()))
        assert server.end == End(Why.DISMISSED, 60)

    def test_a_server_that_is_silent(self) -> None:
        server = Server(ALICE, opened=False)
        assert server.session.deadline == FIRST_ANSWER
        server.tick(FIRST_ANSWER - 0.1)
        assert server.end is None
        server.tick(FIRST_ANSWER)
        assert server.end == End(Why.DEAD)


class TestPushed:
    def test_an_advertisement_as_from_an_answer(self, server: Server) -> None:
        server.say(pushed(*rrs()))
        assert server.told() == [
            (
                ALICE,
                Advertisement(
                    ALICE, (Endpoint.parse("192.0.2.1:51820"),), 0, "", (("txtvers", "1"), ("pub", str(ALICE)))
                ),
            )
        ]

    def test_a_peer_that_moves(self, server: Server) -> None:
        server.say(pushed(*rrs()))
        server.say(pushed(Remove(ALICE_NAME, A, IN, bytes((192, 0, 2, 1))), *rrs(4, "198.51.100.7")[:2],
                          Remove(ALICE_NAME, SRV, IN, rrs()[0].rdata)))  # fmt: skip
        assert [endpoint_of(answer) for _, answer in server.told()] == ["192.0.2.1:51820", "198.51.100.7:4"]

    def test_to_another_family(self, server: Server) -> None:
        server.say(pushed(*rrs()))
        server.say(pushed(RemoveAll(ALICE_NAME, A, IN), Add(ALICE_NAME, AAAA, IN, 0, ip_address("2001:db8::1").packed)))
        assert endpoint_of(server.told()[1][1]) == "[2001:db8::1]:51820"

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            (RemoveAll(ALICE_NAME, SRV, IN), NoEndpoint),
            (RemoveAll(ALICE_NAME, ANY, IN), NoSuchPeer),
            (RemoveAll(ALICE_NAME, 0, ANY), NoSuchPeer),
            (RemoveAll(ALICE_NAME, ANY, ANY), NoSuchPeer),
            (Add(ALICE_NAME, A, IN, 0, b"123"), BadAnswer),
            (Add(ALICE_NAME, AAAA, IN, 0, b"1234"), BadAnswer),
            (Add(ALICE_NAME, TXT, IN, 0, b""), BadAnswer),
            (Add(ALICE_NAME, TXT, IN, 0, b"\5x"), BadAnswer),
            (Add(ALICE_NAME, SRV, IN, 0, bytes(6) + ALICE_NAME + b"x"), BadAnswer),
            (Add(ALICE_NAME, SRV, IN, 0, b""), BadAnswer),
        ],
    )
    def test_what_a_lookup_would_say(self, server: Server, change: Change, error: type[LookupFailed]) -> None:
        server.say(pushed(*rrs()))
        server.told()
        server.say(pushed(change))
        ((who, answer),) = server.told()
        assert who == ALICE
        assert type(answer) is error

    def test_another_peers_record_proves_nothing(self, server: Server) -> None:
        server.say(pushed(*rrs(public=BOB)))
        assert [type(answer) for _, answer in server.told()] == [BadAnswer]

    def test_no_service_is_no_endpoint(self, server: Server) -> None:
        """RFC 2782: the target is the root."""
        server.say(pushed(Add(ALICE_NAME, SRV, IN, 0, bytes(7))))
        assert [type(answer) for _, answer in server.told()] == [NoEndpoint]

    def test_what_leads_elsewhere_has_to_be_asked_for(self, server: Server) -> None:
        server.say(pushed(Add(ALICE_NAME, SRV, IN, 0, b"\0\0\0\0\0\1\4host\0"), rrs()[1]))
        assert server.told() == []
        assert server.ask == [ALICE]
        server.say(pushed(RemoveAll(ALICE_NAME, A, IN), RemoveAll(ALICE_NAME, SRV, IN), rrs()[0]))
        assert server.ask == [ALICE, ALICE]

    def test_letter_case_means_nothing(self, server: Server) -> None:
        service = rrs()[0]
        upper = service.rdata[:6] + ALICE_NAME.upper()
        server.say(pushed(Add(ALICE_NAME.upper(), SRV, IN, 0, upper), *rrs()[1:]))
        assert [endpoint_of(answer) for _, answer in server.told()] == ["192.0.2.1:51820"]
        server.say(pushed(Remove(ALICE_NAME, SRV, IN, service.rdata)))
        assert [type(answer) for _, answer in server.told()] == [NoEndpoint]

    def test_one_answer_for_all_that_one_message_says(self, server: Server) -> None:
        server.want(ALICE, BOB)
        server.settle()
        server.told()
        server.say(pushed(*rrs(), *rrs(1, "192.0.2.2", BOB_NAME, BOB), rrs(2)[0]))
        assert [who for who, _ in server.told()] == [ALICE, BOB]

    def test_only_what_changes_is_told(self, server: Server) -> None:
        server.say(pushed(*rrs()))
        server.told()
        server.say(pushed(*rrs(), Remove(ALICE_NAME, A, IN, b"none"), RemoveAll(ALICE_NAME, AAAA, IN)))
        assert server.told() == []
        server.say(pushed(Add(ALICE_NAME, A, IN, 7, bytes((192, 0, 2, 1)))))
        assert len(server.told()) == 1

    @pytest.mark.parametrize(
        "change",
        [
            Add(BOB_NAME, A, IN, 0, b"1234"),
            Add(ALICE_NAME, A, 3, 0, b"1234"),
            Add(ALICE_NAME, 99, IN, 0, b"1234"),
            Remove(ALICE_NAME, A, 3, bytes((192, 0, 2, 1))),
            RemoveAll(ALICE_NAME, A, 3),
            RemoveAll(BOB_NAME, 0, ANY),
        ],
    )
    def test_what_is_not_ours_is_ignored(self, server: Server, change: Change) -> None:
        """RFC 8765 section 6.3.1."""
        server.say(pushed(*rrs()))
        server.told()
        server.say(pushed(change))
        assert server.told() == []

    def test_absent_is_known_when_the_keepalive_behind_is_answered(self) -> None:
        server = Server(ALICE, BOB)
        first, second, behind = server.heard()
        server.say(dso.response(first.identifier, dso.NOERROR))
        server.say(pushed(*rrs()))
        server.say(dso.response(second.identifier, dso.NOERROR))
        assert [who for who, _ in server.told()] == [ALICE]
        server.say(dso.response(behind.identifier, dso.NOERROR, GRANTED.tlv()))
        ((who, answer),) = server.told()
        assert who == BOB
        assert type(answer) is NoSuchPeer


class TestWant:
    def test_peers_come_and_go(self, server: Server) -> None:
        server.want(BOB)
        leave, subscribe, behind = server.heard()
        assert leave == dso.unidirectional(Unsubscribe(2).tlv())
        assert Subscribe.read(subscribe.primary) == Subscribe(BOB_NAME, ANY, IN)
        assert behind.primary == WISH.tlv()
        assert server.session.following == frozenset()

    def test_the_same_peers(self, server: Server) -> None:
        server.want(ALICE)
        assert server.heard() == []

    def test_a_push_that_was_on_its_way(self, server: Server) -> None:
        server.want()
        server.say(pushed(*rrs()))
        assert server.told() == []

    def test_what_was_pushed_before_a_subscription_is_confirmed_is_of_an_earlier_one(self) -> None:
        """RFC 8765 section 6.3: records that are there are pushed behind the response. What has gone is not removed."""
        server = Server(ALICE)
        server.settle()
        server.want()
        server.want(ALICE)
        server.told()
        server.say(pushed(*rrs(address="192.0.2.1")))
        server.settle()
        server.say(pushed(*rrs(address="192.0.2.2")))
        *_, (_, answer) = server.told()
        assert endpoint_of(answer) == "192.0.2.2:51820"

    def test_an_answer_that_was_on_its_way(self) -> None:
        server = Server(ALICE)
        server.want()
        assert [message.primary for message in server.heard()][-1] == Unsubscribe(2).tlv()
        server.say(dso.response(2, dso.NOERROR))
        server.say(dso.response(2, dso.REFUSED))
        assert server.session.following == frozenset()

    def test_before_the_session_is_there(self) -> None:
        server = Server(ALICE, opened=False)
        server.want(BOB)
        server.grant()
        assert Subscribe.read(server.heard()[0].primary).name == BOB_NAME

    def test_ids_go_round_and_are_never_shared(self, server: Server) -> None:
        used = {2}
        crowds = [[key(f"{crowd} {number}") for number in range(500)] for crowd in range(2)]
        for turn in range(140):
            server.want(ALICE, *crowds[turn % 2])
            asked = [message.identifier for message in server.said if message.identifier]
            assert len(asked) == len(set(asked)) == 501
            assert 2 not in asked
            used.update(asked)
            behind = server.heard()[-1]
            server.say(dso.response(behind.identifier, dso.NOERROR, GRANTED.tlv()))
        assert used == set(range(1, 0x10000))
        fatal(server, dso.response(behind.identifier, dso.NOERROR, GRANTED.tlv()))  # answered already


class TestSettled:
    def test_when_the_last_question_is_answered_all_is_known(self) -> None:
        server = Server(ALICE, opened=False)
        assert not server.session.settled
        server.grant()
        assert server.session.established
        subscribe, behind = server.heard()
        server.say(dso.response(subscribe.identifier, dso.NOERROR))
        assert not server.session.settled
        server.say(dso.response(behind.identifier, dso.NOERROR, GRANTED.tlv()))
        assert server.session.settled
        server.take(server.session.ping(server.now))
        assert not server.session.settled


class TestRefusal:
    def test_after_the_servers_delay_it_is_tried_again(self) -> None:
        server = Server(ALICE, BOB)
        first, second, behind = server.heard()
        server.say(dso.response(first.identifier, dso.SERVFAIL, RetryDelay(5_000).tlv()))
        server.say(dso.response(second.identifier, dso.NOERROR))
        server.say(dso.response(behind.identifier, dso.NOERROR, GRANTED.tlv()))
        assert [who for who, _ in server.told()] == [BOB]
        assert server.session.following == {BOB}
        assert server.session.deadline == 5
        server.want(ALICE, BOB, key("carol"))
        server.tick(4.9)
        assert server.heard() == []
        server.tick(5.0)
        again = [Subscribe.read(message.primary).name for message in server.heard()[:-1]]
        assert again == [ALICE_NAME, dnssd.instance_wire(key("carol"), ZONE)]

    @pytest.mark.parametrize(("rcode", "delay"), [(dso.SERVFAIL, 60), (dso.REFUSED, 300), (dso.NOTAUTH, 300), (3, 300)])
    def test_without_a_delay(self, rcode: int, delay: float) -> None:
        """RFC 8765 section 6.2.2."""
        server = Server(ALICE)
        subscribe, behind = server.heard()
        server.say(dso.response(subscribe.identifier, rcode))
        server.say(dso.response(behind.identifier, dso.NOERROR, Keepalive(dso.INFINITE, dso.INFINITE).tlv()))
        assert server.session.deadline == delay
        server.tick(delay - 0.1)
        assert server.heard() == []
        server.tick(delay)
        assert Subscribe.read(server.heard()[0].primary).name == ALICE_NAME

    def test_without_a_second_of_delay_it_does_not_go_in_a_circle(self) -> None:
        server = Server(ALICE)
        server.say(dso.response(2, dso.SERVFAIL, RetryDelay(0).tlv()))
        assert server.session.deadline == LEAST_DELAY

    def test_a_session_in_which_all_is_refused_ends_and_the_delay_lasts(self) -> None:
        server = Server(ALICE)
        subscribe, behind = server.heard()
        server.say(dso.response(subscribe.identifier, dso.REFUSED, RetryDelay(100_000).tlv()))
        server.say(dso.response(behind.identifier, dso.NOERROR, GRANTED.tlv()))
        assert server.session.deadline == 15
        server.tick(15.0)
        assert server.end == End(Why.IDLE, 85.0)

    @pytest.mark.parametrize("rcode", [dso.NOTIMP, dso.DSOTYPENI])
    def test_sessions_but_no_push(self, rcode: int) -> None:
        server = Server(ALICE)
        server.say(dso.response(2, rcode))
        assert server.end == End(Why.NO_PUSH, 3600)

    def test_ended_by_the_server(self, server: Server) -> None:
        """RFC 8490 section 5.6."""
        server.say(pushed(*rrs()))
        server.say(dso.response(2, dso.NOTAUTH, RetryDelay(1_000).tlv()))
        assert server.session.following == frozenset()
        server.told()
        server.say(pushed(*rrs(7)))
        assert server.told() == []
        server.tick(1.0)
        assert Subscribe.read(server.said[0].primary).name == ALICE_NAME
        server.grant()
        server.say(pushed(*rrs(4, "198.51.100.7")))
        assert endpoint_of(server.told()[-1][1]) == "198.51.100.7:4"  # and nothing of what was before

    def test_a_subscribe_tlv_in_the_response_is_ignored(self) -> None:
        server = Server(ALICE)
        server.say(dso.response(2, dso.NOERROR, Subscribe(ALICE_NAME, ANY).tlv(), dso.padding(4), Tlv(0xF800)))
        assert server.session.following == {ALICE}


class TestTime:
    def test_a_keepalive_when_nothing_was_said(self, server: Server) -> None:
        assert server.session.deadline == 60
        server.tick(59.9)
        assert server.heard() == []
        server.tick(60.0)
        assert [message.primary for message in server.heard()] == [WISH.tlv()]
        assert server.session.deadline == 60 + ANSWER

    def test_any_message_puts_it_off(self, server: Server) -> None:
        server.now = 50.0
        server.say(pushed(*rrs()))
        assert server.session.deadline == 110

    def test_dead(self, server: Server) -> None:
        server.tick(60.0)
        server.tick(60.0 + ANSWER)
        assert server.end == End(Why.DEAD)

    def test_alive(self, server: Server) -> None:
        server.tick(60.0)
        server.grant()
        assert server.session.deadline == 120
        server.tick(60.0 + ANSWER)
        assert server.end is None

    def test_a_ping_finds_out_now(self, server: Server) -> None:
        server.now = 10.0
        server.take(server.session.ping(10.0))
        assert len(server.heard()) == 1
        server.take(server.session.ping(11.0))
        assert server.heard() == []
        assert server.session.deadline == 10 + ANSWER

    def test_who_answers_elsewhere_has_to_say_something_here(self, server: Server) -> None:
        server.now = 20.0
        server.take(server.session.prove(20.0))
        assert [message.primary for message in server.heard()] == [WISH.tlv()]
        server.take(server.session.prove(21.0))
        assert server.heard() == []
        assert server.session.deadline == 20 + PROOF, "more answers there do not put it off"
        server.tick(20 + PROOF)
        assert server.end == End(Why.DEAD)

    def test_also_to_what_it_was_asked_before(self, server: Server) -> None:
        server.take(server.session.ping(1.0))
        server.take(server.session.prove(5.0))
        assert server.session.deadline == 5 + PROOF
        server.now = 5.0
        server.grant()
        assert server.session.deadline == 65

    def test_what_was_answered_before_the_network_changed_says_nothing_of_the_other_one(self, server: Server) -> None:
        server.take(server.session.prove(20.0))
        server.take(server.session.ping(21.0))
        assert server.session.deadline == 20 + ANSWER
        server.take(server.session.prove(22.0))
        assert server.session.deadline == 22 + PROOF

    def test_anything_proves_it(self, server: Server) -> None:
        server.take(server.session.prove(20.0))
        server.now = 21.0
        server.say(pushed(*rrs()))
        server.tick(20 + PROOF)
        assert server.end is None
        assert server.session.deadline == 21 + ANSWER

    def test_who_was_heard_a_moment_ago_does_not_have_to(self, server: Server) -> None:
        server.take(server.session.prove(ANSWER - 0.1))
        assert server.heard() == []
        assert server.session.deadline == 60

    def test_one_that_is_at_its_answers_is_not_dead(self) -> None:
        server = Server(ALICE, BOB)
        first, second, _ = server.heard()
        server.now = ANSWER - 1
        server.say(dso.response(first.identifier, dso.NOERROR))
        assert server.session.deadline == 2 * ANSWER - 1
        server.tick(ANSWER + 1)
        assert server.end is None
        server.say(dso.response(second.identifier, dso.NOERROR))
        server.tick(2 * ANSWER + 1)
        assert server.end == End(Why.DEAD)

    def test_the_server_may_want_other_times(self, server: Server) -> None:
        server.say(dso.unidirectional(Keepalive(0, 10_000).tlv()))
        assert server.session.deadline == 10
        server.say(dso.unidirectional(Keepalive(0, dso.INFINITE).tlv()))
        assert server.session.deadline == inf

    def test_idle(self, server: Server) -> None:
        """RFC 8490 section 6.4.1: a client closes; Keepalives are no activity."""
        server.now = 20.0
        server.want()
        server.settle()
        assert server.session.deadline == 35
        server.tick(34.9)
        assert server.end is None
        server.tick(35.0)
        assert server.end == End(Why.IDLE)

    def test_dismissed(self, server: Server) -> None:
        server.say(dso.unidirectional(RetryDelay(1_500).tlv(), rcode=dso.REFUSED))
        assert server.end == End(Why.DISMISSED, 1.5)


class TestFatal:
    @pytest.mark.parametrize(
        "message",
        [
            dso.response(99, dso.NOERROR),
            dso.response(2, dso.NOERROR, Tlv(push.PUSH)),
            dso.response(2, dso.NOERROR, Unsubscribe(2).tlv()),
            dso.response(2, dso.NOERROR, Tlv(push.RECONFIRM)),
            dso.response(2, dso.REFUSED, Tlv(dso.RETRY_DELAY)),
            dso.unidirectional(Keepalive(0, 9_999).tlv()),
            dso.unidirectional(Tlv(dso.KEEPALIVE)),
            dso.unidirectional(Tlv(dso.RETRY_DELAY)),
            dso.unidirectional(dso.padding()),
            dso.unidirectional(Tlv(0xF800)),
            dso.unidirectional(Unsubscribe(2).tlv()),
            dso.unidirectional(Subscribe(ALICE_NAME, ANY).tlv()),
            dso.unidirectional(Tlv(push.PUSH)),
            dso.request(1, GRANTED.tlv()),
            dso.request(1, RetryDelay(1).tlv()),
            dso.request(1, Subscribe(ALICE_NAME, ANY).tlv()),
            dso.request(1, Tlv(push.PUSH)),
            dso.request(1, Unsubscribe(2).tlv()),
            bytes.fromhex("0000b0000000000000000000"),
            b"nonsense",
        ],
    )
    def test_it_is(self, server: Server, message: Message | bytes) -> None:
        fatal(server, message)

    @pytest.mark.parametrize(
        "answer",
        [
            dso.response(5, dso.NOERROR),
            dso.response(5, dso.SERVFAIL, GRANTED.tlv()),
            dso.response(5, dso.NOERROR, GRANTED.tlv(), GRANTED.tlv()),
            dso.response(5, dso.NOERROR, dso.padding(), GRANTED.tlv()),
            dso.response(5, dso.NOERROR, Keepalive(0, 9_999).tlv()),
            dso.response(5, dso.NOERROR, Tlv(dso.KEEPALIVE, bytes(4))),
        ],
    )
    def test_an_answer_to_a_keepalive(self, server: Server, answer: Message) -> None:
        server.take(server.session.ping(1.0))
        (asked,) = server.heard()
        fatal(server, Message(asked.identifier, True, answer.rcode, answer.tlvs))

    @pytest.mark.parametrize(("request_", "rcode"), [(Tlv(0xF800, b"x"), dso.DSOTYPENI), (dso.padding(), dso.FORMERR)])
    def test_requests_that_we_do_not_know_are_answered(self, server: Server, request_: Tlv, rcode: int) -> None:
        server.say(dso.request(9, request_))
        assert server.heard() == [dso.response(9, rcode)]

    def test_counts(self, server: Server) -> None:
        octets = bytearray(dso.request(9, Tlv(0xF800)).encode())
        octets[11] = 1
        server.say(bytes(octets))
        assert server.heard() == [dso.response(9, dso.FORMERR)]


@given(st.lists(st.binary(max_size=60) | st.binary(max_size=50).map(lambda rest: b"\0\0\x30\0" + bytes(8) + rest)))
def test_arbitrary_octets_are_heard_or_fatal(said: list[bytes]) -> None:
    server = Server(ALICE)
    server.settle()
    for octets in said:
        try:
            server.say(octets)
        except ProtocolError:
            return


class Registry:
    """The registry's own end, and the device that it tells of."""

    def __init__(self) -> None:
        self.peers: dict[bytes, Peer] = {}
        self.hub: Subscriptions[Session] = Subscriptions(self)

    def records(self, name: bytes) -> Iterable[Record]:
        found = self.peers.get(name)
        if found is not None:
            if found.endpoint:
                family, address = records.address_data(found.endpoint)
                yield Record(SRV, 0, b"\0\0\0\0" + found.endpoint.port.to_bytes(2) + name)
                yield Record(family, 0, address)
            yield Record(TXT, 0, records.text_data(found, ""))


PEOPLE = ("alice", "bob", "carol", "dave")
ENDPOINTS = ("192.0.2.1:1", "192.0.2.2:1", "192.0.2.1:2", "[2001:db8::1]:1", "")


class BothEnds(RuleBasedStateMachine):
    """Whatever happens, in the end the agent knows of each peer that it follows what the registry has."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry()
        self.now = 0.0
        self.wanted: set[PublicKey] = set()
        self.known: dict[PublicKey, Answer] = {}
        self.refused = False
        self._connect()

    def _connect(self) -> None:
        self.agent = Subscriber(ZONE)
        self.session = Session(self.registry.hub, "10.0.0.2", self.now)
        self.to_registry: list[bytes] = []
        self.to_agent: list[bytes] = []
        self.known.clear()
        self._take(self.agent.begin(self.now))
        self._take(self.agent.want(self.wanted, self.now))

    def _take(self, heard: Heard) -> None:
        self.to_registry += heard.send
        self.known.update(heard.answers)
        assert not heard.ask
        assert heard.end is None or heard.end.why == Why.IDLE

    def _permits(self, _: bytes) -> int:
        return dso.SERVFAIL if self.refused else dso.NOERROR

    @rule(who=st.sampled_from(PEOPLE), where=st.sampled_from(ENDPOINTS))
    def moves(self, who: str, where: str) -> None:
        self.registry.peers[dnssd.instance_wire(key(who), ZONE)] = peer(who, where, "10.0.0.1/32")

    @rule(who=st.sampled_from(PEOPLE))
    def leaves(self, who: str) -> None:
        self.registry.peers.pop(dnssd.instance_wire(key(who), ZONE), None)

    @rule()
    def is_read(self) -> None:
        for session, messages in self.registry.hub.update():
            assert session is self.session
            self.to_agent += messages

    @rule(who=st.sets(st.sampled_from(PEOPLE)))
    def wants(self, who: set[str]) -> None:
        self.wanted = {key(name) for name in who}
        for gone in self.known.keys() - self.wanted:
            del self.known[gone]
        self._take(self.agent.want(self.wanted, self.now))

    @rule(refused=st.booleans())
    def refuses(self, refused: bool) -> None:
        self.refused = refused

    @rule()
    def is_reviewed(self) -> None:
        self.to_agent += self.session.review(self._permits, self.now)

    @rule(count=st.integers(1, 5))
    def registry_hears(self, count: int) -> None:
        for octets in self.to_registry[:count]:
            self.to_agent += self.session.receive(octets, self._permits, self.now)
        del self.to_registry[:count]

    @rule(count=st.integers(1, 5))
    def agent_hears(self, count: int) -> None:
        heard, self.to_agent = self.to_agent[:count], self.to_agent[count:]
        for octets in heard:
            self._take(self.agent.received(octets, self.now))

    @rule()
    def is_lost(self) -> None:
        self.session.end()
        self._connect()

    @rule()
    def all_is_said(self) -> None:
        """Until nothing more is on its way, and refused subscriptions were tried again."""
        for _ in range(3):
            while self.to_registry or self.to_agent:
                self.registry_hears(len(self.to_registry))
                self.agent_hears(len(self.to_agent))
            self.refused = False
            if self.agent.deadline <= self.now + 60.0 and len(self.agent.following) < len(self.wanted):
                self.now += 60.0
                self._take(self.agent.tick(self.now))
        self.is_read()
        self.agent_hears(len(self.to_agent))
        assert self.agent.following == self.wanted
        for public in self.wanted:
            name = dnssd.instance_wire(public, ZONE)
            found = self.registry.peers.get(name)
            answer = self.known[public]
            if found is None:
                assert isinstance(answer, NoSuchPeer)
            elif found.endpoint is None:
                assert isinstance(answer, NoEndpoint)
            else:
                assert isinstance(answer, Advertisement)
                assert answer.endpoints == (found.endpoint,)

    @invariant()
    def the_count_is_true(self) -> None:
        assert len(self.registry.hub) == self.session.count <= len(PEOPLE)


TestBothEnds = BothEnds.TestCase
TestBothEnds.settings = settings(max_examples=60, stateful_step_count=40)
