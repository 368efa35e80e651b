# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of a configuration, and what a new one leaves as it was."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from ipaddress import ip_network

import pytest
from dns.rdatatype import SRV, TXT

from tests.unit.registry_objects import ALICE, BOB, NOW, device
from wgsd_nm.core.dnssd import instance_wire, parse_zone, wire
from wgsd_nm.core.errors import NoSuchDevice
from wgsd_nm.core.model import Device, Endpoint
from wgsd_nm.registry.assembly import Assembly, Surroundings, assemble
from wgsd_nm.registry.config import Config, Secondary, Selection, SelfConfig, ZoneConfig
from wgsd_nm.registry.serials import Serials
from wgsd_nm.registry.signing import Keyring
from wgsd_nm.registry.zone import Zone

ONE = ZoneConfig(parse_zone("one.example.com"), "wg0")
TWO = ZoneConfig(parse_zone("two.example.com"), "wg0", exclude=Selection(frozenset([BOB.public_key])))
OTHER = ZoneConfig(parse_zone("other.example.com"), "wg1")
LISTEN = (Endpoint.parse("10.0.0.254:53"),)


class World:
    """Devices by their names, each with two peers."""

    def __init__(self) -> None:
        self.serials = Serials()
        self.fetched: list[str] = []
        self.missing: set[str] = set()
        self.around = Surroundings(self._fetch, self.serials, lambda _: None, own=lambda: (), epoch=lambda: NOW)

    async def _fetch(self, interface: str) -> Device:
        self.fetched.append(interface)
        if interface in self.missing:
            raise NoSuchDevice(interface)
        return replace(device(ALICE, BOB), interface=interface)

    def assemble(
        self, *zones: ZoneConfig, before: Assembly | None = None, listen: tuple[Endpoint, ...] = LISTEN
    ) -> Assembly:
        return assemble(Config(zones, listen), Keyring(), self.around, before)


def run(story: Callable[[World], Coroutine[None, None, None]]) -> None:
    asyncio.run(story(World()))


def zones(assembly: Assembly) -> list[Zone]:
    return [published.zone for published in assembly.published]


async def read(assembly: Assembly) -> None:
    for content in assembly.contents:
        assert await content.available()


def test_zones_over_one_device_share_its_reads() -> None:
    async def story(world: World) -> None:
        assembly = world.assemble(ONE, OTHER, TWO)
        assert [zone.name for zone in zones(assembly)] == [ONE.name, OTHER.name, TWO.name]
        assert [content.interface for content in assembly.contents] == ["wg0", "wg1"]
        await read(assembly)
        assert world.fetched == ["wg0", "wg1"]
        one, other, two = zones(assembly)
        assert len(list(one.transfer())) > len(list(two.transfer()))
        assert [assembly.site.contents[zone].interface for zone in (one, other, two)] == ["wg0", "wg1", "wg0"]

    run(story)


def test_each_zone_goes_on_from_its_serial() -> None:
    async def story(world: World) -> None:
        world.serials.became("one.example.com.", NOW + 5)
        assembly = world.assemble(ONE, TWO)
        await read(assembly)
        one, two = zones(assembly)
        assert (one.serial, two.serial) == (NOW + 6, NOW)
        assert (world.serials.of("one.example.com."), world.serials.of("two.example.com.")) == (NOW + 6, NOW)

    run(story)


def test_a_serial_is_kept_when_it_changes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[tuple[str, int]] = []

    async def story(world: World) -> None:
        monkeypatch.setattr(world.serials, "became", lambda *serial: kept.append(serial))
        take = world.assemble(ONE).contents[0].take
        for peers in ((ALICE,), (ALICE,), (BOB,), (BOB,)):
            take(device(*peers))

    run(story)
    assert kept == [("one.example.com.", NOW), ("one.example.com.", NOW + 1)]


def test_the_names_whose_records_changed_are_told_on_whatever_zone_they_are_in() -> None:
    told: list[bytes] = []

    async def story(world: World) -> None:
        world.around = replace(world.around, changed=told.extend)
        site = world.assemble(ONE, TWO).site
        (content,) = site.devices
        content.take(device(ALICE, BOB))
        names = [instance_wire(peer.public_key, wire(zone.name)) for peer in (ALICE, BOB) for zone in (ONE, TWO)]
        assert set(names) & set(told) == set(names[:3])  # Bob is not in the other zone
        for name in names[:3]:
            assert site.content_of(name) is content
            assert {record.rdtype for record in site.records(name)} > {SRV, TXT}
        assert not list(site.records(names[3]))
        foreign = wire(OTHER.name)
        assert site.content_of(foreign) is None
        assert not list(site.records(foreign))
        told.clear()
        content.take(device(ALICE, BOB))
        assert not told

    run(story)


