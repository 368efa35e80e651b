# SPDX-License-Identifier: GPL-2.0-or-later
"""Bursts of datagrams on loopback: what comes in, what goes out and to whom, and what the kernel does not take."""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from wgsd_nm.registry import batch as module
from wgsd_nm.registry.batch import CONTROL_ROOM, Batch
from wgsd_nm.registry.sockets import Ancillary, answering, control_messages, control_octets

IP_PKTINFO = 8
IP_RECVERR = 11
IP_RECVTTL = 12
SO_TIMESTAMP = 29
SIZE, LONGEST_QUERY, LONGEST_ANSWER = 64, 512, 300
FOREIGN = "198.51.100.9"
"""An address that no machine has (RFC 5737)."""


@dataclass
class Burst:
    """A batch at a socket, and clients of it."""

    bound: socket.socket
    batch: Batch
    clients: list[socket.socket] = field(default_factory=list)

    def client(self, source: str, asked: str = "") -> socket.socket:
        client = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM)
        self.clients.append(client)
        client.settimeout(5)
        client.bind((source, 0))
        client.connect((asked or self.bound.getsockname()[0], self.bound.getsockname()[1]))
        return client

    def take(self) -> list[tuple[int, bytes, bytes]]:
        """What comes of one call; there is something."""
        assert select.select([self.bound], [], [], 5)[0]
        return list(self.batch.receive())


@pytest.fixture
def burst_at() -> Iterator[Callable[..., Burst]]:
    bursts: list[Burst] = []

    def make(address: str, *, dual: bool = False, size: int = SIZE) -> Burst:
        six = ":" in address
        bound = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        if six:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            bound.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        bound.bind((address, 0))
        bursts.append(Burst(bound, Batch(bound, size, LONGEST_QUERY, LONGEST_ANSWER)))
        return bursts[-1]

    yield make
    for burst in bursts:
        for one in (burst.bound, *burst.clients):
            one.close()


Make = Callable[..., Burst]


def silent(client: socket.socket) -> bool:
    """Loopback delivers within the sender's call."""
    return not select.select([client], [], [], 0)[0]


def from_address(text: str) -> bytes:
    """The control message that sends from there."""
    data = struct.pack("=i", 0) + socket.inet_aton(text) + bytes(4)
    return control_octets([(socket.IPPROTO_IP, IP_PKTINFO, data)])


