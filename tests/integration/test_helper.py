# SPDX-License-Identifier: GPL-2.0-or-later
"""The helper as a process on a private system bus, with its own bus policy; polkit and NetworkManager play their parts.

Both are scripted: they say yes, no or maybe, hang, die in the middle of a question, or are not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from tests.integration import helper_process
from tests.integration.buses import PrivateBus
from tests.integration.helper_process import ALICE, BOB, CAROL
from wgsd_nm import __version__
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus, Caller, Interface, Method, Property, Signal
from wgsd_nm.bus.wire import Variant
from wgsd_nm.core.errors import AccessDenied, CallFailed, InvalidArguments, WgsdError
from wgsd_nm.helper.admission import MAX_CALLS_OF_A_USER

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
        self.device_type = 29
        self.active = self.ACTIVE
        self.state = 2
        self.flags = 0x1C
        self._permissions: list[str] = []
        self._bus: Bus | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.asked = asyncio.Event()

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
        return [self.DEVICE]

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


@dataclass(frozen=True, slots=True)
class Served:
    """A helper that the tests share: it remembers nothing but its devices."""

    bus: PrivateBus
    process: Process
    toml: Toml

    def stage(self) -> contextlib.AbstractAsyncContextManager[Stage]:
        return neighbours(self.bus.address)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("helper")
    toml = Toml(directory / "helper.toml")
    options = (f"--toml={toml.path}", "--answer-within=0.5", "--person-answers-within=0.5")
    with system_bus_for_helper() as bus, Process(bus, directory, *options) as process:
        asyncio.run(until_named(bus, process))
        yield Served(bus, process, toml)


@pytest.fixture
def served(shared: Served) -> Iterator[Served]:
    yield shared
    shared.toml.restore()


async def refused(call: Coroutine[Any, Any, Any]) -> tuple[str, str]:
    """The error's D-Bus name and text."""
    with pytest.raises(WgsdError) as raised:
        await call
    return names.error_name(raised.value), str(raised.value)


def test_get_peers_tells_all_that_is_promised(served: Served) -> None:
    async def scenario() -> None:
        async with served.stage() as stage:
            alice, bob = await stage.peers("wg1")
            assert alice == {
                "PublicKey": str(ALICE),
                "Endpoint": "192.0.2.1:51820",
                "LatestHandshake": 1_700_000_000_000_001,
                "RxBytes": 1 << 40,
                "TxBytes": 2,
                "PersistentKeepalive": 25,
                "AllowedIPs": ["10.0.0.2/32", "2001:db8:1::/64"],
            }
            assert (bob["Endpoint"], bob["LatestHandshake"], bob["AllowedIPs"]) == ("", 0, [])

    run(scenario())


def test_set_endpoints_compares_and_sets(served: Served) -> None:
    async def scenario() -> None:
        async with served.stage() as stage:
            assert await stage.set(
                (ALICE, "192.0.2.1:51820", "198.51.100.7:4"), (BOB, "192.0.2.1:1", "192.0.2.2:2"), (CAROL, "", "")
            ) == {str(ALICE): "changed", str(BOB): "stale", str(CAROL): "unknown-peer"}
            assert await stage.set((ALICE, "198.51.100.7:4", ""), (BOB, "", "")) == {
                str(ALICE): "poked",
                str(BOB): "no-endpoint",
            }
            assert [peer["Endpoint"] for peer in await stage.peers()] == ["198.51.100.7:4", ""]
            assert await stage.set((ALICE, "198.51.100.7:4", "192.0.2.1:51820")) == {str(ALICE): "changed"}
            assert await stage.set() == {}

    run(scenario())


def test_one_malformed_entry_refuses_the_call_before_anybody_is_asked(served: Served) -> None:
    async def scenario() -> None:
        async with served.stage() as stage:
            name, text = await refused(
                stage.set((ALICE, "192.0.2.1:51820", "198.51.100.7:4"), (BOB, "", "127.0.0.1:53"))
            )
            assert name == names.ERROR_INVALID_ARGS
            assert text.startswith("change 2 of 2: 127.0.0.1:53 ")
            assert (await refused(stage.peers("../wg0")))[0] == names.ERROR_INVALID_ARGS
            with pytest.raises(InvalidArguments):
                await stage.call("GetPeers", "u", 7)
            assert not stage.polkit.questions
            assert (await stage.peers())[0]["Endpoint"] == "192.0.2.1:51820"

    run(scenario())


