# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads a file that anybody may have put something else in the place of, and replaces one at a stroke. It knows nothing
of what files hold."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from wgsd_nm.core.errors import InvalidValue


def read(path: Path, most: int) -> bytes:
    """At most so many octets. Raises OSError; InvalidValue for what is no regular file: a FIFO would hold us."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InvalidValue("expected a regular file")
        return file.read(most)


def replace(path: Path, octets: bytes, mode: int) -> None:
    """Put a new file in the place of the old one; whatever happens, one of them is there, whole. Raises OSError.

    Folders that are made for it are their owner's alone, as the XDG Base Directory Specification wants them.
    """
    for missing in reversed([each for each in path.parents if not each.exists()]):
        missing.mkdir(0o700, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as opened:
            opened.write(octets)
            opened.flush()
            os.fchmod(opened.fileno(), mode)
            os.fsync(opened.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
