# SPDX-License-Identifier: GPL-2.0-or-later
"""Stories of the policy: trials, roll-back, several registries, what is remembered, and others who write."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from itertools import pairwise

import pytest

from tests.unit.core_story import (
    BOB,
    CAFE,
    CAROL,
    EPOCH,
    HOME,
    OFFICE,
    REGISTRY,
    REGISTRY_AT,
    SELF,
    Story,
    kernel_peer,
    key,
    network,
    of_kind,
    profile,
    tunnel,
    uplink,
)
from wgsd_nm.core import config
from wgsd_nm.core.errors import CallTimedOut, NoAnswer, NoSuchPeer
from wgsd_nm.core.events import (
    Action,
    Announce,
    ConfigLoaded,
    HostResolved,
    LookUp,
    NetworkSeen,
    RefreshRequested,
    Remember,
    Reply,
    Resolve,
    SeatChanged,
    SetEndpoints,
    SetFailed,
    Woke,
)
from wgsd_nm.core.memory import Memory
from wgsd_nm.core.model import Endpoint, EndpointChange, Peer, PeerState, ProfilePeer, Source, Uplink
from wgsd_nm.core.reason import Reason
from wgsd_nm.core.schedule import HURRY, REST
from wgsd_nm.core.status import PeerStatus, status

SECOND = "203.0.113.53"
TWO = config.parse(f'[tunnel.home]\nzone = "wg.example.com"\nregistry = ["10.0.0.254", "{SECOND}"]\n', "test")
ELSEWHERE = uplink("198.18.0.5/24", "198.18.0.1", "wlan0")
SIX = Endpoint.parse("[2001:db8::254]:51820")


def bob(endpoint: Endpoint | None = None, keepalive: int = 25) -> Peer:
    return kernel_peer(BOB, "10.0.0.2/32", endpoint, keepalive)


def shown(story: Story) -> PeerStatus:
    return next(peer for peer in status(story.watch, story.now).peers if peer.public_key == BOB)


def writes(actions: Iterable[Action]) -> list[tuple[Endpoint | None, Endpoint, Reason]]:
    """What was set for bob: from, to, why."""
    return [
        (change.expected, change.wanted, order.reasons[BOB])
        for order in of_kind(SetEndpoints, actions)
        for change in order.changes
        if change.public_key == BOB and change.wanted is not None
    ]


def goes_on(story: Story, seconds: float, answer: Endpoint | NoSuchPeer) -> tuple[Action, ...]:
    """Helper and registry do their work at once for some time; nobody else does anything."""
    before, end = len(story.done), story.now + seconds
    while story.now < end:
        story.works()
        if story.tunnel.pending:
            story.answers(bob=answer)
            continue
        story.sleeps(min(0.5, end - story.now))
    return tuple(story.done[before:])


# --- trials and roll-back --------------------------------------------------------------------------------------------


def test_a_new_endpoint_that_proves_nothing_is_rolled_back() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    story.hear(RefreshRequested(1))
    story.works()
    story.answers(bob=OFFICE)
    done = goes_on(story, 14, OFFICE)
    assert writes(done) == [], "no roll-back before fifteen seconds"
    done = goes_on(story, 5, OFFICE)
    assert writes(done) == [(OFFICE, HOME, Reason.ROLLED_BACK)]
    story.shakes(BOB)
    assert writes(goes_on(story, 100, OFFICE)) == []


def test_without_a_session_the_next_one_is_tried_after_one_slot() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.hear(RefreshRequested(1))
    story.works()
    story.answers(bob=OFFICE)
    story.works()
    done = goes_on(story, 8, OFFICE)
    assert writes(done) == [(OFFICE, HOME, Reason.ROLLED_BACK)]


def test_when_all_were_tried_in_vain_nothing_thrashes() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.hear(RefreshRequested(1))
    story.works()
    story.answers(bob=OFFICE)
    first = writes(goes_on(story, 60, OFFICE))
    assert [wanted for _, wanted, _ in first] == [OFFICE, HOME, OFFICE][1:], "the registry's word stays"
    assert writes(goes_on(story, REST - 60, OFFICE)) == []
    assert shown(story).state is PeerState.UNREACHABLE
    assert str(HOME) in shown(story).text
    again = writes(goes_on(story, 120, OFFICE))
    assert [wanted for _, wanted, _ in again] == [HOME, OFFICE]


def test_the_former_one_is_the_last_that_was_not_ours() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB, CAFE)
    story.sees(ELSEWHERE)
    assert [wanted for _, wanted, _ in writes(goes_on(story, 20, HOME))] == [HOME]
    story.hear(RefreshRequested(1))
    story.works()
    story.answers(bob=OFFICE)
    assert writes(goes_on(story, 3, OFFICE)) == []
    assert story.kernel[BOB].endpoint == OFFICE
    assert story.peer(BOB).former == CAFE


def test_a_proof_forgets_what_was_tried() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.hear(RefreshRequested(1))
    story.works()
    story.answers(bob=OFFICE)
    goes_on(story, 3, OFFICE)
    story.connects(BOB)
    assert (story.peer(BOB).tried, story.peer(BOB).former, story.peer(BOB).trial) == ((), None, None)


def test_a_peer_that_cannot_be_probed_keeps_its_path_while_its_session_lasts() -> None:
    """It has no address of its own, and an empty packet draws no answer: that it is silent proves nothing."""
    site = kernel_peer(BOB, "192.168.50.0/24", OFFICE, 25)
    story = Story.of(site)
    shaken = int((EPOCH + story.now - 10) * 1e6)
    story.kernel[BOB] = replace(site, latest_handshake=shaken, rx_bytes=5000, tx_bytes=5000)
    story.starts()
    story.works()
    assert writes(goes_on(story, 160, HOME)) == []
    assert [wanted for _, wanted, _ in writes(goes_on(story, 60, HOME))][:1] == [HOME]


def test_a_peer_that_cannot_be_probed_is_given_up_when_somebody_sends_into_silence() -> None:
    site = kernel_peer(BOB, "192.168.50.0/24", HOME, 25)
    story = Story.settled(site, bob=HOME)
    story.connects(BOB, OFFICE)
    story.sees(ELSEWHERE)
    done: list[Action] = []
    for _ in range(25):
        story.sends(BOB, 2000)
        done += goes_on(story, 1, HOME)
    assert writes(done) == [(OFFICE, HOME, Reason.SILENT)]


# --- several registries ----------------------------------------------------------------------------------------------


def with_two() -> Story:
    story = Story.of(bob())
    story.hear(ConfigLoaded(TWO))
    story.starts()
    story.works()
    return story


def test_the_first_answer_is_acted_on_and_another_is_the_next_candidate() -> None:
    story = with_two()
    (ask,) = of_kind(LookUp, story.done)
    assert [str(server) for server in ask.servers] == ["10.0.0.254", SECOND]
    story.tells(SECOND, bob=OFFICE, me=CAFE)
    story.sleeps(0.02)
    story.works()
    assert story.kernel[BOB].endpoint == OFFICE
    story.tells("10.0.0.254", bob=HOME, me=CAFE)
    story.works()
    assert story.kernel[BOB].endpoint == OFFICE, "nothing is wrong with it yet"
    assert shown(story).candidates == (OFFICE, HOME)
    for _ in range(8):
        story.sleeps(1)
        story.works()
    assert story.kernel[BOB].endpoint == HOME


def test_answers_that_change_places_change_nothing() -> None:
    story = with_two()
    story.tells("10.0.0.254", bob=HOME)
    story.tells(SECOND, bob=OFFICE)
    story.works()
    story.connects(BOB)
    story.hear(RefreshRequested(1))
    story.works()
    before = len(story.done)
    story.tells(SECOND, bob=OFFICE)
    story.tells("10.0.0.254", bob=HOME)
    story.works()
    assert writes(tuple(story.done[before:])) == []


def test_a_registry_whose_record_changes_is_followed_while_the_other_is_silent() -> None:
    story = with_two()
    story.tells("10.0.0.254", bob=HOME)
    story.tells(SECOND, bob=HOME)
    story.works()
    story.connects(BOB)
    story.hear(RefreshRequested(1))
    story.works()
    story.tells("10.0.0.254", bob=CAFE)
    story.sleeps(0.02)
    story.works()
    assert story.kernel[BOB].endpoint == CAFE
    story.tells(SECOND, bob=NoAnswer("silence"))
    story.works()
    assert story.kernel[BOB].endpoint == CAFE


@pytest.mark.parametrize("slow_one_says", [HOME, OFFICE])
def test_a_record_that_changes_is_followed_though_another_registry_answers_first(slow_one_says: Endpoint) -> None:
    story = with_two()
    story.tells("10.0.0.254", bob=HOME)
    story.tells(SECOND, bob=slow_one_says)
    story.works()
    story.connects(BOB)
    done = told_by_both(story, CAFE, slow_one_says)
    assert writes(done) == [(HOME, CAFE, Reason.MOVED)]


def test_a_record_that_changes_back_is_not_followed_later() -> None:
    story = with_two()
    story.tells("10.0.0.254", bob=HOME)
    story.tells(SECOND)
    story.works()
    story.connects(BOB)
    for said in (SIX, HOME):
        assert writes(told_by_both(story, said, None)) == []
        story.receives(BOB)
        story.check()
    assert writes(told_by_both(story, HOME, CAFE)) == []


def told_by_both(story: Story, first: Endpoint, second: Endpoint | None) -> tuple[Action, ...]:
    """A pass in which the second registry is the faster one; it knows nothing if its answer is None."""
    story.sleeps(1)
    before = len(story.done)
    story.hear(RefreshRequested(before))
    story.works()
    story.tells(SECOND, **({} if second is None else {"bob": second}))
    story.tells("10.0.0.254", bob=first)
    story.works()
    return tuple(story.done[before:])


def test_one_dead_registry_of_two_is_no_trouble_while_the_other_answers() -> None:
    story = Story.of(bob(), kernel_peer(CAROL, "10.0.0.3/32"))
    story.hear(ConfigLoaded(TWO))
    story.starts()
    story.works()
    dead = NoAnswer("silence")
    for turn in range(2):
        while not story.tunnel.pending:
            story.shakes(BOB)
            story.shakes(REGISTRY)
            story.sleeps(5)
            story.works()
        story.tells("10.0.0.254", bob=HOME)
        story.sleeps(3)
        story.tells(SECOND, bob=dead, carol=dead, me=dead)
        story.works()
        assert story.tunnel.lookup_error is None, f"turn {turn}"


@pytest.mark.parametrize(
    ("theirs", "ours", "reason"),
    [
        (True, True, Reason.BOTH_SYMMETRIC),
        (True, False, Reason.SYMMETRIC_NAT),
        (False, True, Reason.OWN_SYMMETRIC_NAT),
        (False, False, Reason.NO_REPLY),
    ],
)
def test_two_ports_for_one_address_mean_a_symmetric_nat(theirs: bool, ours: bool, reason: Reason) -> None:
    story = with_two()
    other = {True: replace(HOME, port=40913), False: HOME}[theirs], {True: replace(CAFE, port=1024), False: CAFE}[ours]
    story.tells("10.0.0.254", bob=HOME, me=CAFE)
    story.tells(SECOND, bob=other[0], me=other[1])
    story.works()
    story.sleeps(60)
    for _ in range(40):
        story.works()
        story.sleeps(1)
    assert shown(story).reason is reason


def test_peers_behind_one_public_address_are_told_so() -> None:
    story = Story.of(bob())
    story.starts()
    story.works()
    story.answers(bob=HOME, me=replace(HOME, port=1024))
    done = goes_on(story, 60, HOME)
    assert writes(done) == []
    assert shown(story).reason is Reason.SAME_PUBLIC_ADDRESS


# --- memory ----------------------------------------------------------------------------------------------------------


def test_what_worked_here_is_remembered_and_serves_when_no_registry_answers() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    memory = of_kind(Remember, story.done)[-1].memory
    assert memory.recall("uuid-eth0 192.0.2.1", "uuid-home", BOB) == HOME

    again = Story.of(bob())
    again.watch = replace(again.watch, memory=memory)
    again.starts()
    again.works()
    again.sleeps(HURRY)
    again.works()
    assert again.kernel[BOB].endpoint == HOME, "the registry is given a second, not seven"
    assert of_kind(Announce, again.done)[-1].reason is Reason.CACHED
    assert shown(again).source is Source.CACHE


def test_on_another_network_it_is_not_recalled() -> None:
    story = Story.of(bob())
    memory = Memory().remember("uuid-eth0 192.0.2.1", "uuid-home", {BOB: HOME})
    story.watch = replace(story.watch, memory=memory)
    story.network = network(ELSEWHERE, tunnels=story.network.tunnels)
    story.starts()
    story.works()
    story.sleeps(2)
    story.works()
    assert story.kernel[BOB].endpoint is None
    story.sees(uplink())
    story.works()
    story.sleeps(2)
    story.works()
    assert story.kernel[BOB].endpoint == HOME


def test_the_same_is_remembered_once() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    for _ in range(5):
        story.receives(BOB)
        story.check()
    assert len(of_kind(Remember, story.done)) == 1


# --- others who write ------------------------------------------------------------------------------------------------


def person_sets(story: Story, endpoint: Endpoint) -> None:
    """While packets were still coming in."""
    story.receives(BOB)
    story.kernel[BOB] = replace(story.kernel[BOB], endpoint=endpoint)
    story.check()


def test_a_foreign_endpoint_gets_its_trial_and_twice_in_a_minute_its_way() -> None:
    story = Story.settled(bob(), bob=HOME)
    person_sets(story, CAFE)
    done = goes_on(story, 8, HOME)
    assert writes(done) == [(CAFE, HOME, Reason.SILENT)]
    person_sets(story, CAFE)
    assert writes(goes_on(story, 600, HOME)) == []
    assert (shown(story).reason, shown(story).endpoint) == (Reason.STOOD_DOWN, CAFE)
    story.sees(ELSEWHERE)
    assert story.peer(BOB).stood_down is False
    assert [wanted for _, wanted, _ in writes(goes_on(story, 20, HOME))] == [HOME]


def test_a_foreign_endpoint_in_place_of_a_live_one_is_found_out_by_its_silence() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    person_sets(story, CAFE)
    done: list[Action] = []
    for _ in range(30):
        story.sends(BOB, 2000)
        done += goes_on(story, 1, HOME)
    assert writes(done) == [(CAFE, HOME, Reason.SILENT)]


def test_who_changes_his_mind_does_not_contest_ours() -> None:
    story = Story.settled(bob(), bob=HOME)
    for endpoint in (CAFE, OFFICE, CAFE):
        person_sets(story, endpoint)
    assert [wanted for _, wanted, _ in writes(goes_on(story, 30, HOME))][:1] == [HOME]


def test_a_second_time_that_proves_to_be_roaming_is_no_contest() -> None:
    story = Story.settled(bob(), bob=HOME)
    person_sets(story, CAFE)
    goes_on(story, 8, HOME)
    story.connects(BOB, OFFICE)
    assert story.peer(BOB).stood_down is False
    assert writes(goes_on(story, 60, HOME)) == []
    assert shown(story).source is Source.ROAMED


def test_slowly_it_is_no_contest() -> None:
    story = Story.settled(bob(), bob=HOME)
    for _ in range(3):
        person_sets(story, CAFE)
        assert HOME in [wanted for _, wanted, _ in writes(goes_on(story, 70, HOME))]


def test_a_peer_that_roams_is_no_contestant() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    for endpoint in (CAFE, OFFICE, CAFE):
        story.receives(BOB, endpoint)
        story.check()
    assert story.peer(BOB).stood_down is False
    assert shown(story).source is Source.ROAMED


def test_an_endpoint_that_worked_before_it_fell_silent_was_no_contest() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    for roamed in (CAFE, OFFICE):
        story.receives(BOB, roamed)
        story.check()
        story.receives(BOB)
        story.check()
        done: list[Action] = []
        for _ in range(40):
            story.sends(BOB, 2000)
            done += goes_on(story, 1, HOME)
        assert writes(done) == [(roamed, HOME, Reason.SILENT)]
        story.connects(BOB)
    assert story.peer(BOB).stood_down is False


def stood_down() -> Story:
    """Somebody has set bob's endpoint twice."""
    story = Story.settled(bob(), bob=HOME)
    for _ in range(2):
        person_sets(story, CAFE)
        goes_on(story, 10, HOME)
    assert story.peer(BOB).stood_down
    return story


