# SPDX-License-Identifier: GPL-2.0-or-later
"""More bad answers than the tests send, at the agent's resolver: `python -m tests.fuzz.resolver 5000000`.

What breaks it is printed; the seed makes the same answers again, but for what the resolver's own chance decides.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys

from tests.fuzz.hostile import PromiseBroken, Run

PART = 100_000


async def send(seed: int, count: int) -> None:
    run = Run(seed)
    while run.messages < count:
        await run.until(min(run.messages + PART, count))
        print(f"{run.messages} answers; the lookups ended: {dict(run.ended)}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.resolver", description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    try:
        asyncio.run(send(options.seed, options.count))
    except PromiseBroken as error:
        print(error)
        return 1
    print("every promise kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
