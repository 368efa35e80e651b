# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the tests that run real processes on private buses and on loopback."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.buses import PrivateBus


@pytest.fixture
def session_bus() -> Iterator[PrivateBus]:
    """A message bus on which everybody may do everything."""
    with PrivateBus() as bus:
        yield bus


@pytest.fixture
def system_bus() -> Iterator[PrivateBus]:
    """A message bus with the policy of the system bus; for names of its own, make a `PrivateBus(system=True, ...)`."""
    with PrivateBus(system=True) as bus:
        yield bus


@pytest.fixture
def registry_directory() -> Iterator[Path]:
    """A directory that the registry can read when it has become somebody else; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="wgsd-nm-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)
