# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from wgsd_nm.cli.verdict import ALIVE, Result, Verdict, bound, change, judge, registry_peer, settled, unwritten
from wgsd_nm.core.errors import BadAnswer, DeviceError, LookupFailed, NoAnswer, NoEndpoint, NoSuchPeer, RegistryRefused
from wgsd_nm.core.model import (
    Advertisement,
    ChangeResult,
    Device,
    Endpoint,
    EndpointChange,
    Peer,
    PublicKey,
    Server,
)

NOW = 1_800_000_000_000_000
ANNA, BERT, REGISTRY = (PublicKey(bytes([number] * 32)) for number in range(3))
OLD, NEW = Endpoint.parse("192.0.2.1:51820"), Endpoint.parse("[2001:db8::1]:51820")
SERVER = Server(ip_address("10.0.0.254"))


def device(*peers: Peer, fwmark: int = 0) -> Device:
    return Device("wg0", None, 51820, fwmark, peers)


def peer(key: PublicKey = ANNA, *allowed: str, endpoint: Endpoint | None = OLD, age: int | None = None) -> Peer:
    """A peer whose last handshake was so many microseconds ago; None for never."""
    handshake = 0 if age is None else NOW - age
    return Peer(key, endpoint, handshake, allowed_ips=tuple(ip_network(prefix) for prefix in allowed))


def says(*endpoints: Endpoint, name: str = "") -> Advertisement:
    return Advertisement(ANNA, endpoints, 0, name)


def one(subject: Peer, answer: Advertisement | LookupFailed, *, force: bool = False) -> Verdict:
    (verdict,) = judge(device(subject), None, {subject.public_key: answer}, NOW, force=force)
    return verdict


class TestRegistryPeer:
    def test_the_longest_prefix_decides(self) -> None:
        peers = peer(ANNA, "0.0.0.0/0"), peer(BERT, "10.0.0.0/24", "::/0"), peer(REGISTRY, "10.0.0.254/32")
        assert registry_peer(device(*peers), SERVER.address) == (REGISTRY, ip_network("10.0.0.254/32"))
        assert registry_peer(device(*peers[:2]), SERVER.address) == (BERT, ip_network("10.0.0.0/24"))
        assert registry_peer(device(*peers[:1]), SERVER.address) == (ANNA, ip_network("0.0.0.0/0"))
        assert registry_peer(device(*peers[:1]), ip_address("::1")) is None

    @pytest.mark.parametrize(
        ("prefix", "name"), [("10.0.0.254/32", "wg0"), ("0.0.0.0/2", "wg0"), ("0.0.0.0/1", ""), ("0.0.0.0/0", "")]
    )
    def test_the_question_goes_out_on_the_device_if_the_registry_is_inside(self, prefix: str, name: str) -> None:
        assert bound(SERVER, device(peer(REGISTRY, prefix))) == Server(SERVER.address, 53, name)

    def test_a_registry_beside_the_tunnel(self) -> None:
        assert bound(SERVER, device(peer(REGISTRY, "10.0.1.0/24"))) == SERVER

    def test_it_is_left_alone(self) -> None:
        (verdict,) = judge(device(peer(REGISTRY)), REGISTRY, {}, NOW, force=True)
        assert (verdict.result, verdict.endpoint) == (Result.REGISTRY, OLD)


class TestJudge:
    @pytest.mark.parametrize("age", [None, ALIVE, 10 * ALIVE, -ALIVE])
    def test_another_endpoint_is_set(self, age: int | None) -> None:
        verdict = one(peer(age=age), says(NEW, name="anna"))
        assert (verdict.result, verdict.endpoint, verdict.name) == (Result.WOULD_SET, NEW, "anna")
        assert change(verdict) == EndpointChange(ANNA, OLD, NEW)

    def test_an_endpoint_is_set_where_none_is(self) -> None:
        """Whatever the handshake says: without an endpoint there is no path."""
        verdict = one(peer(endpoint=None, age=1), says(NEW))
        assert change(verdict) == EndpointChange(ANNA, None, NEW)
        assert "from none" in verdict.text

    @pytest.mark.parametrize("answer", [says(OLD), says(NEW, OLD)])
    def test_an_endpoint_that_the_registry_names_is_kept(self, answer: Advertisement) -> None:
        assert one(peer(), answer, force=True).result is Result.UNCHANGED

    @pytest.mark.parametrize("age", [0, ALIVE - 1, 1 - ALIVE])
    def test_a_working_path_is_left_alone_unless_forced(self, age: int) -> None:
        verdict = one(peer(age=age), says(NEW))
        assert (verdict.result, verdict.endpoint) == (Result.ALIVE, OLD)
        assert str(NEW) in verdict.text
        assert one(peer(age=age), says(NEW), force=True).result is Result.WOULD_SET

    @pytest.mark.parametrize(
        "endpoint",
        [
            *("127.0.0.1:1", "[::1]:1", "224.0.0.1:1", "[ff02::1]:1", "0.0.0.0:1", "[::]:1", "169.254.1.1:1"),
            *("[fe80::1]:1", "192.0.2.1:0", "255.255.255.255:1", "240.0.0.1:1", "10.0.0.7:1", "10.1.0.7:1"),
        ],
    )
    def test_what_cannot_be_used_is_refused_and_another_taken(self, endpoint: str) -> None:
        unusable = Endpoint.parse(endpoint)
        subject = peer(ANNA, "10.0.0.7/32", "10.1.0.0/16", "0.0.0.0/0")
        assert one(subject, says(unusable), force=True).result is Result.UNUSABLE
        assert one(subject, says(unusable, NEW), force=True).endpoint == NEW

    @pytest.mark.parametrize("error", [NoSuchPeer("x"), NoEndpoint("x")])
    def test_a_peer_that_the_registry_does_not_know(self, error: LookupFailed) -> None:
        assert one(peer(), error).result is Result.UNKNOWN

    @pytest.mark.parametrize("error", [NoAnswer("the text"), RegistryRefused("the text"), BadAnswer("the text")])
    def test_a_lookup_that_failed(self, error: LookupFailed) -> None:
        verdict = one(peer(), error)
        assert (verdict.result, verdict.text, verdict.endpoint) == (Result.FAILED, "the text", OLD)


class TestSettled:
    VERDICT = one(peer(), says(NEW))

    @pytest.mark.parametrize(
        ("outcome", "result", "endpoint"),
        [
            (ChangeResult.CHANGED, Result.SET, NEW),
            (ChangeResult.POKED, Result.SET, NEW),
            (ChangeResult.STALE, Result.ROAMED, None),
            (ChangeResult.UNKNOWN_PEER, Result.FAILED, OLD),
            (ChangeResult.NO_ENDPOINT, Result.FAILED, OLD),
        ],
    )
    def test_after_the_write(self, outcome: ChangeResult, result: Result, endpoint: Endpoint | None) -> None:
        verdict = settled(self.VERDICT, outcome)
        assert (verdict.result, verdict.endpoint) == (result, endpoint)

    def test_without_one(self) -> None:
        verdict = unwritten(self.VERDICT, DeviceError("the text"))
        assert (verdict.result, verdict.text, verdict.endpoint) == (Result.FAILED, "the text", OLD)
