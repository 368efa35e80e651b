# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine that has booted and warmed up, as a file: made once, restored in a second any number of times."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lab.image import GUEST
from lab.machine import FAST, SYSTEMD, Kind, Machine

WARM_SCRIPTS = {FAST: ("warm-fast.sh",), SYSTEMD: ("warm-fast.sh", "warm-systemd.sh")}


def state_file(files: Path, kind: Kind) -> Path:
    """Where the snapshot of a kind stands beside its image."""
    return files / f"{kind.name}.state"


def take(files: Path, kind: Kind) -> None:
    """Boot the image, warm it, and write its snapshot; raises LabError if it does not come up in time."""
    unfinished = files / f"{kind.name}.state.new"
    with tempfile.TemporaryDirectory() as share, Machine(files, kind, Path(share)) as machine:
        machine.wait_ready()
        for name in WARM_SCRIPTS[kind]:
            script = (GUEST / name).read_bytes()
            machine.control.sendall(b"warm %d\n%s" % (len(script), script))
            machine.wait_ready()
        machine.save(unfinished)
    unfinished.rename(state_file(files, kind))
