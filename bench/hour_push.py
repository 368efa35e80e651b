# SPDX-License-Identifier: GPL-2.0-or-later
"""One of the agents of the hour's push figures: how many packets and wake-ups it has while nothing happens.

    python3 -m bench.hour_push well|unreachable push|polling WARM_UP SECONDS

prints them as one line of JSON. Packets are the kernel's own count (/proc/net/snmp) in the laptop's network, where
nothing but the agent speaks IP: UDP datagrams and TCP segments, those sent again included, in both directions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import Mapping
from pathlib import Path

from bench.agent import count_wakeups
from bench.laptop import Laptop, enter_namespace
from wgsd_nm.bus import names

PEERS = 2
REGISTRIES = {"push": "bench.hour_registry", "polling": "bench.registry_process"}
STATES = {"well": "ok", "unreachable": "degraded"}
COUNTED = {"Udp": ("InDatagrams", "OutDatagrams"), "Tcp": ("InSegs", "OutSegs", "RetransSegs")}


async def measure(part: str, updates: str, warm_up: float, seconds: float) -> dict[str, int]:
    """Counts of so many seconds. Raises RuntimeError if the agent is not as it should be."""
    async with Laptop(PEERS, REGISTRIES[updates]) as laptop:
        unreachable = ("--unreachable",) if part == "unreachable" else ()
        helper = await laptop.python("bench.hour_helper", "--peers", str(PEERS), *unreachable)
        await laptop.owned(laptop.system, names.HELPER)
        agent = await laptop.python("wgsd_nm.agent")
        await laptop.owned(laptop.session, names.AGENT)
        await asyncio.sleep(warm_up)
        await check(laptop, part, updates)
        before = packets(counters())
        watched = (agent.pid, helper.pid, *laptop.daemons, laptop.network_manager.pid)
        wakeups = await count_wakeups(watched, seconds)
        after = packets(counters())
        await check(laptop, part, updates)
    return {"wakeups": wakeups, **{name: after[name] - before[name] for name in COUNTED}}


async def until_stopped(part: str, updates: str, warm_up: float, seconds: float) -> dict[str, int]:
    """As `measure`; SIGTERM ends it, and with it all that it has started."""
    measuring = asyncio.ensure_future(measure(part, updates, warm_up, seconds))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, measuring.cancel)
    return await measuring


async def check(laptop: Laptop, part: str, updates: str) -> None:
    """Raises RuntimeError if the agent does not say that it is as expected, and learns of changes that way."""
    said = await laptop.session.get_all(names.AGENT, names.AGENT_PATH, names.AGENT)
    found = [said["State"], *(tunnel["Updates"] for tunnel in said["Tunnels"])]
    if found != [STATES[part], updates]:
        raise RuntimeError(f"the agent says {', '.join(found)}: expected {STATES[part]}, {updates}")


def counters() -> str:
    """Of the network of this process."""
    return Path("/proc/net/snmp").read_text()


def packets(text: str) -> Mapping[str, int]:
    """Those of each protocol since the network began, from what `counters` gives."""
    lines = [line.split() for line in text.splitlines()]
    values = {
        one[0].rstrip(":"): dict(zip(one[1:], other[1:], strict=True))
        for one, other in zip(lines[::2], lines[1::2], strict=True)
    }
    return {name: sum(int(values[name][each]) for each in counted) for name, counted in COUNTED.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=STATES)
    parser.add_argument("updates", choices=REGISTRIES)
    parser.add_argument("warm_up", type=float)
    parser.add_argument("seconds", type=float)
    options = parser.parse_args()
    enter_namespace("bench.hour_push")
    print(json.dumps(asyncio.run(until_stopped(options.part, options.updates, options.warm_up, options.seconds))))
