# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person wants to see when something went wrong in the world: the state of every host, and the logs' ends."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lab.world.host import LOGS, Host
from lab.world.laptop import Laptop
from lab.world.nat import Nat

TAIL_LINES = 25
QUIET_LOGS = ("dnsmasq", "web", "NetworkManager")
"""These talk a lot and explain little; they are kept whole in the results, with all others."""
COMMON = ("ip -brief address", "ip route", "wg show all")


def collect(hosts: Iterable[Host], label: str) -> str:
    """Write the state of the hosts beside the logs under this label; returns what is worth printing."""
    state = "".join(_state(host) for host in hosts)
    path = LOGS / f"state-{re.sub(r'[^A-Za-z0-9_.-]+', '-', label)}.txt"
    path.write_text(state)
    tails = "".join(
        f"----- {log.name}\n{_tail(log.read_text(errors='replace'))}"
        for log in sorted(LOGS.glob("*.log"))
        if not log.stem.endswith(QUIET_LOGS) and log.stat().st_size
    )
    return f"{state}{tails}"


def _state(host: Host) -> str:
    commands = [*COMMON]
    if isinstance(host, Nat):
        commands.append("conntrack --dump --proto udp")
    if isinstance(host, Laptop):
        commands.append("nmcli device")
    script = "; ".join(f"echo '$ {command}'; {command} 2>&1" for command in commands)
    return f"===== {host.name}\n{host.run(['sh', '-c', script], check=False).stdout}"


def _tail(text: str) -> str:
    return "".join(f"{line}\n" for line in text.splitlines()[-TAIL_LINES:])
