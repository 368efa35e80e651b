# SPDX-License-Identifier: GPL-2.0-or-later
"""Stories of a laptop: what the agent orders when something happens, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from itertools import pairwise
from math import inf

import pytest

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
    SERVER,
    Story,
    advertised,
    kernel_peer,
    key,
    network,
    of_kind,
    profile,
    tunnel,
    uplink,
)
from wgsd_nm.core import config
from wgsd_nm.core.controller import due
from wgsd_nm.core.errors import (
    AccessDenied,
    InvalidArguments,
    LookupFailed,
    NoAnswer,
    NoSuchDevice,
    NoSuchPeer,
    ServiceUnavailable,
)
from wgsd_nm.core.events import (
    Announce,
    ConfigLoaded,
    EndpointsSet,
    Event,
    ForgetServers,
    LookUp,
    LookupsAnswered,
    NetworkSeen,
    PeersRead,
    Probe,
    ReadFailed,
    ReadPeers,
    RefreshRequested,
    Reply,
    SeatChanged,
    SetEndpoints,
    SetFailed,
    Woke,
)
from wgsd_nm.core.model import ChangeResult, Connectivity, Endpoint, EndpointChange, Network, Peer, ProfilePeer, State
from wgsd_nm.core.reason import Reason
from wgsd_nm.core.status import status

SILENCE = NoAnswer("10.0.0.254 did not answer")


def bob(endpoint: Endpoint | None = None, keepalive: int = 25) -> Peer:
    return kernel_peer(BOB, "10.0.0.2/32", endpoint, keepalive)


def carol(endpoint: Endpoint | None = None, keepalive: int = 25) -> Peer:
    return kernel_peer(CAROL, "10.0.0.3/32", endpoint, keepalive)


def only(kind: type, actions: tuple[object, ...]) -> None:
    assert [type(action) for action in actions] == [kind]


# --- a pass ----------------------------------------------------------------------------------------------------------


def test_a_tunnel_that_comes_up_is_read_and_looked_up_at_once() -> None:
    story = Story.of(bob(), carol())
    _, read, ask = story.starts()
    assert read == ReadPeers("wg0")
    assert ask == LookUp("wg0", (SERVER,), "wg.example.com.", tuple(sorted([SELF, BOB, CAROL])))


def test_a_tunnel_without_configuration_is_not_touched() -> None:
    story = Story.of(bob())
    story.hear(ConfigLoaded(config.Config()))
    only(ForgetServers, story.starts())
    assert due(story.watch) == inf


def test_what_the_registry_reports_is_set_when_all_answers_are_there() -> None:
    story = Story.of(bob(), carol())
    story.starts()
    assert of_kind(SetEndpoints, story.reads()) == [
        SetEndpoints("wg0", (EndpointChange(REGISTRY, REGISTRY_AT, None),), {})
    ], "the registry's peer needs no lookup to be poked"
    story.acknowledges()
    assert story.answers(bob=HOME) == (SetEndpoints("wg0", (EndpointChange(BOB, None, HOME),), {BOB: Reason.FOUND}),), (
        "of carol nothing is known"
    )
    announced, read = story.hear(
        EndpointsSet("wg0", (EndpointChange(BOB, None, HOME),), {BOB: Reason.FOUND}, {BOB: ChangeResult.CHANGED})
    )
    assert announced == Announce("wg0", BOB, None, HOME, Reason.FOUND)
    assert read == ReadPeers("wg0"), "to see what comes of it"


def test_answers_that_come_before_the_reading_wait_for_it() -> None:
    story = Story.of(bob())
    story.starts()
    assert story.answers(bob=HOME) == ()
    (order,) = of_kind(SetEndpoints, story.reads())
    assert order.changes == (EndpointChange(REGISTRY, REGISTRY_AT, None),)
    story.acknowledges()
    assert of_kind(SetEndpoints, story.done)[-1].changes == (EndpointChange(BOB, None, HOME),)


def test_first_answers_do_not_wait_for_late_ones_longer_than_20_ms() -> None:
    story = Story.of(bob(), carol())
    story.starts()
    story.reads()
    story.acknowledges()
    story.hears_of("bob", HOME)
    assert of_kind(SetEndpoints, story.sleeps(0.019)) == []
    (order,) = of_kind(SetEndpoints, story.sleeps(0.002))
    assert order.changes == (EndpointChange(BOB, None, HOME),)
    story.acknowledges()
    story.reads()
    (order,) = of_kind(SetEndpoints, story.answers(carol=OFFICE))
    assert order.changes == (EndpointChange(CAROL, None, OFFICE),)


def test_peers_that_only_the_kernel_knows_are_looked_up_too() -> None:
    story = Story.of(bob())
    story.kernel[CAROL] = carol()
    story.starts()
    (ask,) = of_kind(LookUp, story.reads())
    assert ask.keys == (CAROL,)


def test_the_registrys_view_of_ourselves_is_kept_until_we_move() -> None:
    story = Story.settled(bob())
    story.hear(RefreshRequested(1))
    story.reads()
    story.answers(me=CAFE)
    assert story.tunnel.seen == (("10.0.0.254", CAFE),)
    story.sees(uplink("192.0.2.99/24"))
    assert not story.tunnel.seen


def test_answers_and_readings_of_what_has_gone_change_nothing() -> None:
    story = Story.of(bob())
    story.starts()
    story.hear(NetworkSeen(network(uplink())))
    before = story.watch
    late: list[Event] = [
        LookupsAnswered("wg0", "10.0.0.254", ((BOB, advertised(BOB, HOME)),)),
        PeersRead("wg0", (bob(),), story.clock),
        EndpointsSet("wg0", (EndpointChange(BOB, None, HOME),), {}, {BOB: ChangeResult.CHANGED}),
        SetFailed("wg0", AccessDenied("no")),
        ReadFailed("wg0", NoSuchDevice("no wg0")),
    ]
    for event in late:
        assert story.hear(event) == (), event
    assert replace(story.watch, gone={}) == replace(before, gone={})


def test_an_answer_for_a_peer_that_was_removed_meanwhile_changes_nothing() -> None:
    story = Story.of(bob(), carol())
    story.starts()
    del story.kernel[BOB]
    story.reads()
    story.acknowledges()
    assert of_kind(SetEndpoints, story.answers(bob=HOME)) == []
    assert BOB not in story.tunnel.peers


# --- whom we may write -----------------------------------------------------------------------------------------------


def test_the_registrys_peer_is_never_asked_for_nor_written_from_its_zone() -> None:
    story = Story.settled(bob())
    assert all(REGISTRY not in ask.keys for ask in of_kind(LookUp, story.done))
    story.hear(LookupsAnswered("wg0", "10.0.0.254", ((REGISTRY, advertised(REGISTRY, CAFE)),)))
    story.sees(uplink("192.0.2.99/24"))
    story.reads()
    writes = [change for order in of_kind(SetEndpoints, story.done) for change in order.changes]
    assert {change.wanted for change in writes if change.public_key == REGISTRY} == {None}


@pytest.mark.parametrize(("policy", "written"), [("keep", False), ("replace", True)])
def test_an_endpoint_of_the_profile_is_replaced_only_where_configured(policy: str, written: bool) -> None:
    story = Story.of(bob(HOME))
    text = '[tunnel.home]\nzone = "wg.example.com"\nregistry = "10.0.0.254"\nprofile-endpoints = "%s"\n' % policy  # noqa: UP031  # braces of TOML
    story.hear(ConfigLoaded(config.parse(text, "test")))
    story.network = network(uplink(), tunnels=[tunnel(profile(BOB, "10.0.0.2/32", "bob.example.com:51820"))])
    asked = of_kind(LookUp, story.starts())[0].keys
    assert (BOB in asked) is written
    story.reads()
    story.acknowledges()
    story.answers(bob=OFFICE)
    for _ in range(8):
        story.check()
    assert (story.kernel[BOB].endpoint == OFFICE) is written


# --- a path that works -----------------------------------------------------------------------------------------------


def test_a_peers_move_is_followed_at_once_even_while_its_old_path_seems_alive() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    story.hear(RefreshRequested(1))
    story.reads()
    (order,) = of_kind(SetEndpoints, story.answers(bob=OFFICE))
    assert order.changes == (EndpointChange(BOB, HOME, OFFICE),)
    assert order.reasons == {BOB: Reason.MOVED}


def test_a_path_that_the_peer_itself_showed_us_is_left_alone_while_alive() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB, CAFE)
    assert Announce("wg0", BOB, HOME, CAFE, Reason.ROAMED) in story.done
    for _ in range(5):
        story.receives(BOB)
        story.hear(RefreshRequested(1))
        story.reads()
        assert of_kind(SetEndpoints, story.answers(bob=OFFICE)) == []
        story.sleeps(30)
        story.reads()
    assert story.kernel[BOB].endpoint == CAFE


def roamed(*, session: bool) -> Story:
    """Bob is used at CAFE, where he roamed to, and the registry still says HOME; then our network changes."""
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB, CAFE)
    if not session:
        story.hear(Woke())
    else:
        story.sees(uplink("192.0.2.99/24"))
    return story


def test_a_roamed_path_with_a_session_gets_two_seconds_to_prove_itself() -> None:
    story = roamed(session=True)
    read = story.reads()
    assert Probe("wg0", (ip_network("10.0.0.2/32").network_address,)) in read
    assert EndpointChange(BOB, CAFE, None) in of_kind(SetEndpoints, read)[0].changes, "with a session the poke is free"
    story.acknowledges()
    story.answers(bob=HOME)
    began = story.now
    while not any(each.changes[0].wanted for each in of_kind(SetEndpoints, story.check()) if each.changes):
        assert story.now < began + 3
    assert 2.0 <= story.now - began < 2.1
    assert of_kind(SetEndpoints, story.done)[-1].changes == (EndpointChange(BOB, CAFE, HOME),)
    assert of_kind(SetEndpoints, story.done)[-1].reasons == {BOB: Reason.SILENT}


def test_a_roamed_path_without_a_session_is_poked_after_the_lookup_and_gets_longer() -> None:
    story = roamed(session=False)
    orders = of_kind(SetEndpoints, story.reads())
    assert [change.public_key for order in orders for change in order.changes] == [REGISTRY]
    story.acknowledges()
    (order,) = of_kind(SetEndpoints, story.answers(bob=HOME))
    assert order.changes == (EndpointChange(BOB, CAFE, None),)
    began = story.now
    story.acknowledges()
    story.reads()
    while story.kernel[BOB].endpoint == CAFE:
        story.check()
        while story.acknowledges():
            pass
        assert story.now < began + 7
    assert 5.5 <= story.now - began < 5.6


def test_a_roamed_path_that_proves_itself_in_time_stays() -> None:
    story = roamed(session=True)
    story.reads()
    story.acknowledges()
    story.answers(bob=HOME)
    story.sleeps(0.5)
    story.receives(BOB)
    for _ in range(8):
        story.check()
    assert story.peer(BOB).connected(story.now)
    assert story.kernel[BOB].endpoint == CAFE


def test_a_peer_that_nobody_wants_is_neither_poked_nor_tried() -> None:
    story = Story.of(bob(CAFE, keepalive=0))
    story.starts()
    story.reads()
    story.acknowledges()
    assert of_kind(SetEndpoints, story.answers(bob=HOME)) == []
    assert of_kind(LookUp, story.sleeps(0.5)) == []


def test_an_endpoint_that_was_cleared_is_set_again() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    story.kernel[BOB] = replace(story.kernel[BOB], endpoint=None)
    (order,) = of_kind(SetEndpoints, story.check())
    assert order.changes == (EndpointChange(BOB, None, HOME),)


def test_a_write_that_came_too_late_is_decided_anew_after_one_reading() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.hear(RefreshRequested(1))
    story.reads()
    story.answers(bob=OFFICE)
    story.shakes(BOB, CAFE)
    story.acknowledges()
    assert story.tunnel.reading_since is not None
    assert not story.tunnel.writing, "the same order would fail again"
    story.reads()
    assert story.peer(BOB).endpoint == CAFE
    assert story.kernel[BOB].endpoint == CAFE


# --- events and bursts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "happens",
    [
        lambda story: story.sees(uplink("198.18.0.5/24", "198.18.0.1", "wlan0")),
        lambda story: story.sees(uplink("192.0.2.11/24")),
        lambda story: story.sees(uplink(gateway="192.0.2.2")),
        lambda story: story.hear(Woke()),
    ],
    ids=["another uplink", "another address", "another gateway", "wake-up"],
)
def test_a_change_of_our_path_asks_at_once_and_doubts_every_path(happens: object) -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    assert callable(happens)
    actions = happens(story)
    assert [type(action) for action in actions] == [ForgetServers, ReadPeers, LookUp]
    assert not story.peer(BOB).evidence.alive
    (order,) = of_kind(SetEndpoints, story.reads())
    assert order.changes[0].public_key == REGISTRY, "everything hangs on it"


def test_a_moved_cable_shows_only_in_the_carrier() -> None:
    story = Story.settled(bob(), bob=HOME)
    assert story.hear(NetworkSeen(replace(story.network, carrier=frozenset()))) == ()
    assert of_kind(LookUp, story.hear(NetworkSeen(story.network))) != []


@pytest.mark.parametrize("activation", ["/active/2", "/active/3"])
def test_a_new_activation_is_a_new_tunnel(activation: str) -> None:
    story = Story.settled(bob(), bob=HOME)
    story.kernel[BOB] = bob()
    story.network = replace(story.network, tunnels=(tunnel(profile(BOB, "10.0.0.2/32"), activation=activation),))
    assert [type(action) for action in story.starts()] == [ReadPeers, LookUp]
    story.reads()
    story.acknowledges()
    (order,) = of_kind(SetEndpoints, story.answers(bob=HOME))
    assert order.changes == (EndpointChange(BOB, None, HOME),)


def test_a_reading_for_the_old_activation_tells_nothing_about_the_new_one() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.hear(RefreshRequested(1))
    assert story.tunnel.reading_since is not None
    story.network = replace(story.network, tunnels=(tunnel(profile(BOB, "10.0.0.2/32"), activation="/active/2"),))
    story.now += 0.001
    assert of_kind(ReadPeers, story.starts()) == [], "one is under way"
    assert story.reads() == (ReadPeers("wg0"),)
    assert all(peer.kernel is None for peer in story.tunnel.peers.values())


def test_lookups_in_the_old_zone_tell_nothing_about_the_new_one() -> None:
    story = Story.of(bob())
    story.starts()
    story.now += 0.001
    other = config.parse('[tunnel.home]\nzone = "other.example.com"\nregistry = "10.0.0.254"\n', "test")
    actions = story.hear(ConfigLoaded(other))
    assert [type(action) for action in actions] == [ForgetServers, LookUp]


def test_a_burst_of_events_is_served_by_one_further_pass() -> None:
    story = Story.settled(bob(), bob=HOME)
    actions: list[object] = []
    for number in range(10):
        actions += story.sees(uplink(f"192.0.2.{100 + number}/24"))
        actions += story.sleeps(0.01)
    assert len(of_kind(LookUp, actions)) == 1, "at once"  # type: ignore[arg-type]  # all are actions
    assert len(of_kind(LookUp, story.sleeps(1))) == 1, "for all the others"


def test_better_connectivity_asks_again_without_giving_up_what_is_under_way() -> None:
    story = Story.of(bob())
    story.network = replace(story.network, connectivity=Connectivity.LIMITED)
    story.starts()
    story.now += 0.01
    assert story.sees(uplink(), connectivity=Connectivity.FULL) == ()
    story.reads()
    story.acknowledges()
    (order,) = of_kind(SetEndpoints, story.answers(bob=HOME))
    assert order.changes == (EndpointChange(BOB, None, HOME),)
    story.acknowledges()
    story.reads()
    assert len(of_kind(LookUp, story.sleeps(0.25))) == 1


# --- standing still --------------------------------------------------------------------------------------------------

PORTAL = {"connectivity": Connectivity.PORTAL}


@pytest.mark.parametrize(
    ("stops", "goes"),
    [
        (lambda s: s.sees(uplink(), connectivity=Connectivity.PORTAL), lambda s: s.sees(uplink())),
        (lambda s: s.sees(), lambda s: s.sees(uplink())),
        (lambda s: s.hear(SeatChanged(False)), lambda s: s.hear(SeatChanged(True))),
    ],
    ids=["captive portal", "offline", "another user's turn"],
)
@pytest.mark.parametrize("amid_a_pass", [False, True])
def test_where_nothing_can_come_of_it_nothing_is_done(stops: object, goes: object, amid_a_pass: bool) -> None:
    assert callable(stops)
    assert callable(goes)
    story = Story.settled(bob(), bob=HOME)
    if amid_a_pass:
        story.hear(RefreshRequested(1))
        story.now += 0.001
    stops(story)
    if amid_a_pass:
        story.kernel[CAROL] = carol()
        assert of_kind(LookUp, story.reads()) == []
        assert of_kind(SetEndpoints, story.answers(bob=OFFICE)) == []
    actions = story.sleeps(0.5 if amid_a_pass else 3600)
    assert of_kind(LookUp, actions) + of_kind(SetEndpoints, actions) + of_kind(ReadPeers, actions) == []
    assert [type(action) for action in goes(story)] == [ForgetServers, ReadPeers, LookUp]


@pytest.mark.parametrize("connectivity", [Connectivity.UNKNOWN, Connectivity.NONE, Connectivity.LIMITED])
def test_doubtful_connectivity_is_left_to_the_registry_to_judge(connectivity: Connectivity) -> None:
    story = Story.of(bob())
    story.network = replace(story.network, connectivity=connectivity)
    assert of_kind(LookUp, story.starts()) != []


# --- lookups by time -------------------------------------------------------------------------------------------------


def lookups_by_time(story: Story, answer: Endpoint | LookupFailed, seconds: float) -> list[float]:
    """When bob is asked for again, if every answer is this one; the kernel never shows a sign of him."""
    end, at = story.now + seconds, []
    while story.now < end:
        story.sleeps(min(max(due(story.watch) - story.now, 0.0), end - story.now))
        while story.acknowledges():
            pass
        if story.tunnel.reading_since is not None:
            story.reads()
        if BOB in story.tunnel.pending:
            at.append(story.now)
            story.hears_of("bob", answer)
    return [later - earlier for earlier, later in pairwise(at)]


@pytest.mark.parametrize(
    ("answer", "spans"),
    [
        (SILENCE, [2, 4, 8, 16, 32, 60]),
        (HOME, [5, 5, 8, 16, 32, 60]),
        (NoSuchPeer("unknown", 60), [60, 60, 60]),
        (NoSuchPeer("unknown", 0), [1, 1, 1]),
    ],
    ids=["no answer", "an endpoint that does not help", "unknown for a minute", "unknown"],
)
def test_a_wanted_peer_that_is_not_connected_is_looked_up_by_time(
    answer: Endpoint | LookupFailed, spans: list[int]
) -> None:
    story = Story.settled(bob(keepalive=25), carol(HOME, keepalive=0), bob=HOME)
    measured = lookups_by_time(story, answer, 250)
    assert measured[: len(spans)] == pytest.approx(spans, rel=0.3, abs=0.1)
    asked = {each for ask in of_kind(LookUp, story.done)[1:] for each in ask.keys}
    assert asked - {SELF} == {BOB}, "nobody wants carol"


def test_after_an_hour_a_lookup_is_tried_every_five_minutes() -> None:
    story = Story.settled(bob(), bob=HOME)
    lookups_by_time(story, SILENCE, 10)
    story.now += 3600
    assert all(280 < span < 380 for span in lookups_by_time(story, SILENCE, 2000))


def test_a_connected_peer_is_not_looked_up_by_time() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    for _ in range(20):
        story.shakes(BOB)
        assert of_kind(LookUp, story.check()) == []


def test_sending_into_silence_asks_the_registry_again_and_then_doubts_the_path() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    began = story.now
    while story.peer(BOB).evidence.alive:
        story.sends(BOB)
        story.check()
        if BOB in story.tunnel.pending:
            story.hears_of("bob", HOME)
    assert 15 <= story.now - began < 55
    assert any(BOB in ask.keys for ask in of_kind(LookUp, story.done)[1:])


def test_a_session_wiped_behind_our_back_is_doubted_when_the_kernel_asks_for_another_in_vain() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    story.check()
    began = story.now
    while story.peer(BOB).evidence.alive and story.now < began + 60:
        story.sends(BOB, 148)
        story.check()
    assert 15 <= story.now - began < 45, "far less than the session would have lasted"


# --- refresh ---------------------------------------------------------------------------------------------------------


def test_refresh_is_answered_when_all_lookups_have_ended_and_the_write_is_acknowledged() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.hear(RefreshRequested(7))
    story.reads()
    assert of_kind(Reply, story.answers(bob=OFFICE)) == []
    story.acknowledges()
    assert of_kind(Reply, story.done) == [Reply(7, None)]


def test_refresh_during_a_pass_waits_for_one_fresh_pass_shared_by_all() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.hear(RefreshRequested(1))
    story.sleeps(0.01)
    assert story.hear(RefreshRequested(2)) + story.hear(RefreshRequested(3)) == ()
    story.reads()
    assert of_kind(Reply, story.answers(bob=HOME)) == [Reply(1, None)]
    assert len(of_kind(LookUp, story.sleeps(0.25))) == 1
    story.reads()
    assert of_kind(Reply, story.answers(bob=HOME)) == [Reply(2, None), Reply(3, None)]


def test_refresh_fails_if_no_registry_answered() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.hear(RefreshRequested(1))
    story.reads()
    assert of_kind(Reply, story.answers(bob=SILENCE, me=SILENCE)) == [Reply(1, SILENCE)]


def test_refresh_succeeds_if_a_registry_answered_for_a_single_peer() -> None:
    story = Story.settled(bob(), carol(), bob=HOME)
    story.hear(RefreshRequested(1))
    story.reads()
    assert of_kind(Reply, story.answers(bob=SILENCE, carol=HOME, me=SILENCE)) == []
    story.acknowledges()
    assert of_kind(Reply, story.done) == [Reply(1, None)]


def test_refresh_fails_if_the_helper_refused() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.hear(RefreshRequested(1))
    refusal = AccessDenied("polkit says no")
    story.hear(ReadFailed("wg0", refusal))
    assert of_kind(Reply, story.answers(bob=HOME)) == [Reply(1, refusal)]


def test_refresh_is_answered_within_20_seconds_whatever_happens() -> None:
    story = Story.settled(bob(), bob=HOME)
    began = story.now
    story.hear(RefreshRequested(1))
    (reply,) = of_kind(Reply, story.sleeps(20))
    assert reply.token == 1
    assert isinstance(reply.error, NoAnswer)
    assert story.now == began + 20


def test_refresh_of_what_is_not_there() -> None:
    (reply,) = of_kind(Reply, Story.settled(bob(), bob=HOME).hear(RefreshRequested(1, "wg7")))
    assert isinstance(reply.error, InvalidArguments)


def test_refresh_while_standing_still_says_why() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.sees(uplink(), connectivity=Connectivity.PORTAL)
    (reply,) = of_kind(Reply, story.hear(RefreshRequested(1)))
    assert isinstance(reply.error, ServiceUnavailable)
    assert "portal" in str(reply.error)


def test_refresh_without_a_tunnel_has_nothing_to_do() -> None:
    story = Story()
    (reply,) = of_kind(Reply, story.hear(RefreshRequested(1)))
    assert isinstance(reply.error, ServiceUnavailable), "who knows of no tunnels for want of NetworkManager says so"
    story.hear(NetworkSeen(network(uplink())))
    assert story.hear(RefreshRequested(2)) == (Reply(2),)


def test_refresh_of_a_tunnel_that_goes_down_is_answered() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.hear(RefreshRequested(1))
    assert of_kind(Reply, story.hear(NetworkSeen(network(uplink())))) == [Reply(1)]


def test_refresh_makes_every_peer_wanted_for_a_while() -> None:
    story = Story.settled(bob(HOME, keepalive=0), bob=HOME)
    assert not story.peer(BOB).wanted(story.now)
    story.hear(RefreshRequested(1))
    assert story.peer(BOB).wanted(story.now + 179)
    assert not story.peer(BOB).wanted(story.now + 181)


# --- the helper ------------------------------------------------------------------------------------------------------


def test_a_refusing_helper_is_asked_again_later_not_at_once() -> None:
    story = Story.of(bob())
    story.starts()
    story.hear(ReadFailed("wg0", AccessDenied("no")))
    for pause in (1, 2, 4, 8, 16, 30, 30):
        assert of_kind(ReadPeers, story.sleeps(0.99 * pause)) == []
        assert len(of_kind(ReadPeers, story.sleeps(0.27 * pause))) == 1
        story.hear(ReadFailed("wg0", AccessDenied("no")))


def test_pokes_that_failed_are_tried_again() -> None:
    story = Story.of(bob(HOME))
    story.starts()
    (order,) = of_kind(SetEndpoints, story.reads())
    story.hear(SetFailed("wg0", AccessDenied("no")))
    story.answers(bob=HOME)
    story.hear(SetFailed("wg0", AccessDenied("no")))
    again: set[EndpointChange] = set()
    for _ in range(4):
        again |= {change for each in of_kind(SetEndpoints, story.check()) for change in each.changes}
    assert set(order.changes) <= again


def test_who_may_read_and_not_write_tries_rarely() -> None:
    story = Story.of(bob())
    story.starts()
    story.reads()
    story.hear(SetFailed("wg0", AccessDenied("no")))
    story.answers(bob=HOME)
    orders = 0
    began = story.now
    while story.now < began + 120:
        orders += len(of_kind(SetEndpoints, story.sleeps(0.5)))
        if story.tunnel.reading_since is not None:
            orders += len(of_kind(SetEndpoints, story.reads()))
        if story.tunnel.writing:
            story.hear(SetFailed("wg0", AccessDenied("no")))
    assert 3 <= orders <= 10
    assert status(story.watch, story.now).state is State.UNAVAILABLE


def test_the_check_is_rare_when_all_is_well_and_frequent_while_something_is_not_proven() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    story.shakes(REGISTRY)
    while story.now < 140:
        story.check()
    assert story.tunnel.next_check - story.now == pytest.approx(15)
    story.hear(Woke())
    story.reads()
    assert story.tunnel.next_check - story.now == pytest.approx(1, abs=0.3)


def test_an_ended_trial_does_not_have_the_device_read_without_pause() -> None:
    """A silent registry holds the pass, and with it the end of the trial, for seconds."""
    story = roamed(session=True)
    story.reads()
    story.acknowledges()
    story.answers(bob=HOME)
    story.hear(RefreshRequested(1))
    reads, end = 0, story.now + 10
    while story.now < end:
        if story.acknowledges():
            continue
        if story.tunnel.reading_since is not None:
            story.reads()
            reads += 1
        else:
            story.sleeps(max(due(story.watch) - story.now, 0.0))
    assert story.peer(BOB).trial is not None
    assert reads < 15


def test_without_a_registry_the_refresh_says_what_is_missing() -> None:
    story = Story.of(bob())
    story.hear(ConfigLoaded(config.parse('[tunnel.home]\nzone = "auto"\n', "test")))
    story.starts()
    story.works()
    story.sleeps(0.5)
    story.hear(RefreshRequested(1))
    story.works()
    (reply,) = of_kind(Reply, story.done)
    assert "search domain" in str(reply.error)


def test_a_wrong_configuration_leaves_the_last_good_one() -> None:
    story = Story.settled(bob(), bob=HOME)
    assert story.hear(ConfigLoaded(None, "it is wrong")) == ()
    assert story.watch.config == CONFIG
    assert story.watch.config_error == "it is wrong"


def test_a_probe_goes_to_the_peers_own_address_not_to_its_network() -> None:
    wide = replace(bob(CAFE), allowed_ips=(ip_network("10.9.0.0/24"), ip_network("10.0.0.2/32")))
    story = Story.of(wide)
    story.shakes(BOB)
    story.starts()
    (probe,) = of_kind(Probe, story.reads())
    assert [str(address) for address in probe.addresses] == ["10.0.0.2"]


def test_networkmanagers_restart_begins_anew() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.hear(NetworkSeen(Network()))
    assert due(story.watch) == inf
    assert of_kind(LookUp, story.hear(NetworkSeen(story.network))) != []


def test_another_profile_peer_is_no_reason_for_a_pass() -> None:
    story = Story.settled(bob(), bob=HOME)
    more = tunnel(profile(BOB, "10.0.0.2/32"), ProfilePeer(key("dave")))
    assert story.hear(NetworkSeen(replace(story.network, tunnels=(more,)))) == ()


def test_the_registrys_peer_is_poked_first() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    story.kernel = dict(reversed(story.kernel.items()))
    story.sees(uplink("192.0.2.99/24"))
    (order,) = of_kind(SetEndpoints, story.reads())
    assert [change.public_key for change in order.changes] == [REGISTRY, BOB]


def test_a_lookup_by_time_is_dropped_when_nobody_is_left_to_ask() -> None:
    story = Story.of(bob())
    story.hear(ConfigLoaded(config.parse('[tunnel.home]\nzone = "auto"\n', "test")))
    (up,) = story.network.tunnels
    named = replace(up, search=("wg.example.com",), dns=(SERVER.address,))
    story.hear(NetworkSeen(replace(story.network, tunnels=(named,))))
    story.works()
    story.answers(bob=HOME)
    story.works()
    assert story.peer(BOB).next_lookup is not None
    story.hear(NetworkSeen(replace(story.network, tunnels=(up,))))
    assert of_kind(LookUp, story.sleeps(20)) == []
    assert story.peer(BOB).next_lookup is None


def test_a_bridge_of_containers_is_no_way_out() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    bridge = replace(uplink("172.17.0.1/16", interface="docker0"), gateways=())
    assert story.hear(NetworkSeen(network(*story.network.uplinks, bridge, tunnels=story.network.tunnels))) == ()
    assert story.peer(BOB).evidence.alive


def test_a_peer_that_nobody_can_send_to_is_looked_up_rarely() -> None:
    story = Story.settled(bob(keepalive=0))
    assert not story.peer(BOB).wanted(story.now)
    asked = 0
    began = story.now
    while story.now < began + 3600:
        asked += len(of_kind(LookUp, story.sleeps(10)))
        if story.tunnel.pending:
            story.answers()
        if story.tunnel.reading_since is not None:
            story.reads()
    assert 8 <= asked <= 13


def test_an_absence_that_is_told_before_the_first_reading_is_asked_about_again() -> None:
    story = Story.of(bob())
    story.starts()
    story.hears_of("bob", NoSuchPeer("not yet", 2))
    story.reads()
    assert story.peer(BOB).wanted(story.now)
    assert of_kind(LookUp, story.sleeps(3))


def test_a_peer_that_comes_to_be_wanted_need_not_wait_for_a_rare_lookup() -> None:
    story = Story.settled(bob(keepalive=0))
    lookup = story.peer(BOB).next_lookup
    assert lookup is not None
    assert lookup > story.now + 200
    story.kernel[BOB] = bob(keepalive=25)
    story.check()
    assert of_kind(LookUp, story.sleeps(70))
