# SPDX-License-Identifier: GPL-2.0-or-later
"""Others lay hands on the tunnel: NetworkManager, a person with wg(8), somebody who kills the agent or the helper.

In each scenario alice and bob hear each other at its beginning and at its end; what is in between is seen by wg(8),
ping(8) and nftables.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from lab.world import Laptop, Mapping, wait_for
from lab.world.agent import (
    AGENT,
    AGENT_PATH,
    agent_peer,
    agent_property,
    endpoint,
    route_made_at,
    start_agent,
    watch_routes,
)
from lab.world.laptop import PROFILES
from lab.world.pinging import Pinging
from lab.world.world import ADDRESSES
from tests.lab.agents import AGENT as AGENT_PROGRAM
from tests.lab.agents import (
    NETWORK_MANAGER,
    Meeting,
    forget_other,
    hear,
    keepalives,
    restart_agent,
    wait_direct,
)
from tests.lab.sampling import Sampling

DEAD = "192.0.2.99:9"
"""Nobody is there."""
AT_ONCE = 30.0
"""Seconds, in this slow machine, for what follows an event without waiting for a timer."""
BY_CHECK = 60.0
"""Seconds for what makes no signal and is found by the check, every 30 s and up to a quarter, and then repaired."""
BY_SUSPICION = 25.0
"""Seconds in which somebody who sends into silence finds the other again."""
HELPER = "io.github.wgsd_nm.Helper1"
REFRESH = ("busctl", "--user", "--timeout=60", "call", AGENT, AGENT_PATH, AGENT, "Refresh")
SEED = 20261122
DEATHS = 6


def key_of(meeting: Meeting, name: str) -> str:
    return meeting.world.keys[name].public


def home_of(meeting: Meeting, laptop: Laptop) -> str:
    """The endpoint at which the registry sees it."""
    return meeting.world.endpoint_seen(laptop.name)


def writes(laptop: Laptop) -> int:
    """How many endpoints the helper says that it has set."""
    return laptop.log("helper").read_text().count(" -> ")


def refresh(laptop: Laptop) -> None:
    laptop.run(REFRESH, user="u", check=False)


def restored(meeting: Meeting, laptop: Laptop, other: Laptop) -> Callable[[], bool]:
    """Whether a laptop's kernel has the other one where the registry sees it."""
    return lambda: endpoint(meeting.world, laptop, other.name) == home_of(meeting, other)


def pass_time(seconds: float) -> None:
    """For what must not happen within a time: nothing tells when to look."""
    time.sleep(seconds)


def misdirect(meeting: Meeting) -> None:
    """Have alice's kernel send to nobody what is for bob. Her NAT forgets him: what he sends repairs nothing."""
    setting = ("set", "wg0", "peer", key_of(meeting, "bob"), "endpoint", DEAD)

    def done() -> bool:
        meeting.alice.wg(*setting)
        meeting.world.nat_a.forget()
        return endpoint(meeting.world, meeting.alice, "bob") == DEAD

    wait_for(done, 10, "alice's kernel to have another endpoint for bob")


@contextmanager
def silent(laptop: Laptop, other: str) -> Iterator[None]:
    """The laptop sends nothing to the other by itself: so it cannot be its packets that bring a path back."""
    peer = next(peer for key, peer in laptop.peers().items() if ADDRESSES[other] + "/32" in peer.allowed_ips)
    setting = ("set", "wg0", "peer", peer.public_key, "persistent-keepalive")
    laptop.wg(*setting, "0")
    try:
        yield
    finally:
        laptop.wg(*setting, str(peer.persistent_keepalive))


