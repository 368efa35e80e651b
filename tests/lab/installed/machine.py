# SPDX-License-Identifier: GPL-2.0-or-later
"""The laptop as its administrator sets it up before the package comes: users, a desktop session, profiles, the net."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lab.world import wait_for
from lab.world.host import call
from tests.lab.booted import session_of
from tests.lab.installed import net

USERS: Final = ("v",)
"""Besides u, who sits at the seat."""
UNITS: Final = Path("/etc/systemd/system")
PROFILES: Final = Path("/etc/NetworkManager/system-connections")

NET: Final = """\
[Unit]
Description=The net beyond the cable
Before=NetworkManager.service

[Service]
Type=oneshot
RemainAfterExit=yes
Environment=PYTHONPATH=/src
ExecStart=/usr/bin/python3 -m tests.lab.installed.net

[Install]
WantedBy=multi-user.target
"""
REGISTRY: Final = f"""\
[Unit]
Description=The registry of the net beyond the cable
Requires=far-net.service
After=far-net.service

[Service]
Environment=PYTHONPATH=/src
NetworkNamespacePath=/run/netns/registry
Restart=on-failure
ExecStart=/usr/bin/python3 -m wgsd_nm.registry --device wg0 --zone {net.ZONE} --listen {net.IN_TUNNEL["registry"]}

[Install]
WantedBy=multi-user.target
"""
DESKTOP: Final = """\
[Unit]
Description=A desktop's session
BindsTo=graphical-session.target
Before=graphical-session.target
"""
LOGIN: Final = """\
[Service]
ExecStart=
ExecStart=/bin/sh -c 'systemctl --user start desktop.target && exec sleep infinity'

[Install]
WantedBy=multi-user.target
"""
"""Whoever logs in at the seat gets a desktop."""
UPLINK: Final = f"""\
[connection]
id=uplink
type=ethernet

[ethernet]
mac-address={net.NEAR_CARD}

[ipv4]
method=manual
address1={net.LAPTOP}/24,{net.GATEWAY}

[ipv6]
method=disabled
"""


def prepare() -> None:
    """Everything but the package. It all starts at each boot from now on; now, too."""
    for user in USERS:
        call("useradd", "--create-home", user)
    _write(UNITS / "far-net.service", NET)
    _write(UNITS / "far-registry.service", REGISTRY)
    _write(UNITS / "seat-session.service.d/desktop.conf", LOGIN)
    _write(Path("/etc/systemd/user/desktop.target"), DESKTOP)
    _write(PROFILES / "uplink.nmconnection", UPLINK, 0o600)
    alice = net.profile("alice", registry=f"{net.GATEWAY}:{net.PORT}", of=("bob", "registry"))
    _write(PROFILES / "wg0.nmconnection", alice.keyfile(), 0o600)
    call("systemctl", "daemon-reload")
    call("systemctl", "enable", "--now", "far-net", "far-registry", "NetworkManager", "seat-session")
    wait_for(lambda: session_of("u"), 60, "u to be logged in at the seat")
    wait_for(lambda: is_up("wg0"), 60, "NetworkManager to bring the tunnel up")


def is_up(connection: str) -> bool:
    """Whether NetworkManager has brought this connection up."""
    return connection in call("nmcli", "--terse", "--fields", "NAME", "connection", "show", "--active").splitlines()


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
