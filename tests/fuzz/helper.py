# SPDX-License-Identifier: GPL-2.0-or-later
"""The helper against callers who mean harm: `python -m tests.fuzz.helper 1000000` sends more than the tests do.

It is the real process on a real bus with the product's policy; a table stands for the kernel, and polkit and
NetworkManager say yes, no and nothing by turns. What breaks a promise is printed; the seed makes the same messages
again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import re
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.calls import Calls, Sent, encode
from tests.integration.buses import PrivateBus
from tests.integration.helper_process import ALICE, BOB, BRIEF, CAROL
from tests.integration.helper_stage import CHALLENGE, NO, ROOT, YES, Process, Stage, Toml, neighbours, until_named
from tests.integration.helper_stage import system_bus_for_helper as private_bus
from wgsd_nm.bus import names
from wgsd_nm.bus.message import Field, Kind, Message, Splitter
from wgsd_nm.core.errors import AccessDenied, WgsdError
from wgsd_nm.core.model import PublicKey
from wgsd_nm.helper.journal import NOTES_AN_HOUR, WARNINGS_AN_HOUR

ANSWERED_WITHIN = 20.0
"""Seconds in which a batch is answered, on a busy machine too."""
PATIENCE = 0.1
"""Seconds that polkit and NetworkManager may take here."""
MAX_GROWTH = 12288
"""kB of resident memory from the first quarter to the end."""
OTHERS = 20
"""Peers that no caller ever names."""
SECRETS = (str(CAROL), *(str(PublicKey(number.to_bytes(32, "big"))) for number in range(OTHERS)))
LEAKS = ("Traceback", 'File "', ".py", " at 0x", "internal error", str(ROOT), sys.prefix, "/usr/", "/home/", *SECRETS)
KNOWN = {value for name, value in vars(names).items() if name.startswith("ERROR_") and isinstance(value, str)}
KNOWN |= set(names.ERROR_NAMES.values())
OF_ROOT = ("wg1", BRIEF, "eth0", "gone0")
BATCHES = 10
"""Of calls by one connection, and then as many connections that send damaged messages."""


class PromiseBroken(AssertionError):
    """The helper did what it must not."""


class Raw:
    """A connection to the bus on which anything can be sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._splitter = Splitter()

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, path: Path) -> AsyncIterator[Raw]:
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
            assert (await reader.readline()).startswith(b"OK ")
            fields = [
                (Field.PATH, ("o", names.DBUS_PATH)),
                (Field.DESTINATION, ("s", names.DBUS)),
                (Field.INTERFACE, ("s", names.DBUS)),
                (Field.MEMBER, ("s", "Hello")),
            ]
            writer.write(b"BEGIN\r\n" + encode("<", Kind.CALL, 0, 1, fields))
            raw = cls(reader, writer)
            while not any(message.kind is Kind.REPLY for message in await raw.read()):
                pass
            yield raw
        finally:
            writer.close()

    async def send(self, messages: Iterable[bytes]) -> None:
        for octets in messages:
            self._writer.write(octets)
        await self._writer.drain()

    def hang_up(self) -> None:
        """Nothing more will come from us."""
        self._writer.write_eof()

    async def read(self) -> list[Message]:
        """What has come. Raises EOFError when the bus has hung up."""
        octets = await self._reader.read(1 << 16)
        if not octets:
            raise EOFError
        return [message for message in self._splitter.feed(octets) if isinstance(message, Message)]


