# SPDX-License-Identifier: GPL-2.0-or-later
"""The push bench's clients: what each was told and when, by the registry's own program; and what ends the bench."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from unittest.mock import patch

import pytest

from bench import push
from bench.nameservers import ADDRESS, NameServer
from bench.push_clients import Client, Crowd, Told, last_told
from bench.push_kernel import Moves
from bench.registry_peers import peer
from wgsd_nm.core.dnssd import parse_zone
from wgsd_nm.core.errors import NoSuchPeer
from wgsd_nm.core.model import Advertisement, Endpoint

PEERS = 12
ALL = [push.key(number) for number in range(PEERS)]


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[NameServer, Moves]]:
    with push.served(PEERS) as found:
        yield found


def told(number: int, port: int, at: float = 1.0) -> Told:
    endpoint = peer(number).endpoint
    assert endpoint is not None
    return Told(Advertisement(push.key(number), (Endpoint(endpoint.address, port),), 0), at)


def test_a_client_is_told_what_is_there(served: tuple[NameServer, Moves]) -> None:
    client = Client((ADDRESS, served[0].port), "127.0.0.9", ALL[:5])
    with client.socket:
        first = client.subscribe()
        assert first.keys() == set(ALL[:5])
        assert client.ping() == {}


def test_each_is_told_of_the_changes_that_it_follows_and_when(served: tuple[NameServer, Moves]) -> None:
    server, moves = served
    with Crowd((ADDRESS, server.port), [ALL[:3], ALL[2:6]]) as crowd:
        assert [client.socket.getsockname()[0] for client in crowd.clients] == ["127.10.0.1", "127.10.0.2"]
        began = time.monotonic()
        moves.move(1, [31001, 31002])
        heard = crowd.listen()
        expected = [{ALL[1]: 31001, ALL[2]: 31002}, {ALL[2]: 31002}]
        assert began < last_told(heard, expected) < time.monotonic()
        moves.move(2, [31003])
        assert last_told(crowd.listen(), [{ALL[2]: 31003}] * 2) > began


def test_silence_is_an_error(served: tuple[NameServer, Moves]) -> None:
    server, moves = served
    with Crowd((ADDRESS, server.port), [ALL[:3], ALL[2:6]]) as crowd, patch("bench.push_clients.LIMIT", 1.0):
        moves.move(0, [32000])
        with pytest.raises(RuntimeError, match="1 of 2 clients were told nothing within 1 s"):
            crowd.listen()


def test_more_subscriptions_than_are_taken_are_an_error(served: tuple[NameServer, Moves]) -> None:
    with (
        patch("bench.push_clients.ZONE", parse_zone("other.example.com")),
        pytest.raises(RuntimeError, match="0 of 12 subscriptions were taken"),
        Crowd((ADDRESS, served[0].port), [ALL]),
    ):
        pass


def test_the_end_of_a_session_is_an_error() -> None:
    with push.served(PEERS) as (server, _), Crowd((ADDRESS, server.port), [ALL]) as crowd:
        os.kill(server.pid, signal.SIGTERM)
        with pytest.raises(RuntimeError, match="the registry has ended a session"):
            crowd.listen()


def test_the_last_one_counts() -> None:
    heard = [{ALL[0]: told(0, 5, 3.0)}, {ALL[0]: told(0, 5, 9.0), ALL[1]: told(1, 6, 4.0)}]
    assert last_told(heard, [{ALL[0]: 5}, {ALL[0]: 5, ALL[1]: 6}]) == 9.0


@pytest.mark.parametrize(
    "heard",
    [{}, {ALL[0]: told(0, 4)}, {ALL[0]: Told(NoSuchPeer("no"), 1.0)}, {ALL[0]: told(0, 5), ALL[1]: told(1, 5)}],
    ids=["nothing", "another port", "absence", "too much"],
)
def test_who_is_told_something_else_is_an_error(heard: dict[object, Told]) -> None:
    with pytest.raises(RuntimeError, match="client 0 was told"):
        last_told([heard], [{ALL[0]: 5}])  # type: ignore[list-item]
