# SPDX-License-Identifier: GPL-2.0-or-later
"""What other people's programs show of a registry: docs/registry.md has it from here.

Runs as root in the guest: `python3 -m lab run --systemd -- python3 -m lab.tour`.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from lab.world import wait_for
from lab.world.host import call
from wgsd_nm.core.dnssd import instance_label
from wgsd_nm.core.model import PublicKey

ZONE = "wg.example.com"
ADDRESS = "10.0.0.254"
BROWSE = f"_wireguard._udp.{ZONE}"
ALICE, BOB = PublicKey(b"alice".rjust(32, b".")), PublicKey(b"bob".rjust(32, b"."))
PEERS = ((ALICE, "198.51.100.1:51820", "10.0.0.1/32"), (BOB, "[2001:db8::2]:40112", "10.0.0.2/32"))
CONFIGURATION = f"""\
listen = ["{ADDRESS}"]
[zone."{ZONE}"]
device = "wg0"
[zone."{ZONE}".names]
alice = "{ALICE}"
bob = "{BOB}"
"""
RESOLVED = f"[Resolve]\nDNS={ADDRESS}\nDomains=~{ZONE}\n"


def prepare() -> subprocess.Popen[bytes]:
    """A device with two peers, a registry for it, and systemd-resolved sent there; returns the registry."""
    call("modprobe", "wireguard")
    call("ip", "link", "add", "wg0", "type", "wireguard")
    call("ip", "address", "add", f"{ADDRESS}/24", "dev", "wg0")
    call("ip", "link", "set", "wg0", "up")
    for key, endpoint, allowed in PEERS:
        call("wg", "set", "wg0", "peer", str(key), "endpoint", endpoint, "allowed-ips", allowed)
    configuration = Path("/etc/wgsd-nm/registry.toml")
    configuration.parent.mkdir(exist_ok=True)
    configuration.write_text(CONFIGURATION)
    drop_in = Path("/etc/systemd/resolved.conf.d/wg.conf")
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text(RESOLVED)
    call("systemctl", "unmask", "systemd-resolved")
    call("systemctl", "start", "systemd-resolved")
    return subprocess.Popen([sys.executable, "-m", "wgsd_nm.registry", "--config", configuration])


def is_there() -> bool:
    return "NOERROR" in subprocess.run(["dig", f"@{ADDRESS}", ZONE, "SOA"], capture_output=True, text=True).stdout


def show(command: str) -> None:
    """A command and all that it prints."""
    print(f"\n$ {command}", flush=True)
    subprocess.run(shlex.split(command), stderr=subprocess.STDOUT, check=True)


def main() -> int:
    registry = prepare()
    try:
        wait_for(is_there, 60, "the registry to answer")
        name = f"{instance_label(ALICE)}.{BROWSE}"
        show(f"dig @{ADDRESS} {name} SRV +noall +answer +additional")
        show(f"dig @{ADDRESS} {BROWSE} PTR +noall +answer +additional")
        show(f"kdig @{ADDRESS} +tcp _services._dns-sd._udp.{ZONE} PTR")
        show(f"resolvectl query --legend=no --type=PTR {BROWSE}")
        show(f"resolvectl query --legend=no --type=SRV {instance_label(BOB)}.{BROWSE}")
    finally:
        registry.terminate()
        registry.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
