# SPDX-License-Identifier: GPL-2.0-or-later
"""Two laptops whose agents have brought them together, as scenarios find them, and what is asked of them from outside.

`meeting` is a fixture (tests/lab/conftest.py has it): a scenario does to it what it likes, notes in `afterwards` what
has to be undone, and the next scenario finds all as it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest

from lab.world import Laptop, Nat, World, wait_for
from lab.world.agent import agent_property, configuration, has_agent, refresh, start_agent, start_registry
from lab.world.laptop import USER
from lab.world.pinging import Pinging
from lab.world.wireguard import Peer
from lab.world.world import ADDRESSES
from tests.lab.sampling import Sampling

AGENT, REGISTRY, NETWORK_MANAGER = "agent", "registry", "NetworkManager"
"""Programs by the names that the world gives them."""
STATE = f"/home/{USER}/.local/state/wgsd-nm"
FIRST_MEETING = 90.0
"""Seconds for two agents that have just started here to find each other; a handshake's second try is among them."""

TALK = 3.0
"""Seconds of pings that are certainly more than what is sent without anybody's doing."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """Alice behind NAT A and Bob behind NAT B, with a registry and agents that have brought them together."""

    world: World
    alice: Laptop
    bob: Laptop
    afterwards: ExitStack = field(default_factory=ExitStack)
    """What a scenario has to undo; done when it has ended, or failed."""

    @property
    def laptops(self) -> tuple[Laptop, Laptop]:
        return self.alice, self.bob

    @property
    def homes(self) -> tuple[tuple[Laptop, Nat], tuple[Laptop, Nat]]:
        """Where each laptop is when a scenario begins."""
        return (self.alice, self.world.nat_a), (self.bob, self.world.nat_b)

    def other(self, laptop: Laptop) -> Laptop:
        """The laptop at the other end."""
        return self.bob if laptop is self.alice else self.alice

    def peer(self, laptop: Laptop) -> Peer:
        """What a laptop's kernel says of the other one."""
        return laptop.peers()[self.world.keys[self.other(laptop).name].public]

    def configuration(self, laptop: Laptop) -> str:
        """What its agent is configured with when a scenario begins."""
        return configuration(self.world, laptop)


def hear(one: Laptop, other: Laptop, timeout: float = 3.0) -> bool:
    """Whether one of the pings that are sent to the other within this time is answered."""
    return one.ping(ADDRESSES[other.name], timeout)


def is_direct(meeting: Meeting) -> bool:
    """Whether each laptop's kernel has the other at the router behind which it is now, and both are answered."""
    for laptop in meeting.laptops:
        nat = meeting.other(laptop).nat
        if nat is None or not meeting.peer(laptop).endpoint.startswith(f"{nat.public}:"):
            return False
    return hear(meeting.alice, meeting.bob, 1.0) and hear(meeting.bob, meeting.alice, 1.0)


def wait_direct(meeting: Meeting, timeout: float = 60.0) -> None:
    """Wait until both laptops hear each other without detour. Raises NotInTimeError."""
    wait_for(
        lambda: is_direct(meeting) or _talk(meeting), timeout, "alice and bob to hear each other from router to router"
    )


def _talk(meeting: Meeting) -> bool:
    """Both send, as people who wait for each other do; a path on which nobody sends is suspected by nobody."""
    for laptop in meeting.laptops:
        laptop.run(["ping", "-n", "-c3", "-i0.2", "-W0.2", ADDRESSES[meeting.other(laptop).name]], check=False)
    return False


def answered_again(pings: Iterable[Pinging], moment: float, timeout: float) -> float:
    """Wait until each is answered again after a moment; returns how many seconds after it. Raises NotInTimeError."""
    each = tuple(pings)
    wait_for(
        lambda: all(ping.first_answer_after(moment) for ping in each), timeout, "alice and bob to hear each other again"
    )
    return max(ping.first_answer_after(moment) or 0.0 for ping in each) - moment


@contextmanager
def talking(meeting: Meeting) -> Iterator[tuple[Pinging, Pinging]]:
    """Each pings the other while the context lasts; when it is entered both are answered, and have been for a while.

    The agents have seen the traffic by then: Refresh has them read their devices, which without it they do every 30 s.
    """
    begin = time.time()
    with Pinging(meeting.alice, ADDRESSES["bob"]) as one, Pinging(meeting.bob, ADDRESSES["alice"]) as other:
        answered_again((one, other), begin, 20)
        let_pass(TALK)
        for laptop in meeting.laptops:
            refresh(laptop)
        yield one, other


def wait_content(meeting: Meeting, timeout: float = 60.0) -> None:
    """Wait until both agents say that all is well. Raises NotInTimeError."""
    for laptop in meeting.laptops:
        wait_for(
            lambda laptop=laptop: agent_property(laptop, "State") == "ok",  # type: ignore[misc]
            timeout, f"{laptop.name}'s agent to say that all is well", 0.5,
        )  # fmt: skip


