# SPDX-License-Identifier: GPL-2.0-or-later
"""What is put on a laptop before its buses start: NetworkManager's settings, a polkit rule, and the product.

There is no systemd on it, so dbus-daemon starts services itself, and no logind, so polkit takes nobody for active:
a rule stands in for the seat.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Protocol

SOURCE = Path("/src")
LIBEXEC = "/etc/lab"
HELPER_NAME = "io.github.wgsd_nm.Helper1"
AGENT_NAME = "io.github.wgsd_nm.Agent1"
ACTIONS = "io.github.wgsd-nm.helper1."
REGISTRY = "203.0.113.254"


class Target(Protocol):
    """Where files go, and where the logs of the programs named in them are."""

    def write(self, name: str, text: str, mode: int = ..., user: str | None = ...) -> None:
        """Write a file on the laptop."""

    def log(self, name: str) -> Path:
        """The log of a program, which anybody may write to."""


NETWORK_MANAGER = f"""\
[main]
plugins=keyfile
dhcp=internal
dns=default
no-auto-default=*
auth-polkit=true

[device]
carrier-wait-timeout=500

[keyfile]
unmanaged-devices=interface-name:lo

[logging]
level=INFO
backend=syslog

[connectivity]
enabled=true
uri=http://{REGISTRY}/check
response=online
interval=20
"""


def network_manager(laptop: Target) -> None:
    """Real settings, but for a carrier that is missed sooner and a connectivity check that asks our registry."""
    laptop.write("/etc/NetworkManager/NetworkManager.conf", NETWORK_MANAGER)


def polkit_rule(laptop: Target, user: str) -> None:
    """Let this user do what the product lets the user at the seat do."""
    rule = f"""\
polkit.addRule(function(action, subject) {{
    if (action.id.indexOf("{ACTIONS}") == 0 && subject.user == "{user}")
        return polkit.Result.YES;
}});
"""
    laptop.write("/etc/polkit-1/rules.d/10-lab.rules", rule)


def product(laptop: Target) -> None:
    """The product's files from /src/data as far as they are there, and the services started from /src."""
    for pattern, folder in (
        ("data/dbus/system.d/*.conf", "/usr/share/dbus-1/system.d"),
        ("data/polkit/*.policy", "/usr/share/polkit-1/actions"),
    ):
        for path in SOURCE.glob(pattern):
            laptop.write(f"{folder}/{path.name}", path.read_text())
    system_service(laptop, HELPER_NAME, ["python3", "-m", "wgsd_nm.helper"], "helper")
    session_service(laptop, AGENT_NAME, ["python3", "-m", "wgsd_nm.agent"], "agent")


def system_service(laptop: Target, name: str, argv: list[str], log: str) -> None:
    """A program that the system bus starts as root when this name is called."""
    _service(laptop, f"/usr/share/dbus-1/system-services/{name}.service", name, argv, log, "User=root\n")


def session_service(laptop: Target, name: str, argv: list[str], log: str) -> None:
    """A program that the user's session bus starts when this name is called."""
    _service(laptop, f"/usr/share/dbus-1/services/{name}.service", name, argv, log, "")


def _service(laptop: Target, path: str, name: str, argv: list[str], log: str, user: str) -> None:
    """The service file and a wrapper, because the bus's launch helper starts programs with an empty environment.

    Without PATH the shell would find /bin/python3, which takes / for its prefix and has no /usr/local.
    """
    wrapper = f"{LIBEXEC}/{log}"
    laptop.write(
        wrapper,
        "#!/bin/sh\nexport PATH=/usr/sbin:/usr/bin PYTHONPATH=/src PYTHONUNBUFFERED=1 LANG=C.UTF-8\n"
        f"exec {shlex.join(argv)} >>{shlex.quote(str(laptop.log(log)))} 2>&1\n",
        mode=0o755,
    )
    laptop.write(path, f"[D-BUS Service]\nName={name}\nExec={wrapper}\n{user}")
