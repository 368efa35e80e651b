# SPDX-License-Identifier: GPL-2.0-or-later
"""`wgsd-nm-registry`: binds the DNS sockets, starts the reader, and serves without privileges. Knows nothing of DNS.

Started as root it is two processes: the reader keeps CAP_NET_ADMIN, the server keeps nothing. Each ends with the other.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from wgsd_nm.core.errors import ConfigError, DeviceError, NotPermitted, WgsdError
from wgsd_nm.registry import config, privileges
from wgsd_nm.registry.config import Config
from wgsd_nm.registry.content import Content
from wgsd_nm.registry.link import Link
from wgsd_nm.registry.responder import Responder
from wgsd_nm.registry.server import Listener, Server, listen
from wgsd_nm.registry.zone import Zone

PROGRAM = "wgsd-nm-registry"
READER = (sys.executable, "-P", "-m", "wgsd_nm.registry.reader")
"""-P: the directory that root happens to be in is no place to import from."""
READER_EXIT_TIMEOUT = 2.0
"""Seconds that the reader has to end by itself when the server has left."""

_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None, reader: Sequence[str] = READER) -> int:
    """The exit status: 0 ended by a signal, 1 cannot serve, 2 told wrongly. `reader` is the command that starts one."""
    logging.basicConfig(level=logging.INFO, format=f"{PROGRAM}: %(message)s", stream=sys.stderr)
    options = _parser().parse_args(argv)
    try:
        settings = _configuration(options)
        user = privileges.parse_user(settings.user)
    except WgsdError as error:
        _log.error("%s", error)
        return 2
    if options.check:
        _log.info(
            "%s, %s and %s: nothing is wrong with the configuration", settings.device, settings.zone, user.pw_name
        )
        return 0
    try:
        listeners = listen(settings.listen)
        with _Reader(reader, settings) as connection:
            _drop_privileges(user)
            asyncio.run(_serve(settings, listeners, connection))
    except WgsdError as error:
        _log.error("%s", error)
        return 1
    return 0


def _drop_privileges(user: pwd.struct_passwd) -> None:
    try:
        privileges.drop(user)
    except OSError as error:
        raise NotPermitted(f"cannot become an unprivileged process: {error.strerror}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Answer DNS-SD questions (RFC 6763) about the peers of a WireGuard device, as wgsd does.",
        epilog=f"The file's keys are {', '.join(config.KEYS)}. A flag goes before what the file says.",
    )
    parser.add_argument("--device", metavar="DEVICE", help="the WireGuard device, like wg0")
    parser.add_argument("--zone", metavar="ZONE", help="the zone of the peers' names, like wg.example.com")
    parser.add_argument(
        "--listen",
        metavar="ADDRESS[:PORT]",
        action="append",
        help="where to answer, like 10.0.0.1 or [fd00::1]:53; may be repeated; need not be there yet",
    )
    parser.add_argument("--user", metavar="USER", help=f"whom to run as when started by root ({config.DEFAULT_USER})")
    parser.add_argument("--config", metavar="FILE", type=Path, help="a TOML file with the same keys")
    parser.add_argument("--check", action="store_true", help="only say whether the configuration is right")
    return parser


def _configuration(options: argparse.Namespace) -> Config:
    """Raises ConfigError."""
    flags = {key: value for key in config.KEYS if (value := getattr(options, key)) is not None}
    file: dict[str, object] = {}
    if options.config is not None:
        try:
            file = config.parse_toml(options.config.read_text(), str(options.config))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{options.config} cannot be read: {getattr(error, 'strerror', 'it is not UTF-8')}"
            ) from error
    return config.parse(flags, file, str(options.config or config.FLAGS))


class _Reader:
    """The reader's process, for as long as the context lasts. Entering gives the socket to it."""

    def __init__(self, command: Sequence[str], settings: Config) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = ("--device", settings.device, "--descriptor", str(theirs.fileno()), "--user", settings.user)
            self._process = subprocess.Popen(
                (*command, *arguments), pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        self._connection = ours

    def __enter__(self) -> socket.socket:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        try:
            self._process.wait(READER_EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


async def _serve(settings: Config, listeners: Sequence[Listener], connection: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT. Raises NotPermitted, ReaderLost."""
    loop = asyncio.get_running_loop()
    signalled = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled.set)
    link = await Link.over(connection)
    try:
        await _try(link)
        zone = Zone(settings.zone, addresses=settings.addresses)
        server = Server(Responder(zone), Content(zone, link.fetch))
        await server.serve(listeners)
        where = ", ".join(str(listener.address) for listener in listeners)
        _log.info("answering for %s with the peers of %s at %s", settings.zone, settings.device, where)
        ended = loop.create_task(signalled.wait())
        await asyncio.wait((ended, link.lost), return_when=asyncio.FIRST_COMPLETED)
        server.close()
        if not ended.done():
            ended.cancel()
            raise link.lost.result()
    finally:
        link.close()


async def _try(link: Link) -> None:
    """Read the device once, so that what cannot come right by itself is said at once.

    Raises NotPermitted, ReaderLost.
    """
    try:
        await link.fetch()
    except NotPermitted:
        raise
    except DeviceError as error:
        _log.warning("answering SERVFAIL until this ends: %s", error)


if __name__ == "__main__":
    sys.exit(main())
