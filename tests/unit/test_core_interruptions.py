# SPDX-License-Identifier: GPL-2.0-or-later
"""Stories of work that is interrupted: by a captive portal, another user's session, other tunnels, a lost network."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.core_story import (
    BOB,
    CAFE,
    HOME,
    OFFICE,
    REGISTRY_AT,
    SELF,
    Story,
    kernel_peer,
    key,
    network,
    of_kind,
    uplink,
)
from wgsd_nm.core import config
from wgsd_nm.core.errors import ServiceUnavailable
from wgsd_nm.core.events import (
    ConfigLoaded,
    ForgetServers,
    LookUp,
    NetworkSeen,
    PeersRead,
    ReadPeers,
    RefreshRequested,
    Reply,
    SeatChanged,
    SetEndpoints,
)
from wgsd_nm.core.model import Connectivity, Network, Tunnel
from wgsd_nm.core.schedule import BACKOFF_MOST, JITTER

ELSEWHERE = uplink("198.18.0.5/24", "198.18.0.1", "wlan0")


def settled() -> Story:
    return Story.settled(kernel_peer(BOB, "10.0.0.2/32", keepalive=25), bob=HOME)


def enters_portal(story: Story, *, seconds: float) -> None:
    """For so long the network wants a login first."""
    uplinks = story.network.uplinks
    story.sees(*uplinks, connectivity=Connectivity.PORTAL)
    story.works()
    story.sleeps(seconds)
    story.sees(*uplinks)


def test_the_time_in_a_portal_is_no_trial() -> None:
    story = settled()
    story.connects(BOB)
    story.receives(BOB, CAFE)
    story.check()
    story.sees(ELSEWHERE)
    story.works()
    story.answers(bob=HOME)
    story.works()
    assert story.peer(BOB).trial is not None
    enters_portal(story, seconds=120)
    story.works()
    story.answers(bob=HOME)
    story.works()
    assert story.kernel[BOB].endpoint == CAFE, "its trial begins anew"


def test_no_back_off_grows_in_a_portal() -> None:
    story = settled()
    enters_portal(story, seconds=3700)
    story.works()
    story.answers(bob=HOME)
    story.works()
    at = story.peer(BOB).next_lookup
    assert at is not None
    assert at - story.now <= BACKOFF_MOST * (1 + JITTER)


def test_nothing_is_read_for_what_ends_while_another_user_is_active() -> None:
    story = settled()
    story.sleeps(1)
    story.hear(RefreshRequested(1))
    story.works()
    story.answers(bob=OFFICE)
    assert story.tunnel.writing
    story.hear(SeatChanged(False))
    before = len(story.done)
    story.acknowledges()
    assert of_kind(ReadPeers, story.done[before:]) == []


def test_whoever_waits_hears_that_networkmanager_has_gone() -> None:
    story = settled()
    story.hear(RefreshRequested(1))
    (reply,) = of_kind(Reply, story.hear(NetworkSeen(Network())))
    assert isinstance(reply.error, ServiceUnavailable)


def test_a_tunnel_of_somebody_else_that_is_understood_disturbs_no_other_one() -> None:
    """What leads to its registry is known when it has been read; others' lookups are under way by then."""
    story = Story()
    sections = (f'[tunnel.wg{n}]\nzone = "z{n}.example"\nregistry = "10.{n}.0.254"\n' for n in (0, 1))
    story.hear(ConfigLoaded(config.parse("".join(sections), "test")))
    tunnels = [Tunnel(name, name, "", f"/dev/{name}", public_key=SELF) for name in ("wg0", "wg1")]
    story.hear(NetworkSeen(network(uplink(), tunnels=tunnels)))
    for n in (0, 1):
        registry = kernel_peer(key(f"registry {n}"), f"10.{n}.0.254/32", REGISTRY_AT, 25)
        actions = story.hear(PeersRead(f"wg{n}", (registry, kernel_peer(BOB, f"10.{n}.0.2/32")), story.clock))
        assert of_kind(ForgetServers, actions) == []
        assert [order.interface for order in of_kind(LookUp, actions)] == [f"wg{n}"]


@pytest.mark.parametrize("zone", ["other.example.com", ""])
def test_a_registry_or_zone_that_changes_in_the_profile_is_asked_at_once(zone: str) -> None:
    story = Story.of(kernel_peer(BOB, "10.0.0.2/32", keepalive=25))
    story.hear(ConfigLoaded(config.parse('[tunnel.home]\nzone = "auto"\nregistry = "10.0.0.254"\n', "test")))
    (tunnel,) = story.network.tunnels
    story.network = replace(story.network, tunnels=(replace(tunnel, search=("wg.example.com",)),))
    story.starts()
    story.works()
    story.sleeps(1)
    before = len(story.done)
    story.network = replace(story.network, tunnels=(replace(tunnel, search=(zone,) if zone else ()),))
    story.starts()
    story.works()
    asked = of_kind(LookUp, story.done[before:])
    assert [order.zone for order in asked] == ([f"{zone}."] if zone else [])
    assert story.tunnel.pass_started is None or asked
    assert of_kind(SetEndpoints, story.done[before:]) == []
