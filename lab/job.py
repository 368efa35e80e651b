# SPDX-License-Identifier: GPL-2.0-or-later
"""One command run in a machine: the source tree goes in, output and exit status come out."""

from __future__ import annotations

import compileall
import io
import os
import selectors
import shlex
import sys
import tarfile
import time
from pathlib import Path

from lab.image import REPOSITORY
from lab.machine import Kind, Machine
from lab.progress import say
from lab.snapshot import state_file

MACHINE_DIED = 99
SOURCES = (
    "wgsd_nm", "tests", "lab", "data", "bench", "extension", "docs", "man", "packaging", "tools", "Makefile",
    "CHANGELOG.md", "README.md", "pyproject.toml",
)  # fmt: skip
COMPILED = ("wgsd_nm", "lab/world")
COMPILED_SUFFIX = f".{sys.implementation.cache_tag}.pyc"
CHUNK = 65536


def pack(command: list[str], stdin: bool) -> bytes:
    """The archive that the guest unpacks at /: the source tree as /src, and the command."""
    _compile()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in SOURCES:
            if (REPOSITORY / name).exists():
                archive.add(REPOSITORY / name, f"src/{name}", filter=_wanted)
        script = f"exec {shlex.join(command)}{'' if stdin else ' </dev/null'}\n".encode()
        entry = tarfile.TarInfo("run/lab/job")
        entry.size = len(script)
        archive.addfile(entry, io.BytesIO(script))
    return buffer.getvalue()


def _compile() -> None:
    """Compile the sources here, which is ten times faster than there; a guest with another Python does not mind."""
    for name in COMPILED:
        compileall.compile_dir(REPOSITORY / name, quiet=2)


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = Path(entry.name)
    if name.name.startswith(".") or (name.suffix == ".pyc" and not name.name.endswith(COMPILED_SUFFIX)):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


def run(
    files: Path,
    kind: Kind,
    command: list[str],
    share: Path,
    timeout: float,
    stdin: int | None = None,
    disk: Path | None = None,
) -> int:
    """Run the command, copying its output as it comes; returns its exit status, or 99 if the machine did not finish.

    If `stdin` is a file descriptor, what is read from it goes to the command. With a disk, the machine boots from it,
    and has switched itself off in the end; without one it is restored from the snapshot. Raises LabError.
    """
    (share / "out").mkdir(exist_ok=True)
    state = state_file(files, kind) if disk is None else None
    with Machine(files, kind, share, state, disk) as machine:
        archive = pack(command, stdin is not None)
        if disk is None:
            machine.resume()
        else:
            machine.wait_ready()
        deadline = time.monotonic() + timeout
        machine.control.settimeout(timeout)
        try:
            machine.control.sendall(b"go %.3f %d\n%s" % (time.time(), len(archive), archive))
            status = _relay(machine, deadline, stdin)
        except (TimeoutError, OSError) as error:
            status = f"lost it: {error}"
        if isinstance(status, int):
            if disk is not None:
                machine.wait_off()
            return status
        say(f"the machine {status}; its console ends with:\n{machine.console_tail()}")
        return MACHINE_DIED


def _relay(machine: Machine, deadline: float, stdin: int | None) -> int | str:
    """Copy between the guest's terminal and ours until the job has ended; the status, or what went wrong."""
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(machine.terminal, selectors.EVENT_READ)
        selector.register(machine.control, selectors.EVENT_READ)
        if stdin is not None:
            selector.register(stdin, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            ready = [key.fileobj for key, _ in selector.select(left)]
            if stdin in ready and stdin is not None:
                machine.terminal.sendall(os.read(stdin, CHUNK))
            if machine.terminal in ready:
                _show(machine.terminal.recv(CHUNK))
            if machine.control in ready:
                heard = machine.control.recv(CHUNK)
                said += heard
                if not heard:
                    return "died"
                if said.endswith(b"\n"):
                    _drain(machine)
                    return _status(said)
    return "did not finish in time"


def _status(said: bytes) -> int | str:
    try:
        word, number = said.split()
        if word == b"EXIT":
            return int(number)
    except ValueError:
        pass
    return f"said {said!r}"


def _drain(machine: Machine) -> None:
    """Show what QEMU still holds; the guest's writes have ended."""
    machine.terminal.setblocking(False)
    try:
        while data := machine.terminal.recv(CHUNK):
            _show(data)
    except BlockingIOError:
        pass


def _show(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
