# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent as a process on two private buses: what its clients see, and what it survives."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.desktop import OURSELVES_AT, PEERS, REGISTRY_AT, ZONE, Desktop, Program, endpoint_of, peers_of
from tests.integration.scripted_nm import FULL, PORTAL, REGISTRY, TUNNEL_UUID, peer_key
from tests.integration.waiting import run
from wgsd_nm import __version__
from wgsd_nm.agent import __main__ as program
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus
from wgsd_nm.core.errors import AccessDenied, BusError, CallFailed, InvalidArguments
from wgsd_nm.core.model import Endpoint

FOUND = [["wg0", str(peer_key(number)), "", str(endpoint_of(number)), "found"] for number in PEERS]
READ = (names.ACTION_READ_PEERS, "wg0")
NO_REGISTRY_ANSWERED = "io.github.wgsd_nm.Error.NoRegistryAnswered"
UNAVAILABLE = "io.github.wgsd_nm.Error.Unavailable"
BAD_CONFIGURATION = "io.github.wgsd_nm.Error.BadConfiguration"
ELSEWHERE = Endpoint.parse("198.51.100.77:7777")


def found(properties: dict[str, Any]) -> bool:
    """Whether every peer is told to be where the registry says, and the pass is over."""
    endpoints = [peer["Endpoint"] for peer in peers_of(properties)]
    return endpoints == [str(endpoint_of(number)) for number in PEERS] and properties["State"] == "degraded"


async def up(desktop: Desktop) -> Program:
    """The agent, when it has found the peers of the tunnel and told so."""
    await desktop.activate()
    agent = await desktop.start_agent()
    await desktop.client.changes.until(lambda _: found(desktop.client.properties))
    return agent


async def refused(desktop: Desktop, member: str, signature: str = "", *arguments: object) -> CallFailed:
    """The error of ours with which a call ends."""
    with pytest.raises(CallFailed) as raised:
        await desktop.client.call(member, signature, *arguments)
    return raised.value


def clean(agent: Program) -> bool:
    """Whether nothing in what the program has written tells of a defect."""
    return not any(word in agent.text() for word in ("Traceback", "Exception ignored", "never retrieved", "Warning"))


async def stopped(agent: Program, number: signal.Signals = signal.SIGTERM) -> int:
    agent.process.send_signal(number)
    return await agent.ended()


def test_an_activation_leads_to_endpoints_and_clients_are_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            client = desktop.client
            agent = await desktop.start_agent()
            await client.state("idle")
            nothing = {"Version": __version__, "State": "idle", "LastError": "", "Tunnels": [], "Peers": []}
            assert client.properties == nothing
            began = time.time()
            await desktop.activate()
            moves = await client.moves.count(len(PEERS))
            assert sorted(moves) == sorted(FOUND)
            assert desktop.device.endpoints() == [endpoint_of(number) for number in PEERS]
            properties = await client.until(found)
            assert [peer["Endpoint"] for peer in (await client.ask())["Peers"]] == [
                peer["Endpoint"] for peer in properties["Peers"]
            ]
            (tunnel,) = properties["Tunnels"]
            assert began <= tunnel.pop("LastLookup") / 1e6 <= time.time()
            assert tunnel == {
                "Interface": "wg0",
                "ConnectionId": "tunnel",
                "ConnectionUuid": TUNNEL_UUID,
                "Zone": f"{ZONE}.",
                "Registries": [str(desktop.registry.server)],
                "State": "degraded",
                "PublicKey": str(peer_key(-1)),
                "PublicEndpoint": str(OURSELVES_AT),
                "PublicEndpoints": [str(OURSELVES_AT)],
                "LastError": "",
                "Updates": "polling",
                "PollingInterval": 5,
            }
            registry, *peers = peers_of(properties, (REGISTRY, *PEERS))
            assert (registry["Endpoint"], registry["Source"]) == (str(REGISTRY_AT), "profile")
            assert registry["Reason"] == "profile-endpoint"
            for number, peer in zip(PEERS, peers, strict=True):
                assert began <= peer.pop("LastLookup") / 1e6 <= time.time()
                assert peer == {
                    "Interface": "wg0",
                    "PublicKey": str(peer_key(number)),
                    "Name": str(peer_key(number))[:8],
                    "Endpoint": str(endpoint_of(number)),
                    "Source": "registry",
                    "Path": "internet",
                    "State": "probing",
                    "Reason": "unproven",
                    "ReasonText": f"{endpoint_of(number)} is being tried; nothing has come back yet.",
                    "Candidates": [str(endpoint_of(number))],
                    "PersistentKeepalive": 25,
                    "LatestHandshake": 0,
                    "ConnectedSince": 0,
                    "LastError": "",
                }
            assert clean(agent), agent.text()

    run(scenario())


