# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm status: what a person reads."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest

from wgsd_nm.cli import status
from wgsd_nm.cli.client import DONE, Agent

NOW = 1_790_000_000.0


def before(seconds: float) -> int:
    return int((NOW - seconds) * 1e6)


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


def tunnel(**different: object) -> dict[str, Any]:
    return {
        "Interface": "wg0",
        "ConnectionId": "home",
        "ConnectionUuid": "22222222-2222-4222-8222-222222222222",
        "Zone": "wg.example.com.",
        "Registries": ["10.0.0.254", "[2001:db8::1]:5353"],
        "State": "degraded",
        "PublicKey": "bWU=",
        "PublicEndpoint": "198.51.100.9:51820",
        "LastLookup": before(3),
        "LastError": "",
    } | different


def peer(**different: object) -> dict[str, Any]:
    return {
        "Interface": "wg0",
        "PublicKey": "Ym9i",
        "Name": "bob",
        "Endpoint": "198.51.100.1:51820",
        "Source": "registry",
        "State": "connected",
        "Reason": "connected",
        "ReasonText": "The peer answers.",
        "LatestHandshake": before(61),
        "LastLookup": before(3),
        "LastError": "",
    } | different


def lines(*, tunnels: list[dict[str, Any]], peers: list[dict[str, Any]]) -> list[str]:
    properties = {"Version": "0.1.0", "State": "degraded", "Tunnels": tunnels, "Peers": peers}
    return list(status.report(properties, NOW))


def test_nothing_is_up() -> None:
    assert lines(tunnels=[], peers=[]) == ["State: degraded"]


def test_a_tunnel_and_its_peers() -> None:
    absent = peer(
        Name="carol", Endpoint="", Source="none", State="unreachable", ReasonText="Unknown there.", LatestHandshake=0
    )
    assert lines(tunnels=[tunnel()], peers=[peer(), peer(Interface="wg1", Name="another's"), absent]) == [
        "State: degraded",
        "",
        "wg0 (home): degraded",
        "  zone wg.example.com. at 10.0.0.254, [2001:db8::1]:5353, answered 3 s ago",
        "  we are seen as 198.51.100.9:51820",
        "  PEER   STATE        ENDPOINT            FROM      HANDSHAKE  WHY",
        "  bob    connected    198.51.100.1:51820  registry  61 s ago   The peer answers.",
        "  carol  unreachable  -                   none      never      Unknown there.",
    ]


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
            return {"State": "ok", "Peers": [peer(Name="Zoë")]}

    assert asyncio.run(status._status(cast("Agent", Told()), as_json=True)) == DONE  # noqa: SLF001  # needs no bus
    said = capsys.readouterr().out
    assert json.loads(said) == {"State": "ok", "Peers": [peer(Name="Zoë")]}
    assert "Zoë" in said