def test_who_stood_down_goes_on_when_the_foreign_endpoint_has_worked() -> None:
    story = stood_down()
    story.shakes(BOB)
    story.check()
    assert story.peer(BOB).stood_down is False
    done: list[Action] = []
    for _ in range(60):
        story.sends(BOB, 2000)
        done += goes_on(story, 1, HOME)
    assert [wanted for _, wanted, _ in writes(done)][:1] == [HOME]


def test_who_stood_down_still_sets_what_was_cleared() -> None:
    story = stood_down()
    story.kernel[BOB] = replace(story.kernel[BOB], endpoint=None)
    assert writes(goes_on(story, 20, HOME))[:1] == [(None, HOME, Reason.FOUND)]


def test_an_order_that_was_carried_out_too_late_to_be_told_is_ours() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    story.sleeps(1)
    story.hear(RefreshRequested(1))
    story.works()
    story.answers(bob=OFFICE)
    (order,) = of_kind(SetEndpoints, story.done)[-1:]
    for change in order.changes:
        story.carry_out(change)
    story.hear(SetFailed("wg0", CallTimedOut("slow")))
    story.check()
    peer = story.peer(BOB)
    assert (peer.written, peer.former, peer.usurped_at) == (OFFICE, HOME, None)
    assert of_kind(Announce, story.done)[-1].reason is not Reason.ROAMED
    assert not peer.evidence.alive, "it has to prove itself"


