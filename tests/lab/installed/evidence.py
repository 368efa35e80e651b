# SPDX-License-Identifier: GPL-2.0-or-later
"""What the machine can tell of the product: its processes, units, files and its words in the journal."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.world.host import call

SYSTEM_UNITS: Final = "wgsd-nm-*"
BEFORE: Final = Path("/var/tmp/before-the-package.json")
"""The files that were there before."""
PLACES: Final = ("/etc", "/usr", "/opt", "/srv")
"""Where all files are compared; elsewhere only those that are named for us."""
SHOWN: Final = (
    ("journalctl", "--boot", "--no-pager", "--lines=150", "--output=short-precise"),
    ("systemctl", "--no-pager", "--failed"),
    ("systemctl", "--no-pager", "--all", "list-units", SYSTEM_UNITS),
    ("loginctl", "--no-pager"),
    ("nmcli", "connection"),
    ("wg", "show"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the journal: who said it, how urgent (syslog's number), and what."""

    unit: str
    priority: int
    text: str


def collect() -> str:
    """What a person needs to understand a failure."""
    parts = []
    for command in SHOWN:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        parts.append(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}")
    return "\n".join(parts)


def journal() -> list[Line]:
    """All that our programs have said since boot, and systemd of our units."""
    lines = []
    for text in call("journalctl", "--boot", "--output=json").splitlines():
        entry = json.loads(text)
        names = (entry.get(key) for key in ("_SYSTEMD_USER_UNIT", "USER_UNIT", "_SYSTEMD_UNIT", "UNIT"))
        unit = next((each for each in names if isinstance(each, str) and each.startswith("wgsd-nm-")), "")
        if unit:
            lines.append(Line(unit, int(entry.get("PRIORITY", 6)), str(entry.get("MESSAGE"))))
    return lines


def shown(unit: str, name: str) -> str:
    """A property of a unit of the system's."""
    return call("systemctl", "show", "--value", f"--property={name}", unit).strip()


def processes() -> list[str]:
    """The command lines of installed programs of ours."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(word.startswith("/usr/") and "wgsd-nm" in word for word in words):
            found.append(" ".join(words))
    return found


def remember_files() -> None:
    """Note what is there, for after the product has gone."""
    BEFORE.write_text(json.dumps(_files()))


def changed_files() -> tuple[list[str], list[str]]:
    """What has come since then, and what has gone."""
    before, now = set(json.loads(BEFORE.read_text())), set(_files())
    return sorted(now - before), sorted(before - now)


def _files() -> list[str]:
    ours = call("find", "/", "-xdev", "-path", "/src", "-prune", "-o", "-name", "*wgsd*", "-print").splitlines()
    running = call("find", "/run", "-name", "*wgsd*", "-not", "-path", "/run/user/*/systemd/*").splitlines()
    return [*call("find", *PLACES, "-xdev").splitlines(), *ours, *running]
