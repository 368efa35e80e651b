# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry beside NSD and CoreDNS with wgsd, over the kernel's own WireGuard. Runs in the lab's machine.

    python3 -m bench.registry_guest OUT [--record] [--wgsd PROGRAM]

OUT is a folder for the dumps of the devices, as the kernel wrote them: dump.N. With --record that is all.

registry.cpu.N      processor time of a query for SRV over N peers, of server and reader, divided by NSD's
registry.miss.1000  the same for a key that nobody has, divided by one for a key that somebody has
registry.vs_wgsd.N  the same of CoreDNS with wgsd, which dumps the device for each query, divided by ours

All are asked in turn, again and again, as fast as they answer, and the best of each are divided: what disturbs only
ever adds. The machine is emulated, so only quotients mean anything; and as it does everything so slowly, our readings
of the device, so many a second, have a greater share in few queries than they have in many. The device is down:
nothing but queries is to be worked on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from bench import nameservers, recording, registry_peers
from bench.figure import report
from bench.nameservers import NameServer, Spent, cost, dnsperf

PEERS = (10, 1000, 10_000)
CPU_GOAL = 2.0
WGSD_GOALS = {10: 3.0, 1000: 20.0, 10_000: 200.0}
MISS_GOAL = 1.2
MISSES_AT = 1000
ROUNDS = 3
SECONDS = "3"
"""For each round of each server: some 12 of our readings of the device."""
WGSD_QUERIES = {10: 2000, 1000: 40, 10_000: 4}
"""A dump of 10,000 peers takes this machine a second or so."""


def main() -> int:
    """Report all figures; 1 if a goal is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--wgsd", metavar="PROGRAM")
    options = parser.parse_args()
    devices = {count: make_device(count) for count in PEERS}
    for count, device in devices.items():
        recording.save(recording.record(device), options.out / f"dump.{count}")
    if options.record:
        return 0
    met = [measure(count, device, options.wgsd) for count, device in devices.items()]
    return 0 if all(met) else 1


def make_device(count: int) -> str:
    """A WireGuard device with the peers of registry_peers; it is left to the end of the machine."""
    name = f"wgbench{count}"
    subprocess.run(["ip", "link", "add", name, "type", "wireguard"], check=True)
    text = registry_peers.settings(count)
    subprocess.run(["wg", "setconf", name, "/dev/stdin"], input=text, text=True, check=True)
    return name


def measure(count: int, device: str, wgsd: str | None) -> bool:
    with tempfile.TemporaryDirectory() as name, nameservers.registry(nameservers.free_port(), device) as ours:
        folder = Path(name)
        met, seconds = beside_nsd("registry", count, ours, folder)
        if wgsd is None:
            return met
        with nameservers.wgsd(nameservers.free_port(), folder, device, wgsd) as theirs:
            few = folder / "few"
            few.write_text(registry_peers.hits(count, WGSD_QUERIES[count]))
            spent = cost(theirs, lambda: dnsperf(theirs, few, "-n", "1", outstanding=2, clients=2))
        goal = WGSD_GOALS[count]
        return met & report(f"registry.vs_wgsd.{count}", spent.total / seconds, "ratio", goal, at_most=False)


def beside_nsd(prefix: str, count: int, ours: NameServer, folder: Path) -> tuple[bool, float]:
    """Report hits divided by NSD's, and misses by hits; whether the goals are met, and the seconds that a hit takes."""
    questions, unknown, nsd_folder = folder / "hits", folder / "misses", folder / "nsd"
    questions.write_text(registry_peers.hits(count))
    nsd_folder.mkdir()
    zone_file = registry_peers.zone_file(count)
    with nameservers.nsd(nameservers.free_port(), nsd_folder, zone_file) as nsd:
        works = {"ours": partial(hit, ours, questions), "nsd": partial(hit, nsd, questions)}
        if count == MISSES_AT:
            unknown.write_text(registry_peers.misses())
            works["miss"] = partial(miss, ours, unknown)
        warm(ours, questions)
        took = in_turn(works)
    met = report(f"{prefix}.cpu.{count}", took["ours"] / took["nsd"], "ratio", CPU_GOAL)
    if "miss" in took:
        met &= report(f"{prefix}.miss.{count}", took["miss"] / took["ours"], "ratio", MISS_GOAL)
    return met, took["ours"]


def warm(server: NameServer, questions: Path) -> None:
    """Have every answer asked for once."""
    dnsperf(server, questions, "-n", "1")


def hit(server: NameServer, questions: Path) -> Spent:
    return cost(server, lambda: dnsperf(server, questions, "-l", SECONDS))


def miss(server: NameServer, questions: Path) -> Spent:
    return cost(server, lambda: dnsperf(server, questions, "-l", SECONDS), "NXDOMAIN")


def in_turn(works: Mapping[str, Callable[[], Spent]]) -> dict[str, float]:
    """The least processor time that each returns, in seconds a query."""
    took: dict[str, list[Spent]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            took[name].append(work())
    for name, rounds in took.items():
        told = (
            f"{each.total * 1e6:.1f} ({each.user * 1e6:.1f} user, {(each.total - each.first) * 1e6:.1f} elsewhere)"
            for each in rounds
        )
        print(f"# {name}, us a query: {', '.join(told)}", file=sys.stderr)
    return {name: min(each.total for each in rounds) for name, rounds in took.items()}


if __name__ == "__main__":
    sys.exit(main())
