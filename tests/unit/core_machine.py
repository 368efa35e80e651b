# SPDX-License-Identifier: GPL-2.0-or-later
"""The controller as a state machine: rules in any order against a model of kernel, helper, registries and network.

The model knows the truth: at which endpoints each peer can be reached now. It moves by seconds, in which helper and
registries do their work and the kernel does what WireGuard does: handshakes and packets where the endpoint in use is a
true one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.unit.core_story import (
    BOB,
    CAFE,
    CAROL,
    HOME,
    OFFICE,
    REGISTRY,
    REGISTRY_AT,
    SELF,
    Story,
    advertised,
    kernel_peer,
    network,
    profile,
    tunnel,
    uplink,
)
from wgsd_nm.core import config
from wgsd_nm.core.controller import due
from wgsd_nm.core.errors import AccessDenied, LookupFailed, NoAnswer, NoSuchPeer
from wgsd_nm.core.events import (
    Action,
    ConfigLoaded,
    Event,
    ForgetServers,
    LookUp,
    LookupsAnswered,
    NetworkSeen,
    PeersRead,
    ReadFailed,
    ReadPeers,
    RecordsPushed,
    RefreshRequested,
    Reply,
    SeatChanged,
    SessionChanged,
    SetEndpoints,
    SetFailed,
    Woke,
)
from wgsd_nm.core.model import Advertisement, Connectivity, Endpoint, PublicKey
from wgsd_nm.core.reason import Reason
from wgsd_nm.core.schedule import REFRESH
from wgsd_nm.core.status import status

REGISTRIES: Final = ("10.0.0.254", "203.0.113.53")
LISTED: Final = ", ".join(f'"{registry}"' for registry in REGISTRIES)
CONFIG: Final = config.parse(f'[tunnel.home]\nzone = "wg.example.com"\nregistry = [{LISTED}]\n', "machine")
INSIDE: Final = Endpoint.parse("10.0.0.2:1")
NO_ROUTE: Final = Endpoint.parse("[2001:db8::1]:51820")
REACHABLE: Final = (HOME, OFFICE, CAFE)
PEERS: Final = (BOB, CAROL)
UPLINKS: Final = ((uplink(),), (uplink("198.18.0.5/24", "198.18.0.1", "wlan0"),))
REKEY: Final = 120.0
"""WireGuard's REKEY_AFTER_TIME."""
SLOT: Final = 5.0
CONVERGED: Final = 90.0
"""Seconds in which a wanted peer is found, if a registry tells the truth and nothing else happens."""
MOST_WRITES: Final = 12
"""Of one peer's endpoint within a minute in which nobody but us does anything."""


