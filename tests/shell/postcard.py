# SPDX-License-Identifier: GPL-2.0-or-later
"""Alice's GNOME Shell in the lab, as pictures: bob is not reached, she moves to another network, and he is.

All but the Shell is in the lab's machine, see journey.py. That is emulated and too slow for a Shell, so it runs here,
on alice's own session bus, which is carried here octet by octet.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from lab import tree, trees
from tests.shell.box import ShellBox
from tests.shell.carried import WORDS, carry, deliver, frame, next_frame
from tests.shell.driver import Driver, ExtensionState
from tests.shell.pictures import FOLDER
from tests.shell.scene import UUID, our_extension
from wgsd_nm.bus.connection import Bus

SHELL = max(trees.SHELLS)
AREA = (780, 0, 500, 580)
"""Of the screen: the panel's right end, and the menu below it."""
SUITE = trees.SHELLS[SHELL].suite
JOB = (
    "-m",
    "lab",
    "run",
    "--suite",
    SUITE,
    "--stdin",
    "--timeout",
    "1500",
    "--",
    "python3",
    "-m",
    "tests.shell.journey",
)
MOVED_TO = "198.51.100.130"
"""The public address of the NAT that she moves behind."""
BEGINS = 900.0
"""Seconds in which the world is there, with an image that has to be made first."""
FOUND = 120.0
"""Seconds in which the menu shows what has become of bob."""


class Bridge:
    """An async context manager: the machine runs, and its session bus is at `address`, in `directory`."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="bridge-"))
        self.address = f"unix:path={self.directory / 'bus'}"
        self._words: asyncio.Queue[bytes] = asyncio.Queue()
        self._clients: dict[int, asyncio.StreamWriter] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Bridge:
        self._stack.callback(shutil.rmtree, self.directory)
        self._machine = await asyncio.create_subprocess_exec(
            sys.executable, *JOB, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert self._machine.stdin is not None
        assert self._machine.stdout is not None
        self._out, self._in = self._machine.stdin, self._machine.stdout
        self._receiving = asyncio.create_task(self._receive())
        async with asyncio.timeout(BEGINS):
            word = await self._words.get()
        assert word == b"ready", f"the machine ended: {word!r}"
        server = await asyncio.start_unix_server(self._accept, self.directory / "bus")
        self._stack.callback(server.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.say(b"end")
        await self._machine.wait()
        await self._receiving
        await self._stack.aclose()

    def say(self, word: bytes) -> None:
        """Tell the journey what is to happen."""
        self._out.write(frame(WORDS, word))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel = len(self._clients) + 1
        self._clients[channel] = writer
        await carry(reader, channel, self._out)

    async def _receive(self) -> None:
        try:
            while True:
                channel, octets = await next_frame(self._in)
                if channel == WORDS:
                    self._words.put_nowait(octets)
                else:
                    await deliver(octets, self._clients[channel])
        except asyncio.IncompleteReadError as end:
            self._words.put_nowait(end.partial)


async def look(folder: Path) -> None:
    """Start all of it, and take the pictures."""
    async with AsyncExitStack() as stack:
        bridge = await stack.enter_async_context(Bridge())
        bus = Bus(system=False, address=bridge.address)
        await bus.connect()
        stack.push_async_callback(bus.close)
        ours = our_extension(folder, SHELL)
        box = await stack.enter_async_context(ShellBox(tree.ensure(trees.SHELLS[SHELL]), bridge, [ours]))
        driver = Driver(bus)
        await driver.ready()
        assert await driver.settled(UUID) == ExtensionState.ENABLED
        await driver.hide_padlock()
        await driver.click(await driver.find(lambda seen: seen.kind == "QuickSettings", "the panel's button"))
        await driver.click(await driver.find(lambda seen: seen.kind == "PeersToggle", "our item"))
        await driver.sees("bob, Not reached", within=FOUND)
        await _picture(driver, box, "unreachable")
        bridge.say(b"move")
        await driver.sees("bob, Connected", MOVED_TO, within=FOUND)
        await _picture(driver, box, "direct")


async def _picture(driver: Driver, box: ShellBox, name: str) -> None:
    made = box.directory / "picture.png"
    await driver.picture(made, AREA)
    FOLDER.mkdir(parents=True, exist_ok=True)
    print(shutil.copyfile(made, FOLDER / f"lab-{name}.png"), flush=True)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="postcard-") as folder:
        asyncio.run(look(Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
