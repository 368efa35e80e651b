# SPDX-License-Identifier: GPL-2.0-or-later
"""One client's session: what is answered, what is fatal, how long it may be silent (RFC 8490, RFC 8765)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgsd_nm.core import dso, push
from wgsd_nm.core.dso import Keepalive, Message, ProtocolError, RetryDelay, Tlv
from wgsd_nm.core.push import ANY, IN, Add, Reconfirm, Subscribe, Unsubscribe, parse_push
from wgsd_nm.registry import push as registry_push
from wgsd_nm.registry import subscriptions
from wgsd_nm.registry.push import MAX_STAGGER, PATIENCE, RESTART, TIMEOUTS, Session, retry_delay
from wgsd_nm.registry.records import Record
from wgsd_nm.registry.subscriptions import Subscriptions

A, TXT = 1, 16
ALICE, BOB, FOREIGN = b"\5alice\2wg\0", b"\3bob\2wg\0", b"\5alice\3com\0"
KEEPALIVE = dso.request(1, Keepalive(0, 0).tlv())
ADDRESS = Record(A, 0, b"\xc0\0\2\1")


class Table:
    def records(self, name: bytes) -> Iterable[Record]:
        return [ADDRESS] if name == ALICE else []


def permits(name: bytes) -> int:
    return dso.NOERROR if name.endswith(b"\2wg\0") else dso.NOTAUTH


class Client:
    """Talks to a session, at a time that stands still unless it is moved."""

    def __init__(self) -> None:
        self.hub: Subscriptions[Session] = Subscriptions(Table())
        self.session = Session(self.hub, "10.0.0.1", 0.0)
        self.now = 0.0
        self.permits: Callable[[bytes], int] = permits

    def say(self, message: Message | bytes) -> list[bytes]:
        octets = message if isinstance(message, bytes) else message.encode()
        return self.session.receive(octets, self.permits, self.now)

    def ask(self, message: Message) -> Message:
        """The one answer."""
        (octets,) = self.say(message)
        return dso.parse(octets)

    def subscribe(self, identifier: int, name: bytes = ALICE, rdtype: int = ANY, rdclass: int = IN) -> list[Message]:
        return [dso.parse(octets) for octets in self.say(subscription(identifier, name, rdtype, rdclass))]


def subscription(identifier: int, name: bytes = ALICE, rdtype: int = ANY, rdclass: int = IN) -> Message:
    return dso.request(identifier, Subscribe(name, rdtype, rdclass).tlv())


def fatal(client: Client, message: Message | bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        client.say(message)
    assert caught.value.rcode is None


@pytest.fixture
def fresh() -> Client:
    return Client()


@pytest.fixture
def client(fresh: Client) -> Client:
    fresh.say(KEEPALIVE)
    return fresh


class TestKeepalive:
    def test_the_server_decides(self, fresh: Client) -> None:
        answer = fresh.ask(KEEPALIVE)
        assert answer == dso.response(1, dso.NOERROR, Keepalive(15_000, 60_000).tlv())
        assert fresh.session.established

    def test_padding_is_answered_with_padding(self, fresh: Client) -> None:
        """RFC 8490 section 7.3."""
        answer = fresh.ask(dso.request(1, Keepalive(0, 0).tlv(), dso.padding(7)))
        assert answer == dso.response(1, dso.NOERROR, TIMEOUTS.tlv(), dso.padding())

    def test_unknown_additional_tlvs_are_ignored(self, fresh: Client) -> None:
        """RFC 8490 section 5.4.5."""
        assert fresh.ask(dso.request(1, Keepalive(0, 0).tlv(), Tlv(0xF800, b"x"))) == fresh.ask(KEEPALIVE)

    def test_without_id_it_is_fatal(self, client: Client) -> None:
        fatal(client, dso.unidirectional(Keepalive(0, 0).tlv()))

    def test_of_another_length_it_is_fatal(self, fresh: Client) -> None:
        fatal(fresh, dso.request(1, Tlv(dso.KEEPALIVE, bytes(7))))


class TestSubscribe:
    def test_accepted_and_told_in_this_order(self, client: Client) -> None:
        answer, told = client.say(subscription(2))
        assert dso.parse(answer) == dso.response(2, dso.NOERROR)
        assert parse_push(told) == (Add(ALICE, A, IN, 0, ADDRESS.rdata),)
        assert client.session.count == len(client.hub) == 1

    def test_it_establishes_a_session(self, fresh: Client) -> None:
        fresh.subscribe(2)
        assert fresh.session.established

    def test_a_name_that_does_not_exist(self, client: Client) -> None:
        assert client.subscribe(2, BOB) == [dso.response(2, dso.NOERROR)]

    def test_letter_case_means_nothing(self, client: Client) -> None:
        _, told = client.say(subscription(2, b"\5ALICE\2Wg\0"))
        assert parse_push(told) == (Add(ALICE, A, IN, 0, ADDRESS.rdata),)

    @pytest.mark.parametrize("rdclass", [IN, ANY])
    def test_classes(self, client: Client, rdclass: int) -> None:
        assert client.subscribe(2, rdclass=rdclass)[0].rcode == dso.NOERROR

    @pytest.mark.parametrize(
        ("name", "rdclass", "rcode", "delay"),
        [(ALICE, 3, dso.NOTIMP, 3_600_000), (FOREIGN, IN, dso.NOTAUTH, 300_000)],
    )
    def test_refused(self, fresh: Client, name: bytes, rdclass: int, rcode: int, delay: int) -> None:
        assert fresh.subscribe(2, name, ANY, rdclass) == [dso.response(2, rcode, RetryDelay(delay).tlv())]
        assert not fresh.session.established
        assert len(fresh.hub) == fresh.session.count == 0

    def test_no_content_for_now(self, client: Client) -> None:
        client.permits = lambda _: dso.SERVFAIL
        assert client.subscribe(2) == [dso.response(2, dso.SERVFAIL, RetryDelay(60_000).tlv())]

    @pytest.mark.parametrize("data", [b"", b"\0\0\1", b"\0\0\1\0\1\0", b"\xc0\x0c\0\1\0\1", b"\1a\0\1\0\1"])
    def test_malformed(self, client: Client, data: bytes) -> None:
        answer = client.ask(dso.request(2, Tlv(push.SUBSCRIBE, data)))
        assert answer == dso.response(2, dso.FORMERR, RetryDelay(300_000).tlv())

    def test_twice_the_same_is_fatal(self, client: Client) -> None:
        """RFC 8765 section 6.2.1, whatever the letter case."""
        client.subscribe(2)
        fatal(client, subscription(3, ALICE.upper()))

    def test_the_id_of_a_subscription_is_taken(self, client: Client) -> None:
        client.subscribe(2)
        fatal(client, subscription(2, BOB))
        fatal(client, dso.request(2, Keepalive(0, 0).tlv()))

    def test_another_type_or_class_is_not_the_same(self, client: Client) -> None:
        for identifier, (rdtype, rdclass) in enumerate([(ANY, IN), (A, IN), (TXT, IN), (A, ANY), (ANY, ANY)], 2):
            assert client.subscribe(identifier, ALICE, rdtype, rdclass)[0].rcode == dso.NOERROR
        assert len(client.hub) == 5
        fatal(client, subscription(9, ALICE, A, ANY))
        client.session.end()
        assert len(client.hub) == 0

    def test_bounds(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registry_push, "MAX_OF_SESSION", 1)
        client.subscribe(2)
        assert client.subscribe(3, BOB) == [dso.response(3, dso.REFUSED, RetryDelay(300_000).tlv())]
        monkeypatch.setattr(registry_push, "MAX_OF_SESSION", 9)
        monkeypatch.setattr(subscriptions, "MAX_SUBSCRIPTIONS", 1)
        assert client.subscribe(3, BOB)[0].rcode == dso.SERVFAIL
        assert client.session.count == 1

    def test_padding_is_answered_with_padding(self, client: Client) -> None:
        answer, _ = client.say(dso.request(2, Subscribe(ALICE, ANY).tlv(), dso.padding()))
        assert dso.parse(answer) == dso.response(2, dso.NOERROR, dso.padding())

    def test_without_id_it_is_fatal(self, client: Client) -> None:
        fatal(client, dso.unidirectional(Subscribe(ALICE, ANY).tlv()))


class TestUnsubscribe:
    def test_it_ends_the_subscription(self, client: Client) -> None:
        client.subscribe(2)
        assert client.say(dso.unidirectional(Unsubscribe(2).tlv())) == []
        assert len(client.hub) == client.session.count == 0
        assert client.subscribe(2)[0].rcode == dso.NOERROR

    def test_of_what_there_is_not_it_is_ignored(self, client: Client) -> None:
        client.subscribe(2)
        assert client.say(dso.unidirectional(Unsubscribe(3).tlv())) == []
        assert client.session.count == 1

    def test_it_is_no_request(self, client: Client) -> None:
        fatal(client, dso.request(3, Unsubscribe(2).tlv()))


class TestReconfirm:
    def test_it_is_heard(self, client: Client) -> None:
        assert client.say(dso.unidirectional(Reconfirm(ALICE, A, IN, b"1234").tlv())) == []

    def test_of_all_types_it_is_fatal(self, client: Client) -> None:
        fatal(client, dso.unidirectional(Reconfirm(ALICE, ANY, IN, b"").tlv()))

    def test_it_is_no_request(self, client: Client) -> None:
        fatal(client, dso.request(3, Reconfirm(ALICE, A, IN, b"").tlv()))


class TestOthers:
    def test_an_unknown_request(self, fresh: Client) -> None:
        """RFC 8490 section 5.4.5: no copy of the TLV, and no session."""
        assert fresh.ask(dso.request(7, Tlv(0xF800, b"x"))) == dso.response(7, dso.DSOTYPENI)
        assert not fresh.session.established

    def test_padding_is_never_primary(self, client: Client) -> None:
        assert client.ask(dso.request(7, dso.padding())).rcode == dso.FORMERR

    def test_counts(self, client: Client) -> None:
        octets = bytearray(KEEPALIVE.encode())
        octets[5] = 1
        assert client.say(bytes(octets)) == [dso.response(1, dso.FORMERR).encode()]

    @pytest.mark.parametrize(
        "message",
        [
            dso.unidirectional(Tlv(0xF800)),
            dso.unidirectional(dso.padding()),
            dso.unidirectional(RetryDelay(1).tlv()),
            dso.request(1, RetryDelay(1).tlv()),
            dso.unidirectional(Tlv(push.PUSH, b"\0\0\1\0\1\0\0\0\0\0\0")),
            dso.request(1, Tlv(push.PUSH, b"")),
            dso.response(1, 0),
            dso.response(1, 0, Subscribe(ALICE, ANY).tlv()),
            bytes.fromhex("0000b0000000000000000000"),
            bytes.fromhex("00013000000000000000000000"),
            b"",
        ],
    )
    def test_fatal(self, client: Client, message: Message | bytes) -> None:
        fatal(client, message)

    @pytest.mark.parametrize(
        "message",
        [dso.unidirectional(Unsubscribe(1).tlv()), dso.unidirectional(Reconfirm(ALICE, A, IN, b"").tlv())],
    )
    def test_before_a_session_is_established(self, fresh: Client, message: Message) -> None:
        """RFC 8490 section 5.1: a client sends no unidirectional message yet."""
        fatal(fresh, message)


class TestTime:
    def test_before_a_keepalive(self, fresh: Client) -> None:
        """RFC 8490 sections 6.2, 6.4.1: twice the default of 15 s."""
        assert fresh.session.deadline == 30

    def test_without_a_subscription(self, client: Client) -> None:
        client.now = 10.0
        client.say(KEEPALIVE)
        assert client.session.deadline == 30

    def test_with_a_subscription(self, client: Client) -> None:
        client.subscribe(2)
        assert client.session.deadline == 120
        client.now = 50.0
        client.say(KEEPALIVE)
        assert client.session.deadline == 170
        client.session.used(60.0)
        assert client.session.deadline == 180

    def test_after_a_subscription(self, client: Client) -> None:
        client.subscribe(2)
        client.now = 100.0
        client.say(dso.unidirectional(Unsubscribe(2).tlv()))
        assert client.session.deadline == 130

    def test_a_query_is_activity(self, client: Client) -> None:
        client.session.used(20.0)
        assert client.session.deadline == 50

    def test_no_timeout_is_no_timeout(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registry_push, "TIMEOUTS", Keepalive(dso.INFINITE, dso.INFINITE))
        client.say(KEEPALIVE)
        assert client.session.deadline == inf
        monkeypatch.setattr(registry_push, "TIMEOUTS", Keepalive(0, dso.INFINITE))
        client.say(KEEPALIVE)
        assert client.session.deadline == PATIENCE


class TestShutDown:
    def test_the_client_is_told_and_not_heard(self, client: Client) -> None:
        """RFC 8490 sections 6.6.1, 6.6.1.1."""
        client.subscribe(2)
        (octets,) = client.session.shut_down(5_000, 40.0)
        assert dso.parse(octets) == dso.unidirectional(RetryDelay(5_000).tlv())
        assert len(client.hub) == 0
        assert client.say(subscription(3)) == []
        assert client.say(b"nonsense") == []
        assert client.session.deadline == 45

    def test_for_a_reason(self, client: Client) -> None:
        (octets,) = client.session.shut_down(0, 40.0, dso.SERVFAIL)
        assert dso.parse(octets).rcode == dso.SERVFAIL

    def test_who_has_no_session_is_told_nothing(self, fresh: Client) -> None:
        assert fresh.session.shut_down(5_000, 40.0) == []
        assert fresh.session.deadline == 45

    def test_they_do_not_come_back_all_at_once(self) -> None:
        delays = [retry_delay(number) for number in range(2000)]
        assert delays[0] == RESTART
        assert len(set(delays[:1000])) == 1000
        assert max(delays) == RESTART + MAX_STAGGER


class TestReview:
    def test_what_is_not_permitted_any_more_ends(self, client: Client) -> None:
        """RFC 8490 section 5.6: by another response."""
        client.subscribe(2)
        client.subscribe(3, BOB)
        (octets,) = client.session.review(lambda name: dso.NOTAUTH if name == ALICE else dso.NOERROR, 0.0)
        assert dso.parse(octets) == dso.response(2, dso.NOTAUTH, RetryDelay(300_000).tlv())
        assert list(client.hub.names) == [BOB]
        assert client.session.review(permits, 0.0) == []

    def test_inactivity_begins_when_the_last_subscription_ends(self, client: Client) -> None:
        """RFC 8490 section 6.4; a client that has just been told has time to read it, and to subscribe to others."""
        client.subscribe(2)
        client.now = 3600.0
        client.say(KEEPALIVE)
        assert client.session.review(permits, 3610.0) == []
        assert client.session.deadline == 3720
        client.session.review(lambda _: dso.NOTAUTH, 3610.0)
        assert client.session.deadline == 3640

    def test_the_end(self, client: Client) -> None:
        client.subscribe(2)
        client.subscribe(3, BOB)
        client.session.end()
        client.session.end()
        assert len(client.hub) == 0


SAID = st.one_of(
    st.builds(subscription, st.integers(1, 6), st.sampled_from([ALICE, BOB, FOREIGN]), st.sampled_from([ANY, A])),
    st.builds(lambda number: dso.unidirectional(Unsubscribe(number).tlv()), st.integers(0, 6)),
    st.builds(lambda number: dso.request(number, Keepalive(1, 1).tlv()), st.integers(1, 6)),
    st.builds(lambda number, kind: dso.request(number, Tlv(kind)), st.integers(1, 6), st.integers(0, 0x50)),
    st.builds(lambda kind: dso.unidirectional(Tlv(kind)), st.integers(0, 0x50)),
).map(Message.encode)


@given(st.lists(SAID | st.binary(max_size=40), max_size=12))
def test_whatever_is_said_is_answered_once_or_fatal(said: list[bytes]) -> None:
    """And the count of subscriptions is true."""
    client = Client()
    for octets in said:
        before = client.session.count
        try:
            sent = [dso.parse(message) for message in client.say(octets)]
        except ProtocolError:
            break
        message = dso.parse(octets) if octets[2:3] == b"\x30" and not any(octets[4:12]) and len(octets) > 12 else None
        if message is not None and message.identifier:
            assert sent[0].is_response
            assert sent[0].identifier == message.identifier
        elif message is not None:
            assert sent == []
        assert all(later.primary.type == push.PUSH and not later.identifier for later in sent[1:])
        accepted = bool(sent) and sent[0].rcode == dso.NOERROR and not sent[0].find(dso.KEEPALIVE)
        assert client.session.count - before <= accepted
        assert len(client.hub) == client.session.count
    client.session.end()
    assert len(client.hub) == 0
    assert list(client.hub.names) == []
