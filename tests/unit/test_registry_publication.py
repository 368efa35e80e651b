# SPDX-License-Identifier: GPL-2.0-or-later
"""What of a device is published: by key, by allowed IP, by age, and the registry's own record."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.registry_objects import NOW, device, key, many, peer
from wgsd_nm.core.dnssd import parse_zone
from wgsd_nm.core.model import Device, Endpoint, IPAddress, Peer
from wgsd_nm.registry.config import Selection, SelfConfig, ZoneConfig
from wgsd_nm.registry.publication import Publication

ALICE = peer("alice", "192.0.2.1:1", "10.0.0.1/32", "fd00::1/128")
BOB = peer("bob", "192.0.2.2:2", "10.0.0.130/32")
CAROL = peer("carol", "192.0.2.3:3", "10.0.1.0/24")
NOBODY = peer("nobody", "192.0.2.4:4")
DEVICE = device(ALICE, BOB, CAROL, NOBODY)
HERE = ip_address("198.51.100.7")
GLOBAL, GLOBAL6 = ip_address("8.8.8.8"), ip_address("2600::1")


def selection(*items: str) -> Selection:
    """By the peer's name, or by a network."""
    networks = tuple(ip_network(item) for item in items if "/" in item)
    return Selection(frozenset(key(item) for item in items if "/" not in item), networks)


def zone(
    include: Selection | None = None,
    exclude: Selection = Selection(),  # noqa: B008 - it is frozen
    age: int | None = None,
    myself: SelfConfig | None = None,
) -> ZoneConfig:
    return ZoneConfig(
        parse_zone("wg.example.com"), "wg0", include=include, exclude=exclude, max_handshake_age=age, myself=myself
    )


def seen(one: Peer, seconds: float) -> Peer:
    """The peer with a handshake that many seconds before NOW."""
    return replace(one, latest_handshake=int((NOW - seconds) * 1e6))


def test_by_default_the_device_is_published_as_it_is() -> None:
    publication = Publication(zone())
    assert publication.peers(DEVICE, NOW) is DEVICE.peers
    assert publication.trouble == ""


@pytest.mark.parametrize(
    ("include", "exclude", "published"),
    [
        (None, selection("bob"), (ALICE, CAROL, NOBODY)),
        (None, selection("10.0.0.128/25"), (ALICE, CAROL, NOBODY)),
        (None, selection("10.0.0.0/16"), (NOBODY,)),
        (None, selection("10.0.1.0/25"), (ALICE, BOB, CAROL, NOBODY)),  # carol's network is wider than that
        (None, selection("10.0.1.0/24"), (ALICE, BOB, NOBODY)),
        (None, selection("fd00::/64"), (BOB, CAROL, NOBODY)),
        (None, selection("0.0.0.0/0"), (NOBODY,)),
        (None, selection("::/0"), (BOB, CAROL, NOBODY)),
        (selection("nobody", "alice"), Selection(), (ALICE, NOBODY)),
        (selection("10.0.0.0/25"), Selection(), (ALICE,)),
        (selection("fd00::/64", "bob"), Selection(), (ALICE, BOB)),
        (selection("10.0.0.0/24"), selection("10.0.0.128/25"), (ALICE,)),
        (selection("alice", "bob"), selection("alice"), (BOB,)),
        (selection("dave"), Selection(), ()),
    ],
)
def test_peers_are_chosen_by_key_and_by_allowed_ip(
    include: Selection | None, exclude: Selection, published: tuple[Peer, ...]
) -> None:
    publication = Publication(zone(include, exclude))
    for _ in range(2):
        assert tuple(publication.peers(DEVICE, NOW)) == published


def test_two_zones_over_one_device_choose_for_themselves() -> None:
    staff, guests = Publication(zone(selection("10.0.0.0/24"))), Publication(zone(None, selection("10.0.0.0/24")))
    assert tuple(staff.peers(DEVICE, NOW)) == (ALICE, BOB)
    assert tuple(guests.peers(DEVICE, NOW)) == (CAROL, NOBODY)


def test_a_peer_is_chosen_anew_when_its_allowed_ips_change_and_only_then() -> None:
    publication = Publication(zone(selection("10.0.0.0/25")))
    assert tuple(publication.peers(DEVICE, NOW)) == (ALICE,)
    moved = replace(BOB, allowed_ips=ALICE.allowed_ips)
    assert tuple(publication.peers(device(ALICE, moved), NOW)) == (ALICE, moved)
    shaken = seen(moved, 1)
    assert tuple(publication.peers(device(ALICE, shaken), NOW)) == (ALICE, shaken)
    gone = replace(shaken, allowed_ips=())
    assert tuple(publication.peers(device(gone, ALICE), NOW)) == (ALICE,)
    assert tuple(publication.peers(device(), NOW)) == ()


