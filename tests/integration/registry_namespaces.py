# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with a registry and one that asks, each in a network namespace of its own, with two cables between them.

    python -m tests.integration.registry_namespaces serve      answers for two zones until its standard input ends
    python -m tests.integration.registry_namespaces ask        a question a line, as JSON, and a line with its RCODE

One cable is called like a WireGuard device here, `wg0` (10.0.0.0/24, fd00::/64), the other is the open network, `eth0`
(192.0.2.0/24, 2001:db8::/64). The asking machine sends from any of its addresses by any cable: answers find their way
back by the addresses, so that a forged source has whole TCP connections.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import dns.message
import dns.name
from dns.rcode import Rcode, to_text

from tests.unit.registry_objects import NOW, PEERS, device
from wgsd_nm.core import dso
from wgsd_nm.core.dnssd import parse_zone
from wgsd_nm.core.dso import Keepalive
from wgsd_nm.core.model import Device, Endpoint
from wgsd_nm.registry.access import NAME_AGE, Access, Grant, RateLimit
from wgsd_nm.registry.content import Content
from wgsd_nm.registry.datagrams import VERDICT_AGE
from wgsd_nm.registry.responder import Responder
from wgsd_nm.registry.server import Server
from wgsd_nm.registry.signing import Keyring
from wgsd_nm.registry.site import Site
from wgsd_nm.registry.sockets import adopt, listen
from wgsd_nm.registry.statistics import Statistics
from wgsd_nm.registry.transfer import Transfers
from wgsd_nm.registry.zone import Zone

ROOT = Path(__file__).parents[2]
MODULE = "tests.integration.registry_namespaces"
PORT, WILDCARD_PORT, DUAL_STACK_PORT = 5300, 5301, 5302
"""Of sockets bound to each address, of sockets for one family, and of those for both."""
TUNNEL, OPEN = "wg.example.com", "open.example.com"
"""The zone of wg0 alone, and one that a host of the open network may ask for, too: 192.0.2.2 and 2001:db8::2."""
SILENCE = "silence"
TIMEOUT = 5.0

SERVER = """
link set lo up
link add wg0 type veth peer name wg0 netns {peer}
link add eth0 type veth peer name eth0 netns {peer}
link set wg0 up
link set eth0 up
address add 10.0.0.254/24 dev wg0
address add fd00::254/64 dev wg0 nodad
address add 192.0.2.254/24 dev eth0
address add 2001:db8::254/64 dev eth0 nodad
"""
PEER = """
link set lo up
link set wg0 up
link set eth0 up
address add 10.0.0.2/24 dev wg0
address add fd00::2/64 dev wg0 nodad
address add 192.0.2.2/24 dev eth0
address add 192.0.2.3/24 dev eth0
address add 2001:db8::2/64 dev eth0 nodad
"""
GATEWAYS = {"wg0": ("10.0.0.254", "fd00::254"), "eth0": ("192.0.2.254", "2001:db8::254")}
"""The registry's addresses at either cable's end."""
NO_FILTER = "for cable in all wg0 eth0; do echo 0 >/proc/sys/net/ipv4/conf/$cable/rp_filter; done"
"""The kernel may drop forged sources by itself, but need not, and for IPv6 does not."""


@dataclass(frozen=True, slots=True)
class Question:
    """An SOA question to an address, from an address of the asking machine, by one of its cables.

    With `session` the begin of a push session.
    """

    zone: str
    to: str
    source: str
    cable: str
    tcp: bool = False
    port: int = PORT
    session: bool = False


class Namespaces:
    """Both machines. `process` runs the registry, and `ask` asks it from the other."""

    def __init__(self, registry: subprocess.Popen[str], asking: subprocess.Popen[str]) -> None:
        self._registry = registry
        self._asking = asking

    def ask(self, question: Question) -> str:
        """The name of the RCODE of the answer, or SILENCE."""
        return self._ask(self._asking, question)

    def until_answered(self, question: Question, rcode: str) -> None:
        """Ask until the answer is this one, for as long as an index's name may be remembered, twice over."""
        end = time.monotonic() + NAME_AGE + VERDICT_AGE + 1
        while (said := self.ask(question)) != rcode:
            assert time.monotonic() < end, said

    def ask_itself(self, to: str, *, zone: str = TUNNEL, tcp: bool = False) -> str:
        """The same, from the registry's own machine."""
        with _process(enter(self._registry.pid, sys.executable, "-m", MODULE, "ask")) as process:
            _expect(process, "ready")
            return self._ask(process, Question(zone, to, "", "", tcp))

    def change(self, commands: str) -> None:
        """With `ip -batch` at the registry's machine; {peer} is the asking one."""
        ip(self._registry.pid, commands.format(peer=self._asking.pid))

    def change_asking(self, commands: str) -> None:
        ip(self._asking.pid, commands)

    @staticmethod
    def _ask(process: subprocess.Popen[str], question: Question) -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([getattr(question, name) for name in Question.__slots__]) + "\n")
        process.stdin.flush()
        return process.stdout.readline().strip()


