# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the tests that run real processes on private buses."""

from __future__ import annotations

from collections.abc import Iterator

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
