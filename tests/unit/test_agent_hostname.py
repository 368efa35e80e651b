# SPDX-License-Identifier: GPL-2.0-or-later
"""Name servers of uplinks are played on loopback, each at an address of its own; the system's resolver is true."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from typing import Any

import dns.message
import dns.rcode
import pytest
from dns.rdatatype import AAAA

from tests.unit.nameserver import NameServer, reply
from wgsd_nm.agent import exchange, hostname
from wgsd_nm.core.errors import LookupFailed, NegativeAnswer, NoAnswer, NoSuchPeer
from wgsd_nm.core.model import Uplink

HOST = "registry.example.com"
SOA = "example.com. 60 IN SOA ns. post. 1 2 3 4 5"
V4, V6 = "203.0.113.254:51820", "[2001:db8::254]:51820"


class Scripted(NameServer):
    """Answers with these records, each as type and data; says NXDOMAIN if there are none; is silent for None."""

    def __init__(self, address: str, port: int, records: Sequence[str] | None, silent: Sequence[Any] = ()) -> None:
        super().__init__(address, port=port)
        self.records = records
        self._silent = silent

    def handle(self, request: bytes, tcp: bool) -> Sequence[bytes]:  # noqa: ARG002  # the same over both
        kind = dns.message.from_wire(request).question[0].rdtype
        if self.records is None or kind in self._silent:
            return []
        if not self.records:
            return [reply(request, authority=[SOA], rcode=dns.rcode.NXDOMAIN)]
        return [reply(request, [f"@ 60 IN {each}" for each in self.records if each.split()[0] == kind.name], [], [SOA])]

    @property
    def names(self) -> list[str]:
        """The names that were asked for."""
        return [str(dns.message.from_wire(request).question[0].name).lower() for request, _ in self.requests]


BOTH = ("AAAA 2001:db8::254", "A 203.0.113.254")


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is given up only because the machine is busy."""
    for module, name in ((exchange, "FIRST_TIMEOUT"), (hostname, "UPLINKS_LIMIT"), (hostname, "LIMIT")):
        monkeypatch.setattr(module, name, 15.0)
    monkeypatch.setattr(hostname, "GRACE", 10.0)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """The port of the name servers, free at every address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        number: int = probe.getsockname()[1]
    monkeypatch.setattr(hostname, "PORT", number)
    return number


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that the system's resolver is asked for: it knows none."""
    asked: list[str] = []

    def getaddrinfo(host: str, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def uplink(*name_servers: str, interface: str = "lo") -> Uplink:
    return Uplink(interface, "", (), (), 0, tuple(map(ip_address, name_servers)))


def resolve(*uplinks: Uplink, host: str = HOST) -> list[str]:
    async def limited() -> list[str]:
        async with asyncio.timeout(20):
            return [str(endpoint) for endpoint in await hostname.resolve(host, 51820, uplinks)]

    return asyncio.run(limited())


def with_servers(*servers: Scripted) -> ExitStack:
    stack = ExitStack()
    for server in servers:
        stack.enter_context(server)
    return stack


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", "192.0.2.1:51820"),
        ("2001:db8::1", "[2001:db8::1]:51820"),
        ("::ffff:192.0.2.1", "192.0.2.1:51820"),
    ],
)
def test_an_address_stands_for_itself(host: str, expected: str, port: int, system: list[str]) -> None:
    with with_servers(Scripted("127.0.0.1", port, BOTH)):
        assert resolve(uplink("127.0.0.1"), host=host) == [expected]
    assert not system


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize(("records", "expected"), [(BOTH, [V6, V4]), (BOTH[1:], [V4]), (BOTH[:1], [V6])])
def test_both_families_are_asked(records: Sequence[str], expected: list[str], port: int) -> None:
    with Scripted("127.0.0.1", port, records) as server:
        assert resolve(uplink("127.0.0.1")) == expected
        assert set(server.names) == {HOST + "."}


def test_every_server_of_every_uplink_is_asked_at_once(port: int, system: list[str]) -> None:
    silent, refused = Scripted("127.0.0.1", port, None), Scripted("127.0.0.2", port, ())
    first, second = Scripted("127.0.0.3", port, BOTH[1:]), Scripted("127.0.0.4", port, ("A 192.0.2.9", *BOTH[1:]))
    with pytest.MonkeyPatch.context() as patch, with_servers(silent, refused, first, second):
        patch.setattr(hostname, "GRACE", 0.5)
        assert resolve(uplink("127.0.0.1", "127.0.0.2", "127.0.0.3"), uplink("127.0.0.4")) == [V4, "192.0.2.9:51820"]
    assert not system
    assert all(server.names for server in (silent, refused, first, second))


@pytest.mark.usefixtures("system")
def test_of_many_servers_only_the_first_are_asked(port: int) -> None:
    servers = [Scripted(f"127.0.0.{number}", port, BOTH) for number in range(1, 5)]
    with with_servers(*servers):
        resolve(uplink(*(server.address for server in servers)))
    assert [bool(server.names) for server in servers] == [True, True, True, False]


