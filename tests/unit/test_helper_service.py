# SPDX-License-Identifier: GPL-2.0-or-later
"""Arguments become values, or the whole call is refused; then the caller is examined; only then the kernel is asked."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Caller
from wgsd_nm.core.errors import AccessDenied, InvalidValue
from wgsd_nm.core.model import ChangeResult, Device, Endpoint, EndpointChange, Peer, PublicKey
from wgsd_nm.helper.authorization import Authorization
from wgsd_nm.helper.service import MAX_CHANGES, Service, parse_changes, require_usable


def key(number: int) -> PublicKey:
    return PublicKey(number.to_bytes(32, "big"))


def test_a_change() -> None:
    entries = [[str(key(1)), "192.0.2.1:1", "[2001:db8::1]:51820"], [str(key(2)), "", ""]]
    assert parse_changes(entries) == (
        EndpointChange(key(1), Endpoint.parse("192.0.2.1:1"), Endpoint.parse("[2001:db8::1]:51820")),
        EndpointChange(key(2), None, None),
    )


def test_what_is_expected_may_be_what_nobody_may_set() -> None:
    ((change),) = parse_changes([[str(key(1)), "0.0.0.0:0", "192.0.2.1:1"]])
    assert change.expected == Endpoint.parse("0.0.0.0:0")


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (["", "", "192.0.2.1:1"], "WireGuard public key"),
        (["A" * 44, "", ""], "WireGuard public key"),
        ([str(key(1)), "nonsense", ""], "'nonsense' is not an endpoint"),
        ([str(key(1)), "", "registry.example:51820"], "'registry.example:51820' is not an endpoint"),
        ([str(key(1)), "", "192.0.2.1:0"], "a port from 1 to 65535"),
        ([str(key(1)), "", "0.0.0.0:51820"], "0.0.0.0 is the unspecified address"),
        ([str(key(1)), "", "[::]:51820"], ":: is the unspecified address"),
        ([str(key(1)), "", "127.0.0.1:51820"], "127.0.0.1 is a loopback address"),
        ([str(key(1)), "", "127.255.255.254:51820"], "a loopback address"),
        ([str(key(1)), "", "[::1]:51820"], "::1 is a loopback address"),
        ([str(key(1)), "", "224.0.0.251:5353"], "224.0.0.251 is a multicast address"),
        ([str(key(1)), "", "[ff02::fb]:5353"], "ff02::fb is a multicast address"),
        ([str(key(1)), "", "[::ffff:127.0.0.1]:51820"], "a loopback address"),
        ([str(key(1)), "", "[::ffff:0.0.0.0]:51820"], "the unspecified address"),
        ([str(key(1)), "", "[::ffff:224.0.0.1]:51820"], "a multicast address"),
        ([str(key(9)), "", "192.0.2.1:1"], "comes twice"),
    ],
)
def test_one_wrong_entry_refuses_the_whole_call(entry: list[str], complaint: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        parse_changes([[str(key(9)), "", "192.0.2.9:9"], entry])
    assert str(raised.value).startswith("change 2 of 2: ")
    assert complaint in str(raised.value)


def test_the_number_of_entries_has_a_limit() -> None:
    entries = [[base64.b64encode(number.to_bytes(32, "big")).decode(), "", ""] for number in range(MAX_CHANGES + 1)]
    assert len(parse_changes(entries[:-1])) == MAX_CHANGES
    with pytest.raises(InvalidValue, match="at most 10000"):
        parse_changes(entries)


@pytest.mark.parametrize(
    "text", ["192.0.2.1:1", "10.0.0.1:65535", "[2001:db8::1]:51820", "[fe80::1%eth0]:51820", "169.254.1.1:51820"]
)
def test_whatever_can_be_a_peers_is_left_to_the_agent(text: str) -> None:
    require_usable(Endpoint.parse(text))


def test_only_poking_needs_no_endpoint() -> None:
    require_usable(None)


class Stage:
    """The service, with an authorization that notes what it is asked, and devices that note what they are told."""

    def __init__(self, *, allowed: bool) -> None:
        self.allowed = allowed
        self.events: list[object] = []
        self.service = Service(self, cast("Authorization", self), self.sent)
        self.methods = self.service.interface().methods

    async def sent(self) -> None:
        await asyncio.sleep(0)

    async def require(self, caller: Caller, action: str, interface: str) -> None:
        self.events.append((caller.name, action, interface))
        await asyncio.sleep(0)
        if not self.allowed:
            raise AccessDenied("no")

    def read(self, interface: str) -> Device:
        self.events.append("read")
        return Device(interface, key(9), 51820, 0, (Peer(key(1)),))

    def set_endpoints(self, _: str, changes: Sequence[EndpointChange]) -> Mapping[PublicKey, ChangeResult]:
        self.events.append("set")
        return dict.fromkeys((change.public_key for change in changes), ChangeResult.CHANGED)

    def call(self, member: str, *arguments: object) -> Any:
        async def main() -> Any:
            return await self.methods[member].handler(Caller(":1.7", False), *arguments)

        return asyncio.run(main())


CALLS: dict[str, tuple[tuple[Any, ...], str, str]] = {
    "GetPeers": (("wg0",), names.ACTION_READ_PEERS, "read"),
    "SetEndpoints": (("wg0", [[str(key(1)), "", "192.0.2.1:1"]]), names.ACTION_SET_ENDPOINTS, "set"),
}


def test_there_is_no_method_that_these_tests_do_not_know() -> None:
    """Whoever adds one says here which polkit action it takes."""
    assert Stage(allowed=True).methods.keys() == CALLS.keys()


@pytest.mark.parametrize("member", CALLS)
def test_every_method_asks_first_and_then_does_its_work(member: str) -> None:
    arguments, action, work = CALLS[member]
    stage = Stage(allowed=True)
    assert stage.call(member, *arguments)
    assert stage.events == [(":1.7", action, "wg0"), work]


@pytest.mark.parametrize("member", CALLS)
def test_no_method_touches_a_device_for_whom_it_may_not(member: str, caplog: pytest.LogCaptureFixture) -> None:
    arguments, action, _ = CALLS[member]
    stage = Stage(allowed=False)
    with pytest.raises(AccessDenied):
        stage.call(member, *arguments)
    assert stage.events == [(":1.7", action, "wg0")]
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.endswith(" to :1.7: no")


@pytest.mark.parametrize("member", CALLS)
@pytest.mark.parametrize("interface", ["", ".", "..", "wg0\n", "a/b", "wg 0", "x" * 16, "wg0:1", "\x7f", "\u202ewg0"])
def test_nobody_is_asked_about_what_is_no_interfaces_name(member: str, interface: str) -> None:
    arguments, _, _ = CALLS[member]
    stage = Stage(allowed=True)
    with pytest.raises(InvalidValue):
        stage.call(member, interface, *arguments[1:])
    assert not stage.events


def test_the_time_since_the_last_call_counts_from_its_beginning_and_its_end() -> None:
    now = [100.0]
    stage = Stage(allowed=True)
    service = Service(stage, cast("Authorization", stage), stage.sent, lambda: now[0])
    now[0] = 130.0
    assert service.quiet_for() == 30

    async def main() -> None:
        call = asyncio.ensure_future(service.interface().methods["GetPeers"].handler(Caller(":1.7", False), "wg0"))
        await asyncio.sleep(0)
        assert service.quiet_for() == 0
        now[0] = 135.0
        await call
        assert service.quiet_for() == 0

    asyncio.run(main())
