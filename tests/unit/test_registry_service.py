# SPDX-License-Identifier: GPL-2.0-or-later
"""The server's life without sockets: how it begins, what ends it, what a reload takes and what it leaves."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.registry_objects import ALICE, device
from wgsd_nm.core.dnssd import parse_zone
from wgsd_nm.core.errors import ConfigError, NoSuchDevice, NotPermitted, ReaderLost
from wgsd_nm.core.model import Device, Endpoint
from wgsd_nm.registry import service as module
from wgsd_nm.registry import systemd
from wgsd_nm.registry.config import Config, Secondary, ZoneConfig
from wgsd_nm.registry.link import Loss
from wgsd_nm.registry.notify import Notifier
from wgsd_nm.registry.serials import Serials
from wgsd_nm.registry.service import Equipment, push_ports, run
from wgsd_nm.registry.signing import Keyring
from wgsd_nm.registry.sockets import Listener

ZONE = ZoneConfig(parse_zone("wg.example.com"), "wg0")
CONFIG = Config((ZONE,), (Endpoint.parse("127.0.0.1:5353"),))


class Reader:
    """A link that says what the test wants, and `hang`s where there is nothing to say."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[Loss] = asyncio.get_running_loop().create_future()
        self.closed = False
        self.says: Device | Exception | None = device(ALICE)
        self.fetched = 0

    async def fetch(self, _: str) -> Device:
        self.fetched += 1
        if self.says is None:
            await asyncio.Future()
        if isinstance(self.says, NotPermitted | ReaderLost):
            self.lost.set_result(self.says)
        if isinstance(self.says, Exception):
            raise self.says
        assert self.says is not None
        return self.says

    def close(self) -> None:
        self.closed = True


