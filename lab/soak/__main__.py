# SPDX-License-Identifier: GPL-2.0-or-later
"""The long soak: `make soak`, or in the guest `python3 -m lab.soak --seed 7 --events 200`."""

from __future__ import annotations

import argparse
import secrets
import sys

from lab.soak.company import boot
from lab.soak.soak import SoakFailedError, soak
from lab.world import World
from lab.world.report import collect


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m lab.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--events", type=int, default=200)
    options = parser.parse_args()
    with World() as world:
        try:
            soak(world, boot(world), options.seed, options.events, lambda line: print(line, flush=True))
        except SoakFailedError as error:
            print(collect(world.hosts, "soak"))
            print(f"\nThe soak FAILED: {error}")
            return 1
    print("everything held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
