# SPDX-License-Identifier: GPL-2.0-or-later
"""An agent's properties, as the tests of the command line vary them."""

from __future__ import annotations

from typing import Any

from wgsd_nm.core.model import PublicKey

NOW = 1_790_000_000.0
BOB, CAROL, REGISTRY = (str(PublicKey(bytes([number]) * 32)) for number in (1, 2, 3))


def before(seconds: float) -> int:
    """A time of the bus."""
    return int((NOW - seconds) * 1e6)


def tunnel(**different: object) -> dict[str, Any]:
    return {
        "Interface": "wg0",
        "ConnectionId": "home",
        "ConnectionUuid": "22222222-2222-4222-8222-222222222222",
        "Zone": "wg.example.com.",
        "Registries": ["10.0.0.254", "[2001:db8::1]:5353"],
        "State": "degraded",
        "PublicKey": "bWU=",
        "PublicEndpoint": "198.51.100.9:51820",
        "LastLookup": before(3),
        "LastError": "",
    } | different


def peer(**different: object) -> dict[str, Any]:
    return {
        "Interface": "wg0",
        "PublicKey": BOB,
        "Name": "bob",
        "Endpoint": "198.51.100.1:51820",
        "Source": "registry",
        "State": "connected",
        "Reason": "connected",
        "ReasonText": "The peer answers.",
        "LatestHandshake": before(61),
        "LastLookup": before(3),
        "LastError": "",
    } | different


def registry_peer(**different: object) -> dict[str, Any]:
    named = {"PublicKey": REGISTRY, "Name": "registry", "Endpoint": "203.0.113.254:51820", "Source": "profile"}
    return peer(**named, **different)


def properties(
    *, tunnels: list[dict[str, Any]] | None = None, peers: list[dict[str, Any]] | None = None, **different: object
) -> dict[str, Any]:
    """Of an agent with these tunnels and peers; by default one tunnel with bob and the registry."""
    return {
        "Version": "0.1.0",
        "State": "degraded",
        "Tunnels": [tunnel()] if tunnels is None else tunnels,
        "Peers": [registry_peer(), peer()] if peers is None else peers,
    } | different
