# SPDX-License-Identifier: GPL-2.0-or-later
"""What is an event, and what is none."""

from __future__ import annotations

from typing import Any

from tests.unit.cli_agent import BOB, before, peer, properties, tunnel
from wgsd_nm.cli.history import Event, History

WHO = {"interface": "wg0", "public_key": BOB, "name": "bob"}
BEGAN = Event("agent", "", "running", text="version 0.1.0")


def begun(**different: Any) -> History:
    history = History()
    history.present(properties(tunnels=[tunnel()], peers=[peer()], **different))
    return history


def test_it_begins_with_the_present() -> None:
    assert History().present(properties(tunnels=[tunnel()], peers=[peer()], LastError="wrong")) == (
        BEGAN,
        Event("state", "", "degraded"),
        Event("error", "", "wrong"),
        Event("state", "", "degraded", "wg0"),
        Event("public-endpoint", "", "198.51.100.9:51820", "wg0"),
        Event("state", "", "connected", **WHO, reason="connected", text="The peer answers."),
    )


def test_what_stays_is_no_event() -> None:
    times = {"LatestHandshake": before(1), "LastLookup": before(1), "ReasonText": "The peer answers from there."}
    assert begun().present(properties(tunnels=[tunnel(LastLookup=before(1))], peers=[peer(**times)])) == ()


def test_the_agents_state_and_error() -> None:
    history = begun(LastError="wrong")
    assert history.changed({"State": "ok", "LastError": ""}) == (
        Event("state", "degraded", "ok"),
        Event("error", "wrong", ""),
    )
    assert history.changed({"State": "ok"}) == ()


def test_a_tunnels() -> None:
    history = begun()
    wg0 = tunnel(State="ok", PublicEndpoint="198.51.100.9:7", LastError="silent")
    assert history.changed({"Tunnels": [wg0]}) == (
        Event("state", "degraded", "ok", "wg0"),
        Event("public-endpoint", "198.51.100.9:51820", "198.51.100.9:7", "wg0"),
        Event("error", "", "silent", "wg0"),
    )
    assert history.changed({"Tunnels": []}) == (Event("state", "ok", "gone", "wg0"),)


def test_how_a_tunnel_learns_of_moves() -> None:
    history = begun()
    told = [history.changed({"Tunnels": [tunnel(Updates=updates)]}) for updates in ("polling", "push", "push", "")]
    assert told == [
        (Event("updates", "", "polling", "wg0"),),
        (Event("updates", "polling", "push", "wg0"),),
        (),
        (),
    ]


def test_a_peers_state_with_its_reason() -> None:
    history = begun()
    stale = peer(State="stale", Reason="no-reply", ReasonText="Nothing comes back.")
    told = Event("state", "connected", "stale", **WHO, reason="no-reply", text="Nothing comes back.")
    assert history.changed({"Peers": [stale]}) == (told,)
    other = stale | {"Reason": "no-answer", "ReasonText": "No answer."}
    told = Event("state", "stale", "stale", **WHO, reason="no-answer", text="No answer.")
    assert history.changed({"Peers": [other]}) == (told,)
    assert history.changed({"Peers": []}) == (Event("state", "stale", "gone", **WHO),)


def test_an_endpoint_is_told_once() -> None:
    history, new = begun(), "198.51.100.77:7"
    told = Event(
        "endpoint",
        "198.51.100.1:51820",
        new,
        **WHO,
        reason="moved",
        text=f"The registry reports that the peer has moved to {new}.",
    )
    assert history.moved("wg0", BOB, "198.51.100.1:51820", new, "moved") == (told,)
    assert history.changed({"Peers": [peer(Endpoint=new)]}) == ()


def test_an_endpoint_that_changed_without_a_signal() -> None:
    cleared = Event("endpoint", "198.51.100.1:51820", "", **WHO)
    assert begun().changed({"Peers": [peer(Endpoint="")]}) == (cleared,)


def test_a_reason_and_a_peer_that_nobody_knows() -> None:
    (event,) = begun().moved("wg9", "x" * 44, "", "nonsense", "a-newer-agents")
    assert (event.name, event.text) == ("xxxxxxxx", "a-newer-agents")
    (event,) = begun().moved("wg9", "x" * 44, "", "nonsense", "moved")
    assert event.text == "moved"


def test_the_agent_goes_and_comes_back() -> None:
    history = begun()
    assert history.gone() == (Event("agent", "running", "gone"),)
    assert history.gone() == ()
    assert history.changed({"State": "ok"}) == (), "of what is unknown nothing can differ"
    (first, *rest) = history.present(properties(tunnels=[], peers=[]))
    assert first == BEGAN
    assert rest == [Event("state", "", "degraded")]
