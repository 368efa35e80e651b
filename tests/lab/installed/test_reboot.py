# SPDX-License-Identifier: GPL-2.0-or-later
"""The second boot: all comes by itself, for nobody but whom it is for; it is confined, quiet, and leaves when idle."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.world import wait_for
from lab.world.host import CommandFailedError, call
from tests.lab.booted import session_of, status_of
from tests.lab.installed import evidence, net
from tests.lab.installed.people import (
    AGENT,
    AGENT_PATH,
    AGENT_UNIT,
    HELPER,
    HELPER_PATH,
    agent,
    at_seat,
    bob,
    from_afar,
    manage,
    peers,
    shown,
)
from tools.project import version

HELPER_UNIT = "wgsd-nm-helper.service"
REGISTRY_UNIT = "wgsd-nm-registry.service"
CAP_NET_ADMIN = 1 << 12
IDLE = 90.0
"""Seconds without a call after which the helper leaves."""
WARNING = 4
FOR_ALL = Path("/etc/wgsd-nm/config.toml")
SECRETS = tuple(net.keys(name).private for name in net.IN_TUNNEL)
GREETER = "greeter"


def helper() -> str:
    """The helper's process, "0" for none."""
    return evidence.shown(HELPER_UNIT, "MainPID")


def test_the_agent_comes_with_the_session() -> None:
    """Nobody has called it before: the session's target wants it."""
    wait_for(lambda: session_of("u"), 60, "u to be logged in at the seat")
    wait_for(lambda: shown("u", "ActiveState") == "active", 120, "the agent", 0.5)
    assert AGENT_UNIT in manage("u", "list-dependencies", "--plain", "graphical-session.target")
    assert status_of(shown("u", "MainPID"))["NoNewPrivs"] == "1"


def test_bob_is_found() -> None:
    wait_for(lambda: bob() == "connected", 120, "bob to be connected", 0.5)
    assert peers()["bob"]["Endpoint"] == net.BOB_ENDPOINT
    wait_for(lambda: peers()["bob"]["Source"] == "registry", 60, "the registry to say so", 0.5)
    assert f"{net.keys('bob').public}\t{net.BOB_ENDPOINT}\n" in call("wg", "show", "wg0", "endpoints")
    wait_for(lambda: agent("State") == "ok", 60, "the agent to say that all is well", 0.5)
    call("ping", "-c1", "-W5", net.IN_TUNNEL["bob"])


def test_programs_can_look_around() -> None:
    assert agent("Version") == version()
    bus = ("busctl", "--user", "--machine=u@.host")
    listed = call(*bus, "introspect", AGENT, AGENT_PATH)
    for member in (".Refresh", ".Peers", ".EndpointChanged"):
        assert member in listed
    assert AGENT_PATH in call(*bus, "tree", AGENT)
    assert ".SetEndpoints" in at_seat("busctl", "introspect", HELPER, HELPER_PATH)


def test_the_helper_was_started_by_the_bus_and_is_confined() -> None:
    assert HELPER_UNIT in Path(f"/proc/{helper()}/cgroup").read_text()
    status = status_of(helper())
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert {int(status[name], 16) for name in ("CapBnd", "CapEff", "CapPrm")} == {CAP_NET_ADMIN}


def test_the_registry_comes_before_its_device_and_answers_when_that_is_there() -> None:
    assert evidence.shown(REGISTRY_UNIT, "ActiveState") == "active"
    asked = ("dig", "+short", "@127.0.0.1", "_wireguard._udp.here.example.com", "PTR")
    wait_for(lambda: len(call(*asked).splitlines()) == 2, 60, "the registry to name two peers", 0.5)


def test_who_is_not_at_the_seat_is_refused() -> None:
    call_helper = ("busctl", "call", HELPER, HELPER_PATH, HELPER)
    assert at_seat(*call_helper, "GetPeers", "s", "wg0")
    for words in (("GetPeers", "s", "wg0"), ("SetEndpoints", "sa(sss)", "wg0", "1", net.keys("bob").public, "", "")):
        with pytest.raises(CommandFailedError, match="Access denied"):
            from_afar("v", *call_helper, *words)


def test_without_configuration_there_is_no_agent() -> None:
    manage("v", "start", AGENT_UNIT)
    assert (shown("v", "ConditionResult"), shown("v", "ActiveState")) == ("no", "inactive")


@pytest.fixture
def for_all() -> Iterator[None]:
    """A configuration for every user of the machine."""
    shutil.copy("/home/u/.config/wgsd-nm/config.toml", FOR_ALL)
    FOR_ALL.chmod(0o644)
    yield
    FOR_ALL.unlink()


@pytest.mark.usefixtures("for_all")
def test_an_agent_that_is_not_at_the_seat_can_do_nothing() -> None:
    manage("v", "start", AGENT_UNIT)
    wait_for(lambda: agent("State", "v") == "unavailable", 60, "v's agent to say that it may do nothing", 0.5)
    manage("v", "stop", AGENT_UNIT)
    assert bob() == "connected"


@pytest.mark.usefixtures("for_all")
def test_neither_root_nor_a_system_user_has_an_agent() -> None:
    call("useradd", "--system", "--create-home", GREETER)
    for user in ("root", GREETER):
        manage(user, "start", AGENT_UNIT)
        assert (shown(user, "ConditionResult"), shown(user, "ActiveState")) == ("no", "inactive")


def test_the_helper_leaves_when_idle_and_comes_again() -> None:
    before = helper()
    assert before != "0"
    call("nmcli", "connection", "down", "wg0")
    wait_for(lambda: agent("State") == "idle", 30, "the agent to have nothing to do")
    wait_for(lambda: helper() == "0", IDLE + 60, "the helper to leave", 1.0)
    assert evidence.shown(HELPER_UNIT, "Result") == "success"
    call("nmcli", "connection", "up", "wg0")
    wait_for(lambda: bob() == "connected", 60, "bob to be connected again", 0.5)
    assert helper() not in ("0", before)


def test_the_journal_is_plain_and_has_nothing_to_warn_of() -> None:
    lines = evidence.journal()
    assert {AGENT_UNIT, HELPER_UNIT, REGISTRY_UNIT} <= {line.unit for line in lines}
    assert [line for line in lines if line.priority <= WARNING] == []
    for line in lines:
        assert "Traceback" not in line.text
        assert line.text.isprintable()
        assert not any(secret in line.text for secret in SECRETS)
