# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks a tunnel that is to be set up against NetworkManager and the registry. It writes nothing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from wgsd_nm.agent.resolver import Resolver
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus
from wgsd_nm.cli import advice, quoting
from wgsd_nm.cli.client import WHOSE_SESSION
from wgsd_nm.cli.facts import ConnectionFacts
from wgsd_nm.cli.finding import Finding, cannot_tell, capital, ok, problem, sentence
from wgsd_nm.cli.profiles import addresses_of, is_external, peers_of, section_of
from wgsd_nm.cli.terminal import printable
from wgsd_nm.core import discovery
from wgsd_nm.core.config import parse
from wgsd_nm.core.errors import BusError, LookupFailed, NegativeAnswer
from wgsd_nm.core.model import Advertisement, PublicKey, Server, Tunnel

if TYPE_CHECKING:
    from wgsd_nm.cli.setup import Wish

PATIENCE: Final = 5.0
"""Seconds for each answer of NetworkManager."""
WIREGUARD: Final = "wireguard"
_ACTIVATED: Final = 2  # NMActiveConnectionState

Profile = Mapping[str, Mapping[str, Any]]
Objects = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found, and the name of the section that the tunnel has in the configuration, or is to get."""

    findings: tuple[Finding, ...]
    section: str


@dataclass(frozen=True, slots=True)
class _Known:
    """A profile of NetworkManager's; `device` is its interface if it is up, else "". `external`: others made that."""

    profile: Profile
    device: str
    external: bool

    def setting(self, group: str, name: str) -> Any:
        return self.profile.get(group, {}).get(name, "")

    @property
    def is_wireguard(self) -> bool:
        return bool(self.setting("connection", "type") == WIREGUARD)

    def is_called(self, text: str) -> bool:
        own = (self.setting("connection", each) for each in ("uuid", "id", "interface-name"))
        return bool(text) and text in (*own, self.device)


async def check(wish: Wish, text: str, source: str) -> Checked:
    """Look at everything, as of now; `text` is the configuration. Raises ConfigError."""
    config = parse(text, source)
    findings = [*_caller()]
    known, found = await _connection(wish.connection)
    findings += found
    if known is None:
        return Checked((*findings, *_unknown(wish)), wish.connection)
    facts = _facts(known)
    section = section_of(config, facts)
    findings += _names(wish, facts)
    for server in wish.registries:
        findings += await _registry(wish, server, facts, known.device)
    return Checked(tuple(findings), section.connection if section else wish.connection)


def _caller() -> Iterator[Finding]:
    if os.environ.get("SUDO_UID"):
        yield problem("user", "This is root's configuration, and root's session has no agent.", capital(WHOSE_SESSION))


async def _connection(text: str) -> tuple[_Known | None, list[Finding]]:
    """NetworkManager's connection of that name, if it is WireGuard, and what there is to say."""
    step = "connection"
    system = Bus(system=True)
    try:
        await system.connect()
        known = await _profiles(system)
    except BusError as error:
        return None, [
            problem(step, sentence(f"NetworkManager cannot be asked: {error}"), "Does it run? wgsd-nm doctor says more")
        ]
    finally:
        await system.close()
    called = sorted((each for each in known if each.is_called(text)), key=lambda each: (each.is_wireguard, each.device))
    if not called:
        text = f"NetworkManager has no connection {quoting.toml_text(text)} that we may see."
        return None, [problem(step, text, _others(known))]
    best = called[-1]
    name = printable(str(best.setting("connection", "id")))
    if not best.is_wireguard:
        kind = printable(str(best.setting("connection", "type")))
        return None, [
            problem(step, f"The connection {name} is of type {kind}, not WireGuard.", "nmcli connection show lists all")
        ]
    if best.device:
        named = advice.name_to_helper(printable(best.device)) if best.external else ""
        return best, [ok(step, f"{name} is a WireGuard connection, and up as {printable(best.device)}.", named)]
    return best, [ok(step, f"{name} is a WireGuard connection, and not up.", _bring_up(best))]


def _others(known: Iterable[_Known]) -> str:
    """What to do without the connection that was asked for."""
    there = [quoting.toml_text(str(each.setting("connection", "id"))) for each in known if each.is_wireguard]
    if there:
        return f"There is {', '.join(there)}"
    return "nmcli connection import type wireguard file FILE makes one of a file of wg-quick's"


def _bring_up(known: _Known) -> str:
    return f"Bring it up: nmcli connection up {quoting.connection_id(_facts(known))}"


async def _profiles(system: Bus) -> list[_Known]:
    """All profiles that we may read. Raises BusError."""
    (objects,) = await system.call(
        names.NM, names.NM_ROOT_PATH, names.OBJECT_MANAGER, "GetManagedObjects", timeout=PATIENCE, autostart=False
    )
    up = dict(_devices(objects))
    paths = [path for path, interfaces in objects.items() if names.NM_PROFILE in interfaces]
    profiles = await asyncio.gather(*(_profile(system, path) for path in paths))
    return [_Known(each, *up.get(path, ("", False))) for path, each in zip(paths, profiles, strict=True) if each]


