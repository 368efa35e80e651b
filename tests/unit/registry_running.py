# SPDX-License-Identifier: GPL-2.0-or-later
"""A served site on real loopback sockets, over devices that the test has in its hand."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence

import dns.asyncquery
import dns.message

from tests.unit.registry_objects import NOW, PEERS, device, label
from wgsd_nm.core.dnssd import parse_zone
from wgsd_nm.core.errors import NoSuchDevice
from wgsd_nm.core.model import Device, Endpoint, Peer
from wgsd_nm.registry.access import Access, Grant, RateLimit
from wgsd_nm.registry.config import Secondary
from wgsd_nm.registry.content import Content
from wgsd_nm.registry.responder import Responder
from wgsd_nm.registry.server import Server
from wgsd_nm.registry.signing import Keyring
from wgsd_nm.registry.site import Site
from wgsd_nm.registry.sockets import Listener, listen
from wgsd_nm.registry.statistics import Statistics
from wgsd_nm.registry.transfer import Transfers
from wgsd_nm.registry.zone import Zone

PORT = 53530
ZONE = "wg.example.com"
ALICE = f"{label('alice')}._wireguard._udp.{ZONE}."
STRANGER = 7_000_000
"""An interface index that no machine has."""
LENGTH = struct.Struct("!H")
DEADLINE = 20.0
"""Seconds after which what a test waits for has failed to come."""


class Running:
    """A served zone over wg0. `peers` is what the next read finds, None for no device; `reads` counts them.

    For contents and strangers' rate the time stands still at `now`. Each read waits for `hold`.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.host = str(listeners[0].address.address)
        self.port = listeners[0].address.port
        self.peers: Iterable[Peer] | None = PEERS
        self.reads = 0
        self.now = 1000.0
        self.hold = asyncio.Event()
        self.hold.set()
        self.interfaces = {1: "lo"}
        self.statistics = Statistics()
        self.site = self.make_site()
        self.server = Server(self.site, self.statistics, RateLimit(self.clock))
        self.writers: list[asyncio.StreamWriter] = []

    def make_site(
        self,
        *names: str,
        device: str = "wg0",
        secondaries: tuple[Secondary, ...] = (),
        keys: Keyring | None = None,
    ) -> Site:
        """A site of zones, `wg.example.com` if none is named. To ask, one has to be known to `Access`."""
        keys = keys or Keyring()
        zones = [Zone(parse_zone(name)) for name in names or (ZONE,)]

        def take(read: Device) -> None:
            for zone in zones:
                self.server.changed(zone.update(read.peers, NOW))

        content = Content(device, self._fetch, take, clock=self.clock)
        return Site(
            Responder(zones, keys),
            Access([Grant(zone, device) for zone in zones], name_of=self.name_of),
            dict.fromkeys(zones, content),
            Transfers(keys, dict.fromkeys(zones, secondaries)),
        )

    def clock(self) -> float:
        return self.now

    def name_of(self, index: int) -> str:
        if index not in self.interfaces:
            raise OSError(6, "No such device or address")
        return self.interfaces[index]

    async def _fetch(self, interface: str) -> Device:
        self.reads += 1
        await self.hold.wait()
        if self.peers is None:
            raise NoSuchDevice(f"there is no network interface {interface}")
        return device(*self.peers)

    async def udp(self, asked: dns.message.Message) -> dns.message.Message:
        return await dns.asyncquery.udp(asked, self.host, port=self.port, timeout=5)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        self.writers.append(writer)
        return reader, writer

    async def close(self) -> None:
        for writer in self.writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self.writers), return_exceptions=True)


def own_address(port: int = PORT) -> Endpoint:
    """An address that no other test uses."""
    octets = secrets.token_bytes(3)
    return Endpoint.parse(f"127.{octets[0]}.{octets[1]}.{octets[2] | 1}:{port}")


def free_port(family: int, host: str = "") -> int:
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def serve(
    story: Callable[[Running], Awaitable[None]],
    *addresses: Endpoint,
    listeners: Sequence[Listener] | None = None,
) -> None:
    """Play a story with a server at these addresses, by default one of its own, or at these sockets."""

    async def run() -> None:
        opened = listen(addresses or (own_address(),)) if listeners is None else listeners
        running = Running(opened)
        await running.server.serve(opened)
        try:
            await asyncio.wait_for(story(running), DEADLINE)
        finally:
            await running.close()
            running.server.close()

    asyncio.run(run())


async def until(true: Callable[[], object]) -> None:
    """For what tells nobody when it happens; the whole story has a deadline."""
    while not true():  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(0)


async def settle() -> None:
    """Let everything happen that can happen at once."""
    for _ in range(10):
        await asyncio.sleep(0)


def framed(asked: dns.message.Message) -> bytes:
    wire = asked.to_wire()
    return LENGTH.pack(len(wire)) + wire


async def take(reader: asyncio.StreamReader) -> dns.message.Message:
    (length,) = LENGTH.unpack(await reader.readexactly(2))
    return dns.message.from_wire(await reader.readexactly(length))
