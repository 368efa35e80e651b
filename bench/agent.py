# SPDX-License-Identifier: GPL-2.0-or-later
"""What the agent costs, and how soon it acts.

    python3 -m bench.agent [pass] [start] [steady]

agent.pass.N        ms from NetworkManager's signal (a tunnel with N peers is up) to the last endpoint acknowledged:
                    real buses, helper, GetPeers, SetEndpoints, polkit saying yes, a registry 30 ms away
agent.pass.ratio.N  the same lookups one after another, as wgsd-client makes them, divided by that
agent.start, helper.start   s until the bus name is owned, warm cache
agent.rss, helper.rss       MB resident after ten minutes with ten well peers
agent.wakeups               a minute, in that time: moments at which agent or helper, or a bus, polkit or NetworkManager
                            for them, ran; what runs within 100 ms of each other is one
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path
from statistics import median

import dns.message
import dns.query
import dns.rdatatype

from bench.figure import report
from bench.laptop import Laptop, Program, enter_namespace, monotonic
from tests.integration.scripted_nm import peer_address, peer_key
from wgsd_nm.bus import names
from wgsd_nm.core.dnssd import instance_name, parse_zone

LATENCY = 30.0
PASS_GOALS = {1: 15, 10: 20, 100: 60, 1000: 270}
RATIO_GOALS = {100: 30, 1000: 100}
PASSES = 7
ACTIVATING = 0.5
"""Seconds that the activation's first part takes, as with the real NetworkManager."""
STARTS = 10
STEADY_MINUTES = 10
WARM_UP = 60
"""Seconds until all peers have been seen to be well."""
SAMPLE = 0.05


async def one_pass(laptop: Laptop, agent: Program, helper: Program) -> float:
    """Milliseconds from the activation's last signal to the last endpoint's acknowledgement."""
    await laptop.scene("deactivate")
    helper.process.send_signal(signal.SIGUSR1)
    await laptop.scene("begin_activation")
    await asyncio.sleep(ACTIVATING)
    began = await laptop.scene("complete_activation")
    left = laptop.peers
    while left:
        at, count = map(int, (await agent.hear()).split())
        left -= count
    return (at - began) / 1e6


async def measure_pass(peers: int) -> bool:
    async with Laptop(peers) as laptop:
        helper = await laptop.python("bench.helper_process", "--peers", str(peers))
        await laptop.owned(laptop.system, names.HELPER)
        agent = await laptop.python("bench.agent_process")
        await laptop.owned(laptop.session, names.AGENT)
        left = peers
        while left:
            left -= int((await agent.hear()).split()[1])
        times = [await one_pass(laptop, agent, helper) for _ in range(PASSES)]
        typical = median(times)
        met = report(f"agent.pass.{peers}", typical, "ms", LATENCY + PASS_GOALS[peers])
        if peers in RATIO_GOALS:
            ratio = await asyncio.to_thread(one_after_another, peers) / typical
            met &= report(f"agent.pass.ratio.{peers}", ratio, "ratio", RATIO_GOALS[peers], at_most=False)
        return met


def one_after_another(peers: int) -> float:
    """Milliseconds that the same lookups take when each waits for the one before."""
    zone, server = parse_zone("example.com"), str(peer_address(0))
    began = time.monotonic()
    for number in range(1, peers + 1):
        query = dns.message.make_query(instance_name(peer_key(number), zone), dns.rdatatype.SRV)
        dns.query.udp(query, server, timeout=5)
    return (time.monotonic() - began) * 1000


async def measure_start() -> bool:
    async with Laptop(10) as laptop:
        met = True
        for title, module, bus, name in (
            ("helper.start", "bench.helper_process", laptop.system, names.HELPER),
            ("agent.start", "wgsd_nm.agent", laptop.session, names.AGENT),
        ):
            arguments = ("--peers", "10") if title == "helper.start" else ()
            times = []
            for _ in range(STARTS + 1):
                began = monotonic()
                program = await laptop.python(module, *arguments)
                times.append((await laptop.owned(bus, name) - began) / 1e9)
                await program.stop()
            met &= report(title, median(times[1:]), "s", 0.5)
        return met


async def measure_steady() -> bool:
    async with Laptop(10) as laptop:
        helper = await laptop.python("bench.helper_process", "--peers", "10", "--well")
        await laptop.owned(laptop.system, names.HELPER)
        agent = await laptop.python("wgsd_nm.agent")
        await laptop.owned(laptop.session, names.AGENT)
        print(f"# agent and helper are left alone for {STEADY_MINUTES} minutes", flush=True)
        await asyncio.sleep(WARM_UP)
        watched = (agent.pid, helper.pid, *laptop.daemons, laptop.network_manager.pid)
        wakeups = await count_wakeups(watched, STEADY_MINUTES * 60 - WARM_UP)
        met = report("agent.wakeups", 60 * wakeups / (STEADY_MINUTES * 60 - WARM_UP), "1/min", 6)
        met &= report("agent.rss", resident(agent.pid), "MB", 35)
        return met & report("helper.rss", resident(helper.pid), "MB", 40)


async def count_wakeups(processes: tuple[int, ...], seconds: float) -> int:
    """Moments at which one of the processes had run, seen twenty times a second; neighbouring moments are one."""
    loop = asyncio.get_running_loop()
    end, count, awake, before = loop.time() + seconds, 0, True, switches(processes)
    while loop.time() < end:
        await asyncio.sleep(SAMPLE)
        now = switches(processes)
        ran = now != before
        count += ran and not awake
        awake, before = ran, now
    return count


def switches(processes: tuple[int, ...]) -> list[str]:
    """How often each process gave the processor up by itself (proc(5), status)."""
    texts = (Path(f"/proc/{process}/status").read_text() for process in processes)
    return [line for text in texts for line in text.splitlines() if line.startswith("voluntary_ctxt_switches")]


def resident(process: int) -> float:
    text = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in text.splitlines() if line.startswith("VmRSS"))


async def measure(parts: list[str]) -> bool:
    met = True
    if "pass" in parts:
        for peers in PASS_GOALS:
            met &= await measure_pass(peers)
    if "start" in parts:
        met &= await measure_start()
    if "steady" in parts:
        met &= await measure_steady()
    return met


if __name__ == "__main__":
    enter_namespace("bench.agent")
    sys.exit(0 if asyncio.run(measure(sys.argv[1:] or ["pass", "start", "steady"])) else 1)
