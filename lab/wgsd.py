# SPDX-License-Identifier: GPL-2.0-or-later
"""The Go programs that the registry is held to: CoreDNS with wgsd, and wgsd-client. Built once, kept in the cache.

tests/wgsd/build.sh builds them and says what they are: wgsd itself, or the stand-in where it cannot be had. It runs on
this host if its Go is new enough, else in a Debian that has one.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from lab import cache, host
from lab.errors import LabError
from lab.image import REPOSITORY, namespace_prefix
from lab.progress import say, step

SOURCES = REPOSITORY / "tests" / "wgsd"
PROGRAMS = ("coredns", "wgsd-client")
ORIGIN = "origin"
"""The file beside the programs that says in one line what they are."""
OLDEST_GO = (1, 20)
"""As go.mod has it."""
SUITE_WITH_GO = "trixie"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
SAID = 4000
"""Characters of a failed build's end that are shown."""


def ensure() -> Path:
    """The folder with the programs and their origin; raises LabError if they cannot be built."""
    go = _go_version()
    folder = cache.home() / f"wgsd-{_digest(go)}"
    if not folder.is_dir():
        cache.home().mkdir(parents=True, exist_ok=True)
        with cache.lock(cache.home() / "lock"):
            if not folder.is_dir():
                _build(go, folder)
    say(f"wgsd is {origin(folder)}")
    return folder


def origin(folder: Path) -> str:
    """What the programs in a folder are."""
    return (folder / ORIGIN).read_text().strip()


def hand_over(folder: Path, share: Path) -> None:
    """Put the programs into the folder that a guest sees as /lab."""
    shutil.copytree(folder, share / "wgsd", dirs_exist_ok=True)


def _build(go: str, folder: Path) -> None:
    """Make the folder, and what was built from older sources away."""
    with tempfile.TemporaryDirectory(prefix="building-wgsd-", dir=cache.home()) as name:
        building = Path(name, "out")
        building.mkdir()
        with step(f"CoreDNS with wgsd, and wgsd-client, by {go or f'the Go of Debian {SUITE_WITH_GO}'}"):
            _run(_on_this_host(building) if go else _in_debian(building))
        for older in cache.home().glob("wgsd-*"):
            shutil.rmtree(older, ignore_errors=True)
        building.rename(folder)


def _go_version() -> str:
    """What this host's Go calls itself, "" if there is none that is new enough."""
    go = host.find("go")
    if go is None:
        return ""
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout.strip()
    found = re.match(r"go(\d+)\.(\d+)", said)
    return said if found and (int(found[1]), int(found[2])) >= OLDEST_GO else ""


def _digest(go: str) -> str:
    hasher = hashlib.sha256(f"{go}\0".encode())
    for path in sorted(path for path in SOURCES.rglob("*") if path.is_file()):
        hasher.update(f"{path.relative_to(SOURCES)}\0".encode() + path.read_bytes() + b"\0")
    return hasher.hexdigest()[:12]


def _on_this_host(folder: Path) -> list[str]:
    return ["sh", str(SOURCES / "build.sh"), str(folder)]


def _in_debian(folder: Path) -> list[str]:
    """Build in a tree that mmdebstrap throws away afterwards; it trusts the certificates that this host trusts."""
    quoted = shlex.quote(str(folder))
    hooks = [
        f"copy-in {shlex.quote(str(SOURCES))} /root",
        'chroot "$1" sh -c "mkdir /root/out && HOME=/root sh /root/wgsd/build.sh /root/out"',
        *(f"copy-out /root/out/{name} {quoted}" for name in (*PROGRAMS, ORIGIN)),
    ]
    if CERTIFICATES.exists():
        hooks.insert(0, f"copy-in {CERTIFICATES} {CERTIFICATES.parent}")
    return [
        *namespace_prefix(), host.program("mmdebstrap"), "--quiet", "--mode=root", "--variant=apt", "--format=null",
        "--include=ca-certificates,golang-go", *(f"--customize-hook={hook}" for hook in hooks),
        SUITE_WITH_GO, "/dev/null", host.debian_mirror(),
    ]  # fmt: skip


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{command[0]} failed with status {done.returncode}:\n{(done.stdout + done.stderr)[-SAID:]}")
