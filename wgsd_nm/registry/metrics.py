# SPDX-License-Identifier: GPL-2.0-or-later
"""A Unix socket that tells a text over HTTP/1.0: `curl --unix-socket PATH http://localhost/metrics`.

Knows nothing of what the text says.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

from wgsd_nm.core.errors import AddressUnusable

MAX_REQUEST = 8192
"""Octets of a request's head."""
MAX_CLIENTS = 8
TIMEOUT = 5.0
"""Seconds from a connection to its end."""
MODE = 0o660
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def bind(path: Path) -> socket.socket:
    """A listening socket, in the place of one that nobody listens at any more. Raises AddressUnusable."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        bound.bind(str(path))
        path.chmod(MODE)
        bound.listen(MAX_CLIENTS)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        if isinstance(error, FileNotFoundError):
            reason = "make its directory first"
        raise AddressUnusable(f"the metrics' socket cannot be made at {path}: {reason}") from error
    return bound


def _clear(path: Path) -> None:
    """Raises OSError where there is anything else than a deserted socket."""
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            except BlockingIOError:
                pass  # somebody is there, and busy


class Metrics:
    """Serves what `render` returns at the time of each request."""

    def __init__(self, render: Callable[[], str]) -> None:
        self._render = render
        self._server: asyncio.Server | None = None
        self._path = Path()
        self._clients: dict[asyncio.StreamWriter, None] = {}

    def __len__(self) -> int:
        """How many clients there are."""
        return len(self._clients)

    async def serve(self, bound: socket.socket) -> None:
        """Begin to answer. Takes the socket over."""
        self._path = Path(bound.getsockname())
        # Not start_unix_server(): from Python 3.13 on it complains of a path that it may not remove.
        self._server = await asyncio.start_server(self._converse, sock=bound, limit=MAX_REQUEST)

    def close(self) -> None:
        """Stop answering. The path is removed where this process may."""
        if self._server is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self._server.close()
        for writer in self._clients:
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= MAX_CLIENTS:
            oldest = next(iter(self._clients))
            del self._clients[oldest]
            oldest.transport.abort()
        self._clients[writer] = None
        try:
            async with asyncio.timeout(TIMEOUT):
                writer.write(self._respond(await _request(reader)))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # the client has left, is too slow, or sends what is no request
        except asyncio.CancelledError:
            pass  # the end of the event loop, of which StreamReaderProtocol would log a traceback
        finally:
            self._clients.pop(writer, None)
            writer.transport.abort()

    def _respond(self, request: bytes) -> bytes:
        """The response to a request's first line (RFC 1945)."""
        match request.split():
            case [b"GET" | b"HEAD" as method, path, *_] if path.partition(b"?")[0] in (b"/", b"/metrics"):
                return _response("200 OK", CONTENT_TYPE, self._render(), with_body=method == b"GET")
            case [b"GET" | b"HEAD", _, *_]:
                return _response("404 Not Found", "text/plain", "Expected GET /metrics.\n")
        return _response("405 Method Not Allowed", "text/plain", "Expected GET /metrics.\n", "Allow: GET, HEAD\r\n")


async def _request(reader: asyncio.StreamReader) -> bytes:
    """A request's first line, when its head is there. Raises IncompleteReadError, LimitOverrunError."""
    first = line = await reader.readuntil(b"\n")
    left = MAX_REQUEST
    while line.strip():
        line = await reader.readuntil(b"\n")
        left -= len(line)
        if left < 0:
            raise asyncio.LimitOverrunError("the head is too long", 0)
    return first


def _response(status: str, kind: str, text: str, headers: str = "", *, with_body: bool = True) -> bytes:
    body = text.encode()
    head = f"HTTP/1.0 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + (body if with_body else b"")
