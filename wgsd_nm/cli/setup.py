# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm setup: has a tunnel looked after: writes its section of the configuration, and has the agent read it."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus
from wgsd_nm.cli.client import DONE, FAILED, NO_AGENT, WHOSE_SESSION, Agent, with_agent
from wgsd_nm.cli.doctor import report
from wgsd_nm.cli.finding import Result
from wgsd_nm.cli.status import report as status_report
from wgsd_nm.cli.terminal import printable, standard_output
from wgsd_nm.cli.view import AgentView
from wgsd_nm.core.errors import BusError, ConfigError, InvalidValue, WgsdError
from wgsd_nm.core.model import PublicKey, Server, shown

if TYPE_CHECKING:
    from wgsd_nm.cli.configedit import Section

DESCRIPTION = """\
Have a tunnel looked after: check it against NetworkManager and the registry, write its section of
~/.config/wgsd-nm/config.toml, start the agent or have it read that, and show what status shows. The rest of the file
stays as it is.
"""
EPILOG = """\
Exit status: 0 done, 1 a check failed and nothing was written, the file cannot be written, or the agent does not take
it, 2 wrong usage, or no agent could be started.
"""

START: Final = "systemctl --user enable --now wgsd-nm-agent"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller wants: `names` maps what a peer is to be called to its key."""

    connection: str
    zone: str
    registries: tuple[Server, ...]
    names: dict[str, PublicKey] = field(default_factory=dict)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("setup", help="have a tunnel looked after", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("connection", metavar="CONNECTION", help="its name or UUID in NetworkManager, or its interface")
    parser.add_argument("--zone", required=True, type=_zone, help="the registry's zone, like wg.example.com")
    parser.add_argument(
        "--registry",
        required=True,
        action="append",
        type=_server,
        metavar="ADDR[:PORT]",
        help="the registry; may be repeated",
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        type=_name,
        metavar="NAME=KEY",
        help="what a peer is called, and its public key; may be repeated",
    )
    parser.add_argument("--force", action="store_true", help="write it even if a check fails")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status as EPILOG says."""
    from wgsd_nm.cli import setup_checks  # here, so that the other commands start without dnspython

    try:
        wish = Wish(arguments.connection, arguments.zone, tuple(arguments.registry), _names(arguments.name))
        text, file = _present()
        checked = asyncio.run(setup_checks.check(wish, text, str(file)))
        print("\n".join(report(checked.findings, standard_output())))
        if any(finding.result is Result.PROBLEM for finding in checked.findings) and not arguments.force:
            raise ConfigError("nothing is written, for a check failed; --force writes it all the same")
        _write(file, text, _section(wish, checked.section))
    except ConfigError as error:
        print(f"wgsd-nm: {printable(str(error))}", file=sys.stderr)
        return FAILED
    return asyncio.run(_take_up()) or with_agent(_show)


def _names(given: Iterable[tuple[str, PublicKey]]) -> dict[str, PublicKey]:
    """Raises ConfigError."""
    names: dict[str, PublicKey] = {}
    for name, key in given:
        if name in names or key in names.values():
            raise ConfigError(f"--name {name}={key}: each name, and each key, is expected once")
        names[name] = key
    return names


def _section(wish: Wish, connection: str) -> Section:
    from wgsd_nm.cli.configedit import Section

    keys = {name: str(key) for name, key in wish.names.items()}
    return Section(connection, wish.zone, tuple(map(str, wish.registries)), keys)


def _present() -> tuple[str, Path]:
    """The text that is in force, and the user's own file: a new one begins as a copy of the system's.

    Raises ConfigError, also where that text makes no sense: what the agent does not understand is not written to.
    """
    from wgsd_nm.agent import configfile

    configfile.load()
    file = configfile.user_file()
    for path in (file, configfile.SYSTEM_FILE):
        try:
            text = path.read_bytes().decode()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
        return text, file
    return "", file


def _write(file: Path, text: str, section: Section) -> None:
    """Whatever happens, the old file or the new one is there, whole. Raises ConfigError."""
    from wgsd_nm.agent import configfile
    from wgsd_nm.cli import configedit, quoting

    after = configedit.edited(text, section, str(file))
    if after == text and file.exists():
        print(f"{file}: {quoting.section(section.connection)} is so already")
        return
    is_copy = bool(text) and not file.exists()
    configfile.write(file, after)
    print(f"{file}: {quoting.section(section.connection)} is written")
    if is_copy:
        print(f"It began as a copy of {configfile.SYSTEM_FILE}, which does not count for you any more")


async def _take_up() -> int:
    """Have an agent that runs read the file; start it, if the session bus can. An exit status."""
    session = Bus(system=False)

    async def ask(member: str, *call: object) -> object:
        signature, *arguments = call or ("",)
        reply = await session.call(names.DBUS, names.DBUS_PATH, names.DBUS, member, str(signature), *arguments)
        return reply[0]

    try:
        await session.connect()
        if await ask("NameHasOwner", "s", names.AGENT):
            await session.call(names.AGENT, names.AGENT_PATH, names.AGENT, "Reload")
            return DONE
        activatable = await ask("ListActivatableNames")
        if isinstance(activatable, list) and names.AGENT in activatable:
            return DONE  # by the call for what it knows
        systemd = await ask("NameHasOwner", "s", names.SYSTEMD1)
        print("wgsd-nm: the agent is not running, and the session bus does not know how to start it", file=sys.stderr)
        how = START if systemd else "let your desktop start wgsd-nm-agent with the session"
        print(f"wgsd-nm: start it: {how}; wgsd-nm status tells what it knows then", file=sys.stderr)
        return NO_AGENT
    except BusError as error:
        print(f"wgsd-nm: the agent could not be told: {printable(str(error))}", file=sys.stderr)
        if not session.connected:
            print(f"wgsd-nm: {WHOSE_SESSION}", file=sys.stderr)
            return NO_AGENT
        return FAILED
    finally:
        await session.close()


async def _show(agent: Agent) -> int:
    try:
        await agent.refresh()
    except WgsdError as error:
        print(f"wgsd-nm: {printable(str(error))}", file=sys.stderr)
    print()
    print("\n".join(status_report(AgentView.of(await agent.properties()), time.time(), standard_output())))
    return DONE


def _zone(text: str) -> str:
    from wgsd_nm.core.config import AUTO
    from wgsd_nm.core.dnssd import parse_zone

    if text == AUTO:
        raise argparse.ArgumentTypeError('expected the name of the zone; "auto" can be written into the file by hand')
    try:
        parse_zone(text)
    except InvalidValue as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _server(text: str) -> Server:
    from wgsd_nm.core.config import parse_server

    try:
        return parse_server(text)
    except InvalidValue as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _name(text: str) -> tuple[str, PublicKey]:
    name, separator, key = text.partition("=")
    if not (name and separator):
        raise argparse.ArgumentTypeError(f"{shown(text)}: expected NAME=KEY, like bob=xTIB...Dg=")
    try:
        return name, PublicKey.parse(key)
    except InvalidValue as error:
        raise argparse.ArgumentTypeError(str(error)) from error
