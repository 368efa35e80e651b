# SPDX-License-Identifier: GPL-2.0-or-later
"""The helper as a process on a private system bus, with its own bus policy; polkit and NetworkManager play their parts.

What these may say and do is in helper_stage.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.buses import PrivateBus
from tests.integration.helper_process import ALICE, BOB, BRIEF, CAROL
from tests.integration.helper_stage import (
    CHALLENGE,
    NO,
    PROGRAM,
    ROOT,
    SOON,
    YES,
    Process,
    Question,
    Stage,
    Toml,
    neighbours,
    run,
    system_bus_for_helper,
    until_named,
)
from wgsd_nm import __version__
from wgsd_nm.bus import names
from wgsd_nm.bus.backend import MAX_UNSENT
from wgsd_nm.bus.connection import Bus, Caller
from wgsd_nm.bus.marshal import marshal
from wgsd_nm.bus.wire import peer_to_wire
from wgsd_nm.core.errors import AccessDenied, InvalidArguments, WgsdError
from wgsd_nm.core.model import Peer
from wgsd_nm.helper.admission import MAX_CALLS_OF_A_USER


@dataclass(frozen=True, slots=True)
class Served:
    """A helper that the tests share: it remembers nothing but its devices."""

    bus: PrivateBus
    process: Process
    toml: Toml

    def stage(self) -> contextlib.AbstractAsyncContextManager[Stage]:
        return neighbours(self.bus.address)


@contextlib.contextmanager
def serving(directory: Path, *options: str) -> Iterator[Served]:
    toml = Toml(directory / "helper.toml")
    with system_bus_for_helper() as bus, Process(bus, directory, f"--toml={toml.path}", *options) as process:
        asyncio.run(until_named(bus, process))
        yield Served(bus, process, toml)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("helper")) as served:
        yield served


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Served]:
    """A helper that waits half a second for polkit and NetworkManager."""
    with serving(tmp_path, "--answer-within=0.5", "--person-answers-within=0.5") as served:
        yield served


@pytest.fixture
def served(shared: Served) -> Iterator[Served]:
    yield shared
    shared.toml.restore()


TO_HELPER = (names.HELPER, names.HELPER_PATH, names.HELPER)
MANY_PEERS = 4000
IDLE = 1.0
"""Seconds after which a helper leaves: long enough to be called before."""
LIVES = 6
"""Helpers that come and go in a row."""


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
def test_polkit_hangs(hasty: Served, interactive: bool) -> None:
    async def scenario() -> None:
        async with hasty.stage() as stage:
            stage.polkit.go_on.clear()
            started = time.monotonic()
            name, text = await refused(stage.peers("wg1", interactive=interactive))
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


def test_networkmanager_hangs_dies_and_is_absent(hasty: Served) -> None:
    async def scenario() -> None:
        async with hasty.stage() as stage:
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
            call = (*TO_HELPER, "GetPeers", "s", "wg1")
            flood = [asyncio.ensure_future(buses[number % 2].call(*call)) for number in range(MAX_CALLS_OF_A_USER)]
            await stage.polkit.asked(MAX_CALLS_OF_A_USER)
            name, text = await refused(stage.peers("wg1"))
            assert name == names.ERROR_LIMITS_EXCEEDED
            assert text == "32 calls of this user are at work already: try again later"
            stage.polkit.go_on.set()
            assert len(await asyncio.gather(*flood)) == MAX_CALLS_OF_A_USER
            assert await stage.peers("wg1")

    run(scenario())


@pytest.mark.parametrize("interactive", [False, True])
def test_the_answer_to_a_caller_that_has_gone_is_dropped(served: Served, interactive: bool) -> None:
    """polkit, or the person whom it asks, thinks while the caller leaves; a question to a person is withdrawn."""

    async def scenario() -> None:
        async with served.stage() as stage:
            before = len(served.process.text())
            stage.polkit.go_on.clear()
            leaver = Bus(system=True, address=served.bus.address)
            await leaver.connect()
            call = (*TO_HELPER, "GetPeers", "s", "wg1")
            lost = asyncio.ensure_future(refused(leaver.call(*call, interactive=interactive)))
            await stage.polkit.asked()
            caller = f"user {os.getuid()} ({stage.polkit.questions[0].caller})"
            await leaver.close()
            await lost
            if interactive:
                assert await stage.polkit.withdrawn.get() == stage.polkit.questions[0].cancellation_id
            stage.polkit.go_on.set()
            assert await stage.peers()
            assert served.process.text()[before:].splitlines() == (
                [f"WARNING: refused get_peers to {caller}: nothing is permitted to a caller that has left the bus"]
                if interactive
                else []
            )

    run(scenario())


def test_two_agents_do_not_fight(served: Served) -> None:
    """Both have seen the same endpoint and want another: one is served, and the other is told to look again."""

    async def scenario() -> None:
        async with served.stage() as stage:
            other = Bus(system=True, address=served.bus.address)
            await other.connect()

            async def move(bus: Bus, expected: str, wanted: str) -> str:
                changes = [[str(ALICE), expected, wanted]]
                (results,) = await bus.call(*TO_HELPER, "SetEndpoints", "sa(sss)", "wg0", changes)
                return str(results[str(ALICE)])

            for turn in range(1, 4):
                seen = (await stage.peers())[0]["Endpoint"]
                wishes = {stage.caller: f"198.51.100.1:{turn}", other: f"198.51.100.2:{turn}"}
                outcomes = await asyncio.gather(
                    *(move(bus, seen, wish) for _ in range(3) for bus, wish in wishes.items())
                )
                assert sorted(outcomes) == ["changed"] + ["stale"] * 5
                assert (await stage.peers())[0]["Endpoint"] in wishes.values()
            seen = (await stage.peers())[0]["Endpoint"]
            assert await stage.set((ALICE, seen, "192.0.2.1:51820")) == {str(ALICE): "changed"}
            await other.close()

    run(scenario())


def test_an_interface_vanishes_in_the_middle_of_a_call(served: Served) -> None:
    """NetworkManager has just named the device, and the kernel has it no more; or NetworkManager's object is gone."""

    async def scenario() -> None:
        async with served.stage() as stage:
            stage.nm.go_on.clear()
            call = asyncio.ensure_future(refused(stage.peers()))
            await stage.nm.asked.wait()
            stage.nm.device_path = names.NM_PATH + "/Devices/99"
            stage.nm.go_on.set()
            name, text = await call
            assert name == names.ERROR_ACCESS_DENIED
            assert text == "nothing is permitted on wg0 while NetworkManager gives no answer"
            served.toml.say(f'interfaces = ["{BRIEF}"]')
            assert await stage.peers(BRIEF)
            name, text = await refused(stage.set((ALICE, "", ""), interface=BRIEF))
            assert name == "io.github.wgsd_nm.Error.NoSuchDevice"

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
            caller = f"user {os.getuid()} ({stage.polkit.questions[0].caller})"
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
            await asyncio.wait((call, gone), timeout=3 * IDLE, return_when=asyncio.FIRST_COMPLETED)
            assert not call.done()
            assert not gone.done()
            stage.polkit.go_on.set()
            assert await call
            await gone
            assert await process.ended() == 0

    with system_bus_for_helper() as bus, Process(bus, tmp_path, f"--idle-after={IDLE}") as process:
        run(scenario(bus, process))