def test_a_failed_write_is_no_trouble_any_more_when_nothing_is_left_to_write() -> None:
    story = Story.of(bob(keepalive=0))
    story.hear(ConfigLoaded(config.parse(f'[tunnel.home]\nzone = "z.example"\nregistry = "{SECOND}"\n', "test")))
    story.starts()
    story.works()
    story.answers(bob=HOME)
    story.hear(SetFailed("wg0", CallTimedOut("slow")))
    assert story.tunnel.refusal is not None
    story.kernel[BOB] = replace(story.kernel[BOB], endpoint=HOME)
    goes_on(story, 60, HOME)
    assert story.tunnel.refusal is None


# --- who is poked ----------------------------------------------------------------------------------------------------


def test_nobody_is_poked_whom_nobody_wants() -> None:
    story = Story.of(bob(keepalive=0))
    story.starts()
    story.works()
    story.answers(bob=HOME)
    story.works()
    assert story.kernel[BOB].endpoint == HOME
    pokes = [change for order in of_kind(SetEndpoints, story.done) for change in order.changes if change.wanted is None]
    assert [change.public_key for change in pokes] == [REGISTRY]


def orders_of_a_refresh(story: Story, answer: Endpoint) -> list[tuple[EndpointChange, ...]]:
    """What is ordered for the registry's answer, after what needs none."""
    story.hear(RefreshRequested(1))
    story.works()
    before = len(story.done)
    story.answers(bob=answer)
    story.works()
    return [order.changes for order in of_kind(SetEndpoints, story.done[before:])]


