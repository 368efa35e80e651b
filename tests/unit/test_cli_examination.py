# SPDX-License-Identifier: GPL-2.0-or-later
"""What the doctor reads on the buses, on buses that answer from a table."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli_agent import BOB, properties
from wgsd_nm import __version__
from wgsd_nm.bus import names
from wgsd_nm.cli import examination
from wgsd_nm.cli.facts import ConnectionFacts, Facts, NetworkManagerFacts
from wgsd_nm.core.errors import AccessDenied, BusLost, CallFailed, CallTimedOut, InvalidValue, ServiceUnavailable
from wgsd_nm.core.model import Connectivity, ProfilePeer, PublicKey

Table = dict[tuple[object, ...], Any]
"""What is answered to a member with these arguments, or for all properties of an interface at a path."""

ACTIVE, DEVICE, PROFILE, USER, SEAT = (f"/{name}" for name in ("active", "device", "profile", "user", "seat"))
MANAGER = {
    "Version": "1.52.1",
    "NetworkingEnabled": True,
    "State": 70,
    "PrimaryConnection": "/primary",
    "Connectivity": 4,
    "ConnectivityCheckAvailable": True,
    "ConnectivityCheckEnabled": False,
    "ConnectivityCheckUri": "http://example.com/check",
    "ActiveConnections": [ACTIVE, "/primary"],
}
TUNNEL = {
    "Type": "wireguard",
    "State": 2,
    "Devices": [DEVICE],
    "Connection": PROFILE,
    "Id": "home",
    "Uuid": "x",
    "StateFlags": 0x4C,
}
SETTINGS = {
    "connection": {"permissions": ["user:u:", "user:v", "group:w:"]},
    "wireguard": {
        "peers": [
            {"public-key": "nonsense"},
            {
                "public-key": BOB,
                "endpoint": "vpn.example.com:51820",
                "persistent-keepalive": 25,
                "allowed-ips": ["10.0.0.2", "nonsense", "10.1.0.1/16"],
            },
        ]
    },
}
SYSTEM: Table = {
    ("NameHasOwner", names.NM): True,
    (names.NM_PATH, names.NM): MANAGER,
    (ACTIVE, names.NM_ACTIVE): TUNNEL,
    ("/primary", names.NM_ACTIVE): {"Type": "802-3-ethernet", "State": 2, "Devices": ["/eth0"]},
    (DEVICE, names.NM_DEVICE): {"Interface": "wg0", "Ip4Config": "/ip4", "Ip6Config": "/"},
    ("/ip4", names.NM_IP4): {
        "AddressData": [{"address": "10.0.0.1", "prefix": 24}, {"address": "nonsense", "prefix": 24}, {}]
    },
    ("GetSettings",): SETTINGS,
    ("ListActivatableNames",): [names.HELPER],
    ("GetUser", os.getuid()): USER,
    (USER, names.LOGIN1_USER): {"Display": ["2", SEAT]},
    (SEAT, names.LOGIN1_SESSION): {"Active": True},
    (names.TIMEDATE1_PATH, names.TIMEDATE1): {"NTPSynchronized": True},
}
SESSION: Table = {
    ("GetUnitFileState", "wgsd-nm-agent.service"): "enabled",
    ("NameHasOwner", names.AGENT): True,
    ("NameHasOwner", names.SYSTEMD1): True,
    ("GetConnectionUnixProcessID", names.AGENT): 77,
    ("GetUnitByPID", 77): "/unit",
    ("/unit", names.SYSTEMD1_UNIT): {"Id": "wgsd-nm-agent.service"},
    (names.AGENT_PATH, names.AGENT): properties(),
}
PEERS = (
    ProfilePeer(
        PublicKey.parse(BOB), "vpn.example.com:51820", 25, (ip_network("10.0.0.2/32"), ip_network("10.1.0.0/16"))
    ),
)


class TableBus:
    """A bus on which everything is answered from a table, and what is not in it by nobody."""

    def __init__(self, table: Table | None) -> None:
        self._table = table

    async def connect(self) -> None:
        if self._table is None:
            raise BusLost("no such file")

    async def close(self) -> None:
        pass

    async def call(
        self, _name: str, path: str, _interface: str, member: str, _signature: str = "", *arguments: object, **how: Any
    ) -> list[Any]:
        assert not how["autostart"], "looking starts nothing"
        return [self._answer(path, *arguments) if member == "GetAll" else self._answer(member, *arguments)]

    async def get_all(self, _name: str, path: str, interface: str, **_: Any) -> dict[str, Any]:
        return dict(self._answer(path, interface))

    def _answer(self, *question: object) -> Any:
        if self._table is None:
            raise BusLost("there is no connection")
        answer = self._table.get(question)
        if answer is None:
            raise ServiceUnavailable("nobody there")
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def _own_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("wgsd_nm.agent.configfile.SYSTEM_FILE", tmp_path / "none.toml")


def look(monkeypatch: pytest.MonkeyPatch, session: Table | None = None, system: Table | None = None) -> Facts:
    """With these answers in place of the usual ones; an answer of None is nobody's."""
    tables = {False: {**SESSION, **(session or {})}, True: {**SYSTEM, **(system or {})}}
    monkeypatch.setattr(examination, "Bus", lambda *, system: TableBus(tables[system]))
    return asyncio.run(examination.look())


