# SPDX-License-Identifier: GPL-2.0-or-later
"""The file of serials: what is kept, when it is written, and what is made of a file that is none."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgsd_nm.core.errors import ConfigError
from wgsd_nm.registry import serials as module
from wgsd_nm.registry.serials import Serials, parse, render

ZONES = st.dictionaries(st.from_regex(r"[!-~]+", fullmatch=True), st.integers(0, 0xFFFF_FFFF))


@given(ZONES)
def test_what_is_written_is_read(serials: dict[str, int]) -> None:
    assert parse(render(serials)) == serials


@given(st.binary(max_size=60))
def test_no_octets_raise_anything_but_a_value_error(octets: bytes) -> None:
    try:
        parse(octets)
    except ValueError:
        pass


@pytest.mark.parametrize("octets", [b"\xff", b"a", b"a b", b"a 1 2", b"a -1\n", b"a 4294967296\n"])
def test_what_is_no_list_of_serials_is_not_believed(octets: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(octets)


def test_serials_come_back(tmp_path: Path) -> None:
    path = tmp_path / "serials"

    async def first() -> None:
        serials = Serials.open(path)
        assert serials.of("a.") == 0
        serials.became("a.", 4_000_000_000)
        serials.became("b.", 7)
        assert path.read_bytes() == b""
        serials.write()
        assert path.read_bytes() == b"a. 4000000000\nb. 7\n"
        serials.became("a.", 1)
        serials.write()

    asyncio.run(first())
    assert path.read_bytes() == b"a. 1\nb. 7\n"
    again = Serials.open(path)
    assert (again.of("a."), again.of("b."), again.of("c.")) == (1, 7, 0)


def test_changes_are_written_by_themselves_and_nothing_else_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "serials"
    writes: list[bytes] = []

    def pwrite(_: int, octets: bytes, __: int) -> int:
        writes.append(octets)
        return len(octets)

    async def story() -> None:
        loop = asyncio.get_running_loop()
        delays: list[float] = []
        handles: list[asyncio.TimerHandle] = []
        real = loop.call_later

        def call_later(delay: float, call: object, *_: object) -> asyncio.TimerHandle:
            delays.append(delay)
            handles.append(real(0, call))  # type: ignore[arg-type]
            return handles[-1]

        monkeypatch.setattr(loop, "call_later", call_later)
        serials = Serials.open(path)
        for serial in range(5):
            serials.became("a.", serial)
        assert (delays, writes) == ([module.INTERVAL], [])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        serials.write()
        assert (delays, writes) == ([module.INTERVAL], [b"a. 4\n"])
        serials.became("a.", 5)
        assert delays == [module.INTERVAL] * 2
        serials.write()
        assert writes == [b"a. 4\n", b"a. 5\n"]
        assert handles[-1].cancelled()

    monkeypatch.setattr(os, "pwrite", pwrite)
    asyncio.run(story())


def test_a_file_that_is_none_is_a_warning_and_starts_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "serials"
    path.write_bytes(b"\xff\n")

    async def story() -> None:
        serials = Serials.open(path)
        assert serials.of("a.") == 0
        serials.became("a.", 5)
        serials.write()

    asyncio.run(story())
    assert caplog.messages == [f"{path} has no zones' serials: they start from the time again"]
    assert path.read_bytes() == b"a. 5\n"


def test_a_full_disk_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        serials = Serials(os.open("/dev/full", os.O_WRONLY), "the file")
        serials.became("a.", 5)
        serials.write()

    asyncio.run(story())
    assert caplog.messages[-1] == "the zones' serials cannot be written to the file: No space left on device"


def test_without_a_file_nothing_is_written() -> None:
    serials = Serials()
    serials.became("a.", 5)  # no event loop is needed
    serials.write()
    assert serials.of("a.") == 5


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"state: {tmp_path}/missing/serials cannot be opened: make its directory"):
        Serials.open(tmp_path / "missing" / "serials")
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="cannot be opened"):
        Serials.open(tmp_path / "link")