def test_answers_of_many_megabytes_at_once(tmp_path: Path) -> None:
    """All together they are more than may wait to be sent, and the connection would be given up."""

    async def scenario(bus: PrivateBus, process: Process) -> None:
        async with neighbours(bus.address) as stage:
            await stage.until_owned()
            call = (*TO_HELPER, "GetPeers", "s", "wg0")
            answers = await asyncio.gather(*(stage.caller.call(*call) for _ in range(MAX_CALLS_OF_A_USER)))
            assert {len(peers) for (peers,) in answers} == {MANY_PEERS + 2}
            assert len(answers) * len(marshal("aa{sv}", [[peer_to_wire(Peer(ALICE))] * MANY_PEERS])) > MAX_UNSENT
            assert process.alive()

    with system_bus_for_helper() as bus, Process(bus, tmp_path, f"--more-peers={MANY_PEERS}") as process:
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


def test_no_call_is_lost_that_comes_at_the_very_moment_of_leaving() -> None:
    """The helper leaves whenever no call is at work, and the caller calls again as soon as it has its answer."""

    async def scenario(bus: PrivateBus) -> None:
        async with neighbours(bus.address) as stage:
            owners: set[str] = set()
            await stage.caller.watch_owner(names.HELPER, owners.add)
            calls = 0
            while len(owners - {""}) < LIVES:
                assert await stage.peers()
                calls += 1
            assert calls >= LIVES

    with system_bus_for_helper(["/usr/bin/env", f"PYTHONPATH={ROOT}", *PROGRAM, "--idle-after=0"]) as bus:
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
