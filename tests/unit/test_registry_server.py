# SPDX-License-Identifier: GPL-2.0-or-later
"""All sockets of a server together, those of systemd among them, and what it says of itself."""

from __future__ import annotations

import asyncio
import socket

import dns.asyncquery
import pytest
from dns.rcode import NOERROR, REFUSED

from tests.unit.registry_objects import NOW, query
from tests.unit.registry_running import ALICE, STRANGER, Running, framed, own_address, serve, until
from wgsd_nm.registry import datagrams, streams
from wgsd_nm.registry.access import STRANGER_BURST
from wgsd_nm.registry.sockets import adopt


def test_all_addresses_answer() -> None:
    addresses = [own_address() for _ in range(3)]

    async def story(running: Running) -> None:
        for address in addresses:
            running.host = str(address.address)
            assert (await running.udp(query(ALICE, "A"))).rcode() == NOERROR
            assert (await dns.asyncquery.tcp(query(ALICE, "A"), running.host, port=running.port, timeout=5)).answer
        assert running.reads == 1

    serve(story, *addresses)


def test_dual_stack_sockets_that_systemd_passes_answer_both_families() -> None:
    passed = []
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as tcp:
        tcp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        tcp.bind(("::", 0))
        tcp.listen()
        udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        udp.bind(("::", tcp.getsockname()[1]))
        passed = [udp, tcp.dup()]

    async def story(running: Running) -> None:
        for host in ("127.0.0.1", "::1", "127.0.0.77"):
            running.host = host
            for _ in range(2):
                # dnspython refuses an answer from another address than the one it asked
                assert (await running.udp(query(ALICE, "A"))).rcode() == NOERROR
            assert (await dns.asyncquery.tcp(query(ALICE, "A"), host, port=running.port, timeout=5)).answer

    serve(story, listeners=adopt(passed))


def test_either_protocol_may_be_missing() -> None:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        bound = socket.socket(socket.AF_INET, kind)
        bound.bind((str(own_address().address), 0))
        if kind == socket.SOCK_STREAM:
            bound.listen()

        async def story(running: Running, kind: int = kind) -> None:
            ask = dns.asyncquery.udp if kind == socket.SOCK_DGRAM else dns.asyncquery.tcp
            assert (await ask(query(ALICE, "A"), running.host, port=running.port, timeout=5)).answer

        serve(story, listeners=adopt([bound]))


def test_udp_and_tcp_share_the_strangers_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "arrival_of", lambda *_: STRANGER)
    monkeypatch.setattr(streams, "arrival", lambda _: STRANGER)

    async def story(running: Running) -> None:
        for _ in range(STRANGER_BURST):
            assert (await running.udp(query(ALICE, "A"))).rcode() == REFUSED
        reader, writer = await running.connect()
        writer.write(framed(query(ALICE, "A")))
        assert await reader.read() == b""
        assert running.statistics.limited == 1

    serve(story)


def test_it_tells_of_itself() -> None:
    async def story(running: Running) -> None:
        line = running.server.line()
        assert line.startswith("0 queries over UDP, 0 over TCP, 0 waiting; answers: none; ")
        assert "; wg0: 0 peers, never read, 0 reads, 0 failed; wg.example.com. serial 0" in line
        await running.udp(query(ALICE, "A"))
        await running.udp(query("www.example.org", "A"))
        reader, _ = await running.connect()
        await until(lambda: running.statistics.connections)
        line = running.server.line()
        assert line.startswith("2 queries over UDP, 0 over TCP, 0 waiting; answers: NOERROR 1, REFUSED 1; ")
        assert "connections: 1 open, 1 taken, " in line
        assert "; wg0: 4 peers, read 0.0 s ago, 1 reads, 0 failed; " in line
        assert line.endswith(f"; wg.example.com. serial {NOW}")
        text = running.server.prometheus()
        assert f'wgsd_nm_registry_zone_serial{{zone="wg.example.com."}} {NOW}\n' in text
        assert 'wgsd_nm_registry_device_peers{device="wg0"} 4\n' in text
        assert "wgsd_nm_registry_dropped_total 0\n" in text
        assert not reader.at_eof()

    serve(story)


def test_waiting_queries_and_two_zones_of_one_device_are_told() -> None:
    async def story(running: Running) -> None:
        running.server.use(running.make_site("a.example", "b.example"))
        running.hold.clear()
        waiting = asyncio.create_task(running.udp(query("a.example", "SOA")))
        await until(lambda: running.reads)
        line = running.server.line()
        assert ", 1 waiting; " in line
        assert line.count("; wg0: ") == 1
        assert line.endswith("; a.example. serial 0; b.example. serial 0")
        running.hold.set()
        assert (await waiting).rcode() != REFUSED
        for name in ("a.example", "b.example"):
            assert (await running.udp(query(name, "SOA"))).rcode() == NOERROR
        assert running.reads == 1

    serve(story)


def test_what_is_closed_twice_is_closed() -> None:
    async def story(running: Running) -> None:
        running.server.close()
        running.server.close()

    serve(story)
