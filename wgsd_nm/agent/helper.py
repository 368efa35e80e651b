# SPDX-License-Identifier: GPL-2.0-or-later
"""The client of the helper, which alone may read and set WireGuard peers. It knows nothing of when or why to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from wgsd_nm.bus import names, wire
from wgsd_nm.bus.connection import Bus
from wgsd_nm.core.errors import CallFailed, InvalidValue, ServiceUnavailable
from wgsd_nm.core.model import ChangeResult, EndpointChange, Peer, PublicKey

_TIMEOUT: Final = 20.0


class HelperClient:
    """Helper1 on the system bus; the bus starts it when it is not running.

    The methods raise AccessDenied (the profile's permissions, helper.toml or polkit do not admit us),
    InteractionRequired (polkit would ask for a password), NoSuchDevice, NotWireGuard, NotPermitted (the helper lacks
    CAP_NET_ADMIN), ServiceUnavailable (it is not installed), CallTimedOut, BusLost, InvalidArguments, and CallFailed
    for anything else, also for a reply that makes no sense.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def get_peers(self, interface: str) -> tuple[Peer, ...]:
        """The peers of a WireGuard device, as the kernel has them now."""
        reply = await self._call("GetPeers", "s", interface)
        with _understood("GetPeers"):
            return tuple(wire.peer_from_wire(_dictionary(entry)) for entry in _only(reply, list))

    async def set_endpoints(self, interface: str, changes: Sequence[EndpointChange]) -> dict[PublicKey, ChangeResult]:
        """Set the endpoints whose expected one is in use, and poke. A key that comes twice is InvalidArguments."""
        reply = await self._call("SetEndpoints", "sa(sss)", interface, [wire.change_to_wire(each) for each in changes])
        with _understood("SetEndpoints"):
            return {PublicKey.parse(key): _result(word) for key, word in _only(reply, dict).items()}

    async def _call(self, member: str, signature: str, *arguments: object) -> list[Any]:
        try:
            return await self._bus.call(
                names.HELPER, names.HELPER_PATH, names.HELPER, member, signature, *arguments, timeout=_TIMEOUT
            )
        except CallFailed as error:
            kind = names.error_class(error.name)
            if kind is None:
                raise
            raise kind(str(error)) from error
        except ServiceUnavailable as error:
            raise ServiceUnavailable(
                f"the helper cannot be started, is wgsd-nm installed for the whole system? ({error})"
            ) from error


@contextmanager
def _understood(member: str) -> Iterator[None]:
    """Turns what is wrong with a reply into CallFailed."""
    try:
        yield
    except ValueError as error:  # of these is InvalidValue
        raise CallFailed(
            names.ERROR_FAILED, f"the helper's reply to {member} makes no sense; is it of this version? {error}"
        ) from error


def _only(reply: list[Any], kind: type) -> Any:
    """The one result of a reply."""
    if len(reply) != 1 or not isinstance(reply[0], kind):
        raise InvalidValue(f"expected one {kind.__name__}")
    return reply[0]


def _result(word: str) -> ChangeResult:
    """A word that we do not know is "stale", as Helper1 has it: the peers are read again."""
    try:
        return ChangeResult(word)
    except ValueError:
        return ChangeResult.STALE


def _dictionary(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidValue("expected a dictionary for each peer")
    return value
