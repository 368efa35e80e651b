# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm refresh: look all peers up now."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from wgsd_nm.cli.client import DONE, NOTHING_UP, Agent, with_agent
from wgsd_nm.cli.view import AgentView

DESCRIPTION = "Look all peers up now. An agent that is not running is started."


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("refresh", help="look all peers up now", description=DESCRIPTION)
    parser.add_argument("interface", nargs="?", default="", help="only those of this tunnel, like wg0")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0 done, 1 no registry answered or the agent refused, 2 no agent."""
    return with_agent(partial(_refresh, interface=arguments.interface))


async def _refresh(agent: Agent, interface: str) -> int:
    await agent.refresh(interface)
    if not AgentView.of(await agent.properties()).tunnels:
        print(f"wgsd-nm: {NOTHING_UP}", file=sys.stderr)
    return DONE
