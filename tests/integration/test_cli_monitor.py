# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm monitor as a process beside a real agent: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.integration.desktop import PEERS, ROOT, Desktop, endpoint_of
from tests.integration.scripted_nm import peer_key
from tests.integration.waiting import DEADLINE, run
from wgsd_nm import __version__


class Monitor:
    """A running monitor, whose lines are read one by one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.seen: list[str] = []
        self.errors: list[str] = []

    async def until(self, text: str) -> str:
        """The next line with this text."""
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            while True:
                line = (await self.process.stdout.readline()).decode()
                assert line, f"it ended before it said {text!r}: {self.seen} {await self._complaint()}"
                self.seen.append(line.rstrip("\n"))
                if text in line:
                    return self.seen[-1]

    async def ended(self) -> tuple[int, str]:
        """Its exit status and its complaints."""
        async with asyncio.timeout(DEADLINE):
            return await self.process.wait(), await self._complaint()

    async def _complaint(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()


@asynccontextmanager
async def monitoring(desktop: Desktop, *options: str) -> AsyncIterator[Monitor]:
    """`wgsd-nm monitor` on the desktop, its output a pipe."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "wgsd_nm.cli", "monitor", *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=desktop._environment(),  # noqa: SLF001  # as its own programs have it
    )
    try:
        yield Monitor(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def test_it_begins_with_what_is_and_goes_on_with_what_happens(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            agent = await desktop.start_agent()
            await desktop.client.state("idle")
            async with monitoring(desktop) as monitor:
                assert (await monitor.until("the agent is"))[8:] == f"  the agent is running, version {__version__}"
                await monitor.until("  idle")
                await desktop.activate()
                for _ in PEERS:
                    found = await monitor.until("no endpoint -> ")
                    assert "The registry reported " in found
                agent.process.send_signal(signal.SIGTERM)
                await monitor.until("the agent is gone")
                await desktop.start_agent()
                await monitor.until("the agent is running")
                known = await monitor.until(str(endpoint_of(1)))
                assert known[8:].startswith(f"  wg0 {str(peer_key(1))[:8]}: ")
                assert not [line for line in monitor.seen if line[2] + line[5] != "::"]
                monitor.process.send_signal(signal.SIGINT)
                assert await monitor.ended() == (0, "")

    run(scenario())


def test_json_is_an_object_a_line(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            await desktop.activate()
            await desktop.start_agent()
            async with monitoring(desktop, "--json") as monitor:
                await monitor.until(str(peer_key(PEERS[-1])))
                monitor.process.send_signal(signal.SIGINT)
                assert await monitor.ended() == (0, "")
            events: list[dict[str, Any]] = [json.loads(line) for line in monitor.seen]
            assert (events[0]["what"], events[0]["new"]) == ("agent", "running")
            assert {event["interface"] for event in events} == {"", "wg0"}

    run(scenario())


def test_an_agent_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop, monitoring(desktop) as monitor:
            assert "the agent cannot be asked" in await monitor.until("")
            await desktop.start_agent()
            await monitor.until("the agent is running")

    run(scenario())


def test_without_a_session_bus_it_ends(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            await desktop.start_agent()
            async with monitoring(desktop) as monitor:
                await monitor.until("the agent is running")
                desktop.session_bus.stop()
                status, complaint = await monitor.ended()
                assert status == 2
                assert complaint.startswith("wgsd-nm: the agent cannot be reached: the session bus has ended\n")
                assert "Traceback" not in complaint

    run(scenario())


def test_a_reader_who_has_seen_enough(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            await desktop.start_agent()
            reader = await asyncio.create_subprocess_shell(
                f"{sys.executable} -W error -m wgsd_nm.cli monitor | head -n 1",
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=ROOT,
                env=desktop._environment(),  # noqa: SLF001  # as its own programs have it
            )
            await desktop.activate()
            async with asyncio.timeout(DEADLINE):
                said, complaint = await reader.communicate()
            assert said.decode()[8:] == f"  the agent is running, version {__version__}\n"
            assert complaint == b""

    run(scenario())
