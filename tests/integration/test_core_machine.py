# SPDX-License-Identifier: GPL-2.0-or-later
"""Ten thousand steps of the controller's state machine."""

from __future__ import annotations

from tests.unit.core_machine import run


def test_in_long_stories() -> None:
    run(examples=200, steps=50)
