# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry's privileged process: reads one WireGuard device when it is asked to. Knows neither DNS nor any network.

It is started by `wgsd-nm-registry` with one end of a socket pair. It keeps CAP_NET_ADMIN and nothing else, answers
only for the device that it was started for, and ends when the other end is closed.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

from wgsd_nm.core.errors import DeviceError, InvalidValue
from wgsd_nm.core.model import Device, parse_interface
from wgsd_nm.registry import privileges, snapshot
from wgsd_nm.wireguard import WireGuard


class Netlink(Protocol):
    """What the reader needs of `wgsd_nm.wireguard.WireGuard`."""

    def read(self, interface: str, /) -> Device:
        """The device as it is now. Raises DeviceError."""
        ...

    def close(self) -> None:
        """Closes the netlink socket."""
        ...


class Reader:
    """One device, read anew for each question. A netlink socket that failed is replaced by a new one."""

    def __init__(self, interface: str, connect: Callable[[], Netlink]) -> None:
        self._interface = interface
        self._connect = connect
        self._netlink: Netlink | None = None

    def serve(self, server: socket.socket) -> None:
        """Answer until the other end is closed. Raises InvalidValue where it does not speak our language."""
        while question := _receive(server, snapshot.REQUEST_LENGTH):
            sequence = snapshot.parse_request(question)
            try:
                server.sendall(snapshot.reply(sequence, self._read()))
            except (BrokenPipeError, ConnectionResetError):
                return

    def _read(self) -> Device | DeviceError:
        try:
            if self._netlink is None:
                self._netlink = self._connect()
            return self._netlink.read(self._interface)
        except DeviceError as error:
            if (
                type(error) is DeviceError and self._netlink is not None
            ):  # netlink itself, not what it says of the device
                self._netlink.close()
                self._netlink = None
            return error


def _receive(server: socket.socket, length: int) -> bytes:
    """Exactly that many octets, or none at the end. Raises InvalidValue if the end comes in between."""
    octets = b""
    while len(octets) < length:
        try:
            piece = server.recv(length - len(octets))
        except ConnectionResetError:
            return b""
        if not piece:
            if octets:
                raise InvalidValue(f"a request has {length} octets; the server left after {len(octets)}")
            return b""
        octets += piece
    return octets


def main(argv: Sequence[str] | None = None, connect: Callable[[], Netlink] = WireGuard) -> int:
    """`python -m wgsd_nm.registry.reader --device wg0 --descriptor 3 --user nobody`: the exit status."""
    parser = argparse.ArgumentParser(prog="wgsd-nm-registry-reader", description=__doc__)
    parser.add_argument("--device", required=True, type=parse_interface)
    parser.add_argument("--descriptor", required=True, type=int, help="the socket to the server, inherited")
    parser.add_argument("--user", default="nobody", type=privileges.parse_user)
    options = parser.parse_args(argv)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to both; the server's end of the socket ends this one
    try:
        with socket.socket(fileno=options.descriptor) as server:
            privileges.drop(options.user, keep=frozenset({privileges.CAP_NET_ADMIN}))
            Reader(options.device, connect).serve(server)
    except (OSError, InvalidValue) as error:
        print(f"wgsd-nm-registry-reader: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
