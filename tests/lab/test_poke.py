# SPDX-License-Identifier: GPL-2.0-or-later
"""Poking real kernel devices: no reader ever sees another keepalive, and no death of a process leaves one behind."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from multiprocessing.process import BaseProcess
from typing import Any

import pytest

from tests.lab.devices import Device, listening, run, set_and_poke, until
from wgsd_nm.core.model import ChangeResult, Endpoint, EndpointChange, PublicKey
from wgsd_nm.wireguard import WireGuard

ALICE, BOB, MANY = "wgalice", "wgbob", "wgpoked"
KEEPALIVES = (0, 1, 25, 65535)
PEERS = 600
"""With endpoints of IPv6 they take two messages to the kernel."""
DEATHS = 20
SEED = 20261122


def before(number: int) -> Endpoint:
    return Endpoint.parse(f"[2001:db8::1]:{1024 + number}")


def after(number: int) -> Endpoint:
    return Endpoint.parse(f"[2001:db8::2]:{1024 + number}")


@pytest.fixture(scope="module")
def many() -> dict[PublicKey, int]:
    """The numbers of the peers of a device that has many. It stays: to delete it takes the kernel long.

    It is down, so that it does not go on making handshakes all the time.
    """
    device = Device(MANY)
    keys = [PublicKey(os.urandom(32)) for _ in range(PEERS)]
    text = "".join(
        f"[Peer]\nPublicKey={key}\nEndpoint={before(number)}\nPersistentKeepalive={KEEPALIVES[number % 4]}\n"
        for number, key in enumerate(keys)
    )
    run("wg", "setconf", device.name, "/dev/stdin", stdin=text)
    return {key: number for number, key in enumerate(keys)}


@pytest.fixture
def pair() -> Iterator[tuple[Device, Device]]:
    """Alice and Bob know each other by key; nobody has an endpoint."""
    run("ip", "link", "set", "lo", "up")
    alice, bob = Device(ALICE), Device(BOB)
    alice.set_peer(bob.key, "allowed-ips", "10.99.0.2/32")
    bob.set_peer(alice.key, "allowed-ips", "10.99.0.1/32")
    for device in (alice, bob):
        device.up()
    yield alice, bob
    for device in (alice, bob):
        run("ip", "link", "delete", device.name)


@contextmanager
def forked(work: Callable[[], None]) -> Iterator[BaseProcess]:
    """A child of this process that does that and ends."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def swing(wireguard: WireGuard, peers: dict[PublicKey, int]) -> None:
    """Set the endpoint of each peer to the other of its two, and poke each."""
    have = {peer.public_key: peer.endpoint for peer in wireguard.read(MANY).peers}
    changes = [
        EndpointChange(key, have[key], before(number) if have[key] == after(number) else after(number))
        for key, number in peers.items()
    ]
    wireguard.set_endpoints(MANY, changes)
    wireguard.set_endpoints(MANY, [EndpointChange(change.public_key, change.wanted, None) for change in changes])


def swing_on(peers: dict[PublicKey, int], times: int) -> None:
    with WireGuard() as wireguard:
        for _ in range(times):
            swing(wireguard, peers)


def swing_and_die(peers: dict[PublicKey, int], requests: int) -> None:
    """Be killed when the kernel has answered so many requests."""
    with WireGuard() as wireguard:
        netlink = wireguard._netlink  # noqa: SLF001  # the moments at which the kernel has done something
        request, left = netlink.request, count(requests - 1, -1)

        def last(*arguments: Any) -> Any:
            replies = request(*arguments)
            if not next(left):
                os.kill(os.getpid(), signal.SIGKILL)
            return replies

        netlink.request = last  # type: ignore[method-assign,assignment]
        swing(wireguard, peers)


def second_ones(wireguard: WireGuard, peers: dict[PublicKey, int]) -> int:
    """How many peers have the second of their endpoints; all others have the first, and each its keepalive."""
    read = wireguard.read(MANY).peers
    assert {peer.public_key for peer in read} == peers.keys()
    assert wrong_keepalives(MANY, peers) == {}
    second = sum(peer.endpoint == after(peers[peer.public_key]) for peer in read)
    assert second + sum(peer.endpoint == before(peers[peer.public_key]) for peer in read) == PEERS
    return second


def wrong_keepalives(interface: str, peers: dict[PublicKey, int]) -> dict[str, str]:
    """What wg(8) shows of the peers whose keepalive is not the one that they were given."""
    shown = (line.split() for line in run("wg", "show", interface, "persistent-keepalive").splitlines())
    given = {str(key): str(KEEPALIVES[number % 4] or "off") for key, number in peers.items()}
    return {key: value for key, value in shown if given[key] != value}


