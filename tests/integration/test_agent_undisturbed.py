# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent as a process: what does not wake it, and what it finds when it is started again."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.integration.desktop import PEERS, Desktop, Program, endpoint_of, peers_of
from tests.integration.nm_objects import ACCESS_POINT, STATISTICS, WIRELESS
from tests.integration.scripted_nm import FULL, LIMITED, ScriptedNetworkManager, peer_key
from tests.integration.waiting import run
from wgsd_nm.bus import names
from wgsd_nm.core.model import Endpoint

POINTS = 12
"""Access points in reach."""
SCANS = 120
"""Of an hour, one each 30 s; after each, every point has another strength, some come and go."""
OWN = 40
"""Wake-ups that the agent's own checks may cause while the noise lasts."""
ELSEWHERE = Endpoint.parse("198.51.100.77:7777")


async def an_hour_of_wifi(network_manager: ScriptedNetworkManager) -> int:
    """What a wireless card says in an hour, at once; returns the number of signals."""
    objects, wireless = network_manager.objects, network_manager.WIRELESS
    points = [f"{names.NM_PATH}/AccessPoint/{1000 + number}" for number in range(POINTS)]
    signals = 0
    for point in points:
        objects.add(point, {ACCESS_POINT: {"Ssid": b"cafe", "Strength": 40}})
    for scan in range(1, SCANS + 1):
        gone, points = points[0], [*points[1:], f"{names.NM_PATH}/AccessPoint/{2000 + scan}"]
        objects.remove(gone)
        objects.add(points[-1], {ACCESS_POINT: {"Ssid": b"bar", "Strength": 30}})
        objects.signal(wireless, WIRELESS, "AccessPointRemoved", gone)
        objects.signal(wireless, WIRELESS, "AccessPointAdded", points[-1])
        await objects.set(wireless, WIRELESS, AccessPoints=list(points), LastScan=scan)
        for point in points:
            await objects.set(point, ACCESS_POINT, Strength=(7 * scan) % 100, LastSeen=scan)
        for number in range(5):
            await objects.set(wireless, WIRELESS, Bitrate=54000 + 1000 * number)
            for device in (network_manager.UPLINK, wireless):
                await objects.set(device, STATISTICS, RxBytes=5 * scan + number, TxBytes=scan)
        signals += 5 + POINTS + 15
    return signals


def wake_ups(agent: Program) -> int:
    """How often the agent has gone to sleep, as soon as it does: its voluntary context switches (proc(5))."""
    while not (status := status_of(agent))["State"].startswith("S"):
        time.sleep(0.001)
    return int(status["voluntary_ctxt_switches"])


def status_of(agent: Program) -> dict[str, str]:
    """/proc/PID/status by its names."""
    lines = Path("/proc", str(agent.process.pid), "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def heard(desktop: Desktop) -> None:
    """The bus has passed on all that NetworkManager said, and what of it was for the agent has come before this."""
    await desktop.helper.call(names.NM, names.NM_PATH, names.PEER, "Ping")
    await desktop.client.ask()


async def connected(desktop: Desktop) -> Program:
    """The agent, all peers reached: it checks on them every half minute."""
    await desktop.activate()
    agent = await desktop.start_agent()
    await desktop.client.moves.count(len(PEERS))
    await desktop.answer()
    await desktop.client.state("ok")
    return agent


def test_an_hour_of_wifi_noise_wakes_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            agent = await connected(desktop)
            await heard(desktop)
            snapshots, before = agent.times("heard NetworkSeen"), wake_ups(agent)
            signals = await an_hour_of_wifi(desktop.network_manager)
            await heard(desktop)
            woken = wake_ups(agent) - before
            assert signals > 3000
            assert woken < OWN
            assert agent.times("heard NetworkSeen") == snapshots
            before = wake_ups(agent)
            for number in range(OWN):
                await desktop.network_manager.connectivity(str(FULL if number % 2 else LIMITED))
                await heard(desktop)
            assert wake_ups(agent) - before >= OWN, "what concerns it can be seen to wake it"

    run(scenario())


def test_without_a_tunnel_it_sleeps_for_good(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            agent = await desktop.start_agent()
            await desktop.client.state("idle")
            await heard(desktop)
            before = wake_ups(agent)
            await an_hour_of_wifi(desktop.network_manager)
            await desktop.helper.call(names.NM, names.NM_PATH, names.PEER, "Ping")
            assert wake_ups(agent) == before

    run(scenario())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_agent_that_is_started_again_goes_on_where_things_are(tmp_path: Path, number: signal.Signals) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            agent = await connected(desktop)
            before = desktop.device.endpoints()
            agent.process.send_signal(number)
            await agent.ended()
            await desktop.client.owners.until(lambda seen: seen[-1] == "")
            desktop.registry.add(peer_key(1), ELSEWHERE)
            moves = len(desktop.client.moves.seen)
            await desktop.start_agent()
            told = await desktop.client.moves.count(moves + 1)
            assert [move[2:4] for move in told[moves:]] == [[str(endpoint_of(1)), str(ELSEWHERE)]]
            assert before == [endpoint_of(each) for each in PEERS]
            assert desktop.device.endpoints() == [ELSEWHERE, endpoint_of(2)]

    run(scenario())


def test_an_agent_that_is_started_again_does_not_write_what_is_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            agent = await connected(desktop)
            agent.process.kill()
            await agent.ended()
            await desktop.client.owners.until(lambda seen: seen[-1] == "")
            moves = len(desktop.client.moves.seen)
            await desktop.start_agent()
            await desktop.client.call("Refresh")
            assert desktop.client.moves.seen[moves:] == []
            assert desktop.device.endpoints() == [endpoint_of(each) for each in PEERS]

    run(scenario())


def test_what_worked_is_tried_where_no_registry_answers_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            agent = await connected(desktop)
            agent.process.terminate()
            assert await agent.ended() == 0
            kept = tmp_path / "state" / "wgsd-nm" / "endpoints.json"
            assert all(str(endpoint_of(number)) in kept.read_text() for number in PEERS)
            desktop.registry.silent = True
            desktop.device.make_peers()
            await desktop.client.owners.until(lambda seen: seen[-1] == "")
            await desktop.start_agent()
            told = await desktop.client.until(
                lambda told: [peer["Source"] for peer in peers_of(told)] == ["cache"] * len(PEERS)
            )
            assert [peer["Endpoint"] for peer in peers_of(told)] == [str(endpoint_of(number)) for number in PEERS]
            assert desktop.device.endpoints() == [endpoint_of(number) for number in PEERS]

    run(scenario())
