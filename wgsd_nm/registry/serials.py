# SPDX-License-Identifier: GPL-2.0-or-later
"""The zones' serials, kept over restarts in a small file. Knows nothing of zones but their names and serials.

    wg.example.com. 1790000000

The file is opened while the process still may, and written in place: the process has no right to make another one.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from wgsd_nm.core.errors import ConfigError

INTERVAL = 10.0
"""Seconds between two writes."""
MAX_LENGTH = 1 << 20
"""Octets that are read; a line has less than 300."""

_log = logging.getLogger(__name__)


class Serials:
    """The serial of each zone, as the file had them and as they became."""

    def __init__(self, descriptor: int | None = None, source: str = "") -> None:
        """Without a descriptor they are kept as long as the process lives. Takes the descriptor over."""
        self._descriptor = descriptor
        self._source = source
        self._serials: dict[str, int] = {}
        self._writing: asyncio.TimerHandle | None = None
        if descriptor is not None:
            self._load(descriptor)

    @classmethod
    def open(cls, path: Path) -> Serials:
        """Read the file at `path`, made where it is missing. Raises ConfigError."""
        try:
            return cls(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644), str(path))
        except FileNotFoundError as error:
            raise ConfigError(f"state: {path} cannot be opened: make its directory first") from error
        except OSError as error:
            raise ConfigError(f"state: {path} cannot be opened: {error.strerror}") from error

    def of(self, zone: str) -> int:
        """The zone's last serial, 0 where none is known."""
        return self._serials.get(zone, 0)

    def became(self, zone: str, serial: int) -> None:
        """Keep a serial. It is written within INTERVAL."""
        self._serials[zone] = serial
        if self._descriptor is not None and self._writing is None:
            self._writing = asyncio.get_running_loop().call_later(INTERVAL, self.write)

    def write(self) -> None:
        """Write now what has changed, if anything has. What goes wrong is logged."""
        if self._writing is None or self._descriptor is None:
            return
        self._writing.cancel()
        self._writing = None
        octets = render(self._serials)
        try:
            os.pwrite(self._descriptor, octets, 0)
            os.ftruncate(self._descriptor, len(octets))
        except OSError as error:
            _log.warning("the zones' serials cannot be written to %s: %s", self._source, error.strerror)

    def _load(self, descriptor: int) -> None:
        try:
            self._serials = parse(os.pread(descriptor, MAX_LENGTH, 0))
        except (OSError, ValueError):
            _log.warning("%s has no zones' serials: they start from the time again", self._source)


def parse(octets: bytes) -> dict[str, int]:
    """Raises ValueError where they are not what render() makes."""
    serials = {}
    for line in octets.decode("ascii").splitlines():
        zone, serial = line.split(" ")
        serials[zone] = int(serial)
        if not 0 <= serials[zone] <= 0xFFFF_FFFF:
            raise ValueError(f"a serial has 32 bits: {serial}")
    return serials


def render(serials: Mapping[str, int]) -> bytes:
    """One line a zone."""
    return "".join(f"{zone} {serial}\n" for zone, serial in serials.items()).encode("ascii")
