# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import asyncio
import logging
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wgsd_nm.agent import statefile
from wgsd_nm.core.memory import Memory
from wgsd_nm.core.model import Endpoint, PublicKey

BOB = PublicKey(b"\x02" * 32)


def memory(port: int) -> Memory:
    return Memory().remember("home", "wg0", {BOB: Endpoint.parse(f"192.0.2.1:{port}")})


def save(*memories: Memory) -> None:
    async def all_at_once() -> None:
        async with asyncio.timeout(20):
            await asyncio.gather(*map(statefile.save, memories))

    asyncio.run(all_at_once())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Path]:
    """$XDG_STATE_HOME, which does not exist yet."""
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "afterwards"))
    save(Memory())  # a good save, after which any trouble is news again


def test_where_it_lies(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert statefile.path() == home / "wgsd-nm" / "endpoints.json"
    monkeypatch.setenv("HOME", "/home/anna")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", value)
        assert statefile.path() == Path("/home/anna/.local/state/wgsd-nm/endpoints.json")


def test_what_was_saved_is_loaded(caplog: pytest.LogCaptureFixture) -> None:
    save(memory(1))
    assert statefile.load() == memory(1)
    save(memory(2))
    assert statefile.load() == memory(2)
    assert not caplog.records
    assert [each.name for each in statefile.path().parent.iterdir()] == ["endpoints.json"]


def test_nobody_else_may_look(home: Path) -> None:
    before = os.umask(0)
    try:
        save(memory(1))
    finally:
        os.umask(before)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (home, home / "wgsd-nm", statefile.path())] == [
        0o700,
        0o700,
        0o600,
    ]


def test_without_a_file_nothing_is_remembered(caplog: pytest.LogCaptureFixture) -> None:
    assert statefile.load() == Memory()
    assert [record.levelname for record in caplog.records] == ["INFO"]


@pytest.mark.parametrize("octets", [b"", b"{", b"\xff", b'{"version": 2}', bytes(100), b" " * (statefile.MAX_SIZE + 1)])
def test_a_file_that_makes_no_sense_is_kept_aside(octets: bytes, caplog: pytest.LogCaptureFixture) -> None:
    save(memory(1))
    statefile.path().write_bytes(octets)
    assert statefile.load() == Memory()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert str(statefile.path()) in record.getMessage()
    broken = statefile.path().with_name("endpoints.json.broken")
    assert broken.read_bytes() == octets
    assert not statefile.path().exists()
    save(memory(1))
    assert statefile.load() == memory(1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary())
def test_any_octets_are_a_memory(octets: bytes) -> None:
    statefile.path().parent.mkdir(parents=True, exist_ok=True)
    statefile.path().write_bytes(octets)
    assert isinstance(statefile.load(), Memory)


@pytest.mark.parametrize("kind", ["directory", "FIFO"])
def test_what_is_no_file_does_not_hold_us(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    statefile.path().parent.mkdir(parents=True)
    if kind == "FIFO":
        os.mkfifo(statefile.path())
    else:
        statefile.path().mkdir()
    assert statefile.load() == Memory()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_what_cannot_be_read_is_told_and_left_there(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    home.write_text("in the way")
    assert statefile.load() == Memory()
    (record,) = caplog.records
    assert "Not a directory" in record.getMessage()


def test_what_may_not_be_read_is_kept_aside(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """As of an agent that was once started by root; the next save would put another in its place."""

    def refuse(path: Path, *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    save(memory(1))
    before = statefile.path().read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)  # root may read everything
        assert statefile.load() == Memory()
    (record,) = caplog.records
    assert "Permission denied" in record.getMessage()
    save(memory(2))
    assert statefile.load() == memory(2)
    assert statefile.path().with_name("endpoints.json.broken").read_bytes() == before


def test_a_folder_that_cannot_be_written_is_told_once(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    home.write_text("in the way")
    save(memory(1))
    save(memory(2))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert str(statefile.path()) in record.getMessage()
    home.unlink()
    save(memory(3))
    assert statefile.load() == memory(3)
    statefile.path().unlink()
    statefile.path().mkdir()
    save(memory(4))
    assert len(caplog.records) == 2, "other trouble is told too"
    statefile.path().rmdir()
    save(memory(5))
    statefile.path().unlink()
    statefile.path().mkdir()
    save(memory(6))
    assert len(caplog.records) == 3, "and so is the same, after all was well in between"
    assert [each.name for each in statefile.path().parent.iterdir()] == ["endpoints.json"]


FULL = f"""
import asyncio, logging, resource
from tests.unit.test_agent_statefile import memory
from wgsd_nm.agent import statefile
logging.basicConfig(level=logging.INFO)
asyncio.run(statefile.save(memory(1)))
resource.setrlimit(resource.RLIMIT_FSIZE, (10, {resource.RLIM_INFINITY}))
for port in (2, 3):
    asyncio.run(statefile.save(memory(port)))
"""


def test_a_disk_that_is_full_leaves_what_was_there() -> None:
    """The kernel refuses to write beyond a limit in the same way as it does on a full disk."""
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.count("WARNING") == 1
    assert "File too large" in done.stderr
    assert statefile.load() == memory(1)
    assert [each.name for each in statefile.path().parent.iterdir()] == ["endpoints.json"]


def test_saves_never_overlap_and_the_newest_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    first, go_on = threading.Event(), threading.Event()
    to_text = Memory.to_text

    def slow(self: Memory) -> str:
        """The first thing that is done in the thread that writes."""
        begun.append(to_text(self))
        first.set()
        assert go_on.wait(20)
        return begun[-1]

    monkeypatch.setattr(Memory, "to_text", slow)

    async def scenario() -> None:
        async with asyncio.timeout(20):
            saves = [asyncio.create_task(statefile.save(memory(10)))]
            await asyncio.to_thread(first.wait, 20)
            saves += [asyncio.create_task(statefile.save(memory(port))) for port in range(11, 20)]
            for _ in range(20):
                await asyncio.to_thread(int)  # whatever was begun in a thread before is under way
            assert len(begun) == 1
            assert not any(each.done() for each in saves)
            saves[0].cancel()
            go_on.set()
            await asyncio.gather(*saves, return_exceptions=True)

    asyncio.run(scenario())
    assert begun == [to_text(memory(10)), to_text(memory(19))], "of those that came meanwhile the last"
    assert statefile.load() == memory(19)
