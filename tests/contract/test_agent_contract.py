# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's texts agree: the interface's XML, the code, the D-Bus service file and the user's unit."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import cast

import pytest

from tests.contract import texts
from tests.contract.texts import DATA, INTERFACES, unit
from tests.unit.core_story import BOB, HOME, Story, kernel_peer
from wgsd_nm.agent.loop import Loop
from wgsd_nm.agent.service import Service
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus
from wgsd_nm.bus.wire import Variant
from wgsd_nm.core import errors, schedule
from wgsd_nm.core.model import PeerState, Source, State
from wgsd_nm.core.reason import Reason

XML = INTERFACES / f"{names.AGENT}.xml"
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
    return Service(Bus(system=False, address="unix:path=/nonexistent"), lambda: None)


def comments() -> dict[str, str]:
    return texts.require_documented(texts.described(XML))


def defined(comment: str) -> list[str]:
    """The words of a comment's lists that a definition follows, two spaces and more apart."""
    return re.findall(r"^ {8}([a-z-]+) {2,}\S", comment, re.MULTILINE)


def test_the_code_exports_what_the_xml_describes() -> None:
    interface, described = exported().interface(), texts.described(XML)
    assert described.attrib["name"] == interface.name == names.AGENT
    assert texts.parsed(XML).attrib["name"] == names.AGENT_PATH
    assert texts.methods(described) == {
        name: (method.arguments, method.results) for name, method in interface.methods.items()
    }
    assert {each.attrib["name"]: each.attrib["type"] for each in described.iter("property")} == {
        name: each.signature for name, each in interface.properties.items()
    }
    assert {each.attrib["name"]: texts.arguments(each, None) for each in described.iter("signal")} == {
        name: signal.arguments for name, signal in interface.signals.items()
    }
    members = [(each.tag, each.attrib["name"]) for each, _ in texts.documented(described)]
    assert members == [
        *(("method", name) for name in interface.methods),
        *(("property", name) for name in interface.properties),
        *(("signal", name) for name in interface.signals),
    ]
    assert {each.attrib["access"] for each in described.iter("property")} == {"read"}


def test_every_member_is_documented_and_every_method_with_its_errors() -> None:
    said = comments()
    for method in exported().interface().methods:
        assert "Possible errors:" in said[method]


def test_every_error_is_documented_and_every_documented_error_exists() -> None:
    texts.require_errors(XML, RAISED)
    text = XML.read_text()
    assert all(name in text for name in names.ERROR_NAMES.values() if name.startswith(OURS))


def test_the_states_are_documented_in_the_order_in_which_they_are_chosen() -> None:
    assert defined(comments()["State"]) == [str(state) for state in State]


def test_every_reason_is_documented_where_it_is_used() -> None:
    said = comments()
    assert set(defined(said["Peers"].partition("Codes of Reason")[2])) == set(Reason) - OF_CHANGES
    assert set(re.findall(r"^ {8}([a-z-]+) +\S", said["EndpointChanged"], re.MULTILINE)) == OF_CHANGES


@pytest.mark.parametrize(("entry", "words"), [("Source", Source), ("State", PeerState)])
def test_every_word_of_a_peers_source_and_state_is_documented(entry: str, words: type[Source | PeerState]) -> None:
    text = re.split(rf"^ {{8}}{entry} s ", comments()["Peers"], flags=re.MULTILINE)[1]
    text = re.split(r"^ {8}[A-Z]", text, flags=re.MULTILINE)[0]
    assert re.findall(r'"([a-z-]+)"', text) == [str(word) for word in words]


def test_the_entries_of_tunnels_and_peers_are_those_that_are_sent() -> None:
    async def shown() -> dict[str, dict[str, Variant]]:
        service = exported()
        story = Story.settled(kernel_peer(BOB, "10.0.0.1/32"), bob=HOME)
        service.start(cast("Loop", Still(story)))
        properties = service.interface().properties
        return {name: cast("list[dict[str, Variant]]", properties[name].get())[0] for name in ("Tunnels", "Peers")}

    for name, entry in asyncio.run(shown()).items():
        described = re.findall(r"^ {8}([A-Z]\w+) ([a-z]+) +\S", comments()[name], re.MULTILINE)
        assert described == [(key, value.signature) for key, value in entry.items()]


def test_the_numbers_in_the_xml_are_those_of_the_code() -> None:
    text = " ".join(comments()["Refresh"].split())
    assert f"within {schedule.REFRESH:.0f} seconds" in text
    assert "wanted for three minutes" in text
    assert schedule.WANTED == 3 * 60


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
