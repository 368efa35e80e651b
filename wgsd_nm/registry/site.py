# SPDX-License-Identifier: GPL-2.0-or-later
"""All that queries are answered from, as one value: what a reload exchanges. Knows no sockets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from wgsd_nm.registry.access import Access
from wgsd_nm.registry.content import Content
from wgsd_nm.registry.records import Record
from wgsd_nm.registry.responder import Responder
from wgsd_nm.registry.transfer import Transfers
from wgsd_nm.registry.zone import Zone


@dataclass(frozen=True, slots=True)
class Site:
    """Some zones. Each of the responder's has its content here, which several may share."""

    responder: Responder
    access: Access
    contents: Mapping[Zone, Content]
    transfers: Transfers

    def content_of(self, name: bytes) -> Content | None:
        """Where the records of a name in lower case come from; None where it is in no zone."""
        zone = self.responder.zone_of(name)
        return None if zone is None else self.contents[zone]

    def records(self, name: bytes) -> Iterable[Record]:
        """All records of a name in lower case; none where it does not exist, or is in no zone."""
        zone = self.responder.zone_of(name)
        return () if zone is None else zone.records(name)

    @property
    def devices(self) -> Iterator[Content]:
        """Each content once."""
        return iter(dict.fromkeys(self.contents.values()))
