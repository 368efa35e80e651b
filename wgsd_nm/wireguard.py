# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's WireGuard devices over netlink: read peers, set and poke endpoints. Knows nothing of policy.

Of pyroute2 only the socket and the constants are used, and the messages are read and written by wireguard_messages:
pyroute2 needs 0.15 ms to decode one peer, decodes the private key too, and reads and writes scope ids in the wrong
byte order.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import chain
from types import ModuleType
from typing import Self, TypeVar

from wgsd_nm.core.errors import DeviceError, InvalidValue, NoSuchDevice, NotPermitted, NotWireGuard
from wgsd_nm.core.model import ChangeResult, Device, EndpointChange, Peer, PublicKey
from wgsd_nm.wireguard_messages import (
    HEADER,
    UNREADABLE,
    DeviceDecoder,
    Path,
    decode_family,
    decode_paths,
    encode_endpoint,
    encode_find_family,
    encode_get,
    encode_poke,
    encode_quiet,
    encode_set,
    split,
)


@contextmanager
def _lean() -> Iterator[None]:
    """Modules of pyroute2 can be imported in here without the package itself, which would load all three hundred of
    them: 13 MB and a quarter of a second that a helper started on demand would pay each time.
    """
    spec = find_spec("pyroute2")
    if spec is None or "pyroute2" in sys.modules:
        yield
        return
    sys.modules["pyroute2"] = package = ModuleType("pyroute2")
    package.__path__ = list(spec.submodule_search_locations or ())
    try:
        yield
    finally:
        del sys.modules["pyroute2"]


with _lean():
    from pyroute2.netlink import (
        GENL_ID_CTRL,
        NETLINK_GENERIC,
        NLM_F_ACK,
        NLM_F_DUMP,
        NLM_F_DUMP_INTR,
        NLM_F_REQUEST,
        NLMSG_DONE,
        NLMSG_ERROR,
    )
    from pyroute2.netns import create_socket

REPLY_BUFFER = 1 << 16
"""Octets; the kernel's dumps come in pieces of at most 32 KiB (net/netlink/af_netlink.c, netlink_recvmsg())."""

KERNEL_TIMEOUT = 10.0
"""Seconds without an answer after which something is badly wrong; the kernel answers at once."""

DUMP_ATTEMPTS = 10
"""So often a dump is asked for again if peers came or went meanwhile (NLM_F_DUMP_INTR)."""

Reply = TypeVar("Reply")

_ERROR = struct.Struct("=i")  # struct nlmsgerr: an errno below zero


class WireGuard:
    """A netlink socket to the kernel's WireGuard, in the network namespace of the process.

    Calls block for the microseconds that the kernel needs, also within a running event loop. One call at a time.
    """

    def __init__(self) -> None:
        """Raises DeviceError where the kernel has no WireGuard."""
        self._netlink = _Netlink()
        self._records: dict[str, Mapping[bytes, tuple[bytes, Peer]]] = {}
        try:
            self._family = self._find_family()
        except BaseException:
            self._netlink.close()
            raise

    def close(self) -> None:
        self._netlink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, interface: str) -> Device:
        """The device and its peers, in the kernel's order.

        Raises InvalidValue, NoSuchDevice, NotWireGuard, NotPermitted, DeviceError.
        """
        for _ in range(DUMP_ATTEMPTS):
            decoder = DeviceDecoder(interface, self._records.pop(interface, {}))
            if self._dump(interface, decoder.add) is not None:
                self._records[interface] = decoder.records
                return decoder.device()
        raise DeviceError(f"the peers of {interface} change faster than they can be read: try again")

    def set_endpoints(self, interface: str, changes: Sequence[EndpointChange]) -> dict[PublicKey, ChangeResult]:
        """Set or poke the peers whose endpoint is the expected one; what became of each change, in their order.

        A *poke* has the kernel send at once: a keepalive packet, or a handshake initiation without a session (nothing
        while the device is down). A peer's keepalive interval is afterwards what it was. One whose endpoint is set is
        poked with it if its keepalive is on; nobody may want the others. A peer that already has the endpoint wanted is
        only poked, so that it is not set back if it roams this instant. No peer is ever created.

        Raises InvalidValue (a key twice, a scope that is no interface) before anything is written, and what read()
        raises; an error in the midst says how many peers were written.
        """
        if len({change.public_key.raw for change in changes}) != len(changes):
            raise InvalidValue("a peer can be named only once in a call: send one change for each public key")
        wanted = [None if change.wanted is None else encode_endpoint(change.wanted) for change in changes]
        paths = self._read_paths(interface)
        results: dict[PublicKey, ChangeResult] = {}
        entries: list[bytes] = []
        for change, sockaddr in zip(changes, wanted, strict=True):
            key = change.public_key.raw
            path = paths.get(key)
            result = results[change.public_key] = judge(path, _expected(change), sockaddr)
            if path is not None and sockaddr is not None and result is ChangeResult.CHANGED:
                entries.append(
                    encode_poke(key, sockaddr, path.keepalive) if path.keepalive else encode_quiet(key, sockaddr)
                )
            elif path is not None and result is ChangeResult.POKED:
                entries.append(encode_poke(key, None, path.keepalive))
        self._write(interface, entries)
        return results

    def _read_paths(self, interface: str) -> dict[bytes, Path]:
        for _ in range(DUMP_ATTEMPTS):
            replies = self._dump(interface, decode_paths)
            if replies is not None:
                return dict(reversed(list(chain.from_iterable(replies))))
        raise DeviceError(f"the peers of {interface} change faster than they can be read: try again")

    def _dump(self, interface: str, decode: Callable[[memoryview], Reply]) -> list[Reply] | None:
        """WG_CMD_GET_DEVICE, once. None if peers came or went meanwhile."""
        try:
            return self._netlink.request(self._family, NLM_F_DUMP, encode_get(interface), decode)
        except OSError as error:
            raise _device_error(interface, error) from error

    def _write(self, interface: str, entries: Sequence[bytes]) -> None:
        written = 0
        for count, message in encode_set(interface, entries):
            try:
                self._netlink.request(self._family, NLM_F_ACK, message, bytes)
            except (OSError, DeviceError) as error:
                cause = _device_error(interface, error) if isinstance(error, OSError) else error
                text = f"{cause} (of {len(entries)} peers, {written} had been written)" if written else str(cause)
                raise type(cause)(text) from error
            written += count

    def _find_family(self) -> int:
        """The type of WireGuard's messages, a number that the kernel gives the family when it is loaded."""
        try:
            replies = self._netlink.request(GENL_ID_CTRL, NLM_F_ACK, encode_find_family(), decode_family)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise DeviceError(f"the kernel does not say whether it has WireGuard: {error.strerror}") from error
            replies = None
        if not replies:
            raise DeviceError("this kernel has no WireGuard: load its module (modprobe wireguard) or install it")
        return replies[0]


