# SPDX-License-Identifier: GPL-2.0-or-later
"""This machine's public addresses, in network namespaces made for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOW = "from wgsd_nm.registry.own import public_addresses; print(*public_addresses())"


def addresses(*commands: str) -> list[str]:
    """What is found in a namespace of its own after these commands of ip(8)."""
    script = "\n".join(("set -e", *(f"ip {command}" for command in commands), f'exec {sys.executable} -c "{SHOW}"'))
    shown = subprocess.run(
        ["unshare", "--net", "--map-root-user", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return shown.stdout.split()


@pytest.mark.parametrize(
    ("four", "six", "expected"),
    [
        ("8.8.4.7/24", "2a00:1450::7/64", ["8.8.4.7", "2a00:1450::7"]),
        ("192.168.1.7/24", "2a00:1450::7/64", ["2a00:1450::7"]),
        ("8.8.4.7/24", "fd00::7/64", ["8.8.4.7"]),
        ("100.64.0.7/24", "fe80::7/64", []),
    ],
)
def test_only_global_addresses_that_lead_out_count(four: str, six: str, expected: list[str]) -> None:
    commands = (
        "link add eth0 type veth peer name eth1",
        "link set eth0 up",
        "link set eth1 up",
        f"address add {four} dev eth0",
        f"-6 address add {six} dev eth0 nodad",
        "route add default dev eth0",
        "-6 route add default dev eth0",
    )
    assert addresses(*commands) == expected


def test_without_a_route_there_is_none() -> None:
    assert addresses() == []
    assert (
        addresses("link add eth0 type veth peer name eth1", "link set eth0 up", "address add 8.8.4.7/24 dev eth0") == []
    )
