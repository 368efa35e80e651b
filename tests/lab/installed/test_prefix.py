# SPDX-License-Identifier: GPL-2.0-or-later
"""make install to /usr/local on a machine that runs: D-Bus starts agent and helper from there. Then all goes again."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

from lab.world import wait_for
from lab.world.host import call
from tests.lab.installed import evidence
from tests.lab.installed.people import agent, bob, shown
from tests.lab.installed.test_install import COMPLAINT
from tests.lab.installed.test_purge import assert_gone
from tools.project import version

ENVIRONMENT = Path("/tmp/environment")
PACKAGES = Path("/usr/local/lib", f"python{sysconfig.get_python_version()}", "dist-packages")


def make(target: str) -> str:
    """What make says."""
    done = subprocess.run(
        ["make", "--silent", target, f"VENV={ENVIRONMENT}"], cwd="/src", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return f"{done.stdout}{done.stderr}"


def test_make_installs_on_a_running_system() -> None:
    """From an environment like that of `make setup`, which has what is needed."""
    folder = ENVIRONMENT / "lib" / PACKAGES.parent.name
    folder.mkdir(parents=True)
    (folder / "site-packages").symlink_to(PACKAGES)
    said = make("install")
    assert not COMPLAINT.search(said), said
    assert agent("Version") == version(), "the call starts the agent"
    assert "/usr/local/bin/wgsd-nm-agent" in Path(f"/proc/{shown('u', 'MainPID')}/cmdline").read_text()
    wait_for(lambda: bob() == "connected", 120, "bob to be connected", 0.5)
    pid = evidence.shown("wgsd-nm-helper.service", "MainPID")
    assert "/usr/local/libexec/wgsd-nm-helper" in Path(f"/proc/{pid}/cmdline").read_text()
    call("man", "--where", "wgsd-nm")


def test_make_takes_it_away_again() -> None:
    said = make("uninstall")
    assert "users' files, /etc/wgsd-nm, and the registry's state and user, are left as they are" in said
    call("userdel", "wgsd-nm-registry")
    assert_gone()
