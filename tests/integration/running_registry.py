# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry's program over a table of peers, started by hand or as systemd starts it; and questions to it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import dns.message
import dns.query

from wgsd_nm.core.dnssd import instance_name, parse_zone
from wgsd_nm.core.model import PublicKey

ROOT = Path(__file__).parents[2]
PROCESS = (sys.executable, "-m", "tests.integration.registry_process")
PORT = 53530
ZONE = parse_zone("wg.example.com")
DEADLINE = 20.0
"""Seconds after which what a test waits for has failed to come."""
PASS = """\
import os, sys
count = int(sys.argv[1])
for number, descriptor in enumerate(sys.argv[2 : 2 + count]):
    os.dup2(int(descriptor), 100 + number)
for number in range(count):
    os.dup2(100 + number, 3 + number)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count)}
os.execv(sys.argv[2 + count], sys.argv[2 + count :])
"""
"""Starts a program with sockets as systemd does: COUNT DESCRIPTOR... COMMAND..."""


def until(true: Callable[[], object], what: str) -> None:
    """Wait for what no file descriptor tells of."""
    end = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < end, f"{what} did not come"
        select.select((), (), (), 0.01)


def with_sockets(command: Sequence[str], sockets: Sequence[socket.socket]) -> tuple[str, ...]:
    """The command that starts another one with these sockets passed; they have to be inherited by it."""
    return (sys.executable, "-c", PASS, str(len(sockets)), *(str(one.fileno()) for one in sockets), *command)


def rows(endpoints: Mapping[PublicKey, str]) -> list[dict[str, Any]]:
    """Peers of a table."""
    return [{"key": str(key), "endpoint": text, "allowed": "10.0.0.1/32"} for key, text in endpoints.items()]


class Registry:
    """A registry over a table, at a loopback address of its own."""

    def __init__(self, directory: Path) -> None:
        octets = secrets.token_bytes(3)
        self.address = f"127.{octets[0]}.{octets[1]}.{octets[2] | 1}"
        self.directory = directory
        self.table = directory / "table"
        self.table.write_text("")
        self.file = directory / "registry.toml"
        self.process: subprocess.Popen[str] | None = None
        self.peers({})

    def peers(self, endpoints: Mapping[PublicKey, str]) -> None:
        """Of every device."""
        self.write({"peers": rows(endpoints)})

    def devices(self, **endpoints: Mapping[PublicKey, str]) -> None:
        """By the device's name; others are missing."""
        self.write({"devices": {name: {"peers": rows(peers)} for name, peers in endpoints.items()}})

    def error(self, name: str) -> None:
        self.write({"error": name})

    def write(self, table: object) -> None:
        """See registry_process."""
        with self.table.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps(table).encode())
            file.truncate()

    def configure(self, text: str) -> tuple[str, ...]:
        """Write the configuration file, with where to listen before the text. The flags that name it."""
        self.file.write_text(f'listen = ["{self.address}:{PORT}"]\n{text}')
        return ("--config", str(self.file))

    @property
    def reads(self) -> int:
        return len(Path(f"{self.table}.reads").read_bytes())

    @property
    def reader(self) -> int:
        """The process of the last reader."""
        return int(Path(f"{self.table}.pid").read_text())

    def start(self, *flags: str, **environment: str) -> Self:
        """Returns when it answers for wg.example.com."""
        self.launch(*(flags if "--config" in flags else (*self.flags, *flags)), **environment)
        self.line("answering for wg.example.com. with the peers of wg0")
        return self

    def launch(self, *flags: str, **environment: str) -> None:
        """Does not wait for anything."""
        self._spawn((*PROCESS, str(self.table), *flags), (), **environment)

    @property
    def flags(self) -> tuple[str, ...]:
        return ("--device", "wg0", "--zone", "wg.example.com", "--listen", f"{self.address}:{PORT}")

    def fail(self, *flags: str) -> tuple[int, str]:
        """Started with these flags it ends by itself: its exit status and what it said."""
        self.launch(*flags)
        assert self.process is not None
        _, said = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, said

    def activate(self, sockets: Sequence[socket.socket], *flags: str, **environment: str) -> None:
        """As systemd starts it, with these sockets."""
        command = with_sockets((*PROCESS, str(self.table), *flags), sockets)
        self._spawn(command, sockets, **environment)

    def _spawn(self, command: Sequence[str], sockets: Sequence[socket.socket] = (), **environment: str) -> None:
        if self.process is not None:
            self.process.communicate(timeout=DEADLINE)
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[one.fileno() for one in sockets],
            env={**os.environ, **environment},
        )

    def line(self, start: str) -> str:
        """The next line that it says, which begins like this."""
        assert self.process is not None
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert line.startswith(f"wgsd-nm-registry: {start}"), line
        return line

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> int:
        """Its exit status, when it has ended."""
        assert self.process is not None
        return self.process.wait(DEADLINE)

    def stop(self) -> None:
        """As an administrator does."""
        self.signal(signal.SIGTERM)
        assert self.end() == 0

    def close(self) -> None:
        """In order, for a killed server cannot end a reader that hangs."""
        if self.process is not None:
            self.process.terminate()
            self.process.communicate(timeout=DEADLINE)

    def ask(self, name: object, rdtype: str, *, tcp: bool = False) -> dns.message.Message:
        ask = dns.query.tcp if tcp else dns.query.udp
        return ask(dns.message.make_query(str(name), rdtype), self.address, port=PORT, timeout=5)

    def port_of(self, key: PublicKey, zone: str = "wg.example.com") -> int:
        """The port of a peer's endpoint, 0 where none is known."""
        answer = self.ask(instance_name(key, parse_zone(zone)), "SRV").answer
        return int(answer[0][0].port) if answer else 0

    def serial(self, zone: str = "wg.example.com") -> int:
        return int(self.ask(zone, "SOA").answer[0][0].serial)


@contextlib.contextmanager
def reader_socket(registry: Registry, *flags: str) -> Iterator[Path]:
    """What wgsd-nm-registry-reader.socket is: for each connection to the path a reader with these flags."""
    path = registry.directory / "reader"
    readers: list[subprocess.Popen[bytes]] = []

    def accept(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                command = with_sockets((*PROCESS, "--as-reader", str(registry.table), *flags), [connection])
                readers.append(subprocess.Popen(command, cwd=ROOT, pass_fds=[connection.fileno()]))

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        path.chmod(0o666)
        thread = threading.Thread(target=accept, args=(listening,))
        thread.start()
        try:
            yield path
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(DEADLINE)
            for reader in readers:
                reader.kill()
                reader.wait()
