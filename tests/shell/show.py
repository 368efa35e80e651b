# SPDX-License-Identifier: GPL-2.0-or-later
"""make demo-desktop: what people see of the agent in GNOME, in a window to try it, or without a display in pictures.

Shell, extension and agent are the real ones. NetworkManager, the registry and the kernel's WireGuard are the tests'.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import trees
from lab.errors import LabError
from tests.integration.scripted_nm import REGISTRY
from tests.shell.pictures import FOLDER
from tests.shell.scene import BOB, CAROL, Scene

FRESH = 5.0
"""Seconds between two answers of a peer that answers, as of one that is talked to."""
AREA = (780, 0, 500, 580)
"""Of the screen: the panel's right end, and the menu below it."""


def tell(text: str) -> None:
    print(f"demo: {text}", flush=True)


class Life:
    """The peers' side of the demo: who answers, and that the answers go on."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._answering = {REGISTRY, CAROL}

    async def go_on(self) -> None:
        """Returns never: every peer that answers does so again and again."""
        while True:
            self._scene.answer(*self._answering)
            await asyncio.sleep(FRESH)

    def begin(self, number: int) -> None:
        """Another peer is switched on: the registry knows it, and it answers."""
        self._scene.register(number)
        self._answering.add(number)


async def pictures(scene: Scene, life: Life) -> None:
    """Three pictures of the menu: bob is not reached, he is looked up, he is reached."""
    await scene.driver.hide_padlock()
    await scene.open_menu()
    await _picture(
        scene, "1-unreachable", "home and carol are reached; nobody knows where bob is, and the menu says so"
    )
    life.begin(BOB)
    await scene.driver.click(await scene.driver.find(lambda seen: seen.text == "Look up now", "the item that looks up"))
    tell("bob is switched on, and a click on `Look up now` has the agent ask for him")
    await scene.driver.sees("bob, Connected")
    await _picture(scene, "2-connected", "bob has answered")


async def _picture(scene: Scene, name: str, what: str) -> None:
    await scene.picture(f"demo-{name}", AREA)
    tell(f"{what}: {FOLDER / f'demo-{name}.png'}")


async def window(scene: Scene, life: Life) -> None:
    """Until the window is closed, or Ctrl+C. Enter switches bob on."""
    tell("the window is a GNOME desktop of its own; the icon that this is about is in its panel, top right")
    tell("a click there, then one on `Peers`, opens the menu: home and carol are reached, bob is not")
    if sys.stdin.isatty():
        tell("press Enter here to switch bob on, then choose `Look up now`")
        asyncio.get_running_loop().add_reader(sys.stdin, _entered, life)
    tell("close the window or press Ctrl+C to end")
    await scene.box.ended()


def _entered(life: Life) -> None:
    if sys.stdin.readline():
        life.begin(BOB)
        tell("bob is switched on")
    else:
        asyncio.get_running_loop().remove_reader(sys.stdin)


async def show(shell: int, folder: Path, display: str) -> None:
    """The demo, in that version of GNOME Shell."""
    tell(f"GNOME Shell {shell} of Debian {trees.SHELLS[shell].suite} starts {'in a window' if display else 'unseen'}")
    async with Scene(folder, shell, display=display) as scene:
        tell("the agent starts, and the tunnel comes up")
        await scene.at_rest()
        life = Life(scene)
        going_on = asyncio.ensure_future(life.go_on())
        try:
            await (window if display else pictures)(scene, life)
        finally:
            going_on.cancel()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A signal that ends us has everything taken down first."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> int:
    """Show it; the exit status."""
    parser = argparse.ArgumentParser(prog="tests.shell.show", description=__doc__)
    parser.add_argument(
        "--shell", type=int, choices=sorted(trees.SHELLS), default=max(trees.SHELLS), help="(%(default)s)"
    )
    parser.add_argument("--pictures", action="store_true", help="pictures, though there is a display")
    options = parser.parse_args()
    display = "" if options.pictures else os.environ.get("DISPLAY", "")
    try:
        with _ended_by_signals(), tempfile.TemporaryDirectory(prefix="demo-") as folder:
            asyncio.run(show(options.shell, Path(folder), display))
    except LabError as error:
        tell(str(error))
        return 1
    except KeyboardInterrupt:
        return 0 if display else 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