def test_what_has_not_changed_is_the_same_sequence() -> None:
    publication = Publication(zone(None, selection("bob")))
    assert publication.peers(DEVICE, NOW) is publication.peers(replace(DEVICE, peers=(*DEVICE.peers,)), NOW + 1)


PARTS = st.lists(st.sampled_from(["alice", "bob", "carol", "10.0.0.0/24", "10.0.0.0/25", "fd00::/16", "0.0.0.0/0"]))


@given(
    st.one_of(st.none(), PARTS),
    PARTS,
    st.lists(st.lists(st.sampled_from([*DEVICE.peers, seen(ALICE, 5), replace(BOB, allowed_ips=())]))),
)
def test_what_is_kept_from_before_does_not_matter(
    include: list[str] | None, exclude: list[str], devices: list[list[Peer]]
) -> None:
    settings = zone(None if include is None else selection(*include), selection(*exclude))
    publication = Publication(settings)
    for peers in devices:
        once = {one.public_key: one for one in peers}.values()
        assert tuple(publication.peers(device(*once), NOW)) == tuple(Publication(settings).peers(device(*once), NOW))


class TestAge:
    def test_a_peer_is_hidden_by_time_alone(self) -> None:
        publication = Publication(zone(age=240))
        fresh, older = seen(ALICE, 0), seen(BOB, 200)
        for later, published in ((0, (fresh, older)), (40, (fresh, older)), (41, (fresh,)), (240, (fresh,)), (241, ())):
            assert tuple(publication.peers(device(fresh, older), NOW + later)) == published

    def test_a_peer_without_a_handshake_is_hidden_and_one_from_the_future_is_not(self) -> None:
        publication = Publication(zone(age=10**12))
        future = seen(BOB, -5000)
        assert tuple(publication.peers(device(ALICE, future), NOW)) == (future,)

    def test_without_an_age_nobody_is_hidden(self) -> None:
        old = device(ALICE, seen(BOB, 10**8))
        assert Publication(zone()).peers(old, NOW) is old.peers

    def test_age_and_choice_go_together(self) -> None:
        publication = Publication(zone(None, selection("alice"), age=240))
        peers = seen(ALICE, 1), seen(BOB, 1), seen(CAROL, 500)
        assert tuple(publication.peers(device(*peers), NOW)) == (peers[1],)


