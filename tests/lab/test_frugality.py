# SPDX-License-Identifier: GPL-2.0-or-later
"""A peer that nobody wants costs no packet: it is looked up and its endpoint is kept right, and that is all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.world import Station, wait_for
from lab.world.agent import AGENT, AGENT_PATH, agent_peer, endpoint
from lab.world.counter import Counter
from lab.world.profile import PeerProfile
from lab.world.world import ADDRESSES
from tests.lab.agents import Meeting, keepalives, wait_content

MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Carol, a peer of alice's to whom nothing is sent, behind NAT C; what leaves alice's card for NAT C is counted."""

    meeting: Meeting
    carol: Station
    packets: Counter

    @property
    def key(self) -> str:
        return self.meeting.world.keys["carol"].public

    @property
    def in_kernel(self) -> tuple[int, int]:
        """The octets that alice's kernel has sent to her, and her keepalive."""
        peer = self.meeting.alice.peers()[self.key]
        return peer.tx_bytes, peer.persistent_keepalive

    def register(self) -> str:
        """Have her tell the registry where she is, and alice's agent find it. Returns her endpoint."""
        world, alice = self.meeting.world, self.meeting.alice
        self.carol.make_wireguard(world.profile("carol", ()))
        at = world.wait_seen("carol")["carol"]
        replug(self.meeting)
        wait_for(lambda: endpoint(world, alice, "carol") == at, 60, "alice's agent to set carol's endpoint")
        return at


@pytest.fixture
def unwanted(meeting: Meeting) -> Iterator[Unwanted]:
    world, alice = meeting.world, meeting.alice
    carol = world.station("carol", world.nat_c)
    counter = Counter(alice, "unwanted", "postrouting", f'oifname "eth0" ip daddr {world.nat_c.public}')
    counter.start()
    key = ("peer", world.keys["carol"].public)
    alice.wg("set", "wg0", *key, "allowed-ips", f"{ADDRESSES['carol']}/32")
    carol.set_address()
    try:
        yield Unwanted(meeting, carol, counter)
    finally:
        alice.wg("set", "wg0", *key, "remove")
        alice.nft("delete table inet count_unwanted")
        world.remove(carol)
        world.nat_c.forget()


def replug(meeting: Meeting) -> None:
    """Alice's cable is pulled out and put in again: an event after which all peers are looked up."""
    meeting.alice.unplug()
    meeting.alice.wait_state("eth0", "unavailable")
    meeting.alice.plug(meeting.world.nat_a)
    meeting.alice.wait_connected()


def events(meeting: Meeting, seconds: float) -> Iterator[str]:
    """Whatever calls for a pass, until the time is over, each when the one before has had its effect."""
    alice = meeting.alice

    def relink() -> None:
        replug(meeting)

    def reapply() -> None:
        alice.nmcli("device", "reapply", "wg0")

    def address() -> None:
        alice.ip("address add 192.168.1.77/24 dev eth0", "address del 192.168.1.77/24 dev eth0")

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for event in (relink, address, reapply):
            event()
            wait_content(meeting)
            yield event.__name__


def test_nothing_is_sent_to_a_peer_that_nobody_wants(unwanted: Unwanted) -> None:
    """Whether it has no endpoint yet, gets one, or gets another, and whatever happens to the network meanwhile."""
    meeting, alice = unwanted.meeting, unwanted.meeting.alice
    for _ in events(meeting, 5):
        assert unwanted.in_kernel == (0, 0)
    at = unwanted.register()
    happened = [*events(meeting, MINUTE)]
    assert {"relink", "reapply", "address"} <= set(happened)
    assert endpoint(meeting.world, alice, "carol") == at
    assert unwanted.in_kernel == (0, 0)
    assert unwanted.packets.packets() == 0
    said = agent_peer(meeting.world, alice, "carol")
    assert (said["State"], said["Reason"]) == ("idle", "not-wanted")


def test_who_is_called_by_name_is_sent_to(unwanted: Unwanted) -> None:
    """Refresh names all peers: so the counter counts, and the peer answers."""
    alice = unwanted.meeting.alice
    unwanted.register()
    kept = keepalives(alice)
    assert unwanted.packets.packets() == 0
    alice.busctl_user("--timeout=60", "call", AGENT, AGENT_PATH, AGENT, "Refresh", check=False)
    wait_for(unwanted.packets.packets, 20, "alice to send something to carol")
    assert keepalives(alice) == kept


def test_a_peer_is_wanted_while_something_is_sent_to_it(unwanted: Unwanted) -> None:
    """Keepalive is off, but a person pings: the path comes up."""
    meeting, alice, carol = unwanted.meeting, unwanted.meeting.alice, unwanted.carol
    alices = PeerProfile(meeting.world.keys["alice"].public, (f"{ADDRESSES['alice']}/32",), keepalive=25)
    unwanted.register()
    carol.wg("set", "wg0", "peer", alices.public_key, "allowed-ips", ",".join(alices.allowed_ips))
    carol.punch(alices.public_key, meeting.world.endpoint_seen("alice"))
    assert alice.ping(ADDRESSES["carol"], 30)
    assert unwanted.in_kernel[1] == 0
