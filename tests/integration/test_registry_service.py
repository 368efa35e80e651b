# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry as a service: several zones from a file, reload, what it keeps and tells, and life under systemd."""

from __future__ import annotations

import contextlib
import http.client
import os
import pwd
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from dns.rcode import NOERROR, REFUSED, SERVFAIL

from tests.integration.running_registry import DEADLINE, PORT, Registry, reader_socket, until
from wgsd_nm.core.model import PublicKey

ALICE = PublicKey(b"a" * 32)
BOB = PublicKey(b"b" * 32)
ONE = """
[zone."wg.example.com"]
device = "wg0"
"""
TWO = f"""{ONE}
[zone."Lab.Example.com"]
device = "wg1"
exclude = ["{BOB}"]
[zone."Lab.Example.com".names]
alice = "{ALICE}"
"""


@pytest.fixture
def registry(registry_directory: Path) -> Iterator[Registry]:
    made = Registry(registry_directory)
    made.devices(wg0={ALICE: "192.0.2.1:1", BOB: "192.0.2.2:2"}, wg1={ALICE: "192.0.2.1:3", BOB: "192.0.2.2:4"})
    yield made
    made.close()


class Stream(threading.Thread):
    """Asks without a pause until it is ended; `answers` are the return codes."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self.answers: list[int] = []
        self._registry = registry
        self._ended = False

    def run(self) -> None:
        while not self._ended:
            self.answers.append(self._registry.ask("wg.example.com", "SOA").rcode())

    def end(self) -> list[int]:
        self._ended = True
        self.join(DEADLINE)
        assert not self.is_alive()
        return self.answers


def test_several_zones_over_several_devices(registry: Registry) -> None:
    registry.launch(*registry.configure(TWO))
    registry.line(
        "answering for wg.example.com. with the peers of wg0, for lab.example.com. with the peers of wg1 "
        f"at {registry.address}:{PORT}"
    )
    assert registry.port_of(ALICE) == 1
    assert registry.port_of(ALICE, "lab.example.com") == 3
    assert registry.port_of(BOB, "LAB.example.com") == 0
    named = registry.ask("_wireguard._udp.lab.example.com", "PTR")
    assert "name=alice" in registry.ask(named.answer[0][0].target, "TXT").answer[0][0].to_text()


def test_one_device_of_two_may_be_missing(registry: Registry) -> None:
    registry.devices(wg0={ALICE: "192.0.2.1:1"})
    registry.launch(*registry.configure(TWO))
    registry.line("answering SERVFAIL: NoSuchDevice: wg1")
    registry.line("answering for wg.example.com.")
    assert registry.port_of(ALICE) == 1
    assert registry.ask("lab.example.com", "SOA").rcode() == SERVFAIL


def test_a_reload_takes_zones_in_and_loses_no_query(registry: Registry) -> None:
    registry.start(*registry.configure(ONE))
    assert registry.ask("lab.example.com", "SOA").rcode() == REFUSED
    serial = registry.serial()
    stream = Stream(registry)
    stream.start()
    try:
        for number in range(10):
            registry.configure(TWO if number % 2 else ONE)
            registry.signal(signal.SIGHUP)
            registry.line("the configuration was read again: answering for wg.example.com.")
            answered = len(stream.answers)
            until(lambda: len(stream.answers) > answered, "an answer")  # noqa: B023 - called within this turn
    finally:
        answers = stream.end()
    assert set(answers) == {NOERROR}
    assert registry.port_of(ALICE, "lab.example.com") == 3
    assert registry.serial() == serial


def test_a_query_that_waits_is_answered_after_a_reload(registry: Registry) -> None:
    registry.start(*registry.configure(ONE))
    registry.write({"hang": True})
    before = registry.reads
    stream = Stream(registry)
    stream.start()
    until(lambda: registry.reads > before, "the read that hangs")
    asked = len(stream.answers)
    registry.configure(TWO)
    registry.signal(signal.SIGHUP)
    registry.line("the configuration was read again")
    assert len(stream.answers) == asked
    assert stream.end()[asked:] == [SERVFAIL]


def test_a_wrong_new_configuration_changes_nothing(registry: Registry) -> None:
    registry.start(*registry.configure(TWO.replace("Lab.Example", "lab.example")))
    serial, reads = registry.serial(), registry.reads
    for wrong, complaint in (
        ("[", "is not TOML"),
        (ONE + "ttl = 5", 'zone."wg.example.com".ttl: unknown key'),
        ("", "zone: "),
        ('[key.k]\nsecret-file = "/nonexistent"' + ONE, "/nonexistent of key k cannot be read: No such file"),
    ):
        registry.configure(wrong)
        registry.signal(signal.SIGHUP)
        assert complaint in registry.line("the configuration stays as it was: ")
    registry.file.unlink()
    registry.signal(signal.SIGHUP)
    assert "cannot be read" in registry.line("the configuration stays as it was: ")
    assert registry.port_of(ALICE, "lab.example.com") == 3
    assert (registry.serial(), registry.reads) >= (serial, reads)


def test_what_needs_a_restart_is_said(registry: Registry) -> None:
    registry.start(*registry.configure(ONE))
    registry.file.write_text(f'listen = ["127.0.0.1:{PORT + 1}"]\nuser = "daemon"\n{ONE}')
    registry.signal(signal.SIGHUP)
    registry.line("listen stays as it was: restart the registry to change it")
    registry.line("user stays as it was")
    registry.line("the configuration was read again")
    assert registry.port_of(ALICE) == 1


def test_a_file_that_its_user_may_not_read_again_is_said_with_the_user(registry: Registry) -> None:
    registry.start(*registry.configure(ONE))
    registry.file.chmod(0)
    registry.signal(signal.SIGHUP)
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    registry.line(f"the configuration stays as it was: {registry.file} cannot be read: let the user {user} read it\n")


def test_flags_have_nothing_to_read_again(registry: Registry) -> None:
    registry.start()
    registry.signal(signal.SIGHUP)
    registry.line("there is no configuration to read again")
    assert registry.port_of(ALICE) == 1


def test_a_danger_is_said_at_the_start_and_by_a_check(registry: Registry) -> None:
    flags = registry.configure(ONE + 'allow = ["0.0.0.0/0"]\n')
    registry.launch(*flags)
    registry.line('zone."wg.example.com".allow: 0.0.0.0/0 lets the whole Internet ask')
    registry.line("answering for wg.example.com.")
    registry.stop()
    registry.launch(*flags, "--check")
    registry.line('zone."wg.example.com".allow: 0.0.0.0/0 lets the whole Internet ask')
    registry.line("wg.example.com over wg0: nothing is wrong with the configuration")
    assert registry.end() == 0


def test_a_check_says_all_that_is_wrong(registry: Registry) -> None:
    code, said = registry.fail(*registry.configure(f"{ONE}ttl = 5"), "--check")
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith(f"wgsd-nm-registry: {registry.file}: ")
    keys = '[key.one]\nsecret-file = "/nonexistent"\n[key.two]\nsecret-file = "/dev/null"\n'
    code, said = registry.fail(*registry.configure(f'user = "no such user"\n{ONE}{keys}'), "--check")
    assert code == 2
    assert [text in line for text, line in zip(("no such user", "key one", "key two"), said.splitlines(), strict=True)]


def test_a_state_that_cannot_be_opened_is_a_wrong_configuration(registry: Registry) -> None:
    code, said = registry.fail(*registry.configure(f'state = "/nonexistent/serials"\n{ONE}'))
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("wgsd-nm-registry: state: /nonexistent/serials cannot be opened: make its directory")


def test_statistics_are_logged_on_demand(registry: Registry) -> None:
    registry.start()
    registry.ask("wg.example.com", "SOA")
    registry.ask("www.example.com", "A", tcp=True)
    registry.signal(signal.SIGUSR1)
    said = registry.line("1 queries over UDP, 1 over TCP")
    assert "NOERROR 1, REFUSED 1" in said
    assert "wg0: 2 peers" in said


def test_metrics_are_served_at_a_socket_made_before_privileges_went(registry: Registry) -> None:
    directory = registry.directory / "root's"
    directory.mkdir(0o755)
    path = directory / "metrics"
    registry.start(*registry.configure(f'metrics = "{path}"\n{ONE}'))
    registry.ask("wg.example.com", "SOA")

    class Connection(http.client.HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(str(path))

    with contextlib.closing(Connection("localhost", timeout=DEADLINE)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    assert 'wgsd_nm_registry_queries_total{transport="udp"} 1' in text
    assert 'wgsd_nm_registry_device_peers{device="wg0"} 2' in text


def test_a_serial_goes_on_where_it_was(registry: Registry) -> None:
    directory = registry.directory / "state"
    directory.mkdir(0o755)
    state = directory / "serials"
    state.write_text("wg.example.com. 3000000000\nother.example.com. 5\n")
    flags = registry.configure(f'state = "{state}"\n{ONE}')
    registry.start(*flags)
    assert registry.serial() == 3000000001
    registry.peers({ALICE: "192.0.2.1:9"})
    until(lambda: registry.port_of(ALICE) == 9, "the change")
    registry.stop()
    assert state.read_text() == "wg.example.com. 3000000002\nother.example.com. 5\n"
    registry.start(*flags)
    assert registry.serial() == 3000000003
    assert stat.S_IMODE(state.stat().st_mode) == 0o644


def test_a_state_that_cannot_be_read_starts_from_the_time(registry: Registry) -> None:
    state = registry.directory / "serials"
    state.write_bytes(b"\xff")
    registry.launch(*registry.configure(f'state = "{state}"\n{ONE}'))
    registry.line(f"{state} has no zones' serials: they start from the time again")
    registry.line("answering for wg.example.com.")
    assert 1_700_000_000 < registry.serial() < 4_000_000_000
    registry.stop()
    registry.launch(*registry.configure(f'state = "{state}/missing"\n{ONE}'))
    registry.line(f"state: {state}/missing cannot be opened: Not a directory")
    assert registry.end() == 2


class Systemd:
    """Sockets to pass, and what is told to NOTIFY_SOCKET."""

    def __init__(self, registry: Registry) -> None:
        self.tcp = socket.create_server((registry.address, PORT))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((registry.address, PORT))
        self.udp.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO, as PassPacketInfo=yes does
        self._path = registry.directory / "notify"
        self._told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._told.bind(str(self._path))
        self._path.chmod(0o777)
        self._told.settimeout(DEADLINE)
        self.state = registry.directory / "state"
        self.state.mkdir()
        self.state.chmod(0o777)

    @property
    def sockets(self) -> tuple[socket.socket, socket.socket]:
        return self.udp, self.tcp

    @property
    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": str(self._path), "STATE_DIRECTORY": str(self.state)}

    def told(self) -> dict[str, str]:
        """The next message."""
        lines = self._told.recv(4096).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def close(self) -> None:
        for one in (self.tcp, self.udp, self._told):
            one.close()


@pytest.fixture
def systemd(registry: Registry) -> Iterator[Systemd]:
    made = Systemd(registry)
    yield made
    made.close()


@pytest.fixture
def activated(registry: Registry, systemd: Systemd) -> Iterator[Registry]:
    """Started as systemd does, and answering."""
    registry.file.write_text(ONE)
    with reader_socket(registry, "--config", str(registry.file)) as path:
        flags = ("--config", str(registry.file), "--reader", str(path))
        registry.activate(systemd.sockets, *flags, **systemd.environment)
        registry.line(f"answering for wg.example.com. with the peers of wg0 at {registry.address}:{PORT}")
        yield registry
        registry.close()


def test_systemd_passes_the_sockets_and_is_told_how_it_goes(activated: Registry, systemd: Systemd) -> None:
    told = systemd.told()
    assert told["READY"] == "1"
    assert told["STATUS"] == "answering for wg.example.com. with the peers of wg0"
    assert activated.port_of(ALICE) == 1
    assert activated.ask("wg.example.com", "SOA", tcp=True).rcode() == NOERROR
    activated.file.write_text(TWO)
    activated.signal(signal.SIGHUP)
    told = systemd.told()
    assert told["RELOADING"] == "1"
    assert int(told["MONOTONIC_USEC"]) > 0
    told = systemd.told()
    assert (told["READY"], told["STATUS"][-42:]) == ("1", "for lab.example.com. with the peers of wg1")
    assert activated.port_of(ALICE, "lab.example.com") == 3
    activated.stop()
    assert systemd.told() == {"STOPPING": "1"}
    assert "lab.example.com. 1" in (systemd.state / "serials").read_text()


def test_queries_from_before_the_start_are_answered(registry: Registry, systemd: Systemd) -> None:
    stream = Stream(registry)
    stream.start()
    registry.file.write_text(ONE)
    with reader_socket(registry, "--config", str(registry.file)) as path:
        registry.activate(systemd.sockets, "--config", str(registry.file), "--reader", str(path))
        registry.line("answering for wg.example.com.")
        until(lambda: len(stream.answers) > 2, "answers")
        assert set(stream.end()) == {NOERROR}
        registry.stop()


def test_a_reader_that_dies_is_followed_by_another(activated: Registry) -> None:
    assert activated.port_of(ALICE) == 1
    stream = Stream(activated)
    stream.start()
    for _ in range(3):
        before = activated.reader
        os.kill(before, signal.SIGKILL)
        activated.line("the registry's reader has ended: the next query calls another one")
        activated.line("the reader at ")
        assert activated.reader != before
    answers = stream.end()
    assert set(answers) == {NOERROR}
    assert activated.port_of(ALICE) == 1


def test_without_a_reader_it_answers_servfail_and_recovers(registry: Registry, systemd: Systemd) -> None:
    registry.file.write_text(ONE)
    path = registry.directory / "reader"
    registry.activate(systemd.sockets, "--config", str(registry.file), "--reader", str(path))
    registry.line(
        f"there is no reader at {path}: start wgsd-nm-registry-reader.socket: the next query calls another one"
    )
    registry.line(f"answering SERVFAIL: there is no reader at {path}")
    registry.line("answering for wg.example.com.")
    assert registry.ask("wg.example.com", "SOA").rcode() == SERVFAIL
    with reader_socket(registry, "--config", str(registry.file)):
        until(lambda: registry.port_of(ALICE) == 1, "a reader")
        registry.stop()


def test_what_systemd_passes_goes_before_what_listen_says(registry: Registry, systemd: Systemd) -> None:
    registry.file.write_text(f'listen = ["127.0.0.1:{PORT + 1}"]\n{ONE}')
    with reader_socket(registry, "--config", str(registry.file)) as path:
        registry.activate(systemd.sockets, "--config", str(registry.file), "--reader", str(path))
        registry.line("answering for wg.example.com. with the peers of wg0 at ")
        assert registry.port_of(ALICE) == 1
        registry.stop()
