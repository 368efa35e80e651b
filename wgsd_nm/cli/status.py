# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm status: where the peers are, and why, as a person reads it."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from wgsd_nm.cli.client import DONE, NOTHING_UP, Agent, with_agent
from wgsd_nm.cli.finding import capital, sentence
from wgsd_nm.cli.terminal import Colour, Style, columns, of_state, padded, standard_output, widths
from wgsd_nm.cli.view import AgentView, PeerView, TunnelView

DESCRIPTION: Final = "Show the tunnels, their peers, and how each is reached. An agent that is not running is started."

HEADER: Final = ("PEER", "STATE", "FOR", "ENDPOINT", "FROM", "HANDSHAKE")
REASON: Final = "WHY"
STATE_COLUMN: Final = HEADER.index("STATE")
MARGIN: Final = "  "
BELOW: Final = "    "


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("status", help="show tunnels and peers", description=DESCRIPTION)
    parser.add_argument("--json", action="store_true", help="print the agent's properties as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0 shown, 2 no agent."""
    return with_agent(partial(_status, as_json=arguments.json))


async def _status(agent: Agent, *, as_json: bool) -> int:
    properties = await agent.properties()
    if as_json:
        print(json.dumps(properties, indent=2))
    else:
        print("\n".join(report(AgentView.of(properties), time.time(), standard_output())))
    return DONE


def report(agent: AgentView, now: float, style: Style) -> Iterator[str]:
    """The lines to print; `now` is seconds since the epoch."""
    yield f"State: {style.paint(agent.state, of_state(agent.state))}"
    if agent.last_error:
        yield from style.wrapped(agent.last_error, MARGIN)
    if not agent.tunnels:
        yield from style.wrapped(capital(sentence(NOTHING_UP)), MARGIN)
    for tunnel in agent.tunnels:
        yield ""
        yield from _tunnel(tunnel, now, style)
        peers = agent.peers_of(tunnel)
        if peers:
            yield from _peers(peers, now, style)


def _tunnel(tunnel: TunnelView, now: float, style: Style) -> Iterator[str]:
    yield f"{style.paint(tunnel.title, Colour.HEADING)}: {style.paint(tunnel.state, of_state(tunnel.state))}"
    if tunnel.zone:
        answered = f"answered {ago(tunnel.last_lookup, now)}"
        parts = (f"zone {tunnel.zone} at {', '.join(tunnel.registries)}", answered, tunnel.learns_by)
        yield from style.wrapped(", ".join(filter(None, parts)), MARGIN)
    if tunnel.public_endpoints:
        symmetric = ": our NAT is symmetric" if tunnel.is_behind_symmetric_nat else ""
        yield from style.wrapped(f"we are seen as {', '.join(tunnel.public_endpoints)}{symmetric}", MARGIN)
    if tunnel.last_error:
        yield from style.wrapped(tunnel.last_error, MARGIN)


def _peers(peers: Sequence[PeerView], now: float, style: Style) -> Iterator[str]:
    """A table. The reasons are its last column where the lines fit then, else they stand below their peers."""
    rows = [_row(peer, now) for peer in peers]
    sizes = widths([HEADER, *rows])
    table = len(MARGIN) + sum(sizes) + len(MARGIN) * len(sizes)
    beside = style.fits(table + max(columns(peer.text) for peer in peers))
    header = (*HEADER, REASON) if beside else HEADER
    yield MARGIN + style.paint(MARGIN.join(map(padded, header, (*sizes, len(REASON)))).rstrip(), Colour.HEADING)
    for peer, row in zip(peers, rows, strict=True):
        cells = [padded(cell, size) for cell, size in zip(row, sizes, strict=True)]
        cells[STATE_COLUMN] = style.paint(peer.state, of_state(peer.state)) + cells[STATE_COLUMN][len(peer.state) :]
        yield (MARGIN + MARGIN.join((*cells, peer.text) if beside else cells)).rstrip()
        if not beside:
            yield from style.wrapped(peer.text, BELOW)
        for text in _more(peer):
            yield from style.wrapped(text, BELOW)


def _row(peer: PeerView, now: float) -> tuple[str, ...]:
    since = span(now - peer.connected_since / 1e6) if peer.connected_since else "-"
    return peer.name, peer.state, since, peer.endpoint or "-", peer.source, ago(peer.latest_handshake, now)


def _more(peer: PeerView) -> Iterator[str]:
    """What helps to understand why a peer is not reached."""
    if peer.state in ("connected", "idle"):
        return
    if peer.last_error:
        yield peer.last_error
    others = [candidate for candidate in peer.candidates if candidate != peer.endpoint]
    if others:
        yield f"to be tried: {', '.join(others)}"


def ago(microseconds: int, now: float) -> str:
    """A time of the bus as people say it: 12 s ago, 5 min ago, 3 h ago, 2 d ago, never."""
    return "never" if microseconds == 0 else f"{span(now - microseconds / 1e6)} ago"


def span(seconds: float) -> str:
    """A length of time as people say it: 12 s, 5 min, 3 h, 2 d."""
    whole = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= 2 * length:
            return f"{whole // length} {unit}"
    return f"{whole} s"