@contextmanager
def namespaces() -> Iterator[Namespaces]:
    """Needs no privilege where the kernel grants user namespaces."""
    waiting = ("sh", "-c", 'echo here && read go && exec "$@"', "sh")
    program = (sys.executable, "-m", MODULE)
    with _process(("unshare", "--map-root-user", "--net", *waiting, *program, "serve")) as registry:
        _expect(registry, "here")
        with _process(enter(registry.pid, "unshare", "--net", *program, "ask")) as asking:
            _expect(asking, "ready")
            ip(registry.pid, SERVER.format(peer=asking.pid))
            ip(asking.pid, PEER)
            for process in (registry, asking):
                subprocess.run(enter(process.pid, "sh", "-c", NO_FILTER), check=True, timeout=TIMEOUT)
            assert registry.stdin is not None
            registry.stdin.write("go\n")
            registry.stdin.flush()
            _expect(registry, "ready")
            yield Namespaces(registry, asking)


def _expect(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{word}\n"


@contextmanager
def _process(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def enter(pid: int, *command: str) -> list[str]:
    return ["nsenter", f"--target={pid}", "--user", "--net", "--preserve-credentials", *command]


def ip(pid: int, commands: str) -> None:
    subprocess.run(enter(pid, "ip", "-batch", "-"), input=commands, text=True, check=True, timeout=TIMEOUT)


class Unlimited(RateLimit):
    """So many strangers ask in these tests."""

    def permits(self, source: str) -> bool:  # noqa: ARG002 - as RateLimit has it
        return True


async def serve() -> None:
    """The registry's machine."""

    async def fetch(_: str) -> Device:
        return device(*PEERS)

    zones = [Zone(parse_zone(name)) for name in (TUNNEL, OPEN)]

    def take(read: Device) -> None:
        for zone in zones:
            server.changed(zone.update(read.peers, NOW))

    content = Content("wg0", fetch, take)
    networks = ((), (ip_network("192.0.2.2/32"), ip_network("2001:db8::2/128")))
    site = Site(
        Responder(zones),
        Access([Grant(zone, "wg0", allowed) for zone, allowed in zip(zones, networks, strict=True)]),
        dict.fromkeys(zones, content),
        Transfers(Keyring(), {}),
    )
    addresses = ("10.0.0.254", "[fd00::254]", "192.0.2.254", "[2001:db8::254]", "127.0.0.1")
    listeners = [*listen(Endpoint.parse(f"{address}:{PORT}") for address in addresses)]
    listeners += listen(Endpoint.parse(f"{address}:{WILDCARD_PORT}") for address in ("0.0.0.0", "[::]"))
    server = Server(site, Statistics(), Unlimited())
    await server.serve((*listeners, *adopt(_dual_stack())))
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def _dual_stack() -> Iterator[socket.socket]:
    """As systemd passes them for ListenDatagram= and ListenStream= with a port only."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        bound = socket.socket(socket.AF_INET6, kind)
        bound.bind(("::", DUAL_STACK_PORT))
        if kind == socket.SOCK_STREAM:
            bound.listen()
        yield bound


def ask() -> None:
    """The asking machine."""
    print("ready", flush=True)
    for line in sys.stdin:
        print(_ask(Question(*json.loads(line))), flush=True)


def _ask(question: Question) -> str:
    if question.session:
        asked = dso.request(1, Keepalive(0, 0).tlv()).encode()
    else:
        asked = dns.message.make_query(dns.name.from_text(question.zone), "SOA").to_wire()
    family = socket.AF_INET6 if ":" in question.to else socket.AF_INET
    if question.cable:
        gateway = GATEWAYS[question.cable][family == socket.AF_INET6]
        via = () if gateway == question.to else ("via", gateway)
        subprocess.run(("ip", "route", "replace", question.to, *via, "dev", question.cable), check=True)
    with socket.socket(family, socket.SOCK_STREAM if question.tcp else socket.SOCK_DGRAM) as client:
        client.settimeout(TIMEOUT)
        if question.source:
            client.bind((question.source, 0))
        try:
            client.connect((question.to, question.port))
            reply = exchange(client, asked, tcp=question.tcp)
        except TimeoutError:
            return SILENCE
    return to_text(Rcode(reply[3] & 0xF))


def exchange(client: socket.socket, query: bytes, *, tcp: bool) -> bytes:
    if not tcp:
        client.send(query)
        return client.recv(4096)
    client.sendall(len(query).to_bytes(2) + query)
    with client.makefile("rb") as stream:
        return stream.read(int.from_bytes(stream.read(2)))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve())
    else:
        ask()
