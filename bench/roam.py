# SPDX-License-Identifier: GPL-2.0-or-later
"""How long two laptops do not hear each other after one of them has moved, in the lab's machine.

    python3 -m bench.roam [public.live] [nat.live] [nat.dead] [--runs N]

0 is the moment that alice's new address is usable: the kernel has the default route by the new router. Measured is the
time to the first answer from bob, whom she pings all the time, as he does her; median and worst of 20.

roam.public.live  s, bob has a public address, and the session lives
roam.nat.live     the same, bob is behind a port-restricted NAT, and has to notice by himself: he sends into silence
roam.nat.dead     the same, no session on either side, and both sides know: it was lost while alice was away, and both
                  agents are asked for a Refresh at 0. The kernel begins one handshake in five seconds
roam.push.live    as nat.live, and our registry tells bob's agent
roam.push.dead    as nat.dead, but nobody is asked for anything: our registry tells bob's agent
....worst         the worst
....wgsd.loop, ....wgsd.timer, ....worst   the same with wgsd-client in place of both agents: begun every 5 s, or every
                  60 s (7 runs), each side anywhere in its period at first
....vs_wgsd.loop, ....vs_wgsd.timer, ....vs_polling   our median divided by that one, or by that of agents that ask

Bob's silence, by which his agent notices, begins when her cable is pulled: the line of each run says how long before 0
that was. With a public address it is the kernel that follows, whatever else runs; the figure shows that nothing of ours
is in its way, and its quotients mean nothing.

The registry is CoreDNS with wgsd, which cannot push, for all others. The machine is emulated: a program of Python
starts ten times more slowly there than on this one, a program of Go too, while what waits for a timer takes as long as
anywhere.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from bench.roam_guest import RUNS, SCENARIOS, runs

TIMEOUT = 3000
"""Seconds for 20 runs of a scenario in all four ways; they take half of it."""


def main() -> int:
    """Report all figures; 1 if a goal is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--runs", type=runs, default=RUNS)
    options = parser.parse_args()
    unknown = set(options.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; expected some of {', '.join(SCENARIOS)}")
    missed = [name for name in options.scenarios or SCENARIOS if run(name, options.runs)]
    return 1 if missed else 0


def run(scenario: str, count: int) -> int:
    """The scenario in a machine of its own; its exit status."""
    command = [sys.executable, "-m", "lab", "run", "--wgsd", "--timeout", str(TIMEOUT), "--"]
    command += ["python3", "-m", "bench.roam_guest", scenario, "--runs", str(count)]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