class Run:
    """One helper and its callers. `messages` were sent; `replies` counts what came of them."""

    def __init__(self, seed: int, bus: PrivateBus, process: Process, stage: Stage) -> None:
        self.messages = 0
        self.replies: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._calls = Calls(self._chance)
        self._bus, self._process, self._stage = bus, process, stage
        peers = {str(ALICE): "192.0.2.1:51820", str(BOB): ""}
        peers |= {str(PublicKey(number.to_bytes(32, "big"))): "" for number in range(OTHERS)}
        self._kernel = {interface: dict(peers) for interface in ("wg0", "wg1", BRIEF)}
        self._allowed: frozenset[str] = frozenset()
        self._warm: int | None = None
        self._descriptors = process.descriptors()

    async def until(self, count: int, told: Callable[[int], None] = lambda _: None) -> Run:
        """Send so many messages. Raises PromiseBroken."""
        while self.messages < count:
            async with Raw.connected(self._bus.directory / "socket") as raw:
                for _ in range(BATCHES):
                    await self._batch(raw)
            await self._rough()
            if self._warm is None and self.messages >= count / 4:
                self._warm = self._process.resident()
            self._judge_process()
            told(self.messages)
        await self._settled()
        _require(self._process.descriptors() <= self._descriptors, "descriptors stay open")
        if self._warm is not None:
            growth = self._process.resident() - self._warm
            _require(growth < MAX_GROWTH, f"the memory has grown by {growth} kB")
        return self

    async def _batch(self, raw: Raw) -> None:
        """Many calls at once; each is answered once, and right."""
        dies = await self._set_scene()
        batch = [self._calls.next() for _ in range(self._chance.choice((1, 4, 8, 16, 40, 100)))]
        self.messages += len(batch)
        pending = {sent.serial: sent for sent in batch if sent.answered}
        await raw.send(sent.octets for sent in batch)
        try:
            async with asyncio.timeout(ANSWERED_WITHIN):
                if dies:
                    await self._stage.polkit_bus.close()
                while pending:
                    for message in await raw.read():
                        self._judge(message, pending)
        except TimeoutError:
            raise PromiseBroken(f"no answer to {[sent.member for sent in pending.values()]}") from None
        except EOFError:
            raise PromiseBroken("the bus hung up on a message that is sound") from None
        await self._reset_scene()

    async def _set_scene(self) -> bool:
        """What polkit and NetworkManager will say; whether polkit is to die now."""
        polkit, nm, chance = self._stage.polkit, self._stage.nm, self._chance
        mood = chance.choice((*("yes",) * 40, *("no", "challenge", "error") * 5, "hangs", "dies", "absent"))
        sight = chance.choice((*("fine",) * 40, "ethernet", "inactive", "external", "none", "vanished", "hangs"))
        polkit.answer = {"no": NO, "challenge": CHALLENGE, "error": None}.get(mood, YES)
        if mood in ("hangs", "dies"):
            polkit.go_on.clear()
        if mood == "absent":
            await self._stage.polkit_bus.release_name(names.POLKIT)
        match sight:
            case "ethernet":
                nm.device_type = 1
            case "inactive":
                nm.state = chance.choice((0, 1, 3, 4))
            case "external":
                nm.flags |= 0x80
            case "none":
                nm.active = "/"
            case "vanished":
                nm.device_path = names.NM_PATH + "/Devices/99"
            case "hangs":
                nm.go_on.clear()
        readable = (*OF_ROOT, "wg0") if sight == "fine" else OF_ROOT
        self._allowed = frozenset(readable if mood == "yes" else ())
        return mood == "dies"

    async def _reset_scene(self) -> None:
        stage = self._stage
        stage.polkit.answer = YES
        stage.polkit.go_on.set()
        stage.nm.reset()
        if not stage.polkit_bus.connected:
            await stage.polkit_bus.connect()
        await stage.polkit_bus.request_name(names.POLKIT)

    async def _rough(self) -> None:
        """Damaged messages, and a caller that hangs up: whatever comes of it, polkit says no to all."""
        self._stage.polkit.answer = NO
        self._allowed = frozenset()
        for _ in range(BATCHES):
            async with Raw.connected(self._bus.directory / "socket") as raw:
                some = [self._calls.next().octets for _ in range(self._chance.choice((0, 0, 1, 8)))]
                some += [self._calls.broken() for _ in range(self._chance.choice((1, 1, 4)))]
                self.messages += len(some)
                with contextlib.suppress(EOFError, ConnectionError):
                    await raw.send(some)
                    raw.hang_up()
                    async with asyncio.timeout(ANSWERED_WITHIN):
                        while True:
                            for message in await raw.read():
                                self._judge_text(message)
                self.replies["hung up"] += 1
        await self._settled()
        await self._reset_scene()

    async def _settled(self) -> None:
        """Returns when the helper has done with whatever it had been asked, and the kernel is as it should be."""
        answer = self._stage.polkit.answer
        for _ in range(3):
            with contextlib.suppress(WgsdError):
                await self._stage.peers("wg0")
        self._stage.polkit.answer = YES
        for interface in self._kernel:
            self._judge_peers(interface, await _answered(self._stage, interface))
        self._stage.polkit.answer = answer

    def _judge(self, message: Message, pending: dict[int, Sent]) -> None:
        self._judge_text(message)
        if message.kind is Kind.SIGNAL:
            return
        sent = pending.pop(message.reply_serial, None)
        if sent is None:
            _require(message.sender == names.DBUS, "an answer that nobody waits for, or a second one")
            return
        if message.kind is Kind.ERROR or message.sender == names.DBUS:
            return
        self.replies[sent.member] += 1
        if sent.member in ("GetPeers", "SetEndpoints"):
            _require(sent.interface in self._allowed, f"{sent.member} {sent.interface!a} was not refused")
            (result,) = message.body()
            if sent.member == "GetPeers":
                self._judge_peers(sent.interface, result)
            else:
                _require(result == self._apply(sent), f"{sent.changes} became {result}")
                self.replies.update(result.values())

    def _judge_text(self, message: Message) -> None:
        """An error is one of ours or of the bus, in one plain line that tells nothing of our insides."""
        if message.kind is not Kind.ERROR:
            return
        self.replies[message.error_name] += 1
        if message.sender == names.DBUS:
            return
        (text,) = message.body()
        _require(message.error_name in KNOWN, f"an error that is not documented: {message.error_name}")
        _require(text.isprintable() and 0 < len(text) < 1000, f"an error text that is not one short line: {text!a}")
        _require(not _leaks(text, str(self._bus.directory)), f"an error text that tells too much: {text!a}")

    def _judge_peers(self, interface: str, peers: list[dict[str, Any]]) -> None:
        kernel = {peer["PublicKey"]: peer["Endpoint"] for peer in peers}
        _require(kernel == self._kernel[interface], f"{interface} is not as its callers were told")

    def _apply(self, sent: Sent) -> dict[str, str]:
        """What has to become of the changes. Answers come in the order in which calls were carried out."""
        _require(sent.interface != BRIEF, "a device that had vanished was written")
        peers = self._kernel[sent.interface]
        results = {}
        for key, expected, wanted in sent.changes:
            if key not in peers:
                results[key] = "unknown-peer"
            elif peers[key] != expected:
                results[key] = "stale"
            elif not wanted:
                results[key] = "poked" if peers[key] else "no-endpoint"
            else:
                results[key] = "changed"
                peers[key] = wanted
        return results

    def _judge_process(self) -> None:
        log = self._process.text()
        _require(self._process.alive(), f"the helper has ended: {log}")
        _require(not _leaks(log), "its log tells too much")
        lines = log.splitlines()
        _require(all(re.match(r"(INFO|WARNING|ERROR): ", line) for line in lines), "a line of the log is not its own")
        _require(len(lines) <= 1.5 * (WARNINGS_AN_HOUR + NOTES_AN_HOUR), "the log has too many lines")


