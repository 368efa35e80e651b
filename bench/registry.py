# SPDX-License-Identifier: GPL-2.0-or-later
"""What the registry costs, and how soon it answers.

    python3 -m bench.registry [lab|native]

lab: the registry beside NSD and CoreDNS with wgsd in the lab's machine; see bench/registry_guest.py. native: on this
machine, over what the lab's kernel said of its devices, played as if the peers lived (bench/recording.py):

registry.parse.10000     ms of processor time to make a Device of the kernel's dump of 10,000 peers, all of them new
registry.native.cpu.N, registry.native.miss.1000   as registry.cpu.N and registry.miss.1000, here
registry.steady.cpu      percent of one processor that server and reader take at 500 queries a second, 1000 peers
registry.steady.refresh  the part of it that goes into reading the device again and again: with a query now and then
registry.p99[.10000]     ms within which 99 of 100 of these queries are answered, those that wait for a reading included
registry.idle            ms of processor time in a minute without queries, server and reader
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import dns.message

from bench import nameservers, recording, stream
from bench.figure import report
from bench.nameservers import ADDRESS, NameServer
from bench.registry_guest import PEERS, beside_nsd
from bench.registry_peers import ZONE, peer
from wgsd_nm.core.dnssd import instance_name
from wgsd_nm.registry import snapshot
from wgsd_nm.wireguard_messages import DeviceDecoder

PARTS = ("lab", "native")
LAB_TIMEOUT = "900"
PARSE_GOAL = 100.0
PARSE_ROUNDS = 7
RATE = 500.0
"""Queries a second."""
NOW_AND_THEN = 8.0
"""Queries a second that have the device read as often as any number of them would."""
STEADY_SECONDS = 15.0
REFRESH_GOAL = 4.0
"""Percent: four readings a second, each of 10 ms in both processes together."""
STEADY_GOAL = REFRESH_GOAL + 6.0
"""Percent: beside it 120 us for each query, which mostly comes alone and has a server woken up for itself."""
P99_GOAL = 20.0
IDLE_SECONDS = 60.0
SETTLING = 5.0
"""Seconds after the last query until a server is idle."""

Folder = Path


def main() -> int:
    """Report all figures; 1 if a goal is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", nargs="?", choices=PARTS)
    part = parser.parse_args().part
    wanted = PARTS if part is None else (part,)
    with tempfile.TemporaryDirectory(prefix="bench-registry-") as name:
        share = Path(name)
        share.chmod(0o755)
        flags, options = ["--wgsd"], ["--wgsd", "/lab/wgsd/coredns"]
        if "lab" not in wanted:
            flags, options = [], ["--record"]
        command = [sys.executable, "-m", "lab", "run", *flags, "--share", name, "--timeout", LAB_TIMEOUT, "--"]
        command += ["python3", "-m", "bench.registry_guest", "/lab/out", *options]
        met = subprocess.run(command, check=False).returncode == 0
        if "native" in wanted:
            met &= native(share / "out")
    return 0 if met else 1


def native(dumps: Folder) -> bool:
    met = report("registry.parse.10000", parse(dumps / "dump.10000"), "ms", PARSE_GOAL)
    with idle(dumps / "dump.1000") as spent:
        met &= contest(dumps)
        met &= steady(dumps)
        return met & report("registry.idle", spent(), "ms", 0)


def parse(dump: Path) -> float:
    """Milliseconds, the best of some rounds, each in a process that remembers nothing: what disturbs only ever adds."""
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        return min(pool.map(parse_once, [dump] * PARSE_ROUNDS, chunksize=1))


def parse_once(dump: Path) -> float:
    messages = recording.load(dump)
    gc.freeze()
    gc.set_threshold(snapshot.GARBAGE)  # as in the reader
    began = time.process_time()
    decoder = DeviceDecoder("wg0")
    for message in messages:
        decoder.add(memoryview(message))
    decoder.device()
    return (time.process_time() - began) * 1000


def contest(dumps: Folder) -> bool:
    met = True
    for count in PEERS:
        with tempfile.TemporaryDirectory() as folder, played(dumps / f"dump.{count}") as ours:
            met &= beside_nsd("registry.native", count, ours, Path(folder))[0]
    return met


def steady(dumps: Folder) -> bool:
    with played(dumps / "dump.1000") as server:
        latencies, share = load(server, 1000, RATE)
        met = report("registry.steady.cpu", share, "%", STEADY_GOAL)
        met &= report("registry.p99", latencies.percentile(99), "ms", P99_GOAL)
        _, share = load(server, 1000, NOW_AND_THEN)
        met &= report("registry.steady.refresh", share, "%", REFRESH_GOAL)
    with played(dumps / "dump.10000") as server:
        latencies, _ = load(server, 10_000, RATE)
        return met & report("registry.p99.10000", latencies.percentile(99), "ms", P99_GOAL)


def load(server: NameServer, count: int, rate: float) -> tuple[stream.Latencies, float]:
    """How long answers take, and the processor time spent on them in percent of the time. Raises RuntimeError."""
    names = (instance_name(peer(number).public_key, ZONE) for number in range(count))
    queries = [dns.message.make_query(name, "SRV", use_edns=0, payload=1232).to_wire() for name in names]
    where = (ADDRESS, server.port)
    stream.ask(where, queries, rate, 1.0)
    before = server.spent()
    latencies = stream.ask(where, queries, rate, STEADY_SECONDS)
    spent = server.spent().since(before).total
    if latencies.lost or latencies.failed:
        raise RuntimeError(f"{latencies.lost} queries had no answer, {latencies.failed} an error")
    said = ", ".join(f"{percent}%: {latencies.percentile(percent):.2f}" for percent in (50, 90, 99, 99.9, 100))
    print(f"# {rate:g} queries a second over {count} peers, ms: {said}", file=sys.stderr)
    return latencies, spent / STEADY_SECONDS * 100


@contextmanager
def idle(dump: Path) -> Iterator[Callable[[], float]]:
    """A server that nobody asks; what is yielded waits until a minute has passed, and says what it has spent, in ms."""
    with played(dump) as server:
        time.sleep(SETTLING)
        began, before = time.monotonic(), server.running_time()

        def spent() -> float:
            time.sleep(max(0.0, began + IDLE_SECONDS - time.monotonic()))
            return (server.running_time() - before) * 1000

        yield spent


def played(dump: Path) -> AbstractContextManager[NameServer]:
    command = (sys.executable, "-m", "bench.registry_program", str(dump))
    return nameservers.registry(nameservers.free_port(), "wg0", command)


if __name__ == "__main__":
    sys.exit(main())