def test_networkmanager_is_restarted(meeting: Meeting) -> None:
    """While it is away an endpoint gets lost; that is repaired as soon as it is back."""
    alice, bob = meeting.laptops
    kept = keepalives(alice)
    alice.stop(NETWORK_MANAGER)
    wait_for(lambda: agent_property(alice, "State") == "unavailable", 30, "the agent to miss NetworkManager", 0.5)
    with silent(bob, "alice"), Pinging(alice, ADDRESSES["bob"]):
        misdirect(meeting)
        alice.start_network_manager()
        alice.wait_connected()
        refresh(alice)
        wait_for(restored(meeting, alice, bob), BY_CHECK, "the agent to set bob's endpoint again")
    assert keepalives(alice) == kept
    wait_direct(meeting)


def test_a_working_path_survives_a_restart_of_networkmanager(meeting: Meeting) -> None:
    alice, _ = meeting.laptops
    bobs, written = key_of(meeting, "bob"), writes(alice)
    before = endpoint(meeting.world, alice, "bob")
    with Sampling(alice, "endpoints") as sampling, Pinging(alice, ADDRESSES["bob"]) as pinging:
        alice.stop(NETWORK_MANAGER)
        alice.start_network_manager()
        alice.wait_connected()
        back = time.time()
        wait_for(lambda: agent_property(alice, "State") == "ok", 60, "alice's agent to say that all is well", 0.5)
        assert wait_for(lambda: pinging.first_answer_after(back), 10, "bob to answer")
        assert [seen for _, seen in sampling.values(bobs)] == [before]
    assert writes(alice) == written


def test_the_connection_is_activated_again(meeting: Meeting) -> None:
    """All peers are made anew; only the registry has an endpoint in the profile."""
    alice, bob = meeting.laptops
    kept = keepalives(alice)
    with silent(bob, "alice"), Sampling(alice, "endpoints", 0.1) as sampling:
        alice.nmcli("connection", "up", "wg0")
        meeting.world.nat_a.forget()
        done = time.time()
        wait_for(restored(meeting, alice, bob), AT_ONCE, "the agent to set bob's endpoint again")
        seen = sampling.values(key_of(meeting, "bob"))
    assert "(none)" in [value for _, value in seen], "the endpoint was not lost, so nothing was repaired"
    assert seen[-1][0] - done < AT_ONCE
    assert keepalives(alice) == kept
    wait_direct(meeting)


def test_the_device_is_reapplied(meeting: Meeting) -> None:
    """NetworkManager writes the profile's peers over the kernel's; endpoints that it does not know stay."""
    alice, _ = meeting.laptops
    before, written, kept = endpoint(meeting.world, alice, "bob"), writes(alice), keepalives(alice)
    with Sampling(alice, "endpoints") as sampling:
        alice.nmcli("device", "reapply", "wg0")
        refresh(alice)
        assert hear(*meeting.laptops)
        assert [seen for _, seen in sampling.values(key_of(meeting, "bob"))] == [before]
    assert (writes(alice), keepalives(alice)) == (written, kept)


def test_a_peer_is_added_to_the_profile_and_removed_again(meeting: Meeting) -> None:
    """The first is a reapply that makes a peer, the second one that makes all peers anew. No signal tells of either."""
    world, (alice, bob) = meeting.world, meeting.laptops
    carol = world.station("carol", world.nat_c)
    meeting.afterwards.callback(world.remove, carol)
    meeting.afterwards.callback(apply_profile, meeting, alice, ("bob",))
    carol.set_address()
    carol.make_wireguard(world.profile("carol", ["alice"]))
    at = world.wait_seen("carol")["carol"]
    kept = keepalives(alice)

    apply_profile(meeting, alice, ("bob", "carol"))
    wait_for(lambda: endpoint(world, alice, "carol") == at, BY_CHECK, "the agent to find carol")
    assert keepalives(alice).items() >= kept.items()
    assert hear(alice, bob)

    with silent(bob, "alice"), Sampling(alice, "endpoints", 0.1) as sampling:
        apply_profile(meeting, alice, ("bob",))
        wait_for(restored(meeting, alice, bob), BY_CHECK, "the agent to set bob's endpoint again")
        seen = [value for _, value in sampling.values(key_of(meeting, "bob"))]
    assert "(none)" in seen, "the endpoint was not lost, so nothing was repaired"
    assert keepalives(alice) == kept
    wait_direct(meeting)


