# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed timer of the one-shot lookup: systemd confines it, and what is left is enough."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.world import wait_for
from lab.world.host import call as command
from tests.unit.nameserver import Registry
from wgsd_nm.core.model import Endpoint, PublicKey

DATA = Path("/src/data/systemd-system")
DEVICE, ZONE = "wglookup", "wg.example.com"
SERVICE, TIMER = f"wgsd-nm-lookup@{DEVICE}.service", f"wgsd-nm-lookup@{DEVICE}.timer"
PEER = PublicKey(bytes(range(32)))
HERE = Endpoint.parse("192.0.2.7:51820")
PROGRAM = """\
#!/usr/bin/python3
import sys
sys.path.insert(0, "/src")
from wgsd_nm.cli.__main__ import main
sys.exit(main())
"""


def shown(unit: str, name: str) -> str:
    return command("systemctl", "show", "--value", f"--property={name}", unit).strip()


def make_device() -> None:
    command("ip", "link", "add", DEVICE, "type", "wireguard")
    command("wg", "set", DEVICE, "peer", str(PEER), "allowed-ips", "10.9.0.2/32")


def endpoint() -> str:
    return command("wg", "show", DEVICE, "endpoints").split()[1]


@pytest.fixture
def registry() -> Iterator[Registry]:
    """The product's files where a package puts them, a device, and a registry on loopback."""
    for name in ("wgsd-nm-lookup@.service", "wgsd-nm-lookup@.timer"):
        shutil.copy(DATA / name, "/usr/lib/systemd/system")
    program = Path("/usr/bin/wgsd-nm")
    program.write_text(PROGRAM)
    program.chmod(0o755)
    command("modprobe", "wireguard")
    make_device()
    with Registry(ZONE, {PEER: HERE}) as registry:
        configuration = Path(f"/etc/wgsd-nm/lookup/{DEVICE}.conf")
        configuration.parent.mkdir(parents=True, exist_ok=True)
        configuration.write_text(f"DNS={registry.server}\nZONE={ZONE}\n")
        command("systemctl", "daemon-reload")
        yield registry
        command("systemctl", "stop", TIMER, SERVICE)
    command("sh", "-c", f"ip link del {DEVICE} 2>/dev/null || true")


def test_the_timer_sets_endpoints_again_and_again(registry: Registry) -> None:
    command("systemctl", "start", TIMER)
    wait_for(lambda: endpoint() == str(HERE), 60, "the endpoint to be set", 0.5)
    wait_for(lambda: shown(SERVICE, "ActiveState") == "inactive", 30, "the service to end", 0.5)
    assert shown(SERVICE, "Result") == "success"
    moved = Endpoint.parse("192.0.2.8:51820")
    registry.add(PEER, moved)
    wait_for(lambda: endpoint() == str(moved), 90, "the endpoint to be set again", 1.0)


def test_without_the_device_nothing_has_failed_and_the_timer_goes_on(registry: Registry) -> None:
    command("ip", "link", "del", DEVICE)
    before = shown(SERVICE, "InactiveEnterTimestampMonotonic")
    command("systemctl", "start", TIMER)
    wait_for(lambda: shown(SERVICE, "InactiveEnterTimestampMonotonic") != before, 60, "the service to have ended", 0.5)
    assert shown(SERVICE, "Result") == "exec-condition", "it was passed over"
    assert registry.requests == []
    make_device()
    wait_for(lambda: endpoint() == str(HERE), 90, "the endpoint to be set", 1.0)
