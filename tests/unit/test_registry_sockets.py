# SPDX-License-Identifier: GPL-2.0-or-later
"""Opening sockets, adopting those of others, and what the kernel says of how a packet came in."""

from __future__ import annotations

import resource
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.registry_running import free_port, own_address
from wgsd_nm.core.errors import AddressUnusable
from wgsd_nm.core.model import Endpoint
from wgsd_nm.registry.access import LOOPBACK
from wgsd_nm.registry.sockets import (
    Ancillary,
    Listener,
    adopt,
    allow,
    answering,
    arrival,
    arrival_of,
    control_messages,
    dropped,
    listen,
)

IP_PKTINFO = 8
SO_TIMESTAMP = 29
DATAGRAM, STREAM = socket.SOCK_DGRAM, socket.SOCK_STREAM
Opened = list[socket.socket]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Whatever is put in here is closed."""
    found: Opened = []
    yield found
    for one in found:
        one.close()


def close(listeners: tuple[Listener, ...]) -> None:
    for listener in listeners:
        listener.close()


def ipv4(index: int, destination: str = "10.0.0.254", local: str = "10.0.0.254") -> Ancillary:
    data = struct.pack("=i", index) + socket.inet_aton(local) + socket.inet_aton(destination)
    return [(socket.IPPROTO_IP, IP_PKTINFO, data)]


def ipv6(index: int, destination: str) -> Ancillary:
    data = socket.inet_pton(socket.AF_INET6, destination) + struct.pack("=i", index)
    return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, data)]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((1024, 4096), (3000, 4096)),
        ((1024, 2048), (2048, 2048)),
        ((1024, resource.RLIM_INFINITY), (3000, resource.RLIM_INFINITY)),
        ((3000, 4096), None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None),
    ],
)
@pytest.mark.parametrize("permitted", [True, False])
def test_as_many_descriptors_as_may_be_are_allowed(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], expected: tuple[int, int] | None, permitted: bool
) -> None:
    told: list[tuple[int, int]] = []

    def setrlimit(_: int, limits: tuple[int, int]) -> None:
        told.append(limits)
        if not permitted:
            raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    allow(3000)
    assert told == ([] if expected is None else [expected])


class TestListen:
    def test_an_address_that_is_not_there_yet_can_be_listened_at(self) -> None:
        for text in ("198.51.100.77:53530", "[2001:db8:77::1]:53530"):
            close(listen([Endpoint.parse(text)]))

    def test_pipelined_answers_do_not_wait_for_each_others_acknowledgement(self, opened: Opened) -> None:
        address = own_address()
        (listener,) = listen([address])
        opened.append(socket.create_connection((str(address.address), address.port)))
        assert listener.tcp
        opened.append(listener.tcp.accept()[0])
        assert opened[-1].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        listener.close()

    @pytest.mark.parametrize("kind", [DATAGRAM, STREAM])
    def test_a_port_that_is_taken_is_named(self, kind: socket.SocketKind) -> None:
        address, free = own_address(), own_address()
        with socket.socket(socket.AF_INET, kind) as other:
            other.bind((str(address.address), address.port))
            if kind == STREAM:
                other.listen()
            protocol = "UDP" if kind == DATAGRAM else "TCP"
            with pytest.raises(AddressUnusable, match=f"{protocol} port 53530 of {address.address} is taken"):
                listen([free, address])
        close(listen([free, address]))  # nothing was left behind


class TestAdopt:
    def bound(self, opened: Opened, kind: int, address: Endpoint, *, six_only: bool = True) -> socket.socket:
        six = address.address.version == 6
        one = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
        opened.append(one)
        if six:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, six_only)
        one.bind((str(address.address), address.port))
        if kind == STREAM:
            one.listen()
        return one

    def test_both_protocols_of_an_address_go_together_in_any_order(self, opened: Opened) -> None:
        first, second = own_address(), own_address()
        udp, tcp = self.bound(opened, DATAGRAM, first), self.bound(opened, STREAM, first)
        other = self.bound(opened, STREAM, second)
        for given_ in ((udp, tcp, other), (other, tcp, udp), (tcp, other, udp)):
            found = {listener.address: listener for listener in adopt(given_)}
            assert found == {first: Listener(first, udp, tcp), second: Listener(second, None, other)}

    def test_several_of_one_address_are_all_taken(self, opened: Opened) -> None:
        address = own_address()
        pair = []
        for _ in range(2):
            one = socket.socket(socket.AF_INET, DATAGRAM)
            opened.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((str(address.address), address.port))
            pair.append(one)
        assert {listener.udp for listener in adopt(pair)} == set(pair)

    def test_they_are_prepared(self, opened: Opened) -> None:
        four = own_address()
        six = Endpoint.parse(f"[::]:{free_port(socket.AF_INET6)}")
        made = [self.bound(opened, DATAGRAM, four), self.bound(opened, DATAGRAM, six, six_only=False)]
        made += [self.bound(opened, STREAM, four), self.bound(opened, STREAM, six, six_only=False)]
        adopt(made)
        for one in made:
            assert not one.getblocking()
            option = (socket.IPPROTO_IP, IP_PKTINFO)
            if one.family == socket.AF_INET6:
                option = (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO)
            assert one.getsockopt(*option) == 1

    def test_other_sockets_are_refused(self, opened: Opened) -> None:
        opened.append(socket.socket(socket.AF_UNIX, DATAGRAM))
        with pytest.raises(AddressUnusable, match="is no UDP or TCP socket: expected only ListenDatagram="):
            adopt(opened)

    def test_an_accepted_connection_is_refused(self, opened: Opened) -> None:
        listening = self.bound(opened, STREAM, own_address())
        opened.append(socket.create_connection(listening.getsockname()))
        opened.append(listening.accept()[0])
        with pytest.raises(AddressUnusable, match="does not listen: expected Accept=no"):
            adopt([opened[-1]])


class TestArrival:
    @pytest.mark.parametrize(
        ("ancillary", "source", "index"),
        [
            (ipv4(5), "10.0.0.2", 5),
            (ipv4(5), "10.0.0.254", LOOPBACK),
            (ipv6(6, "fd00::254"), "fd00::2", 6),
            (ipv6(6, "fd00::254"), "fd00::254", LOOPBACK),
            (ipv6(7, "::ffff:10.0.0.254"), "::ffff:10.0.0.2", 7),
            (ipv6(7, "::ffff:10.0.0.254"), "::ffff:10.0.0.254", LOOPBACK),
            ([(socket.SOL_SOCKET, SO_TIMESTAMP, bytes(16)), *ipv4(5)], "10.0.0.2", 5),
            ([(socket.IPPROTO_IP, IP_PKTINFO, b"\5")], "10.0.0.2", 0),
            ([], "10.0.0.2", 0),
        ],
    )
    def test_of_a_datagram(self, ancillary: Ancillary, source: str, index: int) -> None:
        assert arrival_of(ancillary, source) == index

    @pytest.mark.parametrize(
        ("family", "bind", "ask"),
        [
            (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
            (socket.AF_INET, "0.0.0.0", "127.0.0.2"),
            (socket.AF_INET6, "::1", "::1"),
            (socket.AF_INET6, "::", "127.0.0.1"),
        ],
    )
    def test_of_a_connection(self, family: int, bind: str, ask: str, opened: Opened) -> None:
        tcp = socket.socket(family, STREAM)
        opened.append(tcp)
        if bind == "::":
            tcp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        tcp.bind((bind, 0))
        tcp.listen()
        adopt([tcp])
        tcp.setblocking(True)
        opened.append(socket.create_connection((ask, tcp.getsockname()[1])))
        accepted, _ = tcp.accept()
        opened.append(accepted)
        assert arrival(accepted) == LOOPBACK

    def test_of_what_is_no_connection_is_unknown(self, opened: Opened) -> None:
        opened.append(socket.socket(socket.AF_INET, STREAM))
        assert arrival(opened[0]) == 0

    @given(st.binary(max_size=128))
    def test_no_octets_for_control_messages_are_too_strange(self, octets: bytes) -> None:
        for _, _, data in control_messages(octets):
            assert data in octets


class TestAnswering:
    def test_an_answer_leaves_from_where_the_query_went_to(self) -> None:
        assert answering(ipv4(5)) == ipv4(0)
        assert answering(ipv4(5, "255.255.255.255", "10.0.0.254")) == ipv4(0, "255.255.255.255", "10.0.0.254")
        assert answering(ipv6(6, "fd00::254")) == ipv6(0, "fd00::254")
        assert answering(ipv6(6, "fe80::254")) == ipv6(6, "fe80::254")  # which means nothing without its interface

    def test_other_control_messages_are_not_sent_back(self) -> None:
        assert answering([(socket.SOL_SOCKET, SO_TIMESTAMP, bytes(16))]) == []


def test_dropped_datagrams_are_counted(opened: Opened) -> None:
    udp = socket.socket(socket.AF_INET, DATAGRAM)
    opened.append(udp)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    udp.bind(("127.0.0.1", 0))
    assert dropped(udp) == 0
    with socket.socket(socket.AF_INET, DATAGRAM) as client:
        for _ in range(50):
            client.sendto(bytes(512), udp.getsockname())
    received = 0
    udp.setblocking(False)
    try:
        while udp.recv(1024):
            received += 1
    except BlockingIOError:
        pass
    assert dropped(udp) == 50 - received > 0