class Machine(RuleBasedStateMachine):
    """The rules, and what must hold after each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.story = Story()
        self.story.at_each_turn = self.judge
        self.work: deque[Callable[[], None]] = deque()
        self.asked: list[tuple[str, PublicKey]] = []
        self.reading = self.writing = False
        self.truth: dict[PublicKey, set[Endpoint]] = {BOB: {HOME}, CAROL: {OFFICE}, REGISTRY: {REGISTRY_AT}}
        self.told: dict[tuple[str, PublicKey], Endpoint | LookupFailed] = {}
        self.sessions: dict[str, frozenset[PublicKey]] = {}
        self.pending: Mapping[PublicKey, int] = {}
        self.shaken: dict[PublicKey, float] = {}
        self.tried: dict[PublicKey, float] = {}
        self.waiting: dict[int, float] = {}
        self.writes: list[tuple[float, PublicKey]] = []
        self.helper_fails = False
        self.seat = True
        self.tokens = 0

    @initialize(chance=st.floats(0, 1))
    def begins(self, chance: float) -> None:
        self.story.chance = chance
        self.story.kernel = {
            REGISTRY: kernel_peer(REGISTRY, "10.0.0.254/32", REGISTRY_AT, keepalive=25),
            BOB: kernel_peer(BOB, "10.0.0.2/32", keepalive=25),
            CAROL: kernel_peer(CAROL, "10.0.0.3/32"),
        }
        self.story.hear(ConfigLoaded(CONFIG))
        self.appears(0, Connectivity.FULL)

    # What must hold.

    def judge(self, event: Event, actions: tuple[Action, ...]) -> None:
        if isinstance(event, RecordsPushed | SessionChanged):
            assert self.story.tunnel.pending.items() >= self.pending.items(), "a push ended a lookup"
        tunnel = self.story.watch.tunnels.get("wg0")
        self.pending = {} if tunnel is None else tunnel.pending
        self.sessions = {} if tunnel is None or not self.seat else self.sessions
        for action in actions:
            match action:
                case ReadPeers():
                    assert not self.reading, "two readings at once"
                    self.reading = True
                    self.work.append(self.reads)
                case SetEndpoints():
                    assert not self.writing, "two writes at once"
                    self.writing = True
                    self.judge_write(action)
                    self.work.append(partial(self.carries_out, action))
                case LookUp(_, servers, _, keys):
                    assert REGISTRY not in keys
                    self.asked += [(str(server), each) for each in keys for server in servers]
                case ForgetServers():
                    self.asked.clear()
                case Reply(token):
                    assert self.story.now <= self.waiting.pop(token) + REFRESH
                case _:
                    pass

    def judge_write(self, order: SetEndpoints) -> None:
        assert self.seat
        assert self.story.network.connectivity is not Connectivity.PORTAL
        for change in order.changes:
            key = change.public_key
            if change.wanted is None:
                assert key != CAROL or self.story.peer(CAROL).wanted(self.story.now), "poked, and nobody wants her"
                continue
            assert key != REGISTRY, "no zone moves the registry's own peer"
            assert change.wanted in REACHABLE, "inside the tunnel, or without a route"
            self.writes.append((self.story.now, key))
            if order.reasons[key] is not Reason.MOVED:
                assert not self.works(key, change.expected), f"a path that works was replaced: {order.reasons[key]}"

    def works(self, key: PublicKey, endpoint: Endpoint | None) -> bool:
        """Whether the path has carried packets since the last evidence against it, and the agent has seen it."""
        peer = self.story.peer(key)
        return endpoint in self.truth[key] and peer.evidence.alive and peer.evidence.has_session(self.story.now)

    # The helper, the registries and the kernel.

    def reads(self) -> None:
        self.reading = False
        if self.helper_fails:
            self.story.hear(ReadFailed("wg0", AccessDenied("no")))
        else:
            self.story.hear(PeersRead("wg0", tuple(self.story.kernel.values()), self.story.clock))

    def carries_out(self, order: SetEndpoints) -> None:
        self.writing = False
        if self.helper_fails:
            self.story.hear(SetFailed("wg0", AccessDenied("no")))
            return
        results = {change.public_key: self.story.carry_out(change) for change in order.changes}
        self.story.acknowledge(order, results)
        for change in order.changes:
            if self.story.kernel[change.public_key].endpoint is not None:
                self.sends(change.public_key)

    def tells(self, registry: str, key: PublicKey, answer: Endpoint | LookupFailed) -> None:
        """A registry says something else of a peer from now on, and pushes that to whoever follows him."""
        self.told[registry, key] = answer
        if key in self.sessions.get(registry, ()) and not isinstance(answer, NoAnswer):
            self.pushes(registry, [key])

    def pushes(self, registry: str, keys: Iterable[PublicKey]) -> None:
        answers = tuple((key, self.answer(registry, key)) for key in keys)
        self.story.hear(RecordsPushed("wg0", registry, answers))

    def answer(self, registry: str, key: PublicKey) -> Advertisement | LookupFailed:
        answer = self.told.get((registry, key), NoSuchPeer("unknown", 60))
        return advertised(key, answer) if isinstance(answer, Endpoint) else answer

    def answers(self) -> None:
        asked, self.asked = self.asked, []
        for source in dict.fromkeys(source for source, _ in asked):
            told = tuple((key, self.answer(source, key)) for at, key in asked if at == source)
            self.story.hear(LookupsAnswered("wg0", source, told))

    def sends(self, key: PublicKey) -> None:
        """The kernel has something for the peer: it goes through, begins a handshake, or is lost."""
        story, peer = self.story, self.story.kernel[key]
        has_session = story.now - self.shaken.get(key, float("-inf")) < REKEY
        reached = peer.endpoint in self.truth[key]
        if has_session:
            story.sends(key, 32)
            if reached and peer.persistent_keepalive:
                story.receives(key, octets=32)
        elif story.now - self.tried.get(key, float("-inf")) >= SLOT:
            self.tried[key] = story.now
            story.sends(key, 148)
            if reached:
                story.shakes(key)
                self.shaken[key] = story.now

    def settle(self) -> None:
        while self.work or self.asked:
            while self.work:
                self.work.popleft()()
            self.answers()

    def second(self) -> None:
        self.settle()
        self.story.sleeps(1.0)
        for key, peer in self.story.kernel.items():
            if peer.persistent_keepalive and peer.endpoint is not None:
                self.sends(key)
        self.settle()
        assert all(peer.text for peer in status(self.story.watch, self.story.now).peers)

    # The rules.

    @rule(seconds=st.sampled_from([1, 2, 7, 30]))
    def time_passes(self, seconds: int) -> None:
        for _ in range(seconds):
            self.second()

    @rule(number=st.integers(0, 1), connectivity=st.sampled_from(Connectivity))
    def appears(self, number: int, connectivity: Connectivity) -> None:
        tunnels = [tunnel(profile(BOB, "10.0.0.2/32"), profile(CAROL, "10.0.0.3/32"))]
        self.story.network = network(*UPLINKS[number], tunnels=tunnels, connectivity=connectivity)
        self.story.hear(NetworkSeen(self.story.network))
        self.give_up_waiting()

    @rule(key=st.sampled_from(PEERS), endpoint=st.sampled_from(REACHABLE), tells=st.booleans())
    def moves(self, key: PublicKey, endpoint: Endpoint, tells: bool) -> None:
        """A peer is somewhere else; its registries know at once, or not yet."""
        self.truth[key] = {endpoint}
        self.shaken.pop(key, None)
        if tells:
            for registry in REGISTRIES:
                self.tells(registry, key, endpoint)

    @rule(registry=st.sampled_from(REGISTRIES), keys=st.frozensets(st.sampled_from([*PEERS, SELF])))
    def session(self, registry: str, keys: frozenset[PublicKey]) -> None:
        """A push session begins, in which first all is told; or it follows others, or it is lost, with no peers."""
        if not self.seat:
            return
        new = keys - self.sessions.get(registry, frozenset())
        self.sessions[registry] = keys
        self.story.hear(SessionChanged("wg0", registry, keys))
        self.pushes(registry, [key for key in new if not isinstance(self.answer(registry, key), NoAnswer)])

    @rule(endpoint=st.sampled_from(REACHABLE), registry=st.sampled_from(REGISTRIES), key=st.sampled_from(PEERS))
    def a_move_is_pushed(self, endpoint: Endpoint, registry: str, key: PublicKey) -> None:
        """Whoever is followed, and in use where that registry has said, is followed at once, connected or not."""
        self.helper(False)
        self.takes_seat(True)
        self.appears(0, Connectivity.FULL)
        self.settle()
        self.story.sleeps(2.0)
        self.settle()
        if key not in self.sessions.get(registry, ()):
            return
        peer = self.story.peer(key)
        said = [record.told.endpoints for record in peer.records if record.source == registry]
        in_use = peer.endpoint
        if said != [(in_use,)] or in_use != self.story.kernel[key].endpoint or peer.stood_down:
            return
        self.truth[key] = {endpoint}
        self.tells(registry, key, endpoint)
        self.settle()
        if endpoint != in_use:
            assert self.story.kernel[key].endpoint == endpoint

    @rule(
        registry=st.sampled_from(REGISTRIES),
        key=st.sampled_from([*PEERS, SELF]),
        said=st.sampled_from([*REACHABLE, INSIDE, NO_ROUTE, NoAnswer("silence"), NoSuchPeer("unknown", 1)]),
    )
    def registry_says(self, registry: str, key: PublicKey, said: Endpoint | LookupFailed) -> None:
        self.tells(registry, key, said)

    @rule(key=st.sampled_from(PEERS), endpoint=st.sampled_from(REACHABLE))
    def roams(self, key: PublicKey, endpoint: Endpoint) -> None:
        """The peer's own packet comes from elsewhere, and from there on it is to be reached."""
        self.truth[key] = {endpoint}
        self.story.shakes(key, endpoint)
        self.shaken[key] = self.story.now

    @rule(key=st.sampled_from(PEERS), endpoint=st.sampled_from([*REACHABLE, None]))
    def somebody_sets(self, key: PublicKey, endpoint: Endpoint | None) -> None:
        self.story.kernel[key] = replace(self.story.kernel[key], endpoint=endpoint)

    @rule(key=st.sampled_from(PEERS))
    def somebody_sends(self, key: PublicKey) -> None:
        if self.story.kernel[key].endpoint is not None:
            self.story.sends(key, 2000)
            self.sends(key)

    @rule()
    def wakes(self) -> None:
        self.shaken.clear()
        self.story.hear(Woke())

    @rule(active=st.booleans())
    def takes_seat(self, active: bool) -> None:
        self.seat = active
        self.story.hear(SeatChanged(active))

    @rule(fails=st.booleans())
    def helper(self, fails: bool) -> None:
        self.helper_fails = fails

    @rule()
    def refreshes(self) -> None:
        self.tokens += 1
        token = self.tokens
        self.waiting[token] = self.story.now
        self.story.hear(RefreshRequested(token))

    @rule(endpoint=st.sampled_from(REACHABLE))
    def left_alone_it_finds_the_peer(self, endpoint: Endpoint) -> None:
        """With registries that tell the truth, a helper and a network, bob is found; then nothing is written."""
        self.helper(False)
        self.takes_seat(True)
        self.appears(0, Connectivity.FULL)
        self.truth[BOB], self.truth[CAROL] = {endpoint}, {endpoint}
        for registry in REGISTRIES:
            self.tells(registry, BOB, endpoint)
        self.story.hear(Woke())
        self.shaken.clear()
        began = self.story.now
        while self.story.now < began + CONVERGED:
            self.second()
        assert self.story.kernel[BOB].endpoint == endpoint
        assert self.story.peer(BOB).connected(self.story.now)
        found = len(self.writes)
        for _ in range(60):
            self.second()
        assert [key for _, key in self.writes[found:] if key == BOB] == []

    @rule()
    def left_alone_nothing_thrashes(self) -> None:
        began = self.story.now
        for _ in range(60):
            self.second()
        for key in PEERS:
            assert len([at for at, each in self.writes if each == key and at >= began]) <= MOST_WRITES
        assert due(self.story.watch) > self.story.now
        assert not self.waiting, "a caller of Refresh was never answered"

    def give_up_waiting(self) -> None:
        """Whoever waits is answered at once where nothing can be done."""
        if self.story.network.connectivity is Connectivity.PORTAL:
            assert not self.waiting


def run(examples: int, steps: int) -> None:
    """So many stories of so many steps."""
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
