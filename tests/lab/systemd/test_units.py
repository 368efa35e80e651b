# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed helper: systemd starts and confines it, polkit knows who sits at the seat, NetworkManager made wg0."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.world import wait_for
from lab.world.host import CommandFailedError
from lab.world.host import call as command
from tests.lab.booted import status_of

DATA = Path("/src/data")
UNIT = "wgsd-nm-helper.service"
HELPER = "io.github.wgsd_nm.Helper1"
PATH = "/io/github/wgsd_nm/Helper1"
PROGRAM = """\
#!/usr/bin/python3
import sys
sys.path.insert(0, "/src")
from wgsd_nm.helper.__main__ import main
sys.exit(main())
"""
IDLE_SOON = """\
import functools
from wgsd_nm.helper import __main__ as program
program.serve = functools.partial(program.serve, idle_after=0.05)
sys.exit(main())
"""
INSTALLED = Path("/usr/bin/wgsd-nm-helper")
PEER = "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE="
CAP_NET_ADMIN = 1 << 12
AT_THE_SEAT = ("systemd-run", "--quiet", "--user", "--machine=u@.host", "--wait", "--pipe", "--collect")
WITHOUT_A_SESSION = ("setpriv", "--reuid=u", "--regid=u", "--clear-groups")


def call(who: Sequence[str], member: str, *arguments: str) -> Any:
    """The value that the helper returns. Raises CommandFailedError."""
    busctl = ("busctl", "--system", "--json=short", "--timeout=60", "call", HELPER, PATH, HELPER, member, *arguments)
    (value,) = json.loads(command(*who, *busctl))["data"]
    return value


def shown(name: str) -> str:
    """A property of the unit."""
    return command("systemctl", "show", "--value", f"--property={name}", UNIT).strip()


@pytest.fixture(scope="module", autouse=True)
def _installed() -> Iterator[None]:
    """The product's files where a package puts them, and a WireGuard connection of NetworkManager."""
    for source, target in (
        (DATA / "dbus/system.d" / f"{HELPER}.conf", "/usr/share/dbus-1/system.d"),
        (DATA / "dbus/system-services" / f"{HELPER}.service", "/usr/share/dbus-1/system-services"),
        (DATA / "polkit/io.github.wgsd-nm.helper1.policy", "/usr/share/polkit-1/actions"),
        (DATA / "systemd-system" / UNIT, "/usr/lib/systemd/system"),
    ):
        shutil.copy(source, target)
    INSTALLED.write_text(PROGRAM)
    INSTALLED.chmod(0o755)
    command("modprobe", "wireguard")
    command("systemctl", "daemon-reload")
    command("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "ReloadConfig")
    command("systemctl", "start", "NetworkManager")
    command(
        *("nmcli", "connection", "add", "type", "wireguard", "con-name", "wg0", "ifname", "wg0", "autoconnect", "no"),
        *("ipv4.method", "manual", "ipv4.addresses", "10.0.0.1/24", "ipv6.method", "disabled"),
        *("wireguard.private-key", command("wg", "genkey").strip()),
    )
    command("nmcli", "connection", "up", "wg0")
    command("wg", "set", "wg0", "peer", PEER, "allowed-ips", "10.0.0.2/32", "persistent-keepalive", "25")
    wait_for(_served, 60, "the helper to serve u", 1.0)
    yield
    command("nmcli", "connection", "delete", "wg0")


def _served() -> bool:
    """polkit needs a moment to hear of a new policy."""
    try:
        call(AT_THE_SEAT, "GetPeers", "s", "wg0")
    except CommandFailedError:
        return False
    return True


def test_the_user_at_the_seat_reads_and_sets() -> None:
    (peer,) = call(AT_THE_SEAT, "GetPeers", "s", "wg0")
    assert peer["PublicKey"]["data"] == PEER
    assert peer["AllowedIPs"]["data"] == ["10.0.0.2/32"]
    before = peer["Endpoint"]["data"]
    changes = ("sa(sss)", "wg0", "1", PEER, before, "192.0.2.7:7")
    assert call(AT_THE_SEAT, "SetEndpoints", *changes) == {PEER: "changed"}
    assert command("wg", "show", "wg0", "endpoints") == f"{PEER}\t192.0.2.7:7\n"


@pytest.mark.parametrize("who", [WITHOUT_A_SESSION, ("setpriv", "--reuid=nobody", "--clear-groups")])
def test_nobody_else_does(who: Sequence[str]) -> None:
    for arguments in (("GetPeers", "s", "wg0"), ("SetEndpoints", "sa(sss)", "wg0", "1", PEER, "", "192.0.2.8:8")):
        with pytest.raises(CommandFailedError, match="Access denied"):
            call(who, *arguments)


def test_systemd_confines_it() -> None:
    call(AT_THE_SEAT, "GetPeers", "s", "wg0")
    status = status_of(shown("MainPID"))
    assert status["Uid"].split() == ["0"] * 4
    assert {int(status[name], 16) for name in ("CapBnd", "CapEff", "CapPrm")} == {CAP_NET_ADMIN}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert int(status["VmRSS"].split()[0]) < 40 * 1024


def test_the_permissions_of_the_connection_count() -> None:
    modify = ("nmcli", "connection", "modify", "wg0", "connection.permissions")
    command(*modify, "user:u")
    assert call(AT_THE_SEAT, "GetPeers", "s", "wg0")
    command(*modify, "user:nobody")
    try:
        with pytest.raises(CommandFailedError, match="Access denied"):
            call(AT_THE_SEAT, "GetPeers", "s", "wg0")
    finally:
        command(*modify, "")
        command("nmcli", "connection", "up", "wg0")


def test_no_call_is_lost_while_helpers_come_and_go() -> None:
    """The name is given back, systemd ends the unit, and a call that comes meanwhile starts it anew."""
    before = INSTALLED.read_text()
    INSTALLED.write_text(PROGRAM.replace("sys.exit(main())", IDLE_SOON))
    command("systemctl", "stop", UNIT)
    try:
        for _ in range(6):
            assert isinstance(call((), "GetPeers", "s", "wg0"), list)
    finally:
        INSTALLED.write_text(before)
        command("systemctl", "stop", UNIT)
    journal = command("journalctl", "--unit", UNIT, "--output=cat")
    assert "Failed with result" not in journal
    assert "Traceback" not in journal


def test_systemd_finds_nothing_to_complain_of() -> None:
    command("systemd-analyze", "verify", "--man=no", UNIT)
    command("systemd-analyze", "security", "--no-pager", "--threshold=20", UNIT)


def test_it_is_not_to_be_enabled() -> None:
    state = subprocess.run(["systemctl", "is-enabled", UNIT], capture_output=True, text=True, check=False).stdout
    assert state.strip() == "static"
