# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm monitor: what happens, one line an event, as it happens."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime
from functools import partial
from typing import Any

from wgsd_nm.cli.client import DONE, Agent, with_agent
from wgsd_nm.cli.history import GONE, Event, History
from wgsd_nm.cli.terminal import Colour, Style, of_state, standard_output
from wgsd_nm.core.errors import BusError, BusLost

DESCRIPTION = """\
Show what happens to tunnels and peers, one line an event, from the present state on and until Ctrl-C. An agent that
is not running is started; one that cannot be started, or that ends meanwhile, is waited for.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("monitor", help="show what happens, as it happens", description=DESCRIPTION)
    parser.add_argument("--json", action="store_true", help="print each event as one line of JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0 after Ctrl-C, 2 without a session bus or when that ends."""
    style = standard_output()

    def show(event: Event) -> None:
        now = datetime.now().astimezone()
        print(as_json(event, now) if arguments.json else line(event, now, style), flush=True)

    try:
        return with_agent(partial(_monitor, show=show))
    except KeyboardInterrupt:
        return DONE


async def _monitor(agent: Agent, show: Callable[[Event], None]) -> int:
    history = History()
    events: asyncio.Queue[Event] = asyncio.Queue()

    def tell(happened: Iterable[Event]) -> None:
        for event in happened:
            events.put_nowait(event)

    async def look() -> None:
        try:
            tell(history.present(await agent.properties()))
        except BusError as error:
            tell([*history.gone(), Event("error", "", f"the agent cannot be asked: {error}")])

    def owned(owner: str) -> None:
        if owner:
            begin(look())
        else:
            tell(history.gone())

    def begin(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    tasks: set[asyncio.Task[None]] = set()
    try:
        await agent.follow(lambda new: tell(history.changed(new)), lambda move: tell(_moved(history, move)), owned)
        begin(look())
        printing, lost = begin(_print(events, show)), begin(agent.bus_lost())
        await asyncio.wait((printing, lost), return_when=asyncio.FIRST_COMPLETED)
        if printing.done():
            printing.result()
        raise BusLost("the session bus has ended")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _moved(history: History, values: list[Any]) -> tuple[Event, ...]:
    return history.moved(*map(str, values[:5]))


async def _print(events: asyncio.Queue[Event], show: Callable[[Event], None]) -> None:
    while True:
        show(await events.get())


def as_json(event: Event, now: datetime) -> str:
    """One object a line; `time` is ISO 8601 with the zone's offset."""
    return json.dumps({"time": now.isoformat(timespec="milliseconds"), **event.record()})


def line(event: Event, now: datetime, style: Style) -> str:
    """The event as a person reads it, behind the local time."""
    return f"{style.paint(now.strftime('%H:%M:%S'), Colour.FAINT)}  {_said(event, style)}"


def _said(event: Event, style: Style) -> str:
    who = " ".join(filter(None, (event.interface, event.name)))
    subject = style.paint(who, Colour.HEADING) + ": " if who else ""
    match event.what:
        case "agent":
            return f"the agent is {event.new}" + (f", {event.text}" if event.text else "")
        case "state":
            new = style.paint(event.new, of_state(event.new) if event.new != GONE else Colour.FAINT)
            change = f"{event.old} -> {new}" if event.old not in ("", event.new) else new
            return f"{subject}{change}" + (f". {event.text}" if event.text else "")
        case "error":
            return subject + (style.paint(event.new, Colour.BAD) if event.new else f"no longer: {event.old}")
        case "public-endpoint":
            return f"{subject}we are seen as {event.new or 'nothing any more'}"
        case "updates":
            return f"{subject}hears of moves by {event.new}"
        case _:
            change = f"{event.old or 'no endpoint'} -> {event.new or 'no endpoint'}"
            return f"{subject}{change}" + (f". {event.text}" if event.text else "")
