# SPDX-License-Identifier: GPL-2.0-or-later
"""From a configuration to all that queries are answered from. Knows neither files, signals nor sockets.

What a new configuration leaves as it was goes over from the one before: a zone with its serial and its rendered
answers, a device's content with those who wait for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network

from wgsd_nm.core.model import Device, IPAddress, IPNetwork
from wgsd_nm.registry.access import Access, Grant, overlap
from wgsd_nm.registry.config import Config, ZoneConfig
from wgsd_nm.registry.content import Content
from wgsd_nm.registry.notify import Notifier
from wgsd_nm.registry.own import public_addresses
from wgsd_nm.registry.publication import Publication
from wgsd_nm.registry.responder import Responder
from wgsd_nm.registry.serials import Serials
from wgsd_nm.registry.signing import Keyring
from wgsd_nm.registry.site import Site
from wgsd_nm.registry.transfer import Transfers
from wgsd_nm.registry.zone import Zone

Fetch = Callable[[str], Awaitable[Device]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an assembly is put into, whatever the configuration: where devices come from, and what outlives them."""

    fetch: Fetch
    serials: Serials
    notified: Callable[[bool], None]
    """Is told of each NOTIFY that was sent, with whether it was acknowledged."""
    changed: Callable[[Collection[bytes]], None] = lambda _: None
    """Is told of the names whose records changed."""
    push_ports: tuple[int, ...] = ()
    """Where subscriptions are taken, the best first."""
    own: Callable[[], Sequence[IPAddress]] = public_addresses
    epoch: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Published:
    """One zone of a configuration, at work."""

    config: ZoneConfig
    addresses: tuple[IPAddress, ...]
    zone: Zone
    content: Content


@dataclass(frozen=True, slots=True)
class Assembly:
    """A configuration at work. `published` are its zones, in its order."""

    config: Config
    published: tuple[Published, ...]
    site: Site
    notifiers: tuple[Notifier, ...]

    @property
    def contents(self) -> tuple[Content, ...]:
        """One for each device."""
        return tuple(self.site.devices)


class Feed:
    """Takes what is read of one device to the zones that are published from it."""

    def __init__(self, zones: Sequence[tuple[ZoneConfig, Zone]], surroundings: Surroundings) -> None:
        self._zones = tuple((Publication(config, surroundings.own), zone) for config, zone in zones)
        self._unchecked = [config for config, _ in zones]
        self._surroundings = surroundings
        self._troubles = [""] * len(self._zones)

    def take(self, device: Device) -> None:
        while self._unchecked:
            _warn_of_overlap(self._unchecked.pop(), device)
        now = int(self._surroundings.epoch())
        for number, (publication, zone) in enumerate(self._zones):
            before = zone.serial
            names = zone.update(publication.peers(device, now), now)
            if names:
                self._surroundings.changed(names)
            if zone.serial != before:
                self._surroundings.serials.became(str(zone.name), zone.serial)
            if publication.trouble != self._troubles[number]:
                self._troubles[number] = publication.trouble
                self._explain(zone, publication.trouble)

    @staticmethod
    def _explain(zone: Zone, trouble: str) -> None:
        if trouble:
            _log.warning("%s: %s", zone.name, trouble)
        else:
            _log.info("%s: the registry's own record is published now", zone.name)


def _warn_of_overlap(zone: ZoneConfig, device: Device) -> None:
    found = overlap(zone.allow, device.peers)
    if found is not None:
        network, allowed = found
        _log.warning(
            'zone."%s".allow: %s and the allowed IPs %s overlap: whoever forges their addresses may ask by any '
            "interface; peers may ask anyway, by %s, so name other networks only",
            *(zone.text, network, allowed, device.interface),
        )


def assemble(config: Config, keys: Keyring, around: Surroundings, before: Assembly | None = None) -> Assembly:
    """Put a configuration to work; `before` is what it takes the place of."""
    published: list[Published] = []
    for device in dict.fromkeys(zone.device for zone in config.zones):
        zones = [zone for zone in config.zones if zone.device == device]
        published += _publish(device, zones, config.addresses, around, before)
    published.sort(key=lambda one: config.zones.index(one.config))
    return Assembly(config, tuple(published), _site(published, keys), _notifiers(published, keys, around))


def _publish(
    device: str,
    zones: Sequence[ZoneConfig],
    addresses: tuple[IPAddress, ...],
    around: Surroundings,
    before: Assembly | None,
) -> list[Published]:
    """The zones of one device, with a content of its own where anything of them is new."""
    known = [] if before is None else [one for one in before.published if one.config.device == device]
    if [(one.config, one.addresses) for one in known] == [(zone, addresses) for zone in zones]:
        return known
    made = [_zone(zone, addresses, around, known) for zone in zones]
    feed = Feed(list(zip(zones, made, strict=True)), around)
    content = Content(device, around.fetch, feed.take)
    return [Published(config, addresses, zone, content) for config, zone in zip(zones, made, strict=True)]


def _zone(
    config: ZoneConfig, addresses: tuple[IPAddress, ...], around: Surroundings, known: Sequence[Published]
) -> Zone:
    for one in known:
        if (one.config.name, one.config.names, one.addresses) == (config.name, config.names, addresses):
            return one.zone
    serial = around.serials.of(str(config.name))
    return Zone(config.name, addresses=addresses, names=config.names, serial=serial, push_ports=around.push_ports)


def _site(published: Sequence[Published], keys: Keyring) -> Site:
    zones = [one.zone for one in published]
    grants = [Grant(one.zone, one.config.device, (*one.config.allow, *_secondaries(one.config))) for one in published]
    return Site(
        Responder(zones, keys),
        Access(grants),
        {one.zone: one.content for one in published},
        Transfers(keys, {one.zone: one.config.secondaries for one in published}),
    )


def _secondaries(config: ZoneConfig) -> tuple[IPNetwork, ...]:
    """They ask for the SOA before they transfer a zone."""
    return tuple(ip_network(secondary.address.address) for secondary in config.secondaries)


def _notifiers(published: Sequence[Published], keys: Keyring, around: Surroundings) -> tuple[Notifier, ...]:
    make = partial(Notifier, told=around.notified)
    return tuple(
        make(one.zone, one.content, one.config.secondaries, keys, sources=one.addresses)
        for one in published
        if one.config.secondaries
    )