def test_zones_tell_where_subscriptions_are_taken_if_they_are() -> None:
    async def story(world: World) -> None:
        name = wire(parse_zone("_wgsd-push._tcp.one.example.com"))
        assert not list(world.assemble(ONE).site.records(name))
        world.around = replace(world.around, push_ports=(53, 5353))
        assembly = world.assemble(ONE)
        ports = [int.from_bytes(record.rdata[4:6]) for record in assembly.site.records(name)]
        assert ports == [53, 5353]

    run(story)


def test_what_stays_is_the_same_object() -> None:
    async def story(world: World) -> None:
        before = world.assemble(ONE, OTHER)
        await read(before)
        after = world.assemble(OTHER, ONE, before=before)
        assert after.published == (before.published[1], before.published[0])
        assert all(content.fresh for content in after.contents)
        assert after.site.responder is not before.site.responder

    run(story)


def test_another_zone_of_a_device_has_it_read_anew_and_leaves_its_zones() -> None:
    async def story(world: World) -> None:
        before = world.assemble(ONE, OTHER)
        await read(before)
        after = world.assemble(ONE, TWO, OTHER, before=before)
        one, two, other = after.published
        assert (one.zone, other) == (before.published[0].zone, before.published[1])
        assert one.content is two.content is not before.published[0].content
        assert not one.content.fresh  # or the new zone would be answered from while it is empty
        serial = one.zone.serial
        await read(after)
        assert (one.zone.serial, two.zone.serial) == (serial, NOW)

    run(story)


@pytest.mark.parametrize(
    "changed",
    [replace(ONE, exclude=Selection(frozenset([BOB.public_key]))), replace(ONE, max_handshake_age=240)],
)
def test_another_choice_of_peers_is_a_change_of_the_same_zone(changed: ZoneConfig) -> None:
    async def story(world: World) -> None:
        before = world.assemble(ONE)
        await read(before)
        count = len(list(before.published[0].zone.transfer()))
        after = world.assemble(changed, before=before)
        assert zones(after) == zones(before)
        await read(after)
        (zone,) = zones(after)
        assert len(list(zone.transfer())) < count
        assert zone.serial == NOW + 1

    run(story)


def test_other_names_or_addresses_make_a_new_zone_with_the_next_serial() -> None:
    async def story(world: World) -> None:
        assembly = world.assemble(ONE)
        await read(assembly)
        named = replace(ONE, names={ALICE.public_key: "alice"})
        elsewhere = (Endpoint.parse("10.0.0.253:53"),)
        changes = ((named, LISTEN), (named, elsewhere), (replace(named, device="wg1"), elsewhere))
        for serial, (config, listen) in enumerate(changes, NOW + 1):
            after = world.assemble(config, before=assembly, listen=listen)
            assert zones(after) != zones(assembly)
            await read(after)
            assert zones(after)[0].serial == serial
            assembly = after

    run(story)


def test_secondaries_may_ask_and_are_notified() -> None:
    async def story(world: World) -> None:
        secondary = Secondary(Endpoint.parse("192.0.2.53:53"))
        allowed = ip_network("198.51.100.0/24")
        assembly = world.assemble(replace(ONE, secondaries=(secondary,), allow=(allowed,)), TWO)
        one, two = zones(assembly)
        access = assembly.site.access
        assert access.zones(0, "192.0.2.53") == access.zones(0, "198.51.100.9") == (one,)
        assert access.zones(0, "192.0.2.54") == ()
        assert set(access.zones(1, "127.0.0.1")) == {one, two}
        assert len(assembly.notifiers) == 1

    run(story)


def test_trouble_with_the_own_record_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def story(world: World) -> None:
        assembly = world.assemble(replace(ONE, myself=SelfConfig()))
        content = assembly.contents[0]
        for _ in range(2):
            content.take(device(ALICE))
        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith("one.example.com.: ")

    run(story)


def test_a_grant_that_undoes_the_proof_by_the_interface_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async def story(world: World) -> None:
        config = replace(ONE, allow=(ip_network("192.0.2.0/24"), ip_network("10.0.0.0/8")))
        assembly = world.assemble(config, replace(TWO, allow=(ip_network("192.0.2.0/24"),)))
        for _ in range(2):
            assembly.contents[0].take(device(ALICE, BOB))
        (message,) = caplog.messages
        assert message.startswith('zone."one.example.com".allow: 10.0.0.0/8 and the allowed IPs 10.0.0.1/32 overlap: ')
        assert "by wg0" in message

    run(story)
