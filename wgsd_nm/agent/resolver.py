# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks registries where peers are, many peers at once. It knows nothing of what becomes of the answers.

Questions go to the registry's address literally; no system resolver takes part. What an answer means is `core.dnssd`'s
affair, how it is got is `agent.exchange`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

import dns.name
from dns.rdatatype import AAAA, SRV, A, RdataType

from wgsd_nm.agent.exchange import NameServer
from wgsd_nm.core import dnsbytes, dnssd
from wgsd_nm.core.errors import BadAnswer, LookupFailed, NegativeAnswer, NoEndpoint
from wgsd_nm.core.model import Advertisement, IPAddress, PublicKey, Server

T = TypeVar("T")

MAX_TARGETS: Final = 4
"""Hosts of one peer whose addresses are asked for, where a registry's answer lacks them."""

Addresses = tuple[tuple[IPAddress, ...], int]
"""The addresses of a host, and the seconds to keep them."""


class Resolver:
    """Asks registries for peers. What was learnt of a server, and the sockets to it, stay until `forget()`."""

    def __init__(self) -> None:
        self._servers: dict[Server, NameServer] = {}
        self._under_way: dict[Hashable, asyncio.Task[Any]] = {}

    def lookup(self, server: Server, zone: str, key: PublicKey) -> Awaitable[Advertisement]:
        """What a registry says of a peer. The awaitable raises LookupFailed's children; a bad zone is InvalidValue.

        The same question asked twice at a time is one query. With no answer it ends after some ten seconds.
        """
        return self._lookup(server, dnssd.parse_zone(zone), key)

    async def lookups(
        self,
        server: Server,
        zone: str,
        keys: Iterable[PublicKey],
        on_answer: Callable[[PublicKey, Advertisement | LookupFailed], None],
    ) -> None:
        """Look many peers up at once. `on_answer` is called for each as its answer comes; returns when all have ended.

        A bad zone is InvalidValue.
        """
        name = dnssd.parse_zone(zone)

        def report(key: PublicKey, answer: asyncio.Future[Advertisement]) -> None:
            if not answer.cancelled():
                match answer.exception():
                    case None:
                        on_answer(key, answer.result())
                    case LookupFailed() as error:
                        on_answer(key, error)

        answers = []
        for key in keys:
            answer = self._lookup(server, name, key)
            answer.add_done_callback(partial(report, key))
            answers.append(answer)
        results = await asyncio.gather(*answers, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, LookupFailed):
                raise result

    def forget(self) -> None:
        """Close the sockets and forget what was learnt of servers: the network changed.

        What is under way ends with RegistryUnreachable; questions asked from now on go out anew.
        """
        self._under_way.clear()
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    def close(self) -> None:
        """Close the sockets. What is under way ends with RegistryUnreachable."""
        self.forget()

    def _lookup(self, server: Server, zone: dns.name.Name, key: PublicKey) -> asyncio.Future[Advertisement]:
        name = dnssd.instance_name(key, zone)
        return self._shared((server, name, SRV), partial(self._find, self._name_server(server), name, key))

    def _name_server(self, server: Server) -> NameServer:
        known = self._servers.get(server)
        if known is None:
            known = self._servers[server] = NameServer(server)
        return known

    def _shared(self, question: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Future[T]:
        """The answer of the one task that works on a question; it goes on when a waiter is cancelled."""
        task = self._under_way.get(question)
        if task is None:
            task = self._under_way[question] = asyncio.get_running_loop().create_task(ask())
            task.add_done_callback(partial(self._ended, question))
        return asyncio.shield(task)

    def _ended(self, question: Hashable, task: asyncio.Task[Any]) -> None:
        if self._under_way.get(question) is task:
            del self._under_way[question]
        if not task.cancelled():
            task.exception()  # every waiter may be gone

    async def _find(self, server: NameServer, name: dns.name.Name, key: PublicKey) -> Advertisement:
        ttl = dnssd.MAX_TTL
        for _ in range(dnssd.MAX_ALIASES):
            wire = dnssd.wire(name)
            match await server.ask(wire, SRV, partial(_judge_service, key, name, dnsbytes.HEADER + len(wire) + 4)):
                case dnssd.Alias() as alias:
                    name, ttl = alias.name, min(ttl, alias.ttl)
                case dnssd.Service() as service:
                    return await self._complete(server, replace(service, ttl=min(ttl, service.ttl)))
                case Advertisement() as advertisement:
                    return replace(advertisement, ttl=min(ttl, advertisement.ttl))
        raise BadAnswer(f"the registry's aliases for the peer {key} come to no end")

    async def _complete(self, server: NameServer, service: dnssd.Service) -> Advertisement:
        """Ask for the addresses that the SRV answer lacked: some resolvers strip them off."""
        hosts = list(dict.fromkeys(target.host for target in service.targets))[:MAX_TARGETS]
        answers = await asyncio.gather(
            *(
                self._shared((server.server, host, rdtype), partial(self._addresses, server, host, rdtype))
                for host in hosts
                for rdtype in (AAAA, A)
            ),
            return_exceptions=True,
        )
        known: dict[dns.name.Name, list[IPAddress]] = {host: [] for host in hosts}
        ttl = service.ttl
        denied: list[NegativeAnswer] = []
        failed: list[BaseException] = []
        for host, answer in zip((host for host in hosts for _ in (AAAA, A)), answers, strict=True):
            match answer:
                case NegativeAnswer():
                    denied.append(answer)
                case BaseException():
                    failed.append(answer)
                case addresses, life:
                    known[host].extend(addresses)
                    ttl = min(ttl, life)
        if not any(known.values()):
            if failed:
                raise failed[0]
            raise NoEndpoint(
                f"the registry names {hosts[0]} as the host of the peer {service.public_key}, but no address of it",
                min(denial.ttl for denial in denied),
            )
        targets = (replace(target, addresses=tuple(known.get(target.host, ()))) for target in service.targets)
        return replace(service, targets=tuple(targets), ttl=ttl).advertisement()

    async def _addresses(self, server: NameServer, host: dns.name.Name, rdtype: RdataType) -> Addresses:
        ttl = dnssd.MAX_TTL
        for _ in range(dnssd.MAX_ALIASES):
            match await server.ask(dnssd.wire(host), rdtype, partial(_judge_addresses, host, rdtype)):
                case dnssd.Alias() as alias:
                    host, ttl = alias.name, min(ttl, alias.ttl)
                case addresses, life:
                    return addresses, min(ttl, life)
        raise BadAnswer(f"the registry's aliases for the host {host} come to no end")


def _judge_service(
    key: PublicKey, name: dns.name.Name, question_end: int, answer: bytes
) -> Advertisement | dnssd.Service | dnssd.Alias:
    usual = dnsbytes.usual_answer(answer, question_end, key)
    if usual is not None:
        return usual
    found = dnssd.service(dnssd.parse(answer), key, name)
    if isinstance(found, dnssd.Service) and any(target.addresses for target in found.targets):
        return found.advertisement()
    return found


def _judge_addresses(host: dns.name.Name, rdtype: RdataType, answer: bytes) -> Addresses | dnssd.Alias:
    return dnssd.addresses(dnssd.parse(answer), host, rdtype)