def let_pass(seconds: float) -> None:
    """Wait for so long: nothing tells when something has not happened."""
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() >= end, seconds + 1, f"{seconds:g} s to be over", 0.5)


def had_endpoints(meeting: Meeting, laptop: Laptop, seen: Sampling) -> list[str]:
    """Which endpoints a laptop's kernel has had for the other one, one after the other, the first as found."""
    return [endpoint for _, endpoint in seen.values(meeting.world.keys[meeting.other(laptop).name].public)]


def lan_address(laptop: Laptop) -> str:
    """The address that eth0 has."""
    _, _, address, *_ = laptop.run(["ip", "-4", "-brief", "address", "show", "eth0"]).stdout.split()
    return address.partition("/")[0]


def keepalives(laptop: Laptop) -> dict[str, int]:
    """The persistent keepalive of each peer in a laptop's kernel, in seconds, 0 for off."""
    return {key: peer.persistent_keepalive for key, peer in laptop.peers().items()}


def serve(world: World) -> None:
    """Start the registry program; returns when it answers."""
    log = world.registry.log(REGISTRY)
    before = log.stat().st_size
    start_registry(world)
    wait_for(lambda: "answering for" in log.read_text()[before:], 60, "the registry to answer", 0.2)


def is_running(host: World | Laptop, name: str) -> bool:
    """Whether the program that was started by this name has not ended."""
    processes = host.registry.processes if isinstance(host, World) else host.processes
    return name in processes and processes[name].poll() is None


def stop_agent(laptop: Laptop) -> None:
    """End a laptop's agent, if it runs; another may have its name at once afterwards."""
    if AGENT in laptop.processes:
        laptop.stop(AGENT)
    wait_for(lambda: not has_agent(laptop), 30, f"{laptop.name}'s agent to have left the session bus", 0.2)


def restart_agent(meeting: Meeting, laptop: Laptop, configured: str = "") -> None:
    """End a laptop's agent, and start another with this configuration, by default that of the beginning."""
    stop_agent(laptop)
    start_agent(laptop, configured or meeting.configuration(laptop))


def reconfigure(meeting: Meeting, laptop: Laptop, configured: str) -> None:
    """Give a laptop's agent another configuration until the scenario ends."""
    meeting.afterwards.callback(restart_agent, meeting, laptop)
    restart_agent(meeting, laptop, configured)


def restore(meeting: Meeting) -> None:
    """Undo what the scenario has noted, start what has ended, carry everybody home, and leave no trace elsewhere."""
    meeting.afterwards.close()
    if not is_running(meeting.world, REGISTRY):
        serve(meeting.world)
    for laptop, home in meeting.homes:
        if not is_running(laptop, NETWORK_MANAGER):
            laptop.start_network_manager()
        if laptop.nat is not home:
            laptop.move(home)
    for laptop in meeting.laptops:
        laptop.wait_connected()
        if not is_running(laptop, AGENT):
            restart_agent(meeting, laptop)
    for nat in meeting.world.nats:
        nat.forget_all_but(lan_address(laptop) for laptop in meeting.laptops if laptop.nat is nat)


def forget(meeting: Meeting) -> None:
    """Have the laptops' kernels know nothing of each other but what the profiles say."""
    for laptop in meeting.laptops:
        forget_other(meeting, laptop)


def forget_other(meeting: Meeting, laptop: Laptop) -> None:
    """Have a laptop's kernel make the other one anew, without endpoint and session, in one step."""
    peer = meeting.peer(laptop)
    allowed, keepalive = ",".join(peer.allowed_ips), str(peer.persistent_keepalive)
    key = ("peer", peer.public_key)
    laptop.wg("set", "wg0", *key, "remove", *key, "allowed-ips", allowed, "persistent-keepalive", keepalive)


@pytest.fixture(scope="module")
def company(world: World, laptops: tuple[Laptop, Laptop]) -> Iterator[Meeting]:
    """The programs, for all scenarios of a module: their start takes most of the time that a scenario takes."""
    meeting = Meeting(world, *laptops)
    try:
        for laptop in laptops:
            laptop.run(["rm", "-rf", STATE])
        restore(meeting)
        yield meeting
        restore(meeting)
    finally:
        for laptop in laptops:
            stop_agent(laptop)
        if REGISTRY in world.registry.processes:
            world.registry.stop(REGISTRY)
        forget(meeting)


@pytest.fixture
def meeting(company: Meeting) -> Iterator[Meeting]:
    """Both at home, both hear each other; undone is what the scenario notes, also if it fails."""
    restore(company)
    if not is_direct(company):
        for laptop in company.laptops:
            refresh(laptop)
    wait_direct(company, FIRST_MEETING)
    yield company
    company.afterwards.close()
