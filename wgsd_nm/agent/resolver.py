# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks registries where peers are, many peers at once. It knows nothing of what becomes of the answers.

Questions go to the registry's address literally; no system resolver takes part. What an answer means is `core.dnssd`'s
affair, how it is got is `agent.exchange`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Concatenate, Final, Literal, ParamSpec, TypeVar

import dns.exception
import dns.name
from dns.rdatatype import AAAA, SRV, A, RdataType

from wgsd_nm.agent.exchange import WINDOW, NameServer
from wgsd_nm.core import dnsbytes, dnssd
from wgsd_nm.core.errors import BadAnswer, InvalidValue, LookupFailed, NegativeAnswer, NoAnswer, NoEndpoint
from wgsd_nm.core.model import Advertisement, IPAddress, PublicKey, Server, shown

P = ParamSpec("P")
T = TypeVar("T")

MAX_TARGETS: Final = 4
"""Hosts of one peer whose addresses are asked for, where a registry's answer lacks them."""
LOOKUP_TIMEOUT: Final = 15.0
"""Seconds for one peer, aliases and addresses included: four unanswered tries take some nine of them."""

Addresses = tuple[tuple[IPAddress, ...], int]
"""The addresses of a host, and the seconds to keep them."""


class Resolver:
    """Asks registries for peers. What was learnt of a server, and the sockets to it, stay until `forget()`."""

    def __init__(self) -> None:
        self._servers: dict[Server, NameServer] = {}
        self._under_way: dict[tuple[Server, bytes, RdataType], asyncio.Future[Any]] = {}

    async def lookups(
        self,
        server: Server,
        zone: str,
        keys: Iterable[PublicKey],
        on_answer: Callable[[PublicKey, Advertisement | LookupFailed], None],
    ) -> None:
        """Look many peers up at once. `on_answer` is called for each as its answer comes; returns when all have ended.

        The same question asked twice at a time is one query. No peer is asked for longer than LOOKUP_TIMEOUT. Raises
        InvalidValue for a bad zone.
        """
        domain = dnssd.wire(dnssd.parse_zone(zone))
        remaining = list(keys)
        keys_left = iter(remaining)

        async def work() -> None:
            for key in keys_left:
                answer: Advertisement | LookupFailed
                try:
                    async with asyncio.timeout(LOOKUP_TIMEOUT):
                        answer = await self._lookup(server, domain, key)
                except LookupFailed as error:
                    answer = error
                except TimeoutError:
                    answer = NoAnswer(f"the registry {server} gave no whole answer within {LOOKUP_TIMEOUT:g} seconds")
                on_answer(key, answer)

        async with asyncio.TaskGroup() as workers:
            for _ in range(min(WINDOW, len(remaining))):
                workers.create_task(work())

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

    async def _lookup(self, server: Server, zone: bytes, key: PublicKey) -> Advertisement:
        name = dnssd.instance_wire(key, zone)
        return await self._shared((server, name, SRV), self._find, name, key)

    async def _shared(
        self,
        question: tuple[Server, bytes, RdataType],
        find: Callable[Concatenate[NameServer, P], Awaitable[T]],
        *arguments: P.args,
        **keywords: P.kwargs,
    ) -> T:
        """The answer to a question: of whoever asks it at the moment, or found now."""
        while question in self._under_way:
            under_way: asyncio.Future[T] = self._under_way[question]
            try:
                return await asyncio.shield(under_way)
            except asyncio.CancelledError:
                if not under_way.cancelled() or _is_cancelled():
                    raise
        server = question[0]
        name_server = self._servers.get(server)
        if name_server is None:
            name_server = self._servers[server] = NameServer(server)
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._under_way[question] = answer
        try:
            found = await find(name_server, *arguments, **keywords)
        except LookupFailed as error:
            answer.set_exception(error)
            answer.exception()  # most often nobody else waits for it
            raise
        else:
            answer.set_result(found)
            return found
        finally:
            answer.cancel()
            if self._under_way.get(question) is answer:
                del self._under_way[question]

    async def _find(self, server: NameServer, name: bytes, key: PublicKey) -> Advertisement:
        ttl = dnssd.MAX_TTL
        for _ in range(dnssd.MAX_ALIASES):
            match await server.ask(name, SRV, partial(_judge_service, key, name)):
                case Advertisement() as advertisement:
                    return advertisement if ttl >= advertisement.ttl else replace(advertisement, ttl=ttl)
                case dnssd.Service() as service:
                    return await self._complete(server, replace(service, ttl=min(ttl, service.ttl)))
                case dnssd.Alias() as alias:
                    name, ttl = dnssd.wire(alias.name), min(ttl, alias.ttl)
        raise BadAnswer(f"the registry's aliases for the peer {key} come to no end")

    async def _complete(self, server: NameServer, service: dnssd.Service) -> Advertisement:
        """Ask for the addresses that the SRV answer lacked: some resolvers strip them off."""
        hosts = list(dict.fromkeys(target.host for target in service.targets))[:MAX_TARGETS]
        answers = await asyncio.gather(
            *(
                self._shared((server.server, dnssd.wire(host), rdtype), _addresses, host, rdtype)
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


def _is_cancelled() -> bool:
    """Whether somebody wants the running task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def host_addresses(server: NameServer, host: str, version: Literal[4, 6]) -> tuple[IPAddress, ...]:
    """The addresses of a host in one family (A or AAAA). Raises LookupFailed's children, InvalidValue for no name."""
    try:
        name = dns.name.from_text(host.lower())
    except dns.exception.DNSException as error:
        raise InvalidValue(f"{shown(host)} is not a host name: {error}") from error
    addresses, _ = await _addresses(server, name, A if version == 4 else AAAA)
    return addresses


async def push_port(server: NameServer, zone: str) -> int:
    """The TCP port where a registry serves push for a zone. Raises LookupFailed's children, InvalidValue."""
    domain = dnssd.parse_zone(zone)
    return await server.ask(dnssd.wire(dnssd.push_name(domain)), SRV, partial(_judge_push, domain))


async def _addresses(server: NameServer, host: dns.name.Name, rdtype: RdataType) -> Addresses:
    ttl = dnssd.MAX_TTL
    for _ in range(dnssd.MAX_ALIASES):
        match await server.ask(dnssd.wire(host), rdtype, partial(_judge_addresses, host, rdtype)):
            case dnssd.Alias() as alias:
                host, ttl = alias.name, min(ttl, alias.ttl)
            case addresses, life:
                return addresses, min(ttl, life)
    raise BadAnswer(f"the registry's aliases for the host {host} come to no end")


def _judge_service(key: PublicKey, name: bytes, answer: bytes) -> Advertisement | dnssd.Service | dnssd.Alias:
    usual = dnsbytes.usual_answer(answer, name, key)
    if usual is not None:
        return usual
    found = dnssd.service(dnssd.parse(answer), key, dns.name.from_wire(name, 0)[0])
    if isinstance(found, dnssd.Service) and any(target.addresses for target in found.targets):
        return found.advertisement()
    return found


def _judge_push(zone: dns.name.Name, answer: bytes) -> int:
    return dnssd.push_port(dnssd.parse(answer), zone)


def _judge_addresses(host: dns.name.Name, rdtype: RdataType, answer: bytes) -> Addresses | dnssd.Alias:
    return dnssd.addresses(dnssd.parse(answer), host, rdtype)
