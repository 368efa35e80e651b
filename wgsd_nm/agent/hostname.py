# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds the addresses of a host name beside every tunnel. It knows nothing of what the host is.

A name that leads to the far end of a full tunnel cannot be asked for through that tunnel, so each uplink's own name
servers are asked, on sockets bound to its device. Only where they know nothing is the system's resolver asked, which
goes whatever way it goes.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final, Literal

from wgsd_nm.agent.exchange import NameServer
from wgsd_nm.agent.resolver import host_addresses
from wgsd_nm.core.errors import InvalidValue, LookupFailed, NegativeAnswer, NoAnswer, NoSuchPeer
from wgsd_nm.core.model import Endpoint, IPAddress, Server, Uplink, shown, unmapped

PORT: Final = 53
LIMIT: Final = 5.0
"""Seconds for all."""
UPLINKS_LIMIT: Final = 3.0
"""Seconds of them for the name servers of the uplinks."""
GRACE: Final = 0.5
"""Seconds for the other answers, when a first one has come."""
MAX_SERVERS: Final = 3
"""Name servers of an uplink that are asked (MAXNS of resolv.conf(5))."""

MAX_THREADS: Final = 16
"""Questions that the system's resolver may owe an answer at a time; each holds a thread for as long."""


async def resolve(host: str, port: int, uplinks: tuple[Uplink, ...]) -> tuple[Endpoint, ...]:
    """The host's addresses with this port: the first uplink's before the second's, IPv6 before IPv4, each once.

    Raises LookupFailed's children: NoSuchPeer where the host has no address, NoAnswer where nobody told in time.
    """
    try:
        return (Endpoint(unmapped(ip_address(host)), port),)
    except ValueError:
        pass
    try:
        async with asyncio.timeout(LIMIT):
            found = await _ask_uplinks(host, uplinks)
            addresses = found.addresses or await _ask_system(host, found.denied)
    except InvalidValue as error:
        raise NoSuchPeer(str(error)) from error
    except TimeoutError:
        raise NoAnswer(f"no name server told the address of {shown(host)} within {LIMIT:g} s") from None
    return tuple(dict.fromkeys(Endpoint(unmapped(address), port) for address in addresses))


_VERSIONS: Final[tuple[Literal[6, 4], ...]] = (6, 4)


@dataclass(slots=True)
class _Found:
    """What became of the questions."""

    addresses: list[IPAddress] = field(default_factory=list)
    denied: bool = False
    """Whether a name server said that there is no such address."""


async def _ask_uplinks(host: str, uplinks: tuple[Uplink, ...]) -> _Found:
    """Ask all at once. Raises InvalidValue for what is no host name."""
    questions = [
        asyncio.create_task(_ask(host, server, version)) for server in _servers(uplinks) for version in _VERSIONS
    ]
    try:
        await _enough(questions)
    finally:
        for question in questions:
            question.cancel()
        results = await asyncio.gather(*questions, return_exceptions=True)
    found = _Found()
    for result in results:
        match result:
            case tuple():
                found.addresses.extend(result)
            case NegativeAnswer():
                found.denied = True
            case LookupFailed() | asyncio.CancelledError():
                pass
            case BaseException():
                raise result
    return found


async def _enough(questions: list[asyncio.Task[tuple[IPAddress, ...]]]) -> None:
    """Returns when all have ended, or GRACE after the first answer with an address, or when the time is up."""
    loop = asyncio.get_running_loop()
    until = loop.time() + UPLINKS_LIMIT
    waiting = set(questions)
    while waiting and (left := until - loop.time()) > 0:
        done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if any(question.exception() is None for question in done):
            until = min(until, loop.time() + GRACE)


async def _ask(host: str, server: Server, version: Literal[4, 6]) -> tuple[IPAddress, ...]:
    with closing(NameServer(server)) as name_server:
        return await host_addresses(name_server, host, version)


def _servers(uplinks: tuple[Uplink, ...]) -> Iterator[Server]:
    for uplink in uplinks:
        for address in uplink.name_servers[:MAX_SERVERS]:
            yield Server(address, PORT, uplink.interface)


async def _ask_system(host: str, denied: bool) -> list[IPAddress]:
    """What the system's resolver says, which also knows /etc/hosts. Raises LookupFailed's children."""
    try:
        found = await _getaddrinfo(host)
    except ValueError as error:  # of these is UnicodeError
        raise NoSuchPeer(f"{shown(host)} is not a host name") from error
    except OSError as error:  # most often socket.gaierror; getaddrinfo(3) passes on others, EAI_SYSTEM
        if denied or (isinstance(error, socket.gaierror) and error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)):
            raise NoSuchPeer(f"the name servers know no address of {shown(host)}") from error
        raise NoAnswer(f"no name server told the address of {shown(host)}: {error.strerror or error}") from error
    return [ip_address(address[0]) for *_, address in found]


_threads: Final = threading.BoundedSemaphore(MAX_THREADS)


async def _getaddrinfo(host: str) -> list[Any]:
    """socket.getaddrinfo in a thread that nothing waits for, neither the end of the loop nor that of the process.

    Raises as it does, and NoAnswer where MAX_THREADS such questions are still unanswered.
    """
    if not _threads.acquire(blocking=False):
        raise NoAnswer(f"{shown(host)} is not asked for: the system's resolver has {MAX_THREADS} questions unanswered")
    answer: Future[list[Any]] = Future()
    answer.set_running_or_notify_cancel()  # from now on it cannot be cancelled: the thread sets it in any case

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
        except Exception as error:
            _threads.release()
            answer.set_exception(error)
        else:
            _threads.release()
            answer.set_result(found)

    try:
        threading.Thread(target=ask, name="getaddrinfo", daemon=True).start()
    except RuntimeError as error:  # the user may not have more threads
        _threads.release()
        raise NoAnswer(f"the system's resolver cannot be asked for {shown(host)}: {error}") from error
    return await asyncio.wrap_future(answer)
