# SPDX-License-Identifier: GPL-2.0-or-later
"""What a registry's push costs, and how soon all are told.

    python3 -m bench.push [fanout] [idle]

push.fanout         s from the change of one peer's endpoint in the kernel's table, of 1000 peers, to the moment at
                    which the last of 1000 subscribers, with 50 peers each and all with this one among them, has the
                    PUSH: the median of 20 changes; the time until the device is read next, a quarter of a second at the
                    most, is in it
push.fanout.worst   the same of the slowest of them
push.fanout.all     the same when all 1000 peers change at once: everybody is told of 50 changes, and no two of the same
push.memory         kB of its own memory (RssAnon) by which the server grows for each of these subscribers
push.memory.later   the same after all those changes
push.idle           percent of one processor that server and reader take while nothing of 1000 peers changes but
                    counters and handshakes, and one client is subscribed to 50 of them
push.idle.readings  readings of the device a second in that time

The registry is the real program; its kernel is played (bench/push_kernel.py), so what the kernel's own part of a
reading costs is not in it. Each subscriber has a TCP connection over loopback, from an address of its own; it is the
agent's own end of a session, and all are in this process, which takes the octets while the time runs, and reads them
afterwards.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench import nameservers, recording
from bench.figure import report, show
from bench.nameservers import ADDRESS, NameServer
from bench.push_clients import Client, Crowd, last_told
from bench.push_kernel import Moves, dump
from bench.registry_peers import peer
from wgsd_nm.core.model import PublicKey
from wgsd_nm.registry import sockets

PARTS = ("fanout", "idle")
PEERS = 1000
SUBSCRIBERS = 1000
FOLLOWED = 50
"""Peers of each subscriber: the first, and others."""
CHANGES = 20
FANOUT_GOAL = 1.0
MEMORY_GOAL = 20.0
IDLE_GOAL = 2.0
IDLE_SECONDS = 40.0
"""A client has nothing to say for 60 s."""
SETTLING = 3.0
"""Seconds after the last subscription."""
PORTS = range(20_000, 60_000)
DESCRIPTORS = 4096


def main() -> int:
    """Report all figures; 1 if a goal is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parts = parser.parse_args().parts or PARTS
    unknown = set(parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; expected some of {', '.join(PARTS)}")
    sockets.allow(DESCRIPTORS)
    met = True
    if "fanout" in parts:
        met &= fanout()
    if "idle" in parts:
        met &= idle()
    return 0 if met else 1


def fanout(
    subscribers: int = SUBSCRIBERS, peers: int = PEERS, followed: int = FOLLOWED, changes: int = CHANGES
) -> bool:
    """Raises RuntimeError where a client is not told what it has to be told."""
    follow = [followed_by(number, peers, followed) for number in range(subscribers)]
    with served(peers) as (server, moves):
        before = own_memory(server.pid)
        began = time.monotonic()
        with Crowd((ADDRESS, server.port), [[key(number) for number in each] for each in follow]) as crowd:
            took = time.monotonic() - began
            time.sleep(SETTLING)
            grown = own_memory(server.pid) - before
            gc.collect()
            gc.freeze()  # what the clients keep
            ports = iter(PORTS)
            times = [change(crowd, moves, [[0]] * subscribers, 0, [next(ports)]) for _ in range(changes)]
            all_at_once = change(crowd, moves, follow, 0, [next(ports) for _ in range(peers)])
            after = own_memory(server.pid) - before
    told = (
        f"{took:.1f} s to subscribe; the server's memory has grown by {grown / 1e6:.1f}, at last {after / 1e6:.1f} MB"
    )
    print(f"# {told}; the changes, s: {', '.join(f'{each:.2f}' for each in sorted(times))}", file=sys.stderr)
    met = report("push.fanout", median(times), "s", FANOUT_GOAL)
    show("push.fanout.worst", max(times), "s")
    show("push.fanout.all", all_at_once, "s")
    met &= report("push.memory", grown / subscribers / 1000, "kB", MEMORY_GOAL)
    show("push.memory.later", after / subscribers / 1000, "kB")
    return met


def change(crowd: Crowd, moves: Moves, told_of: Sequence[Sequence[int]], first: int, ports: Sequence[int]) -> float:
    """Seconds from a move of peers, to these ports, to the last client's having been told of those that it follows."""
    time.sleep(random.uniform(0, 0.25))  # at any moment between two readings
    began = time.monotonic()
    moves.move(first, ports)
    heard = crowd.listen()
    return last_told(heard, [{key(number): ports[number - first] for number in each} for each in told_of]) - began


def idle(seconds: float = IDLE_SECONDS) -> bool:
    """Raises RuntimeError where something was pushed, or the device not read for the subscriber."""
    with served(PEERS) as (server, moves), Crowd((ADDRESS, server.port), [list(map(key, range(FOLLOWED)))]) as crowd:
        time.sleep(SETTLING)
        spent, readings, began = server.running_times(), moves.readings, time.monotonic()
        time.sleep(seconds)
        parts = [(now - then) for now, then in zip(server.running_times(), spent, strict=True)]
        passed = time.monotonic() - began
        rate = (moves.readings - readings) / passed
        check_undisturbed(crowd.clients[0])
    print(
        f"# of server and reader, ms a second: {', '.join(f'{part / passed * 1000:.2f}' for part in parts)}",
        file=sys.stderr,
    )
    show("push.idle.readings", rate, "1/s")
    return report("push.idle", sum(parts) / passed * 100, "%", IDLE_GOAL)


def check_undisturbed(client: Client) -> None:
    """Raises RuntimeError if it was told anything, or its session is not alive."""
    told = client.ping()
    if told:
        raise RuntimeError(f"a client was told of {len(told)} peers while nothing changed")


@contextmanager
def served(peers: int) -> Iterator[tuple[NameServer, Moves]]:
    """A registry for so many peers, and their moves."""
    with tempfile.TemporaryDirectory(prefix="bench-push-") as name:
        recorded, orders = Path(name) / "dump", Path(name) / "moves"
        recording.save(dump(peers), recorded)
        moves = Moves.make(orders, peers)
        command = (sys.executable, "-m", "bench.push_program", str(recorded), str(orders))
        with nameservers.registry(nameservers.free_port(), "wg0", command) as server:
            yield server, moves


def followed_by(subscriber: int, peers: int, followed: int) -> list[int]:
    """The numbers of its peers: 0, and others, so that each is followed by as many as any other."""
    start = subscriber * (followed - 1)
    return [0, *(1 + (start + number) % (peers - 1) for number in range(followed - 1))]


def key(number: int) -> PublicKey:
    return peer(number).public_key


def own_memory(process: int) -> int:
    """Octets that are no file's and shared with nobody (proc(5), status)."""
    text = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("RssAnon"))


if __name__ == "__main__":
    sys.exit(main())