def test_a_wanted_peer_without_keepalive_is_poked_when_it_is_set() -> None:
    story = Story.settled(bob(keepalive=0), bob=HOME)
    story.sleeps(1)
    story.sends(BOB, 5000)
    story.check()
    orders = orders_of_a_refresh(story, OFFICE)
    assert orders == [(EndpointChange(BOB, HOME, OFFICE),), (EndpointChange(BOB, OFFICE, None),)]


def test_a_peer_that_refresh_makes_wanted_is_poked_when_its_lookup_is_answered() -> None:
    story = Story.settled(bob(keepalive=0), bob=HOME)
    orders = orders_of_a_refresh(story, HOME)
    assert orders == [(EndpointChange(BOB, HOME, None),)]


@pytest.mark.parametrize("chance", [0.0, 0.9])
def test_a_peer_without_keepalive_is_wanted_when_the_kernel_begins_handshakes_for_somebody(chance: float) -> None:
    """Its session has ended long ago, and it has moved: nothing but initiations is sent, each five seconds."""
    story = Story.settled(bob(keepalive=0), bob=HOME)
    story.chance = chance
    for _ in range(10):
        story.shakes(REGISTRY)
        goes_on(story, 100, HOME)
    done: list[Action] = []
    for _ in range(12):
        story.sends(BOB, 148)
        done += goes_on(story, 5, OFFICE)
    assert (HOME, OFFICE, Reason.MOVED) in writes(done)