def test_no_reader_sees_another_keepalive_during_pokes(many: dict[PublicKey, int]) -> None:
    with WireGuard() as wireguard, forked(lambda: swing_on(many, 15)) as poking:
        looks, moved = 0, 0
        last: object = None
        while poking.is_alive():
            peers = wireguard.read(MANY).peers
            assert [peer.persistent_keepalive for peer in peers] == [KEEPALIVES[many[p.public_key] % 4] for p in peers]
            assert wrong_keepalives(MANY, many) == {}
            looks, moved, last = looks + 1, moved + ([p.endpoint for p in peers] != last), [p.endpoint for p in peers]
        assert poking.exitcode == 0
    assert looks > 10
    assert moved > 5, "the endpoints did not move between two looks, so nothing was seen"


def test_no_death_of_a_process_leaves_another_keepalive_behind(many: dict[PublicKey, int]) -> None:
    """Killed at any moment: each peer has its keepalive, and the one endpoint or the other."""
    chance = random.Random(SEED)
    with WireGuard() as wireguard:
        for _ in range(DEATHS):
            with forked(lambda: swing_on(many, 1000)) as poking:
                time.sleep(chance.uniform(0.05, 0.8))  # the moment is the point
                assert poking.is_alive()
                os.kill(poking.pid or 0, signal.SIGKILL)
                poking.join()
            second_ones(wireguard, many)


def test_death_between_two_messages_leaves_whole_peers_behind(many: dict[PublicKey, int]) -> None:
    """The requests are: two readings, two messages that set, one more reading, and messages that poke."""
    written = []
    with WireGuard() as wireguard:
        for requests in (2, 3, 4, 6):
            reset(wireguard, many)
            with forked(partial(swing_and_die, many, requests)) as poking:
                poking.join()
            assert poking.exitcode == -signal.SIGKILL
            written.append(second_ones(wireguard, many))
    assert written[0] == 0
    assert 0 < written[1] < PEERS, "nobody died between two messages"
    assert written[2:] == [PEERS, PEERS]


def reset(wireguard: WireGuard, peers: dict[PublicKey, int]) -> None:
    """Give all peers the first of their endpoints."""
    have = {peer.public_key: peer.endpoint for peer in wireguard.read(MANY).peers}
    wireguard.set_endpoints(MANY, [EndpointChange(key, have[key], before(number)) for key, number in peers.items()])


@pytest.mark.parametrize("keepalive", [0, 25])
def test_an_order_that_loses_against_roaming_writes_and_sends_nothing(
    pair: tuple[Device, Device], keepalive: int
) -> None:
    """Bob's packets come from another port before the order that names the former one is there."""
    alice, bob = pair
    with WireGuard() as wireguard:
        known = listening(bob)
        set_and_poke(wireguard, alice, bob)
        until(lambda: alice.peer(bob.key).latest_handshake and bob.peer(alice.key).rx_bytes, "a session")
        if keepalive:
            alice.set_peer(bob.key, "persistent-keepalive", str(keepalive))
        run("wg", "set", BOB, "listen-port", "5009")
        wireguard.set_endpoints(BOB, [EndpointChange(alice.key, listening(alice), None)])
        until(lambda: alice.peer(bob.key).endpoint != known, "bob to roam")
        roamed = alice.peer(bob.key)
        assert str(roamed.endpoint) == "127.0.0.1:5009"
        for wanted in (Endpoint.parse("192.0.2.1:1"), known, None):
            results = wireguard.set_endpoints(ALICE, [EndpointChange(bob.key, known, wanted)])
            assert results == {bob.key: ChangeResult.STALE}
        assert alice.peer(bob.key) == roamed
        assert roamed.persistent_keepalive == keepalive


def test_an_order_for_several_peers_spares_the_one_that_roamed(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    other = PublicKey(bytes(range(32)))
    alice.set_peer(other, "endpoint", "192.0.2.9:9")
    with WireGuard() as wireguard:
        set_and_poke(wireguard, alice, bob)
        until(lambda: alice.peer(bob.key).latest_handshake and bob.peer(alice.key).rx_bytes, "a session")
        run("wg", "set", BOB, "listen-port", "5009")
        wireguard.set_endpoints(BOB, [EndpointChange(alice.key, listening(alice), None)])
        until(lambda: alice.peer(bob.key).endpoint != listening(bob), "bob to roam")
        roamed = alice.peer(bob.key)
        changes = [
            EndpointChange(bob.key, listening(bob), Endpoint.parse("192.0.2.1:1")),
            EndpointChange(other, Endpoint.parse("192.0.2.9:9"), Endpoint.parse("192.0.2.8:8")),
        ]
        results = wireguard.set_endpoints(ALICE, changes)
    assert results == {bob.key: ChangeResult.STALE, other: ChangeResult.CHANGED}
    assert alice.peer(bob.key) == roamed
    assert str(alice.peer(other).endpoint) == "192.0.2.8:8"
