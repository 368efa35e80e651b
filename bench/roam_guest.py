# SPDX-License-Identifier: GPL-2.0-or-later
"""How soon bob answers after alice has moved to another network. Runs as root in the lab's machine.

    python3 -m bench.roam_guest SCENARIO [--runs N]

bench/roam.py says what the figures are. CoreDNS with wgsd is the registry for all: for the agents, for wgsd-client in a
loop, and for wgsd-client by a timer; but for agents that are pushed to it is ours. Both machines ping each other all
the time, twenty times a second. Alice goes to and fro between two routers. Each time the other one has another public
address, so that neither an endpoint that once was hers nor a hole in bob's NAT serves again.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from bench.campus import Campus
from bench.figure import report, show
from bench.timed_client import TimedClient
from lab.world import Host, Laptop, Nat, Registry, World, wait_for
from lab.world.agent import (
    AGENT,
    AGENT_PATH,
    ZONE,
    configuration,
    follows,
    routes_made_at,
    start_agent,
    start_registry,
    watch_routes,
)
from lab.world.laptop import USER
from lab.world.pinging import Pinging
from lab.world.report import collect
from lab.world.world import ADDRESSES, KEEPALIVE

RUNS = 20
TIMER_RUNS = 7
"""A minute's timer takes a minute or two each time."""
LOOP_PERIOD, TIMER_PERIOD = 5.0, 60.0
CHECK_PERIOD = 5.0
"""Seconds between two checks of an agent: each run begins anywhere among them."""
RATE = 20.0
"""Pings a second, each way."""
CONNECTED = 240.0
"""Seconds that both have to hear each other before a run."""
LIMIT = 400.0
"""Seconds after which there is no hope for an answer."""
SEED = 4
PROGRAMS = Path("/lab/wgsd")
HERE = Path("/opt/wgsd")
"""Off the slow share; laptops have a /run of their own."""
CLIENT = (str(HERE / "wgsd-client"), "-device", "wg0", "-dns", f"{Registry.address}:53", "-zone", ZONE)
COREFILE = f".:53 {{\nbind {Registry.address}\nerrors\nwgsd {ZONE}. wg0\n}}\n"


@dataclass(frozen=True, slots=True)
class Goal:
    """What a series is called, and the goals of its median and its worst in seconds."""

    figure: str
    median: float
    worst: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """Where bob is, whether the session is lost while alice is away, and the goals of agents that ask or are told."""

    public: bool
    wiped: bool
    polling: Goal
    push: Goal | None = None


SCENARIOS = {
    "public.live": Scenario(public=True, wiped=False, polling=Goal("roam.public.live", 1.5)),
    "nat.live": Scenario(
        public=False, wiped=False, polling=Goal("roam.nat.live", 15, 25), push=Goal("roam.push.live", 1, 3)
    ),
    "nat.dead": Scenario(public=False, wiped=True, polling=Goal("roam.nat.dead", 7), push=Goal("roam.push.dead", 7)),
}


@dataclass(frozen=True, slots=True)
class Move:
    """Seconds from the pulled cable until alice's new address is usable, and from then to the first answer from bob."""

    away: float
    silent: float


