# SPDX-License-Identifier: GPL-2.0-or-later
"""NOTIFY (RFC 1996): tells a zone's secondaries of each new serial. Knows nothing of queries or of the device.

A secondary that does not answer is told at growing intervals of whatever is the newest then. One that is gone for long
misses nothing: when it is back it is told, or asks by itself (the SOA's REFRESH).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from dns.opcode import NOTIFY
from dns.rcode import NOERROR, Rcode
from dns.rcode import to_text as rcode_text
from dns.rdataclass import IN
from dns.rdatatype import SOA

from wgsd_nm.core.model import IPAddress
from wgsd_nm.registry.config import Secondary
from wgsd_nm.registry.query import AA, HEADER, OPCODE, QR, Malformed, parse
from wgsd_nm.registry.signing import Keyring, Signature
from wgsd_nm.registry.zone import Zone

INTERVAL = 0.5
"""Seconds from one look at the content to the next: two reads of the device a second at the most."""
FIRST_LIMIT = 0.5
"""Seconds that a secondary has to answer; doubled each time that it does not."""
MAX_LIMIT = 60.0
PATIENCE = 2.0
"""Seconds; a secondary that was given so long and did not answer is a trouble worth a line in the log."""
MAX_REPLY = 4096

_HEADER = struct.Struct("!HHHHHH")
_TYPE_AND_CLASS = struct.pack("!HH", SOA, IN)
_OPCODE = NOTIFY << 3  # as it is in the header's third octet

_log = logging.getLogger(__name__)


class Freshness(Protocol):
    """What a Notifier needs of a Content."""

    async def available(self) -> bool:
        """True when the content is fresh, False when it is not to be had."""
        ...


class Notifier:
    """Tells the secondaries of one zone, for as long as run() is running."""

    def __init__(
        self,
        zone: Zone,
        content: Freshness,
        secondaries: Sequence[Secondary],
        keys: Keyring,
        *,
        sources: Iterable[IPAddress] = (),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        told: Callable[[bool], None] | None = None,
    ) -> None:
        """`sources` are the registry's addresses, from which secondaries expect its packets; used if this machine has
        them. `told` is called for each message that was sent, with whether it was acknowledged.
        """
        self._zone = zone
        self._content = content
        self._messengers = [_Messenger(zone, one, keys, tuple(sources), sleep) for one in secondaries]
        self._sleep = sleep
        self._told = told
        self._serial: int | None = None
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled. Returns at once if there is nobody to tell."""
        if not self._messengers:
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            for messenger in self._messengers:
                tasks.create_task(self._keep_told(messenger))

    async def _watch(self) -> None:
        while True:
            if await self._content.available() and self._zone.serial != self._serial:
                self._serial = self._zone.serial
                self._changed.set()
                self._changed = asyncio.Event()
            await self._sleep(INTERVAL)

    async def _keep_told(self, messenger: _Messenger) -> None:
        acknowledged: int | None = None
        limit, reported = FIRST_LIMIT, ""
        while True:
            while self._serial == acknowledged:
                await self._changed.wait()
            serial = self._serial
            trouble = await messenger.tell(limit)
            if self._told is not None:
                self._told(not trouble)
            if not trouble:
                acknowledged, limit = serial, FIRST_LIMIT
                if reported:
                    _log.info("%s is told of changes again", messenger.about)
                    reported = ""
                continue
            if limit >= PATIENCE and trouble != reported:
                _log.warning("%s: %s; trying on", messenger.about, trouble)
                reported = trouble
            limit = min(2 * limit, MAX_LIMIT)


@dataclass(frozen=True, slots=True)
class _Messenger:
    """Takes messages about one zone to one secondary."""

    zone: Zone
    secondary: Secondary
    keys: Keyring
    sources: tuple[IPAddress, ...]
    sleep: Callable[[float], Awaitable[None]]

    @property
    def about(self) -> str:
        return f"secondary {self.secondary.address} of {self.zone.name.to_text(omit_final_dot=True)}"

    async def tell(self, limit: float) -> str:
        """Send one message: "" when it is acknowledged, or after `limit` seconds why it is not."""
        message = self._message()
        request = None
        if self.secondary.key is not None:
            message, request = self.keys.sign_first(message, self.secondary.key)
        try:
            with self._connected() as udp:
                await asyncio.get_running_loop().sock_sendall(udp, message)
                return await self._acknowledged(udp, message, request, limit)
        except OSError as error:
            await self.sleep(limit)
            return f"notifications cannot be sent: {error.strerror}"

    async def _acknowledged(self, udp: socket.socket, message: bytes, request: Signature | None, limit: float) -> str:
        trouble = "notifications are not answered"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(limit):
                while True:
                    try:
                        reply = await loop.sock_recv(udp, MAX_REPLY)
                    except ConnectionError:
                        continue  # nobody is at that port, and yet somebody may be within the limit
                    rcode = self._rcode(message, reply, request)
                    if rcode == NOERROR:
                        return ""
                    if rcode is not None:
                        key = "" if request is None else request.name.to_text(omit_final_dot=True)
                        how = f"signed with the key {key}" if key else "without a key"
                        trouble = f"notifications {how} are not accepted ({rcode_text(rcode)})"
        except TimeoutError:
            return trouble

    def _message(self) -> bytes:
        """RFC 1996 section 3.7: asks for the SOA, and has the new one as a hint."""
        header = _HEADER.pack(secrets.randbelow(1 << 16), (_OPCODE | AA) << 8, 1, 1, 0, 0)
        return header + self.zone.apex + _TYPE_AND_CLASS + self.zone.soa()

    def _connected(self) -> socket.socket:
        """A socket for this message alone: what it receives comes from the secondary. Raises OSError."""
        address = self.secondary.address.address
        udp = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        try:
            udp.setblocking(False)
            self._bind(udp, address.version)
            udp.connect((str(address), self.secondary.address.port))
        except OSError:
            udp.close()
            raise
        return udp

    def _bind(self, udp: socket.socket, version: int) -> None:
        for source in self.sources:
            if source.version == version:
                try:
                    udp.bind((str(source), 0))
                except OSError:
                    continue  # not of this machine, or not yet
                return

    def _rcode(self, message: bytes, reply: bytes, request: Signature | None) -> Rcode | None:
        """What a reply says; None if it is not one to the message, or is not signed as it must be."""
        if len(reply) < HEADER or reply[:2] != message[:2] or reply[2] & (QR | OPCODE) != QR | _OPCODE:
            return None
        rcode = Rcode(reply[3] & 0xF)
        if request is None or rcode != NOERROR:
            return rcode  # an error need not be proven: it changes nothing
        try:
            signature = self.keys.verify(reply, parse(reply), request)
        except Malformed:
            return None
        return NOERROR if signature is not None and not signature.error else None