def test_initiations_that_a_poke_of_ours_began_make_nobody_wanted() -> None:
    story = Story.settled(bob(keepalive=0), bob=HOME)
    story.hear(RefreshRequested(1))
    goes_on(story, 1, HOME)
    wanted_until = story.peer(BOB).named_until
    for _ in range(18):
        story.sends(BOB, 148)
        goes_on(story, 5.3, HOME)
    goes_on(story, wanted_until - story.now + 1, HOME)
    assert not story.peer(BOB).wanted(story.now)


# --- the registry's own peer -----------------------------------------------------------------------------------------


def with_host(*uplinks: Uplink) -> Story:
    story = Story.of(bob())
    listed = tunnel(ProfilePeer(BOB, allowed_ips=bob().allowed_ips))
    named = profile(REGISTRY, "10.0.0.254/32", "registry.example.com:51820")
    story.network = network(*(uplinks or (uplink(),)), tunnels=[replace(listed, peers=(named, *listed.peers[1:]))])
    return story


def connected_by_host() -> Story:
    story = with_host()
    story.starts()
    story.works()
    story.answers(bob=HOME)
    story.works()
    story.connects(REGISTRY)
    story.connects(BOB)
    return story


def test_the_registrys_host_is_resolved_again_when_its_path_is_dead() -> None:
    story = connected_by_host()
    actions = story.sees(ELSEWHERE)
    assert of_kind(Resolve, actions) == [], "it may well be alive"
    story.works()
    actions = story.sleeps(2.5) + story.works() + story.sleeps(1)
    (order,) = of_kind(Resolve, actions)
    assert order == Resolve("wg0", REGISTRY, "registry.example.com", 51820, (ELSEWHERE,))
    moved = Endpoint.parse("203.0.113.7:51820")
    story.hear(HostResolved("wg0", REGISTRY, "registry.example.com", (moved,)))
    story.works()
    assert story.kernel[REGISTRY].endpoint == moved
    assert of_kind(Announce, story.done)[-1].reason is Reason.RESOLVED
    story.connects(REGISTRY)
    assert of_kind(Resolve, story.sleeps(600)) == []


