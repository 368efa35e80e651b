# SPDX-License-Identifier: GPL-2.0-or-later
"""The folder that keeps images and snapshots, by a digest of all that they are made from."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import host, snapshot
from lab.errors import LabError
from lab.image import GUEST, REPOSITORY, namespace_prefix, python_requirements
from lab.machine import Kind
from lab.progress import say, step

BUILD_SOURCES = ("image.py", "kernel.py", "machine.py", "snapshot.py")


def home() -> Path:
    """The lab's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "wgsd-nm" / "lab"


def digest() -> str:
    """A short name for everything that the images and snapshots depend on."""
    hasher = hashlib.sha256(repr((host.qemu_version(), python_requirements())).encode())
    for path in sorted([*GUEST.iterdir(), *(GUEST.parent / name for name in BUILD_SOURCES)]):
        hasher.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return hasher.hexdigest()[:12]


def ensure(suite: str, *kinds: Kind) -> Path:
    """The folder with the suite's image and these snapshots; what is missing is made first."""
    files = home() / f"{suite}-{digest()}"
    if _complete(files, kinds):
        return files
    missing = host.missing_packages()
    if missing:
        raise LabError(f"packages are missing on this host; install them:\n{host.install_line(missing)}")
    home().mkdir(parents=True, exist_ok=True)
    with lock(home() / f"{suite}.lock"):
        if not files.is_dir():
            _build_image(suite, files)
        for kind in kinds:
            if not snapshot.state_file(files, kind).exists():
                with step(f"snapshot `{kind.name}`"):
                    snapshot.take(files, kind)
        _remove_others(suite, files)
    return files


def _complete(files: Path, kinds: tuple[Kind, ...]) -> bool:
    return all(snapshot.state_file(files, kind).exists() for kind in kinds) and files.is_dir()


def _build_image(suite: str, files: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        raise LabError(f"{sys.executable} has no pip; use the Python of the virtual environment (make setup)")
    building = home() / f"building-{suite}"
    command = [*namespace_prefix(), sys.executable, "-m", "lab.image", suite, str(building)]
    if subprocess.run(command, cwd=REPOSITORY, check=False).returncode:
        raise LabError(f"the image of {suite} could not be made; the reason stands above")
    building.rename(files)


def _remove_others(suite: str, files: Path) -> None:
    for folder in home().glob(f"{suite}-*"):
        if folder != files:
            say(f"removing the older {folder.name}")
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Only one process at a time is in here; others wait, and say so."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is running; waiting for it ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
