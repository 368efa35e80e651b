# SPDX-License-Identifier: GPL-2.0-or-later
"""Endpoints that once worked, each on the network where it did, and their text form. It knows nothing of files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple, Self

from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import Endpoint, PublicKey, shown

VERSION: Final = 1
MAX_ENTRIES: Final = 4096
MAX_NAME: Final = 256
"""Letters of a place or of a connection."""


class _Spot(NamedTuple):
    """One peer of one connection, on one network."""

    place: str
    connection: str
    key: PublicKey


@dataclass(frozen=True, slots=True)
class Memory:
    """The endpoint by which each peer was last reached, by network; never more than MAX_ENTRIES, newest last.

    `place` is any text that stands for a network, `connection` one that stands for a tunnel.
    """

    _endpoints: Mapping[_Spot, Endpoint] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._endpoints)

    def recall(self, place: str, connection: str, key: PublicKey) -> Endpoint | None:
        """What was last remembered of the peer there."""
        return self._endpoints.get(_Spot(place, connection, key))

    def remember(self, place: str, connection: str, endpoints: Mapping[PublicKey, Endpoint]) -> Self:
        """With these endpoints in place of the peers' former ones; itself, if they are the same.

        The oldest are dropped beyond MAX_ENTRIES. Names longer than MAX_NAME are not remembered.
        """
        spots = {_Spot(place, connection, key): endpoint for key, endpoint in endpoints.items()}
        news = {spot: endpoint for spot, endpoint in spots.items() if self._endpoints.get(spot) != endpoint}
        if not news or max(len(place), len(connection)) > MAX_NAME:
            return self
        kept = {spot: endpoint for spot, endpoint in self._endpoints.items() if spot not in news}
        return type(self)(_newest({**kept, **news}))

    def to_text(self) -> str:
        """JSON, one line an entry, oldest first."""
        entries = ",\n".join(
            json.dumps({"place": place, "connection": connection, "peer": str(key), "endpoint": str(endpoint)})
            for (place, connection, key), endpoint in self._endpoints.items()
        )
        return f'{{"version": {VERSION}, "endpoints": [\n{entries}\n]}}\n'

    @classmethod
    def from_text(cls, text: str) -> Self:
        """From what `to_text` made; what is no entry is left out alone. Raises InvalidValue where there is no list."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidValue(f"expected JSON: {error}") from error
        match document:
            case {"version": int(version), "endpoints": list(entries)} if version is not True and version == VERSION:
                return cls(_newest(dict(_usable(entries))))
            case {"version": version}:
                raise InvalidValue(f"expected version {VERSION} with a list of endpoints, not {shown(str(version))}")
        raise InvalidValue(f"expected an object with version {VERSION} and a list of endpoints")


def _newest(endpoints: dict[_Spot, Endpoint]) -> dict[_Spot, Endpoint]:
    surplus = len(endpoints) - MAX_ENTRIES
    return dict(islice(endpoints.items(), surplus, None)) if surplus > 0 else endpoints


def _usable(entries: list[Any]) -> Iterator[tuple[_Spot, Endpoint]]:
    for entry in entries:
        match entry:
            case {"place": str(place), "connection": str(connection), "peer": str(peer), "endpoint": str(endpoint)}:
                if max(len(place), len(connection)) > MAX_NAME:
                    continue
                try:
                    yield _Spot(place, connection, PublicKey.parse(peer)), Endpoint.parse(endpoint)
                except InvalidValue:
                    continue