def manager(monkeypatch: pytest.MonkeyPatch, system: Mapping[tuple[object, ...], Any]) -> NetworkManagerFacts:
    found = look(monkeypatch, system=dict(system)).network_manager
    assert found is not None
    return found


def test_all_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = look(monkeypatch)
    assert facts.agent.running
    assert (facts.agent.unit, facts.agent.enabled) == ("wgsd-nm-agent.service", "enabled")
    assert facts.agent.said is not None
    assert facts.agent.said.tunnels[0].interface == "wg0"
    assert (facts.version, facts.session_bus_problem, facts.system_bus_problem) == (__version__, "", "")
    assert facts.network_manager == NetworkManagerFacts(
        version="1.52.1",
        connectivity=Connectivity.FULL,
        check_available=True,
        check_enabled=False,
        check_address="http://example.com/check",
        tunnels=(
            ConnectionFacts(
                *("wg0", "home", "x"),
                users=frozenset({"u", "v"}),
                addresses=(ip_interface("10.0.0.1/24"),),
                peers=PEERS,
            ),
        ),
    )
    assert (facts.helper_installed, facts.seat_active, facts.clock.synchronized) == (True, True, True)


@pytest.mark.parametrize(
    ("modes", "strict"),
    [
        ({"all": "0", "eth0": "0"}, set()),
        ({"all": "0", "eth0": "1", "wlan0": "2"}, {"eth0"}),
        ({"all": "1", "default": "1", "lo": "1", "eth0": "0", "wlan0": "2"}, {"eth0"}),
        ({"all": "2", "eth0": "1"}, set()),
        ({"eth0": "1", "wlan0": "what"}, {"eth0"}),
    ],
)
def test_strict_reverse_path_filters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, modes: Mapping[str, str], strict: set[str]
) -> None:
    monkeypatch.setattr(examination, "IPV4_SETTINGS", tmp_path)
    (tmp_path / "gone").mkdir()
    for name, mode in modes.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "rp_filter").write_text(f"{mode}\n")
    assert look(monkeypatch).strict_filters == strict


def test_buses_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "Bus", lambda **_: TableBus(None))
    facts = asyncio.run(examination.look())
    assert (facts.session_bus_problem, facts.system_bus_problem) == ("no such file", "no such file")
    assert not facts.agent.running
    assert facts.network_manager is None
    assert facts.helper_installed is facts.seat_active is facts.clock.synchronized is None


def test_no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = look(monkeypatch, {("NameHasOwner", names.AGENT): False}).agent
    assert (agent.running, agent.enabled, agent.said) == (False, "enabled", None)


def test_an_agent_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = look(monkeypatch, {(names.AGENT_PATH, names.AGENT): CallTimedOut("no answer")}).agent
    assert (agent.running, agent.said, agent.problem) == (True, None, "no answer")


def test_an_agent_of_no_unit_and_without_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(monkeypatch, {("GetUnitByPID", 77): None}).agent.unit == ""
    agent = look(monkeypatch, {("NameHasOwner", names.SYSTEMD1): False}).agent
    assert agent.unit is None


