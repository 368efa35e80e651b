# SPDX-License-Identifier: GPL-2.0-or-later
"""A laptop as its user has it: the real agent among scripted neighbours, a real GNOME Shell, our extension in it."""

from __future__ import annotations

import gettext
import shutil
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Self

from lab import tree, trees
from tests.integration.desktop import PEERS, Desktop, Program, endpoint_of, peers_of
from tests.integration.scripted_nm import REGISTRY, peer_key
from tests.shell.box import SIZE, ShellBox
from tests.shell.driver import Driver, ExtensionState, Seen
from tests.shell.pictures import FOLDER
from tools import extension
from wgsd_nm.bus.connection import Bus

UUID: Final = extension.UUID
NAMES: Final = {REGISTRY: "home", **dict(zip(PEERS, ("bob", "carol"), strict=True))}
"""What the peers are called."""
BOB, CAROL = PEERS


def our_extension(folder: Path, shell: int) -> Path:
    """The extension's folder, made in `folder`, as it is installed for that version of GNOME Shell."""
    extension.write(folder / UUID, extension.files(legacy=shell < 45))
    return folder / UUID


class Scene:
    """An async context manager: the shell shows its desktop and has the extension, the agent can be started."""

    def __init__(
        self,
        folder: Path,
        shell: int,
        *,
        locale: str = "C.UTF-8",
        settings: Mapping[str, Mapping[str, str]] | None = None,
        display: str = "",
    ) -> None:
        """With a `display`, an X server, the shell is in a window there."""
        self.shell = shell
        self.agent: Program | None = None
        self.desktop = Desktop(folder, activatable=True)
        self.words: gettext.NullTranslations = gettext.NullTranslations()
        self._folder = folder
        self._locale = locale
        self._settings = settings
        self._display = display
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._begin()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _begin(self) -> None:
        root = tree.ensure(trees.SHELLS[self.shell])
        await self._stack.enter_async_context(self.desktop)
        names = "".join(f'{name} = "{peer_key(number)}"\n' for number, name in NAMES.items())
        self.desktop.configure(f"{self.desktop.config}[tunnel.tunnel.names]\n{names}")
        ours = our_extension(self._folder / "extension", self.shell)
        self.words = gettext.translation(UUID, ours / "locale", [self._locale], fallback=True)
        self.box = await self._stack.enter_async_context(
            ShellBox(
                root,
                self.desktop.session_bus,
                [ours],
                locale=self._locale,
                settings=self._settings,
                display=self._display,
            )
        )
        bus = Bus(system=False, address=self.desktop.session_bus.address)
        self._stack.push_async_callback(bus.close)
        await bus.connect()
        self.driver = Driver(bus)
        await self.driver.ready()
        await self.box.serve("org.gnome.Shell.Notifications")
        assert await self.driver.settled(UUID) == ExtensionState.ENABLED, (await self.driver.errors(UUID), self.box.log)

    async def at_rest(self) -> None:
        """The tunnel is up, the registry's peer and carol answer, nobody knows bob; no menu is open."""
        if self.agent is None:
            self.desktop.registry.remove(peer_key(BOB))
            await self.desktop.activate()
        if self.agent is None or self.agent.process.returncode is not None:
            await self.start_agent()
            await self.desktop.client.until(lambda properties: self._has(properties, CAROL, "Endpoint"))
        await self.reach(REGISTRY, CAROL)
        await self.driver.close_menus()

    async def start_agent(self) -> None:
        """Returns when the agent is on the bus."""
        self.agent = await self.desktop.start_agent()

    async def open_menu(self) -> list[Seen]:
        """Open the quick settings and the menu in it with the pointer, as people do; what is on the screen then."""
        await self.driver.close_menus()
        await self.driver.click(await self.driver.find(lambda seen: seen.kind == "QuickSettings", "the panel's button"))
        await self.driver.click(await self.toggle())
        await self.driver.sees(self.words.gettext("Look up now"))
        return await self.driver.still()

    async def toggle(self) -> Seen:
        """Our item in the quick settings, when they are open."""
        return await self.driver.find(lambda seen: seen.kind == "PeersToggle", "our item in the quick settings")

    async def picture(self, name: str, area: tuple[int, int, int, int] = (0, 0, *SIZE)) -> None:
        """Keep a picture of the screen, or of x, y, width and height of it, for people to look at."""
        made = self.box.directory / "picture.png"
        await self.driver.picture(made, area)
        FOLDER.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, FOLDER / f"{name}.png")

    def answer(self, *numbers: int) -> None:
        """These peers answer to what the kernel sends them."""
        self.desktop.device.shake_hands(time.time_ns() // 1000, numbers)

    async def reach(self, *numbers: int) -> None:
        """These peers answer whenever they are asked; returns when the agent takes them for connected."""

        async def told() -> dict[str, Any]:
            self.answer(*numbers)
            return await self.desktop.client.ask()

        def connected(properties: dict[str, Any]) -> bool:
            return all(self._has(properties, number, "ConnectedSince") for number in numbers)

        await self.driver.until(told, connected, "the agent to reach them")

    def register(self, number: int) -> None:
        """The registry knows this peer."""
        self.desktop.registry.add(peer_key(number), endpoint_of(number))

    @staticmethod
    def _has(properties: dict[str, Any], number: int, key: str) -> bool:
        return any(peer[key] for peer in peers_of(properties, (number,)))

    @property
    def problems(self) -> list[str]:
        """What the shell's log has against the extension."""
        return self.box.problems(UUID)
