# SPDX-License-Identifier: GPL-2.0-or-later
"""The units of the one-shot lookup: right in systemd's eyes, confined as the helper is, true to the command line."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from wgsd_nm.agent import exchange
from wgsd_nm.agent.resolver import LOOKUP_TIMEOUT
from wgsd_nm.cli import lookup

UNITS = Path(__file__).resolve().parents[2] / "data" / "systemd-system"
SERVICE, TIMER = UNITS / "wgsd-nm-lookup@.service", UNITS / "wgsd-nm-lookup@.timer"
HELPER = UNITS / "wgsd-nm-helper.service"
MOST_PEERS = 10_000
"""Of a device; it is what the helper's SetEndpoints takes."""


def values(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)


def test_the_command_is_one_that_the_command_line_takes() -> None:
    (command,) = values(SERVICE.read_text(), "ExecStart")
    for placeholder, value in (("%i", "wg0"), ("${DNS}", "10.0.0.254:53"), ("${ZONE}", "wg.example.com")):
        assert placeholder in command
        command = command.replace(placeholder, value)
    program, *arguments = shlex.split(command)
    assert program == "/usr/bin/wgsd-nm"
    parser = argparse.ArgumentParser()
    lookup.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(arguments)
    assert (parsed.device, str(parsed.dns), parsed.zone, parsed.quiet) == ("wg0", "10.0.0.254", "wg.example.com", True)


def test_a_silent_registry_is_given_up_before_systemd_gives_us_up() -> None:
    service = SERVICE.read_text()
    assert (
        f"# {exchange.WINDOW} peers are looked up at a time, and none for longer than {LOOKUP_TIMEOUT:.0f} seconds."
        in service
    )
    (limit,) = values(service, "TimeoutStartSec")
    minutes = int(limit.removesuffix("min"))
    assert minutes * 60 > MOST_PEERS / exchange.WINDOW * LOOKUP_TIMEOUT


def test_it_is_restricted_as_the_helper_is() -> None:
    service, helper = (
        path.read_text().partition("# Grant")[0].partition("# Restrict")[2] for path in (SERVICE, HELPER)
    )
    needs_addresses = {"IPAddressDeny=any"}
    assert set(service.splitlines()) == set(helper.splitlines()) - needs_addresses


def test_it_is_granted_what_it_lives_on() -> None:
    grant = SERVICE.read_text().partition("# Grant")[2]
    assert values(grant, "CapabilityBoundingSet") == values(grant, "AmbientCapabilities") == ["CAP_NET_ADMIN"]
    assert values(grant, "RestrictAddressFamilies") == ["AF_INET AF_INET6 AF_NETLINK"]


@pytest.mark.parametrize(
    "command",
    [("verify", "--man=no"), ("security", "--offline=true", "--no-pager", "--threshold=20")],
    ids=["verify", "security"],
)
def test_systemd_finds_the_units_right_and_the_exposure_at_most_2(tmp_path: Path, command: tuple[str, ...]) -> None:
    analyze = shutil.which("systemd-analyze")
    assert analyze, "expected systemd-analyze: install the package systemd"
    text = SERVICE.read_text().replace("/usr/bin/wgsd-nm ", "/bin/true ")
    service, timer = tmp_path / "wgsd-nm-lookup@wg0.service", tmp_path / "wgsd-nm-lookup@wg0.timer"
    service.write_text(text)
    shutil.copy(TIMER, timer)
    units = [service, timer] if command[0] == "verify" else [service]
    result = subprocess.run([analyze, *command, *units], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not result.stderr
