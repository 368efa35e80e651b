# SPDX-License-Identifier: GPL-2.0-or-later
"""What all units have in common, and when and how confined the agent's starts; systemd itself evaluates it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import texts
from tests.contract.texts import DATA, ROOT
from wgsd_nm.agent import configfile

USER_UNITS, SYSTEM_UNITS = DATA / "systemd-user", DATA / "systemd-system"
AGENT = USER_UNITS / "wgsd-nm-agent.service"
UNITS = sorted((*USER_UNITS.iterdir(), *SYSTEM_UNITS.iterdir()))
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
SYSTEM_USER, PERSON = 33, 1000
"""User ids on this side and on that of SYS_UID_MAX (login.defs(5))."""

WITHOUT_PRIVILEGES = {
    "LimitCORE",
    "LimitMEMLOCK",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "NoNewPrivileges",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "SystemCallArchitectures",
    "SystemCallErrorNumber",
    "SystemCallFilter",
    "UMask",
}
"""What a user's manager applies by itself. With systemd 252 it leaves out ProtectSystem, ProtectHome, ProtectProc and
PrivateTmp without a word, and a unit with CapabilityBoundingSet, PrivateDevices, ProtectClock, ProtectKernelLogs or
ProtectKernelModules does not start at all (exit status 218/CAPABILITIES)."""


def values(unit: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def restrictions(unit: Path) -> list[str]:
    lines = unit.read_text().partition("# Grant")[0].partition("# Restrict")[2].splitlines()
    return [line for line in lines[1:] if line and not line.startswith("#")]


def granted(unit: Path) -> str:
    return unit.read_text().partition("# Grant")[2].partition("\n[")[0]


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that anybody can reach; pytest's own directories are closed to others."""
    with tempfile.TemporaryDirectory(prefix="home-") as directory:
        Path(directory).chmod(0o755)
        runtime = Path(directory, "runtime")
        runtime.mkdir()
        runtime.chmod(0o777)
        yield Path(directory)


def conditions(home: Path, user: int, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Whether that user's manager would start a unit of that text."""
    analyze = shutil.which("systemd-analyze")
    assert analyze, "expected systemd-analyze: install the package systemd"
    (home / AGENT.name).write_text(re.sub(r"^ExecStart=.*$", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    return subprocess.run(
        [analyze, "--user", "condition", f"--unit={AGENT.name}"],
        capture_output=True,
        text=True,
        check=False,
        user=user,
        group=user,
        extra_groups=[],
        env={
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home / "runtime"),
            "SYSTEMD_UNIT_PATH": str(home),
            **environment,
        },
    )


def configure(base: Path) -> None:
    file = base / "wgsd-nm" / "config.toml"
    file.parent.mkdir(parents=True)
    file.touch()


def test_the_agent_starts_for_people_who_have_a_configuration(home: Path) -> None:
    text = AGENT.read_text()
    without = conditions(home, PERSON, text)
    assert without.returncode == 1, without.stderr
    assert f"ConditionPathExists=|{home}/.config/wgsd-nm/config.toml failed" in without.stderr
    assert "ConditionUser=!@system succeeded" in without.stderr
    configure(home / ".config")
    assert conditions(home, PERSON, text).returncode == 0
    for user in (0, SYSTEM_USER):
        refused = conditions(home, user, text)
        assert refused.returncode == 1
        assert "ConditionUser=!@system failed" in refused.stderr


def test_the_agents_unit_and_the_agent_agree_where_its_configuration_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, everybodys = values(AGENT, "ConditionPathExists")
    assert everybodys == f"|{configfile.SYSTEM_FILE}"
    for environment in ({}, {"XDG_CONFIG_HOME": str(home / "elsewhere")}):
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        for name, value in {"HOME": str(home), **environment}.items():
            monkeypatch.setenv(name, value)
        assert own == "|%E/wgsd-nm/config.toml"
        evaluated = conditions(home, PERSON, AGENT.read_text(), **environment)
        assert f"ConditionPathExists=|{configfile.user_file()} failed" in evaluated.stderr


def test_the_systems_configuration_is_enough(home: Path) -> None:
    """As with a file that is there on every machine in its place: ours must not depend on this machine's."""
    text = AGENT.read_text()
    assert str(configfile.SYSTEM_FILE) in text
    assert conditions(home, PERSON, text.replace(str(configfile.SYSTEM_FILE), "/etc/passwd")).returncode == 0
    assert conditions(home, PERSON, text.replace(str(configfile.SYSTEM_FILE), "/etc/none")).returncode == 1


def test_the_agent_is_restricted_by_what_works_without_privileges() -> None:
    assert {line.partition("=")[0] for line in restrictions(AGENT)} == WITHOUT_PRIVILEGES
    helper = set(restrictions(SYSTEM_UNITS / "wgsd-nm-helper.service"))
    assert set(restrictions(AGENT)) <= helper


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_restrict_comes_before_grant(unit: Path) -> None:
    """Everything is taken away first, and what is given back is told with its reason."""
    assert {"NoNewPrivileges=yes", "RestrictAddressFamilies=none", "UMask=0077"} <= set(restrictions(unit))
    assert granted(unit).startswith(": give back what it lives on, ")
    assert re.search(r"^RestrictAddressFamilies=AF_", granted(unit), re.MULTILINE)
    assert "PYTHONSAFEPATH=1" in " ".join(values(unit, "Environment"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_every_unit_leads_to_pages_that_there_are(unit: Path) -> None:
    pages = " ".join(values(unit, "Documentation")).split()
    assert pages
    for page in pages:
        found = re.fullmatch(r"man:([\w.-]+)\((\d)\)", page)
        assert found, page
        assert (ROOT / "man" / f"{found[1]}.{found[2]}").is_file(), page


def test_every_unit_is_one_that_these_tests_know() -> None:
    """Whoever adds one has it restricted, verified and measured."""
    assert {unit.name for unit in UNITS} == {
        "wgsd-nm-agent.service",
        "wgsd-nm-helper.service",
        "wgsd-nm-lookup@.service",
        "wgsd-nm-lookup@.timer",
        "wgsd-nm-registry-reader.socket",
        "wgsd-nm-registry-reader@.service",
        "wgsd-nm-registry.service",
        "wgsd-nm-registry.socket",
    }


def test_systemd_finds_the_agents_exposure_as_low_as_without_privileges_it_can_be(tmp_path: Path) -> None:
    """The capabilities that an ordinary user's process lacks are to be told to systemd, which would count them."""
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    unit = texts.installed(AGENT, tmp_path)
    unit.write_text(unit.read_text().replace("[Service]\n", f"[Service]\nUser={PERSON}\nCapabilityBoundingSet=\n"))
    command = ("security", "--offline=true", "--no-pager", "--threshold=35")
    texts.require_content(environment, "--user", *command, str(unit))
