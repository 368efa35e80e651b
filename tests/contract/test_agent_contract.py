# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's texts agree: the interface's XML, the code, the D-Bus service file and the user's unit."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import cast

from tests.contract import texts
from tests.contract.texts import DATA, INTERFACES, unit
from tests.unit.core_story import BOB, HOME, Story, kernel_peer
from tools.manual import Text
from wgsd_nm.agent.loop import FIRST_NETWORK, Loop
from wgsd_nm.agent.service import Service
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus, Interface
from wgsd_nm.bus.wire import Variant
from wgsd_nm.core import errors, schedule
from wgsd_nm.core.model import PeerState, Source, State, Updates, Way
from wgsd_nm.core.reason import Reason

ACTIVATION = DATA / "dbus" / "services" / f"{names.AGENT}.service"
UNIT = DATA / "systemd-user" / "wgsd-nm-agent.service"

OF_CHANGES = {
    Reason.FOUND,
    Reason.MOVED,
    Reason.SILENT,
    Reason.ROAMED,
    Reason.CACHED,
    Reason.ROLLED_BACK,
    Reason.RESOLVED,
}
CONTRACT = texts.contract(names.AGENT)
OURS = "io.github.wgsd_nm.Error."
RAISED = (
    errors.InvalidArguments,
    errors.AccessDenied,
    errors.InteractionRequired,
    errors.NoAnswer,
    errors.LookupFailed,
    errors.ServiceUnavailable,
    errors.ConfigError,
    errors.NoSuchDevice,
    errors.NotWireGuard,
    errors.NotPermitted,
    errors.DeviceError,
    errors.CallTimedOut,
)


class Still:
    """A loop in which nothing happens."""

    def __init__(self, story: Story) -> None:
        self.watch = story.watch
        self._now = story.now

    def now(self) -> float:
        return self._now


def exported() -> Service:
    return Service(Bus(system=False, address="unix:path=/nonexistent"), lambda: None, lambda _watch, _status: None)


def watched() -> Interface:
    """The interface of an agent that looks after one tunnel with one peer."""
    service = exported()
    service.start(cast("Loop", Still(Story.settled(kernel_peer(BOB, "10.0.0.1/32"), bob=HOME))))
    return service.interface()


def described(kind: str, name: str) -> Text:
    return CONTRACT.of_kind(kind)[name].text


def terms(text: Text, title: str = "") -> list[str]:
    return [each.term for each in text.definitions(title)]


def test_the_code_exports_what_the_xml_describes() -> None:
    texts.require_same(CONTRACT, exported().interface())
    assert CONTRACT.path == names.AGENT_PATH


def test_every_property_can_be_read_and_only_the_version_never_changes() -> None:
    properties = list(texts.parsed(INTERFACES / f"{names.AGENT}.xml").iter("property"))
    assert {each.attrib["access"] for each in properties} == {"read"}
    annotated = {each.attrib["name"]: each.find("annotation") for each in properties}
    (annotation,) = (each for each in annotated.values() if each is not None)
    assert annotation is annotated["Version"]
    assert annotation.attrib == {"name": "org.freedesktop.DBus.Property.EmitsChangedSignal", "value": "const"}


def test_everything_says_since_when_it_is_there() -> None:
    texts.require_versions(CONTRACT)


def test_every_error_is_documented_and_every_documented_error_exists() -> None:
    texts.require_errors(CONTRACT, RAISED)
    ours = {name for name in names.ERROR_NAMES.values() if name.startswith(OURS)}
    assert ours <= set(texts.errors_of(CONTRACT))


def test_only_reload_tells_of_a_bad_configuration_and_only_a_named_tunnel_can_be_a_wrong_one() -> None:
    said = {name: texts.possible_errors(method) for name, method in CONTRACT.of_kind("method").items()}
    assert {name for name, errors_ in said.items() if "BadConfiguration" in errors_} == {"Reload"}
    assert said["RefreshTunnel"] - said["Refresh"] == {"InvalidArgs"}
    assert said["Refresh"] <= said["RefreshTunnel"]


def test_the_states_are_documented_in_the_order_in_which_they_are_chosen() -> None:
    assert terms(described("property", "State")) == [str(state) for state in State]


def test_every_reason_is_documented_where_it_is_used() -> None:
    of_peers = terms(described("property", "Peers"), "Codes of Reason")
    of_changes = terms(described("signal", "EndpointChanged"), "Codes of reason")
    assert sorted(of_peers) == sorted(set(Reason) - OF_CHANGES)
    assert sorted(of_changes) == sorted(OF_CHANGES)


def test_every_word_of_an_entry_is_documented() -> None:
    peers = described("property", "Peers")
    assert terms(peers, "Words of Source") == [str(source) for source in Source]
    assert terms(peers, "Words of Path") == [str(way) for way in Way if way]
    assert terms(peers, "Words of State") == [str(state) for state in PeerState]
    (updates,) = (each.text for each in described("property", "Tunnels").definitions() if each.term == "Updates")
    assert re.findall(r'"([a-z-]+)" \(', updates) == [str(word) for word in Updates if word]


def test_the_entries_of_tunnels_and_peers_are_those_that_are_sent() -> None:
    async def sent() -> dict[str, list[dict[str, Variant]]]:
        properties = watched().properties
        return {name: cast("list[dict[str, Variant]]", properties[name].get()) for name in ("Tunnels", "Peers")}

    for name, (entry, *_) in asyncio.run(sent()).items():
        documented = [(each.term, each.type) for each in described("property", name).definitions()]
        assert documented == [(key, value.signature) for key, value in entry.items()]


def test_the_numbers_in_the_xml_are_those_of_the_code() -> None:
    text = " ".join(described("method", "Refresh").paragraphs())
    assert f"within {schedule.REFRESH:.0f} seconds" in text
    assert "wanted for three minutes" in text
    assert schedule.WANTED == 3 * 60
    assert f"after {FIRST_NETWORK:.0f} seconds at the latest" in " ".join(CONTRACT.text.paragraphs())


def test_activation_leads_to_the_unit_and_the_unit_to_the_program() -> None:
    service = unit(UNIT)["Service"]
    assert dict(unit(ACTIVATION)["D-BUS Service"]) == {
        "Name": names.AGENT,
        "Exec": service["ExecStart"],
        "SystemdService": UNIT.name,
    }
    assert (service["Type"], service["BusName"]) == ("dbus", names.AGENT)
    assert texts.script(service["ExecStart"]) == "wgsd_nm.agent.__main__:main"
    assert Path(service["ExecStart"]).is_absolute()


def test_the_end_of_the_desktop_is_the_end_of_the_agent() -> None:
    text = unit(UNIT)
    target = "graphical-session.target"
    assert text["Unit"]["PartOf"] == text["Unit"]["After"] == text["Install"]["WantedBy"] == target


def test_systemd_finds_the_unit_right(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    texts.require_content(environment, "--user", "verify", "--man=no", str(texts.installed(UNIT, tmp_path)))
