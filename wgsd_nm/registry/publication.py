# SPDX-License-Identifier: GPL-2.0-or-later
"""What of a device is published in a zone, and the registry's own record. Pure: knows neither clock nor sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, compress, repeat
from operator import is_not

from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import KEY_LENGTH, Device, Endpoint, IPAddress, IPNetwork, Peer, PublicKey
from wgsd_nm.registry.addresses import is_default_route
from wgsd_nm.registry.config import Selection, SelfConfig, ZoneConfig

_MICROSECONDS = 1_000_000


class Publication:
    """Chooses the peers of one zone from the device's, and makes the registry's own.

    A device has thousands of peers and is read several times a second, so what was found out about a peer is kept for
    as long as the same object stands for it, or another with the same allowed IPs.
    """

    def __init__(self, zone: ZoneConfig, own: Callable[[], Sequence[IPAddress]] = lambda: ()) -> None:
        """`own` gives this machine's public addresses, best first."""
        self.trouble = ""
        """One sentence on why the registry itself is not published although it should be, "" if all is well."""
        self._zone = zone
        everybody = zone.include is None and zone.exclude == Selection()
        self._chosen = None if everybody else _Chosen(zone.include, zone.exclude)
        self._myself = _Myself(zone.myself, own) if zone.myself else None

    def peers(self, device: Device, now: int) -> Sequence[Peer]:
        """The peers to publish at `now`, seconds since the epoch, in the device's order, the registry itself last."""
        found: Sequence[Peer] = device.peers
        if self._chosen is not None:
            found = self._chosen.of(found)
        if self._zone.max_handshake_age is not None:
            oldest = max((now - self._zone.max_handshake_age) * _MICROSECONDS, 1)  # 0 is a peer that had none
            found = [peer for peer in found if peer.latest_handshake >= oldest]
        if self._myself is None:
            return found
        try:
            myself = self._myself.peer(device)
        except InvalidValue as error:
            self.trouble = f"the registry itself is not published: {error}"
            return found
        self.trouble = ""
        return (*found, myself)


class _Chosen:
    """The peers that are included and not excluded."""

    def __init__(self, include: Selection | None, exclude: Selection) -> None:
        self._include = include
        self._exclude = exclude
        self._seen: Sequence[Peer] = ()
        self._found: Sequence[Peer] = ()
        self._known: dict[bytes, tuple[Peer, bool]] = {}

    def of(self, peers: Sequence[Peer]) -> Sequence[Peer]:
        if len(peers) != len(self._seen) or any(map(is_not, peers, self._seen)):
            self._seen = peers
            self._found = tuple(self._choose(peers))
        return self._found

    def _choose(self, peers: Sequence[Peer]) -> Iterator[Peer]:
        before, self._known = self._known, {}
        for peer in peers:
            key = peer.public_key.raw
            known = before.get(key)
            if known is not None and (known[0] is peer or known[0].allowed_ips == peer.allowed_ips):
                taken = known[1]
            else:
                taken = self._takes(peer)
            self._known[key] = peer, taken
            if taken:
                yield peer

    def _takes(self, peer: Peer) -> bool:
        return (self._include is None or _selects(self._include, peer)) and not _selects(self._exclude, peer)


def _selects(selection: Selection, peer: Peer) -> bool:
    return peer.public_key in selection.keys or any(
        allowed.version == network.version and allowed.subnet_of(network)  # type: ignore[arg-type]  # equal versions
        for network in selection.networks
        for allowed in peer.allowed_ips
    )


class _Myself:
    """The registry as a peer of those who ask: under the device's own key, at an address outside of the tunnel."""

    def __init__(self, settings: SelfConfig, own: Callable[[], Sequence[IPAddress]]) -> None:
        self._settings = settings
        self._own = own
        self._screens: dict[IPAddress, _Screen] = {}
        self._peer = Peer(PublicKey(bytes(KEY_LENGTH)))

    def peer(self, device: Device) -> Peer:
        """The same object as long as nothing changes. Raises InvalidValue, which says what is wrong and what to do."""
        if device.public_key is None:
            raise InvalidValue(
                f"{device.interface} has no private key; give it one with: wg set {device.interface} private-key FILE"
            )
        port = self._settings.port or device.listen_port
        if not port:
            raise InvalidValue(
                f"{device.interface} listens at no port; bring it up, or write the port behind the address in "
                "self.endpoint"
            )
        endpoint = Endpoint(self._address(device.peers), port)
        made = Peer(device.public_key, endpoint, allowed_ips=self._settings.allowed_ips)
        if made != self._peer:
            self._peer = made
        return self._peer

    def _address(self, peers: Sequence[Peer]) -> IPAddress:
        """Where those outside of the tunnel reach this machine. Raises InvalidValue."""
        given = self._settings.address
        candidates = [given] if given else [address for address in self._own() if _is_public(address)]
        self._screens = {address: self._screens.get(address) or _Screen(address) for address in candidates}
        trouble = "this machine has no public address of its own; write the one where peers reach it into self.endpoint"
        for address, screen in self._screens.items():
            network = screen.first(peers, self._settings.allowed_ips)
            if network is None:
                return address
            trouble = (
                f"{address} is inside the tunnel, by the allowed IPs {network}; write the address where peers reach "
                "this machine from outside into self.endpoint"
            )
        raise InvalidValue(trouble)


def _is_public(address: IPAddress) -> bool:
    return address.is_global and not address.is_multicast


class _Screen:
    """Tells whether an address is one that the kernel sends into the tunnel."""

    def __init__(self, address: IPAddress) -> None:
        self._address = address
        self._cleared: Sequence[Peer] = ()

    def first(self, peers: Sequence[Peer], more: Iterable[IPNetwork]) -> IPNetwork | None:
        """The first network that holds the address, of the peers' allowed IPs and `more`."""
        unknown = compress(peers, chain(map(is_not, peers, self._cleared), repeat(True)))
        networks = chain(more, (network for peer in unknown for network in peer.allowed_ips))
        found = next((network for network in networks if self._is_in(network)), None)
        self._cleared = () if found else peers
        return found

    def _is_in(self, network: IPNetwork) -> bool:
        """A full tunnel has every address in it, and its own packets go around it."""
        return not is_default_route(network) and self._address in network
