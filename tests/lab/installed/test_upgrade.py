# SPDX-License-Identifier: GPL-2.0-or-later
"""A higher version over the one that runs: what runs is of the new one afterwards, and does what it did."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab.installed import NEXT
from lab.world import wait_for
from lab.world.host import call
from tests.lab.installed import evidence
from tests.lab.installed.people import agent, bob, shown
from tests.lab.installed.test_install import COMPLAINT, CONFIGURATION, REGISTRY_CONFIGURATION

UNITS = ("wgsd-nm-helper.service", "wgsd-nm-registry.service")
KEPT = (CONFIGURATION, REGISTRY_CONFIGURATION)


def running() -> list[str]:
    """The processes of agent, helper and registry."""
    return [shown("u", "MainPID"), *(evidence.shown(unit, "MainPID") for unit in UNITS)]


def test_a_higher_version_takes_the_place_of_what_runs() -> None:
    wait_for(lambda: "0" not in running(), 60, "agent, helper and registry")
    before, texts = running(), [path.read_text() for path in KEPT]
    (package,) = Path("/lab/packages/next").glob("*.deb")
    done = subprocess.run(["dpkg", "--install", package], capture_output=True, text=True, check=False)
    said = f"{done.stdout}{done.stderr}"
    assert done.returncode == 0, said
    assert not COMPLAINT.search(said), said
    assert call("wgsd-nm", "--version").split()[-1] == NEXT
    wait_for(lambda: agent("Version") == NEXT, 60, "an agent of the new version", 0.5)
    wait_for(lambda: bob() == "connected", 60, "bob to be connected again", 0.5)
    assert not set(before) & set(running()), "what ran before runs still"
    assert "0" not in running()
    assert [path.read_text() for path in KEPT] == texts
