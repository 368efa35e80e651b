# SPDX-License-Identifier: GPL-2.0-or-later
"""What the registry costs: `python -m bench.registry`. Processor time, on loopback, with a device out of thin air.

Each figure is the best of several rounds: what disturbs a measurement only ever adds to it.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import random
import socket
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from multiprocessing.connection import Connection

import dns.message

from wgsd_nm.core.dnssd import instance_name, parse_zone
from wgsd_nm.core.model import Device, Endpoint, Peer, PublicKey
from wgsd_nm.registry import snapshot
from wgsd_nm.registry.content import Content
from wgsd_nm.registry.responder import Responder
from wgsd_nm.registry.server import Server, listen
from wgsd_nm.registry.zone import Zone

ADDRESS = Endpoint.parse("127.53.53.53:53530")
ZONE = parse_zone("wg.example.com")
ROUNDS = 5
QUERIES = 20_000
WINDOW = 64
"""Queries in flight."""


def device(peers: int) -> Device:
    return Device("wg0", None, 51820, 0, tuple(map(peer, range(peers))))


def peer(number: int) -> Peer:
    allowed = (IPv4Network((0x0A000000 + number, 32)), IPv6Network((0xFD00 << 112 | number, 128)))
    endpoint = Endpoint(IPv4Address(0xC6120000 + number), 1024 + number)
    return Peer(PublicKey(number.to_bytes(32)), endpoint, 1_790_000_000_000_000 + number, allowed_ips=allowed)


def queries(peers: int) -> list[bytes]:
    names = [instance_name(PublicKey(number.to_bytes(32)), ZONE) for number in range(peers)]
    asked = [dns.message.make_query(name, "SRV", use_edns=0, payload=1232).to_wire() for name in names]
    random.Random(0).shuffle(asked)
    return list(itertools.islice(itertools.cycle(asked), QUERIES))


def best(work: Callable[[], object]) -> float:
    """Seconds of processor time."""
    took = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return min(took)


def snapshots(peers: int) -> None:
    """From the reader's device to answers."""
    made = device(peers)
    body = snapshot.encode(made)
    warm = snapshot.Decoder()
    arrived = warm.decode(body)
    zone = Zone(ZONE)
    zone.update(arrived, 1)
    names = [instance_name(one.public_key, ZONE).to_wire() or b"" for one in made.peers]
    responder = Responder(zone)
    asked = queries(peers)

    def render() -> None:
        zone.rendered.clear()
        for name in names:
            zone.answer(name, 33)

    figures = {
        "the reader encodes": best(lambda: snapshot.encode(made)),
        "the server decodes, all peers new": best(lambda: snapshot.Decoder().decode(body)),
        "decodes, no peer changed": best(lambda: warm.decode(body)),
        "the zone takes it, all peers new": best(lambda: Zone(ZONE).update(arrived, 1)),
        "takes it, no peer changed": best(lambda: zone.update(arrived, 1)),
        "all SRV answers are rendered": best(render),
    }
    print(f"{peers} peers, {len(body)} octets")
    for what, seconds in figures.items():
        print(f"  {what:36} {seconds * 1e3:8.2f} ms")
    seconds = best(lambda: [responder.respond(query, datagram=True) for query in asked])
    print(f"  {'a query is answered, without sockets':36} {seconds / QUERIES * 1e6:8.2f} us")


def served(peers: int, ready: Connection) -> None:
    """The server's process."""

    async def run() -> None:
        made = device(peers)

        async def fetch() -> Device:
            return made

        zone = Zone(ZONE)
        await Server(Responder(zone), Content(zone, fetch)).serve(listen([ADDRESS]))
        ready.send(None)
        await asyncio.get_running_loop().create_future()

    asyncio.run(run())


def processor_time(pid: int) -> float:
    """Seconds, of /proc/PID/stat's utime and stime (proc(5))."""
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - the shortest way to one line
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(asked: Sequence[bytes]) -> None:
    """Send all, with WINDOW of them in flight."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect((str(ADDRESS.address), ADDRESS.port))
        for query in asked[:WINDOW]:
            client.send(query)
        for query in asked[WINDOW:]:
            client.recv(4096)
            client.send(query)
        for _ in range(WINDOW):
            client.recv(4096)


def over_udp(peers: int) -> None:
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=served, args=(peers, theirs), daemon=True)
    server.start()
    ours.recv()
    assert server.pid is not None
    asked = queries(peers)
    ask(asked)
    took = []
    for _ in range(ROUNDS):
        began = processor_time(server.pid)
        ask(asked)
        took.append(processor_time(server.pid) - began)
    server.terminate()
    server.join()
    print(f"  {'the server over UDP, a query':36} {min(took) / QUERIES * 1e6:8.2f} us")


def main() -> None:
    for peers in (10, 1000, 10_000):
        snapshots(peers)
        over_udp(peers)


if __name__ == "__main__":
    main()
