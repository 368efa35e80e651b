# SPDX-License-Identifier: GPL-2.0-or-later
"""Another user takes the seat, and gives it back: the agent of the first one stands still meanwhile.

logind really switches between two sessions at seat0, and polkit goes by that. The registry is one that never answers,
so that there would always be something to try again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.world import wait_for
from lab.world.counter import Counter
from lab.world.host import CommandFailedError, Host
from lab.world.host import call as command
from tests.lab.booted import session_of

DATA = Path("/src/data")
HELPER, AGENT = "io.github.wgsd_nm.Helper1", "io.github.wgsd_nm.Agent1"
AGENT_PATH = "/io/github/wgsd_nm/Agent1"
UNIT = "wgsd-nm-agent.service"
USER = "u@.host"
OTHER = "v"
PEER = "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE="
GATEWAY = "192.0.2.1"
CONFIGURATION = f'[tunnel.wg0]\nzone = "wg.example.com"\nregistry = ["{GATEWAY}"]\n'
PROGRAM = """\
#!/usr/bin/python3
import sys
sys.path.insert(0, "/src")
from wgsd_nm.{part}.__main__ import main
sys.exit(main())
"""
CALLS = Path("/run/calls-of-the-helper")
AWAY = 45.0
"""Seconds: more than a check that is quiet, and than the first five rounds of back-off."""
AT_ONCE = 15.0
"""Seconds, in this slow machine, for what follows without waiting for a timer."""


class Root(Host):
    """The machine itself, not a namespace of it."""

    def entry(self, user: str | None = None) -> list[str]:
        assert user is None, "the machine itself is root's here"
        return []


def install() -> None:
    """The product's files where a package puts them."""
    for source, target in (
        (DATA / "dbus/system.d" / f"{HELPER}.conf", "/usr/share/dbus-1/system.d"),
        (DATA / "dbus/system-services" / f"{HELPER}.service", "/usr/share/dbus-1/system-services"),
        (DATA / "polkit/io.github.wgsd-nm.helper1.policy", "/usr/share/polkit-1/actions"),
        (DATA / "systemd-system/wgsd-nm-helper.service", "/usr/lib/systemd/system"),
        (DATA / "systemd-user" / UNIT, "/usr/lib/systemd/user"),
    ):
        shutil.copy(source, target)
    for part in ("helper", "agent"):
        program = Path(f"/usr/bin/wgsd-nm-{part}")
        program.write_text(PROGRAM.format(part=part))
        program.chmod(0o755)
    configuration = Path("/home/u/.config/wgsd-nm/config.toml")
    configuration.parent.mkdir(parents=True, exist_ok=True)
    configuration.write_text(CONFIGURATION)
    command("chown", "-R", "u:u", "/home/u/.config")
    command("systemctl", "daemon-reload")
    command("systemctl", "--user", f"--machine={USER}", "daemon-reload")
    command("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "ReloadConfig")


def connect() -> None:
    """A network with a gateway that answers nothing, and a WireGuard connection; both are NetworkManager's."""
    command("modprobe", "--all", "wireguard", "veth")
    command("ip", "netns", "add", "net")
    command("ip", "link", "add", "lab0", "type", "veth", "peer", "name", "far", "netns", "net")
    command("ip", "-n", "net", "address", "add", f"{GATEWAY}/24", "dev", "far")
    command("ip", "-n", "net", "link", "set", "far", "up")
    command("systemctl", "start", "NetworkManager")
    command("nmcli", "device", "set", "lab0", "managed", "yes")
    common = ("ipv4.method", "manual", "ipv6.method", "disabled", "autoconnect", "no")
    command(
        *("nmcli", "connection", "add", "type", "ethernet", "con-name", "lab0", "ifname", "lab0", *common),
        *("ipv4.addresses", "192.0.2.2/24", "ipv4.gateway", GATEWAY),
    )
    command(
        *("nmcli", "connection", "add", "type", "wireguard", "con-name", "wg0", "ifname", "wg0", *common),
        *("ipv4.addresses", "10.0.0.1/24", "wireguard.private-key", command("wg", "genkey").strip()),
    )
    for name in ("lab0", "wg0"):
        command("nmcli", "connection", "up", name)
    peer = ("peer", PEER, "allowed-ips", "10.0.0.2/32", "persistent-keepalive", "25", "endpoint", "192.0.2.7:7")
    command("wg", "set", "wg0", *peer)


def disconnect() -> None:
    """Whatever `connect` has made is gone: its network would be in the way of the next scenario's."""
    for name in ("wg0", "lab0"):
        command("nmcli", "connection", "delete", name)
    command("ip", "link", "delete", "lab0")
    command("ip", "netns", "delete", "net")


def is_active(user: str) -> bool:
    return command("loginctl", "show-session", "--value", "--property=Active", session_of(user)).strip() == "yes"


def give_seat(user: str) -> None:
    """As Ctrl-Alt-Fn does, or the screen on which users are switched."""
    command("loginctl", "activate", session_of(user))
    wait_for(lambda: is_active(user), 20, f"{user}'s session to be active")


def log_in(user: str) -> None:
    """Another user at the same seat, on the next virtual terminal."""
    command("useradd", "--create-home", user)
    command(
        *("systemd-run", "--quiet", "--unit=other-seat", "--property=PAMName=login", f"--property=User={user}"),
        *("--property=TTYPath=/dev/tty2", "--property=StandardInput=tty-fail", "--setenv=XDG_SEAT=seat0"),
        *("--setenv=XDG_VTNR=2", "--setenv=XDG_SESSION_TYPE=tty", "--setenv=XDG_SESSION_CLASS=user"),
        *("/bin/sleep", "infinity"),
    )
    wait_for(lambda: session_of(user), 30, f"{user} to be logged in")


def state() -> str:
    """The agent's State, "" while it is not there."""
    get = ("busctl", "--user", f"--machine={USER}", "--json=short", "get-property", AGENT, AGENT_PATH, AGENT, "State")
    try:
        return str(json.loads(command(*get))["data"])
    except CommandFailedError:
        return ""


def calls() -> int:
    """How often the helper has been called."""
    return CALLS.read_text().count('"member":"GetPeers"') + CALLS.read_text().count('"member":"SetEndpoints"')


@pytest.fixture(scope="module")
def questions() -> Iterator[Counter]:
    """What is asked of the registry. The agent runs as the unit that u's session starts, and the helper as its own."""
    install()
    connect()
    log_in(OTHER)
    give_seat("u")
    counter = Counter(Root("root"), "questions", "postrouting", f"ip daddr {GATEWAY} udp dport 53")
    counter.start()
    monitor = ("busctl", "--system", "--json=short", "monitor", f"--match=type='method_call',interface='{HELPER}'")
    with CALLS.open("wb") as out, subprocess.Popen(monitor, stdout=out) as watching:
        try:
            command("systemctl", "--user", f"--machine={USER}", "start", UNIT)
            yield counter
        finally:
            print(command("journalctl", "--output=short-precise", f"_SYSTEMD_USER_UNIT={UNIT}"))
            command("systemctl", "--user", f"--machine={USER}", "stop", UNIT)
            watching.terminate()
            counter.stop()
            disconnect()


def wait_at_work(questions: Counter) -> None:
    """Wait until the agent reads the device and asks the registry."""
    called, asked = calls(), questions.packets()
    wait_for(lambda: state() == "degraded", 60, "the agent to say that the registry does not answer", 0.5)
    wait_for(lambda: calls() > called and questions.packets() > asked, 60, "the agent to check and ask", 0.5)


def test_at_the_seat_the_agent_works(questions: Counter) -> None:
    wait_at_work(questions)


def test_the_agent_stands_still_while_somebody_else_has_the_seat(questions: Counter) -> None:
    give_seat("u")
    wait_at_work(questions)
    give_seat(OTHER)
    wait_for(lambda: state() == "unavailable", AT_ONCE, "the agent to notice")
    called, asked = calls(), questions.packets()
    time.sleep(AWAY)  # for what must not happen within this time nothing tells when to look
    assert (calls(), questions.packets()) == (called, asked)
    assert state() == "unavailable"


def test_the_agent_goes_on_at_once_when_it_has_the_seat_again(questions: Counter) -> None:
    """Whatever it would have waited for by then: the back-off of its lookups is forgotten."""
    give_seat("u")
    wait_at_work(questions)
    give_seat(OTHER)
    wait_for(lambda: state() == "unavailable", AT_ONCE, "the agent to notice")
    called, asked = calls(), questions.packets()
    give_seat("u")
    wait_for(lambda: calls() > called and questions.packets() > asked, AT_ONCE, "a pass")
    wait_for(lambda: state() == "degraded", 30, "the agent to say that the registry does not answer", 0.5)


def test_an_agent_that_starts_without_the_seat_waits_for_it(questions: Counter) -> None:
    give_seat(OTHER)
    command("systemctl", "--user", f"--machine={USER}", "restart", UNIT)
    wait_for(lambda: state() == "unavailable", 30, "the agent to be there")
    called, asked = calls(), questions.packets()
    give_seat("u")
    wait_for(lambda: calls() > called and questions.packets() > asked, AT_ONCE, "a pass")


@pytest.mark.usefixtures("questions")
def test_the_helper_refuses_whoever_has_not_the_seat() -> None:
    give_seat("u")
    assert PEER in said_to("u")
    give_seat(OTHER)
    said = said_to("u", "online")
    give_seat("u")
    assert "Access denied" in said


def said_to(user: str, user_state: str = "active") -> str:
    """What the helper says to a unit of the user's, when logind has the user in this state.

    The unit is started before: to reach the user's service manager opens a session without a seat, which is always
    active, and polkit asks whether any session of the user is.
    """
    go, out = Path("/tmp/go"), Path("/tmp/said")
    for path in (go, out):
        path.unlink(missing_ok=True)
    get = f"busctl --system call {HELPER} /io/github/wgsd_nm/Helper1 {HELPER} GetPeers s wg0"
    script = f"while [ ! -e {go} ]; do sleep 0.1; done; {get} >{out}.new 2>&1; mv {out}.new {out}"
    command("systemd-run", "--quiet", "--user", f"--machine={USER}", "--collect", "sh", "-c", script)
    show = ("loginctl", "show-user", "--value", "--property=State", user)
    wait_for(lambda: command(*show).strip() == user_state, 60, f"{user} to be {user_state}", 0.5)
    go.touch()
    wait_for(out.exists, 60, "the helper's word")
    return out.read_text()
