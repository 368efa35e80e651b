# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's properties as values: an older agent's, a newer one's, and nonsense."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.cli_agent import BOB, before, peer, properties, tunnel
from wgsd_nm.cli.view import AgentView, PeerView, TunnelView


def test_an_agent_that_says_all() -> None:
    new = {"PublicEndpoints": ["198.51.100.9:1", "198.51.100.9:2"], "Updates": "polling", "PollingInterval": 5}
    newer = {"Candidates": ["192.0.2.7:7"], "PersistentKeepalive": 25, "ConnectedSince": before(9)}
    view = AgentView.of(properties(tunnels=[tunnel(**new)], peers=[peer(**newer)], LastError="wrong"))
    assert (view.version, view.state, view.last_error) == ("0.1.0", "degraded", "wrong")
    (wg0,), (bob,) = view.tunnels, view.peers
    assert wg0.public_endpoints == ("198.51.100.9:1", "198.51.100.9:2")
    assert (wg0.updates, wg0.polling_interval) == ("polling", 5)
    assert (bob.candidates, bob.persistent_keepalive, bob.connected_since) == (("192.0.2.7:7",), 25, before(9))
    assert view.peers_of(wg0) == (bob,)
    assert view.peers_of(TunnelView("wg1")) == ()


def test_an_older_agent_says_less() -> None:
    view = AgentView.of(properties(peers=[peer()]))
    (wg0,), (bob,) = view.tunnels, view.peers
    assert view.last_error == ""
    assert wg0.public_endpoints == ("198.51.100.9:51820",)
    assert TunnelView.of(tunnel(PublicEndpoint="")).public_endpoints == ()
    assert (bob.candidates, bob.persistent_keepalive, bob.connected_since) == ((), None, 0)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({}, ""),
        ({"Updates": "push", "PollingInterval": 0}, "push"),
        ({"Updates": "polling", "PollingInterval": 60}, "polling every 60 s"),
        ({"Updates": "", "PollingInterval": 0}, ""),
    ],
)
def test_how_moves_are_learnt(said: dict[str, object], shown: str) -> None:
    assert TunnelView.of(tunnel(**said)).learns_by == shown


def test_names() -> None:
    assert TunnelView.of(tunnel()).title == "wg0 (home)"
    assert TunnelView.of(tunnel(ConnectionId="wg0")).title == "wg0"
    assert PeerView.of(peer(Name="")).name == BOB[:8]
    assert PeerView.of(peer(Name="b\x1b]0;b\n")).name == "b\ufffd]0;b\ufffd"


@pytest.mark.parametrize(
    ("endpoints", "symmetric"),
    [
        ([], False),
        (["198.51.100.9:1"], False),
        (["198.51.100.9:1", "198.51.100.9:1"], False),
        (["198.51.100.9:1", "198.51.100.8:2"], False),
        (["198.51.100.9:1", "198.51.100.9:2"], True),
        (["[2001:db8::1]:1", "198.51.100.9:1", "[2001:db8::1]:2"], True),
        (["[2001:db8::1]:1", "198.51.100.9:2"], False),
    ],
)
def test_our_nat(endpoints: list[str], symmetric: bool) -> None:
    assert TunnelView.of(tunnel(PublicEndpoints=endpoints)).is_behind_symmetric_nat is symmetric


NONSENSE = st.recursive(
    st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=5
)


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(sorted(tunnel() | peer())), NONSENSE))
def test_nonsense_is_left_out(entry: dict[str, object]) -> None:
    assert isinstance(TunnelView.of(entry).registries, tuple)
    assert isinstance(PeerView.of(entry).latest_handshake, int)
