# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm status as a process beside a real agent, on a terminal and in a pipe."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path

from tests.integration.desktop import OURSELVES_AT, PEERS, ROOT, ZONE, Desktop, endpoint_of, peers_of
from tests.integration.scripted_nm import peer_key
from tests.integration.waiting import DEADLINE, run

COLUMNS = 80
COLOUR = re.compile(r"\x1b\[\d+m")


async def on_a_terminal(desktop: Desktop, **variables: str) -> str:
    """What `wgsd-nm status` shows on a terminal of 80 columns."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 25, COLUMNS, 0, 0))
    environment = {k: v for k, v in desktop._environment().items() if k not in ("COLUMNS", "NO_COLOR")}  # noqa: SLF001
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "wgsd_nm.cli", "status"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=its,
        stderr=its,
        cwd=ROOT,
        env=environment | {"TERM": "xterm"} | variables,
    )
    os.close(its)
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        async with asyncio.timeout(DEADLINE):
            shown = await asyncio.to_thread(_all, terminal.fileno())
            assert await process.wait() == 0, shown
    return shown.replace("\r\n", "\n")


def _all(terminal: int) -> str:
    """What comes until the last who writes has closed it, which Linux tells by EIO (pty(7))."""
    octets = b""
    while True:
        try:
            octets += os.read(terminal, 65536)
        except OSError:
            return octets.decode()


async def told(desktop: Desktop) -> None:
    """Returns when the agent has told of every peer's endpoint and of ours."""
    await desktop.activate()
    await desktop.start_agent()
    await desktop.client.until(
        lambda properties: (
            bool(properties["Tunnels"])
            and properties["Tunnels"][0]["PublicEndpoint"] == str(OURSELVES_AT)
            and [peer["Endpoint"] for peer in peers_of(properties)] == [str(endpoint_of(number)) for number in PEERS]
        )
    )


def test_on_a_terminal(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            await told(desktop)
            shown = await on_a_terminal(desktop)
            assert COLOUR.search(shown)
            plain = COLOUR.sub("", shown)
            assert "\x1b" not in plain
            assert max(map(len, plain.splitlines())) <= COLUMNS
            assert f"  zone {ZONE}" in plain
            assert f"  {str(peer_key(1))[:8]}  " in plain
            for variable in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
                assert "\x1b" not in await on_a_terminal(desktop, **variable)

    run(scenario())


def test_in_a_pipe(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path) as desktop:
            await told(desktop)
            program, as_json = [await desktop.run("wgsd_nm.cli", "status", *more) for more in ((), ("--json",))]
            assert [await program.ended(), await as_json.ended()] == [0, 0]
            assert "\x1b" not in program.text()
            (line,) = (line for line in program.text().splitlines() if str(endpoint_of(1)) in line)
            assert line.split()[0] == str(peer_key(1))[:8]
            assert line.endswith(".")
            properties = json.loads(as_json.text())
            assert properties.keys() >= {"Version", "State", "Tunnels", "Peers"}
            assert peers_of(properties)[0]["Endpoint"] == str(endpoint_of(1))

    run(scenario())
