# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm: the command line for people."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Final

from wgsd_nm import __version__
from wgsd_nm.cli import doctor, key, lookup, monitor, refresh, status

COMMANDS = (status, monitor, doctor, refresh, lookup, key)

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it: 128 and the signal's number."""
NO_READER: Final = 141
"""Exit status where nobody reads what is printed any more, as of a program that SIGPIPE ends."""


def main() -> None:
    arguments = command_line().parse_args()
    try:
        code = arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at its end
        code = NO_READER
    sys.exit(code)


def command_line() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="wgsd-nm", description="WireGuard peers that find each other: see where they are, and look them up."
    )
    parser.add_argument("--version", action="version", version=f"wgsd-nm {__version__}")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


if __name__ == "__main__":
    main()
