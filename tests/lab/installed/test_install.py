# SPDX-License-Identifier: GPL-2.0-or-later
"""The first boot: the package comes without a complaint, starts nothing, and is taken into use by one command."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from lab.world import wait_for
from lab.world.host import call
from tests.lab.installed import evidence, machine, net
from tests.lab.installed.people import AGENT_UNIT, at_seat, bob, manage, shown

PACKAGE = "/lab/packages/now/*.deb"
COMPLAINT = re.compile(r"^[WEN]: |warning|error|fail|cannot|not found", re.IGNORECASE | re.MULTILINE)
MANUALS = tuple(sorted(path.name for path in Path("/src/man").iterdir()))
VERIFIED = (
    "wgsd-nm-helper.service",
    "wgsd-nm-lookup@wg0.service",
    "wgsd-nm-lookup@wg0.timer",
    "wgsd-nm-registry-reader.socket",
    "wgsd-nm-registry-reader@1.service",
    "wgsd-nm-registry.service",
    "wgsd-nm-registry.socket",
)
AS_U = (
    *("setpriv", "--reuid=u", "--regid=u", "--init-groups"),
    *("env", "HOME=/home/u", "XDG_RUNTIME_DIR=/run/user/1000"),
)
"""With what systemd-analyze needs to stand in for the user's service manager."""
CONFIGURATION = Path("/home/u/.config/wgsd-nm/config.toml")
REGISTRY_CONFIGURATION = Path("/etc/wgsd-nm/registry.toml")
REGISTRY = '[zone."here.example.com"]\ndevice = "wg0"\n'


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def apt() -> subprocess.CompletedProcess[str]:
    """How apt-get took the package, on a machine that has no network and no package lists."""
    machine.prepare()
    evidence.remember_files()
    return run("sh", "-c", f"exec env DEBIAN_FRONTEND=noninteractive apt-get install --yes {PACKAGE} 2>&1")


def test_apt_takes_it_without_a_complaint(apt: subprocess.CompletedProcess[str]) -> None:
    assert apt.returncode == 0, apt.stdout
    assert not COMPLAINT.search(apt.stdout), apt.stdout
    for check in ("--audit", "--verify"):
        assert call("dpkg", check, "wgsd-nm") == ""


@pytest.mark.usefixtures("apt")
def test_nothing_of_ours_runs_before_it_is_configured() -> None:
    """Not even with a new session of a desktop."""
    manage("u", "restart", "desktop.target")
    assert shown("u", "ActiveState", "graphical-session.target") == "active"
    wait_for(lambda: shown("u", "ConditionResult") == "no", 30, "the session to try the agent")
    assert manage("u", "is-enabled", AGENT_UNIT).strip() == "enabled"
    assert evidence.processes() == []
    listed = call("systemctl", "list-units", "--plain", "--no-legend", evidence.SYSTEM_UNITS)
    assert listed == ""


@pytest.mark.usefixtures("apt")
def test_the_manuals_are_found() -> None:
    for name in MANUALS:
        page, _, section = name.rpartition(".")
        assert call("man", "--where", section, page).strip() == f"/usr/share/man/man{section}/{name}.gz"
    described = call("apropos", "wgsd")
    assert {page for page, _, _ in (name.rpartition(".") for name in MANUALS)} <= set(described.split())


@pytest.mark.usefixtures("apt")
def test_completions_are_where_the_shells_look() -> None:
    script = ". /usr/share/bash-completion/bash_completion; _completion_loader wgsd-nm; complete -p wgsd-nm"
    assert "wgsd" in call("bash", "-c", script)
    for path in ("zsh/vendor-completions/_wgsd-nm", "fish/vendor_completions.d/wgsd-nm.fish"):
        assert Path("/usr/share", path).is_file()


@pytest.mark.usefixtures("apt")
def test_systemd_knows_the_units_and_finds_nothing_to_complain_of() -> None:
    states = dict(line.split()[:2] for line in _listed(call("systemctl", "list-unit-files", evidence.SYSTEM_UNITS)))
    assert states == {
        "wgsd-nm-helper.service": "static",
        "wgsd-nm-lookup@.service": "static",
        "wgsd-nm-lookup@.timer": "disabled",
        "wgsd-nm-registry-reader.socket": "disabled",
        "wgsd-nm-registry-reader@.service": "static",
        "wgsd-nm-registry.service": "disabled",
        "wgsd-nm-registry.socket": "disabled",
    }
    for done in (
        run("systemd-analyze", "verify", *VERIFIED),
        run(*AS_U, "systemd-analyze", "--user", "verify", AGENT_UNIT),
    ):
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def _listed(table: str) -> list[str]:
    return [line for line in table.splitlines() if line.startswith("wgsd-nm-")]


@pytest.mark.usefixtures("apt")
@pytest.mark.parametrize("unit", [each for each in VERIFIED if each.endswith(".service")])
def test_systemd_rates_the_exposure_of_each_service_at_two_or_better(unit: str) -> None:
    call("systemd-analyze", "security", "--no-pager", "--threshold=20", unit)


@pytest.mark.usefixtures("apt")
def test_one_command_takes_it_into_use() -> None:
    said = at_seat(
        "wgsd-nm", "setup", "wg0", "--zone", net.ZONE, "--registry", net.IN_TUNNEL["registry"],
        "--name", f"bob={net.keys('bob').public}",
    )  # fmt: skip
    assert "problem" not in said.lower(), said
    assert f"{CONFIGURATION}: [tunnel.wg0] is written" in said
    assert CONFIGURATION.owner() == "u"
    assert shown("u", "ActiveState") == "active"
    wait_for(lambda: bob() == "connected", 120, "bob to be connected", 0.5)


@pytest.mark.usefixtures("apt")
def test_a_registry_is_taken_into_use() -> None:
    """For the next boot, at which it has to come by itself, and before its device is there."""
    REGISTRY_CONFIGURATION.parent.mkdir(exist_ok=True)
    REGISTRY_CONFIGURATION.write_text(REGISTRY)
    call("systemctl", "enable", "--now", "wgsd-nm-registry.socket", "wgsd-nm-registry.service")
    assert evidence.shown("wgsd-nm-registry.service", "ActiveState") == "active"