def _leaks(text: str, *more: str) -> bool:
    return any(leak in text for leak in (*LEAKS, *more))


def _require(holds: bool, promise: str) -> None:
    if not holds:
        raise PromiseBroken(promise)


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Programs that are started meanwhile write their errors to nobody: the bus would tell of each message refused."""
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nobody:
        os.dup2(nobody.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


async def _answered(stage: Stage, interface: str) -> Any:
    """The peers, however busy the machine is: what is answered too late for PATIENCE is refused, and asked again."""
    async with asyncio.timeout(ANSWERED_WITHIN):
        while True:
            with contextlib.suppress(AccessDenied):
                return await stage.peers(interface)


async def fuzz(seed: int, count: int, told: Callable[[int], None] = lambda _: None) -> Run:
    """Start a helper, and send it so many messages. Raises PromiseBroken."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="helper-")))
        toml = Toml(directory / "helper.toml")
        toml.say(f"interfaces = {list(OF_ROOT)}")
        options = (f"--answer-within={PATIENCE}", f"--person-answers-within={PATIENCE}", f"--more-peers={OTHERS}")
        with _unheard():
            bus = stack.enter_context(private_bus())
        process = stack.enter_context(Process(bus, directory, f"--toml={toml.path}", *options))
        await until_named(bus, process)
        async with neighbours(bus.address) as stage:
            await _answered(stage, "wg0")
            return await Run(seed, bus, process, stage).until(count, told)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.helper", description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=100_000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    try:
        run = asyncio.run(
            fuzz(options.seed, options.count, lambda done: print(f"\r{done} messages", end="", flush=True))
        )
    except PromiseBroken as error:
        print(f"\n{error}")
        return 1
    print(f"\nevery promise kept: {dict(run.replies)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