def apply_profile(meeting: Meeting, laptop: Laptop, others: tuple[str, ...]) -> None:
    """Write the laptop's profile with these peers, and have NetworkManager apply it to the device as it is."""
    profile = meeting.world.profile(laptop.name, others)
    laptop.write(f"{PROFILES}/wg0.nmconnection", profile.keyfile(), mode=0o600)
    laptop.nmcli("connection", "reload")
    laptop.nmcli("device", "reapply", "wg0")


def test_an_endpoint_comes_into_the_profile_and_is_left_alone(meeting: Meeting) -> None:
    """What a person writes into the profile is meant; the agent says so."""
    world, (alice, bob) = meeting.world, meeting.laptops
    profile = world.profile("alice", [])
    meeting.afterwards.callback(wait_direct, meeting)
    meeting.afterwards.callback(alice.nmcli, "connection", "up", "wg0")
    meeting.afterwards.callback(apply_profile, meeting, alice, ("bob",))
    pinned = replace(world.client("bob", 25), endpoint=DEAD)
    text = replace(profile, peers=(*profile.peers, pinned)).keyfile()
    with silent(bob, "alice"):
        alice.write(f"{PROFILES}/wg0.nmconnection", text, mode=0o600)
        alice.nmcli("connection", "reload")
        alice.nmcli("connection", "up", "wg0")
        told = lambda: agent_peer(world, alice, "bob").get("Reason") == "profile-endpoint"  # noqa: E731
        wait_for(told, AT_ONCE, "the agent to say that the profile has an endpoint", 0.5)
        refresh(alice)
        assert endpoint(world, alice, "bob") == DEAD


def test_the_agent_is_killed_and_started_again(meeting: Meeting) -> None:
    alice, bob = meeting.laptops
    before, written, kept = endpoint(meeting.world, alice, "bob"), writes(alice), keepalives(alice)
    with Sampling(alice, "endpoints") as sampling:
        alice.stop(AGENT_PROGRAM, signal.SIGKILL)
        assert hear(alice, bob)
        restart_agent(meeting, alice)
        wait_for(lambda: agent_property(alice, "State") == "ok", 60, "alice's agent to say that all is well", 0.5)
        assert hear(alice, bob)
        assert [seen for _, seen in sampling.values(key_of(meeting, "bob"))] == [before]
    assert (writes(alice), keepalives(alice)) == (written, kept)


def test_an_agent_that_starts_repairs_what_it_finds(meeting: Meeting) -> None:
    alice, bob = meeting.laptops
    alice.stop(AGENT_PROGRAM, signal.SIGKILL)
    with silent(bob, "alice"), Pinging(alice, ADDRESSES["bob"]):
        misdirect(meeting)
        restart_agent(meeting, alice)
        wait_for(restored(meeting, alice, bob), BY_CHECK, "the agent to set bob's endpoint again")
    wait_direct(meeting)


def pid_of_helper(laptop: Laptop) -> int | None:
    """The helper's process, None while there is none."""
    bus = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
    found = laptop.busctl("call", *bus, "GetConnectionUnixProcessID", "s", HELPER, check=False)
    return int(found.stdout.split()[1]) if found.status == 0 else None


def test_the_helper_is_killed_at_any_moment(meeting: Meeting) -> None:
    """Each time in the midst of a pass that has something to write: a missing endpoint, which is no contest."""
    alice, bob = meeting.laptops
    chance, kept = random.Random(SEED), keepalives(alice)
    with (
        silent(bob, "alice"),
        Pinging(alice, ADDRESSES["bob"]),
        Sampling(alice, "persistent-keepalive", 0.1) as sampling,
    ):
        for _ in range(DEATHS):
            meeting.world.nat_a.forget()
            forget_other(meeting, alice)
            pid = wait_for(lambda: pid_of_helper(alice), 30, "the helper to be there") or 0
            calling = alice.spawn([*REFRESH], "refresh", user="u")
            kill_after(chance.uniform(0.0, 0.4), pid)
            calling.wait()
            alice.stop("refresh")
        wait_for(restored(meeting, alice, bob), BY_CHECK, "the agent to set bob's endpoint again")
        wait_for(lambda: sampling.looks() > 50, 60, "enough to be sampled")
        assert {value for key in kept for _, value in sampling.values(key)} == {"25"}
    assert keepalives(alice) == kept
    wait_direct(meeting)