def test_without_keepalive_it_is_resolved_again_all_the_same() -> None:
    story = with_host()
    story.kernel[REGISTRY] = replace(story.kernel[REGISTRY], persistent_keepalive=0)
    story.starts()
    story.works()
    story.answers(bob=HOME)
    story.connects(REGISTRY)
    story.hear(Woke())
    for _ in range(12):
        story.works()
        story.sleeps(1)
    assert of_kind(Resolve, story.done)


def test_where_its_address_has_no_route_it_is_resolved_and_set_at_once() -> None:
    story = connected_by_host()
    only_six = replace(ELSEWHERE, addresses=(ip_interface("2001:db8:1::10/64"),), gateways=(ip_address("fe80::1"),))
    story.sees(only_six)
    story.works()
    actions = tuple(story.done)
    assert of_kind(Resolve, actions) or of_kind(Resolve, story.sleeps(0.1))
    story.hear(HostResolved("wg0", REGISTRY, "registry.example.com", (REGISTRY_AT, SIX)))
    story.works()
    assert story.kernel[REGISTRY].endpoint == SIX


def test_a_host_that_cannot_be_resolved_is_tried_again_ever_more_rarely() -> None:
    story = connected_by_host()
    story.sees(ELSEWHERE)
    times: list[float] = []
    end = story.now + 200
    while story.now < end:
        done = story.works()
        done += story.sleeps(0.25)
        if of_kind(Resolve, done):
            times.append(story.now)
            story.hear(HostResolved("wg0", REGISTRY, "registry.example.com", NoAnswer("silence")))
        if story.tunnel.pending:
            story.answers(bob=NoAnswer("silence"))
    gaps = [round(later - earlier) for earlier, later in pairwise(times)]
    assert gaps[:5] == sorted(gaps[:5])
    assert gaps[-1] > 30


