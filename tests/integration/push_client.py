# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of a registry's push over TCP, which says and reads one message at a time (RFC 8490, RFC 8765)."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from wgsd_nm.core import dso, push
from wgsd_nm.core.dso import Keepalive, Message
from wgsd_nm.core.push import ANY, Change, Subscribe, Unsubscribe

DEADLINE = 20.0
"""Seconds after which what is waited for has failed to come."""


class PushClient:
    """One connection. `octets` are the last message that came."""

    def __init__(self, address: str, port: int, *, receive_buffer: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        self.socket.settimeout(DEADLINE)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect((address, port))
        self.octets = b""
        self._identifier = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.socket.close()

    def send(self, *messages: Message | bytes) -> None:
        octets = [one if isinstance(one, bytes) else one.encode() for one in messages]
        self.socket.sendall(b"".join(len(one).to_bytes(2) + one for one in octets))

    def receive(self) -> bytes:
        """The next message, b"" at the end. Raises ConnectionError where the connection was aborted."""
        length = self._exactly(2)
        self.octets = self._exactly(int.from_bytes(length)) if length else b""
        return self.octets

    def hear(self) -> Message:
        """The next DSO message."""
        octets = self.receive()
        assert octets, "the connection has ended"
        return dso.parse(octets)

    def changes(self) -> tuple[Change, ...]:
        """Those that are pushed next."""
        message = self.hear()
        assert message.primary.type == push.PUSH
        return push.parse_push(self.octets)

    def begin(self) -> Message:
        """The answer to a Keepalive."""
        self.send(dso.request(self._next(), Keepalive(0, 0).tlv()))
        return self.hear()

    def subscribe(self, *names: bytes, rdtype: int = ANY) -> int:
        """The id of the last subscription, when all are accepted. What is told first is still to be read."""
        for name in names:
            self.send(dso.request(self._next(), Subscribe(name, rdtype).tlv()))
            assert self.hear() == dso.response(self._identifier, dso.NOERROR)
        return self._identifier

    def unsubscribe(self, identifiers: Iterable[int]) -> None:
        """When the registry has taken note of it."""
        self.send(*(dso.unidirectional(Unsubscribe(one).tlv()) for one in identifiers))
        assert self.begin().rcode == dso.NOERROR

    def _next(self) -> int:
        self._identifier += 1
        return self._identifier

    def _exactly(self, count: int) -> bytes:
        octets = b""
        while len(octets) < count:
            more = self.socket.recv(count - len(octets))
            if not more:
                return b""
            octets += more
        return octets