def test_polkit_is_asked_about_the_caller_the_action_and_the_interface(served: Served) -> None:
    async def scenario() -> None:
        async with served.stage() as stage:
            await stage.peers()
            await stage.set((ALICE, "", ""))
            await stage.peers("wg1", interactive=True)
            caller = stage.polkit.questions[0].caller
            assert await stage.caller.uid_of(Caller(caller, False)) == os.getuid()
            cancellation_id = stage.polkit.questions[2].cancellation_id
            assert cancellation_id
            assert stage.polkit.questions == [
                Question("system-bus-name", caller, names.ACTION_READ_PEERS, {"interface": "wg0"}, 0, ""),
                Question("system-bus-name", caller, names.ACTION_SET_ENDPOINTS, {"interface": "wg0"}, 0, ""),
                Question("system-bus-name", caller, names.ACTION_READ_PEERS, {"interface": "wg1"}, 1, cancellation_id),
            ]

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "interactive", "error"),
    [
        (NO, False, names.ERROR_ACCESS_DENIED),
        (NO, True, names.ERROR_ACCESS_DENIED),
        (CHALLENGE, False, names.ERROR_INTERACTION_REQUIRED),
        (CHALLENGE, True, names.ERROR_ACCESS_DENIED),
        (None, False, names.ERROR_ACCESS_DENIED),
    ],
    ids=["no", "no-interactive", "challenge", "challenge-interactive", "error"],
)
@pytest.mark.parametrize("interface", ["wg0", "wg1"])
def test_polkit_says_no(
    served: Served,
    answer: tuple[bool, bool] | None,
    interactive: bool,
    error: str,
    interface: str,
) -> None:
    async def scenario() -> None:
        async with served.stage() as stage:
            stage.polkit.answer = answer
            assert (await refused(stage.peers(interface, interactive=interactive)))[0] == error
            stage.polkit.answer = YES
            assert await stage.peers(interface)

    run(scenario())


@pytest.mark.parametrize("interactive", [False, True])
def test_polkit_hangs(served: Served, interactive: bool) -> None:
    async def scenario() -> None:
        async with served.stage() as stage:
            stage.polkit.go_on.clear()
            started = time.monotonic()
            name, text = await refused(stage.peers(interactive=interactive))
            assert name == names.ERROR_ACCESS_DENIED
            assert "polkit gives no answer" in text
            assert 0.5 <= time.monotonic() - started < SOON
            if interactive:
                assert await stage.polkit.withdrawn.get() == stage.polkit.questions[0].cancellation_id

    run(scenario())


def test_polkit_dies_in_the_middle_of_a_question(served: Served) -> None:
    async def scenario() -> None:
        async with served.stage() as stage:
            stage.polkit.go_on.clear()
            call = asyncio.ensure_future(refused(stage.peers()))
            await stage.polkit.asked()
            await stage.polkit_bus.close()
            assert (await call)[0] == names.ERROR_ACCESS_DENIED

    run(scenario())


def test_polkit_is_absent(served: Served) -> None:
    async def scenario() -> None:
        async with served.stage() as stage:
            await stage.polkit_bus.release_name(names.POLKIT)
            for interface in ("wg0", "wg1"):
                assert (await refused(stage.peers(interface)))[0] == names.ERROR_ACCESS_DENIED

    run(scenario())


def test_no_question_to_a_person_about_an_interface_that_is_out_of_bounds(served: Served) -> None:
    async def scenario() -> None:
        async with served.stage() as stage:
            stage.nm.state = 1
            await refused(stage.peers(interactive=True))
            assert not stage.polkit.questions

    run(scenario())


@pytest.mark.parametrize(
    "script", [{"state": 4}, {"flags": 0x80 | 0x1C}, {"active": "/"}], ids=["down", "external", "none"]
)
def test_an_interface_that_is_out_of_bounds_when_the_person_has_answered(
    served: Served, script: dict[str, Any]
) -> None:
    async def scenario() -> None:
        async with served.stage() as stage:
            stage.polkit.go_on.clear()
            call = asyncio.ensure_future(refused(stage.peers(interactive=True)))
            await stage.polkit.asked()
            for name, value in script.items():
                setattr(stage.nm, name, value)
            stage.polkit.go_on.set()
            assert (await call)[0] == names.ERROR_ACCESS_DENIED

    run(scenario())


def test_networkmanager_does_not_know_the_interface(served: Served) -> None:
    async def scenario() -> None:
        async with served.stage() as stage:
            name, text = await refused(stage.peers("wg9"))
            assert name == "io.github.wgsd_nm.Error.NoSuchDevice"
            assert "wg9" in text

    run(scenario())


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ({"device_type": 1}, "io.github.wgsd_nm.Error.NotWireGuard"),
        ({"active": "/"}, names.ERROR_ACCESS_DENIED),
        ({"state": 1}, names.ERROR_ACCESS_DENIED),
        ({"state": 3}, names.ERROR_ACCESS_DENIED),
        ({"flags": 0x80 | 0x1C}, names.ERROR_ACCESS_DENIED),
        ({"active": names.NM_PATH + "/ActiveConnection/99"}, names.ERROR_ACCESS_DENIED),
    ],
    ids=["ethernet", "inactive", "activating", "deactivating", "external", "gone"],
)
def test_networkmanager_runs_no_wireguard_connection_there_for_the_caller(
    served: Served, script: dict[str, Any], error: str
) -> None:
    async def scenario() -> None:
        async with served.stage() as stage:
            for name, value in script.items():
                setattr(stage.nm, name, value)
            assert (await refused(stage.peers()))[0] == error
            assert (await refused(stage.set((ALICE, "", ""))))[0] == error

    run(scenario())


