# SPDX-License-Identifier: GPL-2.0-or-later
"""dbus-next 0.2.3 with its defects cured: one connection to one bus. Nothing else imports that library.

It knows nothing of match rules, names and objects. dbus-next finds the bus, authenticates and writes; the messages and
what is in them are our own (message.py, marshal.py). The library has had no release since 2021,
and this is what is wrong in it and would harm a daemon; each has its test in tests/integration/test_bus_backend.py:

* a full socket buffer (EAGAIN) ended the connection           -> _PatientSocket
* a hang-up during authentication froze the process for good   -> _Connection._auth_readline
* an error in reply to Hello was taken for our own name        -> _Connection._receive
* an unknown header field or a bad name ended the connection   -> message.py
* a name with a line feed at its end passed for one, and made the bus end the connection -> message.py
* a NUL in a text made the bus end the connection              -> marshal.py
* sockets stayed open after the end                            -> _Connection._finalize
* a blocking connect() in the constructor                      -> _Connection._setup_socket
* file descriptors that nobody wants piled up                  -> never negotiated, the kernel drops them
* what was sent after the end vanished, and calls hung         -> Link.send raises BusLost
* signatures were remembered without a limit                   -> marshal.py
* no import on Python 3.15, a warning on 3.13 and 3.14         -> _library
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Self
from urllib.parse import quote

from wgsd_nm.bus.marshal import Malformed, marshal
from wgsd_nm.bus.message import Flag, Kind, Message, Splitter, frame
from wgsd_nm.core.errors import BusLost

VERSION: Final = "0.2.3"
CONNECT_TIMEOUT: Final = 10.0
READ_SIZE: Final = 1 << 16  # some hundred small messages: the event loop gets its turn after that
MAX_UNSENT: Final = 1 << 24  # octets; with more than that waiting, the bus is given up
MAX_AUTH_LINE: Final = 4096

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def _library() -> Iterator[None]:
    """Surroundings in which dbus-next can be imported, on every Python and without its GLib half.

    It decorates with typing.no_type_check_decorator, deprecated in Python 3.13 and gone in 3.15, and it imports
    `gi` wherever that is installed.
    """
    name = "no_type_check_decorator"
    missing = object()
    before = getattr(typing, name, missing)
    setattr(typing, name, lambda decorator: decorator)
    sys.modules.setdefault("dbus_next.glib", types.ModuleType("dbus_next.glib"))
    try:
        yield
    finally:
        if before is missing:
            delattr(typing, name)
        else:
            setattr(typing, name, before)


with _library():
    from dbus_next.__version__ import __version__ as _version
    from dbus_next.aio.message_bus import MessageBus, _MessageWriter
    from dbus_next.auth import AuthExternal
    from dbus_next.errors import AuthError


def _assert_library() -> None:
    """Another version may have other insides, and we override and use these."""
    if _version != VERSION:
        raise ImportError(f"wgsd-nm needs dbus-next {VERSION} exactly, not {_version}: install dbus-next=={VERSION}")
    inside = {
        MessageBus: ("_setup_socket", "_auth_readline", "_authenticate", "_message_reader", "_finalize", "next_serial"),
        _MessageWriter: ("schedule_write", "write_callback"),
        AuthExternal: ("_authentication_start", "_receive_line"),
    }
    missing = [f"{cls.__name__}.{name}" for cls, names in inside.items() for name in names if not hasattr(cls, name)]
    if missing:
        raise ImportError(f"this dbus-next is not the released {VERSION}, it lacks {', '.join(missing)}: reinstall it")


_assert_library()


def default_address(*, system: bool) -> str:
    """Where the bus is, by its environment variable or else its standard path (D-Bus Specification; pam_systemd(8))."""
    if system:
        return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or "unix:path=/run/dbus/system_bus_socket"
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return os.environ.get("DBUS_SESSION_BUS_ADDRESS") or f"unix:path={quote(runtime)}/bus"


class _PatientSocket:
    """A socket whose send() takes nothing when the buffer is full: dbus-next then waits until it is writable."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.sent = 0

    def send(self, octets: memoryview) -> int:
        try:
            sent = self._sock.send(octets)
        except BlockingIOError:
            return 0
        self.sent += sent
        return sent


