# SPDX-License-Identifier: GPL-2.0-or-later
"""What the controller never does, whatever happens in whatever order: a model of kernel, helper and registry."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.core_story import (
    BOB,
    CAFE,
    CAROL,
    CONFIG,
    HOME,
    OFFICE,
    REGISTRY,
    REGISTRY_AT,
    SELF,
    Story,
    advertised,
    kernel_peer,
    key,
    network,
    profile,
    tunnel,
    uplink,
)
from wgsd_nm.core import config
from wgsd_nm.core.controller import due
from wgsd_nm.core.errors import AccessDenied, LookupFailed, NoAnswer, NoEndpoint, NoSuchPeer
from wgsd_nm.core.events import (
    Action,
    ConfigLoaded,
    EndpointsSet,
    Event,
    ForgetServers,
    LookUp,
    LookupsAnswered,
    NetworkSeen,
    PeersRead,
    ReadFailed,
    ReadPeers,
    RefreshRequested,
    Reply,
    SeatChanged,
    SetEndpoints,
    SetFailed,
    TimePassed,
    Woke,
)
from wgsd_nm.core.model import Advertisement, Connectivity, Endpoint, PeerState, PublicKey
from wgsd_nm.core.schedule import REFRESH
from wgsd_nm.core.status import status

DAVE = key("dave")
PINNED_AT = Endpoint.parse("203.0.113.7:51820")
OTHER = config.parse('[tunnel.home]\nzone = "other.example.com"\nregistry = ["10.0.0.254", "203.0.113.53"]\n', "test")
PROFILE = (profile(BOB, "10.0.0.2/32"), profile(CAROL, "10.0.0.3/32"), profile(DAVE, "10.0.0.4/32", str(PINNED_AT)))
ENDPOINTS = (HOME, OFFICE, CAFE, Endpoint.parse("10.0.0.254:1"), Endpoint.parse("[2001:db8::1]:51820"))
UPLINKS = ((), (uplink(),), (uplink("198.18.0.5/24", "198.18.0.1", "wlan0"),), (uplink(), uplink(interface="wlan0")))


@dataclass
class World:
    """Everything beside the controller. Orders are carried out when `works` says so, in any order."""

    story: Story = field(default_factory=Story)
    reading: set[str] = field(default_factory=set)
    writing: dict[str, SetEndpoints] = field(default_factory=dict)
    asked: list[tuple[str, str, PublicKey]] = field(default_factory=list)
    reported: dict[PublicKey, set[Endpoint]] = field(default_factory=dict)
    waiting: dict[int, float] = field(default_factory=dict)
    seat: bool = True
    tokens: int = 0
    reads: int = 0

    def __post_init__(self) -> None:
        self.story.at_each_turn = self.judge
        self.story.hear(ConfigLoaded(CONFIG))
        self.make_device()

    def make_device(self) -> None:
        self.story.kernel = {
            REGISTRY: kernel_peer(REGISTRY, "10.0.0.254/32", REGISTRY_AT, keepalive=25),
            BOB: kernel_peer(BOB, "10.0.0.2/32", keepalive=25),
            CAROL: kernel_peer(CAROL, "10.0.0.3/32"),
            DAVE: kernel_peer(DAVE, "10.0.0.4/32", PINNED_AT, keepalive=25),
        }

    # What must hold.

    def judge(self, event: Event, actions: tuple[Action, ...]) -> None:
        if isinstance(event, TimePassed):
            assert due(self.story.watch) > self.story.now
        for action in actions:
            match action:
                case ReadPeers(interface):
                    assert interface not in self.reading, "two readings at once"
                    self.reading.add(interface)
                    self.reads += 1
                case SetEndpoints(interface):
                    assert interface not in self.writing, "two writes at once"
                    self.writing[interface] = action
                    self.judge_write(action)
                case LookUp(interface, servers, _, keys):
                    self.judge_place()
                    assert not {REGISTRY, DAVE} & set(keys)
                    self.asked += [(interface, str(server), each) for each in keys for server in servers]
                case ForgetServers():
                    self.asked.clear()
                case Reply(token):
                    asked_at = self.waiting.pop(token)
                    assert self.story.now <= asked_at + REFRESH
                case _:
                    pass
        self.judge_state()

    def judge_place(self) -> None:
        seen = self.story.network
        assert self.seat
        assert seen.connectivity is not Connectivity.PORTAL
        assert seen.uplinks

    def judge_write(self, order: SetEndpoints) -> None:
        self.judge_place()
        keys = [change.public_key for change in order.changes]
        assert keys
        assert len(keys) == len(set(keys))
        assert REGISTRY not in keys[1:], "the registry's peer comes first"
        for change in order.changes:
            peer = self.story.peer(change.public_key)
            assert peer.kernel is not None
            assert change.expected == peer.endpoint
            if change.wanted is None:
                assert change.expected is not None
                continue
            assert change.public_key not in (REGISTRY, DAVE), "not ours to set"
            assert change.wanted in {HOME, OFFICE, CAFE}, "the others lie inside the tunnel, or have no route"
            if change.expected not in {None, *self.reported.get(change.public_key, ())}:
                assert not peer.evidence.alive, "a path that the peer itself showed us works"

    def judge_state(self) -> None:
        watch, now = self.story.watch, self.story.now
        for interface, tunnel_watch in watch.tunnels.items():
            assert all(count > 0 for count in tunnel_watch.pending.values())
            assert tunnel_watch.pending.keys() <= tunnel_watch.peers.keys() | {SELF}
            assert (tunnel_watch.reading_since is not None) == (interface in self.reading)
            assert tunnel_watch.writing == (interface in self.writing)
            assert all(peer.next_lookup is None for k, peer in tunnel_watch.peers.items() if k in tunnel_watch.pending)
        shown = status(watch, now)
        assert all(peer.text and str(peer.reason) for peer in shown.peers)
        assert all(peer.endpoint is not None for peer in shown.peers if peer.state is PeerState.CONNECTED)

    # What happens.

    def network(self, number: int, connectivity: Connectivity, activation: int) -> None:
        tunnels = [] if activation == 0 else [tunnel(*PROFILE, activation=f"/active/{activation}")]
        old = [each.activation for each in self.story.network.tunnels]
        if tunnels and [each.activation for each in tunnels] != old:
            self.make_device()
        self.story.network = network(*UPLINKS[number], tunnels=tunnels, connectivity=connectivity)
        self.story.hear(NetworkSeen(self.story.network))

    def refresh(self) -> None:
        self.tokens += 1
        self.waiting[self.tokens] = self.story.now
        self.story.hear(RefreshRequested(self.tokens))

    def take_seat(self, active: bool) -> None:
        self.seat = active
        self.story.hear(SeatChanged(active))

    def read(self, fails: bool) -> None:
        for interface in tuple(self.reading):
            self.reading.discard(interface)
            if fails:
                self.story.hear(ReadFailed(interface, AccessDenied("no")))
            else:
                self.story.hear(PeersRead(interface, tuple(self.story.kernel.values()), self.story.clock))

    def write(self, fails: bool) -> None:
        for interface in tuple(self.writing):
            order = self.writing.pop(interface)
            if fails:
                self.story.hear(SetFailed(interface, AccessDenied("no")))
            else:
                results = {change.public_key: self.story.carry_out(change) for change in order.changes}
                self.story.hear(EndpointsSet(interface, order.changes, order.reasons, results))

    def answer(self, count: int, what: Endpoint | LookupFailed) -> None:
        answered, self.asked = self.asked[:count], self.asked[count:]
        for source in dict.fromkeys((interface, server) for interface, server, _ in answered):
            told: list[tuple[PublicKey, Advertisement | LookupFailed]] = []
            for public_key in [each for *asked, each in answered if tuple(asked) == source]:
                if isinstance(what, Endpoint):
                    told.append((public_key, advertised(public_key, what)))
                    self.reported.setdefault(public_key, set()).add(what)
                else:
                    told.append((public_key, what))
            self.story.hear(LookupsAnswered(*source, tuple(told)))

    def lives(self, name: str, public_key: PublicKey, endpoint: Endpoint) -> None:
        if public_key not in self.story.kernel or (name == "removed" and public_key == REGISTRY):
            return
        if name in ("shakes", "receives") and self.story.kernel[public_key].endpoint is None:
            return  # whoever is heard has an endpoint from then on: that is to roam
        match name:
            case "shakes":
                self.story.shakes(public_key)
            case "sends":
                self.story.sends(public_key)
            case "receives":
                self.story.receives(public_key)
            case "roams":
                self.story.shakes(public_key, endpoint)
            case "cleared":
                self.story.kernel[public_key] = replace(self.story.kernel[public_key], endpoint=None)
            case "removed":
                del self.story.kernel[public_key]


FAILURES = (NoAnswer("silence"), NoSuchPeer("unknown", 1), NoEndpoint("none", 300))
steps = st.one_of(
    st.tuples(st.just("network"), st.integers(0, 3), st.sampled_from(Connectivity), st.integers(0, 2)),
    st.tuples(st.just("network"), st.integers(1, 2), st.just(Connectivity.FULL), st.just(1)),
    st.tuples(st.just("sleep"), st.sampled_from([0.001, 0.02, 0.3, 2.0, 6.0, 31.0, 200.0])),
    st.tuples(st.just("read"), st.just(False)),
    st.tuples(st.just("read"), st.booleans()),
    st.tuples(st.just("write"), st.just(False)),
    st.tuples(st.just("write"), st.booleans()),
    st.tuples(st.just("answer"), st.integers(1, 9), st.sampled_from(ENDPOINTS[:3])),
    st.tuples(st.just("answer"), st.integers(1, 9), st.sampled_from((*ENDPOINTS, *FAILURES))),
    st.tuples(
        st.just("lives"),
        st.sampled_from(["shakes", "sends", "receives", "roams", "cleared", "removed"]),
        st.sampled_from([BOB, CAROL, REGISTRY, DAVE]),
        st.sampled_from(ENDPOINTS[:3]),
    ),
    st.tuples(st.just("take_seat"), st.booleans()),
    st.tuples(
        st.just("hear"), st.sampled_from([Woke(), ConfigLoaded(CONFIG), ConfigLoaded(OTHER), ConfigLoaded(None)])
    ),
    st.tuples(st.just("refresh")),
)


def take(world: World, step: tuple[object, ...]) -> None:
    name, *arguments = step
    match name:
        case "sleep":
            world.story.sleeps(*arguments)  # type: ignore[arg-type]  # a step of that name carries seconds
        case "hear":
            world.story.hear(*arguments)  # type: ignore[arg-type]  # a step of that name carries an event
        case _:
            getattr(world, str(name))(*arguments)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=60), st.floats(0, 1))
def test_in_any_world(story: list[tuple[object, ...]], chance: float) -> None:
    world = World()
    world.story.chance = chance
    world.network(1, Connectivity.FULL, 1)
    for step in story:
        take(world, step)
    world.story.sleeps(REFRESH)
    assert world.waiting == {}, "a caller of Refresh was never answered"


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=30), st.sampled_from([*FAILURES, HOME]), st.booleans())
def test_left_alone_it_comes_to_rest(
    story: list[tuple[object, ...]], answer: Endpoint | LookupFailed, refused: bool
) -> None:
    """A helper and a registry that do their work at once see few orders, whatever went before."""
    world = World()
    for step in story:
        take(world, step)
    end, orders = world.story.now + 60, len(world.story.done)
    while world.story.now < end:
        world.read(refused)
        world.write(refused)
        world.answer(1000, answer)
        if not (world.reading or world.writing or world.asked):
            at = due(world.story.watch)
            world.story.sleeps(max(0.0, min(at, end) - world.story.now))
        world.story.now += 0.001
        assert len(world.story.done) < orders + 400, "it is busy with nothing"