class Life:
    """One run: `when` is called with each line that is logged."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog
        self.config = CONFIG
        self.loads: list[Config | ConfigError] = []
        self.says: Device | Exception | None = device(ALICE)
        self.reader: Reader | None = None
        self.file: Path | None = None
        caplog.set_level(logging.INFO)

    def load(self) -> tuple[Config, Keyring]:
        loaded = self.loads.pop(0)
        if isinstance(loaded, ConfigError):
            raise loaded
        return loaded, Keyring()

    def live(self, when: Callable[[str], None], *, can_reload: bool = True) -> list[str]:
        """What was logged."""

        class Heard(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                when(record.getMessage())

        heard = Heard()
        logging.getLogger("wgsd_nm.registry").addHandler(heard)
        try:
            asyncio.run(asyncio.wait_for(self._run(can_reload), 20))
        finally:
            logging.getLogger("wgsd_nm.registry").removeHandler(heard)
        return self.caplog.messages

    async def _run(self, can_reload: bool) -> None:
        async def connect() -> Reader:
            self.reader = Reader()
            self.reader.says = self.says
            return self.reader

        serials = Serials() if self.file is None else Serials.open(self.file)
        await run(self.config, Keyring(), Equipment((), serials, connect, self.load if can_reload else None))


@pytest.fixture
def life(caplog: pytest.LogCaptureFixture) -> Life:
    return Life(caplog)


def test_subscriptions_are_taken_wherever_tcp_is() -> None:
    def listener(text: str, *, tcp: bool = True) -> Listener:
        return Listener(Endpoint.parse(text), None, socket.socket() if tcp else None)

    listeners = [
        listener("10.0.0.254:5353", tcp=False),
        listener("10.0.0.254:54"),
        listener("[fd00::1]:54"),
        listener("10.0.0.254:53"),
    ]
    try:
        assert push_ports(listeners) == (54, 53)
    finally:
        for one in listeners:
            one.close()


def kill(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def script(**answers: signal.Signals) -> Callable[[str], None]:
    """Signals by the first word of the line that they follow."""
    return lambda line: kill(answers[line.split()[0]]) if line.split()[0] in answers else None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_reads_once_answers_and_ends_by_a_signal(life: Life, tmp_path: Path, number: signal.Signals) -> None:
    life.file = tmp_path / "serials"
    assert life.live(script(answering=number)) == ["answering for wg.example.com. with the peers of wg0 at "]
    assert life.reader is not None
    assert (life.reader.fetched, life.reader.closed) == (1, True)
    assert life.file.read_text().startswith("wg.example.com. ")


def test_a_signal_ends_it_while_the_first_read_hangs(life: Life) -> None:
    life.says = None

    class Hanging(Reader):
        async def fetch(self, _: str) -> Device:
            kill(signal.SIGTERM)
            return await super().fetch(_)

    async def story() -> None:
        async def connect() -> Reader:
            reader = Hanging()
            reader.says = None
            return reader

        await asyncio.wait_for(run(CONFIG, Keyring(), Equipment((), Serials(), connect, None)), 20)

    asyncio.run(story())
    assert life.caplog.messages == []


@pytest.mark.parametrize("error", [NotPermitted("no CAP_NET_ADMIN"), ReaderLost("the reader has ended")])
def test_what_cannot_come_right_ends_it_without_a_word(life: Life, error: Exception) -> None:
    life.says = error
    with pytest.raises(type(error), match=str(error)):
        life.live(script())
    assert life.caplog.messages == []


def test_a_reader_that_ends_later_ends_it(life: Life) -> None:
    def lose(line: str) -> None:
        assert life.reader is not None
        if line.startswith("answering"):
            life.reader.lost.set_result(ReaderLost("it has ended"))

    with pytest.raises(ReaderLost, match="it has ended"):
        life.live(lose)


def test_a_missing_device_is_waited_for(life: Life) -> None:
    life.says = NoSuchDevice("no wg0")
    assert life.live(lambda line: kill(signal.SIGTERM) if "at" in line.split() else None) == [
        "answering SERVFAIL: no wg0",
        "answering for wg.example.com. with the peers of wg0 at ",
    ]


def test_a_reload_takes_the_zones_and_leaves_what_is_fixed(life: Life) -> None:
    other = ZoneConfig(parse_zone("other.example.com"), "wg1")
    changed = Config((other,), (), "daemon", Path("/state"), Path("/metrics"))
    life.loads = [changed, changed]

    def when(line: str) -> None:
        if line.startswith(("answering", "the configuration")):
            kill(signal.SIGHUP if life.loads else signal.SIGTERM)

    assert life.live(when) == [
        "answering for wg.example.com. with the peers of wg0 at ",
        *(
            *(f"{name} stays as it was: restart the registry to change it" for name in module.FIXED),
            "the configuration was read again: answering for other.example.com. with the peers of wg1",
        )
        * 2,
    ]


def test_a_wrong_configuration_is_one_line(life: Life) -> None:
    life.loads = [ConfigError("zone is wrong")]
    said = life.live(script(answering=signal.SIGHUP, the=signal.SIGTERM))
    assert said[1:] == ["the configuration stays as it was: zone is wrong"]


def test_a_reload_during_the_start_does_not_tell_that_it_is_ready(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    told: list[tuple[str, bool]] = []

    def tell(state: str, *_: str) -> None:
        told.append((state, any(line.startswith("answering") for line in caplog.messages)))
        if state == "READY=1":
            kill(signal.SIGTERM)

    class Slow(Reader):
        async def fetch(self, _: str) -> Device:
            kill(signal.SIGHUP)
            await reloaded.wait()
            return device(ALICE)

    async def connect() -> Reader:
        return Slow()

    def load() -> tuple[Config, Keyring]:
        reloaded.set()
        return CONFIG, Keyring()

    reloaded = asyncio.Event()
    monkeypatch.setattr(systemd, "tell", tell)
    asyncio.run(asyncio.wait_for(run(CONFIG, Keyring(), Equipment((), Serials(), connect, load)), 20))
    assert told == [("RELOADING=1", False), ("READY=1", True), ("STOPPING=1", True)]


def test_without_a_file_there_is_nothing_to_reload(life: Life) -> None:
    said = life.live(script(answering=signal.SIGHUP, there=signal.SIGTERM), can_reload=False)
    assert said[1:] == ["there is no configuration to read again: the registry was started with flags only"]


def test_statistics_are_one_line(life: Life) -> None:
    said = life.live(lambda line: kill(signal.SIGUSR1 if line.startswith("answering") else signal.SIGTERM))
    assert len(said) == 2
    assert said[1].startswith("0 queries over UDP")


def test_a_defect_of_a_notifier_is_said_and_ends_nothing(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Notifier) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Notifier, "run", fail)
    secondary = Secondary(Endpoint.parse("127.0.0.2:53"))
    life.config = Config((ZoneConfig(ZONE.name, "wg0", secondaries=(secondary,)),))
    said = life.live(script(secondaries=signal.SIGTERM))
    assert said[-1].startswith("secondaries are not notified any more")
