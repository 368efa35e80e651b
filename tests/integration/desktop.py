# SPDX-License-Identifier: GPL-2.0-or-later
"""A desktop for the agent: two real buses, scripted neighbours, a registry on loopback, the helper without a kernel.

The registry listens on ::1, which none of the scripted uplinks leads to: its questions need no device of the machine's.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Any, Self

from tests.integration.buses import PrivateBus
from tests.integration.helper_process import Table
from tests.integration.scripted_logind import ScriptedLogind
from tests.integration.scripted_nm import REGISTRY, ScriptedNetworkManager, peer_address, peer_key, wireguard_profile
from tests.integration.waiting import DEADLINE, Recorder
from tests.unit.nameserver import Registry
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus, Caller, Interface, Method
from wgsd_nm.core.model import Endpoint, Peer, PublicKey
from wgsd_nm.helper.authorization import Authorization
from wgsd_nm.helper.service import Service

ROOT = Path(__file__).resolve().parents[2]
ZONE = "example.com"
PEERS = (1, 2)
REGISTRY_AT = Endpoint.parse("203.0.113.254:51820")
OURSELVES_AT = Endpoint.parse("198.51.100.99:51820")


def endpoint_of(number: int) -> Endpoint:
    """Where the registry says that peer `number` is, at first."""
    return Endpoint(IPv4Address("198.51.100.0") + number, 51820)


class WireGuardDevice(Table):
    """The kernel's wg0, just made: the registry's peer has its endpoint, the others have none."""

    def __init__(self) -> None:
        self._peers = {"wg0": {}}
        self.make_peers()

    def make_peers(self) -> None:
        """What NetworkManager does when it brings the connection up."""
        self._peers["wg0"] = {peer_key(number): self._peer(number) for number in (REGISTRY, *PEERS)}

    def endpoints(self) -> list[Endpoint | None]:
        """Of the peers that the registry knows."""
        return [self._peers["wg0"][peer_key(number)].endpoint for number in PEERS]

    def shake_hands(self, microseconds: int, numbers: Iterable[int] = (REGISTRY, *PEERS)) -> None:
        """These peers answer: there is a new handshake, completed at that time."""
        for key in map(peer_key, numbers):
            peer = self._peers["wg0"][key]
            self._peers["wg0"][key] = Peer(
                key, peer.endpoint, microseconds, 92, 148, peer.persistent_keepalive, peer.allowed_ips
            )

    @staticmethod
    def _peer(number: int) -> Peer:
        endpoint = REGISTRY_AT if number == REGISTRY else None
        allowed = ip_network(f"{peer_address(number)}/32")
        return Peer(peer_key(number), endpoint, persistent_keepalive=25, allowed_ips=(allowed,))


class HeardRegistry(Registry):
    """A registry that knows ourselves and the peers, and of which a test can wait for the questions."""

    def __init__(self) -> None:
        known = {peer_key(number): endpoint_of(number) for number in PEERS}
        super().__init__(ZONE, {**known, peer_key(-1): OURSELVES_AT}, address="::1")
        self.silent = False
        self.heard: Recorder[bytes] = Recorder()
        self._listener = asyncio.get_running_loop()

    def handle(self, request: bytes, tcp: bool) -> Sequence[bytes]:
        self._listener.call_soon_threadsafe(self.heard, request)
        return [] if self.silent else super().handle(request, tcp)


class Polkit:
    """org.freedesktop.PolicyKit1, as far as the helper asks it: `questions` are the actions and interfaces."""

    def __init__(self, bus: Bus) -> None:
        self.yes = True
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.questions: Recorder[tuple[str, str]] = Recorder()
        question = (("subject", "(sa{sv})"), ("action_id", "s"), ("details", "a{ss}"), ("flags", "u"), ("id", "s"))
        method = Method(self._check, arguments=question, results=(("result", "(bba{ss})"),))
        bus.export(names.POLKIT_PATH, Interface(names.POLKIT_AUTHORITY, {"CheckAuthorization": method}))

    async def _check(
        self, _: Caller, _subject: list[Any], action: str, details: dict[str, str], _flags: int, _id: str
    ) -> Sequence[object]:
        self.questions((action, details["interface"]))
        await self.go_on.wait()
        return [[self.yes, False, {}]]


class Client:
    """What a client of the agent sees: its properties as last told, and every signal."""

    def __init__(self, address: str) -> None:
        self.bus = Bus(system=False, address=address)
        self.properties: dict[str, Any] = {}
        self.changes: Recorder[dict[str, Any]] = Recorder()
        self.moves: Recorder[list[str]] = Recorder()
        self.owners: Recorder[str] = Recorder()

    async def connect(self) -> None:
        await self.bus.subscribe(
            self._changed, sender=names.AGENT, interface=names.PROPERTIES, member="PropertiesChanged", arg0=names.AGENT
        )
        await self.bus.subscribe(
            lambda _, body: self.moves(body), sender=names.AGENT, interface=names.AGENT, member="EndpointChanged"
        )
        await self.bus.connect()
        await self.bus.watch_owner(names.AGENT, self.owners)

    async def attend(self) -> None:
        """Returns when the agent is there and its properties are known."""
        await self.owners.until(lambda seen: bool(seen) and seen[-1] != "")
        self.properties = await self.ask()

    async def ask(self) -> dict[str, Any]:
        """The agent's properties, asked for now."""
        return await self.bus.get_all(names.AGENT, names.AGENT_PATH, names.AGENT)

    async def call(self, member: str, signature: str = "", *arguments: object) -> None:
        """A method of the agent's."""
        await self.bus.call(names.AGENT, names.AGENT_PATH, names.AGENT, member, signature, *arguments)

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The properties, as soon as the agent has told some that are as wanted."""
        await self.changes.until(lambda _: wanted(self.properties))
        return self.properties

    async def state(self, state: str) -> dict[str, Any]:
        """Returns when the agent has told of this state."""
        return await self.until(lambda properties: properties["State"] == state)

    def _changed(self, _path: str, body: list[Any]) -> None:
        _, values, invalidated = body
        assert not invalidated
        self.properties.update(values)
        self.changes(values)


class Program:
    """A process whose standard error is kept."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    def text(self) -> str:
        """What it has written."""
        return self._log.read_text()

    def times(self, text: str) -> int:
        """How often it has written that."""
        return self.text().count(text)

    def sockets(self) -> int:
        """How many sockets of IPv4 and IPv6 it has open (proc(5): /proc/PID/net, /proc/PID/fd)."""
        net, fd = (Path("/proc", str(self.process.pid), name) for name in ("net", "fd"))
        tables = [(net / name).read_text().splitlines()[1:] for name in ("udp", "udp6", "tcp", "tcp6")]
        inodes = {line.split()[9] for table in tables for line in table}
        return sum(str(each.readlink()) in {f"socket:[{inode}]" for inode in inodes} for each in fd.iterdir())

    async def ended(self) -> int:
        """Its exit status, when it has ended."""
        async with asyncio.timeout(DEADLINE):
            return await self.process.wait()

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


