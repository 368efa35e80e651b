# SPDX-License-Identifier: GPL-2.0-or-later
"""Name servers on loopback, the load that dnsperf puts on them, and the processor time that they take for it.

Knows nothing of figures. A server is a context: it answers when the context is entered, and is gone when it is left.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dns.message

from bench.registry_peers import ZONE, peer
from wgsd_nm.core.dnssd import instance_name

ADDRESS = "127.0.0.1"
START_LIMIT = 120.0
"""Seconds that a server has to answer; in the lab's machine Python alone needs some."""
STOP_LIMIT = 20.0
MAX_FAILED = 0.05
"""The share of queries that may fail: an emulated machine on a busy one may not read a large device in time."""
REGISTRY = (sys.executable, "-m", "wgsd_nm.registry")
NSD_SETTINGS = """\
server:
    ip-address: {address}@{port}
    server-count: 1
    username: ""
    chroot: ""
    zonesdir: "{folder}"
    pidfile: "{folder}/nsd.pid"
    zonelistfile: "{folder}/zone.list"
    xfrdfile: "{folder}/xfrd.state"
    database: ""
    rrl-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: {zone}
    zonefile: zone
"""
COREFILE = """\
.:{port} {{
    bind {address}
    wgsd {zone} {device}
}}
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of processor time (proc(5), utime and stime): of programs, and of the kernel for them.

    `first` is the share of the first process: for ours the server, while the rest is the reader.
    """

    user: float
    system: float
    first: float

    @property
    def total(self) -> float:
        return self.user + self.system

    def since(self, before: Spent, parts: float = 1.0) -> Spent:
        """What has come since, divided by the number of parts."""
        return Spent(
            (self.user - before.user) / parts,
            (self.system - before.system) / parts,
            (self.first - before.first) / parts,
        )


@dataclass(frozen=True, slots=True)
class NameServer:
    """A running server: its first process, from which the others descend, and its port."""

    pid: int
    port: int

    def spent(self) -> Spent:
        """What all its processes have spent until now."""
        times = {pid: _processor_time(pid) for pid in self.processes()}
        user, system = (sum(time[part] for time in times.values()) for part in (0, 1))
        return Spent(user, system, sum(times[self.pid]))

    def running_time(self) -> float:
        """The same from the scheduler's books, to the nanosecond, of the processes' first threads."""
        return sum(self.running_times())

    def running_times(self) -> tuple[float, ...]:
        """The same of each process, the first one's first."""
        schedules = (Path(f"/proc/{pid}/schedstat").read_text() for pid in self.processes())
        return tuple(int(schedule.split()[0]) / 1e9 for schedule in schedules)

    def processes(self) -> tuple[int, ...]:
        """The process and its descendants."""
        parents = {int(found.name): _parent(found) for found in Path("/proc").iterdir() if found.name.isdecimal()}
        family = [self.pid]
        for member in family:
            family += [pid for pid, parent in parents.items() if parent == member]
        return tuple(family)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What dnsperf saw."""

    completed: int
    lost: int
    rcodes: dict[str, int]
    seconds: float


@contextmanager
def registry(port: int, device: str, command: Sequence[str] = REGISTRY) -> Iterator[NameServer]:
    """Ours, for a device whose peers are those of registry_peers. Stays the user that it is started as."""
    flags = ("--device", device, "--zone", str(ZONE), "--listen", f"{ADDRESS}:{port}")
    with _running([*command, *flags], port) as server:
        yield server


@contextmanager
def nsd(port: int, folder: Path, zone_file: str) -> Iterator[NameServer]:
    """NSD with one server process; its files are in a folder that is empty before."""
    (folder / "zone").write_text(zone_file)
    settings = NSD_SETTINGS.format(address=ADDRESS, port=port, folder=folder, zone=ZONE)
    (folder / "nsd.conf").write_text(settings)
    with _running(["/usr/sbin/nsd", "-d", "-c", str(folder / "nsd.conf")], port) as server:
        yield server


@contextmanager
def wgsd(port: int, folder: Path, device: str, program: str) -> Iterator[NameServer]:
    """CoreDNS with wgsd as its one plugin, beside what CoreDNS needs for itself."""
    (folder / "Corefile").write_text(COREFILE.format(address=ADDRESS, port=port, zone=ZONE, device=device))
    with _running([program, "-conf", str(folder / "Corefile")], port) as server:
        yield server


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[NameServer]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        _await_answer(process, port)
        yield NameServer(process.pid, port)
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_answer(process: subprocess.Popen[bytes], port: int) -> None:
    """Ask until there is an answer with records. A server that is there may take its time over the first one."""
    query = dns.message.make_query(instance_name(peer(0).public_key, ZONE), "SRV")
    deadline = time.monotonic() + START_LIMIT
    while (left := deadline - time.monotonic()) > 0:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with status {process.returncode} instead of serving")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(left)
            client.connect((ADDRESS, port))
            try:
                client.send(query.to_wire())
                if dns.message.from_wire(client.recv(4096)).answer:
                    return
            except (ConnectionRefusedError, TimeoutError):
                pass  # nobody is there yet
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not answer after {START_LIMIT:g} s")


def dnsperf(server: NameServer, questions: Path, *limits: str, outstanding: int = 100, clients: int = 8) -> Outcome:
    """Ask until the limits (`-n RUNS`, `-l SECONDS`) are reached, with EDNS in each query. Raises RuntimeError."""
    command = ["dnsperf", "-s", ADDRESS, "-p", str(server.port), "-d", str(questions), "-e", "-c", str(clients)]
    command += ["-q", str(outstanding), "-t", "120", *limits]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return parse_report(done.stdout)


def parse_report(text: str) -> Outcome:
    """dnsperf's statistics. Raises RuntimeError where they are not what is expected."""

    def found(pattern: str) -> str:
        match = re.search(pattern, text)
        if match is None:
            raise RuntimeError(f"dnsperf did not say {pattern!r}:\n{text}")
        return match[1]

    codes = re.findall(r"([A-Z]\w*) (\d+) \(", found(r"Response codes: +(.*)"))
    return Outcome(
        completed=int(found(r"Queries completed: +(\d+)")),
        lost=int(found(r"Queries lost: +(\d+)")),
        rcodes={name: int(count) for name, count in codes},
        seconds=float(found(r"Run time \(s\): +([\d.]+)")),
    )


def cost(server: NameServer, ask: Callable[[], Outcome], rcode: str = "NOERROR") -> Spent:
    """Processor time a query. Raises RuntimeError if too many were not answered with that code."""
    before = server.spent()
    outcome = ask()
    after = server.spent()
    failed = outcome.completed + outcome.lost - outcome.rcodes.get(rcode, 0)
    if failed:
        print(f"# expected every answer to be {rcode}: {outcome}", file=sys.stderr)
    if failed > outcome.completed * MAX_FAILED:
        raise RuntimeError(f"{failed} queries of {outcome.completed} failed: the machine is too busy to measure on")
    return after.since(before, outcome.completed)


def _processor_time(pid: int) -> tuple[float, float]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / tick, int(fields[12]) / tick


def _parent(folder: Path) -> int | None:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def free_port() -> int:
    """A UDP port of loopback that nobody has now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])
