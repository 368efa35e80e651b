# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry's two processes on loopback: what they may, what they answer, and how each ends with the other."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dns.rcode import NOERROR, NXDOMAIN, REFUSED, SERVFAIL

from tests.integration.running_registry import DEADLINE, PORT, ROOT, ZONE, Registry, until
from wgsd_nm.core.dnssd import instance_name
from wgsd_nm.core.model import PublicKey
from wgsd_nm.registry.content import MAX_AGE
from wgsd_nm.registry.privileges import CAP_NET_ADMIN

ALICE = PublicKey(b"a" * 32)
BOB = PublicKey(b"b" * 32)


def status(pid: int) -> dict[str, str]:
    """/proc/PID/status (proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def running(pid: int) -> bool:
    try:
        return not status(pid)["State"].startswith("Z")
    except FileNotFoundError:
        return False


@pytest.fixture
def registry(registry_directory: Path) -> Iterator[Registry]:
    made = Registry(registry_directory)
    yield made
    made.close()


def test_peers_are_found_over_udp_and_tcp(registry: Registry) -> None:
    registry.peers({ALICE: "192.0.2.1:51820", BOB: ""})
    registry.start()
    for tcp in (False, True):
        reply = registry.ask(instance_name(ALICE, ZONE), "SRV", tcp=tcp)
        assert reply.answer[0][0].port == 51820
        assert [str(rrset[0]) for rrset in reply.additional] == [
            "192.0.2.1",
            f'"txtvers=1" "pub={ALICE}" "allowed=10.0.0.1/32"',
        ]
        browse = registry.ask("_wireguard._udp.wg.example.com", "PTR", tcp=tcp)
        assert [record.target for record in browse.answer[0]] == [instance_name(ALICE, ZONE)]
        assert registry.ask("nobody.wg.example.com", "SRV", tcp=tcp).rcode() == NXDOMAIN


def test_an_answer_is_never_older_than_promised(registry: Registry) -> None:
    registry.peers({ALICE: "192.0.2.1:1"})
    registry.start()
    assert registry.port_of(ALICE) == 1
    for port in (2, 3, 4):
        registry.peers({ALICE: f"192.0.2.1:{port}"})
        changed = time.monotonic()
        asked = changed
        while registry.port_of(ALICE) != port:
            assert asked < changed + MAX_AGE
            asked = time.monotonic()


def test_the_device_is_read_for_queries_only_and_at_most_four_times_a_second(registry: Registry) -> None:
    registry.start()
    assert registry.reads == 1
    for _ in range(3):
        assert registry.ask("www.example.com", "A").rcode() == REFUSED
    assert registry.reads == 1
    began = time.monotonic()
    queries = 0
    while time.monotonic() < began + 1:
        assert registry.ask("wg.example.com", "SOA").rcode() == NOERROR
        queries += 1
    took = time.monotonic() - began
    assert 2 <= registry.reads <= 2 + took / MAX_AGE
    assert queries > registry.reads


def test_a_device_that_is_missing_is_waited_for(registry: Registry) -> None:
    registry.error("NoSuchDevice")
    registry.launch(*registry.flags)
    registry.line("answering SERVFAIL: NoSuchDevice: wg0")
    registry.line("answering for wg.example.com.")
    assert registry.ask(instance_name(ALICE, ZONE), "SRV").rcode() == SERVFAIL
    registry.peers({ALICE: "192.0.2.1:7"})
    until(lambda: registry.port_of(ALICE) == 7, "the device")
    registry.line("wg0 can be read again")
    registry.error("DeviceError")
    until(lambda: registry.ask("wg.example.com", "SOA").rcode() == SERVFAIL, "the failure")
    registry.line("answering SERVFAIL: DeviceError: wg0")


def test_a_missing_permission_ends_it_with_a_line(registry: Registry) -> None:
    registry.error("NotPermitted")
    assert registry.fail(*registry.flags) == (1, "wgsd-nm-registry: NotPermitted: wg0\n")


def test_neither_process_keeps_a_privilege_that_it_does_not_need(registry: Registry) -> None:
    registry.start()
    assert registry.process is not None
    assert registry.port_of(ALICE) == 0
    as_root = os.geteuid() == 0
    for pid, capabilities in ((registry.process.pid, 0), (registry.reader, 1 << CAP_NET_ADMIN if as_root else 0)):
        said = status(pid)
        for name in ("CapEff", "CapPrm"):
            assert int(said[name], 16) == capabilities, name
        for name in ("CapInh", "CapAmb"):
            assert int(said[name], 16) == 0, name
        assert said["NoNewPrivs"] == "1"
        assert said["Threads"] == "1"
        uids = said["Uid"].split()
        assert len(set(uids)) == 1
        if as_root:
            assert uids[0] != "0"
            assert said["Gid"].split()[0] != "0"
            assert said["Groups"] == ""
            assert int(said["CapBnd"], 16) == 0


def test_no_internet_socket_is_open_in_the_reader(registry: Registry) -> None:
    registry.start()
    assert registry.process is not None

    def sockets(pid: int) -> set[str]:
        targets = (str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir())
        return {target.removeprefix("socket:[").removesuffix("]") for target in targets if target.startswith("socket:")}

    tables = (Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("udp", "tcp", "udp6", "tcp6"))
    internet = {line.split()[9] for table in tables for line in table}
    assert len(sockets(registry.process.pid) & internet) == 2
    assert len(sockets(registry.reader)) == 1
    assert not sockets(registry.reader) & internet


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_both(registry: Registry, number: signal.Signals) -> None:
    registry.start()
    assert registry.process is not None
    reader = registry.reader
    registry.process.send_signal(number)
    assert registry.end() == 0
    assert not running(reader)


def test_the_reader_ends_with_a_killed_server(registry: Registry) -> None:
    registry.start()
    assert registry.process is not None
    reader = registry.reader
    registry.process.kill()
    registry.end()
    until(lambda: not running(reader), "the reader's end")


def test_the_server_ends_with_a_killed_reader(registry: Registry) -> None:
    registry.start()
    os.kill(registry.reader, signal.SIGKILL)
    assert registry.end() == 1
    registry.line("the registry's reader has ended")


def served_by(reader: tuple[str, ...], address: str) -> subprocess.Popen[bytes]:
    """A server with this command in the place of its reader's."""
    program = f"import sys; from wgsd_nm.registry.__main__ import main; sys.exit(main(sys.argv[1:], {reader!r}))"
    flags = ("--device", "wg0", "--zone", "wg.example.com", "--listen", f"{address}:{PORT}")
    return subprocess.Popen([sys.executable, "-c", program, *flags], cwd=ROOT, stderr=subprocess.PIPE)