class Roaming:
    """Alice and bob, connected, and the one thing that happens: alice moves."""

    def __init__(self, world: World, alice: Laptop, bob: Laptop) -> None:
        self._world, self._alice, self._bob = world, alice, bob
        self._pairs = ((alice, bob), (bob, alice))
        self._addresses = (f"198.51.100.{number}" for number in range(131, 255))

    def run(self, *, wiped: bool, told: bool, working: AbstractContextManager[object]) -> Move:
        """Alice moves; returns when bob has answered.

        `wiped`: while she is away, the session is lost on both sides. `told`: both agents are asked for a Refresh as
        soon as her address is usable. `working` is what the two do by themselves, begun before she leaves.
        """
        target = self._world.nat_c if self._alice.nat is self._world.nat_a else self._world.nat_a
        with ExitStack() as stack:
            there, back = (stack.enter_context(fresh_pings(one, ADDRESSES[other.name])) for one, other in self._pairs)
            began = time.time()
            self._await_both((there, back), began)
            self._renew(target)
            stack.enter_context(working)
            left = time.time()
            self._alice.unplug()
            self._alice.wait_state("eth0", "unavailable")
            if wiped:
                self._wipe()
            self._alice.plug(target)
            zero = wait_for(lambda: usable_at(self._alice, target.lan, left), 60, "alice to have an address") or left
            if told:
                self._tell()
            answered = wait_for(lambda: there.first_answer_after(zero), LIMIT, "bob to answer alice", 0.1) or zero
        return Move(away=zero - left, silent=answered - zero)

    def connect(self, working: AbstractContextManager[object]) -> None:
        """Have both hear each other; returns when they do."""
        with ExitStack() as stack:
            stack.enter_context(working)
            pings = [stack.enter_context(fresh_pings(one, ADDRESSES[other.name])) for one, other in self._pairs]
            self._await_both(pings, time.time())

    @staticmethod
    def _await_both(pings: Sequence[Pinging], began: float) -> None:
        wait_for(lambda: all(each.first_answer_after(began) for each in pings), CONNECTED, "both to be answered", 0.2)

    def _renew(self, target: Nat) -> None:
        """The network that alice goes to has a public address that nobody has ever seen."""
        before, target.public = target.public, next(self._addresses)
        target.ip(f"addr add {target.public}/32 dev pub0", f"addr del {before}/32 dev pub0")
        target.forget()

    def _wipe(self) -> None:
        """The session is gone on both sides, as after a night or a suspension; what was set is set as before."""
        for laptop, other in self._pairs:
            key = self._world.keys[other.name].public
            peer = laptop.peers()[key]
            endpoint = ["endpoint", peer.endpoint] if peer.endpoint else []
            settings = ["allowed-ips", ",".join(peer.allowed_ips), "persistent-keepalive", str(KEEPALIVE), *endpoint]
            laptop.wg("set", "wg0", "peer", key, "remove", "peer", key, *settings)

    def _tell(self) -> None:
        """Both agents are told to look, and nobody waits for what they say."""
        for laptop, _ in self._pairs:
            if "refresh" in laptop.processes:
                laptop.stop("refresh")
            call = ["busctl", "--user", "call", AGENT, AGENT_PATH, AGENT, "Refresh"]
            laptop.spawn(call, name="refresh", user=USER)


class Bench:
    """A scenario, run with agents that are pushed to, with agents that ask, and with wgsd-client in two ways."""

    def __init__(self, name: str, world: World, alice: Laptop, bob: Laptop) -> None:
        self._name, self._scenario = name, SCENARIOS[name]
        self._world, self._laptops = world, (alice, bob)
        self._roaming = Roaming(world, alice, bob)
        self._random = random.Random(SEED)

    def measure(self, runs: int) -> bool:
        """Report all figures; whether the goals are met."""
        polling, push = self._scenario.polling, self._scenario.push
        ways: dict[str, list[float]] = {}
        if push is not None:
            with self._registry(), self._agents():
                self._await_push()
                ways["push"] = self._agents_series("agents, pushed to", runs, told=False)
        with self._wgsd():
            with self._agents():
                ways["polling"] = self._agents_series("agents", runs, told=self._scenario.wiped)
            ways["wgsd.loop"] = self._clients(LOOP_PERIOD, runs)
            ways["wgsd.timer"] = self._clients(TIMER_PERIOD, min(runs, TIMER_RUNS))
        met = figures(polling, ways["polling"])
        if push is not None:
            met &= figures(push, ways["push"])
        comparisons(self._scenario, ways)
        return met

    @contextmanager
    def _registry(self) -> Iterator[None]:
        """Our registry, which pushes."""
        start_registry(self._world)
        yield
        self._world.registry.stop("registry")

    @contextmanager
    def _wgsd(self) -> Iterator[None]:
        start_wgsd(self._world)
        yield
        self._world.registry.stop("coredns")

    @contextmanager
    def _agents(self) -> Iterator[None]:
        for laptop in self._laptops:
            start_agent(laptop, configuration(self._world, laptop))
        self._roaming.connect(nullcontext())
        yield
        for laptop in self._laptops:
            laptop.stop("agent")

    def _await_push(self) -> None:
        """Both agents have their session before the first run, and have to keep it by themselves from then on."""
        for laptop in self._laptops:
            wait_for(partial(follows, laptop), 60, f"{laptop.name}'s agent to be told by the registry")

    def _agents_series(self, title: str, runs: int, *, told: bool) -> list[float]:
        begun = [after(seconds) for seconds in spread(CHECK_PERIOD, runs, self._random)]
        return self._series(title, begun, told=told)

    def _clients(self, period: float, runs: int) -> list[float]:
        """With wgsd-client as root on both, each anywhere in its period when alice leaves."""
        self._roaming.connect(self._timed(period, 0, period / 2))
        phases = zip(*(spread(period, runs, self._random) for _ in self._laptops), strict=True)
        working = [self._timed(period, *each) for each in phases]
        return self._series(f"wgsd-client every {period:g} s", working)

    @contextmanager
    def _timed(self, period: float, *phases: float) -> Iterator[None]:
        with ExitStack() as stack:
            for laptop, phase in zip(self._laptops, phases, strict=True):
                stack.enter_context(TimedClient(laptop, CLIENT, period, phase))
            yield

    def _series(
        self, title: str, working: Sequence[AbstractContextManager[object]], *, told: bool = False
    ) -> list[float]:
        """A run with each; how long bob was silent."""
        times: list[float] = []
        for number, each in enumerate(working, 1):
            move = self._roaming.run(wiped=self._scenario.wiped, told=told, working=each)
            times.append(move.silent)
            said = f"{move.silent:.2f} s, after {move.away:.1f} s without a network"
            print(f"# roam.{self._name}, {title}, {number} of {len(working)}: {said}", flush=True)
        return times


