# SPDX-License-Identifier: GPL-2.0-or-later
"""One virtual machine: QEMU's process, its sockets, and its control protocol. Knows nothing of jobs and caches."""

from __future__ import annotations

import json
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lab import host
from lab.errors import LabError

KERNEL_PARAMETERS = (
    "console=ttyS0 quiet loglevel=3 panic=-1 random.trust_cpu=on mitigations=off nokaslr norandmaps nowatchdog "
    "net.ifnames=0 systemd.show_status=0"
)
"""With nokaslr and norandmaps a program stands where it stood before, so that QEMU, which keeps translations by virtual
address, does not translate it at each start: a process starts in a quarter of the time."""
PROCESSOR = ("-cpu", "max,erms=off,fsrm=off", "-smp", "1")
"""One: two would wait for each other, most of all where several machines run. What erms and fsrm promise to be fast is
emulated octet by octet."""
DISK_PARAMETER = "lab.disk"
"""Has the initial ramdisk keep what changes on the second disk, and the guest switch itself off after the job."""
CONSOLE_TAIL = 3000
BOOT_LIMIT = 300.0
OFF_LIMIT = 120.0


@dataclass(frozen=True, slots=True)
class Kind:
    """What boots: the first process, the memory in MiB, and how many pairs of joined network cards there are."""

    name: str
    init: str
    memory: int
    card_pairs: int


FAST = Kind("fast", "/usr/local/sbin/labinit", 1024, 0)
SYSTEMD = Kind("systemd", "/sbin/init", 1536, 1)


class Machine:
    """A running machine; leaving the context kills it and removes all that it had on the host."""

    def __init__(
        self, files: Path, kind: Kind, share: Path, state: Path | None = None, disk: Path | None = None
    ) -> None:
        """Start booting, or restore `state`; `share` is the folder that the guest can mount.

        What changes in the guest is kept on `disk`, an ext4 image, or without one in the guest's memory.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="lab-"))
        self._sockets: list[socket.socket] = []
        incoming = [] if state is None else ["-incoming", f"exec:cat {shlex.quote(str(state))}"]
        # setpriv: the kernel ends QEMU if this process is killed.
        qemu = [*self._qemu(files, kind, share, disk), *incoming]
        command = [host.program("setpriv"), "--pdeathsig", "KILL", "--", *qemu]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            self.control = self._connect("control")
            self.terminal = self._connect("terminal")
            self._monitor = self._connect("monitor").makefile("rw")
            self._monitor.readline()
            self.command("qmp_capabilities")
        except BaseException:
            self.close()
            raise

    def _qemu(self, files: Path, kind: Kind, share: Path, disk: Path | None) -> list[str]:
        command = [
            host.program("qemu-system-x86_64"), "-machine", "q35", "-accel", "tcg,tb-size=512",
            *PROCESSOR, "-m", str(kind.memory),
            "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none",
            "-kernel", str(files / "vmlinux"), "-initrd", str(files / "initrd.gz"),
            "-append", f"{KERNEL_PARAMETERS} lab.init={kind.init}{' ' + DISK_PARAMETER if disk else ''}",
            "-drive", f"file={_value(files / 'root.img')},format=raw,if=none,id=root,readonly=on,file.locking=off",
            "-device", "virtio-blk-pci,drive=root",
            "-fsdev", f"local,id=lab,path={_value(share)},security_model=none,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=lab,mount_tag=lab",
            "-device", "virtio-rng-pci",
            "-serial", f"file:{self._folder}/console",
            "-qmp", f"unix:{self._folder}/monitor,server=on,wait=off",
            "-device", "virtio-serial-pci",
        ]  # fmt: skip
        if disk is not None:
            command += [
                "-drive", f"file={_value(disk)},format=raw,if=none,id=changes,cache=unsafe",
                "-device", "virtio-blk-pci,drive=changes",
            ]  # fmt: skip
        for port in ("control", "terminal"):
            command += [
                "-chardev", f"socket,id={port},path={self._folder}/{port},server=on,wait=off",
                "-device", f"virtserialport,chardev={port},name=lab.{port}",
            ]  # fmt: skip
        for pair in range(kind.card_pairs):
            for end in "ab":
                command += [
                    "-netdev", f"hubport,id=hub{pair}{end},hubid={pair}",
                    "-device", f"virtio-net-pci,netdev=hub{pair}{end},mac=52:54:00:00:0{pair}:0{end}",
                ]  # fmt: skip
        return command

    def _connect(self, name: str) -> socket.socket:
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self._folder / name))
            except OSError as error:
                connection.close()
                if self._process.poll() is not None:
                    stderr = self._process.stderr.read().decode() if self._process.stderr else ""
                    raise LabError(f"QEMU ended at once with status {self._process.returncode}: {stderr}") from error
                time.sleep(0.01)
            else:
                self._sockets.append(connection)
                return connection

    def command(self, name: str, **arguments: object) -> Any:
        """One QMP command and its answer; raises LabError if QEMU refuses it or is gone."""
        self._monitor.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self._monitor.flush()
        for line in self._monitor:
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise LabError(f"QEMU refused {name}: {answer['error']['desc']}")
        raise LabError(f"QEMU died during {name}; its console ends with:\n{self.console_tail()}")

    def wait_ready(self) -> None:
        """Until the guest takes orders at the control port; raises LabError if it does not come up in time."""
        self.control.settimeout(BOOT_LIMIT)
        try:
            said = self.control.makefile("rb").readline().strip()
        except TimeoutError:
            said = b""
        if said != b"READY":
            raise LabError(f"the guest did not come up ({said!r}); its console ends with:\n{self.console_tail()}")

    def wait_off(self) -> None:
        """Until the guest has switched itself off, its disk whole; raises LabError if it does not in time."""
        try:
            self._process.wait(OFF_LIMIT)
        except subprocess.TimeoutExpired as error:
            said = self.console_tail()
            raise LabError(f"the guest did not switch itself off; its console ends with:\n{said}") from error

    def save(self, state: Path) -> None:
        """Write memory and devices to a file; the machine is of no use afterwards."""
        self.command("stop")
        self.command("migrate", uri=f"exec:cat > {shlex.quote(str(state))}")
        while (status := self.command("query-migrate")["status"]) not in ("completed", "failed"):
            time.sleep(0.05)
        if status == "failed":
            raise LabError("QEMU could not save the machine")

    def resume(self) -> None:
        """Let a restored machine run."""
        while self.command("query-status")["status"] == "inmigrate":
            time.sleep(0.01)
        self.command("cont")

    def console_tail(self) -> str:
        """The end of what the guest's kernel said."""
        try:
            return (self._folder / "console").read_text(errors="replace")[-CONSOLE_TAIL:]
        except FileNotFoundError:
            return "(nothing)"

    def close(self) -> None:
        """Kill QEMU: all that it could write to is the share and its own memory."""
        self._process.kill()
        self._process.wait()
        if self._process.stderr:
            self._process.stderr.close()
        for connection in self._sockets:
            connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _value(path: Path) -> str:
    """A path as the value of a QEMU option, where a comma is written twice."""
    return str(path).replace(",", ",,")