def kill_after(delay: float, pid: int) -> None:
    """Kill a process after a while: at which moment is the point."""
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)


def test_the_agent_is_killed_at_any_moment(meeting: Meeting) -> None:
    """In the midst of its first pass, which has something to write."""
    alice, bob = meeting.laptops
    chance, kept = random.Random(SEED), keepalives(alice)
    with (
        silent(bob, "alice"),
        Pinging(alice, ADDRESSES["bob"]),
        Sampling(alice, "persistent-keepalive", 0.1) as sampling,
    ):
        for _ in range(DEATHS):
            alice.stop(AGENT_PROGRAM, signal.SIGKILL)
            misdirect(meeting)
            start_agent(alice, meeting.configuration(alice))
            kill_after(chance.uniform(0.0, 0.8), alice.processes[AGENT_PROGRAM].pid)
        restart_agent(meeting, alice)
        wait_for(restored(meeting, alice, bob), BY_CHECK, "the agent to set bob's endpoint again")
        assert {value for key in kept for _, value in sampling.values(key)} == {"25"}
    assert keepalives(alice) == kept
    wait_direct(meeting)


def values_since(sampling: Sampling, key: str, value: str) -> list[tuple[float, str]]:
    """All that was sampled of a peer, once something has followed upon that value; empty before."""
    seen = sampling.values(key)
    return seen if value in [each for _, each in seen[:-1]] else []


def test_a_person_sets_a_dead_endpoint(meeting: Meeting) -> None:
    """It is tried, and when nothing comes back, the registry's word is set again."""
    alice, bob = meeting.laptops
    with silent(bob, "alice"), Pinging(alice, ADDRESSES["bob"]) as pinging, Sampling(alice, "endpoints") as sampling:
        at = time.time()
        misdirect(meeting)
        wait_for(restored(meeting, alice, bob), 45, "the agent to set bob's endpoint again")
        seen = wait_for(lambda: values_since(sampling, key_of(meeting, "bob"), DEAD), 15, "this to be sampled")
        assert wait_for(lambda: pinging.first_answer_after(seen[-1][0]), 15, "bob to answer again")
    assert [value for _, value in seen][-2:] == [DEAD, home_of(meeting, bob)]
    assert seen[-1][0] - at > 2.0, "it was not tried"


def test_a_person_insists(meeting: Meeting) -> None:
    """Whoever sets an endpoint again each time that we repair it has his way until the network changes."""
    alice, bob = meeting.laptops

    def said() -> bool:
        return agent_peer(meeting.world, alice, "bob").get("Reason") == "stood-down"

    def insist() -> bool:
        if endpoint(meeting.world, alice, "bob") != DEAD:
            misdirect(meeting)
        return said()

    with silent(bob, "alice"), Pinging(alice, ADDRESSES["bob"]):
        wait_for(insist, 180, "the agent to stand down", 0.2)
        misdirect(meeting)
        written = writes(alice)
        with Sampling(alice, "endpoints") as sampling:
            pass_time(30)
            assert [value for _, value in sampling.values(key_of(meeting, "bob"))] == [DEAD]
        assert writes(alice) == written
        assert said()
        alice.move(meeting.world.nat_c)
        alice.wait_connected()
        wait_for(restored(meeting, alice, bob), BY_CHECK, "the agent to set bob's endpoint again")
    wait_direct(meeting)