def test_networkmanager_hangs_dies_and_is_absent(served: Served) -> None:
    async def scenario() -> None:
        async with served.stage() as stage:
            stage.nm.go_on.clear()
            name, text = await refused(stage.peers())
            assert name == names.ERROR_ACCESS_DENIED
            assert "NetworkManager gives no answer" in text
            stage.nm.asked.clear()
            call = asyncio.ensure_future(refused(stage.peers()))
            await stage.nm.asked.wait()
            await stage.nm_bus.close()
            assert (await call)[0] == names.ERROR_ACCESS_DENIED
            assert (await refused(stage.peers()))[0] == names.ERROR_ACCESS_DENIED
            assert await stage.peers("wg1"), "what root has named needs no NetworkManager"

    run(scenario())


def test_root_may_change_its_file_while_the_helper_runs(served: Served) -> None:
    no_such_device = "io.github.wgsd_nm.Error.NoSuchDevice"

    async def scenario() -> None:
        async with served.stage() as stage:
            served.toml.say("interfaces = []")
            assert (await refused(stage.peers("wg1")))[0] == no_such_device
            served.toml.restore()
            assert await stage.peers("wg1")
            served.toml.say('interfaces = ["wg1"]', 0o666)
            for _ in range(3):
                assert (await refused(stage.peers("wg1")))[0] == no_such_device
            assert await stage.peers("wg0"), "a wrong file does not touch what NetworkManager permits"
            assert served.process.text().count(f"ERROR: {served.toml.path} is ignored") == 1

    run(scenario())


def test_the_kernels_refusal_is_told(served: Served) -> None:
    async def scenario() -> None:
        async with served.stage() as stage:
            served.toml.say('interfaces = ["eth0", "gone0"]')
            name, _ = await refused(stage.peers("eth0"))
            assert name == "io.github.wgsd_nm.Error.NotWireGuard"
            name, _ = await refused(stage.set((ALICE, "", ""), interface="gone0"))
            assert name == "io.github.wgsd_nm.Error.NoSuchDevice"

    run(scenario())


def test_one_users_calls_are_limited_by_however_many_connections(served: Served) -> None:
    """polkit takes its time, and both callers are of one user."""

    async def scenario() -> None:
        async with served.stage() as stage:
            stage.polkit.go_on.clear()
            buses = (stage.caller, stage.nm_bus)
            call = (names.HELPER, names.HELPER_PATH, names.HELPER, "GetPeers", "s", "wg1")
            flood = [asyncio.ensure_future(buses[number % 2].call(*call)) for number in range(MAX_CALLS_OF_A_USER)]
            await stage.polkit.asked(MAX_CALLS_OF_A_USER)
            name, text = await refused(stage.peers("wg1"))
            assert name == names.ERROR_LIMITS_EXCEEDED
            assert text == "32 calls of this user are at work already: try again later"
            stage.polkit.go_on.set()
            assert len(await asyncio.gather(*flood)) == MAX_CALLS_OF_A_USER
            assert await stage.peers("wg1")

    run(scenario())


