# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry's units: right in systemd's eyes, confined as the helper is, true to the programs; and the manual."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from wgsd_nm.registry import __main__ as server
from wgsd_nm.registry import config, reader

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "data" / "systemd-system"
SERVICE, SOCKET = UNITS / "wgsd-nm-registry.service", UNITS / "wgsd-nm-registry.socket"
READER, READER_SOCKET = UNITS / "wgsd-nm-registry-reader@.service", UNITS / "wgsd-nm-registry-reader.socket"
HELPER = UNITS / "wgsd-nm-helper.service"
MAN = ROOT / "man"


def values(unit: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def restrictions(unit: Path) -> set[str]:
    return set(unit.read_text().partition("# Grant")[0].partition("# Restrict")[2].splitlines())


def command(unit: Path) -> tuple[str, list[str]]:
    (line,) = values(unit, "ExecStart")
    program, *arguments = shlex.split(line)
    return program, arguments


def test_the_server_and_its_reader_take_their_commands_and_meet_at_one_socket() -> None:
    program, arguments = command(SERVICE)
    options = server.command_line().parse_args(arguments)
    assert program == "/usr/bin/wgsd-nm-registry"
    assert [str(options.reader)] == values(READER_SOCKET, "ListenStream")
    program, arguments = command(READER)
    assert program == "/usr/bin/wgsd-nm-registry-reader"
    assert arguments == ["--config", str(options.config)]
    scripts = (ROOT / "pyproject.toml").read_text()
    for name, module in (("wgsd-nm-registry", server), ("wgsd-nm-registry-reader", reader)):
        assert f'{name} = "{module.__name__}:main"' in scripts


def test_a_reload_checks_the_configuration_first() -> None:
    check, signal = values(SERVICE, "ExecReload")
    program, arguments = command(SERVICE)
    options = server.command_line().parse_args(arguments)
    assert check == f"{program} --config {options.config} --check"
    assert signal == "/bin/kill -HUP $MAINPID"


def test_they_are_restricted_as_the_helper_is() -> None:
    assert restrictions(READER) == restrictions(HELPER)
    needs_addresses = {"IPAddressDeny=any"}
    assert restrictions(SERVICE) == restrictions(HELPER) - needs_addresses


def test_they_are_granted_what_they_live_on() -> None:
    grant = {unit: unit.read_text().partition("# Grant")[2].splitlines()[1:] for unit in (SERVICE, READER)}
    assert [line for line in grant[SERVICE] if line][:1] == ["RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"]
    assert not values(SERVICE, "AmbientCapabilities")
    assert grant[READER] == [
        "AmbientCapabilities=CAP_NET_ADMIN",
        "CapabilityBoundingSet=CAP_NET_ADMIN",
        "RestrictAddressFamilies=AF_NETLINK AF_UNIX",
    ]


def test_nobody_but_the_server_speaks_with_the_reader() -> None:
    (user,) = values(SERVICE, "User")
    assert values(READER_SOCKET, "SocketUser") == [user]
    assert values(READER_SOCKET, "SocketMode") == ["0600"]
    assert values(READER, "DynamicUser") == ["yes"]
    accounts = (ROOT / "data" / "sysusers.d" / "wgsd-nm-registry.conf").read_text()
    assert re.search(rf"^u {user} -", accounts, re.MULTILINE)


def test_the_server_may_have_as_many_connections_as_it_takes() -> None:
    (limit,) = values(SERVICE, "LimitNOFILE")
    assert int(limit) >= server.DESCRIPTORS


def test_a_datagram_from_before_the_start_tells_its_interface() -> None:
    assert values(SOCKET, "PassPacketInfo") == values(SOCKET, "FreeBind") == ["yes"]
    assert values(SOCKET, "ListenDatagram") == values(SOCKET, "ListenStream") == ["53"]


@pytest.mark.parametrize(
    "command",
    [("verify", "--man=no"), ("security", "--offline=true", "--no-pager", "--threshold=20")],
    ids=["verify", "security"],
)
def test_systemd_finds_the_units_right_and_the_exposure_at_most_2(tmp_path: Path, command: Sequence[str]) -> None:
    analyze = shutil.which("systemd-analyze")
    assert analyze, "expected systemd-analyze: install the package systemd"
    units = []
    for unit in (SERVICE, READER, SOCKET, READER_SOCKET):
        text = re.sub(r"/usr/bin/wgsd-nm-registry(-reader)? ", "/bin/true ", unit.read_text())
        (tmp_path / unit.name).write_text(text)
        name = unit.name.replace("@", "@1")
        (tmp_path / name).write_text(text)
        if command[0] == "verify" or unit.suffix == ".service":
            units.append(tmp_path / name)
    result = subprocess.run([analyze, *command, *units], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not result.stderr


def manual(page: str) -> str:
    """As man(1) shows it, without line breaks."""
    roff = (MAN / page).read_text()
    plain = re.sub(r"\\f[BIRP]|\\&", "", roff).replace(r"\-", "-")
    return re.sub(r"\s+", " ", plain)


def test_the_manual_names_every_flag() -> None:
    text = manual("wgsd-nm-registry.8")
    for action in server.command_line()._actions:  # noqa: SLF001 - argparse has no other way
        for option in action.option_strings:
            if option != "-h":
                assert option in text, option


def test_the_manual_names_every_key_of_the_configuration() -> None:
    text = manual("wgsd-nm-registry.toml.5")
    keys = (config.KEYS, config.ZONE_KEYS, config.SELF_KEYS, config.SECONDARY_KEYS, config.KEY_KEYS)
    for key in (key for some in keys for key in some):
        assert re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", text), key


@pytest.mark.parametrize("page", ["wgsd-nm-registry.8", "wgsd-nm-registry.toml.5"])
def test_it_is_a_manual_page_and_groff_has_nothing_to_complain_of(page: str) -> None:
    groff = shutil.which("groff")
    assert groff, "expected groff: install the package groff-base"
    shown = subprocess.run(
        [groff, "-man", "-Tascii", "-P-bcu", "-ww", MAN / page], capture_output=True, text=True, check=True
    )
    assert not shown.stderr
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"):
        assert heading in shown.stdout


def test_an_example_of_the_manual_is_right() -> None:
    roff = (MAN / "wgsd-nm-registry.toml.5").read_text()
    example = roff.partition(".EX\n")[2].partition(".EE")[0].replace(r"\-", "-")
    assert config.parse({}, config.parse_toml(example, "manual"), "manual").zones[0].device == "wg0"
