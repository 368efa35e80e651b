# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry with a recorded kernel whose peers move when they are told to; all else is the real program.

    python -m bench.push_program RECORDING MOVES FLAG...

The reader that it starts is this module again. See bench/push_kernel.py for the files.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

from bench.push_kernel import Moves, Moving
from bench.recording import load
from wgsd_nm.registry import __main__, reader

READER = "--as-reader"


def main() -> int:
    if sys.argv[1] != READER:
        command = (sys.executable, "-m", "bench.push_program", READER, *sys.argv[1:3])
        return __main__.main(sys.argv[3:], reader=command)
    player = Moving(load(Path(sys.argv[2])), Moves(Path(sys.argv[3])))
    with patch("wgsd_nm.wireguard._Netlink", lambda: player):
        return reader.main(sys.argv[4:])


if __name__ == "__main__":
    sys.exit(main())
