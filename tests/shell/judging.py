# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether an extension undoes all that it did: what is there after being switched off and on ten times again."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from tests.shell.driver import Driver

ROUNDS: Final = 10
MEMORY: Final = 100_000
"""Bytes that a round may cost: the engine's own records of code that it has seen."""
COUNTED: Final = ("actors", "sources", "handlers", "rules", "names")


async def left_behind(driver: Driver, uuid: str, allowed: Mapping[str, int] = MappingProxyType({})) -> dict[str, int]:
    """What there is more of, by one each second round or more: a leak. The rounds before make what is made only once.

    Actors on the stage, timers, handlers of signals of what lives long, match rules and names on
    the session bus, bytes of JavaScript. So much of it as is `allowed` a round is the shell's own.
    """
    await _rounds(driver, uuid)
    before = await _footprint(driver)
    await _rounds(driver, uuid)
    after = await _footprint(driver)
    grown = {name: after[name] - before[name] for name in before}
    limits = {**dict.fromkeys(COUNTED, 0.5), "memory": MEMORY}
    return {name: number for name, number in grown.items() if number >= (allowed.get(name, 0) + limits[name]) * ROUNDS}


async def _rounds(driver: Driver, uuid: str) -> None:
    for _ in range(ROUNDS):
        await driver.enable(uuid, False)
        await driver.enable(uuid, True)


async def _footprint(driver: Driver) -> dict[str, int]:
    footprint: dict[str, Any] = await driver.eval("probe.footprint()")
    return {name: int(number) for name, number in footprint.items()}
