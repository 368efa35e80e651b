# SPDX-License-Identifier: GPL-2.0-or-later
"""The helper's texts agree: the interface's XML, the code, the bus policy, the polkit policy and the units."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from tests.contract import texts
from tests.contract.texts import DATA, INTERFACES, parsed, unit
from wgsd_nm.bus import names
from wgsd_nm.bus.wire import peer_to_wire
from wgsd_nm.core import errors
from wgsd_nm.core.model import ChangeResult, Peer, PublicKey
from wgsd_nm.helper import __main__ as program
from wgsd_nm.helper.authorization import FRESH, PERSON_ANSWERS_WITHIN, Authorization
from wgsd_nm.helper.service import MAX_CHANGES, Devices, Service

CONTRACT = texts.contract(names.HELPER)
CONF = DATA / "dbus" / "system.d" / f"{names.HELPER}.conf"
POLICY = DATA / "polkit" / "io.github.wgsd-nm.helper1.policy"
ACTIVATION = DATA / "dbus" / "system-services" / f"{names.HELPER}.service"
UNIT = DATA / "systemd-system" / "wgsd-nm-helper.service"

ACTIONS = {"GetPeers": names.ACTION_READ_PEERS, "SetEndpoints": names.ACTION_SET_ENDPOINTS}
RAISED = (
    errors.InvalidValue,
    errors.InvalidArguments,
    errors.AccessDenied,
    errors.InteractionRequired,
    errors.NoSuchDevice,
    errors.NotWireGuard,
    errors.NotPermitted,
    errors.DeviceError,
)


def exported() -> Service:
    nothing = cast("Devices", None)
    return Service(nothing, cast("Authorization", None), cast("Callable[[], Awaitable[None]]", None))


def test_the_code_exports_what_the_xml_describes() -> None:
    texts.require_same(CONTRACT, exported().interface())
    assert CONTRACT.path == names.HELPER_PATH


def test_everything_says_since_when_it_is_there() -> None:
    texts.require_versions(CONTRACT)


def test_every_method_names_its_action() -> None:
    for name, method in CONTRACT.of_kind("method").items():
        assert f"polkit action: {ACTIONS[name]}" in method.text.paragraphs()


def test_every_error_is_documented_and_every_documented_error_exists() -> None:
    texts.require_errors(CONTRACT, RAISED)


def test_the_numbers_in_the_xml_are_those_of_the_code() -> None:
    text = " ".join((INTERFACES / f"{names.HELPER}.xml").read_text().split())
    assert f"at most {MAX_CHANGES}," in text
    assert f"leaves {program.IDLE_AFTER:.0f} seconds after the last call" in text
    assert f"more than {PERSON_ANSWERS_WITHIN:.0f} seconds" in text
    assert f"longer than {FRESH:.0f} second," in text


def test_the_entries_of_a_peer_are_those_that_are_sent() -> None:
    documented = CONTRACT.of_kind("method")["GetPeers"].text.definitions("Entries of peers")
    sent = peer_to_wire(Peer(PublicKey(bytes(32))))
    assert [(each.term, each.type) for each in documented] == [(key, value.signature) for key, value in sent.items()]


def test_every_result_of_a_change_is_documented() -> None:
    documented = CONTRACT.of_kind("method")["SetEndpoints"].text.definitions("Results")
    assert [each.term for each in documented] == [str(result) for result in ChangeResult]


def test_polkit_knows_just_the_actions_and_only_the_user_at_the_seat_may() -> None:
    defaults = {
        action.attrib["id"]: {rule.tag: rule.text for rule in action.iterfind("defaults/*")}
        for action in parsed(POLICY).iter("action")
    }
    only_active = {"allow_any": "no", "allow_inactive": "no", "allow_active": "yes"}
    assert defaults == {names.ACTION_READ_PEERS: only_active, names.ACTION_SET_ENDPOINTS: only_active}
    assert all(identifier.startswith(POLICY.stem + ".") for identifier in defaults)
    for action in parsed(POLICY).iter("action"):
        assert action.findtext("description")
        assert action.findtext("message")


def test_the_bus_lets_root_be_the_helper_and_everybody_call_only_what_it_exports() -> None:
    rules = {
        (policy.get("user") or policy.get("context"), tuple(sorted(rule.attrib.items())))
        for policy in parsed(CONF).iter("policy")
        for rule in policy.iter("allow")
    }
    callable_interfaces = (names.HELPER, names.INTROSPECTABLE, names.PEER, names.PROPERTIES)
    assert rules == {("root", (("own", names.HELPER),))} | {
        ("default", (("send_destination", names.HELPER), ("send_interface", interface)))
        for interface in callable_interfaces
    }
    assert not list(parsed(CONF).iter("deny"))


def test_activation_leads_to_the_confined_unit_alone() -> None:
    activation = unit(ACTIVATION)["D-BUS Service"]
    assert dict(activation) == {
        "Name": names.HELPER,
        "Exec": "/bin/false",
        "User": "root",
        "SystemdService": UNIT.name,
    }
    service = unit(UNIT)
    assert service["Service"]["Type"] == "dbus"
    assert service["Service"]["BusName"] == names.HELPER
    assert not service.has_section("Install")
    assert texts.script(service["Service"]["ExecStart"]) == "wgsd_nm.helper.__main__:main"


def test_the_unit_grants_one_capability_and_two_kinds_of_socket() -> None:
    text = UNIT.read_text()
    restrict, grant = text.split("# Grant:")
    for key, granted in (
        ("CapabilityBoundingSet", "CAP_NET_ADMIN"),
        ("RestrictAddressFamilies", "AF_NETLINK AF_UNIX"),
    ):
        assert re.findall(rf"^{key}=(.*)$", restrict, re.MULTILINE) in ([""], ["none"])
        assert re.findall(rf"^{key}=(.*)$", grant, re.MULTILINE) == [granted]


@pytest.mark.parametrize(
    "command",
    [("verify", "--man=no"), ("security", "--offline=true", "--no-pager", "--threshold=20")],
    ids=["verify", "security"],
)
def test_systemd_finds_the_unit_right_and_its_exposure_at_most_2(tmp_path: Path, command: tuple[str, ...]) -> None:
    texts.require_content(dict(os.environ), *command, str(texts.installed(UNIT, tmp_path)))
