# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm status: what a person reads."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest

from tests.unit.cli_agent import NOW, before, peer, properties, tunnel
from wgsd_nm.cli import status
from wgsd_nm.cli.client import DONE, Agent
from wgsd_nm.cli.terminal import Style, columns
from wgsd_nm.cli.view import AgentView


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s ago"),
        (12.9, "12 s ago"),
        (119, "119 s ago"),
        (120, "2 min ago"),
        (7199, "119 min ago"),
        (7200, "2 h ago"),
        (2 * 86400 - 1, "47 h ago"),
        (2 * 86400, "2 d ago"),
        (400 * 86400, "400 d ago"),
        (-5, "0 s ago"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert status.ago(before(seconds), NOW) == text


def test_never() -> None:
    assert status.ago(0, NOW) == "never"


PIPE = Style()
NOTHING_UP = "  The agent knows of no configured tunnel that is up; wgsd-nm doctor says more."
ABSENT = peer(
    Name="carol", Endpoint="", Source="none", State="unreachable", ReasonText="Unknown there.", LatestHandshake=0
)


def lines(style: Style = PIPE, **said: Any) -> list[str]:
    return list(status.report(AgentView.of(properties(**said)), NOW, style))


def test_nothing_is_up() -> None:
    assert lines(tunnels=[], peers=[]) == ["State: degraded", NOTHING_UP]


def test_what_is_wrong_with_the_agent() -> None:
    assert lines(tunnels=[], peers=[], LastError="It is wrong.") == ["State: degraded", "  It is wrong.", NOTHING_UP]


def test_a_tunnel_and_its_peers() -> None:
    bob = peer(ConnectedSince=before(130))
    assert lines(tunnels=[tunnel()], peers=[bob, peer(Interface="wg1", Name="another's"), ABSENT]) == [
        "State: degraded",
        "",
        "wg0 (home): degraded",
        "  zone wg.example.com. at 10.0.0.254, [2001:db8::1]:5353, answered 3 s ago",
        "  we are seen as 198.51.100.9:51820",
        "  PEER   STATE        FOR    ENDPOINT            FROM      HANDSHAKE  WHY",
        "  bob    connected    2 min  198.51.100.1:51820  registry  61 s ago   The peer answers.",
        "  carol  unreachable  -      -                   none      never      Unknown there.",
    ]


def test_where_a_line_has_no_room_the_reasons_stand_below() -> None:
    long = "Nothing comes back from 198.51.100.1:51820; a NAT or firewall on the way may not let us through."
    shown = lines(Style(width=80), tunnels=[tunnel()], peers=[peer(), peer(Name="carol", ReasonText=long)])
    assert shown[5:] == [
        "  PEER   STATE      FOR  ENDPOINT            FROM      HANDSHAKE",
        "  bob    connected  -    198.51.100.1:51820  registry  61 s ago",
        "    The peer answers.",
        "  carol  connected  -    198.51.100.1:51820  registry  61 s ago",
        "    Nothing comes back from 198.51.100.1:51820; a NAT or firewall on the way may",
        "    not let us through.",
    ]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_it_fits(width: int) -> None:
    here = [tunnel(LastError="The registry at 10.0.0.254 gave no answer in time. " * 3)]
    known = [peer(Name="tokyo東京", ReasonText="A sentence of quite some length that goes on. " * 3), ABSENT]
    for line in lines(Style(width=width), tunnels=here, peers=known, LastError="Something is wrong. " * 9):
        assert columns(line) <= width


def test_the_states_are_coloured_and_stand_as_without_colours() -> None:
    plain, painted = (
        lines(Style(colours, 100), tunnels=[tunnel()], peers=[peer(), ABSENT]) for colours in (False, True)
    )
    assert painted[0] == "State: \x1b[31mdegraded\x1b[0m"
    assert "\x1b[32mconnected\x1b[0m  " in painted[6]
    for code in ("0", "1", "31", "32"):
        painted = [line.replace(f"\x1b[{code}m", "") for line in painted]
    assert painted == plain


def test_who_is_not_reached_has_more_to_say() -> None:
    stale = peer(State="stale", LastError="10.0.0.254 gave no answer", Candidates=["198.51.100.1:51820", "192.0.2.7:7"])
    assert lines(tunnels=[tunnel()], peers=[stale])[-2:] == [
        "    10.0.0.254 gave no answer",
        "    to be tried: 192.0.2.7:7",
    ]
    assert len(lines(tunnels=[tunnel()], peers=[stale | {"State": "connected"}])) == 7


def test_push_or_polling() -> None:
    zone = "  zone wg.example.com. at 10.0.0.254, [2001:db8::1]:5353, answered 3 s ago"
    assert f"{zone}, push" in lines(tunnels=[tunnel(Updates="push", PollingInterval=0)])
    assert f"{zone}, polling every 5 s" in lines(tunnels=[tunnel(Updates="polling", PollingInterval=5)])


def test_a_symmetric_nat_is_named() -> None:
    seen = tunnel(PublicEndpoints=["198.51.100.9:1", "198.51.100.9:2"])
    assert "  we are seen as 198.51.100.9:1, 198.51.100.9:2: our NAT is symmetric" in lines(tunnels=[seen], peers=[])


def test_a_tunnel_about_which_nothing_is_known_but_what_is_wrong() -> None:
    unknown = tunnel(ConnectionId="wg0", Zone="", Registries=[], PublicEndpoint="", LastError="No zone is known.")
    assert lines(tunnels=[unknown], peers=[])[2:] == ["wg0: degraded", "  No zone is known."]


def test_each_tunnel_has_its_own_peers() -> None:
    shown = lines(
        tunnels=[tunnel(), tunnel(Interface="wg1")], peers=[peer(), peer(Interface="wg1", Name="a peer of the office")]
    )
    assert [line.split("  ")[1] for line in shown if "198.51.100.1:" in line] == ["bob", "a peer of the office"]


def test_json_is_what_the_agent_says(capsys: pytest.CaptureFixture[str]) -> None:
    class Told:
        async def properties(self) -> dict[str, Any]:
            return {"State": "ok", "Peers": [peer(Name="Zo\x9bë")], "Newer": 1}

    assert asyncio.run(status._status(cast("Agent", Told()), as_json=True)) == DONE  # noqa: SLF001  # needs no bus
    said = capsys.readouterr().out
    assert json.loads(said) == {"State": "ok", "Peers": [peer(Name="Zo\x9bë")], "Newer": 1}
    assert said.isascii(), "a terminal obeys some of the other letters"
