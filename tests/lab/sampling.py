# SPDX-License-Identifier: GPL-2.0-or-later
"""What `wg` shows of a laptop's device, again and again; what lasts shorter than a pause may pass unseen."""

from __future__ import annotations

from typing import Self

from lab.world.host import Host

LOOK = """
exec {{never}}<> <(:)
while :; do echo $EPOCHREALTIME; wg show wg0 {what}; read -rt {pause} -u $never; done
"""
"""Bash: each look starts one process, wg; looking must not slow the machine."""


class Sampling:
    """A loop of `wg show wg0 endpoints` or the like; a context manager that ends it."""

    def __init__(self, host: Host, what: str, pause: float = 0.2) -> None:
        """`what` is the last word of the command; `pause` is in seconds, on top of the time that wg(8) takes."""
        self._host, self._name = host, f"wg-{what}"
        self._start = host.log(self._name).stat().st_size
        host.spawn(["bash", "-c", LOOK.format(what=what, pause=pause)], name=self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._host.stop(self._name)

    def values(self, key: str) -> list[tuple[float, str]]:
        """What was shown of a peer, without what repeats itself: seconds since the epoch, and wg's word."""
        seen: list[tuple[float, str]] = []
        at = 0.0
        for line in self._text().splitlines():
            name, tab, value = line.partition("\t")
            if not tab:
                at = float(line)
            elif name == key and (not seen or seen[-1][1] != value):
                seen.append((at, value))
        return seen

    def looks(self) -> int:
        """How often it has looked so far."""
        return sum("\t" not in line for line in self._text().splitlines())

    def _text(self) -> str:
        """All whole lines."""
        text = self._host.log(self._name).read_bytes()[self._start :].decode()
        return text[: text.rfind("\n") + 1]


def endpoints(host: Host) -> Sampling:
    """The endpoints that a laptop's kernel has while it moves, from now on."""
    return Sampling(host, "endpoints", 0.4)
