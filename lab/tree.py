# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian trees: folders with the programs of another Debian than the host's, kept in the cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import host
from lab.cache import home, lock
from lab.errors import LabError
from lab.progress import say, step

PROGRAMS = {"mmdebstrap": "mmdebstrap", "bwrap": "bubblewrap"}
PROGRAMS_OF_ORDINARY_USERS = {"newuidmap": "uidmap"}
WITHOUT = ("doc", "man", "help", "info", "lintian", "locale")
LANGUAGES = ("de", "he")
"""Whose texts a tree has, besides English."""


@dataclass(frozen=True, slots=True)
class Tree:
    """What a tree is made of: a suite's minimal Debian, and these packages with what they depend on."""

    name: str
    suite: str
    packages: tuple[str, ...]
    commands: tuple[str, ...] = ()
    """Shell commands, run inside as root when the packages are there."""

    @property
    def digest(self) -> str:
        """A short name for everything that the tree depends on."""
        return hashlib.sha256(repr((self.suite, self.recipe)).encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """Where the cache has it, once it is made."""
        return home() / f"{self.name}-{self.digest}"

    @property
    def recipe(self) -> tuple[str, ...]:
        """The options of mmdebstrap that make it."""
        return (
            "--variant=minbase", '--aptopt=APT::Install-Recommends "false"', '--aptopt=Acquire::Languages "none"',
            '--aptopt=Acquire::Check-Valid-Until "false"', "--dpkgopt=force-unsafe-io",
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in WITHOUT),
            *(f"--dpkgopt=path-include=/usr/share/locale/{name}/*" for name in LANGUAGES),
            f"--include={','.join(self.packages)}",
            *(f'--customize-hook=chroot "$1" sh -ec \'{command}\'' for command in self.commands),
        )  # fmt: skip


def missing_packages() -> list[str]:
    """The Debian packages that this host lacks for making trees and for entering them."""
    wanted = PROGRAMS if host.is_root() else PROGRAMS | PROGRAMS_OF_ORDINARY_USERS
    missing = {package for name, package in wanted.items() if host.find(name) is None}
    if not host.KEYRING.exists():
        missing.add("debian-archive-keyring")
    return sorted(missing)


def ensure(tree: Tree) -> Path:
    """The root of the tree; it is made first if it is not there. Raises LabError if it cannot be made."""
    if tree.folder.is_dir():
        return tree.folder
    if missing := missing_packages():
        raise LabError(f"packages are missing on this host; install them:\n{host.install_line(missing)}")
    home().mkdir(parents=True, exist_ok=True)
    with lock(home() / f"{tree.name}.lock"):
        if not tree.folder.is_dir():
            _make(tree)
            _remove_others(tree)
    return tree.folder


def inside(
    root: Path, *, binds: Sequence[Path] = (), shown: Sequence[Path] = (), shares_memory: bool = False
) -> list[str]:
    """The start of a command that runs the rest in a tree, which is read-only, with an empty environment.

    `binds` can be written, `shown` only read; both have the paths there that they have here. The command dies with
    its parent, and all that it started with it. What bwrap(1) is to do besides may follow, such as `setting()`.
    A window of an X server needs `shares_memory`: pictures go to it by memory of the host's.
    """
    command = [host.program("bwrap"), "--ro-bind", str(root), "/", "--dev", "/dev", "--proc", "/proc"]
    command += ["--tmpfs", "/run", "--perms", "1777", "--tmpfs", "/tmp"]
    for option, paths in (("--bind", binds), ("--ro-bind", shown)):
        for path in paths:
            command += [option, str(path), str(path)]
    if not shares_memory:
        command.append("--unshare-ipc")
    return [*command, "--die-with-parent", "--unshare-pid", "--clearenv"]


def setting(environment: Mapping[str, str]) -> list[str]:
    """What follows `inside()` to give the command these variables of its environment."""
    return [word for name, value in environment.items() for word in ("--setenv", name, value)]


def _make(tree: Tree) -> None:
    """The tree goes through an archive, so that every file belongs to whoever makes it."""
    building = home() / f"building-{tree.name}"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    mode = "root" if host.is_root() else "unshare"
    make = [
        host.program("mmdebstrap"), "--quiet", f"--mode={mode}", "--format=tar", *tree.recipe,
        tree.suite, "-", host.debian_mirror(),
    ]  # fmt: skip
    unpack = ["tar", "--extract", "--no-same-owner", "--exclude=./dev/*", "--directory", str(building)]
    with step(f"{tree.name}: Debian {tree.suite} from {host.debian_mirror()}, in a folder"):
        with subprocess.Popen(make, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as making:
            unpacked = subprocess.run(unpack, stdin=making.stdout, check=False).returncode
        if making.returncode or unpacked:
            raise LabError(f"the tree {tree.name} could not be made; the reason stands above")
        building.rename(tree.folder)


def _remove_others(tree: Tree) -> None:
    for folder in home().glob(f"{tree.name}-*"):
        if folder != tree.folder:
            say(f"removing the older {folder.name}")
            shutil.rmtree(folder, ignore_errors=True)