def test_a_handshake_is_proof_and_the_end_of_the_tunnel_is_told_at_once_in_one_signal(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            await up(desktop)
            shaken = await desktop.answer()
            properties = await desktop.client.state("ok")
            assert {(peer["State"], peer["LatestHandshake"]) for peer in properties["Peers"]} == {("connected", shaken)}
            before = len(desktop.client.changes.seen)
            await desktop.network_manager.deactivate()
            await desktop.client.state("idle")
            assert desktop.client.changes.seen[before:] == [{"State": "idle", "Tunnels": [], "Peers": []}]

    run(scenario())


def test_refresh_replies_when_the_endpoints_of_a_tunnel_that_there_is_are_written(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            await up(desktop)
            for member, arguments, endpoint in (
                ("Refresh", (), ELSEWHERE),
                ("RefreshTunnel", ("s", "wg0"), endpoint_of(1)),
            ):
                desktop.registry.add(peer_key(1), endpoint)
                await desktop.client.call(member, *arguments)
                assert desktop.device.endpoints()[0] == endpoint
            for interface in ("wg9", "eth0", "", "two words", "a" * 16):
                with pytest.raises(InvalidArguments):
                    await desktop.client.call("RefreshTunnel", "s", interface)
            assert [move[2:] for move in (await desktop.client.moves.count(4))[2:]] == [
                [str(endpoint_of(1)), str(ELSEWHERE), "moved"],
                [str(ELSEWHERE), str(endpoint_of(1)), "moved"],
            ]

    run(scenario())


def test_a_refresh_that_starts_the_agent_is_a_pass_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            await desktop.activate()
            await desktop.start_agent()
            await desktop.client.call("Refresh")
            assert desktop.device.endpoints() == [endpoint_of(number) for number in PEERS]

    run(scenario())


def test_whoever_starts_the_agent_is_told_how_things_are(tmp_path: Path) -> None:
    """The bus keeps the call until the agent takes its name: before it knows the tunnel it would say "unavailable"."""

    async def scenario() -> None:
        async with Desktop(tmp_path, activatable=True) as desktop:
            await desktop.activate()
            desktop.device.shake_hands(time.time_ns() // 1000)
            properties = await desktop.client.ask()
            assert properties["State"] in ("looking-up", "degraded", "ok")
            assert [tunnel["Interface"] for tunnel in properties["Tunnels"]] == ["wg0"]
            assert len(peers_of(properties, (REGISTRY, *PEERS))) == 1 + len(PEERS)

    run(scenario())


def test_a_neighbour_that_is_silent_does_not_keep_the_agent_from_its_clients(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path, activatable=True) as desktop:
            desktop.polkit.go_on.clear()
            await desktop.activate()
            await desktop.client.ask()
            await desktop.client.attend()
            assert [tunnel["Interface"] for tunnel in desktop.client.properties["Tunnels"]] == ["wg0"]
            assert desktop.client.properties["Peers"] == []
            desktop.polkit.go_on.set()
            await desktop.client.until(found)

    run(scenario())


def test_a_defect_that_ends_it_is_in_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("a defect")

    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            for name, value in desktop._environment().items():  # noqa: SLF001  # as its own programs have it
                monkeypatch.setenv(name, value)
            monkeypatch.setattr(Bus, "keep", broken)
            assert await program.run() == 1
            (record,) = (record for record in caplog.records if record.levelname == "CRITICAL")
            assert record.exc_info is not None
            assert "a defect" in str(record.exc_info[1])

    run(scenario())


def test_callers_of_refresh_during_a_pass_share_one_fresh_pass(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            agent = await up(desktop)
            passes = agent.times("do LookUp")
            desktop.registry.silent = True
            heard = len(desktop.registry.heard.seen)
            first = asyncio.create_task(desktop.client.call("Refresh"))
            await desktop.registry.heard.count(heard + 1)
            others = [asyncio.create_task(desktop.client.call("Refresh")) for _ in range(2)]
            await asyncio.sleep(0)  # both calls are sent
            await desktop.client.ask()
            desktop.registry.add(peer_key(1), ELSEWHERE)
            desktop.registry.silent = False
            await first
            assert not any(other.done() for other in others)
            await asyncio.gather(*others)
            assert desktop.device.endpoints()[0] == ELSEWHERE
            assert agent.times("do LookUp") - passes == 2

    run(scenario())


def test_nobody_listens_where_the_registry_should_be(tmp_path: Path) -> None:
    async def scenario() -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as unused:
            unused.bind(("::1", 0))
            port = unused.getsockname()[1]
        config = f'[tunnel.wg0]\nzone = "{ZONE}"\nregistry = "[::1]:{port}"\n'
        async with Desktop(tmp_path, config=config) as desktop:
            await desktop.activate()
            await desktop.start_agent()
            error = await refused(desktop, "Refresh")
            assert error.name == NO_REGISTRY_ANSWERED
            assert str(port) in str(error)
            properties = await desktop.client.state("degraded")
            assert "connection refused" in properties["Tunnels"][0]["LastError"]
            assert {peer["Reason"] for peer in peers_of(properties)} == {"registry-unreachable"}

    run(scenario())


def test_a_silent_registry_is_told_in_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            await up(desktop)
            desktop.registry.silent = True
            error = await refused(desktop, "Refresh")
            assert error.name == NO_REGISTRY_ANSWERED
            assert desktop.device.endpoints() == [endpoint_of(number) for number in PEERS]
            properties = await desktop.client.until(lambda properties: properties["Tunnels"][0]["LastError"] != "")
            assert "did not answer" in properties["Tunnels"][0]["LastError"]

    run(scenario())


def test_a_wrong_configuration_leaves_the_last_good_one_in_force(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            agent = await up(desktop)
            for text, complaint in (
                ("[tunnel.wg0]\nregistry = 5\nzone = 'auto'\n", "tunnel.wg0.registry: an address"),
                ("[tunnel", "not TOML"),
            ):
                desktop.configure(text)
                error = await refused(desktop, "Reload")
                assert error.name == BAD_CONFIGURATION
                assert str(error).startswith(f"{desktop.config_file}: {complaint}")
                assert f"ERROR: {error}\n" in agent.text()
            properties = await desktop.client.until(lambda told: told["LastError"] == str(error))
            assert [(tunnel["Interface"], tunnel["LastError"]) for tunnel in properties["Tunnels"]] == [("wg0", "")]
            desktop.registry.add(peer_key(1), ELSEWHERE)
            await desktop.client.call("Refresh")
            assert desktop.device.endpoints()[0] == ELSEWHERE
            desktop.configure(desktop.config)
            await desktop.client.call("Reload")
            await desktop.client.until(lambda told: told["LastError"] == "")

    run(scenario())


@pytest.mark.parametrize(
    ("before", "how"),
    [("", "SIGHUP"), ('[tunnel.other]\nzone = "auto"\n', "Reload"), ("[tunnel", "SIGHUP")],
    ids=["none", "other", "broken"],
)
def test_a_tunnel_is_left_alone_until_it_is_configured(tmp_path: Path, before: str, how: str) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path, config=before) as desktop:
            await desktop.activate()
            agent = await desktop.start_agent()
            await desktop.client.state("idle")
            await desktop.client.call("Refresh")
            with pytest.raises(InvalidArguments):
                await desktop.client.call("RefreshTunnel", "s", "wg0")
            assert not desktop.polkit.questions.seen
            assert not desktop.registry.heard.seen
            assert agent.sockets() == 0
            assert not desktop.client.properties["Tunnels"]
            desktop.configure(desktop.config)
            if how == "Reload":
                await desktop.client.call("Reload")
            else:
                agent.process.send_signal(signal.SIGHUP)
            await desktop.client.until(found)
            assert agent.sockets() > 0
            assert desktop.polkit.questions.seen[0] == READ
            desktop.configure('[tunnel.other]\nzone = "auto"\n')
            await desktop.client.call("Reload")
            await desktop.client.state("idle")

    run(scenario())


def test_without_permission_it_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            desktop.polkit.yes = False
            await desktop.activate()
            await desktop.start_agent()
            properties = await desktop.client.until(
                lambda told: bool(told["Tunnels"]) and told["Tunnels"][0]["LastError"] != ""
            )
            assert properties["State"] == properties["Tunnels"][0]["State"] == "unavailable"
            sentence = f"polkit does not permit {names.ACTION_READ_PEERS} on wg0 to this user in this session"
            assert properties["Tunnels"][0]["LastError"] == sentence
            with pytest.raises(AccessDenied, match=sentence):
                await desktop.client.call("Refresh")
            assert desktop.device.endpoints() == [None, None]
            desktop.polkit.yes = True
            await desktop.client.call("Refresh")
            assert desktop.device.endpoints() == [endpoint_of(number) for number in PEERS]

    run(scenario())


def test_without_a_helper_it_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            await desktop.helper.release_name(names.HELPER)
            await desktop.activate()
            await desktop.start_agent()
            await desktop.client.until(lambda told: bool(told["Tunnels"]) and told["State"] == "unavailable")
            assert names.HELPER in desktop.client.properties["Tunnels"][0]["LastError"]
            error = await refused(desktop, "Refresh")
            assert error.name == UNAVAILABLE
            await desktop.helper.request_name(names.HELPER)
            await desktop.client.call("Refresh")
            assert desktop.device.endpoints() == [endpoint_of(number) for number in PEERS]

    run(scenario())


def test_a_restart_of_networkmanager_is_survived(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            await up(desktop)
            await desktop.network_manager.vanish()
            properties = await desktop.client.state("unavailable")
            assert properties["Tunnels"] == []
            assert (await refused(desktop, "Refresh")).name == UNAVAILABLE
            desktop.device.make_peers()
            await desktop.network_manager.appear()
            await desktop.client.until(found)
            assert sorted(desktop.client.moves.seen) == sorted(FOUND * 2)

    run(scenario())


def test_a_restart_of_the_system_bus_is_survived(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            agent = await up(desktop)
            desktop.device.make_peers()
            await desktop.restart_system_bus()
            assert sorted(await desktop.client.moves.count(2 * len(PEERS))) == sorted(FOUND * 2)
            assert agent.process.returncode is None
            assert agent.times("the system bus is connected") == 2
            assert await stopped(agent) == 0
            assert clean(agent), agent.text()

    run(scenario())


def test_the_system_bus_may_come_later_than_the_agent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            await desktop.activate()
            desktop.system_bus.stop()
            await desktop.start_agent()
            assert desktop.client.properties["State"] == "unavailable"
            await desktop.restart_system_bus()
            assert sorted(await desktop.client.moves.count(len(PEERS))) == sorted(FOUND)

    run(scenario())


def test_it_ends_with_the_session_bus(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            agent = await up(desktop)
            desktop.session_bus.stop()
            assert await agent.ended() == 1
            assert "ERROR: the session bus has ended" in agent.text()
            assert clean(agent), agent.text()

    run(scenario())


def test_without_a_session_bus_it_does_not_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            desktop.session_bus.stop()
            agent = await desktop.run("wgsd_nm.agent")
            assert await agent.ended() == 1
            assert "ERROR: the session bus cannot be reached" in agent.text()
            assert clean(agent), agent.text()

    run(scenario())


def test_in_a_captive_portal_nothing_is_asked_and_after_it_all_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            await desktop.network_manager.connectivity(str(PORTAL))
            await desktop.activate()
            agent = await desktop.start_agent()
            properties = await desktop.client.state("captive-portal")
            assert properties["Tunnels"][0]["State"] == "captive-portal"
            error = await refused(desktop, "Refresh")
            assert error.name == UNAVAILABLE
            assert "captive portal" in str(error)
            assert not desktop.registry.heard.seen
            assert not desktop.polkit.questions.seen
            assert agent.sockets() == 0
            await desktop.network_manager.connectivity(str(FULL))
            assert sorted(await desktop.client.moves.count(len(PEERS))) == sorted(FOUND)

    run(scenario())


def test_another_users_session_and_sleep(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            desktop.logind.add("2", active=False)
            desktop.logind.display = "2"
            await desktop.logind.appear()
            await desktop.activate()
            await desktop.start_agent()
            await desktop.client.until(lambda told: told["State"] == "unavailable" and bool(told["Tunnels"]))
            error = await refused(desktop, "Refresh")
            assert (error.name, str(error)) == (UNAVAILABLE, "another user's login session is active")
            desktop.logind.set_active("2", True)
            await desktop.client.until(found)
            desktop.registry.add(peer_key(1), ELSEWHERE)
            desktop.logind.prepare_for_sleep(True)
            desktop.logind.prepare_for_sleep(False)
            (*_, move) = await desktop.client.moves.count(len(PEERS) + 1)
            assert move[3] == str(ELSEWHERE)

    run(scenario())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_leaves_when_told_to(tmp_path: Path, number: signal.Signals) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            agent = await up(desktop)
            desktop.registry.silent = True
            heard = len(desktop.registry.heard.seen)
            refresh = asyncio.create_task(desktop.client.call("Refresh"))
            await desktop.registry.heard.count(heard + 1)
            assert await stopped(agent, number) == 0
            with pytest.raises(BusError):
                await refresh
            await desktop.client.owners.until(lambda seen: seen[-1] == "")
            assert clean(agent), agent.text()
            assert [path.name for path in (tmp_path / "config").rglob("*")] == ["wgsd-nm", "config.toml"]

    run(scenario())


def test_there_is_one_agent_on_a_session_bus(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            agent = await up(desktop)
            second = await desktop.run("wgsd_nm.agent", "--debug")
            assert await second.ended() == 1
            assert f"another process owns the bus name {names.AGENT}" in second.text()
            assert second.times("do ReadPeers") == second.times("do LookUp") == 0
            assert clean(second), second.text()
            await desktop.client.call("Refresh")
            assert agent.process.returncode is None

    run(scenario())


def test_the_command_line(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            agent = await up(desktop)
            shown, as_json, refreshed, wrong = [
                await desktop.run("wgsd_nm.cli", *words)
                for words in (("status",), ("status", "--json"), ("refresh", "wg0"), ("refresh", "wg9"))
            ]
            assert [await program.ended() for program in (shown, as_json, refreshed, wrong)] == [0, 0, 0, 1]
            assert f"we are seen as {OURSELVES_AT}" in shown.text()
            assert str(endpoint_of(1)) in shown.text()
            assert peers_of(json.loads(as_json.text()))[0]["Endpoint"] == str(endpoint_of(1))
            assert refreshed.text() == ""
            assert wrong.text() == "wgsd-nm: 'wg9' is not a configured WireGuard tunnel that is up\n"
            assert await stopped(agent) == 0
            nobody = await desktop.run("wgsd_nm.cli", "status")
            assert await nobody.ended() == 2
            assert "systemctl --user status wgsd-nm-agent" in nobody.text()
            assert clean(nobody)

    run(scenario())
