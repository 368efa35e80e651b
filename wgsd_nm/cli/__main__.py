# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm: the command line for people."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from wgsd_nm import __version__
from wgsd_nm.cli import key, lookup, refresh, status

COMMANDS = (status, refresh, lookup, key)

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it: 128 and the signal's number."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="wgsd-nm", description="WireGuard peers that find each other: see where they are, and look them up."
    )
    parser.add_argument("--version", action="version", version=f"wgsd-nm {__version__}")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    arguments = parser.parse_args()
    try:
        code = arguments.run(arguments)
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


if __name__ == "__main__":
    main()
