# SPDX-License-Identifier: GPL-2.0-or-later
"""The desktop entry is the one that the agent's notices name, and is not shown among the programs."""

from __future__ import annotations

import configparser

from tests.contract.texts import DATA
from wgsd_nm.agent.notifications import DESKTOP_ENTRY
from wgsd_nm.cli.__main__ import command_line


def test_the_notices_name_it_and_it_names_a_command_of_ours() -> None:
    entry = configparser.RawConfigParser()
    entry.optionxform = str  # type: ignore[assignment,method-assign]
    entry.read_string((DATA / "applications" / f"{DESKTOP_ENTRY}.desktop").read_text())
    values = dict(entry["Desktop Entry"])
    program, *arguments = values["Exec"].split()
    assert program == "/usr/bin/wgsd-nm"
    assert command_line().parse_args(arguments)
    assert values["Type"] == "Application"
    assert values["Name"]
    assert values["NoDisplay"] == values["Terminal"] == values["X-GNOME-UsesNotifications"] == "true"
