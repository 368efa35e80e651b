# SPDX-License-Identifier: GPL-2.0-or-later
"""One pass over the peers of a device: read them, look all up at once, set what differs, and say what became of it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from wgsd_nm.agent.resolver import Resolver
from wgsd_nm.cli import verdict
from wgsd_nm.cli.verdict import NOTEWORTHY, Result, Verdict
from wgsd_nm.core.errors import (
    DeviceError,
    LookupFailed,
    NoAnswer,
    NotPermitted,
    RegistryUnreachable,
    WgsdError,
)
from wgsd_nm.core.model import Advertisement, PublicKey, Server, endpoint_text
from wgsd_nm.wireguard import WireGuard

DONE: Final = 0
FAILED: Final = 1
IMPOSSIBLE: Final = 2


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller wants: whose peers, asked of whom; even of live ones; only to see."""

    interface: str
    server: Server
    zone: str
    force: bool = False
    dry_run: bool = False


def run(wish: Wish, *, as_json: bool = False, quiet: bool = False) -> int:
    """Do it and print it. Exit status: 0 done, 1 something failed, 2 no permission or no answer at all."""
    try:
        with WireGuard() as wireguard:
            status, verdicts = look(wish, wireguard)
    except WgsdError as error:
        print(f"wgsd-nm: {error}", file=sys.stderr)
        return IMPOSSIBLE
    if as_json:
        print(json.dumps([_record(each) for each in verdicts], indent=2))
    else:
        for each in verdicts:
            if not quiet or each.result in NOTEWORTHY:
                print(_line(each))
    return status


def look(wish: Wish, wireguard: WireGuard) -> tuple[int, Sequence[Verdict]]:
    """The exit status, and what became of each peer. Raises DeviceError if the device cannot be read or written."""
    device = wireguard.read(wish.interface)
    route = verdict.registry_peer(device, wish.server.address)
    registry = route[0] if route else None
    keys = [peer.public_key for peer in device.peers if peer.public_key != registry]
    answers = asyncio.run(_ask(verdict.bound(wish.server, device), wish.zone, keys))
    verdicts = verdict.judge(device, registry, answers, time.time_ns() // 1000, force=wish.force)
    if not wish.dry_run:
        verdicts = _carried_out(wish.interface, wireguard, verdicts)
    if keys and all(isinstance(answer, NoAnswer | RegistryUnreachable) for answer in answers.values()):
        return IMPOSSIBLE, verdicts
    return FAILED if any(each.result is Result.FAILED for each in verdicts) else DONE, verdicts


async def _ask(server: Server, zone: str, keys: Iterable[PublicKey]) -> dict[PublicKey, Advertisement | LookupFailed]:
    answers: dict[PublicKey, Advertisement | LookupFailed] = {}
    resolver = Resolver()
    try:
        await resolver.lookups(server, zone, keys, answers.__setitem__)
    finally:
        resolver.close()
    return answers


def _carried_out(interface: str, wireguard: WireGuard, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts after all that were to be set were written. Raises NotPermitted."""
    changes = [verdict.change(each) for each in verdicts if each.result is Result.WOULD_SET]
    if not changes:
        return list(verdicts)
    try:
        results = wireguard.set_endpoints(interface, changes)
    except NotPermitted:
        raise
    except DeviceError as error:
        return [verdict.unwritten(each, error) if each.result is Result.WOULD_SET else each for each in verdicts]
    return [
        verdict.settled(each, results[each.peer.public_key]) if each.result is Result.WOULD_SET else each
        for each in verdicts
    ]


def _line(each: Verdict) -> str:
    who = f"{each.name} ({each.peer.public_key})" if each.name else str(each.peer.public_key)
    return f"{who}: {each.text}"


def _record(each: Verdict) -> dict[str, str]:
    return {
        "public_key": str(each.peer.public_key),
        "name": each.name,
        "result": each.result,
        "endpoint": endpoint_text(each.endpoint),
        "was": endpoint_text(each.peer.endpoint),
        "text": each.text,
    }
