# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads a file that anybody may have put something else in the place of. It knows nothing of what files hold."""

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
