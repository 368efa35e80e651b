# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry under a hundred thousand hostile packets: each gets the answer that it is due, and memory does not grow.

`python -m tests.fuzz` sends more of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.conversation import PromiseBroken, converse, flood, judge
from tests.fuzz.names import ALICE, BOB, CAROL, NAMES
from tests.fuzz.packets import Packet, Packets
from tests.integration.running_registry import PORT, Registry

PACKETS = 100_000
CONNECTIONS = 400
SEED = 20_260_101
MAX_GROWTH = 4096
"""kB of resident memory; a hundredth of a packet's octets each."""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """It serves three peers; a key of the name that it knows makes some signatures wrong instead of unknown."""
    registry = Registry(tmp_path)
    registry.peers({ALICE: "192.0.2.1:51820", BOB: "[2001:db8::2]:40000", CAROL: ""})
    secret = tmp_path / "secret"
    secret.write_text("c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I=\n")
    secret.chmod(0o600)
    registry.start(
        *registry.configure(
            f'[zone."wg.example.com"]\ndevice = "wg0"\n[key."ns1.wg.example.com"]\nsecret-file = "{secret}"\n'
        )
    )
    yield registry
    registry.close()


def resident(registry: Registry) -> int:
    assert registry.process is not None
    lines = Path(f"/proc/{registry.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def test_every_packet_gets_what_it_is_due(registry: Registry) -> None:
    address = (registry.address, PORT)
    warm = 0
    for done in converse(address, Packets(SEED, NAMES), PACKETS):
        if not warm and done >= PACKETS // 4:
            warm = resident(registry)
    flood(address, Packets(SEED + 1, NAMES), CONNECTIONS, 10)
    assert warm
    assert resident(registry) - warm < MAX_GROWTH
    assert registry.port_of(ALICE) == 51820
    registry.stop()


@pytest.mark.parametrize(
    ("sent", "sound", "answer"),
    [
        ("000100000001000000000000", False, ""),
        ("000100000001000000000000", False, "000100000001000000000000"),
        ("000100000001000000000000", False, "00018101000000000000000000"),
        ("000100000001000000000000", False, "000181010001000000000000"),
        ("000120000001000000000000", False, "000181010000000000000000"),
        ("000100000001000000000000", True, "000181010000000000000000"),
    ],
)  # fmt: skip
def test_the_judge_sees_a_broken_promise(sent: str, sound: bool, answer: str) -> None:
    with pytest.raises(PromiseBroken):
        judge(Packet(bytes.fromhex(sent), sound), bytes.fromhex(answer))