@pytest.mark.parametrize(("flags", "external"), [(0x4C, False), (0xCC, True)])
def test_a_device_of_others(monkeypatch: pytest.MonkeyPatch, flags: int, external: bool) -> None:
    (tunnel,) = manager(monkeypatch, {(ACTIVE, names.NM_ACTIVE): {**TUNNEL, "StateFlags": flags}}).tunnels
    assert tunnel.external is external


@pytest.mark.parametrize("state", [1, 3, 4])
def test_a_connection_that_is_not_up(monkeypatch: pytest.MonkeyPatch, state: int) -> None:
    assert manager(monkeypatch, {(ACTIVE, names.NM_ACTIVE): {**TUNNEL, "State": state}}).tunnels == ()


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (CallFailed(f"{names.NM_SETTINGS}.PermissionDenied", "uid 1000 has no permission"), True),
        (AccessDenied("no"), True),
        (CallFailed(names.ERROR_UNKNOWN_METHOD, "it has gone"), False),
    ],
)
def test_a_profile_that_we_may_not_read(monkeypatch: pytest.MonkeyPatch, error: Exception, refused: bool) -> None:
    (tunnel,) = manager(monkeypatch, {("GetSettings",): error}).tunnels
    assert (tunnel.interface, tunnel.peers, tunnel.users, tunnel.refused) == ("wg0", (), frozenset(), refused)


def test_no_networkmanager(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = look(monkeypatch, system={("NameHasOwner", names.NM): False})
    assert (facts.network_manager, facts.network_manager_problem) == (None, "")


@pytest.mark.parametrize(
    "question",
    [
        (names.NM_PATH, names.NM),
        (ACTIVE, names.NM_ACTIVE),
        (DEVICE, names.NM_DEVICE),
        ("/ip4", names.NM_IP4),
        ("GetSettings",),
    ],
)
@pytest.mark.parametrize("error", [CallTimedOut("no answer"), InvalidValue("no answer")])
def test_a_networkmanager_that_hangs(
    monkeypatch: pytest.MonkeyPatch, question: tuple[object, ...], error: Exception
) -> None:
    facts = look(monkeypatch, system={question: error})
    assert (facts.network_manager, facts.network_manager_problem) == (None, "no answer")


def test_a_connection_that_goes_while_we_look(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = CallFailed(names.ERROR_UNKNOWN_OBJECT, "no such object")
    assert manager(monkeypatch, {(ACTIVE, names.NM_ACTIVE): gone}).tunnels == ()


@pytest.mark.parametrize(
    ("said", "name", "value"),
    [
        ({"NetworkingEnabled": False}, "networking", False),
        ({"State": 10}, "networking", False),
        ({"PrimaryConnection": "/"}, "has_primary", False),
        ({"Connectivity": 2}, "connectivity", Connectivity.PORTAL),
        ({"Connectivity": 99}, "connectivity", Connectivity.UNKNOWN),
        ({"ConnectivityCheckAvailable": None}, "check_available", None),
    ],
)
def test_what_networkmanager_says(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, object], name: str, value: object
) -> None:
    assert getattr(manager(monkeypatch, {(names.NM_PATH, names.NM): MANAGER | said}), name) is value


def test_a_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    none: Table = {("ListActivatableNames",): ["org.example"]}
    assert look(monkeypatch, system=none).helper_installed is False
    assert look(monkeypatch, system={**none, ("NameHasOwner", names.HELPER): True}).helper_installed is True


def test_a_user_of_no_seat(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(monkeypatch, system={(USER, names.LOGIN1_USER): {"Display": ["", "/"]}}).seat_active is None
    assert look(monkeypatch, system={(SEAT, names.LOGIN1_SESSION): {"Active": False}}).seat_active is False


def test_the_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "wgsd-nm").mkdir()
    (tmp_path / "wgsd-nm" / "config.toml").write_text("[tunnel.wg0]\nzone = 7\n")
    wrong = look(monkeypatch).config
    assert wrong.config is None
    assert "tunnel.wg0.zone" in wrong.problem
