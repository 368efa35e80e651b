# SPDX-License-Identifier: GPL-2.0-or-later
"""Carries events to the controller and its actions out. It decides nothing."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import count
from math import inf
from typing import Any, Final, assert_never

from wgsd_nm.agent import hostname, statefile
from wgsd_nm.agent.helper import HelperClient
from wgsd_nm.agent.probe import probe
from wgsd_nm.agent.pushsession import PushSessions
from wgsd_nm.agent.resolver import Resolver
from wgsd_nm.core.controller import advance, due
from wgsd_nm.core.errors import LookupFailed, NoAnswer, RegistryUnreachable, ServiceUnavailable, WgsdError
from wgsd_nm.core.events import (
    Action,
    Announce,
    EndpointsSet,
    Event,
    Follow,
    ForgetServers,
    HostResolved,
    LookUp,
    LookupsAnswered,
    NetworkSeen,
    PeersRead,
    Probe,
    ReadFailed,
    ReadPeers,
    RefreshRequested,
    Remember,
    Reply,
    Resolve,
    SetEndpoints,
    SetFailed,
    TimePassed,
)
from wgsd_nm.core.memory import Memory
from wgsd_nm.core.model import Advertisement, Endpoint, Network, PublicKey, Server
from wgsd_nm.core.watch import AgentWatch

_log = logging.getLogger(__name__)

FIRST_NETWORK: Final = 5.0
"""Seconds that NetworkManager gets, after our start, to tell which tunnels there are."""

Answers = list[tuple[PublicKey, Advertisement | LookupFailed]]


class Loop:
    """The agent's state and its one way to change: `handle(event)`, from within the running event loop."""

    def __init__(
        self,
        helper: HelperClient,
        resolver: Resolver,
        on_change: Callable[[], None],
        on_announce: Callable[[Announce], None],
        memory: Memory | None = None,
        sessions: Callable[[Callable[[Event], None]], PushSessions] = PushSessions,
    ) -> None:
        """`memory` is what is known from former runs."""
        self.watch = AgentWatch(memory=memory or Memory())
        self.known = asyncio.Event()
        """Set when the network has been seen, and the peers of the tunnels that it has have been read."""
        self._helper = helper
        self._resolver = resolver
        self._sessions = sessions(self.handle)
        self._on_change = on_change
        self._on_announce = on_announce
        self._tasks: set[asyncio.Task[None]] = set()
        self._lookups: set[asyncio.Task[None]] = set()
        self._saves: set[asyncio.Task[None]] = set()
        self._answers: dict[tuple[str, str], Answers] = {}
        self._round = 0
        """So often servers were forgotten: what was asked for before that is of no interest any more."""
        self._replies: dict[int, asyncio.Future[None]] = {}
        self._tokens = count(1)
        self._network_known = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @staticmethod
    def now() -> float:
        """The controller's clock, in seconds."""
        return asyncio.get_running_loop().time()

    def handle(self, event: Event) -> None:
        if isinstance(event, NetworkSeen):
            self._network_known.set()
        self.watch, actions = advance(self.watch, event, self.now(), random.random())
        if _log.isEnabledFor(logging.DEBUG):
            _tell(event, actions)
        for action in actions:
            self._perform(action)
        self._set_timer()
        self._on_change()
        if self._network_known.is_set() and all(each.reading_since is None for each in self.watch.tunnels.values()):
            self.known.set()

    async def refresh(self, interface: str = "") -> None:
        """Look all peers up now, of one tunnel or of all; return when the endpoints are set. Raises WgsdError.

        A caller whose very call has started the agent waits until it is known which tunnels there are.
        """
        try:
            async with asyncio.timeout(FIRST_NETWORK):
                await self._network_known.wait()
        except TimeoutError:
            raise ServiceUnavailable("NetworkManager has not told yet which tunnels there are") from None
        token = next(self._tokens)
        reply = self._replies[token] = asyncio.get_running_loop().create_future()
        try:
            self.handle(RefreshRequested(token, interface))
            await reply
        finally:
            del self._replies[token]

    async def close(self) -> None:
        """End everything that is under way."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = self._tasks | self._lookups
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._saves, return_exceptions=True)
        self._resolver.close()
        await self._sessions.close()

    def _perform(self, action: Action) -> None:
        match action:
            case ReadPeers(interface):
                self._spawn(self._tasks, self._read(interface))
            case LookUp(interface, servers, zone, keys):
                for server in servers:
                    self._spawn(self._lookups, self._look_up(interface, server, zone, keys))
            case Resolve():
                self._spawn(self._lookups, self._resolve(action))
            case SetEndpoints():
                self._spawn(self._tasks, self._set(action))
            case Probe(interface, addresses):
                probe(interface, addresses)
            case ForgetServers():
                self._round += 1
                for task in self._lookups:
                    task.cancel()
                self._answers.clear()
                self._resolver.forget()
                self._sessions.network_changed()
            case Follow():
                self._sessions.follow(action)
            case Remember(memory):
                self._spawn(self._saves, statefile.save(memory))
            case Announce():
                self._on_announce(action)
            case Reply(token, error):
                self._reply(token, error)
            case _:
                assert_never(action)

    async def _read(self, interface: str) -> None:
        try:
            peers = await self._helper.get_peers(interface)
        except Exception as error:
            self.handle(ReadFailed(interface, _as_ours(error)))
        else:
            self.handle(PeersRead(interface, peers, time.time_ns() // 1000))

    async def _set(self, order: SetEndpoints) -> None:
        try:
            results = await self._helper.set_endpoints(order.interface, order.changes)
        except Exception as error:
            self.handle(SetFailed(order.interface, _as_ours(error)))
        else:
            self.handle(EndpointsSet(order.interface, order.changes, order.reasons, results))

    async def _look_up(self, interface: str, server: Server, zone: str, keys: tuple[PublicKey, ...]) -> None:
        unanswered, asked_in = set(keys), self._round

        def answered(key: PublicKey, answer: Advertisement | LookupFailed) -> None:
            if asked_in == self._round:
                unanswered.discard(key)
                self._answered(interface, server, key, answer)

        try:
            await self._resolver.lookups(server, zone, keys, answered)
        except Exception as error:
            _log.warning("lookups at %s failed: %s", server, _as_ours(error))
        for key in unanswered:
            self._answered(interface, server, key, NoAnswer(f"{server} gave no answer"))

    def _answered(self, interface: str, server: Server, key: PublicKey, answer: Advertisement | LookupFailed) -> None:
        """A server's answers that come in one turn of the event loop are one event."""
        source = (interface, str(server))
        if source not in self._answers:
            self._answers[source] = []
            asyncio.get_running_loop().call_soon(self._deliver, *source)
        self._answers[source].append((key, answer))

    def _deliver(self, interface: str, source: str) -> None:
        answers = self._answers.pop((interface, source), None)
        if not answers:
            return
        self.handle(LookupsAnswered(interface, source, tuple(answers)))
        if not all(isinstance(answer, NoAnswer | RegistryUnreachable) for _, answer in answers):
            self._sessions.answered(interface, source)

    async def _resolve(self, order: Resolve) -> None:
        answer: tuple[Endpoint, ...] | LookupFailed
        asked_in = self._round
        try:
            answer = await hostname.resolve(order.host, order.port, order.uplinks)
        except LookupFailed as error:
            answer = error
        except Exception as error:
            answer = NoAnswer(f"{order.host}: {_as_ours(error)}")
        if asked_in == self._round:
            self.handle(HostResolved(order.interface, order.public_key, order.host, answer))

    def _reply(self, token: int, error: WgsdError | None) -> None:
        reply = self._replies.get(token)
        if reply is None or reply.done():
            return
        if error is None:
            reply.set_result(None)
        else:
            reply.set_exception(error)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = due(self.watch)
        if at < inf:
            self._timer = asyncio.get_running_loop().call_at(at, self.handle, TimePassed())

    def _spawn(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(partial(_ended, tasks))


def _as_ours(error: Exception) -> WgsdError:
    """Every order ends in an event, also where our own code is wrong: the controller waits for it."""
    if isinstance(error, WgsdError):
        return error
    _log.error("this is an error of wgsd-nm", exc_info=error)
    return WgsdError("internal error, see the agent's journal")


def _tell(event: Event, actions: tuple[Action, ...]) -> None:
    if not isinstance(event, TimePassed):
        _log.debug("heard %s", _brief(event))
    for action in actions:
        _log.debug("do %s", _brief(action))


def _brief(value: Event | Action) -> str:
    """The name of an event or action, and what it is about, but for its lists."""
    fields = ((name, getattr(value, name)) for name in value.__dataclass_fields__)
    about = (
        f"{name}={field}"
        for name, field in fields
        if field and not isinstance(field, tuple | dict | frozenset | Network)
    )
    return " ".join((type(value).__name__, *about))


def _ended(tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
    tasks.discard(task)
    if not task.cancelled() and task.exception() is not None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": "an action failed", "exception": task.exception()}
        )
