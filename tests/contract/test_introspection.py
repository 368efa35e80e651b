# SPDX-License-Identifier: GPL-2.0-or-later
"""What Introspect of the running programs serves is the contract, with its documentation, and busctl understands it."""

from __future__ import annotations

import asyncio
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import texts
from tests.contract.test_agent_contract import watched
from tests.contract.test_helper_contract import exported as helper
from tests.contract.texts import INTERFACES, ROOT
from tests.integration.buses import PrivateBus
from tests.integration.desktop import Desktop
from tests.integration.helper_stage import Process, system_bus_for_helper, until_named
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus, Interface
from wgsd_nm.bus.export import Objects

SERVED = {
    names.AGENT: (names.AGENT_PATH, watched),
    names.HELPER: (names.HELPER_PATH, lambda: helper().interface()),
}


def inside(text: str) -> str:
    """What is in the node."""
    return text.partition("<node")[2].partition(">")[2].rpartition("</node>")[0].strip("\n")


@pytest.fixture
def bus() -> Iterator[PrivateBus]:
    with PrivateBus() as private:
        yield private


@pytest.mark.parametrize("name", SERVED)
def test_the_text_is_the_contracts_and_has_every_comment(name: str) -> None:
    path, offered = SERVED[name]
    objects = Objects()
    objects.add(path, offered())
    served, written = objects.introspection(path), (INTERFACES / f"{name}.xml").read_text()
    assert inside(written) in served
    assert "Possible errors: " in served
    node = ET.fromstring(served.partition('dtd">\n')[2])
    interfaces = [each.attrib["name"] for each in node.findall("interface")]
    assert interfaces == [names.INTROSPECTABLE, names.PEER, names.PROPERTIES, name]


def test_the_package_has_the_contracts_themselves_and_no_copies() -> None:
    there = sorted((ROOT / "wgsd_nm" / "bus" / "interfaces").iterdir())
    assert [each.name for each in there] == sorted(each.name for each in INTERFACES.iterdir())
    assert [each.resolve() for each in there] == sorted(INTERFACES.iterdir())


def test_the_running_programs_serve_it(tmp_path: Path) -> None:
    async def introspected(bus: Bus, name: str, path: str) -> str:
        (text,) = await bus.call(name, path, names.INTROSPECTABLE, "Introspect")
        return str(text)

    async def of_agent() -> str:
        async with Desktop(tmp_path) as desktop:
            await desktop.start_agent()
            return await introspected(desktop.client.bus, names.AGENT, names.AGENT_PATH)

    async def of_helper(private: PrivateBus) -> str:
        client = Bus(system=True, address=private.address)
        await client.connect()
        try:
            return await introspected(client, names.HELPER, names.HELPER_PATH)
        finally:
            await client.close()

    with system_bus_for_helper() as private, Process(private, tmp_path) as helper_process:
        asyncio.run(until_named(private, helper_process))
        served = {names.AGENT: asyncio.run(of_agent()), names.HELPER: asyncio.run(of_helper(private))}
    for name, text in served.items():
        assert inside((INTERFACES / f"{name}.xml").read_text()) in text


@pytest.mark.parametrize("name", SERVED)
def test_busctl_shows_every_member_with_its_types(bus: PrivateBus, name: str) -> None:
    path, offered = SERVED[name]
    shown = asyncio.run(introspected(bus, name, path, offered()))
    contract = texts.contract(name)
    rows = dict(re.findall(r"^\.(\w+) +(\w+ +\S+(?: +\S+)?)", shown, re.MULTILINE))
    assert set(rows) == {member.name for member in contract.members}
    for member in contract.members:
        kind, signature, *result = rows[member.name].split()
        assert kind == member.kind
        given = "".join(type_ for _, type_, direction in member.arguments if direction != "out") or "-"
        assert signature == (member.type or given)
        if kind == "method":
            assert result == ["".join(type_ for _, type_, direction in member.arguments if direction == "out") or "-"]


async def introspected(private: PrivateBus, name: str, path: str, interface: Interface) -> str:
    """What `busctl introspect` prints of an object that is served on that bus."""
    busctl = shutil.which("busctl")
    assert busctl, "expected busctl: install the package systemd"
    served = Bus(system=False, address=private.address)
    served.export(path, interface)
    await served.connect()
    await served.request_name(name)
    try:
        process = await asyncio.create_subprocess_exec(
            busctl, f"--address={private.address}", "introspect", name, path, name,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(20):
            output, complaint = await process.communicate()
        assert process.returncode == 0, complaint.decode()
        return output.decode()
    finally:
        await served.close()
