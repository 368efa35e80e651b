# SPDX-License-Identifier: GPL-2.0-or-later
"""What judges our extension finds the faults of extensions that have some, and nothing where there is none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lab import tree, trees
from tests.integration.buses import PrivateBus
from tests.shell import specimens
from tests.shell.box import ShellBox
from tests.shell.driver import Driver, ExtensionState
from tests.shell.judging import left_behind
from wgsd_nm.bus.connection import Bus

REFUSED = ("enable throws",)
"""The shell itself sees these; of the others its log tells."""
THROWN = ("disable throws", "a timer throws", "a promise is rejected")


async def judge(box: ShellBox, driver: Driver) -> None:
    for fault in specimens.FAULTS:
        expected = ExtensionState.ERROR if fault in REFUSED else ExtensionState.ENABLED
        assert await driver.settled(specimens.uuid(fault)) == expected, fault
    assert await left_behind(driver, specimens.uuid("none")) == {}
    for fault, what in specimens.LEAKS.items():
        assert what in await left_behind(driver, specimens.uuid(fault)), fault
    await driver.disable(specimens.uuid("disable throws"))
    for fault in specimens.FAULTS:
        found = box.problems(specimens.uuid(fault))
        assert bool(found) == (fault in REFUSED + THROWN), (fault, found)


@pytest.mark.parametrize("shell", sorted(trees.SHELLS))
def test_each_fault_is_found(shell: int, tmp_path: Path, session_bus: PrivateBus) -> None:
    made = [specimens.make(tmp_path, shell, fault) for fault in specimens.FAULTS]

    async def scenario() -> None:
        bus = Bus(system=False, address=session_bus.address)
        await bus.connect()
        async with ShellBox(tree.ensure(trees.SHELLS[shell]), session_bus, made) as box:
            driver = Driver(bus)
            await driver.ready()
            await judge(box, driver)
        await bus.close()

    asyncio.run(scenario())
