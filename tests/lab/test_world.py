# SPDX-License-Identifier: GPL-2.0-or-later
"""The world itself: its routers are of the kinds they claim, its laptops are real enough to trust what they show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.world import Inbound, Laptop, Mapping, Nat, Station, World, install, wait_for

ACTION = "io.github.wgsd-nm.helper1.lab-stand-in"
SECOND_TRY = 6.5
"""The kernel repeats a handshake after five seconds; a path that has not opened by then does not open."""


@pytest.fixture(scope="module")
def stations(world: World) -> Iterator[tuple[Station, Station]]:
    """Carol behind NAT A and Dave behind NAT B: bare machines with fixed addresses."""
    carol, dave = world.station("carol", world.nat_a), world.station("dave", world.nat_b)
    for station in (carol, dave):
        station.set_address()
    yield carol, dave
    for station in (carol, dave):
        world.remove(station)


@pytest.fixture
def routers(world: World) -> Iterator[tuple[Nat, Nat]]:
    """NAT A and NAT B, for a test to change; they are of the usual kind again afterwards."""
    yield world.nat_a, world.nat_b
    world.nat_a.set_kind()
    world.nat_b.set_kind()


def start_over(world: World, station: Station, *others: str) -> None:
    """Bring up a WireGuard device that the registry has not heard of."""
    world.registry.forget(world.client(station.name))
    station.make_wireguard(world.profile(station.name, others))


@pytest.mark.parametrize(
    ("mapping_a", "mapping_b", "inbound", "opens"),
    [
        (Mapping.MASQUERADE, Mapping.MASQUERADE, Inbound.DROP, True),
        (Mapping.MASQUERADE, Mapping.MASQUERADE, Inbound.REJECT, True),
        (Mapping.FULL_CONE, Mapping.SYMMETRIC, Inbound.DROP, True),
        (Mapping.MASQUERADE, Mapping.SYMMETRIC, Inbound.DROP, False),
        (Mapping.MASQUERADE, Mapping.MASQUERADE, Inbound.ACCEPT, False),
    ],
)
def test_routers_can_be_punched_through_or_not(
    world: World,
    stations: tuple[Station, Station],
    routers: tuple[Nat, Nat],
    mapping_a: Mapping,
    mapping_b: Mapping,
    inbound: Inbound,
    opens: bool,
) -> None:
    carol, dave = stations
    for router, mapping in zip(routers, (mapping_a, mapping_b), strict=True):
        router.set_kind(mapping, inbound, inner_host=50)
    start_over(world, carol, "dave")
    start_over(world, dave, "carol")
    seen = world.wait_seen("carol", "dave")

    carol.punch(world.keys["dave"].public, seen["dave"])
    dave.punch(world.keys["carol"].public, seen["carol"])

    assert carol.ping("10.0.0.4", timeout=30.0 if opens else SECOND_TRY) == opens


def keeps_port(world: World, station: Station, router: Nat) -> bool:
    """Whether the registry sees the station's own port; not if a laptop's keepalive has taken it first."""
    router.forget()
    start_over(world, station)
    return world.wait_seen(station.name)[station.name] == f"{router.public}:51820"


def test_a_symmetric_router_gives_another_port(
    world: World, stations: tuple[Station, Station], routers: tuple[Nat, Nat]
) -> None:
    carol, dave = stations
    routers[1].set_kind(Mapping.SYMMETRIC)
    start_over(world, dave)
    seen = world.wait_seen("dave")
    wait_for(lambda: keeps_port(world, carol, routers[0]), 120, "a usual router to keep a port that nobody else uses")
    assert seen["dave"].startswith(f"{routers[1].public}:")
    assert not seen["dave"].endswith(":51820")


def test_two_network_managers_are_online_at_once(alice: Laptop, bob: Laptop) -> None:
    for laptop in (alice, bob):
        states = laptop.device_states()
        assert (states["eth0"], states["wg0"]) == ("connected", "connected")
        wait_connectivity(laptop, "full")


def test_packets_between_laptops_pass_by_the_registry(world: World, alice: Laptop, bob: Laptop) -> None:
    seen = world.call_registry(alice, bob)
    direct = world.count_direct(world.nat_a, world.nat_b)
    relayed = world.registry.relayed.packets()
    alice.punch(world.keys["bob"].public, seen["bob"])
    bob.punch(world.keys["alice"].public, seen["alice"])
    assert alice.ping("10.0.0.2", timeout=30.0)
    assert direct.packets() > 0
    assert world.registry.relayed.packets() == relayed


def test_a_laptop_moves_to_another_network(world: World, alice: Laptop) -> None:
    alice.move(world.nat_c)
    alice.wait_connected("eth0")
    alice.punch(world.keys["registry"].public, "203.0.113.254:51820")
    wait_for(lambda: world.endpoint_seen("alice").startswith(f"{world.nat_c.public}:"), 60, "alice to be seen at NAT C")


def test_a_captive_portal_is_one_for_network_manager(world: World, alice: Laptop) -> None:
    world.nat_a.set_captive(True)
    try:
        wait_connectivity(alice, "portal")
    finally:
        world.nat_a.set_captive(False)
    wait_connectivity(alice, "full")


def test_polkit_lets_the_user_and_nobody_else(alice: Laptop) -> None:
    alice.write(f"/usr/share/polkit-1/actions/{ACTION}.policy", POLICY)
    check = ["sh", "-c", f"pkcheck --action-id {ACTION} --process $$"]
    wait_for(lambda: alice.run(check, user="u", check=False).status == 0, 30, "polkit to let u", 0.2)
    refused = alice.run(check, user="nobody", check=False)
    assert refused.status == 1, refused
    assert "authorized" in refused.stderr


@pytest.mark.parametrize("bus", ["system", "user"])
def test_a_bus_starts_services_on_its_own_laptop(alice: Laptop, bus: str) -> None:
    name, log = f"io.github.wgsd_nm.lab_stand_in_{bus}", f"stand-in-{bus}"
    argv = ["sh", "-c", "id -un; readlink /proc/self/ns/net /proc/self/ns/mnt; echo $PYTHONPATH; exit 1"]
    if bus == "system":
        install.system_service(alice, name, argv, log)
    else:
        install.session_service(alice, name, argv, log)
    call = alice.busctl if bus == "system" else alice.busctl_user
    expected = alice.run(argv, user=None if bus == "system" else "u", check=False).stdout

    org = "org.freedesktop.DBus"
    call("call", org, "/org/freedesktop/DBus", org, "ReloadConfig")
    failed = call("call", org, "/org/freedesktop/DBus", org, "StartServiceByName", "su", name, "0", check=False)

    assert failed.status, "the stand-in takes no name, so the bus has to complain"
    assert alice.log(log).read_text() == expected


def wait_connectivity(laptop: Laptop, word: str) -> None:
    """Have NetworkManager check the internet until it finds this."""
    wait_for(lambda: laptop.connectivity(check=True) == word, 60, f"{laptop.name}'s connectivity to be {word}", 0.5)


POLICY = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE policyconfig PUBLIC "-//freedesktop//DTD PolicyKit Policy Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/PolicyKit/1/policyconfig.dtd">
<policyconfig>
  <action id="{ACTION}">
    <description>A stand-in for the helper's actions</description>
    <message>Never asked</message>
    <defaults><allow_any>no</allow_any><allow_inactive>no</allow_inactive><allow_active>no</allow_active></defaults>
  </action>
</policyconfig>
"""
