# SPDX-License-Identifier: GPL-2.0-or-later
"""What an hour costs in which nothing happens.

    python3 -m bench.hour [well] [unreachable] [push] [--minutes N]

agent.hour.well         wake-ups and ms of processor time in an hour in which all is well: two connected peers and the
                        registry's, all with a keepalive of 25 s
agent.hour.unreachable  the same with one of the two, which is wanted because of its keepalive, not answering at all
agent.hour.push.*       wake-ups and packets in the same two hours of an agent that has a push session with the registry
agent.hour.polling.*    those of an agent beside it, whose registry has no push; and the ratio, where there were any

Measured are ten minutes, times six, after two minutes in which the peers are seen to be well and the lookups' back-off
reaches its end; with --minutes 60 it is the hour itself. For push it is five minutes, times twelve: in this time a peer
that is followed, but not reached, is looked up once, as it is every five minutes or a little more. Packets are UDP
datagrams and TCP segments in both directions, as the kernel counts them; WireGuard's own are the same with and without
push, and there are none here.

Agent and helper are the real ones, native, between two real buses, and so is the registry with push; NetworkManager and
polkit are stand-ins, and a table stands where the kernel's WireGuard would be. Wake-ups are moments at which agent,
helper, a bus or NetworkManager ran; what runs within 100 ms of each other is one. Processor time is that of agent,
helper and buses.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack

from bench.agent import count_wakeups
from bench.figure import report, show
from bench.laptop import Laptop, enter_namespace
from wgsd_nm.bus import names

PEERS = 2
PUSH = "push"
UPDATES = ("push", "polling")
PARTS = ("well", "unreachable", PUSH)
EXPECTED = {"well": "ok", "unreachable": "degraded"}
"""What the agent says of itself while it is measured."""
WAKEUP_GOALS = {"well": 360, "unreachable": 1500}
"""When all is well, six a minute as in bench.agent; else 720 checks, after each of which clients may be told."""
CPU_GOALS = {"well": 1500, "unreachable": 7500}
"""ms: some 10 for a check by agent, helper and bus, of which there are 120, and 720; and a few more for the lookups."""
MINUTES = 10
PUSH_MINUTES = 5
WARM_UP = 120
HOUR = 3600
COUNTING = (sys.executable, "-m", "bench.hour_push")
SLACK = 60
"""Seconds for a program to begin and to end."""


async def measure(part: str, seconds: float) -> bool:
    """Report both figures; whether the goals are met. Raises RuntimeError if the agent is not as it should be."""
    async with Laptop(PEERS) as laptop:
        unreachable = ("--unreachable",) if part == "unreachable" else ()
        helper = await laptop.python("bench.hour_helper", "--peers", str(PEERS), *unreachable)
        await laptop.owned(laptop.system, names.HELPER)
        agent = await laptop.python("wgsd_nm.agent")
        await laptop.owned(laptop.session, names.AGENT)
        print(f"# {part}: agent and helper are left alone for {(WARM_UP + seconds) / 60:g} minutes", flush=True)
        await asyncio.sleep(WARM_UP)
        await check(laptop, part)
        ours = (agent.pid, helper.pid, *laptop.daemons)
        before = processor_times(ours)
        wakeups = await count_wakeups((*ours, laptop.network_manager.pid), seconds)
        spent = [now - then for now, then in zip(processor_times(ours), before, strict=True)]
        await check(laptop, part)
    told = ", ".join(f"{each * 1000 * HOUR / seconds:.0f}" for each in spent)
    print(f"# {part}: agent, helper, system bus, session bus, ms an hour: {told}", file=sys.stderr)
    name = f"agent.hour.{part}"
    met = report(f"{name}.wakeups", wakeups * HOUR / seconds, "1/h", WAKEUP_GOALS[part])
    return met & report(f"{name}.cpu", sum(spent) * 1000 * HOUR / seconds, "ms/h", CPU_GOALS[part])


async def check(laptop: Laptop, part: str) -> None:
    """Raises RuntimeError if the agent does not say what is expected."""
    said = await laptop.session.get_all(names.AGENT, names.AGENT_PATH, names.AGENT)
    if said["State"] != EXPECTED[part]:
        raise RuntimeError(f"{part}: the agent's state is {said['State']}, expected {EXPECTED[part]}: {said['Peers']}")


def measure_push(seconds: float) -> bool:
    """Report the figures of all agents, each in a process and a network of its own. They have no goals."""
    print(f"# push: agents are left alone for {(WARM_UP + seconds) / 60:g} minutes", flush=True)
    kinds = [(part, updates) for part in EXPECTED for updates in UPDATES]
    limits = str(WARM_UP), str(seconds)
    with ExitStack() as stack:
        started = []
        for kind in kinds:
            process = subprocess.Popen([*COUNTING, *kind, *limits], stdout=subprocess.PIPE, text=True)
            started.append(stack.enter_context(process))
            stack.callback(stop, process)
        said = [process.communicate(timeout=WARM_UP + seconds + SLACK)[0] for process in started]
    if any(process.returncode for process in started):
        return False
    counts = {kind: hourly(json.loads(text), seconds) for kind, text in zip(kinds, said, strict=True)}
    for part in EXPECTED:
        for what in ("packets", "wakeups"):
            push, polling = (counts[part, updates][what] for updates in UPDATES)
            show(f"agent.hour.push.{part}.{what}", push, "1/h")
            show(f"agent.hour.polling.{part}.{what}", polling, "1/h")
            if polling:
                show(f"agent.hour.push.{part}.{what}.ratio", push / polling, "ratio")
    return True


def stop(process: subprocess.Popen[str]) -> None:
    """End a program of the bench that may still run, with all that it has started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(SLACK)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def hourly(counts: Mapping[str, int], seconds: float) -> dict[str, float]:
    """What bench.hour_push has counted, of an hour."""
    packets = sum(count for name, count in counts.items() if name != "wakeups")
    return {"wakeups": counts["wakeups"] * HOUR / seconds, "packets": packets * HOUR / seconds}


def processor_times(processes: tuple[int, ...]) -> list[float]:
    """Seconds that each process has run, all its threads, ended ones included (clock_getcpuclockid(3))."""
    return [time.clock_gettime(_clock(process)) for process in processes]


def _clock(process: int) -> int:
    clock = ctypes.c_int()
    error = ctypes.CDLL(None).clock_getcpuclockid(process, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error))
    return clock.value


def measure_together(parts: list[str], minutes: float | None) -> bool:
    """Each in a process and a network of its own, all at once: they hardly ever run."""
    command = [sys.executable, "-m", "bench.hour"]
    if minutes is not None:
        command += ["--minutes", str(minutes)]
    started = [subprocess.Popen([*command, part]) for part in parts]
    return sum(process.wait() for process in started) == 0


def main() -> int:
    """Report all figures; 1 if a goal is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--minutes", type=float, help=f"to measure ({MINUTES}; {PUSH}: {PUSH_MINUTES})")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; expected some of {', '.join(PARTS)}")
    parts = options.parts or list(PARTS)
    if len(parts) > 1:
        return 0 if measure_together(parts, options.minutes) else 1
    if parts == [PUSH]:
        return 0 if measure_push((options.minutes or PUSH_MINUTES) * 60) else 1
    enter_namespace("bench.hour")
    return 0 if asyncio.run(measure(parts[0], (options.minutes or MINUTES) * 60)) else 1


if __name__ == "__main__":
    sys.exit(main())
