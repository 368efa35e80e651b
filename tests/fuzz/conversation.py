# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets sent to a DNS server over UDP and TCP, and its answers judged. Of the server it knows only what it promises.

The promise: what is long enough for a header and is no answer itself gets one answer, which dnspython can read, with
the packet's identifier and opcode; what is sound is understood; nothing else is ever sent.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from itertools import islice

import dns.message
import dns.rcode
from dns.rcode import FORMERR, SERVFAIL

from tests.fuzz.packets import Packet, Packets

HEADER = 12
BATCH = 32
"""Packets that are sent before their answers are taken; together they fit a socket's buffer."""
PATIENCE = 20.0
"""Seconds for one answer."""
LENGTH = struct.Struct("!H")


class PromiseBroken(AssertionError):
    """The server did what it must not, or left out what it must do. The text has the packet."""


def converse(address: tuple[str, int], packets: Packets, count: int) -> Iterator[int]:
    """Send that many packets over UDP, and judge every answer; yields how many are done. Raises PromiseBroken."""
    stream = iter(packets)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.connect(address)
        for done in range(0, count, BATCH):
            yield done
            batch = list(islice(stream, min(BATCH, count - done)))
            for packet in batch:
                client.send(packet.octets)
            _take(client, batch)


def _take(client: socket.socket, batch: Sequence[Packet]) -> None:
    """Take one answer for each packet that is due one. The server answers them in any order."""
    due = {packet.octets[:2]: packet for packet in batch if is_due(packet.octets)}
    last = batch[-1]
    while due:
        try:
            answer = client.recv(0x10000)
        except TimeoutError:
            left = next(iter(due.values()))
            raise PromiseBroken(
                f"no answer to {left.octets.hex()} (of {len(due)}; last sent {last.octets.hex()})"
            ) from None
        except ConnectionRefusedError:
            raise PromiseBroken(
                f"the server has left, after one of {[packet.octets.hex() for packet in batch]}"
            ) from None
        packet = due.pop(answer[:2], None)
        if packet is None:
            raise PromiseBroken(f"an answer that nobody is due: {answer.hex()}")
        judge(packet, answer)


def is_due(octets: bytes) -> bool:
    """Whether a packet must be answered."""
    return len(octets) >= HEADER and not octets[2] & 0x80


def judge(packet: Packet, answer: bytes) -> None:
    """Raises PromiseBroken."""

    def broken(why: str) -> PromiseBroken:
        return PromiseBroken(f"{why}: {answer.hex()} to {packet.octets.hex()}")

    if len(answer) < HEADER or answer[:2] != packet.octets[:2] or not answer[2] & 0x80:
        raise broken("no answer to this")
    if (answer[2] ^ packet.octets[2]) & 0x78:
        raise broken("another opcode")
    try:
        read = dns.message.from_wire(answer, ignore_trailing=False)
    except dns.message.UnknownTSIGKey:
        return  # an error that the server cannot sign, read as far as dnspython goes
    except Exception as error:
        raise broken(f"dnspython cannot read it ({error!r})") from error
    if packet.sound and read.rcode() in (FORMERR, SERVFAIL):
        raise broken(f"{dns.rcode.to_text(read.rcode())} to a sound query")


def flood(address: tuple[str, int], packets: Packets, connections: int, each: int) -> None:
    """Throw packets at the server over TCP, some with a length that lies, and listen to nothing it says."""
    stream = iter(packets)
    for number in range(connections):
        with socket.create_connection(address, timeout=PATIENCE) as client:
            try:
                for packet in islice(stream, each):
                    lie = number % 4 == 0
                    client.sendall(LENGTH.pack(0xFFFF if lie else len(packet.octets)) + packet.octets)
            except (ConnectionError, TimeoutError):
                continue  # it has had enough of us, as it may
