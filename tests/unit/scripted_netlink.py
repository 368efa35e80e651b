# SPDX-License-Identifier: GPL-2.0-or-later
"""A netlink for the registry's reader that says what it is told to."""

from __future__ import annotations

from wgsd_nm.core.errors import DeviceError
from wgsd_nm.core.model import Device


class Script:
    """Says one thing after the other, of whichever device, and counts how often it was opened and closed."""

    def __init__(self, *outcomes: Device | DeviceError) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[str] = []
        self.opened = 0
        self.closed = 0

    def connect(self) -> Script:
        self.opened += 1
        return self

    def read(self, interface: str) -> Device:
        self.asked.append(interface)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, DeviceError):
            raise outcome
        return outcome

    def close(self) -> None:
        self.closed += 1
