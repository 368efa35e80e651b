# SPDX-License-Identifier: GPL-2.0-or-later
"""A few stories of the state machine; tests/integration has many."""

from __future__ import annotations

from tests.unit.core_machine import run


def test_in_short_stories() -> None:
    run(examples=12, steps=15)
