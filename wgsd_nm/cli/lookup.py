# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm lookup: look all peers of a device up once, without an agent. Its options; the work is in onepass."""

from __future__ import annotations

import argparse

from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import Server, parse_interface

DESCRIPTION = """\
Ask a registry where the peers of a WireGuard device are, all at once, and set the endpoints that differ. For machines
without NetworkManager, once or by a timer (wgsd-nm-lookup@.timer); takes the place of wgsd-client.
"""
EPILOG = """\
A peer with a handshake younger than 135 seconds is left alone: its path works, and WireGuard may have learnt it by
itself since (wgsd-client wrote it all the same, and so fought roaming); --force sets it nevertheless. The peer whose
AllowedIPs hold the registry's address is never written.
Exit status: 0 all that could be looked up is done (a peer that the registry does not know is no failure), 1 a lookup
or the writing failed, 2 wrong usage, no permission, or no answer at all.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "lookup", help="look the peers of a device up once", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("--device", required=True, type=_interface, help="the WireGuard device, like wg0")
    parser.add_argument("--dns", required=True, type=_server, metavar="ADDR[:PORT]", help="the registry")
    parser.add_argument("--zone", required=True, type=_zone, help="the registry's zone, like wg.example.com")
    parser.add_argument("--force", action="store_true", help="set the endpoints of peers with a working path too")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be set")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print the result as JSON")
    output.add_argument("--quiet", action="store_true", help="print only what changes and what fails")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status as EPILOG says."""
    from wgsd_nm.cli import onepass  # here, so that the other commands start without dnspython and pyroute2

    return onepass.run(
        onepass.Wish(arguments.device, arguments.dns, arguments.zone, arguments.force, arguments.dry_run),
        as_json=arguments.json,
        quiet=arguments.quiet,
    )


def _interface(text: str) -> str:
    try:
        return parse_interface(text)
    except InvalidValue as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _server(text: str) -> Server:
    from wgsd_nm.core.config import parse_server

    try:
        return parse_server(text)
    except InvalidValue as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _zone(text: str) -> str:
    from wgsd_nm.core.dnssd import parse_zone

    try:
        parse_zone(text)
    except InvalidValue as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text
