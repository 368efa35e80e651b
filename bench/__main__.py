# SPDX-License-Identifier: GPL-2.0-or-later
"""All figures, one line each. The exit status is 1 if a goal is missed."""

from __future__ import annotations

import subprocess
import sys

MODULES = ("bench.agent", "bench.hour", "bench.wireguard", "bench.registry", "bench.push", "bench.roam")


def main() -> int:
    missed = [name for name in MODULES if subprocess.run([sys.executable, "-m", name], check=False).returncode]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