def judge(path: Path | None, expected: bytes | None, wanted: bytes | None) -> ChangeResult:
    """What is to become of a change: compare, then set."""
    if path is None:
        return ChangeResult.UNKNOWN_PEER
    if path.sockaddr != expected:
        return ChangeResult.STALE
    if wanted is not None and wanted != path.sockaddr:
        return ChangeResult.CHANGED
    return ChangeResult.NO_ENDPOINT if path.sockaddr is None else ChangeResult.POKED


def _expected(change: EndpointChange) -> bytes | None:
    """As the kernel would hold it; b"", which it never holds, if the scope is no interface any more."""
    if change.expected is None:
        return None
    try:
        return encode_endpoint(change.expected)
    except InvalidValue:
        return b""


def _device_error(interface: str, error: OSError) -> DeviceError:
    """The kernel's refusal (drivers/net/wireguard/netlink.c, lookup_interface()) as ours."""
    match error.errno:
        case errno.ENODEV:
            return NoSuchDevice(f"there is no network interface {interface}: expected a WireGuard device of that name")
        case errno.EOPNOTSUPP:
            return NotWireGuard(f"the network interface {interface} is not a WireGuard device")
        case errno.EPERM | errno.EACCES:
            return NotPermitted(f"the WireGuard device {interface} is closed to this process: it needs CAP_NET_ADMIN")
        case _:
            return DeviceError(f"the kernel refused to work on the WireGuard device {interface}: {error.strerror}")


class _Netlink:
    """A generic netlink socket that sends one request and takes all of its replies before the next.

    pyroute2's own sockets run an event loop inside, which Python forbids within a running one: this takes the plain
    socket that they are built on.
    """

    def __init__(self) -> None:
        self._buffer = bytearray(REPLY_BUFFER)
        self._sequence = 0
        self._socket: socket.socket | None = None

    def _open(self) -> socket.socket:
        try:
            netlink: socket.socket = create_socket(
                family=socket.AF_NETLINK, socket_type=socket.SOCK_RAW | socket.SOCK_CLOEXEC, proto=NETLINK_GENERIC
            )
            netlink.settimeout(KERNEL_TIMEOUT)
            netlink.bind((0, 0))
        except OSError as error:
            raise DeviceError(f"no netlink socket to the kernel could be opened: {error.strerror}") from error
        return netlink

    def close(self) -> None:
        """The next request opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def request(
        self, kind: int, flags: int, payload: bytes, decode: Callable[[memoryview], Reply]
    ) -> list[Reply] | None:
        """Send it, and decode each reply until the kernel is done. None if a dump is not consistent.

        `decode` keeps no reference to its argument: the buffer is wiped. Raises OSError with the kernel's errno,
        DeviceError, and what `decode` raises; after the latter two the socket is closed, for it may hold more replies.
        """
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        header = HEADER.pack(HEADER.size + len(payload), kind, flags | NLM_F_REQUEST, self._sequence, 0)
        if self._socket is None:
            self._socket = self._open()
        try:
            self._socket.sendto(header + payload, (0, 0))
            replies, refusal = self._receive(self._socket, decode)
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise DeviceError("the kernel does not answer on its netlink socket") from error
            raise
        finally:
            self._buffer[:] = bytes(REPLY_BUFFER)
        if refusal:
            raise OSError(refusal, os.strerror(refusal))
        return replies

    def _receive(self, netlink: socket.socket, decode: Callable[[memoryview], Reply]) -> tuple[list[Reply] | None, int]:
        """The replies, and the errno that ended them, 0 for none."""
        replies: list[Reply] = []
        consistent = True
        with memoryview(self._buffer) as buffer:
            while True:
                length, _, cut, (port, _) = netlink.recvmsg_into([buffer])
                if port:
                    continue  # not from the kernel
                if cut & socket.MSG_TRUNC:
                    raise DeviceError(UNREADABLE)
                for kind, flags, sequence, start, stop in split(buffer, length):
                    if sequence != self._sequence:
                        continue
                    consistent = consistent and not flags & NLM_F_DUMP_INTR
                    if kind in (NLMSG_DONE, NLMSG_ERROR):
                        if stop - start < _ERROR.size:
                            raise DeviceError(UNREADABLE)
                        (negative,) = _ERROR.unpack_from(buffer, start)
                        return (replies if consistent else None), -negative
                    replies.append(decode(buffer[start:stop]))
