# SPDX-License-Identifier: GPL-2.0-or-later
"""What users do in their sessions, and what their service managers and the agent say."""

from __future__ import annotations

import json
from typing import Any, Final

from lab.world.agent import plain
from lab.world.host import CommandFailedError, call

AGENT: Final = "io.github.wgsd_nm.Agent1"
AGENT_PATH: Final = "/io/github/wgsd_nm/Agent1"
AGENT_UNIT: Final = "wgsd-nm-agent.service"
HELPER: Final = "io.github.wgsd_nm.Helper1"
HELPER_PATH: Final = "/io/github/wgsd_nm/Helper1"


def at_seat(*command: str) -> str:
    """What a command says that u, who sits at the seat, runs. Raises CommandFailedError."""
    return call("systemd-run", "--quiet", "--user", "--machine=u@.host", "--wait", "--pipe", "--collect", *command)


def from_afar(user: str, *command: str) -> str:
    """What a command says in a session without a seat, as ssh makes one. Raises CommandFailedError."""
    login = ("--property=PAMName=login", f"--property=User={user}", "--setenv=XDG_SESSION_CLASS=user")
    return call("systemd-run", "--quiet", "--wait", "--pipe", "--collect", *login, *command)


def manage(user: str, *words: str) -> str:
    """systemctl to the user's service manager. Raises CommandFailedError."""
    return call("systemctl", "--user", f"--machine={user}@.host", *words)


def shown(user: str, name: str, unit: str = AGENT_UNIT) -> str:
    """A property of a unit of the user's."""
    return manage(user, "show", "--value", f"--property={name}", unit).strip()


def agent(name: str, user: str = "u") -> Any:
    """A property of the user's agent, without D-Bus's types; None while there is none."""
    get = ("busctl", "--user", f"--machine={user}@.host", "--json=short", "get-property")
    try:
        return plain(json.loads(call(*get, AGENT, AGENT_PATH, AGENT, name)))
    except CommandFailedError:
        return None


def peers() -> dict[str, dict[str, Any]]:
    """The agent's peers by name."""
    return {each["Name"]: each for each in agent("Peers") or []}


def bob() -> str:
    """How u's agent stands to bob."""
    return str(peers().get("bob", {}).get("State", ""))
