# SPDX-License-Identifier: GPL-2.0-or-later
"""The protocols between systemd and a service: sockets passed, states told."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.running_registry import with_sockets
from wgsd_nm.registry import systemd

SHOW = """\
import os
from wgsd_nm.registry import systemd
for one in systemd.passed_sockets():
    print(one.type.name, one.getsockname()[1], one.get_inheritable())
print(systemd.passed_sockets(), [name for name in os.environ if name.startswith("LISTEN_")])
"""


def test_sockets_are_taken_over_once_and_not_inherited() -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        shown = subprocess.run(
            with_sockets((sys.executable, "-c", SHOW), [udp, tcp]),
            pass_fds=(udp.fileno(), tcp.fileno()),
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        ports = [one.getsockname()[1] for one in (udp, tcp)]
    assert shown == [f"SOCK_DGRAM {ports[0]} False", f"SOCK_STREAM {ports[1]} False", "[] []"]


@pytest.mark.parametrize(("count", "process"), [("2", "1"), ("x", ""), ("", ""), ("-1", "")])
def test_what_was_not_passed_to_this_process_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, count: str, process: str
) -> None:
    monkeypatch.setenv("LISTEN_FDS", count)
    monkeypatch.setenv("LISTEN_PID", process or str(os.getpid()))
    assert systemd.passed_sockets() == []


@pytest.fixture(params=["/", "@"])
def told(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """NOTIFY_SOCKET, as a path and in the abstract namespace."""
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name if request.param == "/" else f"\0{name}")
        receiver.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name if request.param == "/" else f"@{name}")
        yield receiver


def test_states_are_told_together(told: socket.socket) -> None:
    systemd.tell("READY=1", "STATUS=well")
    assert told.recv(100) == b"READY=1\nSTATUS=well"


def test_a_reload_is_told_with_its_time(told: socket.socket) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    systemd.reloading()
    first, second = told.recv(100).decode().splitlines()
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@pytest.mark.parametrize("address", ["", "relative", "/nonexistent/notify", "@nobody is there"])
def test_where_nobody_listens_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.tell("READY=1")


@pytest.mark.parametrize(
    ("limit", "process", "interval"),
    [
        ("120000000", None, 60.0),
        ("120000000", str(os.getpid()), 60.0),
        ("120000000", "1", None),
        ("", None, None),
        ("0", None, None),
        ("x", None, None),
    ],
    ids=["any process", "ours", "another", "none", "never", "nonsense"],
)
def test_the_watchdog_is_fed_twice_in_its_time(
    monkeypatch: pytest.MonkeyPatch, limit: str, process: str | None, interval: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", limit)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if process is not None:
        monkeypatch.setenv("WATCHDOG_PID", process)
    assert systemd.watchdog_interval() == interval
