# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm doctor as a process, on real buses, with a real agent and a scripted NetworkManager."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tests.integration.desktop import OURSELVES_AT, ZONE, Desktop, Program
from tests.integration.waiting import run
from wgsd_nm import __version__


async def doctor(desktop: Desktop) -> tuple[int, list[dict[str, str]]]:
    """The exit status, and the findings."""
    program = await desktop.run("wgsd_nm.cli", "doctor", "--json")
    status = await program.ended()
    return status, json.loads(program.text())


def the(step: str, found: list[dict[str, str]]) -> dict[str, str]:
    """The first finding of that step."""
    return next(finding for finding in found if finding["step"] == step)


async def settled(desktop: Desktop) -> Program:
    """The agent, when every peer has answered."""
    await desktop.activate()
    desktop.device.shake_hands(int(time.time() * 1e6))
    agent = await desktop.start_agent()
    await desktop.client.until(answered)
    return agent


def answered(properties: dict[str, Any]) -> bool:
    return bool(properties["Tunnels"]) and properties["Tunnels"][0]["PublicEndpoint"] == str(OURSELVES_AT)


def test_it_walks_to_the_peers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            await settled(desktop)
            _, found = await doctor(desktop)
            results = {finding["step"]: (finding["result"], finding["text"]) for finding in found}
            assert results["agent"] == ("ok", f"The agent runs, version {__version__}.")
            assert results["configuration"] == ("ok", "[tunnel.tunnel] is configured, and wg0 is up.")
            assert results["NetworkManager"] == ("ok", "NetworkManager 1.42.4 runs.")
            assert results["network"] == ("ok", "A network leads out; its connectivity is full.")
            assert results["portal"][0] == results["clock"][0] == "cannot-tell"
            assert results["permission"] == ("ok", "The helper serves the agent.")
            assert results["registry"][0] == "ok"
            assert f"answers for {ZONE}" in results["registry"][1]
            assert str(OURSELVES_AT) in results["registry"][1]
            assert results["registry peer"][0] == "cannot-tell", "this registry is outside of the tunnel"
            assert len([finding for finding in found if finding["step"] == "peer"]) == 3

    run(scenario())


def test_not_configured(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path, config="") as desktop:
            await desktop.activate()
            await desktop.start_agent()
            await desktop.client.state("idle")
            status, found = await doctor(desktop)
            assert status == 1
            finding = the("configuration", found)
            assert finding["text"] == "No tunnel is configured. wg0 is up."
            assert "wgsd-nm setup wg0 --zone" in finding["advice"]

    run(scenario())


def test_a_wrong_configuration(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path, config="[tunnel.tunnel]\nzone = 7\n") as desktop:
            await desktop.start_agent()
            status, found = await doctor(desktop)
            assert status == 1
            assert "tunnel.tunnel.zone" in the("configuration", found)["text"]

    run(scenario())


def test_no_agent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            await desktop.activate()
            status, found = await doctor(desktop)
            assert status == 1
            assert the("agent", found)["text"] == "The agent is not running."
            assert the("configuration", found)["result"] == "ok"
            assert the("permission", found)["result"] == "cannot-tell"

    run(scenario())


def test_no_buses(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            desktop.session_bus.stop()
            desktop.system_bus.stop()
            status, found = await doctor(desktop)
            assert status == 2
            assert the("agent", found)["result"] == the("NetworkManager", found)["result"] == "cannot-tell"

    run(scenario())


def test_permission_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            desktop.polkit.yes = False
            await desktop.activate()
            await desktop.start_agent()
            await desktop.client.state("unavailable")
            status, found = await doctor(desktop)
            assert status == 1
            finding = the("permission", found)
            assert finding["text"].startswith("wg0: polkit does not permit io.github.wgsd-nm.helper1.")
            assert "/etc/polkit-1/rules.d" in finding["advice"]

    run(scenario())


def test_another_session_is_active(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            desktop.logind.add("2", active=False)
            desktop.logind.display = "2"
            await desktop.logind.appear()
            await desktop.activate()
            await desktop.start_agent()
            await desktop.client.state("unavailable")
            status, found = await doctor(desktop)
            assert status == 1
            assert the("permission", found)["text"].startswith("Another user's login session is active")

    run(scenario())


def test_a_silent_registry(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            desktop.registry.silent = True
            await desktop.activate()
            await desktop.start_agent()
            await desktop.client.until(lambda told: bool(told["Tunnels"]) and bool(told["Tunnels"][0]["LastError"]))
            status, found = await doctor(desktop)
            assert status == 1
            finding = the("registry", found)
            assert finding["result"] == "problem"
            assert finding["advice"].endswith("SOA shows what it says")

    run(scenario())


def test_for_a_person(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path, config="") as desktop:
            await desktop.start_agent()
            program = await desktop.run("wgsd_nm.cli", "doctor")
            assert await program.ended() == 1
            assert f"ok           agent           The agent runs, version {__version__}.\n" in program.text()
            assert "\x1b" not in program.text()

    run(scenario())