def test_a_reader_that_is_not_there_is_said(registry: Registry) -> None:
    server = served_by(("/nonexistent/reader",), registry.address)
    _, said = server.communicate(timeout=DEADLINE)
    assert server.returncode == 1
    expected = (
        "wgsd-nm-registry: the registry's reader, /nonexistent/reader, cannot be started: No such file or directory\n"
    )
    assert said.decode() == expected


def test_a_reader_that_has_not_begun_yet_is_left_to_end_by_itself(registry: Registry) -> None:
    server = served_by(("/bin/sh", "-c", "sleep 5"), registry.address)
    until(lambda: int(status(server.pid)["SigCgt"], 16) >> signal.SIGTERM - 1 & 1, "the server to hear signals")
    server.terminate()
    assert server.wait(DEADLINE) == 0
    assert server.stderr is not None
    with server.stderr:
        os.set_blocking(server.stderr.fileno(), False)  # the reader has it, too
        assert not server.stderr.read()


def test_a_reader_that_cannot_start_ends_it(registry: Registry) -> None:
    registry.table.unlink()
    code, said = registry.fail(*registry.flags)
    assert code == 1
    assert said.count("wgsd-nm-registry: ") == 1
    assert said.endswith("wgsd-nm-registry: the registry's reader has ended\n")


def test_a_taken_port_is_named(registry: Registry) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((registry.address, PORT))
        code, said = registry.fail(*registry.flags)
    assert code == 1
    assert said.count("\n") == 1
    assert said.startswith(f"wgsd-nm-registry: UDP port {PORT} of {registry.address} is taken by another program")


def test_a_signal_is_heard_while_the_first_read_hangs(registry: Registry) -> None:
    registry.write({"hang": True})
    registry.launch(*registry.flags)
    until(lambda: Path(f"{registry.table}.reads").exists() and registry.reads, "the first read")
    registry.stop()
    assert not running(registry.reader)


def test_a_device_that_is_not_read_in_time_is_said_and_the_start_goes_on(registry: Registry) -> None:
    registry.write({"hang": True})
    registry.launch(*registry.flags)
    registry.line("answering SERVFAIL: wg0 was not read within 2 s")
    registry.line("answering for wg.example.com.")
    assert registry.ask("wg.example.com", "SOA").rcode() == SERVFAIL


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--zone", "wg.local"), "the command line: --zone: 'wg.local' cannot be a zone"),
        (("--device", "wg/0"), "the command line: --device: 'wg/0' is not a network interface name"),
        (("--listen", "wg0"), "the command line: --listen#1: 'wg0' is not an address to listen at"),
        (("--allow", "wg0"), "the command line: --allow#1: 'wg0' is not a network"),
        (("--user", "no such user"), "there is no user 'no such user' here"),
        (("--user", "root"), "'root' is root"),
        (("--config", "/nonexistent.toml"), "/nonexistent.toml cannot be read: No such file or directory"),
    ],
)
def test_wrong_flags_are_refused_with_a_line(registry: Registry, flags: tuple[str, ...], complaint: str) -> None:
    good = {"--device": "wg0", "--zone": "wg.example.com", "--listen": "192.0.2.53"}
    good.update({flags[0]: flags[1]})
    code, said = registry.fail(*(word for flag in good.items() for word in flag))
    assert code == 2
    assert said.count("\n") == 1
    assert said.startswith(f"wgsd-nm-registry: {complaint}")


def test_where_to_listen_has_to_be_said(registry: Registry) -> None:
    code, said = registry.fail("--device", "wg0", "--zone", "wg.example.com")
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("wgsd-nm-registry: the command line: listen is missing: expected where to answer")
