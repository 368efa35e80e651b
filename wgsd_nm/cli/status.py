# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm status: where the peers are, and why, as a person reads it."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from wgsd_nm.cli.client import DONE, Agent, with_agent

Record = dict[str, Any]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "status", help="show tunnels and peers", description="Show the tunnels, their peers, and how each is reached."
    )
    parser.add_argument("--json", action="store_true", help="print the agent's properties as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0 shown, 2 no agent."""
    return with_agent(partial(_status, as_json=arguments.json))


async def _status(agent: Agent, *, as_json: bool) -> int:
    properties = await agent.properties()
    if as_json:
        print(json.dumps(properties, indent=2, ensure_ascii=False))
    else:
        print("\n".join(report(properties, time.time())))
    return DONE


def report(properties: Record, now: float) -> Iterator[str]:
    """The lines to print; `now` is seconds since the epoch."""
    yield f"State: {properties['State']}"
    for tunnel in properties["Tunnels"]:
        peers = [peer for peer in properties["Peers"] if peer["Interface"] == tunnel["Interface"]]
        yield ""
        yield from _tunnel(tunnel, now)
        if peers:
            header = ("PEER", "STATE", "ENDPOINT", "FROM", "HANDSHAKE", "WHY")
            yield from _table(header, [_row(peer, now) for peer in peers])


def _tunnel(tunnel: Record, now: float) -> Iterator[str]:
    title = tunnel["Interface"]
    if tunnel["ConnectionId"] != title:
        title += f" ({tunnel['ConnectionId']})"
    yield f"{title}: {tunnel['State']}"
    if tunnel["Zone"]:
        yield f"  zone {tunnel['Zone']} at {', '.join(tunnel['Registries'])}, answered {ago(tunnel['LastLookup'], now)}"
    if tunnel["PublicEndpoint"]:
        yield f"  we are seen as {tunnel['PublicEndpoint']}"
    if tunnel["LastError"]:
        yield f"  {tunnel['LastError']}"


def _row(peer: Record, now: float) -> tuple[str, ...]:
    return (
        peer["Name"],
        peer["State"],
        peer["Endpoint"] or "-",
        peer["Source"],
        ago(peer["LatestHandshake"], now),
        peer["ReasonText"],
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  " + "  ".join(cells).rstrip()


def ago(microseconds: int, now: float) -> str:
    """A time of the bus as people say it: 12 s ago, 5 min ago, 3 h ago, 2 d ago, never."""
    if microseconds == 0:
        return "never"
    seconds = max(0, int(now - microseconds / 1e6))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"
