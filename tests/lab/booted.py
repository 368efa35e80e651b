# SPDX-License-Identifier: GPL-2.0-or-later
"""What is asked of a machine with systemd as process 1: its processes, and who is logged in at its seat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from lab.world.host import call

LOGIN: Final = "org.freedesktop.login1"
LIST_SESSIONS: Final = (
    *("busctl", "--json=short", "call", LOGIN, "/org/freedesktop/login1", f"{LOGIN}.Manager", "ListSessions"),
)


def status_of(pid: str) -> dict[str, str]:
    """/proc/PID/status"""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def session_of(user: str) -> str:
    """The user's session at the seat, "" for none."""
    (sessions,) = json.loads(call(*LIST_SESSIONS))["data"]
    return next((str(session) for session, _, name, seat, _ in sessions if (name, seat) == (user, "seat0")), "")
