# SPDX-License-Identifier: GPL-2.0-or-later
"""Alice's journey, in the lab's machine: she cannot reach bob from behind a hard NAT, and then she moves.

Her session bus is offered to the host over standard input and output, as `carried` has it; postcard.py is there. It
says "ready" and then does what it is told: "move" or "end". What the world prints goes to /lab/out/journey.log.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lab.world import Laptop, Mapping, World
from lab.world.agent import configuration, start_agent, start_registry
from lab.world.laptop import RUNTIME
from tests.shell.carried import WORDS, carry, deliver, frame, next_frame

LOG = Path("/lab/out/journey.log")
UID = 1000
"""Of the user u."""
AUTHENTICATION = re.compile(rb"AUTH EXTERNAL [0-9a-f]*\r\n")


@contextmanager
def the_user(laptop: Laptop) -> Iterator[None]:
    """Be u, in the folder of u's session bus: it takes nobody else, and lies in the laptop's own mounts."""
    os.chdir(laptop.path(RUNTIME))
    os.setresuid(UID, UID, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.chdir("/")


@dataclass
class Offer:
    """The session bus, for whoever is at the other end."""

    laptop: Laptop
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    words: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    _bus: dict[int, asyncio.StreamWriter] = field(default_factory=dict)
    _carrying: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self) -> None:
        """Returns never."""
        while True:
            channel, octets = await next_frame(self.reader)
            if channel == WORDS:
                self.words.put_nowait(octets)
                continue
            if channel not in self._bus:
                await self._open(channel)
                octets = AUTHENTICATION.sub(b"AUTH EXTERNAL %s\r\n" % str(UID).encode().hex().encode(), octets)
            await deliver(octets, self._bus[channel])

    def say(self, word: bytes) -> None:
        self.writer.write(frame(WORDS, word))

    async def _open(self, channel: int) -> None:
        connection = socket.socket(socket.AF_UNIX)
        with the_user(self.laptop):
            connection.connect("bus")
        reader, self._bus[channel] = await asyncio.open_unix_connection(sock=connection)
        task = asyncio.create_task(carry(reader, channel, self.writer))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)


async def streams(incoming: IO[bytes], outgoing: IO[bytes]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Two files as streams."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), incoming)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, outgoing)
    return reader, asyncio.StreamWriter(transport, protocol, None, loop)


def begin(world: World) -> Laptop:
    """Alice behind the hard NAT and bob at home, each with an agent; the tunnels come up by themselves."""
    world.nat_a.set_kind(Mapping.SYMMETRIC)
    alice, bob = world.laptop("alice", world.nat_a), world.laptop("bob", world.nat_b)
    for laptop, other in ((alice, "bob"), (bob, "alice")):
        laptop.boot(world.profile(laptop.name, [other]))
    start_registry(world)
    for laptop in (alice, bob):
        laptop.wait_connected()
        start_agent(laptop, configuration(world, laptop))
    return alice


async def live(world: World, alice: Laptop, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
    """Offer the bus, and do as told until the end."""
    offer = Offer(alice, *await streams(incoming, outgoing))
    serving = asyncio.create_task(offer.serve())
    offer.say(b"ready")
    while (word := await offer.words.get()) != b"end":
        assert word == b"move", word
        await asyncio.to_thread(alice.move, world.nat_c)
    serving.cancel()


def main() -> int:
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    with LOG.open("wb") as log, incoming, outgoing:
        for number in (1, 2):
            os.dup2(log.fileno(), number)
        with World() as world:
            alice = begin(world)
            asyncio.run(live(world, alice, incoming, outgoing))
    return 0


if __name__ == "__main__":
    sys.exit(main())
