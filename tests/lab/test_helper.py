# SPDX-License-Identifier: GPL-2.0-or-later
"""The real helper, started by a real system bus, on the real kernel, with a real NetworkManager and a real polkit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lab.world import Laptop, World, wait_for
from lab.world.host import Result

HELPER = "io.github.wgsd_nm.Helper1"
PATH = "/io/github/wgsd_nm/Helper1"
TOML = "/etc/wgsd-nm/helper.toml"


def call(laptop: Laptop, user: str | None, member: str, *arguments: str) -> Result:
    """A call of the helper, as busctl makes it."""
    return laptop.busctl(
        "--json=short", "--timeout=60", "call", HELPER, PATH, HELPER, member, *arguments, user=user, check=False
    )


def get_peers(laptop: Laptop, interface: str = "wg0", user: str | None = "u") -> dict[str, dict[str, Any]]:
    """The peers by public key."""
    result = call(laptop, user, "GetPeers", "s", interface)
    assert result.status == 0, result
    (peers,) = json.loads(result.stdout)["data"]
    return {
        peer["PublicKey"]["data"]: {name: value["data"] for name, value in peer.items() if name != "PublicKey"}
        for peer in peers
    }


def set_endpoints(laptop: Laptop, *changes: tuple[str, str, str], interface: str = "wg0") -> dict[str, str]:
    """What became of the changes, by public key."""
    texts = [text for change in changes for text in change]
    result = call(laptop, "u", "SetEndpoints", "sa(sss)", interface, str(len(changes)), *texts)
    assert result.status == 0, result
    (results,) = json.loads(result.stdout)["data"]
    return dict(results)


def refusal(laptop: Laptop, user: str, member: str, *arguments: str) -> str:
    """What busctl says of a call that is refused, and the last line of the helper's log.

    busctl has words of its own for AccessDenied.
    """
    result = call(laptop, user, member, *arguments)
    assert result.status, result
    return result.stderr + laptop.log("helper").read_text().splitlines()[-1]


@pytest.fixture(scope="module", autouse=True)
def _started(laptops: tuple[Laptop, Laptop]) -> None:
    """The first call starts polkit too, which takes long here."""
    alice, _ = laptops
    wait_for(lambda: not call(alice, "u", "GetPeers", "s", "wg0").status, 60, "the helper to serve u", 1.0)


@pytest.fixture
def foreign(alice: Laptop) -> Iterator[str]:
    """A WireGuard device that NetworkManager did not make, but sees."""
    alice.ip("link add wg1 type wireguard", "address add 10.9.9.1/24 dev wg1", "link set wg1 up")
    alice.wait_state("wg1", "connected (externally)")
    yield "wg1"
    alice.path(TOML).unlink(missing_ok=True)
    alice.ip("link del wg1")


def test_the_user_reads_what_the_kernel_has(world: World, alice: Laptop) -> None:
    registry = world.keys["registry"].public
    wait_for(lambda: alice.peers()[registry].latest_handshake, 20, "a handshake with the registry")
    before = alice.peers()
    read = get_peers(alice)
    assert read.keys() == before.keys() == {registry, world.keys["bob"].public}
    assert read[registry]["Endpoint"] == before[registry].endpoint == "203.0.113.254:51820"
    assert read[registry]["AllowedIPs"] == ["10.0.0.254/32"]
    assert read[registry]["PersistentKeepalive"] == 25
    assert read[registry]["LatestHandshake"] // 1_000_000 >= before[registry].latest_handshake
    assert read[registry]["RxBytes"] > 0
    assert read[registry]["TxBytes"] > 0
    assert read[world.keys["bob"].public]["PersistentKeepalive"] == 25


def test_the_user_sets_an_endpoint_if_it_is_the_expected_one(world: World, alice: Laptop) -> None:
    bob = world.keys["bob"].public
    before = alice.peers()[bob].endpoint
    assert set_endpoints(alice, (bob, before, "192.0.2.77:7")) == {bob: "changed"}
    assert alice.peers()[bob].endpoint == "192.0.2.77:7"
    assert set_endpoints(alice, (bob, before, "192.0.2.88:8")) == {bob: "stale"}
    assert set_endpoints(alice, (bob, "192.0.2.77:7", "")) == {bob: "poked"}
    assert set_endpoints(alice, (world.keys["dave"].public, "", "192.0.2.88:8")) == {
        world.keys["dave"].public: "unknown-peer"
    }
    assert alice.peers()[bob].endpoint == "192.0.2.77:7"
    assert get_peers(alice)[bob]["PersistentKeepalive"] == 25
    assert alice.peers().keys() == {world.keys["registry"].public, bob}


def test_a_wrong_entry_writes_nothing(world: World, alice: Laptop) -> None:
    bob, registry = world.keys["bob"].public, world.keys["registry"].public
    before = alice.peers()[bob].endpoint
    changes = (bob, before, "192.0.2.99:9", registry, "", "127.0.0.1:9")
    text = refusal(alice, "u", "SetEndpoints", "sa(sss)", "wg0", "2", *changes)
    assert "change 2 of 2: 127.0.0.1:9 cannot be a peer's endpoint" in text
    assert alice.peers()[bob].endpoint == before


def test_another_user_is_refused_and_root_is_not(alice: Laptop) -> None:
    text = refusal(alice, "nobody", "GetPeers", "s", "wg0")
    assert "Access denied" in text
    assert "polkit does not permit io.github.wgsd-nm.helper1.read-peers" in text
    text = refusal(alice, "nobody", "SetEndpoints", "sa(sss)", "wg0", "0")
    assert "Access denied" in text
    assert "polkit does not permit io.github.wgsd-nm.helper1.set-endpoints" in text
    assert get_peers(alice, user=None)


@pytest.mark.parametrize(
    ("interface", "text"),
    [
        ("eth0", "eth0 is not a WireGuard interface"),
        ("wg7", "knows no network interface wg7"),
        ("../wg0", "not a network interface name"),
    ],
)
def test_other_interfaces_are_refused(alice: Laptop, interface: str, text: str) -> None:
    assert text in refusal(alice, "u", "GetPeers", "s", interface)


def test_a_device_of_somebody_else_needs_the_word_of_root(alice: Laptop, foreign: str) -> None:
    assert "wg1 was not made by NetworkManager" in refusal(alice, "u", "GetPeers", "s", foreign)
    alice.write(TOML, f'interfaces = ["{foreign}"]\n')
    assert get_peers(alice, foreign) == {}
    alice.path(TOML).chmod(0o664)
    assert "wg1 was not made by NetworkManager" in refusal(alice, "u", "GetPeers", "s", foreign)
    assert "helper.toml is ignored: expected that only root can write it" in alice.log("helper").read_text()


def test_a_connection_that_is_down_is_out_of_bounds(alice: Laptop) -> None:
    alice.nmcli("connection", "down", "wg0")
    try:
        assert refusal(alice, "u", "GetPeers", "s", "wg0")
    finally:
        alice.nmcli("connection", "up", "wg0")
        alice.wait_connected("wg0")
    assert get_peers(alice)


def test_no_key_is_in_the_log(world: World, alice: Laptop) -> None:
    bob = world.keys["bob"].public
    set_endpoints(alice, (bob, alice.peers()[bob].endpoint, "192.0.2.66:6"))
    log = alice.log("helper").read_text()
    assert f"wg0 peer {bob[:8]}: " in log
    for keys in world.keys.values():
        assert keys.private not in log
        assert keys.public not in log
