# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm monitor: an event as a line. How it comes to that is tests/integration/test_cli_monitor.py's."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from wgsd_nm.cli import monitor
from wgsd_nm.cli.history import Event
from wgsd_nm.cli.terminal import Style

AT = datetime(2026, 11, 22, 23, 5, 9, 123_456, timezone(timedelta(hours=-3)))
WHO = {"interface": "wg0", "public_key": "Ym9i", "name": "bob"}


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Event("agent", "", "running", text="version 0.1.0"), "the agent is running, version 0.1.0"),
        (Event("agent", "running", "gone"), "the agent is gone"),
        (Event("state", "", "ok"), "ok"),
        (Event("state", "degraded", "ok"), "degraded -> ok"),
        (Event("state", "", "ok", "wg0"), "wg0: ok"),
        (Event("state", "connected", "stale", **WHO, text="Nothing."), "wg0 bob: connected -> stale. Nothing."),
        (Event("state", "stale", "stale", **WHO, text="No answer."), "wg0 bob: stale. No answer."),
        (Event("state", "stale", "gone", **WHO), "wg0 bob: stale -> gone"),
        (Event("error", "", "It is wrong."), "It is wrong."),
        (Event("error", "It is wrong.", "", "wg0"), "wg0: no longer: It is wrong."),
        (Event("public-endpoint", "", "192.0.2.1:1", "wg0"), "wg0: we are seen as 192.0.2.1:1"),
        (Event("public-endpoint", "192.0.2.1:1", "", "wg0"), "wg0: we are seen as nothing any more"),
        (Event("updates", "polling", "push", "wg0"), "wg0: hears of moves by push"),
        (
            Event("endpoint", "192.0.2.1:1", "192.0.2.2:2", **WHO, text="Moved."),
            "wg0 bob: 192.0.2.1:1 -> 192.0.2.2:2. Moved.",
        ),
        (Event("endpoint", "192.0.2.1:1", "", **WHO), "wg0 bob: 192.0.2.1:1 -> no endpoint"),
    ],
)
def test_a_line(event: Event, text: str) -> None:
    assert monitor.line(event, AT, Style()) == f"23:05:09  {text}"


def test_colours() -> None:
    shown = monitor.line(Event("state", "connected", "stale", **WHO), AT, Style(colours=True))
    assert shown == "\x1b[2m23:05:09\x1b[0m  \x1b[1mwg0 bob\x1b[0m: connected -> \x1b[31mstale\x1b[0m"


def test_json() -> None:
    shown = monitor.as_json(Event("state", "connected", "stale", **WHO, reason="no-reply", text="Nothing."), AT)
    assert "\n" not in shown
    assert json.loads(shown) == {
        "time": "2026-11-22T23:05:09.123-03:00",
        "what": "state",
        "old": "connected",
        "new": "stale",
        **WHO,
        "reason": "no-reply",
        "text": "Nothing.",
    }
