# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk that keeps what changes in a machine, from one boot to the next: an ext4 image, empty to begin with."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab import host
from lab.errors import LabError

SIZE = "2G"
"""The file is sparse: it takes what is written."""


def ensure(path: Path) -> Path:
    """The image at this path; one that is not there is made. Raises LabError."""
    path = path.resolve()
    if not path.exists():
        command = [host.program("mkfs.ext4"), "-q", "-m0", "-E", "lazy_itable_init=1,nodiscard", str(path), SIZE]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"no disk can be made at {path}: {done.stderr.strip()}")
    return path