def test_a_literal_address_is_never_resolved() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.sees(ELSEWHERE)
    done = goes_on(story, 120, HOME)
    assert of_kind(Resolve, done) == []


def test_when_the_registrys_peer_is_back_all_are_looked_up_at_once() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(REGISTRY)
    story.sees(ELSEWHERE)
    story.works()
    story.answers(bob=NoAnswer("silence"), me=NoAnswer("silence"))
    story.works()
    story.sleeps(1)
    story.shakes(REGISTRY)
    before = len(story.done)
    story.works()
    asked = of_kind(LookUp, story.done[before:])
    assert asked
    assert BOB in asked[0].keys


def test_a_device_of_somebody_else_is_read_before_anything_is_asked() -> None:
    story = Story.of(bob())
    listed = tunnel(ProfilePeer(BOB))
    story.network = network(uplink(), tunnels=[replace(listed, peers=(ProfilePeer(REGISTRY), ProfilePeer(BOB)))])
    assert of_kind(LookUp, story.hear(NetworkSeen(story.network))) == []
    story.works()
    (ask,) = of_kind(LookUp, story.done)
    assert [server.device for server in ask.servers] == ["wg0"]
    assert REGISTRY not in ask.keys


# --- timers and callers ----------------------------------------------------------------------------------------------


def test_lookups_that_are_due_together_are_made_together() -> None:
    peers = [kernel_peer(key(f"peer {n}"), f"10.0.1.{n}/32", keepalive=25) for n in range(40)]
    story = Story.of(*peers)
    story.starts()
    story.works()
    story.answers()
    times: list[float] = []
    end = story.now + 130
    while story.now < end:
        story.works()
        if of_kind(LookUp, story.sleeps(0.1)):
            times.append(story.now)
        if story.tunnel.pending:
            story.answers()
    assert 1 <= len(times) <= 2 * (15 + 1), "a back-off of 60 s, spread over fifteen seconds"


def test_whenever_somebody_is_looked_up_we_ask_for_ourselves_too() -> None:
    story = Story.of(bob())
    story.starts()
    story.works()
    story.answers(bob=NoSuchPeer("unknown", 1), me=NoSuchPeer("unknown", 1))
    asked = of_kind(LookUp, story.sleeps(3))
    assert SELF in asked[0].keys
    story.answers(bob=NoSuchPeer("unknown", 1), me=CAFE)
    asked = of_kind(LookUp, story.works() + story.sleeps(3))
    assert SELF in asked[0].keys
    story.answers(bob=NoSuchPeer("unknown", 1), me=OFFICE)
    assert story.tunnel.seen == (("10.0.0.254", OFFICE),)


@pytest.mark.parametrize("gone", [(), (replace(uplink(), addresses=()),)])
def test_whoever_waits_hears_at_once_that_nothing_can_be_done(gone: tuple[Uplink, ...]) -> None:
    story = Story.settled(bob(), bob=HOME)
    story.hear(RefreshRequested(1))
    (reply,) = of_kind(Reply, story.sees(*gone))
    assert (reply.token, str(reply.error)) == (1, "there is no network connection")
    assert story.watch.waiting == ()
    story.sees(uplink())
    story.hear(RefreshRequested(2))
    (reply,) = of_kind(Reply, story.hear(SeatChanged(active=False)))
    assert (reply.token, str(reply.error)) == (2, "another user's login session is active")
