# SPDX-License-Identifier: GPL-2.0-or-later
"""The package goes, and with it all that was its own; what users wrote in their homes stays."""

from __future__ import annotations

import subprocess

from lab.world.host import call
from tests.lab.installed import evidence
from tests.lab.installed.people import manage
from tests.lab.installed.test_install import COMPLAINT, CONFIGURATION

OF_DPKG = ("/var/lib/dpkg/", "/var/cache/")
"""What dpkg keeps of a package that has been purged is its own affair."""
LIST_UNIT_FILES = ("systemctl", "list-unit-files", "--plain", "--no-legend", evidence.SYSTEM_UNITS)
OF_USERS = str(CONFIGURATION.parent)


def assert_gone() -> None:
    """Nothing is left but users' own files."""
    come, gone = evidence.changed_files()
    assert [path for path in come if not path.startswith((*OF_DPKG, OF_USERS, "/home/u/.local/state"))] == []
    assert gone == []
    assert evidence.processes() == []
    assert call("systemctl", "list-units", "--all", "--plain", "--no-legend", evidence.SYSTEM_UNITS) == ""
    listed = subprocess.run(
        LIST_UNIT_FILES, capture_output=True, text=True, check=False
    )  # a status of 1 says none, too
    assert listed.stdout == ""
    assert manage("u", "list-units", "--all", "--plain", "--no-legend", evidence.SYSTEM_UNITS) == ""


def test_nothing_is_left_but_users_files() -> None:
    command = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "purge", "--yes", "wgsd-nm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = f"{done.stdout}{done.stderr}"
    assert done.returncode == 0, said
    assert not COMPLAINT.search(said), said
    assert_gone()
    assert "wgsd" not in call("getent", "passwd") + call("getent", "group")
    assert CONFIGURATION.is_file()
