# SPDX-License-Identifier: GPL-2.0-or-later
"""Push by the registry's own program: what subscribers are told, how soon, and how their sessions end."""

from __future__ import annotations

import json
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import dns.message
import pytest
from dns.rcode import NOERROR

from tests.integration.push_client import PushClient
from tests.integration.registry_namespaces import Question, namespaces
from tests.integration.running_registry import DEADLINE, PORT, ZONE, Registry, until
from wgsd_nm.core import dso
from wgsd_nm.core.dnssd import instance_name, instance_wire, wire
from wgsd_nm.core.dso import Keepalive, RetryDelay
from wgsd_nm.core.model import PublicKey
from wgsd_nm.core.push import ANY, IN, Add, Change, Remove, RemoveAll, Subscribe, parse_push
from wgsd_nm.registry.content import MAX_AGE
from wgsd_nm.registry.push import RESTART

KEYS = [PublicKey(bytes((number & 0xFF, number >> 8)) * 16) for number in range(400)]
ALICE, BOB = KEYS[:2]
A, PTR, TXT, SRV = 1, 12, 16, 33
APEX = wire(ZONE)
ALICE_NAME, BOB_NAME = instance_wire(ALICE, APEX), instance_wire(BOB, APEX)
BROWSE = b"\x0a_wireguard\x04_udp" + APEX
SOON = 0.5
"""Seconds."""


@pytest.fixture
def registry(registry_directory: Path) -> Iterator[Registry]:
    made = Registry(registry_directory)
    yield made
    made.close()


def session(registry: Registry) -> PushClient:
    client = PushClient(registry.address, PORT)
    assert client.begin().rcode == dso.NOERROR
    return client


def service(name: bytes, port: int) -> bytes:
    return struct.pack("!HHH", 0, 0, port) + name


def data(changes: tuple[Change, ...], rdtype: int) -> bytes:
    """Of the one record of this type that is added."""
    (found,) = (one for one in changes if isinstance(one, Add) and one.rdtype == rdtype)
    return found.rdata


def is_quiet(client: PushClient, seconds: float) -> bool:
    return not select.select([client.socket], [], [], seconds)[0]


def was_reset(client: PushClient) -> bool:
    """When the connection has ended: whether it was aborted."""
    try:
        while client.socket.recv(1 << 16):
            pass
    except ConnectionResetError:
        return True
    return False


def statistics(registry: Registry) -> str:
    registry.signal(signal.SIGUSR1)
    return registry.line("")


def test_where_subscriptions_are_taken_is_found_by_a_private_name(registry: Registry) -> None:
    registry.start()
    reply = registry.ask("_wgsd-push._tcp.wg.example.com", "SRV")
    assert [str(record) for record in reply.answer[0]] == [f"0 0 {PORT} ns1.wg.example.com."]
    assert not registry.ask("_dns-push-tls._tcp.wg.example.com", "SRV").answer


def test_a_subscriber_is_told_what_is_there_and_what_changes_within_half_a_second(registry: Registry) -> None:
    registry.peers({ALICE: "192.0.2.1:1", BOB: ""})
    registry.start()
    with PushClient(registry.address, PORT) as client:
        assert client.begin() == dso.response(1, dso.NOERROR, Keepalive(15_000, 60_000).tlv())
        client.subscribe(ALICE_NAME)
        first = client.changes()
        assert {(one.rdtype, one.ttl) for one in first if isinstance(one, Add)} == {(SRV, 0), (A, 0), (TXT, 0)}
        assert data(first, SRV) == service(ALICE_NAME, 1)
        assert data(first, A) == bytes((192, 0, 2, 1))
        assert f"pub={ALICE}".encode() in data(first, TXT)
        took = []
        for number in range(2, 9):
            registry.peers({ALICE: f"192.0.2.{number}:{number}", BOB: ""})
            changed = time.monotonic()
            told = client.changes()
            took.append(time.monotonic() - changed)
            assert set(told) == {
                Remove(ALICE_NAME, SRV, IN, service(ALICE_NAME, number - 1)),
                Remove(ALICE_NAME, A, IN, bytes((192, 0, 2, number - 1))),
                Add(ALICE_NAME, SRV, IN, 0, service(ALICE_NAME, number)),
                Add(ALICE_NAME, A, IN, 0, bytes((192, 0, 2, number))),
            }
        assert median(took) < SOON  # a busy machine may be late at times
        registry.peers({BOB: "192.0.2.9:9"})
        assert client.changes() == (RemoveAll(ALICE_NAME, ANY, IN),)
        registry.peers({ALICE: "192.0.2.1:1"})
        assert data(client.changes(), SRV) == service(ALICE_NAME, 1)


