# SPDX-License-Identifier: GPL-2.0-or-later
"""Our programs on the hosts of the world, started as their users start them, and what they say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from lab.world.laptop import USER, Laptop
from lab.world.registry import Registry
from lab.world.waiting import wait_for
from lab.world.world import World

ZONE = "wg.example.com"
AGENT = "io.github.wgsd_nm.Agent1"
AGENT_PATH = "/io/github/wgsd_nm/Agent1"
CONFIGURATION = f"/home/{USER}/.config/wgsd-nm/config.toml"
MONITOR = "ip-monitor"


def start_registry(world: World) -> None:
    """The registry program on the registry's address inside the tunnel."""
    world.registry.spawn(
        ["python3", "-m", "wgsd_nm.registry", "--device", "wg0", "--zone", ZONE, "--listen", world.registry.address],
        name="registry",
    )


def configuration(world: World, laptop: Laptop, registries: Iterable[str] = (Registry.address,), more: str = "") -> str:
    """The agent's configuration for wg0; `more` are further lines of its section."""
    listed = ", ".join(f'"{registry}"' for registry in registries)
    names = "".join(f'{name} = "{keys.public}"\n' for name, keys in world.keys.items() if name != laptop.name)
    return f'[tunnel.wg0]\nzone = "{ZONE}"\nregistry = [{listed}]\n{more}\n[tunnel.wg0.names]\n{names}'


def start_agent(laptop: Laptop, configured: str) -> None:
    """The agent as the ordinary user u; returns when it is on the session bus."""
    laptop.write(CONFIGURATION, configured, user=USER)
    laptop.spawn(["python3", "-m", "wgsd_nm.agent", "--debug"], name="agent", user=USER)
    wait_for(lambda: has_agent(laptop), 60, f"{laptop.name}'s agent to be on the session bus", 0.2)


def agent_property(laptop: Laptop, name: str) -> Any:
    """A property of Agent1 as plain values: text, numbers, lists, dictionaries."""
    said = laptop.busctl_user("--json=short", "get-property", AGENT, AGENT_PATH, AGENT, name).stdout
    return plain(json.loads(said))


def follows(laptop: Laptop) -> bool:
    """Whether every registry tells the agent of each change."""
    return [tunnel["Updates"] for tunnel in agent_property(laptop, "Tunnels")] == ["push"]


def agent_peer(world: World, laptop: Laptop, other: str) -> dict[str, Any]:
    """What Agent1 says of another machine; empty while it says nothing."""
    key = world.keys[other].public
    return next((peer for peer in agent_property(laptop, "Peers") if peer["PublicKey"] == key), {})


def plain(value: Any) -> Any:
    """busctl's JSON without its types."""
    match value:
        case {"type": str(), "data": data}:
            return plain(data)
        case dict():
            return {name: plain(entry) for name, entry in value.items()}
        case list():
            return [plain(entry) for entry in value]
    return value


def refresh(laptop: Laptop) -> None:
    """What a person does who does not want to wait; whether it helped is for the caller to see."""
    laptop.busctl_user("--timeout=30", "call", AGENT, AGENT_PATH, AGENT, "Refresh", check=False)


def has_agent(laptop: Laptop) -> bool:
    """Whether the agent owns its name; asking the agent itself would start a second one."""
    bus = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
    return laptop.busctl_user("call", *bus, "NameHasOwner", "s", AGENT).stdout.strip() == "b true"


def endpoint(world: World, laptop: Laptop, other: str) -> str:
    """The endpoint in a laptop's kernel for another laptop."""
    peers = laptop.peers()
    return peers[world.keys[other].public].endpoint


def logged(laptop: Laptop, text: str, after: float, before: float | None = None) -> float | None:
    """When the laptop's agent first logged a line with this text after a moment; or with `before`, when last."""
    found = None
    for line in laptop.log("agent").read_text(errors="replace").splitlines():
        stamp, _, said = line.partition(" ")
        if text not in said or not stamp.replace(".", "").isdigit() or float(stamp) <= after:
            continue
        if before is None:
            return float(stamp)
        if float(stamp) <= before:
            found = float(stamp)
    return found


def watch_routes(laptop: Laptop) -> None:
    """Have ip-monitor(8) note when the laptop's addresses and routes change."""
    laptop.spawn(["ip", "-timestamp", "-tshort", "monitor", "address", "route"], name=MONITOR)


def route_made_at(laptop: Laptop, gateway: str) -> float:
    """When the kernel first got a default route by this gateway, once ip-monitor(8) has told of it.

    NetworkManager makes it again, with another metric, when it has found out how far it leads.
    """
    made = wait_for(lambda: routes_made_at(laptop, gateway), 10, f"ip monitor to see a default route by {gateway}")
    return made[0]


def routes_made_at(laptop: Laptop, gateway: str) -> list[float]:
    """Each time that the kernel got a default route by this gateway; another metric makes another route."""
    text = laptop.log(MONITOR).read_text(errors="replace")
    stamps = re.findall(rf"^\[([^]]+)\] *default via {re.escape(gateway)} ", text, re.MULTILINE)
    return [datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp() for stamp in stamps]


def routes(laptop: Laptop) -> str:
    """The laptop's default routes of IPv4, as ip(8) shows them."""
    return laptop.run(["ip", "route", "show", "default"]).stdout
