# SPDX-License-Identifier: GPL-2.0-or-later
"""What people are shown, in the course of a laptop's day."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.core_story import (
    BOB,
    CAFE,
    HOME,
    OFFICE,
    REGISTRY,
    REGISTRY_AT,
    SELF,
    Story,
    kernel_peer,
    key,
    profile,
    tunnel,
    uplink,
)
from wgsd_nm.core import config
from wgsd_nm.core.errors import AccessDenied, LookupFailed, NoAnswer, NoSuchPeer
from wgsd_nm.core.events import (
    ConfigLoaded,
    LookupsAnswered,
    NetworkSeen,
    ReadFailed,
    RefreshRequested,
    SeatChanged,
    SessionChanged,
)
from wgsd_nm.core.model import (
    Advertisement,
    Connectivity,
    Endpoint,
    Network,
    Peer,
    PeerState,
    PublicKey,
    Source,
    State,
    Way,
)
from wgsd_nm.core.reason import Reason
from wgsd_nm.core.status import AgentStatus, PeerStatus, TunnelStatus, status
from wgsd_nm.core.watch import AgentWatch


def bob(endpoint: Endpoint | None = None, keepalive: int = 25) -> Peer:
    return kernel_peer(BOB, "10.0.0.2/32", endpoint, keepalive)


def of(story: Story) -> AgentStatus:
    return status(story.watch, story.now)


def shown(story: Story, public_key: PublicKey = BOB) -> PeerStatus:
    (peer,) = [peer for peer in of(story).peers if peer.public_key == public_key]
    return peer


def shown_tunnel(story: Story) -> TunnelStatus:
    (each,) = of(story).tunnels
    return each


def verdict(story: Story, public_key: PublicKey = BOB) -> tuple[PeerState, Reason]:
    peer = shown(story, public_key)
    return peer.state, peer.reason


def test_a_day() -> None:
    story = Story.of(bob())
    story.starts()
    assert of(story).state is State.LOOKING_UP
    assert of(story).peers == (), "nothing is known of the kernel's peers yet"
    story.reads()
    assert verdict(story) == (PeerState.UNKNOWN, Reason.LOOKING_UP)
    assert verdict(story, REGISTRY) == (PeerState.PROBING, Reason.UNPROVEN)
    story.acknowledges()
    story.answers(bob=HOME)
    story.works()
    assert of(story).state is State.DEGRADED
    assert verdict(story) == (PeerState.PROBING, Reason.UNPROVEN)
    assert (shown(story).endpoint, shown(story).source) == (HOME, Source.REGISTRY)
    assert shown(story).way is Way.INTERNET
    story.sleeps(0.5)
    story.shakes(REGISTRY)
    story.connects(BOB)
    assert verdict(story) == (PeerState.CONNECTED, Reason.CONNECTED)
    assert of(story).state is State.OK
    story.sees()
    assert of(story).state is State.OFFLINE


def test_where_nothing_is_done_the_state_says_why() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.sees(uplink(), connectivity=Connectivity.PORTAL)
    assert of(story).state is shown_tunnel(story).state is State.CAPTIVE_PORTAL
    story.hear(SeatChanged(False))
    assert of(story).state is State.UNAVAILABLE
    story.hear(NetworkSeen(Network()))
    assert of(story).state is State.UNAVAILABLE
    assert of(story).tunnels == ()


def test_without_a_configured_tunnel_it_is_idle() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.hear(NetworkSeen(replace(story.network, tunnels=())))
    assert of(story).state is State.IDLE


def test_nothing_at_all() -> None:
    assert status(AgentWatch(), 0.0) == AgentStatus(State.UNAVAILABLE, (), ())


def test_a_refusing_helper_is_shown() -> None:
    story = Story.of(bob())
    story.starts()
    story.hear(ReadFailed("wg0", AccessDenied("polkit says no")))
    assert of(story).state is State.UNAVAILABLE
    assert shown_tunnel(story).last_error == "polkit says no"


@pytest.mark.parametrize(
    ("answer", "state", "reason", "says"),
    [
        (NoSuchPeer("unknown"), PeerState.UNREACHABLE, Reason.NOT_REGISTERED, "does not know"),
        (NoAnswer("silence"), PeerState.UNREACHABLE, Reason.NO_ANSWER, "did not answer"),
        (Endpoint.parse("10.0.0.254:1"), PeerState.UNREACHABLE, Reason.INSIDE_TUNNEL, "10.0.0.254:1"),
        (Endpoint.parse("[2001:db8::1]:1"), PeerState.UNREACHABLE, Reason.NO_ROUTE, "[2001:db8::1]:1"),
    ],
)
def test_why_a_peer_has_no_endpoint(
    answer: Endpoint | LookupFailed, state: PeerState, reason: Reason, says: str
) -> None:
    story = Story.of(bob())
    story.starts()
    story.works()
    story.answers(bob=answer)
    story.works()
    assert verdict(story) == (state, reason)
    assert says in shown(story).text
    assert shown(story).source is Source.NONE
    assert shown(story).way is Way.NONE


def test_a_path_from_which_nothing_comes_is_called_so_after_15_seconds() -> None:
    story = Story.settled(bob(), bob=HOME)
    while story.now < 120:
        story.check()
        assert story.hear(LookupsAnswered("wg0", "10.0.0.254", ())) == ()
    assert verdict(story) == (PeerState.UNREACHABLE, Reason.NO_REPLY)
    assert verdict(story, REGISTRY) == (PeerState.STALE, Reason.REGISTRY_SILENT)
    assert str(REGISTRY_AT) in shown(story, REGISTRY).text


def test_a_path_that_once_worked_is_stale() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB)
    story.sees(uplink("192.0.2.99/24"))
    story.works()
    story.answers(bob=HOME)
    assert verdict(story) == (PeerState.PROBING, Reason.UNPROVEN)
    story.now += 16
    assert verdict(story) == (PeerState.STALE, Reason.NO_REPLY)


def test_a_peer_that_nobody_wants_is_idle_and_no_trouble() -> None:
    story = Story.settled(bob(HOME, keepalive=0), bob=HOME)
    story.shakes(REGISTRY)
    story.check()
    assert verdict(story) == (PeerState.IDLE, Reason.NOT_WANTED)
    assert of(story).state is State.OK


def test_an_endpoint_that_the_peer_showed_us_is_roamed() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.connects(BOB, CAFE)
    assert (shown(story).endpoint, shown(story).source) == (CAFE, Source.ROAMED)


@pytest.mark.parametrize(
    ("named", "source"),
    [(str(HOME), Source.PROFILE), ("bob.example.com:51820", Source.PROFILE), (str(OFFICE), Source.ROAMED)],
)
def test_an_endpoint_of_the_profile_is_left_alone_and_shown_so(named: str, source: Source) -> None:
    story = Story.of(bob(HOME))
    story.network = replace(story.network, tunnels=(tunnel(profile(BOB, "10.0.0.2/32", named)),))
    story.starts()
    story.works()
    assert shown(story).source is source
    assert verdict(story) == (PeerState.PROBING, Reason.PROFILE_ENDPOINT)


def test_names_come_from_the_configuration_then_the_registry_then_the_key() -> None:
    story = Story.settled(bob(), bob=HOME)
    assert shown(story).name == str(BOB)[:8]
    story.hear(RefreshRequested(1))
    story.hear(LookupsAnswered("wg0", "10.0.0.254", ((BOB, Advertisement(BOB, (HOME,), 0, name="bobs-laptop")),)))
    assert shown(story).name == "bobs-laptop"
    text = f'[tunnel.home]\nzone = "wg.example.com"\nregistry = "10.0.0.254"\nnames.Bob = "{BOB}"\n'
    story.hear(ConfigLoaded(config.parse(text, "test")))
    story.works()
    assert shown(story).name == "Bob"


def test_a_silent_registry_degrades_the_tunnel_until_it_answers_again() -> None:
    story = Story.settled(bob(keepalive=0), bob=HOME)
    story.shakes(REGISTRY)
    story.check()
    story.hear(RefreshRequested(1))
    story.works()
    story.answers(bob=NoAnswer("silence"), me=NoAnswer("silence"))
    story.works()
    assert (shown_tunnel(story).state, shown_tunnel(story).last_error) == (State.DEGRADED, "silence")
    story.sleeps(0.5)
    story.hear(RefreshRequested(2))
    story.works()
    story.answers(bob=HOME, me=OFFICE)
    assert shown_tunnel(story).last_error == ""
    assert shown_tunnel(story).public_endpoints == (OFFICE,)


def test_a_registry_that_tells_of_changes_is_well_though_it_left_a_question_unanswered() -> None:
    story = Story.settled(bob(keepalive=0), bob=HOME)
    story.shakes(REGISTRY)
    story.shakes(BOB)
    story.check()
    story.hear(RefreshRequested(1))
    story.works()
    story.hear(SessionChanged("wg0", "10.0.0.254", frozenset([BOB, SELF])))
    story.answers(bob=NoAnswer("silence"), me=NoAnswer("silence"))
    story.works()
    assert (shown_tunnel(story).state, shown_tunnel(story).last_error) == (State.OK, "")
    story.hear(SessionChanged("wg0", "10.0.0.254", frozenset([SELF])))
    assert (shown_tunnel(story).state, shown_tunnel(story).last_error) == (State.DEGRADED, "silence")


def test_a_wrong_configuration_is_shown_beside_the_tunnels() -> None:
    story = Story.settled(bob(), bob=HOME)
    story.hear(ConfigLoaded(None, "config.toml: zone: expected"))
    assert status(story.watch, story.now).last_error == "config.toml: zone: expected"
    assert shown_tunnel(story).last_error == ""


def test_clients_are_told_of_a_peers_change_but_not_of_the_times() -> None:
    story = Story.settled(bob(), bob=HOME)
    before = shown(story)
    later = replace(before, last_lookup=before.last_lookup + 9, latest_handshake=7, text="else")
    assert not later.differs(before)
    changes = {"endpoint": OFFICE, "source": Source.ROAMED, "state": PeerState.STALE, "reason": Reason.NO_REPLY}
    for change in ({name: value} for name, value in (changes | {"last_error": "no", "name": "x"}).items()):
        assert replace(before, **change).differs(before)  # type: ignore[arg-type]  # each of its own type


def test_registries_and_zone_are_shown() -> None:
    story = Story.settled(bob(), bob=HOME)
    each = shown_tunnel(story)
    assert (each.interface, each.connection_id, each.zone, each.registries, each.public_key) == (
        "wg0",
        "home",
        "wg.example.com.",
        ("10.0.0.254",),
        key("me"),
    )