class Desktop:
    """An async context manager: the uplink is up, the tunnel can be activated, the agent can be started."""

    def __init__(self, directory: Path, *, config: str | None = None, activatable: bool = False) -> None:
        """With `activatable` the session bus starts the agent for whoever calls it, as an installed one does."""
        self.directory = directory
        self.config_file = directory / "config" / "wgsd-nm" / "config.toml"
        self._config = config
        self._activatable = activatable
        self._stack = AsyncExitStack()
        self._programs = 0

    async def __aenter__(self) -> Self:
        try:
            await self._boot()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _boot(self) -> None:
        enter = self._stack.enter_context
        self.system_bus = enter(PrivateBus(system=True, names=(names.NM, names.POLKIT, names.LOGIN1, names.HELPER)))
        self.session_bus = enter(PrivateBus(services=self._services()))
        self.registry = enter(HeardRegistry())
        self.configure(self.config if self._config is None else self._config)
        neighbours, self.helper = (Bus(system=True, address=self.system_bus.address) for _ in range(2))
        self.network_manager = ScriptedNetworkManager(
            neighbours, wireguard_profile(len(PEERS), str(REGISTRY_AT), search=ZONE)
        )
        self.polkit, self.logind = Polkit(neighbours), ScriptedLogind(neighbours)
        self.device = WireGuardDevice()
        service = Service(self.device, Authorization(self.helper, frozenset), self.helper.drain)
        self.helper.export(names.HELPER_PATH, service.interface())
        self.client = Client(self.session_bus.address)
        self._system_side = (neighbours, self.helper)
        for bus in (*self._system_side, self.client.bus):
            self._stack.push_async_callback(bus.close)
        for bus in self._system_side:
            await bus.connect()
        await self.client.connect()
        for bus, name in ((neighbours, names.POLKIT), (self.helper, names.HELPER)):
            await bus.request_name(name)
        await self.network_manager.appear(up=False)
        await self.network_manager.uplink("192.168.1.10/24", "192.168.1.1")

    @property
    def config(self) -> str:
        """A configuration of the tunnel."""
        return f'[tunnel.tunnel]\nzone = "{ZONE}"\nregistry = "{self.registry.server}"\n'

    def configure(self, text: str) -> None:
        """Write the user's configuration file; there is none for "". The agent is not told."""
        self.config_file.parent.mkdir(parents=True, exist_ok=True)
        self.config_file.unlink(missing_ok=True)
        if text:
            self.config_file.write_text(text)

    async def activate(self) -> None:
        """The tunnel comes up; its peers in the kernel are new."""
        self.device.make_peers()
        await self.network_manager.activate()

    async def answer(self) -> int:
        """All peers answer from now on; returns when they have shaken hands, in microseconds.

        A handshake is proof if it differs from what the agent has read since its last write: so a refresh comes first.
        """
        await self.client.call("Refresh")
        shaken = time.time_ns() // 1000
        self.device.shake_hands(shaken)
        return shaken

    async def start_agent(self) -> Program:
        """The agent, when it is there for clients."""
        agent = await self.run("wgsd_nm.agent", "--debug")
        named, ended = asyncio.ensure_future(self.client.attend()), asyncio.ensure_future(agent.ended())
        await asyncio.wait((named, ended), return_when=asyncio.FIRST_COMPLETED)
        assert named.done(), agent.text()
        ended.cancel()
        return agent

    async def run(self, module: str, *arguments: str) -> Program:
        """A module of ours as a program of this desktop, in which every warning is an error."""
        self._programs += 1
        log = self.directory / f"{module}.{self._programs}.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", "-m", module, *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=ROOT,
                env=self._environment(),
            )
        program = Program(process, log)
        self._stack.push_async_callback(program.kill)
        return program

    async def restart_system_bus(self) -> None:
        """The bus is killed and starts again; NetworkManager, polkit and the helper come back as they were."""
        self.system_bus.stop()
        for bus in self._system_side:
            await bus.lost()
        self.system_bus.start()
        for bus in self._system_side:
            await bus.connect()

    def _services(self) -> dict[str, list[str]]:
        """What the session bus starts; it passes its own environment on, and its address."""
        if not self._activatable:
            return {}
        ours = {**self.system_bus.environment, **self._homes, "PYTHONPATH": str(ROOT)}
        setting = [f"{name}={value}" for name, value in ours.items()]
        return {
            names.AGENT: ["/usr/bin/env", "--unset=XDG_SESSION_ID", *setting, sys.executable, "-m", "wgsd_nm.agent"]
        }

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "XDG_SESSION_ID"}
        return {**kept, **self.system_bus.environment, **self.session_bus.environment, **self._homes}

    @property
    def _homes(self) -> dict[str, str]:
        return {f"XDG_{name.upper()}_HOME": str(self.directory / name) for name in ("config", "state")}


def peers_of(properties: dict[str, Any], numbers: Iterable[int] = PEERS) -> list[dict[str, Any]]:
    """The entries of those peers among the agent's properties."""
    entries = {PublicKey.parse(peer["PublicKey"]): peer for peer in properties["Peers"]}
    return [entries[peer_key(number)] for number in numbers if peer_key(number) in entries]
