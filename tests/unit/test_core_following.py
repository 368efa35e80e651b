# SPDX-License-Identifier: GPL-2.0-or-later
"""What push decides: sessions that are ordered, changed records that are followed, lookups that become rare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.unit.core_story import (
    BOB,
    CAFE,
    CAROL,
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
from wgsd_nm.core.config import Config
from wgsd_nm.core.errors import AccessDenied, NoAnswer, NoSuchPeer
from wgsd_nm.core.events import (
    Action,
    ConfigLoaded,
    Follow,
    Following,
    ForgetServers,
    LookUp,
    LookupsAnswered,
    NetworkSeen,
    RecordsPushed,
    SeatChanged,
    SessionChanged,
    SetEndpoints,
    SetFailed,
    Woke,
)
from wgsd_nm.core.model import Connectivity, Endpoint, Peer, PublicKey, Server, Updates
from wgsd_nm.core.reason import Reason
from wgsd_nm.core.schedule import FOLLOWED, HURRY, JITTER, TTL_LEAST
from wgsd_nm.core.status import status

SECOND = "203.0.113.53"
TWO = config.parse(f'[tunnel.home]\nzone = "wg.example.com"\nregistry = ["10.0.0.254", "{SECOND}"]\n', "test")
ELSEWHERE = uplink("198.18.0.5/24", "198.18.0.1", "wlan0")
ALL = frozenset([BOB, CAROL, SELF])


def bob(endpoint: Endpoint | None = None, keepalive: int = 25) -> Peer:
    return kernel_peer(BOB, "10.0.0.2/32", endpoint, keepalive)


def carol() -> Peer:
    return kernel_peer(CAROL, "10.0.0.3/32")


def connected() -> Story:
    """With Bob at home, and alive."""
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    return story


def writes(actions: Iterable[Action]) -> list[tuple[PublicKey, Endpoint | None, Endpoint, Reason]]:
    return [
        (change.public_key, change.expected, change.wanted, order.reasons[change.public_key])
        for order in of_kind(SetEndpoints, actions)
        for change in order.changes
        if change.wanted is not None
    ]


def asked(actions: Iterable[Action]) -> list[PublicKey]:
    return [each for order in of_kind(LookUp, actions) for each in order.keys]


def passes(story: Story, seconds: int) -> tuple[Action, ...]:
    """The helper works, and the registry answers what it is asked as it did before."""
    before = len(story.done)
    for _ in range(seconds):
        story.works()
        if story.tunnel.pending:
            story.answers(bob=HOME)
        story.works()
        story.sleeps(1)
    return tuple(story.done[before:])


class TestOrders:
    def test_whom_a_pass_looks_up_is_followed_at_each_registry_from_the_first_moment(self) -> None:
        story = Story.of(bob(), carol())
        story.starts()
        ordered = Following("wg0", "/active/1", (SERVER,), "wg.example.com.", ALL)
        assert story.follows[-1] == Follow((ordered,), may_work=True)

    def test_nothing_is_ordered_twice(self) -> None:
        story = Story.settled(bob(), bob=HOME)
        before = len(story.follows)
        story.starts()
        passes(story, 60)
        assert len(story.follows) == before

    def test_a_peer_that_appears_in_the_kernel_is_followed(self) -> None:
        story = Story.settled(bob(), bob=HOME)
        story.kernel[CAROL] = carol()
        story.check()
        (ordered,) = story.follows[-1].tunnels
        assert ordered.keys == ALL

    @pytest.mark.parametrize(
        "happens",
        [
            lambda story: story.hear(NetworkSeen(network(uplink()))),
            lambda story: story.hear(ConfigLoaded(Config())),
            lambda story: story.hear(SeatChanged(False)),
        ],
        ids=["the tunnel goes", "it is not ours any more", "another user's turn"],
    )
    def test_sessions_end(self, happens: Callable[[Story], object]) -> None:
        story = Story.settled(bob(), bob=HOME)
        story.is_followed(BOB, SELF)
        happens(story)
        assert story.follows[-1].tunnels == ()
        for each in story.watch.tunnels.values():
            assert each.sessions == {}

    def test_over_a_device_that_was_made_anew_they_begin_anew(self) -> None:
        story = Story.settled(bob(), bob=HOME)
        story.is_followed(BOB, SELF)
        story.network = network(uplink(), tunnels=[tunnel(profile(BOB, "10.0.0.2/32"), activation="/active/2")])
        story.starts()
        assert [each.activation for each in story.follows[-1].tunnels] == ["/active/2"]
        assert story.tunnel.sessions == {}

    @pytest.mark.parametrize("portal", [True, False])
    def test_while_nothing_is_asked_they_go_on_and_no_other_ones_are_made(self, portal: bool) -> None:
        story = Story.settled(bob(), bob=HOME)
        story.is_followed(BOB, SELF)
        (before,) = story.follows[-1].tunnels
        story.sees(uplink(), connectivity=Connectivity.PORTAL) if portal else story.sees()
        assert story.follows[-1] == Follow((before,), may_work=False)
        story.sees(uplink())
        assert story.follows[-1] == Follow((before,), may_work=True)
        assert story.tunnel.sessions == {"10.0.0.254": frozenset([BOB, SELF])}

    def test_they_outlive_other_settings_of_the_same_tunnel(self) -> None:
        story = Story.settled(bob(), bob=HOME)
        story.is_followed(BOB, SELF)
        orders = len(story.follows)
        text = f'[tunnel.home]\nzone = "wg.example.com"\nregistry = "10.0.0.254"\nnames.bob = "{BOB}"\n'
        story.hear(ConfigLoaded(config.parse(text, "test")))
        assert len(story.follows) == orders, "nobody tells once more what is followed"
        assert story.tunnel.sessions == {"10.0.0.254": frozenset([BOB, SELF])}

    def test_a_registry_by_another_way_out_needs_another_session(self) -> None:
        story = Story.of(bob())
        story.hear(ConfigLoaded(TWO))
        story.starts()
        story.is_followed(BOB, source="10.0.0.254")
        story.is_followed(BOB, source=SECOND)
        story.sees(ELSEWHERE)
        (ordered,) = story.follows[-1].tunnels
        assert ordered.servers == (SERVER, Server(ip_address(SECOND), device="wlan0"))
        assert story.tunnel.sessions.keys() == {"10.0.0.254"}

    def test_and_so_does_another_zone(self) -> None:
        story = Story.of(bob())
        story.hear(ConfigLoaded(config.parse('[tunnel.home]\nzone = "auto"\nregistry = "10.0.0.254"\n', "test")))
        (here,) = story.network.tunnels
        for zone in ("a.example", "b.example"):
            story.network = network(uplink(), tunnels=[replace(here, search=(zone,))])
            story.starts()
            assert story.tunnel.sessions == {}
            assert [each.zone for each in story.follows[-1].tunnels] == [f"{zone}."]
            story.is_followed(BOB)
            assert story.tunnel.sessions != {}


class TestPushes:
    def test_a_changed_record_is_followed_at_once_though_packets_came_in_a_moment_ago(self) -> None:
        story = connected()
        story.receives(BOB)
        story.check()
        assert story.peer(BOB).connected(story.now)
        assert writes(story.is_pushed(bob=OFFICE)) == [(BOB, HOME, OFFICE, Reason.MOVED)]
        story.works()
        assert story.kernel[BOB].endpoint == OFFICE

    def test_the_same_once_more_changes_nothing(self) -> None:
        story = connected()
        assert story.is_pushed(bob=HOME) == ()
        assert writes(passes(story, 60)) == []

    def test_a_peer_that_has_roamed_stays_where_it_is(self) -> None:
        story = connected()
        story.receives(BOB, CAFE)
        story.check()
        assert story.is_pushed(bob=OFFICE) == ()

    def test_a_push_is_no_answer_to_a_lookup(self) -> None:
        story = connected()
        story.hear(Woke())
        story.works()
        assert writes(story.is_pushed(bob=OFFICE)) == [(BOB, HOME, OFFICE, Reason.MOVED)], "nor waits for one"
        story.works()
        assert story.tunnel.pending == {BOB: 1, SELF: 1}
        assert story.tunnel.pass_started is not None
        assert story.tunnel.answered_at < story.tunnel.asked_at
        story.answers(bob=OFFICE)
        story.works()
        assert story.tunnel.pass_started is None

    def test_a_push_while_the_helper_is_at_work_is_acted_on_when_it_has_done(self) -> None:
        story = connected()
        story.is_pushed(bob=OFFICE)
        assert story.tunnel.writing
        assert story.is_pushed(bob=CAFE) == ()
        done = [*story.done]
        story.works()
        assert writes(story.done[len(done) :]) == [(BOB, OFFICE, CAFE, Reason.MOVED)]
        assert story.kernel[BOB].endpoint == CAFE

    def test_nor_does_it_wait_for_a_lookup_then(self) -> None:
        story = connected()
        story.hear(Woke())
        assert story.tunnel.at_work
        assert story.is_pushed(bob=OFFICE) == ()
        story.works()
        assert story.tunnel.pending == {BOB: 1, SELF: 1}
        assert story.kernel[BOB].endpoint == OFFICE

    def test_a_push_after_a_write_that_failed_is_followed_all_the_same(self) -> None:
        story = connected()
        story.is_pushed(bob=OFFICE)
        story.is_pushed(bob=CAFE)
        story.hear(SetFailed("wg0", AccessDenied("no")))
        assert writes(passes(story, 3)) == [(BOB, HOME, CAFE, Reason.MOVED)]

    def test_what_is_pushed_of_registrys_own_peer_and_of_pinned_ones_is_not_heard(self) -> None:
        pinned = replace(profile(CAROL, "10.0.0.3/32"), endpoint="192.0.2.9:51820")
        story = Story.of(bob(), replace(carol(), endpoint=CAFE))
        story.network = network(uplink(), tunnels=[tunnel(profile(BOB, "10.0.0.2/32"), pinned)])
        story.starts()
        story.works()
        assert writes(story.is_pushed(registry=CAFE, carol=HOME, stranger=HOME)) == []
        assert (story.peer(REGISTRY).records, story.peer(CAROL).records) == ((), ())
        assert key("stranger") not in story.tunnel.peers
        passes(story, 30)
        assert story.kernel[REGISTRY].endpoint == REGISTRY_AT

    def test_what_is_pushed_of_ourselves_is_where_we_are_seen(self) -> None:
        story = Story.settled(bob(), bob=HOME, me=CAFE)
        story.is_pushed(me=OFFICE)
        assert story.tunnel.seen == (("10.0.0.254", OFFICE),)
        story.is_pushed(me=NoSuchPeer("gone"))
        assert story.tunnel.seen == (("10.0.0.254", OFFICE),)

    def test_another_server_is_not_heard(self) -> None:
        story = connected()
        assert story.is_pushed(source=SECOND, bob=OFFICE, me=OFFICE) == ()
        assert story.tunnel.seen == ()
        story.is_followed(BOB, source=SECOND)
        assert story.tunnel.sessions == {}

    def test_nothing_is_written_where_nothing_may_be(self) -> None:
        story = connected()
        story.sees(uplink(), connectivity=Connectivity.PORTAL)
        assert story.hear(RecordsPushed("wg0", "10.0.0.254", (), ask=(BOB,))) == ()
        assert story.is_pushed(bob=OFFICE) == ()
        story.sees(uplink())
        story.works()
        story.sleeps(HURRY)
        story.works()
        assert story.kernel[BOB].endpoint == OFFICE

    def test_a_denial_takes_nothing_away(self) -> None:
        story = connected()
        assert story.is_pushed(bob=NoSuchPeer("gone")) == ()
        assert isinstance(story.peer(BOB).error, NoSuchPeer)
        assert story.peer(BOB).reported == (HOME,)
        assert writes(story.is_pushed(bob=OFFICE)) == [(BOB, HOME, OFFICE, Reason.MOVED)]
        assert story.peer(BOB).error is None

    def test_records_that_lead_elsewhere_are_looked_up(self) -> None:
        story = connected()
        done = story.hear(RecordsPushed("wg0", "10.0.0.254", (), ask=(BOB, REGISTRY, key("stranger"))))
        assert asked(done) == [BOB]

    def test_what_was_pushed_after_the_question_counts_not_an_answer_that_it_overtook(self) -> None:
        story = connected()
        story.is_followed(BOB, SELF)
        story.hear(Woke())
        story.works()
        story.sleeps(0.1)
        story.is_pushed(bob=OFFICE)
        story.works()
        assert writes(story.answers(bob=HOME)) == []
        story.works()
        assert story.kernel[BOB].endpoint == OFFICE
        assert not story.tunnel.pending
        story.sleeps(1)
        story.hear(Woke())
        story.works()
        story.answers(bob=CAFE)
        story.works()
        assert story.kernel[BOB].endpoint == CAFE, "what was asked later is newer"

    def test_without_a_session_the_answer_counts(self) -> None:
        story = connected()
        story.hear(Woke())
        story.works()
        story.sleeps(0.1)
        story.is_pushed(bob=OFFICE)
        story.works()
        story.answers(bob=CAFE)
        story.works()
        assert story.kernel[BOB].endpoint == CAFE


class TestTwoRegistries:
    def begin(self) -> Story:
        """The first says that Bob is at home, the second that he is at the office."""
        story = Story.of(bob())
        story.hear(ConfigLoaded(TWO))
        story.starts()
        story.works()
        nothing = NoSuchPeer("unknown")
        for source, endpoint in (("10.0.0.254", HOME), (SECOND, OFFICE)):
            story.hear(LookupsAnswered("wg0", source, ((BOB, advertised(BOB, endpoint)), (SELF, nothing))))
        story.works()
        return story

    def test_each_keeps_its_place(self) -> None:
        story = self.begin()
        story.is_pushed(source=SECOND, bob=CAFE)
        assert story.peer(BOB).reported == (HOME, CAFE)
        story.is_pushed(source=SECOND, bob=NoSuchPeer("gone"))
        assert story.peer(BOB).error is None, "the other one knows him"

    def test_each_has_its_own_view_of_us(self) -> None:
        story = self.begin()
        story.is_pushed(me=CAFE)
        story.is_pushed(source=SECOND, me=OFFICE)
        story.is_pushed(me=HOME)
        assert story.tunnel.seen == (("10.0.0.254", HOME), (SECOND, OFFICE))

    def test_the_one_whose_word_is_in_use_is_followed(self) -> None:
        story = self.begin()
        assert story.kernel[BOB].endpoint == HOME
        assert writes(story.is_pushed(bob=CAFE)) == [(BOB, HOME, CAFE, Reason.MOVED)]

    def test_lookups_become_rare_when_all_that_know_a_peer_push(self) -> None:
        story = self.begin()
        story.is_followed(BOB, SELF)
        assert not story.tunnel.follows(story.peer(BOB))
        story.is_followed(BOB, SELF, source=SECOND)
        assert story.tunnel.follows(story.peer(BOB))

    def test_a_registry_that_never_knew_a_peer_does_not_have_to_push(self) -> None:
        story = Story.of(bob())
        story.hear(ConfigLoaded(TWO))
        story.starts()
        story.works()
        story.is_followed(BOB, SELF)
        assert not story.tunnel.follows(story.peer(BOB)), "either may come to know him"
        story.answers(bob=HOME)
        assert story.tunnel.follows(story.peer(BOB))


class TestSchedule:
    def lost(self) -> Story:
        """Bob is at home, says the registry, and he is not."""
        story = Story.settled(bob(), bob=HOME)
        passes(story, 10)
        return story

    def test_while_a_session_lives_lookups_by_time_are_rare(self) -> None:
        story = self.lost()
        assert asked(passes(story, 60)).count(BOB) >= 2
        story.is_followed(BOB, SELF)
        assert asked(passes(story, int(FOLLOWED) - 60)) == []
        assert asked(passes(story, 120)).count(BOB) == 1

    def test_they_return_when_it_is_lost_but_not_in_the_same_moment_for_all(self) -> None:
        story = self.lost()
        story.is_followed(BOB, SELF)
        passes(story, 120)
        assert asked(story.is_followed()) == []
        at = story.peer(BOB).next_lookup
        assert at is not None
        assert TTL_LEAST <= at - story.now <= 64 * (1 + JITTER)
        assert asked(passes(story, 90)).count(BOB) >= 1

    def test_a_session_in_which_a_peer_is_not_followed_is_none_for_him(self) -> None:
        story = self.lost()
        story.is_followed(SELF)
        assert asked(passes(story, 60)).count(BOB) >= 2

    def test_a_lookup_that_failed_is_repeated_whatever_the_session_says(self) -> None:
        story = self.lost()
        story.is_followed(BOB, SELF)
        story.hear(Woke())
        story.works()
        story.answers(bob=NoAnswer("silence"), me=NoAnswer("silence"))
        story.works()
        assert BOB in asked(story.sleeps(3))

    @pytest.mark.parametrize("change", [lambda story: story.hear(Woke()), lambda story: story.sees(ELSEWHERE)])
    def test_an_event_asks_at_once_and_ends_no_session(self, change: Callable[[Story], tuple[Action, ...]]) -> None:
        story = connected()
        story.is_followed(BOB, SELF)
        orders = len(story.follows)
        done = change(story)
        assert of_kind(ForgetServers, done) != []
        assert set(asked(done)) == {BOB, SELF}
        assert len(story.follows) == orders
        assert story.tunnel.sessions == {"10.0.0.254": frozenset([BOB, SELF])}

    def test_silence_asks_whatever_the_session_says(self) -> None:
        story = connected()
        story.is_followed(BOB, SELF)
        story.sends(BOB)
        story.check()
        before = len(story.done)
        while story.now - (story.peer(BOB).evidence.sending_since or story.now) < 6:
            story.sends(BOB)
            story.check()
        assert BOB in asked(story.done[before:])

    def test_a_session_that_says_so_twice_asks_nothing(self) -> None:
        story = self.lost()
        story.is_followed(BOB, SELF)
        before = story.watch
        story.hear(SessionChanged("wg0", "10.0.0.254", frozenset([BOB, SELF])))
        assert story.watch == before


class TestShown:
    def interval(self, story: Story) -> float:
        (shown,) = status(story.watch, story.now).tunnels
        assert shown.updates is (Updates.POLLING if shown.polling_interval else Updates.PUSH)
        return shown.polling_interval

    def test_push_or_how_often_is_polled(self) -> None:
        story = Story.settled(bob(), bob=HOME)
        assert self.interval(story) == TTL_LEAST
        story.is_followed(BOB, SELF)
        assert self.interval(story) == 0
        story.is_followed()
        passes(story, 200)
        assert self.interval(story) > TTL_LEAST, "he is not found, and asked for ever more rarely"

    def test_clients_are_told_of_push_and_not_of_another_interval(self) -> None:
        story = Story.settled(bob(), bob=HOME)
        (before,) = status(story.watch, story.now).tunnels
        assert not before.differs(replace(before, polling_interval=60.0))
        assert before.differs(replace(before, updates=Updates.PUSH))

    def test_where_nobody_is_asked_it_is_neither(self) -> None:
        story = Story.of(bob())
        story.hear(ConfigLoaded(config.parse('[tunnel.home]\nzone = "auto"\n', "test")))
        story.starts()
        (shown,) = status(story.watch, story.now).tunnels
        assert (shown.updates, shown.polling_interval) == (Updates.NONE, 0)

    def test_with_one_peer_that_is_not_followed_it_is_polling(self) -> None:
        story = Story.settled(bob(), carol(), bob=HOME)
        story.is_followed(BOB, SELF)
        assert self.interval(story) > 0

    def test_nobody_is_followed_because_a_lookup_has_failed_long_ago(self) -> None:
        story = Story.settled(bob(), bob=HOME)
        story.hear(Woke())
        story.works()
        story.answers(bob=NoAnswer("silence"), me=NoAnswer("silence"))
        story.works()
        story.connects(BOB)
        for _ in range(10):
            story.sends(BOB)
            story.check()
            assert self.interval(story) > 0

    def test_a_tunnel_that_has_only_the_registry(self) -> None:
        story = Story.of()
        story.starts()
        story.works()
        assert self.interval(story) == TTL_LEAST
        story.is_followed(SELF)
        assert self.interval(story) == 0
