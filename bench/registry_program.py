# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry with a recorded kernel; all else is the real program.

    python -m bench.registry_program RECORDING FLAG...

The reader that it starts is this module again.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

from bench.recording import Player, load
from wgsd_nm.registry import __main__, reader

READER = "--as-reader"


def main() -> int:
    if sys.argv[1] != READER:
        return __main__.main(sys.argv[2:], reader=(sys.executable, "-m", "bench.registry_program", READER, sys.argv[1]))
    player = Player(load(Path(sys.argv[2])))
    with patch("wgsd_nm.wireguard._Netlink", lambda: player):
        return reader.main(sys.argv[3:])


if __name__ == "__main__":
    sys.exit(main())
