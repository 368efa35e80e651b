# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench of an hour: its unreachable peer, the processor time of other processes, an agent in another state."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest

from bench import hour
from bench.hour_helper import INITIATION, SLOT, WithOneUnreachable
from bench.laptop import Laptop
from tests.integration.scripted_nm import peer_key
from wgsd_nm.core.model import Peer

BUSY = """
import sys, threading, time
def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
thread = threading.Thread(target=burn, args=(0.2,))
thread.start()
thread.join()
burn(0.1)
print(flush=True)
sys.stdin.read()
"""


def peers_after(table: WithOneUnreachable, seconds: float, monkeypatch: pytest.MonkeyPatch) -> list[Peer]:
    at = time.time() + seconds
    monkeypatch.setattr(time, "time", lambda: at)
    peers = list(table.read("wg0").peers)
    monkeypatch.undo()
    return peers


def test_the_last_peer_is_sent_to_and_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    table = WithOneUnreachable(2)
    early, late = (peers_after(table, seconds, monkeypatch)[-1] for seconds in (1, 1 + 20 * SLOT))
    assert early.public_key == peer_key(2)
    assert early.persistent_keepalive > 0
    assert (early.rx_bytes, late.rx_bytes, late.latest_handshake) == (0, 0, 0)
    assert late.tx_bytes - early.tx_bytes == 20 * INITIATION


def test_the_others_are_well(monkeypatch: pytest.MonkeyPatch) -> None:
    table = WithOneUnreachable(2)
    early, late = (peers_after(table, seconds, monkeypatch)[:-1] for seconds in (1, 301))
    assert [peer.public_key for peer in early] == [peer_key(0), peer_key(1)]
    for before, after in zip(early, late, strict=True):
        assert after.rx_bytes > before.rx_bytes
        assert after.latest_handshake > before.latest_handshake > 0


def test_processor_time_is_that_of_all_threads_ended_ones_too() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (spent,) = hour.processor_times((process.pid,))
        process.communicate()
    assert 0.3 <= spent < 2


def test_a_process_that_has_ended_has_no_time() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    with pytest.raises(OSError, match=r"\w"):
        hour.processor_times((process.pid,))


class Said:
    """In the place of a laptop and its session bus: what the agent says of itself."""

    def __init__(self, state: str) -> None:
        self.session, self._state = self, state

    async def get_all(self, *_: object) -> dict[str, Any]:
        return {"State": self._state, "Peers": []}


@pytest.mark.parametrize(("part", "state"), [("well", "ok"), ("unreachable", "degraded")])
def test_an_agent_that_is_as_it_should_be(part: str, state: str) -> None:
    asyncio.run(hour.check(cast(Laptop, Said(state)), part))


@pytest.mark.parametrize(("part", "state"), [("well", "degraded"), ("unreachable", "ok"), ("well", "looking-up")])
def test_one_that_is_not_is_an_error(part: str, state: str) -> None:
    with pytest.raises(RuntimeError, match=f"{part}: the agent's state is {state}, expected"):
        asyncio.run(hour.check(cast(Laptop, Said(state)), part))


def test_what_was_counted_is_told_of_an_hour() -> None:
    assert hour.hourly({"wakeups": 10, "Udp": 3, "Tcp": 4}, 300) == {"wakeups": 120, "packets": 84}


COUNTS = """
import json, sys
part, updates = sys.argv[1:3]
assert sys.argv[3:] == ["120", "300"]
udp = {"well": {"push": 4, "polling": 0}, "unreachable": {"push": 2, "polling": 8}}[part][updates]
print(json.dumps({"wakeups": 10 if updates == "push" else 5, "Udp": udp, "Tcp": 0}))
"""


def test_push_is_shown_beside_polling(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(hour, "COUNTING", (sys.executable, "-c", COUNTS))
    assert hour.measure_push(300)
    shown = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert dict(shown) == {
        "agent.hour.push.well.packets": "48",
        "agent.hour.polling.well.packets": "0",
        "agent.hour.push.well.wakeups": "120",
        "agent.hour.polling.well.wakeups": "60",
        "agent.hour.push.well.wakeups.ratio": "2",
        "agent.hour.push.unreachable.packets": "24",
        "agent.hour.polling.unreachable.packets": "96",
        "agent.hour.push.unreachable.packets.ratio": "0.25",
        "agent.hour.push.unreachable.wakeups": "120",
        "agent.hour.polling.unreachable.wakeups": "60",
        "agent.hour.push.unreachable.wakeups.ratio": "2",
    }


def test_an_agent_that_could_not_be_measured_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hour, "COUNTING", (sys.executable, "-c", COUNTS + "sys.exit(updates == 'polling')"))
    assert not hour.measure_push(300)
    assert "agent.hour" not in capsys.readouterr().out


def test_who_is_late_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    late = f"import os, sys, time; open({str(tmp_path)!r} + '/%d' % os.getpid(), 'w'); time.sleep(60)"
    monkeypatch.setattr(hour, "COUNTING", (sys.executable, "-c", late))
    monkeypatch.setattr(hour, "WARM_UP", 0)
    monkeypatch.setattr(hour, "SLACK", 3)
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        hour.measure_push(0)
    assert time.monotonic() < began + 30
    started = [Path("/proc", file.name) for file in tmp_path.iterdir()]
    assert started
    assert not any(process.exists() for process in started)
