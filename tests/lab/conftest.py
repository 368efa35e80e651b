# SPDX-License-Identifier: GPL-2.0-or-later
"""The world that all scenarios share. They run in the guest: `python3 -m lab run -- python3 -m pytest tests/lab`."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from lab.world import Laptop, Nat, World
from lab.world.report import collect
from tests.lab.agents import company, meeting

__all__ = ["company", "meeting"]

GUEST_MARK = Path("/run/lab/job")
WORLD = pytest.StashKey[World]()


def pytest_sessionstart() -> None:
    """Refuse to run anywhere but in the guest: what stands here takes the network apart."""
    if not GUEST_MARK.exists() or os.geteuid() != 0:
        pytest.exit("these run in the lab: python3 -m lab run -- python3 -m pytest tests/lab", returncode=4)


def pytest_report_header() -> str:
    """What the Go programs are that test_wgsd.py holds ours to."""
    origin = Path("/lab/wgsd/origin")
    return f"wgsd: {origin.read_text().strip()}" if origin.exists() else "wgsd: not here (lab run --wgsd)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Beside a failure, show the state of the world at that moment."""
    report = yield
    world = item.config.stash.get(WORLD, None)
    if report.failed and world is not None:
        report.sections.append(("the world", collect(world.hosts, item.name)))
    return report


@pytest.fixture(scope="session")
def world(pytestconfig: pytest.Config) -> Iterator[World]:
    """The internet with the registry and three routers of the usual kind."""
    with World() as made:
        pytestconfig.stash[WORLD] = made
        yield made
        del pytestconfig.stash[WORLD]


@pytest.fixture(scope="session")
def laptops(world: World) -> tuple[Laptop, Laptop]:
    """Alice behind NAT A and Bob behind NAT B, both connected by NetworkManager; the registry sees them."""
    alice, bob = world.laptop("alice", world.nat_a), world.laptop("bob", world.nat_b)
    alice.boot(world.profile("alice", ["bob"]))
    bob.boot(world.profile("bob", ["alice"]))
    for laptop in (alice, bob):
        laptop.wait_connected()
    world.wait_seen("alice", "bob")
    return alice, bob


@pytest.fixture
def alice(laptops: tuple[Laptop, Laptop], world: World) -> Laptop:
    """Alice's laptop, behind NAT A when the test begins."""
    return _at_home(laptops[0], world.nat_a)


@pytest.fixture
def bob(laptops: tuple[Laptop, Laptop], world: World) -> Laptop:
    """Bob's laptop, behind NAT B when the test begins."""
    return _at_home(laptops[1], world.nat_b)


def _at_home(laptop: Laptop, nat: Nat) -> Laptop:
    if laptop.nat is not nat:
        laptop.move(nat)
        laptop.wait_connected()
    return laptop
