# SPDX-License-Identifier: GPL-2.0-or-later
"""Six events of chance, the same each time, and after each everything holds: `make soak` draws two hundred others.

SEED in the environment makes other events.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from lab.soak.soak import soak
from lab.world import Laptop, World

EVENTS = 6
SEED = 24


@pytest.fixture
def three(world: World, laptops: tuple[Laptop, Laptop]) -> Iterator[Mapping[str, Laptop]]:
    """The two who are always there, and carol behind NAT C; afterwards they are two again."""
    carol = world.laptop("carol", world.nat_c)
    carol.boot(replace(world.profile("carol", []), autoconnect=False))
    carol.wait_connected("eth0")
    one, other = laptops
    for laptop, nat in ((one, world.nat_a), (other, world.nat_b)):
        if laptop.nat is not nat:
            laptop.move(nat)
            laptop.wait_connected()
    yield {laptop.name: laptop for laptop in (one, other, carol)}
    world.remove(carol)
    one.adopt(world.profile(one.name, [other.name]))
    other.adopt(world.profile(other.name, [one.name]))


def test_everything_holds(world: World, three: Mapping[str, Laptop], capsys: pytest.CaptureFixture[str]) -> None:
    def tell(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", end="", flush=True)

    soak(world, three, int(os.environ.get("SEED", SEED)), EVENTS, tell)
