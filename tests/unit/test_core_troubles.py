# SPDX-License-Identifier: GPL-2.0-or-later
"""What there is to tell people, in the course of a laptop's day."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.core_story import (
    BOB,
    CAROL,
    HOME,
    OFFICE,
    REGISTRY,
    REGISTRY_AT,
    Story,
    kernel_peer,
    network,
    profile,
    tunnel,
    uplink,
)
from wgsd_nm.core import config
from wgsd_nm.core.errors import AccessDenied, NoAnswer
from wgsd_nm.core.events import ConfigLoaded, NetworkSeen, ReadFailed, RefreshRequested, SeatChanged
from wgsd_nm.core.model import Connectivity, Endpoint, Peer, PublicKey
from wgsd_nm.core.reason import Reason
from wgsd_nm.core.remedy import REMEDIES
from wgsd_nm.core.schedule import SESSION, STALE
from wgsd_nm.core.status import status
from wgsd_nm.core.troubles import DOCTOR, PORTAL, REFUSED, View, failures, readable, successes
from wgsd_nm.core.troubles import REGISTRY as THE_REGISTRY
from wgsd_nm.core.watch import Trial


def of(story: Story) -> View:
    return failures(story.watch, status(story.watch, story.now), story.now)


def reached(story: Story) -> View:
    return successes(story.watch, status(story.watch, story.now))


def whats(view: View) -> dict[PublicKey | None, str]:
    return {public_key: fact.what for (_, public_key), fact in view.facts.items()}


def undecided(view: View) -> set[PublicKey | None]:
    return {public_key for _, public_key in view.undecided}


def bob(keepalive: int = 25) -> Peer:
    return kernel_peer(BOB, "10.0.0.2/32", keepalive=keepalive)


def carol() -> Peer:
    return kernel_peer(CAROL, "10.0.0.3/32", keepalive=25)


def in_vain(*peers: Peer) -> Story:
    """The registry is reached, and knows where bob and carol are; neither answers."""
    story = Story.settled(*(peers or (bob(),)), bob=HOME, carol=OFFICE)
    story.connects(REGISTRY)
    passes(story, STALE)
    return story


def passes(story: Story, seconds: float) -> None:
    """Readings of the device, and answers of the registry to what it is asked meanwhile."""
    end = story.now + seconds
    while story.now < end:
        story.shakes(REGISTRY)
        story.check()
        story.answers(bob=HOME, carol=OFFICE)
        story.works()


def test_nothing_while_all_are_reached() -> None:
    story = in_vain()
    story.shakes(BOB)
    story.check()
    assert of(story) == View(quiet_since={"wg0": story.tunnel.last_pass})
    assert {key: fact.what for (_, key), fact in reached(story).facts.items()} == {BOB: Reason.CONNECTED}


def test_a_peer_is_undecided_as_long_as_it_is_tried() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(REGISTRY)
    view = of(story)
    assert (whats(view), undecided(view)) == ({}, {BOB})
    passes(story, STALE)
    view = of(story)
    assert (whats(view), undecided(view)) == ({BOB: Reason.NO_REPLY}, set())
    fact = view.facts["wg0", BOB]
    assert fact.why.startswith(f"Nothing comes back from {HOME}")
    assert fact.remedy == REMEDIES[Reason.NO_REPLY]


@pytest.mark.parametrize(("seconds", "tried", "failed"), [(1, (), False), (-1, (), True), (300, (HOME,), True)])
def test_it_is_undecided_during_a_trial_but_for_one_of_what_was_tried_in_vain(
    seconds: float, tried: tuple[Endpoint, ...], failed: bool
) -> None:
    story = in_vain()
    peer = story.peer(BOB)._replace(trial=Trial(HOME, story.now + seconds), tried=tried)
    story.watch = replace(story.watch, tunnels={"wg0": replace(story.tunnel, peers={**story.tunnel.peers, BOB: peer})})
    view = of(story)
    assert (whats(view), undecided(view)) == (({BOB: Reason.NO_REPLY}, set()) if failed else ({}, {BOB}))


def test_a_pass_leaves_all_undecided_that_are_not_reached() -> None:
    story = in_vain(bob(), carol())
    story.shakes(CAROL)
    story.check()
    story.sleeps(1)
    story.hear(RefreshRequested(1))
    view = of(story)
    assert (whats(view), undecided(view)) == ({}, {BOB, None})
    assert view.quiet_since == {"wg0": story.now}


def test_a_peer_that_nobody_wants_is_no_trouble() -> None:
    story = Story.settled(bob(keepalive=0))
    story.connects(REGISTRY)
    assert not of(story).facts
    assert not of(story).undecided


@pytest.mark.parametrize("cause", ["offline", "seat", "NetworkManager"])
def test_nothing_is_claimed_while_we_are_offline_or_not_in_charge(cause: str) -> None:
    story = in_vain()
    assert of(story).facts
    match cause:
        case "offline":
            story.sees()
        case "seat":
            story.hear(SeatChanged(False))
        case _:
            story.hear(NetworkSeen(replace(story.network, available=False)))
    assert of(story) == View()
    assert reached(story) == View()


def test_a_portal_is_one_trouble_of_all() -> None:
    story = in_vain(bob(), carol())
    story.sees(uplink(), connectivity=Connectivity.PORTAL)
    view = of(story)
    assert view == View({("", None): view.facts["", None]})
    assert view.facts["", None].what == PORTAL


def test_a_portal_in_which_all_are_reached_is_none() -> None:
    story = in_vain()
    story.shakes(BOB)
    story.check()
    story.sees(uplink(), connectivity=Connectivity.PORTAL)
    assert of(story) == View()


def test_a_registry_that_is_silent_is_one_trouble_whoever_else_is() -> None:
    story = Story.settled(bob(), carol(), bob=HOME, carol=OFFICE)
    story.sleeps(STALE)
    while story.tunnel.at_work or story.tunnel.pending:
        story.works()
        story.answers(bob=NoAnswer("silence"), carol=NoAnswer("silence"))
    story.check()
    view = of(story)
    assert (whats(view), undecided(view)) == ({None: THE_REGISTRY}, {REGISTRY, BOB, CAROL})
    fact = view.facts["wg0", None]
    assert (fact.name, fact.remedy) == ("the registry of wg0", REMEDIES[Reason.REGISTRY_SILENT])
    assert fact.why.startswith(f"Nothing comes back from the registry's peer at {REGISTRY_AT}")


def test_a_registry_that_does_not_answer_is_a_trouble_where_somebody_is_not_reached() -> None:
    story = in_vain()
    story.sleeps(1)
    silent = NoAnswer("silence")
    story.hear(RefreshRequested(1))
    story.works()
    story.answers(bob=silent, me=silent)
    story.works()
    view = of(story)
    assert (whats(view), undecided(view)) == ({None: THE_REGISTRY}, {BOB})
    assert view.facts["wg0", None].why == "The registry did not answer in time."
    story.shakes(BOB)
    story.check()
    assert of(story).facts == {}


def test_a_tunnel_without_a_registry_is_a_trouble_where_somebody_is_not_reached() -> None:
    story = Story.of(bob())
    story.hear(ConfigLoaded(config.parse('[tunnel.home]\nzone = "auto"\n', "test")))
    story.starts()
    story.works()
    view = of(story)
    assert whats(view) == {None: THE_REGISTRY}
    assert view.facts["wg0", None].remedy == DOCTOR


def test_a_helper_that_refuses_is_a_trouble_of_the_tunnel() -> None:
    story = in_vain()
    story.sleeps(20)
    story.hear(ReadFailed("wg0", AccessDenied("polkit does not let us")))
    view = of(story)
    assert whats(view) == {None: REFUSED}
    assert view.facts["wg0", None].why == "Polkit does not let us."


def test_a_peer_with_an_endpoint_in_its_profile_has_its_own_remedy() -> None:
    story = Story.of(bob())
    story.network = network(uplink(), tunnels=[tunnel(profile(BOB, "10.0.0.2/32", str(HOME)))])
    story.kernel[BOB] = replace(story.kernel[BOB], endpoint=HOME)
    story.starts()
    story.works()
    story.answers()
    passes(story, STALE)
    fact = of(story).facts["wg0", BOB]
    assert (fact.what, fact.remedy) == (Reason.PROFILE_ENDPOINT, REMEDIES[Reason.PROFILE_ENDPOINT])


def test_a_registrys_peer_that_is_reached_is_no_success() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(REGISTRY)
    assert reached(story).facts == {}
    story.sleeps(SESSION)
    assert reached(story).facts == {}


def test_every_reason_why_a_wanted_peer_may_not_be_reached_has_a_remedy() -> None:
    others = {Reason.FOUND, Reason.MOVED, Reason.SILENT, Reason.ROAMED, Reason.CACHED, Reason.ROLLED_BACK}
    others |= {Reason.RESOLVED, Reason.CONNECTED, Reason.UNPROVEN, Reason.NOT_WANTED, Reason.LOOKING_UP}
    assert set(Reason) - others == set(REMEDIES)


def test_names_from_outside_lose_what_cannot_be_seen() -> None:
    assert readable("bob\n\x1b[31m\u202e<b>\x00") == "bob  [31m <b>"
    assert readable("Zoë 日本") == "Zoë 日本"


def test_a_name_that_is_too_long_is_cut_and_one_that_cannot_be_seen_is_the_keys() -> None:
    story = in_vain()
    before = story.watch
    for name, shown in (("x" * 500, "x" * 48), ("\u202e", str(BOB)[:8])):
        section = replace(story.watch.config.tunnels[0], names={BOB: name})
        view_of = replace(story.watch, tunnels={"wg0": replace(story.tunnel, settings=section)})
        story.watch = view_of
        assert of(story).facts["wg0", BOB].name == shown
        story.shakes(BOB)
        story.check()
        assert reached(story).facts["wg0", BOB].name == shown
        story.watch = before
