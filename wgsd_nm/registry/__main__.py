# SPDX-License-Identifier: GPL-2.0-or-later
"""`wgsd-nm-registry`: opens sockets and files, starts the reader, and serves without privileges. Knows nothing of DNS.

Started as root it is two processes: the reader keeps CAP_NET_ADMIN, the server keeps nothing. Each ends with the other.
Under systemd the sockets are passed, and the reader is systemd's to start.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from wgsd_nm import __version__
from wgsd_nm.core.errors import ConfigError, ReaderLost, WgsdError
from wgsd_nm.registry import config, metrics, privileges, service, snapshot, sockets, systemd
from wgsd_nm.registry.config import Config
from wgsd_nm.registry.link import LastingLink, Link
from wgsd_nm.registry.serials import Serials
from wgsd_nm.registry.sessions import MAX_SESSIONS
from wgsd_nm.registry.signing import Keyring
from wgsd_nm.registry.sockets import Listener
from wgsd_nm.registry.streams import MAX_CONNECTIONS

PROGRAM = "wgsd-nm-registry"
FLAGS = ("device", "zone", "listen", "allow", "user")
"""Those that say what a configuration file may say, too."""
READER = (sys.executable, "-P", "-m", "wgsd_nm.registry.reader")
"""-P: the directory that root happens to be in is no place to import from."""
READER_EXIT_TIMEOUT = 2.0
"""Seconds that the reader has to end by itself when the server has left."""
DESCRIPTORS = MAX_CONNECTIONS + MAX_SESSIONS + 256
"""Clients over TCP, and all else."""
SERIALS = "serials"
"""The state's file in the directory that systemd made for it."""

_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None, reader: Sequence[str] = READER) -> int:
    """The exit status: 0 ended by a signal, 1 cannot serve, 2 told wrongly. `reader` is the command that starts one."""
    logging.basicConfig(level=logging.INFO, format=f"{PROGRAM}: %(message)s", stream=sys.stderr)
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # until the server can do what they ask for
    options = command_line().parse_args(argv)
    if options.check:
        return _check(options)
    passed = systemd.passed_sockets()

    def load() -> tuple[Config, Keyring]:
        settings = _configuration(options)
        if passed:  # that is where it listens; what the file names tells clients where that is
            listen = (*(listener.address for listener in listeners), *settings.listen)
            settings = dataclasses.replace(settings, listen=listen)
        return settings, Keyring.load(settings.keys.values())

    listeners: Sequence[Listener] = ()
    try:
        listeners = sockets.adopt(passed)
        given = load()
        privileges.parse_user(given[0].user)
        if not given[0].listen:
            raise ConfigError(
                f"{options.config or config.FLAGS}: listen is missing: "
                'expected where to answer, like listen = ["10.0.0.254"] or --listen 10.0.0.254'
            )
    except WgsdError as error:
        _log.error("%s", error)
        return 2
    try:
        listeners = listeners or sockets.listen(given[0].listen)
        _serve(options, given, listeners, reader, None if options.config is None else load)
    except WgsdError as error:
        _log.error("%s", error)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


