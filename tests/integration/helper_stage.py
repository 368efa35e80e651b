# SPDX-License-Identifier: GPL-2.0-or-later
"""The helper's stage: a private system bus with the helper's own policy, and polkit and NetworkManager to a script.

Both say yes, no or maybe, hang, die in the middle of a question, or are not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.integration import helper_process
from tests.integration.buses import PrivateBus
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus, Caller, Interface, Method, Property, Signal
from wgsd_nm.bus.wire import Variant
from wgsd_nm.core.errors import CallFailed

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "data" / "dbus" / "system.d" / f"{names.HELPER}.conf"
PROGRAM = [sys.executable, "-m", helper_process.__name__]
SOON = 10.0
"""Seconds within which whatever has to happen has happened, on a busy machine too."""

YES = (True, False)
NO = (False, False)
CHALLENGE = (False, True)


@dataclass(frozen=True, slots=True)
class Question:
    """The arguments of one CheckAuthorization."""

    kind: str
    caller: str
    action: str
    details: dict[str, str]
    flags: int
    cancellation_id: str


class Polkit:
    """org.freedesktop.PolicyKit1, as far as the helper asks it. `answer` is (authorised, challenge)."""

    def __init__(self) -> None:
        self.answer: tuple[bool, bool] | None = YES
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.questions: list[Question] = []
        self._more = asyncio.Condition()
        self.withdrawn: asyncio.Queue[str] = asyncio.Queue()

    def interface(self) -> Interface:
        return Interface(
            names.POLKIT_AUTHORITY,
            methods={
                "CheckAuthorization": Method(
                    self.check,
                    arguments=(
                        ("subject", "(sa{sv})"),
                        ("action_id", "s"),
                        ("details", "a{ss}"),
                        ("flags", "u"),
                        ("cancellation_id", "s"),
                    ),
                    results=(("result", "(bba{ss})"),),
                ),
                "CancelCheckAuthorization": Method(self.cancel, arguments=(("cancellation_id", "s"),)),
            },
        )

    async def check(
        self, _: Caller, subject: list[Any], action: str, details: dict[str, str], flags: int, cancellation_id: str
    ) -> Sequence[object]:
        async with self._more:
            self.questions.append(Question(subject[0], subject[1]["name"], action, details, flags, cancellation_id))
            self._more.notify_all()
        await self.go_on.wait()
        if self.answer is None:
            raise CallFailed("org.freedesktop.PolicyKit1.Error.Failed", "Action is not registered")
        return [[*self.answer, {}]]

    async def asked(self, times: int = 1) -> None:
        """Returns when it has been asked so often."""
        async with self._more:
            await self._more.wait_for(lambda: len(self.questions) >= times)

    async def cancel(self, _: Caller, question: str) -> Sequence[object]:
        self.withdrawn.put_nowait(question)
        return []


class NetworkManager:
    """org.freedesktop.NetworkManager with one device, wg0, and one profile."""

    DEVICE = names.NM_PATH + "/Devices/7"
    ACTIVE = names.NM_PATH + "/ActiveConnection/3"
    PROFILE = names.NM_PATH + "/Settings/5"

    def __init__(self) -> None:
        self._permissions: list[str] = []
        self._bus: Bus | None = None
        self.go_on = asyncio.Event()
        self.asked = asyncio.Event()
        self.reset()

    def reset(self) -> None:
        """The connection is active, and NetworkManager answers."""
        self.device_path = self.DEVICE
        self.device_type = 29
        self.active = self.ACTIVE
        self.state = 2
        self.flags = 0x1C
        self.go_on.set()

    @property
    def permissions(self) -> list[str]:
        return self._permissions

    @permissions.setter
    def permissions(self, users: list[str]) -> None:
        """As when the profile is modified."""
        self._permissions = users
        if self._bus is not None:
            self._bus.emit(self.PROFILE, names.NM_PROFILE, "Updated")

    def export(self, bus: Bus) -> None:
        self._bus = bus
        bus.export(
            names.NM_PATH,
            Interface(
                names.NM,
                methods={
                    "GetDeviceByIpIface": Method(self.device, arguments=(("iface", "s"),), results=(("device", "o"),))
                },
            ),
        )
        bus.export(
            self.DEVICE,
            Interface(
                names.NM_DEVICE,
                properties={
                    "DeviceType": Property("u", lambda: self.device_type),
                    "ActiveConnection": Property("o", lambda: self.active),
                },
            ),
        )
        bus.export(
            self.ACTIVE,
            Interface(
                names.NM_ACTIVE,
                properties={
                    "State": Property("u", lambda: self.state),
                    "StateFlags": Property("u", lambda: self.flags),
                    "Connection": Property("o", lambda: self.PROFILE),
                },
            ),
        )
        bus.export(
            self.PROFILE,
            Interface(
                names.NM_PROFILE,
                methods={"GetSettings": Method(self.settings, results=(("settings", "a{sa{sv}}"),))},
                signals={"Updated": Signal()},
            ),
        )

    async def device(self, _: Caller, interface: str) -> Sequence[object]:
        self.asked.set()
        await self.go_on.wait()
        if interface != "wg0":
            raise CallFailed(names.NM + ".UnknownDevice", "No device found for the requested iface.")
        return [self.device_path]

    async def settings(self, _: Caller) -> Sequence[object]:
        connection = {"id": Variant("s", "home"), "permissions": Variant("as", self.permissions)}
        if not self.permissions:
            del connection["permissions"]  # as NetworkManager does
        return [{"connection": connection, "wireguard": {"listen-port": Variant("u", 51820)}}]


class Stage:
    """The neighbours, each on a connection of its own, and a caller."""

    def __init__(self, address: str) -> None:
        self.polkit = Polkit()
        self.nm = NetworkManager()
        self.polkit_bus, self.nm_bus, self.caller = (Bus(system=True, address=address) for _ in range(3))
        self.polkit_bus.export(names.POLKIT_PATH, self.polkit.interface())
        self.nm.export(self.nm_bus)

    async def call(self, member: str, signature: str, *arguments: object, interactive: bool = False) -> Any:
        (result,) = await self.caller.call(
            names.HELPER,
            names.HELPER_PATH,
            names.HELPER,
            member,
            signature,
            *arguments,
            interactive=interactive,
            timeout=SOON,
        )
        return result

    async def peers(self, interface: str = "wg0", *, interactive: bool = False) -> Any:
        return await self.call("GetPeers", "s", interface, interactive=interactive)

    async def set(self, *changes: tuple[object, str, str], interface: str = "wg0") -> Any:
        return await self.call(
            "SetEndpoints", "sa(sss)", interface, [[str(key), expected, wanted] for key, expected, wanted in changes]
        )

    async def until_owned(self, owned: bool = True) -> None:
        """Returns when somebody owns the helper's name, or nobody."""
        reached = asyncio.Event()

        def changed(owner: str) -> None:
            if bool(owner) is owned:
                reached.set()

        await self.caller.watch_owner(names.HELPER, changed)
        await reached.wait()