@pytest.mark.usefixtures("system")
def test_a_server_that_is_silent_about_one_family_does_not_hold_up_the_other(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostname, "GRACE", 0.01)
    with Scripted("127.0.0.1", port, BOTH, silent=[AAAA]):
        assert resolve(uplink("127.0.0.1")) == [V4]


@pytest.mark.usefixtures("system")
def test_an_alias_is_followed(port: int) -> None:
    class Aliased(Scripted):
        def handle(self, request: bytes, tcp: bool) -> Sequence[bytes]:
            if str(dns.message.from_wire(request).question[0].name).lower() == HOST + ".":
                return [reply(request, ["@ 60 IN CNAME dyn.example.net."])]
            return super().handle(request, tcp)

    with Aliased("127.0.0.1", port, BOTH):
        assert resolve(uplink("127.0.0.1")) == [V6, V4]


def test_the_sockets_are_bound_to_the_uplink(port: int, system: list[str]) -> None:
    with Scripted("127.0.0.1", port, BOTH) as server, pytest.raises(NoSuchPeer):
        resolve(uplink("127.0.0.1", interface="no-such-device"))
    assert server.names == []
    assert system == [HOST]


@pytest.mark.parametrize("uplinks", [(), (uplink(),)])
def test_without_name_servers_the_system_is_asked(uplinks: tuple[Uplink, ...]) -> None:
    """/etc/hosts is true everywhere, and no packet leaves for it."""
    assert "127.0.0.1:51820" in resolve(*uplinks, host="localhost")


def test_where_no_server_of_an_uplink_answers_the_system_is_asked(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostname, "UPLINKS_LIMIT", 0.1)
    with Scripted("127.0.0.1", port, None) as silent:
        assert "127.0.0.1:51820" in resolve(uplink("127.0.0.1"), host="localhost")
        assert silent.names
    assert "127.0.0.1:51820" in resolve(uplink("127.0.0.1"), host="localhost"), "nobody listens there any more"


def test_a_name_that_only_the_system_knows(port: int) -> None:
    with Scripted("127.0.0.1", port, ()):
        assert "127.0.0.1:51820" in resolve(uplink("127.0.0.1"), host="localhost")


@pytest.mark.usefixtures("system")
def test_a_host_without_address(port: int) -> None:
    with Scripted("127.0.0.1", port, ()), pytest.raises(NegativeAnswer, match=HOST):
        resolve(uplink("127.0.0.1"))


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("host", ["", ".", "a..b", "a" * 64 + ".example", "x." * 200, "\0", "\ud800", "ä" * 70, "%"])
def test_what_is_no_host_name(host: str, port: int) -> None:
    with Scripted("127.0.0.1", port, ()), pytest.raises(LookupFailed):
        resolve(uplink("127.0.0.1"), host=host)


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "x." * 200, "\ud800"])
def test_what_the_system_takes_for_no_host_name(host: str) -> None:
    with pytest.raises(NoSuchPeer):
        resolve(host=host)


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_AGAIN, "cannot tell"),
        socket.gaierror(socket.EAI_FAIL, "cannot tell"),
        OSError(errno.EMFILE, "cannot tell"),
        OSError("cannot tell"),
    ],
    ids=["EAI_AGAIN", "EAI_FAIL", "EAI_SYSTEM", "no number"],
)
def test_a_system_that_cannot_tell(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> list[Any]:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(NoAnswer, match="cannot tell"):
        resolve()


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names that the system's resolver is asked for: it answers when the test is over."""
    asked: list[str] = []
    over = threading.Event()

    def getaddrinfo(host: str, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        over.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "cannot tell")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(hostname, "LIMIT", 0.05)
    yield asked
    over.set()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.name == "getaddrinfo":
            thread.join(20)


@pytest.mark.usefixtures("hung")
def test_time_is_limited_and_nothing_waits_for_a_system_that_hangs() -> None:
    """Nor does the end of the loop: asyncio.run() waits for the threads of its executor."""
    began = time.monotonic()
    with pytest.raises(NoAnswer, match=r"within 0.05 s"):
        resolve()
    assert time.monotonic() - began < 10
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "getaddrinfo")
    assert thread.daemon, "so the end of the process does not wait for it either"


def test_a_system_that_hangs_is_asked_only_so_many_questions(hung: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostname, "_threads", threading.BoundedSemaphore(2))
    for _ in range(2):
        with pytest.raises(NoAnswer, match="within"):
            resolve()
    with pytest.raises(NoAnswer, match="is not asked for"):
        resolve()
    assert len(hung) == 2


def test_a_system_that_fails_may_be_asked_again(system: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostname, "_threads", threading.BoundedSemaphore(1))
    for _ in range(3):
        with pytest.raises(NoSuchPeer):
            resolve()
    assert len(system) == 3
