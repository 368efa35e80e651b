# SPDX-License-Identifier: GPL-2.0-or-later
"""The two methods of io.github.wgsd_nm.Helper1: parse, authorise, act, reply. It knows nothing of netlink or polkit.

A third method needs a written reason: each one is reachable by every local user.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Caller, Handler, Interface, Method
from wgsd_nm.bus.wire import change_from_wire, peer_to_wire
from wgsd_nm.core.errors import InvalidValue, WgsdError
from wgsd_nm.core.model import ChangeResult, Device, Endpoint, EndpointChange, PublicKey, parse_interface, unmapped
from wgsd_nm.helper.authorization import Authorization

MAX_CHANGES: Final = 10_000
"""Entries that one SetEndpoints may have."""
MAX_LINES: Final = 8
"""Changed peers that one SetEndpoints names in the log."""

_log = logging.getLogger(__name__)


class Devices(Protocol):
    """The kernel's WireGuard devices, as wgsd_nm.wireguard.WireGuard offers them."""

    def read(self, interface: str) -> Device: ...

    def set_endpoints(self, interface: str, changes: Sequence[EndpointChange]) -> Mapping[PublicKey, ChangeResult]: ...


class Service:
    """The helper's object on the bus. `clock` gives seconds and never goes back.

    `sent` returns when all answers so far are on their way: the peers of a device are megabytes, of which those of one
    call at a time are held.
    """

    def __init__(
        self,
        devices: Devices,
        authorization: Authorization,
        sent: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._devices = devices
        self._authorization = authorization
        self._sent = sent
        self._answering = asyncio.Lock()
        self._clock = clock
        self._last_call = clock()

    def quiet_for(self) -> float:
        """Seconds since the last call came or was answered."""
        return self._clock() - self._last_call

    def interface(self) -> Interface:
        """What is exported at names.HELPER_PATH; data/dbus/interfaces has the same with its documentation."""
        return Interface(
            names.HELPER,
            methods={
                "GetPeers": Method(
                    self._attended(self.get_peers),
                    arguments=(("interface", "s"),),
                    results=(("peers", "aa{sv}"),),
                ),
                "SetEndpoints": Method(
                    self._attended(self.set_endpoints),
                    arguments=(("interface", "s"), ("changes", "a(sss)")),
                    results=(("results", "a{ss}"),),
                ),
            },
        )

    async def get_peers(self, caller: Caller, interface: str) -> Sequence[object]:
        """GetPeers."""
        parse_interface(interface)
        await self._authorization.require(caller, names.ACTION_READ_PEERS, interface)
        async with self._answering:
            await self._sent()
            return [[peer_to_wire(peer) for peer in self._devices.read(interface).peers]]

    async def set_endpoints(self, caller: Caller, interface: str, entries: Sequence[Sequence[str]]) -> Sequence[object]:
        """SetEndpoints."""
        parse_interface(interface)
        changes = parse_changes(entries)
        await self._authorization.require(caller, names.ACTION_SET_ENDPOINTS, interface)
        results = self._devices.set_endpoints(interface, changes)
        _log_results(caller, interface, changes, results)
        return [{str(key): result.value for key, result in results.items()}]

    def _attended(self, handler: Handler) -> Handler:
        """The handler, with its time noted and a refusal logged."""

        @functools.wraps(handler)
        async def attended(caller: Caller, *arguments: object) -> Sequence[object]:
            self._last_call = self._clock()
            try:
                return await handler(caller, *arguments)
            except WgsdError as error:
                _log.warning("refused %s to %s: %s", handler.__name__, caller, error)
                raise
            finally:
                self._last_call = self._clock()

        return attended


def parse_changes(entries: Sequence[Sequence[str]]) -> tuple[EndpointChange, ...]:
    """From a(sss). Raises InvalidValue that names the first entry that is malformed, may not be set, or comes twice."""
    if len(entries) > MAX_CHANGES:
        raise InvalidValue(f"{len(entries)} changes are too many: expected at most {MAX_CHANGES} in a call")
    changes: dict[PublicKey, EndpointChange] = {}
    for number, entry in enumerate(entries, 1):
        try:
            change = change_from_wire(entry)
            require_usable(change.wanted)
            if change.public_key in changes:
                raise InvalidValue(f"the peer {change.public_key!s:.8} comes twice: expected one change for each peer")
        except InvalidValue as error:
            raise InvalidValue(f"change {number} of {len(entries)}: {error}") from error
        changes[change.public_key] = change
    return tuple(changes.values())


def require_usable(endpoint: Endpoint | None) -> None:
    """Raises InvalidValue for an endpoint that no peer can have; the kernel would take it silently."""
    if endpoint is None:
        return
    address = unmapped(endpoint.address)
    if address.is_unspecified or address.is_loopback or address.is_multicast:
        kind = "the unspecified" if address.is_unspecified else "a loopback" if address.is_loopback else "a multicast"
        raise InvalidValue(f"{endpoint} cannot be a peer's endpoint: {endpoint.address} is {kind} address")
    if endpoint.port == 0:
        raise InvalidValue(f"{endpoint} cannot be a peer's endpoint: expected a port from 1 to 65535")


def _log_results(
    caller: Caller, interface: str, changes: Sequence[EndpointChange], results: Mapping[PublicKey, ChangeResult]
) -> None:
    counts = ", ".join(f"{count} {result}" for result, count in sorted(Counter(results.values()).items()))
    _log.info("%s for %s: %s", interface, caller, counts or "nothing to change")
    changed = [change for change in changes if results.get(change.public_key) is ChangeResult.CHANGED]
    for change in changed[:MAX_LINES]:
        _log.info("%s peer %.8s: %s -> %s", interface, change.public_key, change.expected or "none", change.wanted)
