# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench's timer for wgsd-client: when it runs, and that it has ended when it is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event

import pytest

from bench.timed_client import TimedClient
from lab.world import Host
from lab.world.host import Result

COMMAND = ("wgsd-client", "-device", "wg0")
LIMIT = 10.0


class Recorded(Host):
    """A host that notes when commands begin and end; `work` is what they do."""

    folder: Path

    def __init__(self, wanted: int, work: Callable[[], object] = lambda: None, status: int = 1) -> None:
        super().__init__("alice")
        self.status = status
        self.wanted, self.work = wanted, work
        self.begun: list[float] = []
        self.ended: list[float] = []
        self.enough = Event()

    def run(self, argv: Sequence[str], *_: object, check: bool = True, **__: object) -> Result:
        assert tuple(argv) == COMMAND
        assert not check
        self.begun.append(time.monotonic())
        self.work()
        self.ended.append(time.monotonic())
        if len(self.begun) >= self.wanted:
            self.enough.set()
        return Result(self.status, "", "it panicked\n")

    def log(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the host's logs are."""
    monkeypatch.setattr(Recorded, "folder", tmp_path, raising=False)
    return tmp_path


def test_it_runs_at_its_phase_and_then_every_period_however_runs_end() -> None:
    host = Recorded(4)
    began = time.monotonic()
    with TimedClient(host, COMMAND, period=0.05, phase=0.1):
        assert host.enough.wait(LIMIT)
    for number, at in enumerate(host.begun[:4]):
        assert at - began >= 0.1 + 0.05 * number


def test_runs_that_take_longer_than_the_period_follow_each_other() -> None:
    long = Event()
    host = Recorded(3, lambda: long.wait(0.05))
    with TimedClient(host, COMMAND, period=0.001, phase=0):
        assert host.enough.wait(LIMIT)
    assert all(later >= earlier for earlier, later in zip(host.ended, host.begun[1:], strict=False))


def test_runs_that_were_missed_are_not_made_up_for() -> None:
    """A run of three periods; the one after it comes at once, and the next a period later."""
    pauses = iter([0.3])
    host = Recorded(3, lambda: Event().wait(next(pauses, 0)))
    with TimedClient(host, COMMAND, period=0.1, phase=0):
        assert host.enough.wait(LIMIT)
    assert host.begun[2] - host.begun[1] >= 0.1


def test_none_begins_before_its_phase() -> None:
    host = Recorded(1)
    with TimedClient(host, COMMAND, period=60, phase=60):
        pass
    assert host.begun == []


@pytest.mark.parametrize("period", [0.01, 60])
def test_the_last_run_has_ended_when_it_is_left(period: float) -> None:
    working = Event()

    def work() -> None:
        working.set()
        Event().wait(0.1)

    host = Recorded(1, work)
    with TimedClient(host, COMMAND, period, phase=0):
        assert working.wait(LIMIT)
    assert len(host.ended) == len(host.begun) > 0


def test_what_it_says_is_kept(folder: Path) -> None:
    host = Recorded(2)
    with TimedClient(host, COMMAND, period=0.01, phase=0):
        assert host.enough.wait(LIMIT)
    assert (folder / "wgsd-client").read_text() == "it panicked\n" * len(host.ended)


@pytest.mark.parametrize("status", [126, 127])
def test_a_client_that_cannot_be_started_is_no_slow_client(status: int) -> None:
    host = Recorded(1, status=status)
    with (
        pytest.raises(AssertionError, match="wgsd-client cannot be started on alice"),
        TimedClient(host, COMMAND, period=60, phase=0),
    ):
        assert host.enough.wait(LIMIT)
