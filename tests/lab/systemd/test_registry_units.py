# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed registry: systemd opens its sockets, confines server and reader, and what is left is enough."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import pytest
from dns.rcode import NOERROR, SERVFAIL

from lab.world import wait_for
from lab.world.host import call as command
from tests.lab.booted import status_of
from wgsd_nm.core.dnssd import instance_name, parse_zone
from wgsd_nm.core.model import PublicKey

DATA = Path("/src/data")
DEVICE, OTHER, ZONE = "wgreg", "wgreg2", "wg.example.com"
ADDRESS, LATE = "127.0.0.1", "198.18.0.53"
PEER = PublicKey(bytes(range(32)))
CAP_NET_ADMIN = 1 << 12
SERVICE, SOCKET = "wgsd-nm-registry.service", "wgsd-nm-registry.socket"
READER, READER_SOCKET = "wgsd-nm-registry-reader@*.service", "wgsd-nm-registry-reader.socket"
READER_PATH = "/run/wgsd-nm/registry-reader"
CONFIGURATION = Path("/etc/wgsd-nm/registry.toml")
DROP_IN = Path(f"/etc/systemd/system/{SOCKET}.d/address.conf")
PROGRAM = """\
#!/usr/bin/python3
import sys
sys.path.insert(0, "/src")
from wgsd_nm.registry.{module} import main
sys.exit(main())
"""
ONE = f"""\
[zone."{ZONE}"]
device = "{DEVICE}"
"""
TWO = f"""{ONE}
[zone."two.example.com"]
device = "{OTHER}"
"""


def shown(unit: str, name: str) -> str:
    return command("systemctl", "show", "--value", f"--property={name}", unit).strip()


def reader() -> str:
    """The unit of the present reader, "" for none."""
    listed = command("systemctl", "list-units", "--plain", "--no-legend", "--state=running", READER)
    return listed.split()[0] if listed.strip() else ""


def journal() -> str:
    command("journalctl", "--sync")
    return command("journalctl", "--boot", "--output=cat", f"--unit={SERVICE}", f"--unit={READER}", f"--unit={SOCKET}")


def ask(name: object = ZONE, rdtype: str = "SOA", *, server: str = ADDRESS, tcp: bool = False) -> dns.message.Message:
    exchange = dns.query.tcp if tcp else dns.query.udp
    return exchange(dns.message.make_query(str(name), rdtype), server, timeout=60)


def port(zone: str = ZONE, *, tcp: bool = False) -> int:
    said = ask(instance_name(PEER, parse_zone(zone)), "SRV", tcp=tcp)
    return int(said.answer[0][0].port) if said.answer else -said.rcode()


def wait_answered() -> None:
    """A reader's start takes longer here than a query waits for it."""
    wait_for(lambda: port() == 7, 120, "the registry to answer", 0.2)


def make_device(name: str, port: int) -> None:
    command("ip", "link", "add", name, "type", "wireguard")
    command("wg", "set", name, "peer", str(PEER), "allowed-ips", "10.9.0.2/32", "endpoint", f"192.0.2.7:{port}")


def delete_device(name: str) -> None:
    command("sh", "-c", f"ip link delete {name} 2>/dev/null || true")


@pytest.fixture(scope="module", autouse=True)
def _installed() -> Iterator[None]:
    """The product's files where a package puts them."""
    for unit in (DATA / "systemd-system").glob("wgsd-nm-registry*"):
        shutil.copy(unit, "/usr/lib/systemd/system")
    shutil.copy(DATA / "sysusers.d/wgsd-nm-registry.conf", "/usr/lib/sysusers.d")
    for name, module in (("wgsd-nm-registry", "__main__"), ("wgsd-nm-registry-reader", "reader")):
        program = Path("/usr/bin", name)
        program.write_text(PROGRAM.format(module=module))
        program.chmod(0o755)
    CONFIGURATION.parent.mkdir(exist_ok=True)
    CONFIGURATION.write_text(ONE)
    command("systemd-sysusers")
    command("modprobe", "wireguard")
    command("systemctl", "daemon-reload")
    make_device(DEVICE, 7)
    yield
    delete_device(DEVICE)


@pytest.fixture
def started() -> Iterator[None]:
    """The registry answers, over the device with one peer."""
    CONFIGURATION.write_text(ONE)
    command("systemctl", "start", SERVICE)
    wait_answered()
    yield
    command("systemctl", "stop", SERVICE, SOCKET, READER_SOCKET)
    assert shown(SERVICE, "Result") == "success"
    assert "Traceback" not in journal()


@pytest.mark.usefixtures("started")
def test_it_answers_over_udp_and_tcp() -> None:
    assert (port(), port(tcp=True)) == (7, 7)
    assert shown(SERVICE, "StatusText") == f"answering for {ZONE}. with the peers of {DEVICE}"


def test_the_socket_starts_it() -> None:
    command("systemctl", "start", SOCKET)
    assert shown(SERVICE, "ActiveState") == "inactive"
    wait_answered()
    assert shown(SERVICE, "ActiveState") == "active"
    command("systemctl", "stop", SERVICE, SOCKET, READER_SOCKET)


@pytest.mark.usefixtures("started")
def test_systemd_confines_both() -> None:
    assert port() == 7
    server, privileged = status_of(shown(SERVICE, "MainPID")), status_of(shown(reader(), "MainPID"))
    assert {int(server[name], 16) for name in ("CapBnd", "CapEff", "CapPrm", "CapAmb")} == {0}
    assert {int(privileged[name], 16) for name in ("CapBnd", "CapEff", "CapPrm")} == {CAP_NET_ADMIN}
    for status in (server, privileged):
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        assert "0" not in status["Uid"].split()
    assert server["Uid"] != privileged["Uid"]
    socket = Path(READER_PATH)
    assert (socket.owner(), oct(socket.stat().st_mode & 0o777)) == ("wgsd-nm-registry", "0o600")