def command_line() -> argparse.ArgumentParser:
    """What may be said on it."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Answer DNS-SD questions (RFC 6763) about the peers of WireGuard devices, as wgsd does.",
        epilog="One zone needs no file: --device and --zone say it all. "
        "wgsd-nm-registry(8) and wgsd-nm-registry.toml(5) have the rest.",
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="a TOML file that tells of the zones and all else")
    parser.add_argument("--device", metavar="DEVICE", help="the WireGuard device of the one zone, like wg0")
    parser.add_argument("--zone", metavar="ZONE", help="the zone of the peers' names, like wg.example.com")
    parser.add_argument(
        "--listen",
        metavar="ADDRESS[:PORT]",
        action="append",
        help="where to answer, like 10.0.0.1 or [fd00::1]:53; may be repeated; need not be there yet",
    )
    parser.add_argument(
        "--allow",
        metavar="NETWORK",
        action="append",
        help="who may ask besides the device's peers and this machine, like 192.0.2.0/24; may be repeated; with --zone",
    )
    parser.add_argument("--user", metavar="USER", help=f"whom to run as when started by root ({config.DEFAULT_USER})")
    parser.add_argument(
        "--reader",
        metavar="SOCKET",
        type=Path,
        help="the Unix socket of a reader that systemd starts; else this starts one, which needs root",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.add_argument("--check", action="store_true", help="only say what is wrong with the configuration")
    return parser


def _check(options: argparse.Namespace) -> int:
    """Say all that is wrong with the configuration, and what is dangerous in it."""
    try:
        settings = _configuration(options)
    except WgsdError as error:
        _log.error("%s", error)
        return 2
    wrong = list(_faults(settings))
    for fault in wrong:
        _log.error("%s", fault)
    for danger in settings.dangers():
        _log.warning("%s", danger)
    if wrong:
        return 2
    zones = ", ".join(f"{zone.text} over {zone.device}" for zone in settings.zones)
    _log.info("%s: nothing is wrong with the configuration", zones)
    return 0


def _faults(settings: Config) -> Iterator[WgsdError]:
    """What is wrong around the configuration."""
    try:
        privileges.parse_user(settings.user)
    except WgsdError as error:
        yield error
    for key in settings.keys.values():
        try:
            Keyring.load([key])
        except WgsdError as error:
            yield error


def _configuration(options: argparse.Namespace) -> Config:
    """Raises ConfigError."""
    flags = {key: value for key in FLAGS if (value := getattr(options, key)) is not None}
    file: dict[str, object] = {}
    if options.config is not None:
        try:
            file = config.parse_toml(options.config.read_text(), str(options.config))
        except PermissionError as error:
            who = privileges.present()
            raise ConfigError(f"{options.config} cannot be read: let the user {who} read it") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{options.config} cannot be read: {getattr(error, 'strerror', 'it is not UTF-8')}"
            ) from error
    return config.parse(flags, file, str(options.config or config.FLAGS))


def _serve(
    options: argparse.Namespace,
    given: tuple[Config, Keyring],
    listeners: Sequence[Listener],
    command: Sequence[str],
    load: service.Load | None,
) -> None:
    """Open what only root may, give up what only root has, and serve. Raises WgsdError."""
    settings, keys = given
    user = privileges.parse_user(settings.user)
    serials = _serials(settings)
    statistics = None if settings.metrics is None else metrics.bind(settings.metrics)

    def run(connect: service.Connect) -> None:
        privileges.drop(user)
        sockets.allow(DESCRIPTORS)
        gc.freeze()
        gc.set_threshold(snapshot.GARBAGE)
        asyncio.run(service.run(settings, keys, service.Equipment(listeners, serials, connect, load, statistics)))

    if options.reader is not None:
        run(lambda: LastingLink.to(options.reader))
        return
    with _Reader(command, options, settings) as connection:
        run(lambda: Link.over(connection))


def _serials(settings: Config) -> Serials:
    """Raises ConfigError."""
    if settings.state is not None:
        return Serials.open(settings.state)
    directory = os.environ.get("STATE_DIRECTORY")
    return Serials.open(Path(directory, SERIALS)) if directory else Serials()


class _Reader:
    """The reader's process, for as long as the context lasts. Entering gives the socket to it."""

    def __init__(self, command: Sequence[str], options: argparse.Namespace, settings: Config) -> None:
        """Raises ReaderLost."""
        ours, theirs = socket.socketpair()
        devices = (word for zone in settings.zones for word in ("--device", zone.device))
        files = () if options.config is None else ("--config", str(options.config))
        with theirs:
            arguments = (*devices, *files, "--descriptor", str(theirs.fileno()), "--user", settings.user)
            try:
                self._process = subprocess.Popen(
                    (*command, *arguments),
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
            except OSError as error:
                ours.close()
                raise ReaderLost(f"the registry's reader, {command[0]}, cannot be started: {error.strerror}") from error
        self._connection = ours

    def __enter__(self) -> socket.socket:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        try:
            self._process.wait(READER_EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._end()

    def _end(self) -> None:
        try:
            self._process.kill()
        except PermissionError:
            return  # it is root still, so it has not begun, and ends when it does: nobody is there any more
        self._process.wait()


if __name__ == "__main__":
    sys.exit(main())
