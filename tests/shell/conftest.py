# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the tests in real GNOME Shells: a stage keeps one shell for the tests of a file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from lab import trees
from tests.integration.conftest import session_bus
from tests.shell.pictures import FOLDER
from tests.shell.scene import Scene

__all__ = ["session_bus"]

DEADLINE = 120
"""Seconds that one test may take on a busy machine."""


class Stage:
    """A scene that lasts for several tests, each of which plays in it."""

    def __init__(self, runner: asyncio.Runner, scene: Scene) -> None:
        self._runner = runner
        self._scene = scene

    def play(self, act: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
        """Run a test. It fails as well if the shell's log has something against our extension afterwards."""
        self._runner.run(self._play(act))

    async def _play(self, act: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
        try:
            async with asyncio.timeout(DEADLINE):
                await self._scene.at_rest()
                await act(self._scene)
            assert self._scene.problems == []
        except BaseException as error:
            await self._tell(error)
            raise

    async def _tell(self, error: BaseException) -> None:
        """What a person would look at first."""
        name = f"failed-{self._scene.shell}"
        try:
            await self._scene.picture(name)
            error.add_note(f"the screen is in {FOLDER / name}.png")
        except Exception as second:  # the shell may have died of it
            error.add_note(f"there is no picture: {second!r}")
        error.add_note(f"the end of the shell's log:\n{self._scene.box.log[-3000:]}")
        if self._scene.agent:
            error.add_note(f"the end of the agent's log:\n{self._scene.agent.text()[-3000:]}")


@pytest.fixture(scope="module", params=sorted(trees.SHELLS), ids=lambda version: f"gnome{version}")
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The shell with our extension, the tunnel up, the agent running; bob is not known to the registry."""
    with asyncio.Runner() as runner:
        scene = Scene(tmp_path_factory.mktemp("scene"), request.param)
        runner.run(scene.__aenter__())
        try:
            yield Stage(runner, scene)
        finally:
            runner.run(scene.__aexit__())
