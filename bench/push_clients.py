# SPDX-License-Identifier: GPL-2.0-or-later
"""Many subscribers of a registry in one process, each the agent's own end of a session over a connection of its own.

What is pushed is only taken from the sockets while the time is measured; it is read, and judged, afterwards.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from types import TracebackType
from typing import Self

from bench.registry_peers import ZONE
from wgsd_nm.core.dnssd import wire
from wgsd_nm.core.model import Advertisement, PublicKey
from wgsd_nm.core.pushed import Answer
from wgsd_nm.core.subscriber import Heard, Subscriber

FIRST_SOURCE = IPv4Address("127.10.0.1")
"""Sessions of one address are limited, so each client has its own, as each has in a tunnel."""
LIMIT = 60.0
"""Seconds after which what is waited for has failed to come."""
QUIET = 0.5
"""Seconds without a further octet after which all that is pushed has come."""

_OCTETS = 1 << 18


@dataclass(frozen=True, slots=True)
class Told:
    """What a client was told of a peer, and when it had come (`time.monotonic`, seconds)."""

    answer: Answer
    at: float


class Client:
    """A session that follows some peers. Raises RuntimeError wherever the registry does not do as is expected."""

    def __init__(self, server: tuple[str, int], source: str, keys: Collection[PublicKey]) -> None:
        self.socket = socket.create_connection(server, LIMIT, (source, 0))
        self._keys = keys
        self._session = Subscriber(wire(ZONE))
        self._pieces: list[tuple[float, bytes]] = []
        self._received = bytearray()

    def subscribe(self) -> dict[PublicKey, Told]:
        """What is known of the peers at first."""
        self._send(self._session.begin(time.monotonic()))
        self._send(self._session.want(self._keys, time.monotonic()))
        told = self._until_settled()
        if self._session.following != frozenset(self._keys):
            raise RuntimeError(f"{len(self._session.following)} of {len(self._keys)} subscriptions were taken")
        return told

    def ping(self) -> dict[PublicKey, Told]:
        """What was pushed until the registry has answered a Keepalive."""
        self._send(self._session.ping(time.monotonic()))
        return self._until_settled()

    def take(self, now: float) -> None:
        """Keep for later what has come."""
        octets = self.socket.recv(_OCTETS)
        if not octets:
            raise RuntimeError("the registry has ended a session")
        self._pieces.append((now, octets))

    def read(self) -> dict[PublicKey, Told]:
        """What was kept."""
        told: dict[PublicKey, Told] = {}
        for now, octets in self._pieces:
            self._received += octets
            for message in self._messages():
                heard = self._session.received(message, now)
                if heard.end is not None:
                    raise RuntimeError(f"the registry has ended a session: {heard.end}")
                self._send(heard)
                told.update((key, Told(answer, now)) for key, answer in heard.answers)
        self._pieces.clear()
        return told

    def _until_settled(self) -> dict[PublicKey, Told]:
        told: dict[PublicKey, Told] = {}
        end = time.monotonic() + LIMIT
        while not self._session.settled:
            if time.monotonic() > end:
                raise RuntimeError(f"the registry has not answered a session within {LIMIT:g} s")
            self.take(time.monotonic())
            told |= self.read()
        return told

    def _send(self, heard: Heard) -> None:
        if heard.send:
            self.socket.sendall(b"".join(len(one).to_bytes(2) + one for one in heard.send))

    def _messages(self) -> Iterator[bytes]:
        while len(self._received) >= 2 and len(self._received) >= (end := 2 + int.from_bytes(self._received[:2])):
            message = bytes(self._received[2:end])
            del self._received[:end]
            yield message


class Crowd:
    """A context: all of these clients have subscribed when it is entered, and left when it is left."""

    def __init__(self, server: tuple[str, int], follow: Iterable[Collection[PublicKey]]) -> None:
        self.clients: list[Client] = []
        self._server = server
        self._follow = follow
        self._ready = select.epoll()
        self._by_descriptor: dict[int, Client] = {}

    def __enter__(self) -> Self:
        try:
            for number, keys in enumerate(self._follow):
                client = Client(self._server, str(FIRST_SOURCE + number), keys)
                self.clients.append(client)
                client.subscribe()
                self._by_descriptor[client.socket.fileno()] = client
                self._ready.register(client.socket, select.EPOLLIN)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._close()

    def listen(self) -> list[dict[PublicKey, Told]]:
        """What each client is told from now on, until each has been told something and nothing comes any more.

        Raises RuntimeError.
        """
        silent = set(self._by_descriptor)
        end = time.monotonic() + LIMIT
        while (left := end - time.monotonic()) > 0:
            events = self._ready.poll(left if silent else min(left, QUIET))
            if not events and not silent:
                return [client.read() for client in self.clients]
            for descriptor, _ in events:
                self._by_descriptor[descriptor].take(time.monotonic())
                silent.discard(descriptor)
        raise RuntimeError(f"{len(silent)} of {len(self.clients)} clients were told nothing within {LIMIT:g} s")

    def _close(self) -> None:
        self._ready.close()
        for client in self.clients:
            client.socket.close()


def last_told(told: Iterable[Mapping[PublicKey, Told]], ports: Iterable[Mapping[PublicKey, int]]) -> float:
    """When the last client had been told of all the ports that it was to be told of. Raises RuntimeError."""
    latest = 0.0
    for number, (heard, expected) in enumerate(zip(told, ports, strict=True)):
        for key, port in expected.items():
            one = heard.get(key)
            if one is None or _port(one.answer) != port:
                raise RuntimeError(f"client {number} was told {one} of {key}: expected the port {port}")
            latest = max(latest, one.at)
        if heard.keys() != expected.keys():
            raise RuntimeError(f"client {number} was told of {len(heard)} peers: expected {len(expected)}")
    return latest


def _port(answer: Answer) -> int:
    return answer.endpoints[0].port if isinstance(answer, Advertisement) else 0
