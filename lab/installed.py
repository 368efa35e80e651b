# SPDX-License-Identifier: GPL-2.0-or-later
"""The story of the package on a machine that is switched off and on again: what is done at each boot, on one disk.

The tests in tests/lab/installed tell it; the package, and the one of the next release, are made here and handed in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from lab import disk, job
from lab.errors import LabError
from lab.image import REPOSITORY, SUITES
from lab.machine import SYSTEMD
from lab.progress import step
from tools.project import version

TESTS = "tests/lab/installed"
BOOTS = (("install",), ("reboot", "upgrade", "purge", "prefix"))
"""For each boot the files of tests, in their order: each goes on where the one before it ended."""
ONCE = ("prefix",)
"""On the first suite only: it is about no version of Debian's."""
NEXT = f"{version()}+1"


def run(suite: str, files: Path, share: Path, timeout: float) -> int:
    """Tell it of a suite, whose `files` these are.

    Returns the exit status of the first boot that fails, else 0. Raises LabError.
    """
    with step("the package, and the one of the next release"):
        _packages(share)
    machine = disk.ensure(share / "disk")
    for number, scenarios in enumerate(BOOTS, 1):
        paths = [f"{TESTS}/test_{name}.py" for name in scenarios if suite == SUITES[0] or name not in ONCE]
        command = ["python3", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--durations=5", *paths]
        with step(f"boot {number}"):
            status = job.run(files, SYSTEMD, command, share, timeout, disk=machine)
        if status:
            return status
    return 0


def _packages(share: Path) -> None:
    """This tree's package in packages/now, and in packages/next the same of a higher version."""
    _make(REPOSITORY, share / "packages/now")
    tree = share / "tree"
    tree.mkdir()
    for name in job.SOURCES:
        path = REPOSITORY / name
        if path.is_dir():
            shutil.copytree(path, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.exists():
            shutil.copy(path, tree / name)
    for path in (tree / "pyproject.toml", tree / "wgsd_nm/__init__.py"):
        path.write_text(path.read_text().replace(f'"{version()}"', f'"{NEXT}"'))
    _make(tree, share / "packages/next")
    shutil.rmtree(tree)


def _make(tree: Path, folder: Path) -> None:
    command: list[str | Path] = [
        sys.executable,
        "-B",
        "-m",
        "tools.deb",
        "--output",
        folder,
        "--environment",
        sys.prefix,
    ]
    own = {"SOURCE_DATE_EPOCH": str(int(time.time()))} | os.environ
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False, env=own)
    if done.returncode:
        raise LabError(f"the package cannot be made: {done.stderr.strip()}")
