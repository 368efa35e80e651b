# SPDX-License-Identifier: GPL-2.0-or-later
"""More packets than the tests send, at a server that runs: `python -m tests.fuzz 127.0.0.1 5300 --count 5000000`.

It has to be a registry for the zone wg.example.com. What breaks it is printed; the seed makes the same packets again.
"""

from __future__ import annotations

import argparse
import secrets
import sys

from tests.fuzz.conversation import PromiseBroken, converse
from tests.fuzz.names import NAMES
from tests.fuzz.packets import Packets

PROGRESS = 100_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("address", help="an IPv4 address of this machine, like 127.0.0.1")
    parser.add_argument("port", type=int)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    try:
        for done in converse((options.address, options.port), Packets(options.seed, NAMES), options.count):
            if done and done % PROGRESS == 0:
                print(f"{done} packets", flush=True)
    except PromiseBroken as error:
        print(error)
        return 1
    print(f"{options.count} packets: every promise kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
