# SPDX-License-Identifier: GPL-2.0-or-later
"""The file that keeps endpoints which worked, over restarts. What it says is `core.memory`'s affair."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Final

from wgsd_nm.agent import regularfile
from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.memory import Memory

MAX_SIZE: Final = 8 << 20
"""Octets; the greatest memory has less."""

_log = logging.getLogger(__name__)


def path() -> Path:
    """$XDG_STATE_HOME/wgsd-nm/endpoints.json (XDG Base Directory Specification)."""
    home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state"
    return base / "wgsd-nm" / "endpoints.json"


def load() -> Memory:
    """What was saved last; nothing where that cannot be had.

    A file that makes no sense or cannot be read is kept aside, as `.broken`, for the next save would put another in its
    place.
    """
    file = path()
    try:
        return Memory.from_text(_read(file))
    except FileNotFoundError:
        _log.info("no endpoints are remembered yet in %s", file)
    except OSError as error:
        _keep_aside(file, f"it cannot be read: {error.strerror}")
    except ValueError as error:  # of these is InvalidValue
        _keep_aside(file, str(error))
    return Memory()


async def save(memory: Memory) -> None:
    """Returns when this memory, or a newer one, is on the disk, or cannot be. Never raises; trouble is logged once."""
    await _saver.save(memory)


class _Saver:
    """One thread writes at a time. What is asked for meanwhile waits, and of that only the newest is written."""

    def __init__(self) -> None:
        self._newest: Memory | None = None
        self._writing: asyncio.Task[None] | None = None
        self._told: set[str] = set()

    async def save(self, memory: Memory) -> None:
        self._newest = memory
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write_all())
        await asyncio.shield(self._writing)

    async def _write_all(self) -> None:
        while self._newest is not None:
            memory, self._newest = self._newest, None
            await asyncio.to_thread(self._write, memory)

    def _write(self, memory: Memory) -> None:
        file = path()
        try:
            regularfile.replace(file, memory.to_text().encode(), 0o600)
        except OSError as error:
            trouble = error.strerror or str(error)
            if trouble not in self._told:
                self._told.add(trouble)
                _log.warning("endpoints that work cannot be remembered in %s: %s", file, trouble)
        else:
            self._told.clear()


_saver: Final = _Saver()


def _read(file: Path) -> str:
    """Raises OSError; InvalidValue and UnicodeDecodeError where the file is not one of ours."""
    octets = regularfile.read(file, MAX_SIZE + 1)
    if len(octets) > MAX_SIZE:
        raise InvalidValue(f"expected at most {MAX_SIZE} octets")
    return octets.decode()


def _keep_aside(file: Path, trouble: str) -> None:
    broken = file.with_name(f"{file.name}.broken")
    try:
        file.replace(broken)
    except OSError as error:
        _log.warning("the remembered endpoints in %s are forgotten: %s (%s)", file, trouble, error.strerror)
    else:
        _log.warning("the remembered endpoints in %s are forgotten, the file is now %s: %s", file, broken.name, trouble)