def test_the_browse_name_and_single_types_can_be_subscribed_to(registry: Registry) -> None:
    registry.peers({ALICE: "192.0.2.1:1"})
    registry.start()
    with session(registry) as client:
        client.subscribe(BROWSE, rdtype=PTR)
        assert client.changes() == (Add(BROWSE, PTR, IN, 0, ALICE_NAME),)
        client.subscribe(BOB_NAME, rdtype=A)
        registry.peers({ALICE: "192.0.2.7:7", BOB: "192.0.2.2:2"})
        assert set(client.changes()) == {
            Add(BROWSE, PTR, IN, 0, BOB_NAME),
            Add(BOB_NAME, A, IN, 0, bytes((192, 0, 2, 2))),
        }


def test_nothing_is_pushed_after_an_unsubscription_and_nothing_is_read_for_nobody(registry: Registry) -> None:
    registry.peers({ALICE: "192.0.2.1:1", BOB: "192.0.2.1:2"})
    registry.start()
    with session(registry) as client:
        assert registry.reads == 1  # a session alone reads nothing
        alice = client.subscribe(ALICE_NAME)
        client.changes()
        bob = client.subscribe(BOB_NAME)
        client.changes()
        began, reads = time.monotonic(), registry.reads
        until(lambda: registry.reads >= reads + 4, "the reads")
        took = time.monotonic() - began
        assert registry.reads <= reads + 1 + took / MAX_AGE  # no more than four a second
        client.unsubscribe([alice])
        registry.peers({ALICE: "192.0.2.8:8", BOB: "192.0.2.9:9"})
        assert {change.name for change in client.changes()} == {BOB_NAME}
        client.unsubscribe([bob])
        reads = registry.reads
        assert is_quiet(client, 3 * MAX_AGE)
        assert registry.reads <= reads + 1
        client.subscribe(ALICE_NAME)
        assert data(client.changes(), SRV) == service(ALICE_NAME, 8)


def test_two_sessions_are_told_the_same(registry: Registry) -> None:
    registry.peers({ALICE: "192.0.2.1:1"})
    registry.start()
    with session(registry) as one, session(registry) as other:
        for client in (one, other):
            client.subscribe(ALICE_NAME)
        assert one.receive() == other.receive()
        registry.peers({ALICE: "192.0.2.2:2"})
        assert one.receive() == other.receive()
        assert data(parse_push(one.octets), SRV) == service(ALICE_NAME, 2)
    until(lambda: "push: 0 sessions with 0 subscriptions, 2 pushes, 2 sessions" in statistics(registry), "their end")


def test_one_who_does_not_read_is_cut_off_and_nobody_else_suffers(registry: Registry) -> None:
    registry.write({"peers": [{"key": str(key), "endpoint": "192.0.2.1:1", "allowed": "10.0.0.1/32"} for key in KEYS]})
    registry.start(PATIENCE=json.dumps({"registry.connection.PATIENCE": 0.5}))
    with PushClient(registry.address, PORT, receive_buffer=4096) as slow, session(registry) as client:
        client.subscribe(ALICE_NAME)
        client.changes()
        names = (instance_wire(key, APEX) for key in KEYS)
        slow.send(*(dso.request(number, Subscribe(name, ANY).tlv()) for number, name in enumerate(names, 1)))
        number = 0
        while True:
            number += 1
            registry.peers(dict.fromkeys(KEYS, "" if number % 2 else f"192.0.2.1:{number}"))
            assert {change.name for change in client.changes()} == {ALICE_NAME}
            if " 1 too slow" in statistics(registry).partition("push: ")[2].partition(";")[0]:
                break
        assert was_reset(slow)
        assert registry.port_of(ALICE) == (0 if number % 2 else number)


def test_a_session_that_says_nothing_and_wants_nothing_ends(registry: Registry) -> None:
    registry.start(PATIENCE=json.dumps({"core.dso.DEFAULT_TIMEOUT": 100, "registry.push.PATIENCE": 0.1}))
    with PushClient(registry.address, PORT) as client, PushClient(registry.address, PORT) as polite:
        assert polite.begin().rcode == dso.NOERROR  # which has it wait for 15 s
        client.subscribe(ALICE_NAME)
        assert was_reset(client)
        assert polite.begin().rcode == dso.NOERROR
        assert " 1 idle, " in statistics(registry)