@pytest.mark.parametrize(
    ("server", "source", "asked", "seen"),
    [
        ("127.0.0.1", "127.1.2.3", "", "127.1.2.3"),
        ("::1", "::1", "", "::1"),
        ("::", "127.1.2.3", "127.4.5.6", "::ffff:127.1.2.3"),
        ("::", "::1", "::1", "::1"),
        ("0.0.0.0", "127.1.2.3", "127.4.5.6", "127.1.2.3"),
    ],
)
def test_a_datagram_says_who_asks_and_how_and_is_answered(
    burst_at: Make, server: str, source: str, asked: str, seen: str
) -> None:
    burst = burst_at(server, dual=True)
    clients = [burst.client(source, asked) for _ in range(3)]
    for number, client in enumerate(clients):
        client.send(b"query %d" % number)
    taken = burst.take()
    assert [(slot, octets) for slot, octets, _ in taken] == [(n, b"query %d" % n) for n in range(3)]
    for (slot, octets, key), client in zip(taken, clients, strict=True):
        assert burst.batch.source(key) == seen
        address = burst.batch.address(slot)
        assert address[:2] == (seen, client.getsockname()[1])
        assert len(address) == len(burst.bound.getsockname())
        ((level, kind, data),) = control_messages(burst.batch.control(key))
        if burst.bound.family == socket.AF_INET6:
            assert (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
            destination, index = socket.inet_ntop(socket.AF_INET6, data[:16]), data[16:]
            assert destination == ("::ffff:" if "." in seen else "") + client.getpeername()[0]
        else:
            assert (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO)
            index, destination = data[:4], socket.inet_ntoa(data[8:])
            assert destination == client.getpeername()[0]
        assert index == struct.pack("=i", socket.if_nametoindex("lo"))
        burst.batch.answer(slot, octets.upper(), b"" if not asked else answer_from(burst.batch.control(key)))
    assert all(map(silent, clients))
    assert burst.batch.send() == 0
    for number, client in enumerate(clients):  # connected: from another address than the one asked nothing comes
        assert client.recv(100) == b"QUERY %d" % number


def test_the_address_of_a_link_has_its_interface(burst_at: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.recvmmsg

    def recvmmsg(fd: int, messages: int, count: int, flags: int, timeout: None) -> object:
        received = real(fd, messages, count, flags, timeout)
        name = module.Message.from_address(messages).header.name
        ctypes.memmove(name + 8, socket.inet_pton(socket.AF_INET6, "fe80::1") + struct.pack("=I", 7), 20)
        return received

    monkeypatch.setattr(module, "recvmmsg", recvmmsg)
    burst = burst_at("::1")
    client = burst.client("::1")
    client.send(b"query")
    ((slot, _, key),) = burst.take()
    assert burst.batch.source(key) == "fe80::1"
    assert burst.batch.address(slot) == ("fe80::1", client.getsockname()[1], 0, 7)


def answer_from(control: bytes) -> bytes:
    return control_octets(answering(control_messages(control)))


def test_a_wildcard_socket_answers_each_from_the_address_that_it_asked(burst_at: Make) -> None:
    burst = burst_at("0.0.0.0")
    clients = [burst.client("127.0.0.1", f"127.7.7.{number}") for number in range(1, 40)]
    for client in clients:
        client.send(client.getpeername()[0].encode())
    for slot, octets, key in burst.take():
        burst.batch.answer(slot, octets, answer_from(burst.batch.control(key)))
    assert burst.batch.send() == 0
    for client in clients:
        assert client.recv(100) == client.getpeername()[0].encode()


def test_a_control_message_is_for_one_answer_alone(burst_at: Make) -> None:
    burst = burst_at("0.0.0.0")
    client = burst.client("127.0.0.1", "127.7.7.7")
    for control in (from_address("127.7.7.7"), b""):
        client.send(b"query")
        ((slot, octets, _),) = burst.take()
        burst.batch.answer(slot, octets, control)
        assert burst.batch.send() == 0
    assert client.recv(100) == b"query"
    assert silent(client)  # the second came from 127.0.0.1, which was not asked


class TestKey:
    def test_it_is_that_of_a_client_whatever_its_port(self, burst_at: Make) -> None:
        for server, source in (("127.0.0.1", "127.0.0.1"), ("::1", "::1")):
            burst = burst_at(server)
            for client in (burst.client(source), burst.client(source), burst.client(source)):
                client.send(b"query")
            assert len({key for _, _, key in burst.take()}) == 1

    def test_other_sources_and_other_addresses_asked_have_others(self, burst_at: Make) -> None:
        for server in ("0.0.0.0", "::"):
            burst = burst_at(server, dual=True)
            for source, asked in (("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "127.0.0.1"), ("127.0.0.1", "127.0.0.2")):
                burst.client(source, asked).send(b"query")
            assert len({key for _, _, key in burst.take()}) == 3

    @pytest.mark.parametrize("server", ["127.0.0.1", "::1"])
    def test_nothing_in_it_is_left_of_an_earlier_datagram(self, burst_at: Make, server: str) -> None:
        burst = burst_at(server)
        client = burst.client(server)
        level, option = (socket.IPPROTO_IP, IP_PKTINFO) if server == "127.0.0.1" else (41, socket.IPV6_RECVPKTINFO)
        keys: list[bytes] = []
        for on in (True, False, True):
            burst.bound.setsockopt(level, option, on)
            client.send(b"query")
            ((_, _, key),) = burst.take()
            assert burst.batch.source(key) == server
            assert bool(burst.batch.control(key)) == on
            keys.append(key)
        assert keys[0] == keys[2]

    def test_other_control_messages_are_in_it_whole(self, burst_at: Make) -> None:
        burst = burst_at("127.0.0.1")
        burst.bound.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        burst.client("127.0.0.1").send(b"query")
        ((_, _, key),) = burst.take()
        assert [kind for _, kind, _ in control_messages(burst.batch.control(key))] == [IP_PKTINFO, socket.IP_TTL]

    @pytest.mark.parametrize(
        ("level", "option", "room"),
        [
            (socket.SOL_SOCKET, SO_TIMESTAMP, socket.CMSG_SPACE(16) + 24),  # comes before the packet's information
            (socket.IPPROTO_IP, IP_RECVTTL, socket.CMSG_SPACE(12)),  # comes after it
        ],
    )
    def test_control_messages_that_found_no_room_are_none(
        self, burst_at: Make, monkeypatch: pytest.MonkeyPatch, level: int, option: int, room: int
    ) -> None:
        assert room < CONTROL_ROOM
        monkeypatch.setattr(module, "CONTROL_ROOM", room)
        burst = burst_at("127.0.0.1")
        burst.bound.setsockopt(level, option, 1)
        burst.client("127.0.0.1").send(b"query")
        ((_, octets, key),) = burst.take()
        assert octets == b"query"
        assert burst.batch.source(key) == "127.0.0.1"
        assert burst.batch.control(key) == b""


def test_a_long_burst_comes_in_parts_and_in_order(burst_at: Make) -> None:
    burst = burst_at("127.0.0.1")
    client = burst.client("127.0.0.1")
    sent = [b"%d" % number for number in range(SIZE + 36)]
    for octets in sent:
        client.send(octets)
    for expected in (sent[:SIZE], sent[SIZE:]):
        taken = burst.take()
        assert [octets for _, octets, _ in taken] == expected
        for slot, octets, _ in taken:
            burst.batch.answer(slot, octets, b"")
        assert burst.batch.send() == 0
    assert not list(burst.batch.receive())
    assert [client.recv(100) for _ in sent] == sent


def test_only_what_is_answered_is_sent_and_to_whom_it_belongs(burst_at: Make) -> None:
    burst = burst_at("127.0.0.1")
    clients = [burst.client("127.0.0.1") for _ in range(9)]
    for _ in range(2):
        for client in clients:
            client.send(b"%d" % client.getsockname()[1])
        for slot, octets, _ in burst.take():
            if slot % 3 == 1:
                burst.batch.answer(slot, octets, b"")
        assert burst.batch.send() == 0
        assert burst.batch.send() == 0  # nothing is sent again
        for number, client in enumerate(clients):
            if number % 3 == 1:
                assert client.recv(100) == b"%d" % client.getsockname()[1]
            assert silent(client)


def test_answers_that_were_not_sent_do_not_go_to_the_next_burst(burst_at: Make) -> None:
    burst = burst_at("127.0.0.1")
    first, second = burst.client("127.0.0.1"), burst.client("127.0.0.1")
    first.send(b"query")
    ((slot, _, _),) = burst.take()
    burst.batch.answer(slot, b"secret", b"")
    second.send(b"query")
    burst.take()
    assert burst.batch.send() == 0
    assert silent(first)
    assert silent(second)


def test_datagrams_of_all_lengths(burst_at: Make) -> None:
    burst = burst_at("127.0.0.1")
    client = burst.client("127.0.0.1")
    lengths = [LONGEST_QUERY, 0, 1, LONGEST_QUERY + 1, 0, 9000, 7]
    for length in lengths:
        client.send(bytes([length & 0xFF]) * length)
    taken = burst.take()
    for length, (_, octets, _) in zip(lengths, taken, strict=True):
        assert octets == bytes([length & 0xFF]) * min(length, LONGEST_QUERY)
    assert len({key for _, _, key in taken}) == 1
    for slot, octets, _ in taken:
        burst.batch.answer(slot, octets[:LONGEST_ANSWER], b"")
    assert burst.batch.send() == 0
    assert [len(client.recv(LONGEST_QUERY)) for _ in lengths] == [min(length, LONGEST_ANSWER) for length in lengths]


def test_no_answer_runs_into_its_neighbour(burst_at: Make) -> None:
    burst = burst_at("127.0.0.1", size=2)
    client = burst.client("127.0.0.1")
    client.send(b"query")
    ((slot, _, _),) = burst.take()
    batch = burst.batch
    with pytest.raises(ValueError, match="structure"):
        batch.answer(slot, bytes(LONGEST_ANSWER + 1), b"")
    with pytest.raises(ValueError, match="structure"):
        batch.answer(slot, b"", bytes(CONTROL_ROOM + 1))
    for octets in (b"a" * LONGEST_ANSWER, b"b" * LONGEST_ANSWER):
        batch.answer(slot, octets, b"")
    with pytest.raises(IndexError):
        batch.answer(slot, b"c", b"")
    assert batch.send() == 0
    assert [client.recv(LONGEST_ANSWER + 1) for _ in "ab"] == [b"a" * LONGEST_ANSWER, b"b" * LONGEST_ANSWER]


class TestRefused:
    @pytest.mark.parametrize("failing", [{0}, {5}, {9}, {0, 1, 5, 6, 9}, set(range(10))])
    def test_what_the_kernel_does_not_take_is_counted_and_the_others_are_sent(
        self, burst_at: Make, failing: set[int]
    ) -> None:
        burst = burst_at("0.0.0.0")
        client = burst.client("127.0.0.1", "127.0.0.1")
        for _ in range(20):  # more than in the burst that counts, so that there is something to send by mistake
            client.send(b"")
        for slot, octets, _ in burst.take():
            burst.batch.answer(slot, octets, b"")
        assert burst.batch.send() == 0
        assert [client.recv(100) for _ in range(20)] == [b""] * 20
        for number in range(10):
            client.send(b"%d" % number)
        for slot, octets, _ in burst.take():
            burst.batch.answer(slot, octets, from_address(FOREIGN if slot in failing else "127.0.0.1"))
        assert burst.batch.send() == len(failing)
        assert [client.recv(100) for _ in range(10 - len(failing))] == [
            b"%d" % number for number in range(10) if number not in failing
        ]
        assert silent(client)

    def test_a_part_that_is_sent_is_not_sent_again(self, burst_at: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        real = module.sendmmsg
        monkeypatch.setattr(module, "sendmmsg", lambda fd, at, count, flags: real(fd, at, min(count, 3), flags))
        burst = burst_at("127.0.0.1")
        client = burst.client("127.0.0.1")
        for number in range(10):
            client.send(b"%d" % number)
        for slot, octets, _ in burst.take():
            burst.batch.answer(slot, octets, b"")
        assert burst.batch.send() == 0
        assert [client.recv(100) for _ in range(10)] == [b"%d" % number for number in range(10)]
        assert silent(client)


def test_what_became_of_an_earlier_answer_takes_nothing_from_later_queries(burst_at: Make) -> None:
    burst = burst_at("127.0.0.1")
    burst.bound.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    gone, client = burst.client("127.0.0.1"), burst.client("127.0.0.1")
    gone.send(b"query")
    ((slot, _, _),) = burst.take()
    gone.close()
    burst.batch.answer(slot, b"answer", b"")
    assert burst.batch.send() == 0  # and the kernel has an ECONNREFUSED to tell
    client.send(b"query")
    assert burst.take() == []
    ((slot, octets, _),) = burst.take()
    burst.batch.answer(slot, octets, b"")
    assert burst.batch.send() == 0
    assert client.recv(100) == b"query"


def test_a_closed_socket_gives_nothing_and_takes_nothing(burst_at: Make) -> None:
    burst = burst_at("127.0.0.1")
    client = burst.client("127.0.0.1")
    for _ in range(2):
        client.send(b"query")
    for slot, octets, _ in burst.take():
        burst.batch.answer(slot, octets, b"")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        number = burst.bound.fileno()
        burst.bound.close()
        os.dup2(other.fileno(), number)  # the closed one's descriptor is now another's
        try:
            assert burst.batch.send() == 2
            other.bind(("127.0.0.1", 0))
            client.connect(other.getsockname())
            client.send(b"for another")
            assert list(burst.batch.receive()) == []
        finally:
            os.close(number)
    assert silent(client)


def test_structures_are_as_the_kernel_has_them() -> None:
    """Linux, include/linux/socket.h: a word each but int name length and flags, which are filled up to one."""
    word = ctypes.sizeof(ctypes.c_void_p)
    assert ctypes.sizeof(module.Buffer) == 2 * word
    assert ctypes.sizeof(module.Header) == 7 * word
    assert module.RECEIVED.size == ctypes.sizeof(module.Message) == 8 * word
    assert struct.calcsize("L") == word  # as words are read and written
    message = module.Message(module.Header(1, 2, 3, 4, 5, 6, 7), 8)
    assert module.RECEIVED.unpack(bytes(message)) == (6, 7, 8)


def test_control_messages_are_written_as_they_are_read() -> None:
    for length in range(20):
        messages: Ancillary = [(0, IP_PKTINFO, bytes(range(length))), (41, 50, b"x" * 20)]
        octets = control_octets(messages)
        assert control_messages(octets) == messages
        assert len(octets) == socket.CMSG_SPACE(length) + socket.CMSG_SPACE(20)