def _devices(objects: Objects) -> Iterator[tuple[str, tuple[str, bool]]]:
    """Profiles that are up, with the interface of each, and whether others than NetworkManager made it."""
    for interfaces in objects.values():
        active = interfaces.get(names.NM_ACTIVE, {})
        if active.get("State") == _ACTIVATED and active.get("Devices"):
            device = objects.get(active["Devices"][0], {}).get(names.NM_DEVICE, {})
            yield str(active.get("Connection")), (str(device.get("Interface", "")), is_external(active))


async def _profile(system: Bus, path: str) -> Profile:
    """Its settings; nothing where it has gone or does not admit us."""
    try:
        (settings,) = await system.call(
            names.NM, path, names.NM_PROFILE, "GetSettings", timeout=PATIENCE, autostart=False
        )
    except BusError:
        return {}
    return dict(settings)


def _facts(known: _Known) -> ConnectionFacts:
    return ConnectionFacts(
        interface=known.device or str(known.setting("connection", "interface-name")),
        id=str(known.setting("connection", "id")),
        uuid=str(known.setting("connection", "uuid")),
        addresses=tuple(
            addresses_of(entry for family in ("ipv4", "ipv6") for entry in known.setting(family, "address-data") or ())
        ),
        peers=tuple(peers_of(known.setting("wireguard", "peers") or ())),
        external=known.external,
    )


def _unknown(wish: Wish) -> Iterator[Finding]:
    for server in wish.registries:
        yield cannot_tell("registry", f"Whether {server} answers can only be asked with a connection that is known.")


def _names(wish: Wish, facts: ConnectionFacts) -> Iterator[Finding]:
    there = {peer.public_key for peer in facts.peers}
    for name, key in wish.names.items():
        if facts.external:
            yield cannot_tell("name", f"Whether {facts.id} has the peer {name} is known to the kernel alone.")
        elif key not in there:
            text = f"{facts.id} has no peer with the key {key}, which is to be called {name}."
            yield problem("name", text, f"Its peers: {', '.join(map(str, there)) or 'none'}")


async def _registry(wish: Wish, server: Server, facts: ConnectionFacts, device: str) -> Sequence[Finding]:
    """The way to it, and what it says."""
    tunnel = Tunnel(facts.interface, facts.id, facts.uuid, "", addresses=facts.addresses)
    peer = discovery.routes_to([server.address], tunnel, facts.peers)[server.address]
    step = "registry"
    if facts.external and not facts.peers:
        return [
            cannot_tell(step, f"Whether {server} answers is seen when the agent asks: peers are in the kernel alone.")
        ]
    if peer is None:
        trouble = _no_route(server)
        if trouble:
            text = f"No peer's allowed IPs hold {server.address}, and no other way leads there: {trouble}."
            return [problem(step, text, "Is that the registry's address? As a rule it is the one inside of the tunnel")]
        way = ok(step, f"{server} is outside of the tunnel, and a route leads there.")
    else:
        way = ok(step, f"{server} is inside of the tunnel, behind the peer {peer.public_key}.")
        if not peer.endpoint:
            way = problem(
                step,
                f"{server} is behind the peer {peer.public_key}, which has no endpoint in the connection.",
                "Only that peer needs one, for nobody can be asked where it is: add it with nmcli or in the settings",
            )
        if not device:
            return [way, cannot_tell(step, f"{server} can only be asked when {facts.id} is up.")]
        server = replace(server, device=device)
    return [way, await _answer(wish, server, [each.public_key for each in facts.peers])]


def _no_route(server: Server) -> str:
    """Why nothing can be sent there, "" if it can. Nothing is sent."""
    family = socket.AF_INET if server.address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as trial:
            trial.connect((str(server.address), server.port))
    except OSError as error:
        return error.strerror or str(error)
    return ""


async def _answer(wish: Wish, server: Server, keys: Sequence[PublicKey]) -> Finding:
    """Ask for all peers of the tunnel."""
    step, at = "registry", replace(server, device="")
    if not keys:
        return problem(step, "The connection has no peers.", "Add them with nmcli or in the settings")
    answers: list[Advertisement | LookupFailed] = []
    resolver = Resolver()
    try:
        await resolver.lookups(server, wish.zone, keys, lambda _, answer: answers.append(answer))
    finally:
        resolver.close()
    known = sum(isinstance(each, Advertisement) for each in answers)
    if known:
        return ok(step, f"{at} answers for {wish.zone}, and knows {known} of {len(keys)} peers.")
    if any(isinstance(each, NegativeAnswer) for each in answers):
        return cannot_tell(
            step,
            f"{at} answers, and knows none of the {len(keys)} peers in {wish.zone}.",
            "Is that the zone that it serves? If so, they are found as soon as they have shaken hands with it",
        )
    said = "; ".join(dict.fromkeys(str(each) for each in answers))
    return problem(
        step,
        sentence(f"{at} does not answer for {wish.zone}: {said}"),
        "Does it serve that zone, is its program running, and may we ask? Is its peer's endpoint right?",
    )
