# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes through loopback: what is sent to whom, and that what cannot be sent hurts nobody."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from wgsd_nm.agent import probe


class Listener:
    """Somebody who listens on all of a machine's addresses of both families."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self._socket.bind(("::", 0))
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]

    def heard(self) -> list[tuple[bytes, str]]:
        """What has come, and from whom; loopback delivers within sendto()."""
        datagrams: list[tuple[bytes, str]] = []
        while True:
            try:
                octets, sender = self._socket.recvfrom(64)
            except BlockingIOError:
                return datagrams
            datagrams.append((octets, sender[0]))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    listener = Listener()
    monkeypatch.setattr(probe, "DISCARD_PORT", listener.port)
    yield listener
    listener.close()


def test_every_address_gets_one_empty_datagram(listener: Listener) -> None:
    probe.probe("lo", [ip_address("127.0.0.1"), ip_address("::1"), ip_address("127.0.0.2")])
    assert listener.heard() == [(b"", "::ffff:127.0.0.1"), (b"", "::1"), (b"", "::ffff:127.0.0.1")]


def test_what_cannot_be_sent_does_not_keep_back_the_rest(listener: Listener) -> None:
    probe.probe("lo", [ip_address("255.255.255.255"), ip_address("127.0.0.1")])  # a broadcast is refused with EACCES
    assert len(listener.heard()) == 1


@pytest.mark.parametrize("interface", ["wg-gone-away", "a name that is too long for an interface"])
def test_nothing_leaves_by_another_way(listener: Listener, interface: str) -> None:
    probe.probe(interface, [ip_address("127.0.0.1"), ip_address("::1")])
    assert listener.heard() == []
