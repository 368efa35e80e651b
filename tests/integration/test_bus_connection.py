# SPDX-License-Identifier: GPL-2.0-or-later
"""The bus as agent and helper use it: a real dbus-daemon, and a fake one where the order of messages is the subject."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.buses import PrivateBus
from tests.integration.fake_bus import BUS, Client, error, fake_bus, owner_changed, reply, signal
from tests.integration.waiting import Recorder, run
from wgsd_nm.bus import connection, names, serving
from wgsd_nm.bus.backend import Link
from wgsd_nm.bus.connection import Bus, Caller, Interface, Method, Property, Signal
from wgsd_nm.bus.marshal import Variant
from wgsd_nm.bus.message import Flag, Kind, Message
from wgsd_nm.core.errors import (
    AccessDenied,
    BusError,
    BusLost,
    CallFailed,
    CallTimedOut,
    InvalidArguments,
    InvalidValue,
    ServiceUnavailable,
)

NAME = "org.example.Thing1"
PATH = "/org/example/Thing1"
HERE = (NAME, PATH, NAME)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "RETRY_FIRST", 0.005)
    monkeypatch.setattr(connection, "RETRY_LAST", 0.05)
    monkeypatch.setattr(connection, "HELD", 0.0)


class Thing:
    """A service with one of everything."""

    def __init__(self) -> None:
        self.level = 0
        self.callers: list[Caller] = []
        self.gate = asyncio.Event()
        self.waiting: Recorder[None] = Recorder()

    def interface(self) -> Interface:
        return Interface(
            NAME,
            methods={
                "Echo": Method(self.echo, (("text", "s"), ("values", "a{sv}")), (("text", "s"), ("count", "u"))),
                "Raise": Method(self.fail, (("name", "s"),)),
                "Lie": Method(self.lie, (), (("number", "u"),)),
                "Wait": Method(self.wait),
            },
            properties={"Level": Property("u", lambda: self.level), "Odd": Property("u", self.odd)},
            signals={"Moved": Signal((("where", "s"),))},
        )

    async def echo(self, caller: Caller, text: str, values: dict[str, Any]) -> Sequence[object]:
        self.callers.append(caller)
        return text + repr(values), len(values)

    async def fail(self, _caller: Caller, name: str) -> Sequence[object]:
        raise {"InvalidValue": InvalidValue, "KeyError": KeyError}[name](f"because of {name}")

    async def lie(self, _caller: Caller) -> Sequence[object]:
        return ("not a number",)

    async def wait(self, _caller: Caller) -> Sequence[object]:
        self.waiting(None)
        await self.gate.wait()
        return ()

    def odd(self) -> int:
        if self.level % 2:
            raise KeyError("secret")
        return self.level


@asynccontextmanager
async def connected(address: str, *, system: bool = False) -> AsyncIterator[Bus]:
    bus = Bus(system=system, address=address)
    await bus.connect()
    try:
        yield bus
    finally:
        await bus.close()


@asynccontextmanager
async def kept(bus: Bus) -> AsyncIterator[Recorder[bool]]:
    """A bus that keeps its connection."""
    states: Recorder[bool] = Recorder()
    task = asyncio.ensure_future(bus.keep(states))
    try:
        await states.count(1)
        yield states
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await bus.close()


@asynccontextmanager
async def served(address: str) -> AsyncIterator[tuple[Bus, Thing, Bus]]:
    """A service, its object, and a client."""
    thing = Thing()
    async with connected(address) as service, connected(address) as client:
        service.export(PATH, thing.interface())
        await service.request_name(NAME)
        yield service, thing, client


def on_bus(bus: PrivateBus, test: Callable[[Bus, Thing, Bus], Awaitable[None]]) -> None:
    async def main() -> None:
        async with served(bus.address) as (service, thing, client):
            await test(service, thing, client)

    run(main())


def pending(bus: Bus) -> int:
    return len(bus._pending)  # noqa: SLF001  # what may be left behind is not public


async def failure(call: Awaitable[object], kind: type[BusError]) -> BusError:
    with pytest.raises(kind) as caught:
        await call
    assert type(caught.value) is kind
    return caught.value


# Calls


def test_a_call_carries_values_caller_and_flags(session_bus: PrivateBus) -> None:
    async def test(service: Bus, thing: Thing, client: Bus) -> None:
        values = {"n": Variant("u", 5), "deep": Variant("a{sv}", {"x": Variant("(is)", (1, "y"))})}
        expected = ["t{'n': 5, 'deep': {'x': [1, 'y']}}", 2]
        assert await client.call(*HERE, "Echo", "sa{sv}", "t", values) == expected
        assert await client.call(*HERE, "Echo", "sa{sv}", "t", values, interactive=True) == expected
        assert [caller.interactive for caller in thing.callers] == [False, True]
        assert await service.uid_of(thing.callers[0]) == os.getuid()
        assert len({caller.name for caller in thing.callers}) == 1
        assert pending(client) == 0

    on_bus(session_bus, test)


def test_errors_of_ours_are_told_and_others_are_not(session_bus: PrivateBus, caplog: pytest.LogCaptureFixture) -> None:
    """dbus-next sends text, file names and lines of any exception to whoever called."""

    async def test(_service: Bus, _thing: Thing, client: Bus) -> None:
        told = await failure(client.call(*HERE, "Raise", "s", "InvalidValue"), InvalidArguments)
        assert str(told) == "because of InvalidValue"
        assert not caplog.records
        for member, arguments in (("Raise", ("s", "KeyError")), ("Lie", ())):
            caplog.clear()
            hidden = await failure(client.call(*HERE, member, *arguments), CallFailed)
            assert (str(hidden), getattr(hidden, "name", "")) == ("internal error", names.ERROR_FAILED)
            assert len(caplog.records) == 1

    on_bus(session_bus, test)


def test_wrong_arguments_never_reach_the_handler(session_bus: PrivateBus) -> None:
    async def test(_service: Bus, thing: Thing, client: Bus) -> None:
        told = await failure(client.call(*HERE, "Echo", "s", "t"), InvalidArguments)
        assert str(told) == "Echo takes (sa{sv}), not (s)"
        assert thing.callers == []

    on_bus(session_bus, test)


def test_arguments_that_cannot_be_sent(session_bus: PrivateBus) -> None:
    async def test(_service: Bus, _thing: Thing, client: Bus) -> None:
        with pytest.raises(InvalidValue):
            await client.call(*HERE, "Echo", "sa{sv}", "a\0b", {})
        assert pending(client) == 0
        assert await client.call(*HERE, "Echo", "sa{sv}", "t", {}) == ["t{}", 0]

    on_bus(session_bus, test)


def test_a_call_that_times_out_leaves_nothing_behind(session_bus: PrivateBus) -> None:
    async def test(_service: Bus, thing: Thing, client: Bus) -> None:
        late = await failure(client.call(*HERE, "Wait", timeout=0.01), CallTimedOut)
        assert str(late) == "org.example.Thing1 did not answer Wait within 0.01 s"
        assert pending(client) == 0
        thing.gate.set()
        assert await client.call(*HERE, "Echo", "sa{sv}", "after the late reply", {}) == ["after the late reply{}", 0]

    on_bus(session_bus, test)


def test_a_cancelled_call_leaves_nothing_behind(session_bus: PrivateBus) -> None:
    async def test(_service: Bus, thing: Thing, client: Bus) -> None:
        call = asyncio.ensure_future(client.call(*HERE, "Wait"))
        await thing.waiting.count(1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.sleep(0)
        assert pending(client) == 0

    on_bus(session_bus, test)


def test_the_loss_of_the_bus_fails_what_is_pending(session_bus: PrivateBus) -> None:
    async def test(_service: Bus, thing: Thing, client: Bus) -> None:
        call = asyncio.ensure_future(client.call(*HERE, "Wait"))
        await thing.waiting.count(1)
        session_bus.stop()
        await failure(call, BusLost)
        assert not client.connected
        await client.lost()
        await failure(client.call(*HERE, "Wait"), BusLost)
        assert pending(client) == 0

    on_bus(session_bus, test)


def test_no_call_without_a_connection() -> None:
    """dbus-next never returns."""
    bus = Bus(system=False, address="unix:path=/nonexistent")
    run(failure(bus.call(*HERE, "Wait"), BusLost))
    run(bus.close())


def test_a_service_that_is_not_there() -> None:
    async def main(address: str) -> None:
        async with connected(address) as bus:
            for autostart in (True, False):
                await failure(bus.call("org.example.None", PATH, NAME, "Do", autostart=autostart), ServiceUnavailable)
            await failure(bus.call("org.example.Broken", PATH, NAME, "Do"), ServiceUnavailable)
            not_started = await failure(
                bus.call("org.example.Broken", PATH, NAME, "Do", autostart=False), ServiceUnavailable
            )
            assert "exited" not in str(not_started)

    with PrivateBus(services={"org.example.Broken": ["/bin/false"]}) as bus:
        run(main(bus.address))


def test_a_caller_that_wants_no_reply_gets_none(session_bus: PrivateBus) -> None:
    async def test(_service: Bus, thing: Thing, _client: Bus) -> None:
        received: Recorder[Message] = Recorder()
        link = await Link.open(session_bus.address, received)
        for flags in (Flag.NO_REPLY_EXPECTED, Flag.NONE):
            for member, arguments in (("Echo", ("t", {})), ("Raise", ("InvalidValue",))):
                link.send(
                    Kind.CALL,
                    "sa{sv}" if member == "Echo" else "s",
                    arguments,
                    flags=flags,
                    destination=NAME,
                    path=PATH,
                    member=member,
                )
        await received.until(lambda seen: any(each.kind is Kind.ERROR for each in seen))
        assert [each.kind for each in received.seen if each.sender != BUS] == [Kind.REPLY, Kind.ERROR]
        assert len(thing.callers) == 2
        link.close()

    on_bus(session_bus, test)


def test_64_calls_of_a_caller_at_a_time(session_bus: PrivateBus) -> None:
    async def test(service: Bus, thing: Thing, client: Bus) -> None:
        calls = [asyncio.ensure_future(client.call(*HERE, "Wait")) for _ in range(serving.MAX_CALLS)]
        await thing.waiting.count(serving.MAX_CALLS)
        assert service.calls_in_progress == 64
        busy = await failure(client.call(*HERE, "Wait"), CallFailed)
        assert getattr(busy, "name", "") == names.ERROR_LIMITS_EXCEEDED
        assert await client.get_all(NAME, PATH, NAME) == {"Level": 0, "Odd": 0}
        async with connected(session_bus.address) as other:
            assert await other.call(*HERE, "Echo", "sa{sv}", "heard", {}) == ["heard{}", 0]
        thing.gate.set()
        assert await asyncio.gather(*calls) == [[]] * 64
        assert await client.call(*HERE, "Wait") == []
        await service.idle()
        assert service.calls_in_progress == 0

    on_bus(session_bus, test)


def test_the_calls_of_all_have_a_limit_too(session_bus: PrivateBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "MAX_CALLS_OF_ALL", 3)

    async def test(_service: Bus, thing: Thing, client: Bus) -> None:
        calls = [asyncio.ensure_future(client.call(*HERE, "Wait")) for _ in range(3)]
        await thing.waiting.count(3)
        async with connected(session_bus.address) as other:
            busy = await failure(other.call(*HERE, "Wait"), CallFailed)
            assert getattr(busy, "name", "") == names.ERROR_LIMITS_EXCEEDED
            thing.gate.set()
            assert await asyncio.gather(*calls) == [[]] * 3
            assert await other.call(*HERE, "Wait") == []

    on_bus(session_bus, test)


def test_arguments_that_would_take_seconds_to_read_are_refused(session_bus: PrivateBus) -> None:
    async def test(_service: Bus, _thing: Thing, client: Bus) -> None:
        text = "x" * (serving.MAX_ARGUMENTS - 100)
        assert (await client.call(*HERE, "Echo", "sa{sv}", text, {}))[0] == text + "{}"
        for call in (
            client.call(*HERE, "Echo", "sa{sv}", 2 * text, {}),
            client.call(NAME, PATH, names.PROPERTIES, "GetAll", "s", 2 * text),
        ):
            with pytest.raises(InvalidArguments, match="longer than 4194304 octets"):
                await call

    on_bus(session_bus, test)


# Objects


def test_properties_and_introspection(session_bus: PrivateBus) -> None:
    async def test(_service: Bus, thing: Thing, client: Bus) -> None:
        thing.level = 4
        assert await client.get_all(NAME, PATH, NAME) == {"Level": 4, "Odd": 4}
        ask = (NAME, PATH, names.PROPERTIES)
        assert await client.call(*ask, "Get", "ss", NAME, "Level") == [4]
        read_only = await failure(client.call(*ask, "Set", "ssv", NAME, "Level", Variant("u", 1)), CallFailed)
        assert getattr(read_only, "name", "") == names.ERROR_PROPERTY_READ_ONLY
        thing.level = 3
        hidden = await failure(client.get_all(NAME, PATH, NAME), CallFailed)
        assert str(hidden) == "internal error"
        (xml,) = await client.call(NAME, PATH, names.INTROSPECTABLE, "Introspect")
        assert '<arg name="where" type="s"/>' in xml
        assert await client.call(NAME, "/", names.PEER, "Ping") == []
        unknown = await failure(client.call(NAME, "/nowhere", NAME, "Echo"), CallFailed)
        assert getattr(unknown, "name", "") == names.ERROR_UNKNOWN_OBJECT

    on_bus(session_bus, test)


def test_changes_of_one_turn_go_in_one_signal(session_bus: PrivateBus) -> None:
    async def test(service: Bus, thing: Thing, client: Bus) -> None:
        changes: Recorder[list[Any]] = Recorder()
        await client.subscribe(
            lambda _path, body: changes(body), sender=NAME, interface=names.PROPERTIES, member="PropertiesChanged"
        )
        for level in range(2, 12, 2):
            thing.level = level
            service.changed(PATH, NAME, "Level")
            service.changed(PATH, NAME, "Odd", "Level")
        await changes.count(1)
        thing.level = 13
        service.changed(PATH, NAME, "Level", "Odd")
        assert await changes.count(2) == [
            [NAME, {"Level": 10, "Odd": 10}, []],
            [NAME, {}, ["Level", "Odd"]],  # Odd cannot be read: clients have to ask
        ]

    on_bus(session_bus, test)


def test_a_signal_is_what_its_interface_says(session_bus: PrivateBus) -> None:
    async def test(service: Bus, _thing: Thing, client: Bus) -> None:
        moved: Recorder[tuple[str, list[Any]]] = Recorder()
        await client.subscribe(
            lambda path, body: moved((path, body)), sender=NAME, interface=NAME, member="Moved", path=PATH
        )
        with pytest.raises(InvalidValue):
            service.emit(PATH, NAME, "Moved", 5)
        service.emit(PATH, NAME, "Moved", "here")
        assert await moved.count(1) == [(PATH, ["here"])]

    on_bus(session_bus, test)


def test_without_a_connection_nobody_hears() -> None:
    async def main() -> None:
        bus = Bus(system=False, address="unix:path=/nonexistent")
        bus.export(PATH, Thing().interface())
        bus.emit(PATH, NAME, "Moved", "here")
        bus.changed(PATH, NAME, "Level")
        await bus.lost()
        await bus.idle()

    run(main())


def test_close_sends_what_is_queued(session_bus: PrivateBus) -> None:
    async def main() -> None:
        moved: Recorder[list[Any]] = Recorder()
        async with connected(session_bus.address) as client:
            service = Bus(system=False, address=session_bus.address)
            service.export(PATH, Thing().interface())
            await service.connect()
            await service.request_name(NAME)
            await client.subscribe(lambda _path, body: moved(body), sender=NAME, interface=NAME, member="Moved")
            for number in range(1000):
                service.emit(PATH, NAME, "Moved", str(number))
            await service.close()
            assert len(await moved.count(1000)) == 1000

    run(main())


def test_close_ends_handlers_at_work(session_bus: PrivateBus) -> None:
    async def test(service: Bus, thing: Thing, client: Bus) -> None:
        call = asyncio.ensure_future(client.call(*HERE, "Wait"))
        await thing.waiting.count(1)
        await service.close()
        await failure(call, CallTimedOut)  # the bus says NoReply for who has left
        assert service.calls_in_progress == 0

    on_bus(session_bus, test)


def test_close_does_not_wait_for_a_bus_that_hangs(session_bus: PrivateBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT", 0.01)

    async def main() -> None:
        bus = Bus(system=False, address=session_bus.address)
        bus.export(PATH, Thing().interface())
        await bus.connect()
        session_bus.pause()
        for _ in range(1000):
            bus.emit(PATH, NAME, "Moved", "x" * 1000)
        await bus.close()
        assert not bus.connected
        session_bus.resume()

    run(main())


# Signals


def test_only_the_owner_of_a_name_is_heard(session_bus: PrivateBus) -> None:
    """A signal that is sent to us alone passes every match rule, on the system bus too."""

    async def test(service: Bus, _thing: Thing, client: Bus) -> None:
        moved: Recorder[list[Any]] = Recorder()
        await client.subscribe(lambda _path, body: moved(body), sender=NAME, interface=NAME, member="Moved")
        to_client: Recorder[str] = Recorder()
        await client.watch_owner(NAME, to_client)
        me = client._link.name if client._link else ""  # noqa: SLF001  # whom the forger writes to
        forger = await Link.open(session_bus.address, lambda _: None)
        for number in range(3):
            forger.send(
                Kind.SIGNAL, "s", [f"forged {number}"], destination=me, path=PATH, interface=NAME, member="Moved"
            )
        forger.send(Kind.SIGNAL, "s", ["forged for all"], path=PATH, interface=NAME, member="Moved")
        await forger.drain()
        service.emit(PATH, NAME, "Moved", "true")
        assert await moved.count(1) == [["true"]]
        forger.close()

    on_bus(session_bus, test)


def test_an_error_of_the_bus_does_not_make_us_deaf(tmp_path: Path) -> None:
    """dbus-next takes the bus for the owner of the service from then on, and drops all its signals."""

    async def main(address: str) -> None:
        moved: Recorder[list[Any]] = Recorder()
        async with served(address) as (service, _, client):
            await client.subscribe(lambda _path, body: moved(body), sender=NAME, interface=NAME, member="Moved")
            await failure(client.call(NAME, PATH, "org.example.Forbidden1", "Do"), AccessDenied)
            service.emit(PATH, NAME, "Moved", "heard")
            assert await moved.count(1) == [["heard"]]

    policy = tmp_path / "forbidden.conf"
    policy.write_text(
        '<busconfig><policy context="default"><deny send_interface="org.example.Forbidden1"/></policy></busconfig>'
    )
    with PrivateBus(system=True, names=[NAME], includes=[policy]) as bus:
        run(main(bus.address))


def test_arguments_narrow_a_subscription(session_bus: PrivateBus) -> None:
    async def test(service: Bus, _thing: Thing, client: Bus) -> None:
        everything: Recorder[list[Any]] = Recorder()
        some: list[list[Any]] = []
        await client.subscribe(lambda _path, body: everything(body), sender=NAME, interface=NAME, member="Moved")
        await client.subscribe(
            lambda _path, body: some.append(body), sender=NAME, interface=NAME, member="Moved", arg0="b"
        )
        await client.subscribe(
            lambda _path, body: some.append(body), sender=NAME, interface=NAME, member="Moved", arg0path="/c/"
        )
        for where in ("a", "b", "/c/d"):
            service.emit(PATH, NAME, "Moved", where)
        await everything.count(3)
        assert some == [["b"], ["/c/d"]]

    on_bus(session_bus, test)


def test_a_handler_that_fails_harms_no_other(session_bus: PrivateBus, caplog: pytest.LogCaptureFixture) -> None:
    async def test(service: Bus, _thing: Thing, client: Bus) -> None:
        moved: Recorder[list[Any]] = Recorder()

        def fail(_path: str, _body: list[Any]) -> None:
            raise KeyError("on purpose")

        await client.subscribe(fail, sender=NAME, interface=NAME, member="Moved")
        await client.subscribe(lambda _path, body: moved(body), sender=NAME, interface=NAME, member="Moved")
        service.emit(PATH, NAME, "Moved", "here")
        await moved.count(1)
        assert "on purpose" in caplog.text

    on_bus(session_bus, test)


def test_a_rule_that_the_bus_refuses() -> None:
    async def main(address: str) -> None:
        async with connected(address) as bus:
            full = await failure(
                bus.subscribe(lambda *_: None, sender=NAME, interface=NAME, member="Moved"), CallFailed
            )
            assert getattr(full, "name", "") == names.ERROR_LIMITS_EXCEEDED
            await failure(bus.watch_owner(NAME, lambda _: None), CallFailed)
            assert list(bus._owners) == []  # noqa: SLF001  # the next attempt starts afresh
            assert not any(bus._subscriptions.values())  # noqa: SLF001  # so does this

    with PrivateBus(limits={"max_match_rules_per_connection": 0}) as bus:
        run(main(bus.address))


# Owners and names


def test_owners_come_and_go(session_bus: PrivateBus) -> None:
    async def main() -> None:
        owners: Recorder[str] = Recorder()
        async with connected(session_bus.address) as client:
            await client.watch_owner(NAME, owners)
            await owners.count(1)
            async with served(session_bus.address) as (service, *_):
                await owners.count(2)
                await service.release_name(NAME)
                await owners.count(3)
                await service.request_name(NAME)
                await owners.count(4)
            nobody, one, still_nobody, again, finally_nobody = await owners.count(5)
            assert (nobody, still_nobody, finally_nobody) == ("", "", "")
            assert one == again
            late: Recorder[str] = Recorder()
            await client.watch_owner(NAME, late)
            assert await late.count(1) == [""]

    run(main())


def test_a_name_has_one_owner(session_bus: PrivateBus) -> None:
    async def test(service: Bus, _thing: Thing, client: Bus) -> None:
        taken = await failure(client.request_name(NAME), BusError)
        assert str(taken) == "another process owns the bus name org.example.Thing1 on the session bus: stop it first"
        await service.request_name(NAME)
        await service.release_name(NAME)
        await client.request_name(NAME)

    on_bus(session_bus, test)


def test_a_name_that_is_taken_at_the_start(session_bus: PrivateBus) -> None:
    async def test(service: Bus, _thing: Thing, _client: Bus) -> None:
        second = Bus(system=False, address=session_bus.address)
        await second.request_name(NAME)
        await failure(second.connect(), BusError)
        assert not second.connected
        task_states: Recorder[bool] = Recorder()
        task = asyncio.ensure_future(second.keep(task_states))
        await service.release_name(NAME)
        assert await task_states.count(1) == [True]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await second.close()

    on_bus(session_bus, test)


# The order of things, on a bus that says them in one breath


async def until(client: Client, member: str) -> Message:
    """Answers calls until the one to that member."""
    while (message := await client.receive()).member != member:
        client.agree(message)
    return message


def test_an_owner_that_appears_while_we_ask() -> None:
    """The reply "nobody" and the announcement of an owner are read at once: the later one holds."""

    async def script(client: Client) -> None:
        await client.welcome()
        asked = await until(client, "GetNameOwner")
        client.writer.write(
            error(asked, names.ERROR_NAME_HAS_NO_OWNER, "nobody")
            + owner_changed(NAME, "", ":1.9")
            + signal(":1.9", PATH, NAME, "Moved", "s", "first")
        )
        await client.attend()

    async def main() -> None:
        owners: Recorder[str] = Recorder()
        moved: Recorder[list[Any]] = Recorder()
        async with fake_bus(script) as address:
            bus = Bus(system=False, address=address)
            await bus.watch_owner(NAME, owners)
            await bus.subscribe(lambda _path, body: moved(body), sender=NAME, interface=NAME, member="Moved")
            await bus.connect()
            assert await moved.count(1) == [["first"]]
            assert owners.seen == ["", ":1.9"]
            await bus.close()

    run(main())


def test_an_owner_that_leaves_while_we_ask() -> None:
    async def script(client: Client) -> None:
        await client.welcome()
        asked = await until(client, "GetNameOwner")
        client.writer.write(
            reply(asked, "s", ":1.9")
            + owner_changed(NAME, ":1.9", "")
            + signal(":1.9", PATH, NAME, "Moved", "s", "too late")
        )
        await client.attend()

    async def main() -> None:
        owners: Recorder[str] = Recorder()
        moved: list[list[Any]] = []
        async with fake_bus(script) as address, connected(address) as bus:
            await bus.subscribe(lambda _path, body: moved.append(body), sender=NAME, interface=NAME, member="Moved")
            await bus.watch_owner(NAME, owners)
            assert await owners.count(1) == [""]
            assert moved == []

    run(main())


def test_a_reply_is_seen_before_the_signals_that_follow_it() -> None:
    """What GetAll says is older than a change that was announced after it."""

    async def script(client: Client) -> None:
        await client.welcome()
        asked = await until(client, "GetAll")
        client.writer.write(
            reply(asked, "a{sv}", {"Level": Variant("u", 1)}) + signal(BUS, PATH, NAME, "Moved", "s", "after")
        )
        await client.attend()

    async def main() -> None:
        order: Recorder[object] = Recorder()
        async with fake_bus(script) as address, connected(address) as bus:
            await bus.subscribe(lambda _path, body: order(body), sender=BUS, interface=NAME, member="Moved")
            order(await bus.get_all(BUS, PATH, NAME))
            assert await order.count(2) == [{"Level": 1}, ["after"]]

    run(main())


def test_a_reply_that_makes_no_sense() -> None:
    async def script(client: Client) -> None:
        await client.welcome()
        asked = await until(client, "GetId")
        good = reply(asked, "s", "text")
        client.writer.write(good[:-5] + b"\xff" * 5)
        await client.attend()

    async def main() -> None:
        async with fake_bus(script) as address, connected(address) as bus:
            await failure(bus.call(BUS, "/", BUS, "GetId"), CallFailed)

    run(main())


# Loss and return


def test_everything_comes_back_with_the_bus(session_bus: PrivateBus, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    async def main() -> None:
        thing = Thing()
        moved: Recorder[list[Any]] = Recorder()
        owners: Recorder[str] = Recorder()
        service = Bus(system=False, address=session_bus.address)
        client = Bus(system=False, address=session_bus.address)
        service.export(PATH, thing.interface())
        await service.request_name(NAME)
        await client.subscribe(lambda _path, body: moved(body), sender=NAME, interface=NAME, member="Moved")
        await client.watch_owner(NAME, owners)
        async with kept(service) as serving, kept(client) as calling:
            files = set()
            for round_ in range(1, 6):
                await serving.count(2 * round_ - 1)
                await calling.count(2 * round_ - 1)
                await owners.until(lambda seen: bool(seen and seen[-1]))
                assert await client.call(*HERE, "Echo", "sa{sv}", "t", {}) == ["t{}", 0]
                service.emit(PATH, NAME, "Moved", str(round_))
                assert (await moved.count(round_))[-1] == [str(round_)]
                files.add(len(os.listdir("/proc/self/fd")))  # noqa: PTH208  # only their number is wanted
                session_bus.stop()
                await serving.count(2 * round_)
                await calling.count(2 * round_)
                assert owners.seen[-1] == ""
                session_bus.start()
            assert serving.seen == calling.seen == [True, False] * 5
            assert len(files) == 1

    run(main())


def test_a_bus_that_comes_later(session_bus: PrivateBus, caplog: pytest.LogCaptureFixture) -> None:
    session_bus.stop()

    async def main() -> None:
        bus = Bus(system=False, address=session_bus.address)
        states: Recorder[bool] = Recorder()
        task = asyncio.ensure_future(bus.keep(states))
        attempts = Recorder[None]()
        connect = bus.connect

        async def counted() -> None:
            attempts(None)
            await connect()

        bus.connect = counted  # type: ignore[method-assign]  # to see the attempts
        await attempts.count(4)
        assert len([record for record in caplog.records if "No connection" in record.getMessage()]) == 1
        session_bus.start()
        assert await states.count(1) == [True]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await bus.close()

    run(main())


def test_a_connection_that_ends_half_way_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    async def script(client: Client) -> None:
        await client.welcome()
        await client.receive()

    async def main() -> None:
        async with fake_bus(script) as address:
            bus = Bus(system=False, address=address)
            await bus.subscribe(lambda *_: None, sender=NAME, interface=NAME, member="Moved")
            await failure(bus.connect(), BusLost)
            assert not bus.connected
            assert pending(bus) == 0
        gc.collect()
        assert not caplog.records, "asyncio complains of a future that nobody looked at"

    run(main())


def test_a_subscription_survives_a_loss_in_its_midst(session_bus: PrivateBus) -> None:
    async def first(client: Client) -> None:
        await client.welcome()
        await client.receive()

    async def main() -> None:
        async with fake_bus(first) as address, connected(address) as bus:
            await bus.subscribe(lambda *_: None, sender=NAME, interface=NAME, member="Moved")
            await bus.watch_owner("org.example.Other1", lambda _: None)
            bus._address = session_bus.address  # noqa: SLF001  # the next one is a real bus
            await bus.connect()
            assert list(bus._owners) == [NAME, "org.example.Other1"]  # noqa: SLF001  # nothing is forgotten

    run(main())


def test_a_reply_never_goes_out_on_another_connection(session_bus: PrivateBus) -> None:
    async def main() -> None:
        thing = Thing()
        service = Bus(system=False, address=session_bus.address)
        service.export(PATH, thing.interface())
        await service.request_name(NAME)
        async with kept(service) as states:
            async with connected(session_bus.address) as client:
                call = asyncio.ensure_future(client.call(*HERE, "Wait"))
                await thing.waiting.count(1)
                session_bus.stop()
                await failure(call, BusLost)
            session_bus.start()
            await states.until(lambda seen: seen == [True, False, True])
            assert service.calls_in_progress == 1
            thing.gate.set()
            await service.idle()
            async with connected(session_bus.address) as client:
                assert await client.call(*HERE, "Wait") == []

    run(main())