def test_an_endpoint_that_roamed_is_left_alone(meeting: Meeting) -> None:
    """Bob's NAT shows alice another port than the registry, and alice's lets it in: it is bob, whoever knows him."""
    world, (alice, bob) = meeting.world, meeting.laptops
    for nat in (world.nat_a, world.nat_b):
        meeting.afterwards.callback(nat.set_kind)
    number = int(alice.run(["ip", "-4", "-o", "address", "show", "eth0"]).stdout.split()[3].split("/")[0].split(".")[3])
    world.nat_a.set_kind(Mapping.FULL_CONE, inner_host=number)
    world.nat_b.set_kind(Mapping.SYMMETRIC)
    with Pinging(bob, ADDRESSES["alice"]), Pinging(alice, ADDRESSES["bob"]) as pinging:
        wait_for(lambda: endpoint(world, alice, "bob").partition(":")[2] != "51820", 30, "bob to roam")
        roamed = endpoint(world, alice, "bob")
        assert roamed.startswith(f"{world.nat_b.public}:")
        usual = f"{world.nat_b.public}:51820"
        wait_for(lambda: home_of(meeting, bob) not in ("", roamed, usual), 60, "the registry to see him elsewhere")
        written = writes(alice)
        with Sampling(alice, "endpoints") as sampling:
            for _ in range(3):
                refresh(alice)
            pass_time(40)
            assert [value for _, value in sampling.values(key_of(meeting, "bob"))] == [roamed]
            assert wait_for(lambda: pinging.first_answer_after(time.time() - 2), 10, "bob to answer")
    assert writes(alice) == written
    assert agent_peer(world, alice, "bob")["Source"] == "roamed"


def seen_at(sampling: Sampling, meeting: Meeting, public: str) -> float:
    """When alice was first seen at a router's public address, 0 if she was not."""
    seen = sampling.values(key_of(meeting, "alice"))
    return next((at for at, value in seen if value.startswith(f"{public}:")), 0.0)


def test_who_is_moved_away_from_suspects_it_himself(meeting: Meeting) -> None:
    """Alice moves. Bob hears nothing of it, but he sends and nothing comes back."""
    world, (alice, bob) = meeting.world, meeting.laptops
    watch_routes(alice)
    meeting.afterwards.callback(alice.stop, "ip-monitor")
    with Pinging(bob, ADDRESSES["alice"]) as pinging, Sampling(bob, "endpoints") as sampling:
        alice.move(world.nat_c)
        alice.wait_state("eth0", "connected")
        usable = route_made_at(alice, f"{world.nat_c.lan}.1")
        heard = wait_for(lambda: pinging.first_answer_after(usable), 60, "alice to answer bob") or 0.0
        known = wait_for(lambda: seen_at(sampling, meeting, world.nat_c.public), 10, "bob's kernel to show it")
    assert known - usable < BY_SUSPICION
    assert heard - usable < BY_SUSPICION
    wait_direct(meeting)


def test_a_device_that_somebody_else_made_is_served_if_root_names_it(meeting: Meeting) -> None:
    """As wg-quick makes one: link, addresses and `wg setconf`, without NetworkManager."""
    world, (alice, bob) = meeting.world, meeting.laptops
    toml = "/etc/wgsd-nm/helper.toml"

    def back() -> None:
        alice.path(toml).unlink(missing_ok=True)
        alice.run(["ip", "link", "del", "wg0"], check=False)
        alice.nmcli("connection", "up", "wg0")
        alice.wait_connected()
        wait_direct(meeting)

    meeting.afterwards.callback(back)
    alice.write(toml, 'interfaces = ["wg0"]\n')
    alice.nmcli("connection", "down", "wg0")
    with silent(bob, "alice"):
        alice.make_wireguard(world.profile("alice", ["bob"]))
        wait_for(restored(meeting, alice, bob), AT_ONCE, "the agent to set bob's endpoint")
        assert hear(alice, bob, 20)
        misdirect(meeting)
        with Pinging(alice, ADDRESSES["bob"]):
            wait_for(restored(meeting, alice, bob), BY_CHECK, "the agent to set bob's endpoint again")
