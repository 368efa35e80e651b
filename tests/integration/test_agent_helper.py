# SPDX-License-Identifier: GPL-2.0-or-later
"""The helper's client and the helper's service, with a table of peers in the place of the kernel, on a real bus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

import pytest

from tests.integration.buses import PrivateBus
from wgsd_nm.agent.helper import HelperClient
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus, Caller, Interface, Method
from wgsd_nm.bus.wire import Variant, change_from_wire, peer_to_wire
from wgsd_nm.core.errors import (
    AccessDenied,
    BusLost,
    CallFailed,
    InvalidArguments,
    NoSuchDevice,
    NotPermitted,
    NotWireGuard,
    ServiceUnavailable,
    WgsdError,
)
from wgsd_nm.core.model import ChangeResult, Endpoint, EndpointChange, Peer, PublicKey

ALICE, BOB = PublicKey(b"a" * 32), PublicKey(b"b" * 32)
PEERS = (
    Peer(ALICE, Endpoint.parse("192.0.2.1:51820"), 1_700_000_000_000_001, 1 << 40, 2, 25, (ip_network("10.0.0.2/32"),)),
    Peer(BOB),
)


class Helper:
    """What the helper offers, with the answers that a test wants."""

    def __init__(self) -> None:
        self.error: WgsdError | None = None
        self.peers: list[Mapping[str, object]] = [peer_to_wire(peer) for peer in PEERS]
        self.results: dict[str, str] = {}
        self.changes: list[EndpointChange] = []

    def interface(self) -> Interface:
        return Interface(
            names.HELPER,
            methods={
                "GetPeers": Method(self._get_peers, (("interface", "s"),), (("peers", "aa{sv}"),)),
                "SetEndpoints": Method(
                    self._set_endpoints, (("interface", "s"), ("changes", "a(sss)")), (("results", "a{ss}"),)
                ),
            },
        )

    async def _get_peers(self, _: Caller, interface: str) -> Sequence[object]:
        if self.error is not None:
            raise self.error
        assert interface == "wg0"
        return [self.peers]

    async def _set_endpoints(self, _: Caller, interface: str, changes: Sequence[Sequence[str]]) -> Sequence[object]:
        if self.error is not None:
            raise self.error
        assert interface == "wg0"
        self.changes = [change_from_wire(change) for change in changes]
        return [self.results]


@pytest.fixture
def address() -> Iterator[str]:
    with PrivateBus(system=True, names=[names.HELPER]) as bus:
        yield bus.address


def run(address: str, test: Callable[[Helper, HelperClient], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        server, client = Bus(system=True, address=address), Bus(system=True, address=address)
        await server.connect()
        await client.connect()
        helper = Helper()
        server.export(names.HELPER_PATH, helper.interface())
        await server.request_name(names.HELPER)
        try:
            await test(helper, HelperClient(client))
        finally:
            await client.close()
            await server.close()

    asyncio.run(main())


def test_peers(address: str) -> None:
    async def test(_: Helper, client: HelperClient) -> None:
        assert await client.get_peers("wg0") == PEERS

    run(address, test)


def test_changes_and_what_became_of_them(address: str) -> None:
    async def test(helper: Helper, client: HelperClient) -> None:
        changes = [
            EndpointChange(ALICE, Endpoint.parse("192.0.2.1:51820"), Endpoint.parse("[2001:db8::1]:7")),
            EndpointChange(BOB, None, None),
        ]
        helper.results = {str(ALICE): "changed", str(BOB): "no-endpoint"}
        results = await client.set_endpoints("wg0", changes)
        assert helper.changes == changes
        assert results == {ALICE: ChangeResult.CHANGED, BOB: ChangeResult.NO_ENDPOINT}

    run(address, test)


@pytest.mark.parametrize("kind", [AccessDenied, NoSuchDevice, NotWireGuard, NotPermitted, ServiceUnavailable])
def test_refusals(address: str, kind: type[WgsdError]) -> None:
    async def test(helper: Helper, client: HelperClient) -> None:
        helper.error = kind("for a reason")
        with pytest.raises(kind, match="for a reason"):
            await client.get_peers("wg0")
        with pytest.raises(kind, match="for a reason"):
            await client.set_endpoints("wg0", [])

    run(address, test)


def test_any_other_refusal(address: str) -> None:
    async def test(helper: Helper, client: HelperClient) -> None:
        helper.error = CallFailed("org.example.Odd", "odd")
        with pytest.raises(CallFailed, match="odd") as caught:
            await client.get_peers("wg0")
        assert caught.value.name == "org.example.Odd"
        helper.error = InvalidArguments("twice")
        with pytest.raises(InvalidArguments, match="twice"):
            await client.set_endpoints("wg0", [])

    run(address, test)


@pytest.mark.parametrize(
    "peer", [{}, {"PublicKey": Variant("s", "short")}, {**peer_to_wire(PEERS[1]), "Endpoint": Variant("s", "here")}]
)
def test_a_reply_that_makes_no_sense(address: str, peer: Mapping[str, object]) -> None:
    async def test(helper: Helper, client: HelperClient) -> None:
        helper.peers = [peer]
        with pytest.raises(CallFailed, match="GetPeers makes no sense"):
            await client.get_peers("wg0")

    run(address, test)


def test_a_result_of_a_later_helper_is_stale(address: str) -> None:
    async def test(helper: Helper, client: HelperClient) -> None:
        helper.results = {str(ALICE): "deferred", str(BOB): "poked"}
        assert await client.set_endpoints("wg0", []) == {ALICE: ChangeResult.STALE, BOB: ChangeResult.POKED}

    run(address, test)


def test_results_that_make_no_sense(address: str) -> None:
    async def test(helper: Helper, client: HelperClient) -> None:
        helper.results = {"short": "changed"}
        with pytest.raises(CallFailed, match="SetEndpoints makes no sense"):
            await client.set_endpoints("wg0", [])

    run(address, test)


def test_no_helper_and_no_bus(address: str) -> None:
    async def main() -> None:
        bus = Bus(system=True, address=address)
        with pytest.raises(BusLost):
            await HelperClient(bus).get_peers("wg0")
        await bus.connect()
        with pytest.raises(ServiceUnavailable):
            await HelperClient(bus).get_peers("wg0")
        await bus.close()

    asyncio.run(main())