@pytest.mark.usefixtures("started")
def test_a_killed_reader_is_followed_by_another() -> None:
    """What was read by the last one may do for many seconds here, so each next one is waited for by its own word."""
    came_back = f"the reader at {READER_PATH} is back"
    known = {""}
    for _ in range(3):
        known.add(reader())
        before = journal().count(came_back)
        command("systemctl", "kill", "--signal=KILL", reader())
        wait_for(lambda: port() == 7 and journal().count(came_back) > before, 60, "another reader's answer", 0.2)  # noqa: B023 - called within this turn
        assert reader() not in known
        assert ask().rcode() == NOERROR


@pytest.mark.usefixtures("started")
def test_a_reload_under_a_stream_of_queries_loses_none() -> None:
    answers: list[int] = []
    ended = threading.Event()

    def stream() -> None:
        while not ended.is_set():
            answers.append(ask().rcode())

    thread = threading.Thread(target=stream)
    thread.start()
    make_device(OTHER, 8)
    try:
        for number in range(6):
            CONFIGURATION.write_text(ONE if number % 2 else TWO)
            command("systemctl", "reload", SERVICE)
            wait_for(lambda: ("two.example.com" in shown(SERVICE, "StatusText")) != bool(number % 2), 20, "the reload")  # noqa: B023 - called within this turn
        CONFIGURATION.write_text(TWO)
        command("systemctl", "reload", SERVICE)
        wait_for(lambda: port("two.example.com") == 8, 20, "the other zone")
        CONFIGURATION.write_text("[")
        assert subprocess.run(["systemctl", "reload", SERVICE], capture_output=True, check=False).returncode != 0
        assert f"{CONFIGURATION} is not TOML" in journal()
        command("systemctl", "kill", "--signal=HUP", SERVICE)
        wait_for(lambda: "the configuration stays as it was" in journal(), 20, "the complaint")
        assert port("two.example.com") == 8
    finally:
        ended.set()
        thread.join(60)
        delete_device(OTHER)
    assert set(answers) == {NOERROR}
    assert len(answers) > 5


@pytest.mark.usefixtures("started")
def test_the_serial_is_kept_over_a_restart_in_which_no_query_is_lost() -> None:
    before = ask().answer[0][0].serial
    command("systemctl", "restart", "--no-block", SERVICE)
    assert ask().rcode() in (NOERROR, SERVFAIL)
    wait_answered()
    assert ask().answer[0][0].serial > before
    assert Path("/var/lib/wgsd-nm-registry/serials").read_text().startswith(f"{ZONE}. ")


@pytest.mark.usefixtures("started")
def test_a_device_may_be_deleted_and_made_anew() -> None:
    assert port() == 7
    delete_device(DEVICE)
    try:
        wait_for(lambda: ask().rcode() == SERVFAIL, 20, "the device to be missed")
    finally:
        make_device(DEVICE, 9)
    wait_for(lambda: port() == 9, 20, "the device to be found")
    delete_device(DEVICE)
    make_device(DEVICE, 7)


def test_an_address_may_come_after_the_socket() -> None:
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    DROP_IN.write_text(f"[Socket]\nListenDatagram=\nListenStream=\nListenDatagram={LATE}:53\nListenStream={LATE}:53\n")
    command("systemctl", "daemon-reload")
    try:
        command("systemctl", "start", SERVICE)
        with pytest.raises((OSError, dns.exception.Timeout)):
            dns.query.udp(dns.message.make_query(ZONE, "SOA"), LATE, timeout=1)
        command("ip", "address", "add", f"{LATE}/32", "dev", "lo")
        wait_for(lambda: ask(server=LATE).rcode() == NOERROR, 60, "the registry to answer", 0.2)
        assert ask(server=LATE, tcp=True).rcode() == NOERROR
    finally:
        command("sh", "-c", f"ip address del {LATE}/32 dev lo 2>/dev/null || true")
        command("systemctl", "stop", SERVICE, SOCKET, READER_SOCKET)
        shutil.rmtree(DROP_IN.parent)
        command("systemctl", "daemon-reload")


def test_a_wrong_configuration_is_told_once_and_not_tried_again() -> None:
    CONFIGURATION.write_text("[zone.x]\n")
    try:
        failed = subprocess.run(["systemctl", "start", SERVICE], capture_output=True, check=False)
        assert failed.returncode != 0
        assert shown(SERVICE, "ExecMainStatus") == "2"
        assert shown(SERVICE, "NRestarts") == "0"
        assert re.search(rf"{CONFIGURATION}: zone\.x\.device.* is missing", journal())
    finally:
        CONFIGURATION.write_text(ONE)
        command("systemctl", "stop", SERVICE, SOCKET, READER_SOCKET)
        command("systemctl", "reset-failed")


@pytest.mark.usefixtures("started")
def test_a_server_that_dies_is_started_again() -> None:
    assert port() == 7
    before = shown(SERVICE, "MainPID")
    command("systemctl", "kill", f"--signal={signal.SIGKILL.value}", "--kill-whom=main", SERVICE)
    wait_answered()
    assert shown(SERVICE, "MainPID") != before


@pytest.mark.usefixtures("started")
def test_systemd_finds_nothing_to_complain_of() -> None:
    assert port() == 7
    command("systemd-analyze", "verify", "--man=no", SERVICE, SOCKET, READER_SOCKET, reader())
    for unit in (SERVICE, reader()):
        command("systemd-analyze", "security", "--no-pager", "--threshold=20", unit)
