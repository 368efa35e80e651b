# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry's privileged process: reads WireGuard devices when it is asked to. Knows neither DNS nor any network.

`wgsd-nm-registry` starts it with one end of a socket pair, or systemd with a connection that it took in. It keeps
CAP_NET_ADMIN and nothing else, answers only for the devices that root named, and ends when the other end is closed.
"""

from __future__ import annotations

import argparse
import gc
import signal
import socket
import sys
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from wgsd_nm import __version__
from wgsd_nm.core.errors import DeviceError, InvalidValue, WgsdError
from wgsd_nm.core.model import Device, parse_interface
from wgsd_nm.registry import privileges, snapshot, systemd
from wgsd_nm.wireguard import WireGuard

PROGRAM = "wgsd-nm-registry-reader"


class Netlink(Protocol):
    """What the reader needs of `wgsd_nm.wireguard.WireGuard`."""

    def read(self, interface: str, /) -> Device:
        """The device as it is now. Raises DeviceError."""
        ...

    def close(self) -> None:
        """Closes the netlink socket."""
        ...


class Permitted:
    """The devices that may be read: those named on the command line, and those of the configuration's zones.

    The file is read again when a device is asked for that is not among them.
    """

    def __init__(self, devices: Iterable[str], file: Path | None = None) -> None:
        self._named = frozenset(devices)
        self._file = file
        self._of_zones: frozenset[str] = frozenset()

    def check(self, interface: str) -> None:
        """Raises DeviceError unless the device may be read."""
        if interface in self._named or interface in self._of_zones:
            return
        if self._file is None:
            raise DeviceError(
                f"the reader may not read {interface}: it was started for {', '.join(sorted(self._named))}"
            )
        try:
            self._of_zones = zone_devices(self._file.read_text())
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not TOML"
            raise DeviceError(f"the reader cannot read {self._file}: {why}") from error
        if interface not in self._of_zones:
            raise DeviceError(f"the reader may not read {interface}: no zone of {self._file} names it as its device")


def zone_devices(text: str) -> frozenset[str]:
    """The devices of all zones of a registry.toml; that all else in it is right is others' business.

    Raises ValueError where it is not TOML.
    """
    try:
        zones = tomllib.loads(text).get("zone", {})
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    tables = zones.values() if isinstance(zones, dict) else ()
    devices = (table.get("device") for table in tables if isinstance(table, dict))
    return frozenset(device for device in devices if isinstance(device, str))


class Reader:
    """Devices, read anew for each question. A netlink socket that failed is replaced by a new one."""

    def __init__(self, permitted: Permitted, connect: Callable[[], Netlink]) -> None:
        self._permitted = permitted
        self._connect = connect
        self._netlink: Netlink | None = None
        self._encoders: dict[str, snapshot.Encoder] = {}

    def serve(self, server: socket.socket) -> None:
        """Answer until the other end is closed. Raises InvalidValue where it does not speak our language."""
        while question := _receive(server, snapshot.REQUEST_LENGTH):
            sequence, interface = snapshot.parse_request(question)
            try:
                server.sendall(self._reply(sequence, self._outcome(interface)))
            except (BrokenPipeError, ConnectionResetError):
                return

    def _reply(self, sequence: int, outcome: Device | DeviceError) -> bytes:
        if isinstance(outcome, DeviceError):
            return snapshot.reply(sequence, outcome)
        return snapshot.reply(sequence, outcome, self._encoders.setdefault(outcome.interface, snapshot.Encoder()))

    def _outcome(self, interface: str) -> Device | DeviceError:
        try:
            self._permitted.check(interface)
        except DeviceError as error:
            return error
        return self._read(interface)

    def _read(self, interface: str) -> Device | DeviceError:
        try:
            if self._netlink is None:
                self._netlink = self._connect()
            return self._netlink.read(interface)
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
    """`wgsd-nm-registry-reader --config /etc/wgsd-nm/registry.toml`: the exit status."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Read WireGuard devices for wgsd-nm-registry, which starts this, or systemd does. "
        "It keeps CAP_NET_ADMIN and nothing else, and speaks with nobody but the registry's server.",
    )
    parser.add_argument(
        "--device",
        metavar="DEVICE",
        action="append",
        default=[],
        type=_interface,
        help="a device that may be read; may be repeated",
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="the registry's: its zones' devices may be read")
    parser.add_argument(
        "--descriptor", metavar="NUMBER", type=int, help="the socket to the server, inherited; else systemd passes it"
    )
    parser.add_argument("--user", metavar="USER", default="nobody", help="whom to run as when started by root (nobody)")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    options = parser.parse_args(argv)
    if options.config is None and not options.device:
        parser.error("nothing may be read: expected --config FILE or --device DEVICE")

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to both; the server's end of the socket ends this one
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # of a terminal; the file is read again when there is need
    gc.freeze()
    gc.set_threshold(snapshot.GARBAGE)
    try:
        with _server(options.descriptor) as server:
            user = privileges.parse_user(options.user)
            privileges.drop(user, keep=frozenset({privileges.CAP_NET_ADMIN}))
            Reader(Permitted(options.device, options.config), connect).serve(server)
    except (OSError, WgsdError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1
    return 0


def _interface(text: str) -> str:
    try:
        return parse_interface(text)
    except InvalidValue as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _server(descriptor: int | None) -> socket.socket:
    """Raises InvalidValue."""
    if descriptor is not None:
        try:
            return socket.socket(fileno=descriptor)
        except (OSError, OverflowError, ValueError):
            raise InvalidValue(f"descriptor {descriptor} is no socket: expected an inherited one") from None
    passed = systemd.passed_sockets()
    if len(passed) != 1:
        raise InvalidValue("there is no server to read for: expected --descriptor, or one connection from systemd")
    return passed[0]


if __name__ == "__main__":
    sys.exit(main())
