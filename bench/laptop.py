# SPDX-License-Identifier: GPL-2.0-or-later
"""A laptop for the bench: two real buses, a scripted NetworkManager, a polkit that says yes, our agent and helper.

The tunnel is a veth pair in network namespaces of the bench's own; at its far end a DNS server is 30 ms away.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from tests.integration.buses import PrivateBus
from tests.integration.scripted_nm import peer_address
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus, Caller, Interface, Method

INSIDE = "WGSD_NM_BENCH_NAMESPACE"
CONFIG = f'[tunnel.wg0]\nzone = "example.com"\nregistry = "{peer_address(0)}"\n'
OWNED = (names.NM, names.POLKIT, names.HELPER)
REPLY_LIMIT = 60.0
STOP_LIMIT = 10.0


def enter_namespace(module: str) -> None:
    """Run the module again in a user and network namespace of its own, if that has not happened yet; then no return."""
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-m", module, *sys.argv[1:]]
        os.execvp(command[0], command)
    run("ip", "link", "set", "lo", "up")


def run(*command: str) -> None:
    subprocess.run(command, check=True)


class Program:
    """A process of the bench, spoken to by lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, *command: str, **environment: str) -> Self:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, env={**os.environ, **environment}
        )
        return cls(process)

    @classmethod
    async def python(cls, module: str, *arguments: str, **environment: str) -> Self:
        return await cls.start(sys.executable, "-m", module, *arguments, **environment)

    @property
    def pid(self) -> int:
        return self.process.pid

    async def hear(self) -> str:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), REPLY_LIMIT)
        if not line:
            raise RuntimeError(f"a program of the bench ended with status {await self.process.wait()}")
        return line.decode().strip()

    async def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        await self.process.stdin.drain()

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), STOP_LIMIT)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


class Laptop:
    """An async context manager: everything but agent and helper is running when it is entered."""

    def __init__(self, peers: int, registry: str = "bench.registry_process") -> None:
        """`registry` is the module of the DNS server."""
        self.peers = peers
        self._registry = registry
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._boot()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _boot(self) -> None:
        enter = self._stack.enter_context
        home = Path(enter(tempfile.TemporaryDirectory(prefix="wgsd-nm-bench-")))
        (home / "wgsd-nm").mkdir()
        (home / "wgsd-nm" / "config.toml").write_text(CONFIG)
        system, session = enter(PrivateBus(system=True, names=OWNED)), enter(PrivateBus())
        self.daemons = (system.pid, session.pid)
        folders = {"XDG_CONFIG_HOME": str(home), "XDG_STATE_HOME": str(home / "state")}
        self.environment = {**system.environment, **session.environment, **folders}
        self.session = Bus(system=False, address=session.address)
        self.system = Bus(system=True, address=system.address)
        for bus in (self.session, self.system):
            await bus.connect()
            self._stack.push_async_callback(bus.close)
        await self._serve_polkit()
        await self._lay_tunnel()
        self.network_manager = await self.python(
            "tests.integration.scripted_nm", "--peers", str(self.peers), **self.environment
        )
        while await self.network_manager.hear() != "ready":
            pass

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def python(self, module: str, *arguments: str, **environment: str) -> Program:
        """Start a module; it is stopped when the laptop is left."""
        program = await Program.python(module, *arguments, **{**self.environment, **environment})
        self._stack.push_async_callback(program.stop)
        return program

    async def scene(self, name: str, *arguments: str) -> int:
        """Have NetworkManager play a scene; returns the time of the signal that completed the change."""
        await self.network_manager.say(" ".join((name, *arguments)))
        word, *_, at = (await self.network_manager.hear()).split()
        if word != "ok":
            raise RuntimeError(f"the scripted NetworkManager cannot play {name}")
        return int(at)

    async def owned(self, bus: Bus, name: str) -> int:
        """The time at which somebody owns the name."""
        there: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def owner(unique: str) -> None:
            if unique and not there.done():
                there.set_result(monotonic())

        await bus.watch_owner(name, owner)
        return await asyncio.wait_for(there, REPLY_LIMIT)

    async def _serve_polkit(self) -> None:
        async def check(_caller: Caller, *_question: Any) -> Sequence[object]:
            return [[True, False, {}]]

        question = (("subject", "(sa{sv})"), ("action_id", "s"), ("details", "a{ss}"), ("flags", "u"), ("id", "s"))
        method = Method(check, arguments=question, results=(("result", "(bba{ss})"),))
        self.system.export(names.POLKIT_PATH, Interface(names.POLKIT_AUTHORITY, {"CheckAuthorization": method}))
        await self.system.request_name(names.POLKIT)

    async def _lay_tunnel(self) -> None:
        registry = await Program.start(
            "unshare", "--net", sys.executable, "-m", self._registry, "--peers", str(self.peers)
        )
        self._stack.push_async_callback(registry.stop)
        run("ip", "link", "add", "wg0", "type", "veth", "peer", "name", "registry")
        self._stack.callback(run, "ip", "link", "delete", "wg0")
        run("ip", "address", "add", "10.77.0.1/16", "dev", "wg0")
        run("ip", "link", "set", "registry", "netns", str(registry.pid))
        inside = ("nsenter", f"--target={registry.pid}", "--net", "ip")
        run(*inside, "address", "add", f"{peer_address(0)}/16", "dev", "registry")
        run(*inside, "link", "set", "registry", "up")
        run("ip", "link", "set", "wg0", "up")
        await registry.say("go")
        while await registry.hear() != "ready":
            pass


def monotonic() -> int:
    """CLOCK_MONOTONIC in nanoseconds, the same in all processes."""
    return int(asyncio.get_running_loop().time() * 1e9)