def test_a_reload_keeps_sessions_and_ends_what_is_not_permitted_any_more(registry: Registry) -> None:
    registry.devices(wg0={ALICE: "192.0.2.1:1"}, wg1={ALICE: "192.0.2.1:2", BOB: "192.0.2.3:3"})
    zones = '[zone."wg.example.com"]\ndevice = "{}"\n'
    other = '[zone."other.example.com"]\ndevice = "wg1"\n'
    there = instance_wire(BOB, b"\5other\7example\3com\0")
    registry.start(*registry.configure(zones.format("wg0") + other))
    with session(registry) as client:
        client.subscribe(ALICE_NAME)
        assert data(client.changes(), SRV) == service(ALICE_NAME, 1)
        client.subscribe(BOB_NAME)
        ended = client.subscribe(there)
        assert data(client.changes(), SRV) == service(there, 3)
        registry.configure(zones.format("wg1"))
        registry.signal(signal.SIGHUP)
        assert client.hear() == dso.response(ended, dso.NOTAUTH, RetryDelay(300_000).tlv())
        told = client.changes()  # of another device, in one message
        assert data(tuple(one for one in told if one.name == ALICE_NAME), SRV) == service(ALICE_NAME, 2)
        assert data(tuple(one for one in told if one.name == BOB_NAME), SRV) == service(BOB_NAME, 3)
        registry.line("the configuration was read again: ")
        registry.devices(wg1={BOB: "192.0.2.3:3"})
        assert client.changes() == (RemoveAll(ALICE_NAME, ANY, IN),)


def test_a_peer_that_a_reload_hides_is_withdrawn_and_comes_back_with_the_next(registry: Registry) -> None:
    registry.peers({ALICE: "192.0.2.1:1", BOB: "192.0.2.2:2"})
    zone = '[zone."wg.example.com"]\ndevice = "wg0"\n'
    registry.start(*registry.configure(zone))
    with session(registry) as client:
        client.subscribe(ALICE_NAME)
        client.changes()
        registry.configure(zone + f'exclude = ["{ALICE}"]\n')
        registry.signal(signal.SIGHUP)
        assert client.changes() == (RemoveAll(ALICE_NAME, ANY, IN),)
        client.subscribe(BOB_NAME)
        assert data(client.changes(), SRV) == service(BOB_NAME, 2)
        registry.peers({ALICE: "192.0.2.7:7", BOB: "192.0.2.2:2"})  # of which nothing is told
        registry.configure(zone)
        registry.signal(signal.SIGHUP)
        assert data(client.changes(), SRV) == service(ALICE_NAME, 7)


def test_a_shutdown_tells_when_to_come_back(registry: Registry) -> None:
    registry.start()
    with session(registry) as one, session(registry) as other:
        other.subscribe(ALICE_NAME)
        registry.stop()
        delays = []
        for client in (one, other):
            assert client.hear().rcode == dso.NOERROR
            delays.append(RetryDelay.read(dso.parse(client.octets).primary).delay)
            assert client.receive() == b""
        assert delays[0] == RESTART
        assert delays[1] > delays[0]


def test_names_of_no_zone_are_refused_and_a_device_that_cannot_be_read_is_said(registry: Registry) -> None:
    registry.start()
    with session(registry) as client:
        client.send(dso.request(9, Subscribe(b"\3www\7example\3org\0", ANY).tlv()))
        assert client.hear() == dso.response(9, dso.NOTAUTH, RetryDelay(300_000).tlv())
        registry.error("NoSuchDevice")
        until(lambda: registry.ask("wg.example.com", "SOA").rcode() != NOERROR, "the failure")
        client.send(dso.request(10, Subscribe(ALICE_NAME, ANY).tlv()))
        assert client.hear() == dso.response(10, dso.SERVFAIL, RetryDelay(60_000).tlv())
        registry.peers({ALICE: "192.0.2.1:1"})
        until(lambda: registry.ask("wg.example.com", "SOA").rcode() == NOERROR, "the device")
        client.subscribe(ALICE_NAME)
        assert client.changes()


def test_whoever_may_not_ask_gets_no_session() -> None:
    with namespaces() as machines:
        for to, source, cable, rcode in (
            ("10.0.0.254", "10.0.0.2", "wg0", "NOERROR"),
            ("10.0.0.254", "10.0.0.2", "eth0", "REFUSED"),
            ("192.0.2.254", "192.0.2.3", "eth0", "REFUSED"),
            ("fd00::254", "fd00::2", "wg0", "NOERROR"),
            ("fd00::254", "fd00::2", "eth0", "REFUSED"),
        ):
            assert machines.ask(Question("", to, source, cable, tcp=True, session=True)) == rcode


def test_clients_of_wgsd_notice_nothing(registry: Registry) -> None:
    registry.peers({ALICE: "192.0.2.1:1"})
    registry.start()
    plain = dns.message.make_query(str(instance_name(ALICE, ZONE)), "SRV")
    with session(registry) as client:
        client.subscribe(ALICE_NAME)
        client.changes()
        for tcp in (False, True):
            assert registry.ask(instance_name(ALICE, ZONE), "SRV", tcp=tcp).answer[0][0].port == 1
        client.send(plain.to_wire())  # by the same connection
        assert dns.message.from_wire(client.receive()).answer[0][0].port == 1
        registry.peers({ALICE: "192.0.2.1:2"})
        client.changes()
        assert registry.port_of(ALICE) == 2
    with socket.create_connection((registry.address, PORT), DEADLINE) as old:
        octets = plain.to_wire()
        old.sendall(len(octets).to_bytes(2) + octets)
        assert old.recv(2)