@contextmanager
def after(seconds: float) -> Iterator[None]:
    """Agents work all the time; what follows begins at that moment."""
    time.sleep(seconds)
    yield


def spread(period: float, count: int, chance: random.Random) -> list[float]:
    """A moment in each of so many equal parts of a period, in any order: few runs meet all of it."""
    moments = [(part + chance.random()) * period / count for part in range(count)]
    chance.shuffle(moments)
    return moments


def figures(goal: Goal, times: Sequence[float]) -> bool:
    """Report median and worst; whether the goals are met."""
    met = report(goal.figure, median(times), "s", goal.median)
    if goal.worst is None:
        show(f"{goal.figure}.worst", max(times), "s")
        return met
    return report(f"{goal.figure}.worst", max(times), "s", goal.worst) and met


def comparisons(scenario: Scenario, ways: Mapping[str, Sequence[float]]) -> None:
    """Report median and worst of wgsd-client, and the quotients of ours and theirs, and of told and asking agents."""
    asking = scenario.polling.figure
    clients = {way: times for way, times in ways.items() if way.startswith("wgsd.")}
    for way, times in clients.items():
        show(f"{asking}.{way}", median(times), "s")
        show(f"{asking}.{way}.worst", max(times), "s")
        show(f"{asking}.vs_{way}", median(ways["polling"]) / median(times), "ratio")
    if scenario.push is not None:
        for way in ("polling", *clients):
            show(f"{scenario.push.figure}.vs_{way}", median(ways["push"]) / median(ways[way]), "ratio")


def usable_at(laptop: Laptop, lan: str, left: float) -> float | None:
    """When the kernel first had the way out of a LAN after a moment: it may have had it before, and get it again."""
    return next((at for at in routes_made_at(laptop, f"{lan}.1") if at > left), None)


@contextmanager
def fresh_pings(host: Host, address: str) -> Iterator[Pinging]:
    """Pings whose log is short, so that it is soon read."""
    host.log(f"ping-{address}").write_text("")
    with Pinging(host, address, RATE) as pinging:
        yield pinging


def start_wgsd(world: World) -> None:
    """CoreDNS with wgsd on the registry's address inside the tunnel."""
    corefile = HERE / "Corefile"
    corefile.write_text(COREFILE)
    world.registry.spawn([str(HERE / "coredns"), "-conf", str(corefile)], name="coredns")
    said = world.registry.log("coredns")
    wait_for(lambda: "CoreDNS-" in said.read_text(), 60, "CoreDNS to answer")


def boot(world: World, home: Nat) -> tuple[Laptop, Laptop]:
    """Alice behind NAT A and bob at his home, connected to the registry."""
    alice, bob = world.laptop("alice", world.nat_a), world.laptop("bob", home)
    for laptop, other in ((alice, "bob"), (bob, "alice")):
        laptop.boot(world.profile(laptop.name, [other]))
    for laptop in (alice, bob):
        laptop.wait_connected()
    world.wait_seen("alice", "bob")
    watch_routes(alice)
    return alice, bob


def runs(text: str) -> int:
    """A number of runs, for argparse. Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of runs; expected 1 or more")
    return int(text)


def main() -> int:
    """Report all figures; 1 if a goal is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--runs", type=runs, default=RUNS)
    options = parser.parse_args()
    print(f"# wgsd is {(PROGRAMS / 'origin').read_text().strip()}", flush=True)
    with World() as world, Campus(world) as campus:
        try:
            shutil.copytree(PROGRAMS, HERE)
            home = campus if SCENARIOS[options.scenario].public else world.nat_b
            bench = Bench(options.scenario, world, *boot(world, home))
            return 0 if bench.measure(options.runs) else 1
        except AssertionError as error:
            print(f"{collect(world.hosts, options.scenario)}\n{error}", flush=True)
            return 1


if __name__ == "__main__":
    sys.exit(main())