class TestSelf:
    def own(self, settings: SelfConfig, made: Device = DEVICE, *own: IPAddress) -> Peer | str:
        """The registry's record, or why there is none."""
        publication = Publication(zone(None, selection("bob"), myself=settings), lambda: own)
        peers = publication.peers(made, NOW)
        others = tuple(one for one in peers if one.public_key != made.public_key)
        assert others == tuple(one for one in made.peers if one.public_key != BOB.public_key)
        if publication.trouble:
            assert len(peers) == len(others)
            return publication.trouble
        assert tuple(peers[:-1]) == others
        return peers[-1]

    def test_it_is_the_device_itself_last(self) -> None:
        allowed = (ip_network("10.0.0.254/32"),)
        assert self.own(SelfConfig(HERE, 7, allowed)) == Peer(key("registry"), Endpoint(HERE, 7), allowed_ips=allowed)
        assert self.own(SelfConfig(HERE)) == Peer(key("registry"), Endpoint(HERE, 51820))

    def test_nothing_hides_it(self) -> None:
        publication = Publication(zone(selection("dave"), selection("registry"), 1, SelfConfig(HERE)))
        assert [one.public_key for one in publication.peers(DEVICE, NOW)] == [key("registry")]

    def test_its_address_is_the_first_public_one_outside_of_the_tunnel(self) -> None:
        tunnel = replace(DEVICE, peers=(*DEVICE.peers, peer("dave", "", "8.8.0.0/16")))
        inside = ip_address("10.0.0.254"), ip_address("fe80::1"), ip_address("::"), ip_address("127.0.0.1")
        for own, expected in (
            ((*inside, GLOBAL6, GLOBAL), GLOBAL6),
            ((GLOBAL, GLOBAL6), GLOBAL6),
            ((ip_address("1.1.1.1"), GLOBAL), ip_address("1.1.1.1")),
        ):
            assert self.own(SelfConfig(), tunnel, *own) == Peer(key("registry"), Endpoint(expected, 51820))

    @pytest.mark.parametrize(
        ("settings", "made", "own", "trouble"),
        [
            (
                SelfConfig(HERE),
                replace(DEVICE, public_key=None),
                (),
                "wg0 has no private key; give it one with: wg set",
            ),
            (SelfConfig(HERE), replace(DEVICE, listen_port=0), (), "wg0 listens at no port; bring it up, or write the"),
            (
                SelfConfig(),
                DEVICE,
                (),
                "this machine has no public address of its own; write the one where peers reach",
            ),
            (SelfConfig(), DEVICE, (ip_address("::"), ip_address("10.0.0.9")), "this machine has no public address of"),
            (SelfConfig(), DEVICE, (ip_address("224.0.1.1"), ip_address("ff0e::1")), "this machine has no public addr"),
            (
                SelfConfig(ip_address("10.0.0.1")),
                DEVICE,
                (GLOBAL,),
                "10.0.0.1 is inside the tunnel, by the allowed IPs 10.0.0.1/32; write the address where peers",
            ),
            (
                SelfConfig(ip_address("10.0.1.77")),
                DEVICE,
                (),
                "10.0.1.77 is inside the tunnel, by the allowed IPs 10.0.",
            ),
            (SelfConfig(ip_address("10.0.0.130")), DEVICE, (), "10.0.0.130 is inside the tunnel"),  # bob is not told of
            (
                SelfConfig(ip_address("fd00::1")),
                DEVICE,
                (),
                "fd00::1 is inside the tunnel, by the allowed IPs fd00::1/1",
            ),
            (SelfConfig(HERE, None, (ip_network("198.51.100.0/24"),)), DEVICE, (), "198.51.100.7 is inside the tunnel"),
            (
                SelfConfig(),
                device(peer("x", "", "8.0.0.0/6")),
                (GLOBAL,),
                "8.8.8.8 is inside the tunnel, by the allowed",
            ),
        ],
    )
    def test_why_it_is_not_published(
        self, settings: SelfConfig, made: Device, own: tuple[IPAddress, ...], trouble: str
    ) -> None:
        found = self.own(settings, made, *own)
        assert isinstance(found, str)
        assert found.startswith(f"the registry itself is not published: {trouble}")

    @pytest.mark.parametrize("default", ["0.0.0.0/0", "128.0.0.0/1", "::/0", "8000::/1"])
    def test_a_default_route_is_no_tunnel_around_it(self, default: str) -> None:
        full = device(peer("exit", "", default))
        for address in (HERE, ip_address("2001:db8::7")):
            found = self.own(SelfConfig(address, 1, (ip_network(default),)), full)
            assert found == Peer(key("registry"), Endpoint(address, 1), allowed_ips=(ip_network(default),))

    def test_trouble_comes_and_goes_with_its_cause(self) -> None:
        publication = Publication(zone(myself=SelfConfig(HERE)))
        around = replace(BOB, allowed_ips=(ip_network("198.51.100.0/24"),))
        again = replace(around, latest_handshake=1)
        for peers, trouble in (
            ((ALICE, BOB), False),
            ((ALICE, around), True),
            ((ALICE, around), True),
            ((ALICE, again), True),
            ((ALICE,), False),
            ((ALICE, again), True),
            ((again, ALICE), True),
            ((CAROL, ALICE), False),
            ((CAROL, ALICE, BOB, around), True),
            ((), False),
        ):
            assert len(publication.peers(device(*peers), NOW)) == len(peers) + (not trouble)
            assert bool(publication.trouble) == trouble

    def test_an_address_of_its_own_that_changes_is_followed(self) -> None:
        own = [GLOBAL]
        publication = Publication(zone(myself=SelfConfig()), lambda: own)
        first = publication.peers(DEVICE, NOW)[-1]
        assert publication.peers(DEVICE, NOW)[-1] is first
        own[0] = ip_address("9.9.9.9")
        assert publication.peers(DEVICE, NOW)[-1].endpoint == Endpoint(own[0], 51820)

    def test_a_peer_that_did_not_change_is_looked_at_once(self) -> None:
        looks: list[object] = []

        class Allowed(tuple[object, ...]):
            __slots__ = ()

            def __iter__(self) -> object:  # type: ignore[override]  # only counts
                looks.append(self)
                return super().__iter__()

        peers = tuple(replace(one, allowed_ips=Allowed(one.allowed_ips)) for one in many(20, "10.0.0.1/32"))  # type: ignore[arg-type]  # as above
        publication = Publication(zone(myself=SelfConfig(HERE)))
        for changed, expected in ((peers, 20), (peers, 20), ((*peers[:9], seen(peers[9], 1), *peers[10:]), 21)):
            publication.peers(device(*changed), NOW)
            assert len(looks) == expected
