# SPDX-License-Identifier: GPL-2.0-or-later
"""Zone transfers to the secondaries (AXFR, RFC 5936; IXFR, RFC 1995, in full). Knows neither sockets nor the device."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address

from dns.rcode import NOERROR
from dns.rdatatype import IXFR

from wgsd_nm.core.model import IPAddress, unmapped
from wgsd_nm.registry.complaints import Complaints
from wgsd_nm.registry.config import Secondary
from wgsd_nm.registry.query import AA, HEADER, QR, RD, known_serial, skip_name
from wgsd_nm.registry.responder import Question
from wgsd_nm.registry.signing import Keyring
from wgsd_nm.registry.zone import Zone

MAX_LENGTH = 16 * 1024
"""Octets of a message: few of them, none that takes long to make, and a compressed name can point to all of it."""

_COUNTS = struct.Struct("!BHHHH")

_log = logging.getLogger(__name__)


class Transfers:
    """Who may have which zone as a whole, and the messages that it goes in."""

    def __init__(self, keys: Keyring, secondaries: Mapping[Zone, tuple[Secondary, ...]]) -> None:
        self._keys = keys
        self._secondaries = dict(secondaries)
        self._complain = Complaints(_log)

    def permits(self, question: Question, source: str) -> bool:
        """Whether the client at this address is a secondary of the zone, and has signed as it must."""
        zone, text = question.zone, question.zone.name.to_text(omit_final_dot=True)
        address = _address(source)
        known = [one for one in self._secondaries.get(zone, ()) if unmapped(one.address.address) == address]
        name = None if question.signature is None else question.signature.name
        if any(one.key is None or one.key == name for one in known):
            return True
        if known:
            wanted = " or ".join(one.key.to_text(omit_final_dot=True) for one in known if one.key is not None)
            self._complain(f"{source} may not transfer {text}: expected a query signed with the key {wanted}")
        else:
            self._complain(f"{source} may not transfer {text}: it is not among its secondaries")
        return False

    def messages(self, question: Question) -> Iterator[bytes]:
        """The messages for TCP, without their lengths. The zone's content is that of the first one's making."""
        query, zone = question.query, question.zone
        if question.rdtype == IXFR and _is_current(question):
            records: Iterable[bytes] = (zone.soa(),)
        else:
            records = zone.transfer()
        signature = question.signature
        sign = None if signature is None else self._keys.sign_all(signature)
        flags = bytes((QR | AA | query[2] & RD,))
        asked = query[HEADER : question.end]
        opt = b"" if question.edns is None else question.edns.reply(datagram=False)
        for number, body in _portions(records, HEADER + len(asked)):
            message = b"%b%b%b%b%b%b" % (
                query[:2],
                flags,
                _COUNTS.pack(NOERROR, bool(asked), number, 0, bool(opt)),
                asked,
                body,
                opt,
            )
            yield message if sign is None else sign(message)
            asked = opt = b""  # the first message alone has them (RFC 5936 sections 2.2.2 and 2.2.5)


def _portions(records: Iterable[bytes], start: int) -> Iterator[tuple[int, bytes]]:
    """Records for messages of up to MAX_LENGTH, or of one record: how many, and their octets.

    In the first message they begin at `start`. An owner that is that of the record before is compressed (RFC 1035
    section 4.1.4), which is most of what there is to gain.
    """
    portion: list[bytes] = []
    owner = pointer = b""
    for record in records:
        if start + len(record) > MAX_LENGTH:
            yield len(portion), b"".join(portion)
            portion, start, owner = [], HEADER, b""
        if owner and record.startswith(owner):
            record = pointer + record.removeprefix(owner)
        else:
            owner = record[: skip_name(record, 0)]
            pointer = (0xC000 | start).to_bytes(2)
        portion.append(record)
        start += len(record)
    if portion:
        yield len(portion), b"".join(portion)


def _is_current(question: Question) -> bool:
    """Whether the client's serial is ours, or newer (RFC 1995 section 2, RFC 1982 section 3.2)."""
    serial = known_serial(question.query, question.end)
    return serial is not None and (serial - question.zone.serial) & 0xFFFF_FFFF < 1 << 31


def _address(source: str) -> IPAddress:
    return unmapped(ip_address(source.partition("%")[0]))