class _Connection(MessageBus):
    """The library's connection, from its constructor (within an event loop) to its end."""

    def __init__(self, address: str, on_message: Callable[[Message], None]) -> None:
        self._deliver = on_message
        self._splitter = Splitter()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        super().__init__(bus_address=address)
        self._writer.sock = self.patient = _PatientSocket(self._sock)
        self._queued = 0

    def _setup_socket(self) -> None:
        problem: OSError = ConnectionError("the address names no Unix socket")
        for transport, options in self._bus_address:
            name = options.get("path") or ("abstract" in options and "\0" + options["abstract"])
            if transport != "unix" or not name:
                continue
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                sock.connect(name)
            except OSError as error:
                sock.close()
                problem = error
            else:
                self._sock, self._stream, self._fd = sock, sock.makefile("rwb"), sock.fileno()
                return
        raise problem

    async def _auth_readline(self) -> str:
        line = b""
        while not line.endswith(b"\r\n"):
            octets = await self._loop.sock_recv(self._sock, MAX_AUTH_LINE)
            if not octets:
                raise ConnectionError("the bus hung up during authentication")
            line += octets
            if len(line) > MAX_AUTH_LINE:
                raise ConnectionError("the bus sent an endless line during authentication")
        return line[:-2].decode()

    def _message_reader(self) -> None:
        try:
            while not self._read_some():
                pass  # the rest of a long message need not wait for the event loop's next turn
        except BlockingIOError:
            pass
        except (OSError, EOFError, Malformed) as error:
            self._finalize(error)

    def _read_some(self) -> bool:
        """Whether that was enough: a message came, or the connection has ended."""
        octets = self._sock.recv(READ_SIZE)
        if not octets:
            raise EOFError("the bus closed the connection")
        came = False
        for message in self._splitter.feed(octets):
            came = True
            if isinstance(message, Malformed):
                _log.warning("Left out: %s", message)
            else:
                self._receive(message)
            if self._disconnected:
                break
        return came

    def _receive(self, message: Message) -> None:
        on_hello = self._method_return_handlers.pop(message.reply_serial, None)
        if on_hello is None:
            self._deliver(message)
        elif message.kind is Kind.REPLY:
            on_hello(types.SimpleNamespace(body=message.body()), None)
        else:
            on_hello(None, ConnectionError(f"the bus refused us: {message.error_name}"))

    def write(self, octets: bytes) -> None:
        """Queues it; the connection ends if the bus does not read."""
        if self._queued - self.patient.sent > MAX_UNSENT:
            self._finalize(ConnectionError("the bus does not read what it is sent"))
            raise BusLost("the message bus does not read what it is sent")
        self._queued += len(octets)
        self._enqueue(octets, None)

    def _enqueue(self, octets: bytes, sent: asyncio.Future[None] | None) -> None:
        """For the library's writer, past its own marshalling; the list is of file descriptors."""
        self._writer.messages.put_nowait((octets, [], sent))
        self._writer.schedule_write()

    async def drain(self) -> None:
        """Returns when all that was queued is sent, or the connection has ended."""
        sent: asyncio.Future[None] = self._loop.create_future()
        self._enqueue(b"", sent)
        try:
            await asyncio.wait([sent, self.ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not sent.cancel():
                sent.exception()  # looked at: the loss of the connection is told elsewhere

    def disconnect(self) -> None:
        self._user_disconnect = True
        self._finalize(None)

    def _finalize(self, err: Exception | None = None) -> None:
        if self._disconnected:
            return
        super()._finalize(err)  # type: ignore[no-untyped-call]  # the library's type information is partial
        if not self._disconnect_future.cancelled():
            self._disconnect_future.exception()  # looked at, so that asyncio does not complain
        for closable in (self._stream, self._sock):
            with contextlib.suppress(OSError):
                closable.close()
        self.ended.set_result(None)


class Link:
    """One connection to one bus, from its beginning to its end; never used again after that.

    Every message goes to `on_message`, in the order in which the bus sent them; the library answers none itself.
    """

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, address: str, on_message: Callable[[Message], None]) -> Self:
        """Connects, authenticates and says Hello, within CONNECT_TIMEOUT. Raises BusLost."""
        try:
            connection = _Connection(address, on_message)
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    await connection.connect()
            except BaseException:
                connection.disconnect()
                raise
        except TimeoutError as error:
            raise BusLost(f"the message bus at {address} did not answer within {CONNECT_TIMEOUT:g} s") from error
        except (OSError, EOFError, ValueError, Malformed, AuthError) as error:
            raise BusLost(f"the message bus at {address} cannot be reached: {error}") from error
        return cls(connection)

    @property
    def name(self) -> str:
        """Our unique name on the bus."""
        return str(self._connection.unique_name)

    @property
    def ended(self) -> asyncio.Future[None]:
        """Done when the connection is over, for whatever reason."""
        return self._connection.ended

    def send(
        self,
        kind: Kind,
        signature: str = "",
        arguments: Sequence[object] = (),
        *,
        flags: Flag = Flag.NONE,
        path: str | None = None,
        interface: str | None = None,
        member: str | None = None,
        error_name: str | None = None,
        reply_serial: int | None = None,
        destination: str | None = None,
    ) -> int:
        """Queues a message and returns its serial. Raises InvalidValue for what D-Bus cannot carry, and BusLost."""
        if self.ended.done():
            raise BusLost("the connection to the message bus is down")
        body = marshal(signature, arguments)
        serial: int = self._connection.next_serial()
        octets = frame(
            kind,
            flags,
            serial,
            signature=signature,
            body=body,
            path=path,
            interface=interface,
            member=member,
            error_name=error_name,
            reply_serial=reply_serial,
            destination=destination,
        )
        self._connection.write(octets)
        return serial

    async def drain(self) -> None:
        """Returns when all that was queued is sent, or the connection has ended."""
        if not self.ended.done():
            await self._connection.drain()

    def close(self) -> None:
        self._connection.disconnect()
