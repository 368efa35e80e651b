# SPDX-License-Identifier: GPL-2.0-or-later
"""A bus that survives the loss of its connection: calls, subscriptions, names, exported objects.

It knows nothing of what is said on the bus. One event loop, one thread.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, assert_never

from wgsd_nm.bus import failure, names
from wgsd_nm.bus.backend import Link, default_address
from wgsd_nm.bus.export import Caller, Handler, Interface, Method, Objects, Property, Signal, signature
from wgsd_nm.bus.marshal import Malformed, Variant
from wgsd_nm.bus.matching import Match, owner_changes
from wgsd_nm.bus.message import Flag, Kind, Message
from wgsd_nm.bus.owners import Owners
from wgsd_nm.bus.serving import Server
from wgsd_nm.core.errors import BusError, BusLost, CallFailed, CallTimedOut

__all__ = ["Bus", "Caller", "Handler", "Interface", "Method", "Property", "Signal"]

CALL_TIMEOUT: Final = 25.0
CLOSE_TIMEOUT: Final = 1.0
RETRY_FIRST: Final = 0.1
RETRY_LAST: Final = 30.0
HELD: Final = 1.0
"""Seconds after which a connection counts as made: the retries begin anew."""
JITTER: Final = 0.25

_DO_NOT_QUEUE: Final = 4
_PRIMARY_OWNER: Final = 1
_ALREADY_OWNER: Final = 4

_OWNER_CHANGED: Final = (names.DBUS, names.DBUS, "NameOwnerChanged")

_Subscription = tuple[Match, Callable[[str, list[Any]], None]]

_log = logging.getLogger(__name__)


class Bus:
    """One bus, the system's or the session's. A lost connection fails what is pending with BusLost; `keep()` makes it
    again, with every subscription, watched owner and name that was asked for.

    Replies and signals reach their receivers in the order in which the bus sent them: who awaits `call()` directly
    sees the reply before the handlers see any signal that came after it.
    """

    def __init__(self, *, system: bool, address: str | None = None) -> None:
        self._system = system
        self._address = address
        self._link: Link | None = None
        self._pending: dict[int, Callable[[Message | None], None]] = {}
        self._subscriptions: dict[tuple[str, str], list[_Subscription]] = {}
        self._owners = Owners(self._tell)
        self._names: list[str] = []
        self._objects = Objects()
        self._server = Server(self._objects)
        self._changes: dict[tuple[str, str], dict[str, None]] = {}

    @property
    def connected(self) -> bool:
        return self._link is not None and not self._link.ended.done()

    @property
    def calls_in_progress(self) -> int:
        """Handlers of exported methods that are at work."""
        return self._server.calls_in_progress

    # The connection

    async def connect(self) -> None:
        """Once. Adds all match rules, and takes the names last.

        Raises BusLost, CallTimedOut where the bus hangs, and BusError where another process has taken a name.
        """
        link = await Link.open(self._address or default_address(system=self._system), self._receive)
        self._link = link
        link.ended.add_done_callback(lambda _: self._on_lost(link))
        try:
            await asyncio.gather(
                *(request for name in self._owners for request in self._track(name)),
                *(self._ask("AddMatch", "s", match.rule) for some in self._subscriptions.values() for match, _ in some),
            )
            for name in self._names:
                await self._take_name(name)
        except BaseException:
            link.close()
            self._on_lost(link)
            raise

    async def keep(self, on_connected: Callable[[bool], None]) -> None:
        """For ever: connect, say so, wait for the loss, say so, again. End it before `close()`.

        The first retry comes after 0.1 s, each later one after twice that up to 30 s, until a connection holds.
        """
        loop = asyncio.get_running_loop()
        delay = RETRY_FIRST
        while True:
            try:
                if not self.connected:
                    await self.connect()
            except BusError as error:
                if delay == RETRY_FIRST:
                    _log.warning("No connection to %s, trying on: %s", self._title, error)
            else:
                since = loop.time()
                on_connected(True)
                await self.lost()
                on_connected(False)
                _log.warning("The connection to %s is lost, connecting again", self._title)
                if loop.time() - since > HELD:
                    delay = RETRY_FIRST
            await asyncio.sleep(delay * random.uniform(1 - JITTER, 1 + JITTER))
            delay = min(2 * delay, RETRY_LAST)

    async def lost(self) -> None:
        """Returns when the present connection ends; at once if there is none."""
        if self._link is not None:
            await asyncio.wait([self._link.ended])

    async def idle(self) -> None:
        """Returns when no handler of an exported method is at work and every reply is sent, or the connection ends."""
        await self._server.idle()
        await self.drain()

    async def drain(self) -> None:
        """Returns when what was queued by now is sent, or the connection has ended."""
        if self._link is not None:
            await self._link.drain()

    async def close(self) -> None:
        """Ends handlers at work, sends what is queued within CLOSE_TIMEOUT, and ends the connection."""
        await self._server.cancel()
        link = self._link
        if link is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await link.drain()
        except TimeoutError:
            _log.warning("%s does not read: the last messages to it are lost", self._title.capitalize())
        link.close()
        self._on_lost(link)

    @property
    def _title(self) -> str:
        return "the system bus" if self._system else "the session bus"

    def _live(self) -> Link:
        if self._link is None:
            raise BusLost(f"there is no connection to {self._title}")
        return self._link

    def _on_lost(self, link: Link) -> None:
        if self._link is not link:
            return
        self._link = None
        pending, self._pending = self._pending, {}
        for answer in pending.values():
            answer(None)
        self._changes.clear()
        self._owners.lose()

    # Calls to others

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        *arguments: object,
        timeout: float = CALL_TIMEOUT,  # noqa: ASYNC109  # every call has one, and this is cheaper than asyncio.timeout
        interactive: bool = False,
        autostart: bool = True,
    ) -> list[Any]:
        """The reply's values, plain: each variant replaced by what is in it, structs as lists. `timeout` in seconds.

        `interactive` allows the other side to ask our user for a password, `autostart` the bus to start its service.
        Raises InvalidValue for arguments that D-Bus cannot carry, CallTimedOut, BusLost, ServiceUnavailable,
        AccessDenied, InteractionRequired, InvalidArguments, and CallFailed with the D-Bus error name for any other.
        """
        flags = (Flag.INTERACTIVE if interactive else Flag.NONE) | (Flag.NONE if autostart else Flag.NO_AUTOSTART)
        return await self._request(
            destination, path, interface, member, signature, arguments, timeout=timeout, flags=flags
        )

    async def get_all(
        self,
        destination: str,
        path: str,
        interface: str,
        *,
        timeout: float = CALL_TIMEOUT,  # noqa: ASYNC109  # as in call()
    ) -> dict[str, Any]:
        """All properties of an interface, plain. Raises as `call` does."""
        (values,) = await self.call(destination, path, names.PROPERTIES, "GetAll", "s", interface, timeout=timeout)
        return dict(values)

    async def uid_of(self, caller: Caller) -> int:
        """The user id of a caller's process, as the bus knows it. Raises as `call` does."""
        (uid,) = await self._ask("GetConnectionUnixUser", "s", caller.name)
        return int(uid)

    def _ask(self, member: str, signature: str, *arguments: object) -> asyncio.Future[list[Any]]:
        """A call to the bus itself."""
        return self._request(names.DBUS, names.DBUS_PATH, names.DBUS, member, signature, arguments)

    def _request(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        arguments: Sequence[object],
        *,
        timeout: float = CALL_TIMEOUT,
        flags: Flag = Flag.NONE,
        apply: Callable[[Message], None] | None = None,
    ) -> asyncio.Future[list[Any]]:
        """Sends a call now. With `apply`, any reply is handed to that in the very order of what the bus sends, before
        any later signal is looked at, and the future's result is empty."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()
        pending = self._pending

        def answer(message: Message | None) -> None:
            if future.done():
                return
            try:
                if message is None:
                    raise BusLost(f"the connection to {self._title} was lost before {member} was answered")
                if apply is not None:
                    apply(message)
                    future.set_result([])
                elif message.kind is Kind.ERROR:
                    raise failure.heard(message)
                else:
                    future.set_result(message.body())
            except (Malformed, LookupError) as error:
                future.set_exception(CallFailed(names.ERROR_FAILED, f"{destination} answered {member} with {error}"))
            except BusError as error:
                future.set_exception(error)

        def expire() -> None:
            if not future.done():
                future.set_exception(CallTimedOut(f"{destination} did not answer {member} within {timeout:g} s"))

        def settle(_: object) -> None:
            timer.cancel()
            pending.pop(serial, None)

        serial = self._live().send(
            Kind.CALL,
            signature,
            arguments,
            flags=flags,
            destination=destination,
            path=path,
            interface=interface,
            member=member,
        )
        pending[serial] = answer
        timer = loop.call_later(timeout, expire)
        future.add_done_callback(settle)
        return future

    # Signals and owners

    async def subscribe(
        self,
        handler: Callable[[str, list[Any]], None],
        *,
        sender: str,
        interface: str,
        member: str,
        path: str | None = None,
        arg0: str | None = None,
        arg0path: str | None = None,
    ) -> None:
        """`handler(path, values)` for each such signal, from now on and on every later connection.

        Only signals of the process that owns the bus name `sender` count; anybody can send us others. Raises BusError
        if the bus refuses the match rule. Without a connection it takes effect with the next one.
        """
        match = Match(sender, interface, member, path, arg0, arg0path)
        others = self._subscriptions.setdefault((interface, member), [])
        others.append((match, handler))
        try:
            await self._follow(sender, [match.rule])
        except BusError:
            others.remove((match, handler))
            raise

    async def watch_owner(self, name: str, handler: Callable[[str], None]) -> None:
        """`handler(unique name, or "" for none)`: once on each connection, on each change, and "" with the connection's
        loss if there was one. Raises as `subscribe` does."""
        self._owners.watch(name, handler)
        try:
            await self._follow(name, [])
        except BusError:
            self._owners.unwatch(name, handler)
            raise

    async def _follow(self, name: str, rules: Iterable[str]) -> None:
        """Keeps track of the owner of that name, and adds match rules; if connected, now."""
        known = name in self._owners
        self._owners.follow(name)
        if not self.connected:
            return
        try:
            await asyncio.gather(
                *(() if known else self._track(name)), *(self._ask("AddMatch", "s", rule) for rule in rules)
            )
        except BusLost:
            pass  # the next connection takes care of it
        except BusError:
            if not known:
                self._owners.leave(name)
            raise

    def _track(self, name: str) -> tuple[asyncio.Future[list[Any]], ...]:
        """Asks the bus for the owner of a name. The rule first, so that no change goes unseen."""

        def apply(message: Message) -> None:
            self._owners.learn(name, str(message.body()[0]) if message.kind is Kind.REPLY else "")

        add = self._ask("AddMatch", "s", owner_changes(name).rule)
        get = self._request(names.DBUS, names.DBUS_PATH, names.DBUS, "GetNameOwner", "s", (name,), apply=apply)
        return add, get

    def _on_signal(self, message: Message) -> None:
        wanted = [
            (match, handler)
            for match, handler in self._subscriptions.get((message.interface, message.member), ())
            if self._owners.sends_as(message.sender, match.sender)
        ]
        owner_changed = (message.sender, message.interface, message.member) == _OWNER_CHANGED
        if not wanted and not owner_changed:
            return
        body = message.body()
        if owner_changed:
            name, _, owner = body
            self._owners.learn(name, owner)
        for match, handler in wanted:
            if match.fits(message.path, body):
                self._tell(handler, message.path, body)

    def _tell(self, handler: Callable[..., None], *arguments: Any) -> None:
        """In its turn: after whoever waits for a reply that came before."""
        asyncio.get_running_loop().call_soon(_safely, handler, *arguments)

    # Names of ours

    async def request_name(self, name: str) -> None:
        """Takes a bus name, here and on every later connection. Raises BusError if another process owns it."""
        if self.connected:
            await self._take_name(name)
        if name not in self._names:
            self._names.append(name)

    async def release_name(self, name: str) -> None:
        """Gives a bus name back: calls to it do not reach us any more. Raises as `call` does."""
        self._names.remove(name)
        if self.connected:
            await self._ask("ReleaseName", "s", name)

    async def _take_name(self, name: str) -> None:
        (result,) = await self._ask("RequestName", "su", name, _DO_NOT_QUEUE)
        if result not in (_PRIMARY_OWNER, _ALREADY_OWNER):
            raise BusError(f"another process owns the bus name {name} on {self._title}: stop it first")

    # Objects of ours

    def export(self, path: str, interface: Interface) -> None:
        """Offers an interface at that path, here and on every later connection."""
        self._objects.add(path, interface)

    def emit(self, path: str, interface: str, member: str, *arguments: object) -> None:
        """Sends a signal of an exported interface; without a connection, to nobody. Raises InvalidValue for values that
        are not the signal's."""
        signal = self._objects.interface(path, interface).signals[member]
        self._send_signal(path, interface, member, signature(signal.arguments), arguments)

    def changed(self, path: str, interface: str, *properties: str) -> None:
        """Announces new values. All that changes in one turn of the event loop goes in one PropertiesChanged, which
        carries the values of the end of that turn."""
        if not self.connected:
            return
        if not self._changes:
            asyncio.get_running_loop().call_soon(self._send_changes)
        self._changes.setdefault((path, interface), {}).update(dict.fromkeys(properties))

    def _send_changes(self) -> None:
        changes, self._changes = self._changes, {}
        for (path, interface), properties in changes.items():
            try:
                values = {name: self._objects.value(path, interface, name) for name in properties}
                self._send_changed(path, interface, values, [])
            except Exception:
                _log.exception("The new values of %s cannot be sent", interface)
                self._send_changed(path, interface, {}, list(properties))

    def _send_changed(self, path: str, interface: str, values: dict[str, Variant], invalid: list[str]) -> None:
        self._send_signal(path, names.PROPERTIES, "PropertiesChanged", "sa{sv}as", (interface, values, invalid))

    def _send_signal(self, path: str, interface: str, member: str, signature: str, arguments: Sequence[object]) -> None:
        if self._link is None:
            return
        try:
            self._link.send(Kind.SIGNAL, signature, arguments, path=path, interface=interface, member=member)
        except BusLost:
            pass  # nobody can hear it

    # Messages from the bus

    def _receive(self, message: Message) -> None:
        try:
            match message.kind:
                case Kind.REPLY | Kind.ERROR:
                    answer = self._pending.pop(message.reply_serial, None)
                    if answer is not None:
                        answer(message)
                case Kind.SIGNAL:
                    self._on_signal(message)
                case Kind.CALL:
                    if self._link is not None:
                        self._server.take(self._link, message)
                case _:
                    assert_never(message.kind)
        except Malformed as error:
            _log.warning("Left out a message of %s: %s", message.sender, error)
        except Exception:
            _log.exception("A message of %s could not be handled", message.sender)


def _safely(handler: Callable[..., None], *arguments: Any) -> None:
    try:
        handler(*arguments)
    except Exception:
        _log.exception("A handler of signals failed")