def test_the_version_is_told() -> None:
    command = [sys.executable, "-m", "wgsd_nm.helper", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout == f"{__version__}\n"


def test_the_log_says_who_changed_what_and_repeats_no_refusal(served: Served) -> None:
    async def scenario() -> None:
        async with served.stage() as stage:
            before = len(served.process.text())
            await stage.set((ALICE, "192.0.2.1:51820", "192.0.2.1:51821"), (BOB, "192.0.2.1:1", ""))
            await stage.set((ALICE, "192.0.2.1:51821", "192.0.2.1:51820"))
            stage.polkit.answer = NO
            for _ in range(3):
                await refused(stage.peers())
            caller = stage.polkit.questions[0].caller
            assert served.process.text()[before:].splitlines() == [
                f"INFO: wg0 for {caller}: 1 changed, 1 stale",
                f"INFO: wg0 peer {str(ALICE)[:8]}: 192.0.2.1:51820 -> 192.0.2.1:51821",
                f"INFO: wg0 for {caller}: 1 changed",
                f"INFO: wg0 peer {str(ALICE)[:8]}: 192.0.2.1:51821 -> 192.0.2.1:51820",
                f"WARNING: refused get_peers to {caller}: polkit does not permit {names.ACTION_READ_PEERS} on wg0 "
                "to this user in this session",
            ]

    run(scenario())


def test_the_permissions_of_the_connection_count(served: Served) -> None:
    """Another user than root calls, with a real process of his."""
    served.bus.directory.chmod(0o711)

    async def ask() -> tuple[int, bytes]:
        process = await asyncio.create_subprocess_exec(
            *("dbus-send", f"--bus={served.bus.address}", "--print-reply", f"--dest={names.HELPER}"),
            *(names.HELPER_PATH, f"{names.HELPER}.GetPeers", "string:wg0"),
            user="nobody",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        _, text = await process.communicate()
        assert process.returncode is not None
        return process.returncode, text

    async def scenario() -> None:
        async with served.stage() as stage:
            assert await ask() == (0, b"")
            for permissions in (["user:daemon:"], ["group:nogroup:"], ["user:root:", "user:nobodyx:"]):
                stage.nm.permissions = permissions
                code, text = await ask()
                assert code == 1
                assert text.decode().startswith(f"Error {names.ERROR_ACCESS_DENIED}: the permissions of")
                assert await stage.peers(), "root is admitted, as NetworkManager has it"
            stage.nm.permissions = ["user:daemon:", "user:nobody:"]
            assert await ask() == (0, b"")

    run(scenario())


def test_a_call_that_takes_long_keeps_the_helper(tmp_path: Path) -> None:
    async def scenario(bus: PrivateBus, process: Process) -> None:
        async with neighbours(bus.address) as stage:
            await stage.until_owned()
            stage.polkit.go_on.clear()
            call = asyncio.ensure_future(stage.peers())
            gone = asyncio.ensure_future(stage.until_owned(False))
            await asyncio.wait((call, gone), timeout=5 * 0.1, return_when=asyncio.FIRST_COMPLETED)
            assert not call.done()
            assert not gone.done()
            stage.polkit.go_on.set()
            assert await call
            await gone
            assert await process.ended() == 0

    with system_bus_for_helper() as bus, Process(bus, tmp_path, "--idle-after=0.1") as process:
        run(scenario(bus, process))


def test_on_sigterm_it_gives_its_name_back_and_answers_what_was_asked(tmp_path: Path) -> None:
    async def scenario(bus: PrivateBus, process: Process) -> None:
        async with neighbours(bus.address) as stage:
            await stage.until_owned()
            stage.polkit.go_on.clear()
            calls = [asyncio.ensure_future(stage.peers()) for _ in range(3)]
            for count in range(len(calls)):
                await stage.polkit.asked(count + 1)
            process.terminate()
            await stage.until_owned(False)
            process.terminate()  # systemd does so as soon as the name is free
            stage.polkit.go_on.set()
            assert all(await asyncio.gather(*calls))
            assert await process.ended() == 0

    with system_bus_for_helper() as bus, Process(bus, tmp_path) as process:
        run(scenario(bus, process))


def test_a_call_at_the_moment_of_leaving_is_served_by_the_next_helper() -> None:
    async def scenario(bus: PrivateBus) -> None:
        async with neighbours(bus.address) as stage:
            for _ in range(5):
                assert await stage.peers()
                await stage.until_owned(False)

    with system_bus_for_helper(["/usr/bin/env", f"PYTHONPATH={ROOT}", *PROGRAM, "--idle-after=0.05"]) as bus:
        run(scenario(bus))


def test_without_its_bus_it_ends_with_a_line(tmp_path: Path) -> None:
    with system_bus_for_helper() as bus, Process(bus, tmp_path) as process:
        asyncio.run(until_named(bus, process))
        bus.stop()
        assert asyncio.run(process.ended()) == 1
        assert process.text() == (
            "CRITICAL: the connection to the system bus is lost: the next call starts the helper again\n"
        )


def test_there_is_one_helper_at_a_time(tmp_path: Path) -> None:
    second_directory = tmp_path / "second"
    second_directory.mkdir()
    with system_bus_for_helper() as bus, Process(bus, tmp_path) as first:
        asyncio.run(until_named(bus, first))
        with Process(bus, second_directory) as second:
            assert asyncio.run(second.ended()) == 1
            assert names.HELPER in second.text()
            assert second.text().count("\n") == 1
        assert first.alive()


def test_the_bus_lets_nobody_call_what_the_helper_does_not_export(served: Served) -> None:
    async def scenario() -> None:
        async with served.stage() as stage:
            with pytest.raises(AccessDenied):
                await stage.caller.call(names.HELPER, names.HELPER_PATH, "org.example.Other", "Do")

    run(scenario())
