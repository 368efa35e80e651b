# SPDX-License-Identifier: GPL-2.0-or-later
"""The host: which programs it has, where they are, and which Debian mirror its apt uses."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from lab.errors import LabError

DEFAULT_MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PACKAGE_OF = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "mkfs.ext4": "e2fsprogs",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "zstd": "zstd",
    "modprobe": "kmod",
}
PACKAGE_OF_ORDINARY_USERS = {"newuidmap": "uidmap"}


def is_root() -> bool:
    """Whether this process may do everything on the host."""
    return os.geteuid() == 0


def find(program: str) -> str | None:
    """The path of a program; the folders of the administrator are searched even if PATH leaves them out."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def program(name: str) -> str:
    """The path of a program that the lab needs; raises LabError if it is not there."""
    path = find(name)
    if path is None:
        raise LabError(f"{name} is missing; install what `python3 -m lab needs` prints")
    return path


def missing_packages() -> list[str]:
    """The Debian packages that the lab still needs on this host."""
    wanted = PACKAGE_OF if is_root() else PACKAGE_OF | PACKAGE_OF_ORDINARY_USERS
    missing = {package for name, package in wanted.items() if find(name) is None}
    if not KEYRING.exists():
        missing.add("debian-archive-keyring")
    return sorted(missing)


def install_line(packages: list[str]) -> str:
    """The command that installs these packages."""
    return f"apt-get install --no-install-recommends {' '.join(packages)}"


def qemu_version() -> str:
    """The first line of QEMU's own answer; snapshots fit the version that made them."""
    command = [program("qemu-system-x86_64"), "--version"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]


def debian_mirror() -> str:
    """The Debian mirror that this host's apt is set up with, or the public one on other systems."""
    apt = find("apt-get")
    if apt is None:
        return DEFAULT_MIRROR
    command = [apt, "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"]
    for line in subprocess.run(command, check=False, capture_output=True, text=True).stdout.splitlines():
        label, _, uri = line.partition(" ")
        if label == "Debian" and uri:
            return uri
    return DEFAULT_MIRROR
