# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm: the command line for people."""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import Final, TextIO

from wgsd_nm import __version__
from wgsd_nm.cli import doctor, key, lookup, monitor, refresh, setup, status

COMMANDS = (setup, status, monitor, doctor, refresh, lookup, key)

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it: 128 and the signal's number."""
FAILED: Final = 1
"""Exit status where the system refuses, as where the output is a full disk."""
NO_READER: Final = 141
"""Exit status where nobody reads what is printed any more, as of a program that SIGPIPE ends."""


def main() -> None:
    _open_output()
    try:
        code = _run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        _drop(sys.stdout)
        code = NO_READER
    except OSError as error:
        _drop(sys.stdout)
        _complain(f"wgsd-nm: cannot read or write: {error.strerror or error}")
        code = FAILED
    sys.exit(code)


def _run() -> int:
    try:
        arguments = command_line().parse_args()
    except SystemExit as ended:  # after --help, --version, or a word about wrong usage
        return int(ended.code or 0)
    status: int = arguments.run(arguments)
    return status


def _open_output() -> None:
    """Print to nowhere where the caller has closed an output, and what its encoding lacks as question marks."""
    if sys.stdout is None:
        sys.stdout = os.fdopen(_nowhere(), "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(_nowhere(), "w", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _drop(stream: TextIO) -> None:
    """What it still holds goes nowhere: Python flushes it once more at its end."""
    os.dup2(_nowhere(), stream.fileno())


def _complain(sentence: str) -> None:
    try:
        print(sentence, file=sys.stderr, flush=True)
    except OSError:
        _drop(sys.stderr)


def _nowhere() -> int:
    return os.open(os.devnull, os.O_WRONLY)


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
