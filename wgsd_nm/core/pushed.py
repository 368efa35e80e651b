# SPDX-License-Identifier: GPL-2.0-or-later
"""The records of one peer as a registry pushes them (RFC 8765), and what they say of it. It knows no sessions."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from wgsd_nm.core import dnsname, dnssd
from wgsd_nm.core.dnsbytes import character_strings
from wgsd_nm.core.errors import BadAnswer, InvalidValue, LookupFailed, NoEndpoint, NoSuchPeer
from wgsd_nm.core.model import Advertisement, IPAddress, PublicKey
from wgsd_nm.core.push import ANY, IN, Add, Change, Remove, RemoveAll

MAX_RECORDS: Final = 64
"""Of one peer; more are not taken."""

_A, _TXT, _AAAA, _SRV = 1, 16, 28, 33
_READ: Final = frozenset((_A, _TXT, _AAAA, _SRV))
_ROOT: Final = b"\0"

Answer = Advertisement | LookupFailed


class PushedRecords:
    """Records of class IN of a peer's name, of the types that say something of a peer. `len()` is how many."""

    def __init__(self) -> None:
        self._ttls: dict[tuple[int, bytes], int] = {}

    def __len__(self) -> int:
        return len(self._ttls)

    def apply(self, change: Change) -> bool:
        """Take a change of this name's records (RFC 8765 section 6.3.1). Whether they are others now."""
        match change:
            case RemoveAll(rdtype=rdtype, rdclass=rdclass):
                everything = ANY in (rdtype, rdclass)
                gone = [record for record in self._ttls if everything or record[0] == rdtype]
                if rdclass not in (IN, ANY) or not gone:
                    return False
                for record in gone:
                    del self._ttls[record]
            case Remove(rdtype=rdtype, rdclass=rdclass, rdata=rdata):
                return rdclass == IN and self._ttls.pop((rdtype, _canonical(rdtype, rdata)), None) is not None
            case Add(rdtype=rdtype, rdclass=rdclass, ttl=ttl, rdata=rdata):
                record = rdtype, _canonical(rdtype, rdata)
                if rdclass != IN or rdtype not in _READ or self._ttls.get(record) == ttl:
                    return False
                if record not in self._ttls and len(self._ttls) >= MAX_RECORDS:
                    return False
                self._ttls[record] = ttl
        return True

    def reading(self, key: PublicKey, name: bytes) -> Answer | None:
        """What they say of the peer whose name, in lower case, is this: as the answer to a lookup would.

        None where they lead to hosts whose addresses are not among them.
        """
        if not self._ttls:
            return NoSuchPeer(f"the registry does not know the peer {key}")
        try:
            services = sorted(_service(data) for rdtype, data in self._ttls if rdtype == _SRV)
            services = [service for service in services if service[2] != _ROOT]
            if not services:
                return NoEndpoint(f"the registry has no endpoint for the peer {key}")
            families: dict[int, list[IPAddress]] = {}
            for rdtype, data in self._ttls:
                if rdtype in (_A, _AAAA):
                    families.setdefault(rdtype, []).append(_address(rdtype, data))
            addresses = [address for family in families.values() for address in family]
            texts = [character_strings(data) for rdtype, data in self._ttls if rdtype == _TXT]
            if not addresses or any(target != name for _, _, target, _ in services):
                return None
            candidates = [(address, port) for _, _, _, port in services for address in addresses]
            return dnssd.advertised(key, candidates, texts, min(self._ttls.values()))
        except BadAnswer as error:
            return error
        except (InvalidValue, ValueError, struct.error, IndexError):
            return BadAnswer(f"the registry pushed malformed records for the peer {key}")


def _service(data: bytes) -> tuple[int, int, bytes, int]:
    """Priority, weight (the heaviest first), target and port of an SRV record (RFC 2782). Raises what is malformed."""
    priority, weight, port = struct.unpack_from("!HHH", data)
    if dnsname.plain_end(data, 6) != len(data):
        raise ValueError
    return priority, -weight, data[6:], port


def _address(rdtype: int, data: bytes) -> IPAddress:
    return IPv4Address(data) if rdtype == _A else IPv6Address(data)


def _canonical(rdtype: int, rdata: bytes) -> bytes:
    """Data that compare as the records do: an SRV record's target in lower case."""
    return rdata[:6] + rdata[6:].lower() if rdtype == _SRV else rdata
