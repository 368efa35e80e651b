# SPDX-License-Identifier: GPL-2.0-or-later
"""What systemd passes to a service and wants to hear of it: sd_listen_fds(3), sd_notify(3). Knows no registry.

Where systemd did not start the process, nothing was passed and nothing is told.
"""

from __future__ import annotations

import os
import socket
import time

_FIRST = 3  # SD_LISTEN_FDS_START


def passed_sockets() -> list[socket.socket]:
    """The sockets that systemd passed to this process, which no child inherits; afterwards none are left."""
    count, process = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if process != str(os.getpid()) or not count.isdigit():
        return []
    descriptors = range(_FIRST, _FIRST + int(count))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return [socket.socket(fileno=descriptor) for descriptor in descriptors]


def tell(*states: str) -> None:
    """Assignments like READY=1, all at once. Nothing is said of a failure: systemd has its time limits for that."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address[0] == "@":  # the abstract namespace, unix(7)
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to_systemd:
        try:
            to_systemd.sendto("\n".join(states).encode(), address)
        except OSError:
            pass


def reloading() -> None:
    """Tell that a reload began now; READY=1 is to follow."""
    tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def watchdog_interval() -> float | None:
    """Seconds from one WATCHDOG=1 to the next, half of what systemd waits (sd_watchdog_enabled(3)).

    None where it does not wait for any.
    """
    limit, process = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not limit.isdigit() or process != str(os.getpid()):
        return None
    return int(limit) / 2_000_000 or None
