# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading, setting and poking the peers of real kernel devices, side by side with what `wg` says."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from tests.lab.devices import PORTS, Device, listening, run, set_and_poke, until
from wgsd_nm.core.errors import DeviceError, NoSuchDevice, NotPermitted, NotWireGuard
from wgsd_nm.core.model import ChangeResult, Endpoint, EndpointChange, Peer, PublicKey
from wgsd_nm.wireguard import WireGuard

ALICE, BOB = "wgalice", "wgbob"
MANY = "wgmany"
NOBODY = 65534
FIRST = Endpoint.parse("192.0.2.1:1024")
SECOND = Endpoint.parse("198.51.100.1:2048")


@pytest.fixture
def alice() -> Iterator[Device]:
    yield Device(ALICE)
    run("ip", "link", "delete", ALICE)


@pytest.fixture
def bob() -> Iterator[Device]:
    yield Device(BOB)
    run("ip", "link", "delete", BOB)


@pytest.fixture(scope="module")
def many() -> Device:
    """A device with 1200 peers. It stays until the machine ends: to delete it takes the kernel half a minute."""
    device = Device(MANY)
    device.load(1200)
    return device


@pytest.fixture
def pair(alice: Device, bob: Device) -> tuple[Device, Device]:
    """Alice and Bob know each other by key; nobody has an endpoint."""
    run("ip", "link", "set", "lo", "up")
    alice.set_peer(bob.key, "allowed-ips", "10.99.0.2/32")
    bob.set_peer(alice.key, "allowed-ips", "10.99.0.1/32")
    alice.up()
    bob.up()
    return alice, bob


@pytest.fixture
def wireguard() -> Iterator[WireGuard]:
    with WireGuard() as opened:
        yield opened