@contextlib.asynccontextmanager
async def neighbours(address: str) -> AsyncIterator[Stage]:
    stage = Stage(address)
    try:
        for bus in (stage.polkit_bus, stage.nm_bus, stage.caller):
            await bus.connect()
        await stage.polkit_bus.request_name(names.POLKIT)
        await stage.nm_bus.request_name(names.NM)
        yield stage
    finally:
        for bus in (stage.polkit_bus, stage.nm_bus, stage.caller):
            await bus.close()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(3 * SOON):
            await scenario

    asyncio.run(limited())


def system_bus_for_helper(started_by: Sequence[str] | None = None) -> PrivateBus:
    """The policy is the system bus's with the helper's own file; its two neighbours may be played by anybody."""
    return PrivateBus(
        system=True,
        names=[names.POLKIT, names.NM],
        includes=[CONF],
        services={names.HELPER: started_by} if started_by else None,
    )


class Process:
    """A helper process."""

    def __init__(self, bus: PrivateBus, directory: Path, *options: str) -> None:
        self._log = directory / "helper.log"
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(
                [*PROGRAM, *options], stderr=out, cwd=ROOT, env=os.environ | bus.environment
            )

    def text(self) -> str:
        """What it has written."""
        return self._log.read_text()

    def alive(self) -> bool:
        return self._process.poll() is None

    def resident(self) -> int:
        """Its memory in kB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))

    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Returns its status when it has ended."""
        descriptor = os.pidfd_open(self._process.pid)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
        return self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.alive():
            self._process.kill()
        self._process.wait()


async def until_named(bus: PrivateBus, process: Process) -> None:
    """Returns when the process has its name on the bus."""
    async with neighbours(bus.address) as stage:
        named, ended = asyncio.ensure_future(stage.until_owned()), asyncio.ensure_future(process.ended())
        await asyncio.wait((named, ended), return_when=asyncio.FIRST_COMPLETED, timeout=SOON)
        assert named.done(), process.text()
        ended.cancel()


class Toml:
    """root's helper.toml"""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.restore()

    def say(self, text: str, mode: int = 0o644) -> None:
        self.path.write_text(text)
        self.path.chmod(mode)

    def restore(self) -> None:
        self.say('interfaces = ["wg1"]')
