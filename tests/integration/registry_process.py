# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry with devices from a table instead of the kernel's; all else is the real program.

    python -m tests.integration.registry_process TABLE FLAG...
    python -m tests.integration.registry_process --as-reader TABLE FLAG...

The reader that the first one starts is the second one. It opens TABLE (JSON, rewritten by the test) while it still may,
and appends a letter to TABLE.reads for each read. The table is one device, whatever its name:

    {"peers": [{"key": KEY, "endpoint": "192.0.2.1:1", "allowed": "10.0.0.1/32", "handshake": 1790000000}]}

or {"error": "NoSuchDevice"}, or {"hang": true} for a read that never ends, or {"devices": {"wg0": ..., "wg1": ...}} of
these. `endpoint` may be ""; `handshake`, seconds since the epoch, and the device's `key` may be left out.

PATIENCE, a variable of the environment, is JSON that makes this registry less patient than it is, so that nobody has to
wait for it: {"registry.connection.PATIENCE": 0.5}.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from wgsd_nm.core import errors
from wgsd_nm.core.model import Device, Endpoint, Peer, PublicKey
from wgsd_nm.registry import __main__, reader

READER = "--as-reader"


@dataclass(frozen=True, slots=True)
class Table:
    """Stands where `wgsd_nm.wireguard.WireGuard` stands."""

    file: int
    reads: int

    def read(self, interface: str) -> Device:
        fcntl.flock(self.file, fcntl.LOCK_SH)
        table = json.loads(os.pread(self.file, 1 << 24, 0))
        fcntl.flock(self.file, fcntl.LOCK_UN)
        os.write(self.reads, b".")
        if "devices" in table:
            table = table["devices"].get(interface, {"error": "NoSuchDevice"})
        if "hang" in table:
            signal.pause()
        if "error" in table:
            raise getattr(errors, table["error"])(f"{table['error']}: {interface}")
        key = PublicKey.parse(table["key"]) if "key" in table else None
        return Device(interface, key, 51820, 0, tuple(Table._peer(row) for row in table["peers"]))

    @staticmethod
    def _peer(row: Mapping[str, Any]) -> Peer:
        endpoint = Endpoint.parse(row["endpoint"]) if row["endpoint"] else None
        return Peer(
            PublicKey.parse(row["key"]),
            endpoint,
            row.get("handshake", 0) * 1_000_000,
            allowed_ips=(ip_network(row["allowed"]),),
        )

    def close(self) -> None:
        pass


def hasten() -> None:
    for name, value in json.loads(os.environ.get("PATIENCE", "{}")).items():
        module, _, constant = name.rpartition(".")
        found = importlib.import_module(f"wgsd_nm.{module}")
        assert hasattr(found, constant), name
        setattr(found, constant, value)


def main() -> int:
    hasten()
    if sys.argv[1] != READER:
        path = sys.argv[1]
        command = (sys.executable, "-m", "tests.integration.registry_process", READER, path)
        return __main__.main(sys.argv[2:], reader=command)
    path = sys.argv[2]
    table = Table(os.open(path, os.O_RDONLY), os.open(f"{path}.reads", os.O_WRONLY | os.O_APPEND | os.O_CREAT))
    Path(f"{path}.pid").write_text(str(os.getpid()))
    return reader.main(sys.argv[3:], connect=lambda: table)


if __name__ == "__main__":
    sys.exit(main())