def shown(peer: Peer) -> list[str]:
    """The peer as `wg show DEVICE dump` prints it; allowed IPs in order of text."""
    return [
        str(peer.public_key),
        str(peer.endpoint or "(none)"),
        ",".join(sorted(map(str, peer.allowed_ips))) or "(none)",
        str(peer.latest_handshake // 1_000_000),
        str(peer.rx_bytes),
        str(peer.tx_bytes),
        str(peer.persistent_keepalive or "off"),
    ]


def dumped(line: list[str]) -> list[str]:
    key, _, endpoint, allowed_ips, *rest = line
    return [key, endpoint, ",".join(sorted(allowed_ips.split(","))), *rest]


def test_a_device_is_read_as_wg_shows_it(wireguard: WireGuard, alice: Device, bob: Device) -> None:
    preshared = run("wg", "genpsk")
    settings = ("endpoint", "192.0.2.1:51820", "persistent-keepalive", "25", "allowed-ips", "10.0.0.0/24,fd00::/64")
    alice.set_peer(bob.key, *settings, "preshared-key", "/dev/stdin", stdin=preshared)
    alice.set_peer(PublicKey(bytes(range(32))))
    run("wg", "set", alice.name, "fwmark", "0xca6c")
    device = wireguard.read(alice.name)
    assert (device.interface, device.public_key) == (alice.name, alice.key)
    assert (device.listen_port, device.fwmark) == (PORTS[ALICE], 0xCA6C)
    assert [shown(peer) for peer in device.peers] == [dumped(line) for line in alice.dump()[1:]]
    assert device.peers[0].allowed_ips == (ip_network("10.0.0.0/24"), ip_network("fd00::/64"))
    for secret in (preshared, alice.private_key):
        assert secret not in repr(device)


def test_a_device_without_a_key_is_read(wireguard: WireGuard, alice: Device) -> None:
    run("wg", "set", alice.name, "private-key", "/dev/null")
    assert wireguard.read(alice.name).public_key is None


def test_many_peers_are_read_whole(wireguard: WireGuard, many: Device) -> None:
    peers = wireguard.read(many.name).peers
    assert len({peer.public_key for peer in peers}) == len(peers) == 1200
    assert [shown(peer) for peer in peers] == [dumped(line) for line in many.dump()[1:]]


def test_a_peer_larger_than_a_message_is_read_whole(wireguard: WireGuard, alice: Device, bob: Device) -> None:
    networks = {ip_network(f"10.{number >> 8}.{number & 255}.0/24") for number in range(5000)}
    run(
        *("wg", "setconf", alice.name, "/dev/stdin"),
        stdin=f"[Peer]\nPublicKey={bob.key}\nPersistentKeepalive=7\nAllowedIPs={','.join(map(str, networks))}\n",
    )
    (peer,) = wireguard.read(alice.name).peers
    assert (len(peer.allowed_ips), set(peer.allowed_ips), peer.persistent_keepalive) == (5000, networks, 7)


def test_an_endpoint_that_is_set_sends_nothing_and_a_poke_starts_the_handshake(
    wireguard: WireGuard, pair: tuple[Device, Device]
) -> None:
    """Keepalive is off: nobody may want the peer."""
    alice, bob = pair
    results = wireguard.set_endpoints(alice.name, [EndpointChange(bob.key, None, listening(bob))])
    assert results == {bob.key: ChangeResult.CHANGED}
    before = alice.peer(bob.key)
    assert (before.endpoint, before.tx_bytes, before.latest_handshake) == (listening(bob), 0, 0)
    started = time.time()
    results = wireguard.set_endpoints(alice.name, [EndpointChange(bob.key, listening(bob), None)])
    assert results == {bob.key: ChangeResult.POKED}
    until(lambda: alice.peer(bob.key).latest_handshake, "a handshake")
    after = alice.peer(bob.key)
    assert (after.endpoint, after.persistent_keepalive) == (listening(bob), 0)
    assert started - 1 <= after.latest_handshake / 1e6 <= time.time() + 1
    assert bob.peer(alice.key).endpoint == listening(alice)


def test_a_peer_whose_initiation_is_spent_shakes_hands_with_the_kernels_next_one(
    wireguard: WireGuard, pair: tuple[Device, Device]
) -> None:
    """Keepalive without an endpoint spends the one initiation in REKEY_TIMEOUT (5 s) on nobody."""
    alice, bob = pair
    alice.set_peer(bob.key, "persistent-keepalive", "25")
    wireguard.set_endpoints(alice.name, [EndpointChange(bob.key, None, listening(bob))])
    until(lambda: alice.peer(bob.key).latest_handshake, "a handshake", within=10)
    assert alice.peer(bob.key).persistent_keepalive == 25


@pytest.mark.parametrize("keepalive", [0, 25])
def test_a_poke_with_a_session_sends_an_empty_packet(
    wireguard: WireGuard, pair: tuple[Device, Device], keepalive: int
) -> None:
    alice, bob = pair
    set_and_poke(wireguard, alice, bob)
    until(lambda: bob.peer(alice.key).rx_bytes and alice.peer(bob.key).latest_handshake, "a session")
    if keepalive:
        alice.set_peer(bob.key, "persistent-keepalive", str(keepalive))
    until(lambda: bob.peer(alice.key).rx_bytes == alice.peer(bob.key).tx_bytes, "quiet")
    before, heard = alice.peer(bob.key), bob.peer(alice.key).rx_bytes
    results = wireguard.set_endpoints(alice.name, [EndpointChange(bob.key, listening(bob), None)])
    assert results == {bob.key: ChangeResult.POKED}
    until(lambda: bob.peer(alice.key).rx_bytes > heard, "the poke")
    after = alice.peer(bob.key)
    assert after.tx_bytes == before.tx_bytes + 32
    assert after.latest_handshake == before.latest_handshake
    assert after.persistent_keepalive == keepalive
    assert bob.peer(alice.key).rx_bytes == heard + 32


def test_a_peer_that_has_the_endpoint_already_is_poked(wireguard: WireGuard, pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    alice.set_peer(bob.key, "endpoint", str(listening(bob)))
    change = EndpointChange(bob.key, listening(bob), listening(bob))
    assert wireguard.set_endpoints(alice.name, [change]) == {bob.key: ChangeResult.POKED}
    until(lambda: alice.peer(bob.key).latest_handshake, "a handshake")


def test_a_stale_change_writes_nothing(wireguard: WireGuard, pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    alice.set_peer(bob.key, "endpoint", str(FIRST))
    untouched = alice.peer(bob.key)
    for expected in (None, SECOND):
        for wanted in (listening(bob), FIRST, None):
            results = wireguard.set_endpoints(alice.name, [EndpointChange(bob.key, expected, wanted)])
            assert results == {bob.key: ChangeResult.STALE}
    assert alice.peer(bob.key) == untouched


def test_a_poke_without_an_endpoint_says_so(wireguard: WireGuard, pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    untouched = alice.peer(bob.key)
    results = wireguard.set_endpoints(alice.name, [EndpointChange(bob.key, None, None)])
    assert results == {bob.key: ChangeResult.NO_ENDPOINT}
    assert alice.peer(bob.key) == untouched


def test_an_unknown_peer_is_neither_touched_nor_made(wireguard: WireGuard, pair: tuple[Device, Device]) -> None:
    alice, _ = pair
    unknown = PublicKey(bytes(range(32)))
    before = alice.dump()
    results = wireguard.set_endpoints(alice.name, [EndpointChange(unknown, None, FIRST)])
    assert results == {unknown: ChangeResult.UNKNOWN_PEER}
    assert alice.dump() == before


def test_a_thousand_peers_are_set_and_keep_their_keepalives(wireguard: WireGuard, many: Device) -> None:
    before = wireguard.read(many.name).peers
    hosts = ["203.0.113.7", "[2001:db8::7]"]
    wanted = {
        peer.public_key: Endpoint.parse(f"{hosts[number % 2]}:{number + 1}") for number, peer in enumerate(before)
    }
    changes = [EndpointChange(peer.public_key, peer.endpoint, wanted[peer.public_key]) for peer in before]
    assert set(wireguard.set_endpoints(many.name, changes).values()) == {ChangeResult.CHANGED}
    after = wireguard.read(many.name).peers
    assert {peer.public_key: peer.endpoint for peer in after} == wanted
    assert [peer.persistent_keepalive for peer in after] == [peer.persistent_keepalive for peer in before]
    assert {peer.persistent_keepalive for peer in after} == {0, 1, 2}
    assert [dumped(line)[1] for line in many.dump()[1:]] == [str(wanted[peer.public_key]) for peer in after]


def test_ipv6_carries_a_tunnel(wireguard: WireGuard, pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    set_and_poke(wireguard, alice, bob, "::1")
    until(lambda: alice.peer(bob.key).latest_handshake, "a handshake")
    assert alice.peer(bob.key).endpoint == listening(bob, "::1")


def test_a_link_local_endpoint_keeps_its_scope(wireguard: WireGuard, pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    run("ip", "link", "add", "wgdummy", "type", "dummy")
    try:
        run("ip", "link", "set", "wgdummy", "up")
        alice.set_peer(bob.key, "endpoint", "[fe80::1%wgdummy]:51820")
        first = Endpoint.parse("[fe80::1%wgdummy]:51820")
        assert alice.peer(bob.key).endpoint == first
        second = Endpoint.parse(f"[fe80::2%{socket.if_nametoindex('wgdummy')}]:51820")
        results = wireguard.set_endpoints(alice.name, [EndpointChange(bob.key, first, second)])
        assert results == {bob.key: ChangeResult.CHANGED}
        assert alice.dump()[1][2] == "[fe80::2%wgdummy]:51820"
    finally:
        run("ip", "link", "delete", "wgdummy")


def test_a_missing_device_is_named(wireguard: WireGuard) -> None:
    with pytest.raises(NoSuchDevice, match="wgnowhere"):
        wireguard.read("wgnowhere")
    with pytest.raises(NoSuchDevice, match="wgnowhere"):
        wireguard.set_endpoints("wgnowhere", [])


def test_a_device_of_another_kind_is_refused_and_the_next_call_works(wireguard: WireGuard, alice: Device) -> None:
    with pytest.raises(NotWireGuard, match="lo"):
        wireguard.read("lo")
    assert wireguard.read(alice.name).public_key == alice.key


def _as_nobody(name: str, results: multiprocessing.SimpleQueue[str]) -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    with WireGuard() as wireguard:
        for call in (lambda: wireguard.read(name), lambda: wireguard.set_endpoints(name, [])):
            try:
                call()
                results.put("permitted")
            except DeviceError as error:
                results.put(type(error).__name__)


def test_an_ordinary_user_is_refused(alice: Device) -> None:
    results: multiprocessing.SimpleQueue[str] = multiprocessing.SimpleQueue()
    process = multiprocessing.get_context("fork").Process(target=_as_nobody, args=(alice.name, results))
    process.start()
    process.join()
    assert [results.get() for _ in range(2)] == [NotPermitted.__name__] * 2


def test_everything_works_within_a_running_event_loop(pair: tuple[Device, Device]) -> None:
    alice, bob = pair

    async def within() -> ChangeResult:
        with WireGuard() as wireguard:
            assert wireguard.read(alice.name).public_key == alice.key
            return wireguard.set_endpoints(alice.name, [EndpointChange(bob.key, None, listening(bob))])[bob.key]

    assert asyncio.run(within()) is ChangeResult.CHANGED


def test_a_peer_list_that_changes_all_the_time_is_still_read_whole(wireguard: WireGuard, alice: Device) -> None:
    keys = alice.load(200)
    flicker = PublicKey(bytes(range(32)))
    changer = subprocess.Popen(
        f"while :; do wg set {alice.name} peer {flicker}; wg set {alice.name} peer {flicker} remove; done",
        shell=True,
        start_new_session=True,
    )
    try:
        for _ in range(10):
            read = [peer.public_key for peer in wireguard.read(alice.name).peers]
            assert len(read) == len(set(read))
            assert set(keys) <= set(read) <= {*keys, flicker}
    finally:
        os.killpg(changer.pid, 9)
        changer.wait()
