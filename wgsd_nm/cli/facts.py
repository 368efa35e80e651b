# SPDX-License-Identifier: GPL-2.0-or-later
"""What the doctor has seen, as values. It knows nothing of how it was seen, nor of what it means."""

from __future__ import annotations

from dataclasses import dataclass, field

from wgsd_nm.cli.view import AgentView
from wgsd_nm.core.config import Config
from wgsd_nm.core.model import Connectivity, IPInterface, ProfilePeer


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """`said` is None where the agent did not answer; `problem` says why not.

    `unit` is the systemd unit that it runs in, "" if systemd knows of none, None where systemd cannot be asked;
    `enabled` is systemd's word for wgsd-nm-agent.service (systemctl is-enabled), "" where it has none.
    """

    running: bool = False
    said: AgentView | None = None
    problem: str = ""
    unit: str | None = None
    enabled: str = ""


@dataclass(frozen=True, slots=True)
class ConfigFacts:
    """The configuration as the agent would read it now; None where it is wrong."""

    config: Config | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """An active WireGuard connection. `users` are those that its permissions admit, empty for everybody.

    `refused`: they do not admit us, so that nothing is known of the profile. `external`: the device was made by
    somebody else, and NetworkManager only shows it. `addresses` are the device's own, `peers` are the profile's.
    """

    interface: str
    id: str
    uuid: str
    external: bool = False
    users: frozenset[str] = frozenset()
    refused: bool = False
    addresses: tuple[IPInterface, ...] = ()
    peers: tuple[ProfilePeer, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkManagerFacts:
    """NetworkManager's properties. `networking` is False while it is switched off or sleeps.

    `check_available` and `check_enabled` are None where it does not say whether it can look, and looks, for portals.
    """

    version: str = ""
    networking: bool = True
    has_primary: bool = True
    connectivity: Connectivity = Connectivity.UNKNOWN
    check_available: bool | None = None
    check_enabled: bool | None = None
    check_address: str = ""
    tunnels: tuple[ConnectionFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """`now` is seconds since the epoch; `synchronized` is None where there is no timedated to ask."""

    now: float
    synchronized: bool | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it. A bus's problem is "" if it could be reached; then `network_manager` is None if that does not run, or
    runs without an answer: `network_manager_problem` says why.

    `helper_installed` and `seat_active` (our login session is the active one) are None where nobody can say.
    `strict_filters` are the interfaces where the kernel drops an IPv4 packet to whose sender the best route is another
    one (RFC 3704, rp_filter=1).
    """

    clock: ClockFacts
    user: str = ""
    version: str = ""
    session_bus_problem: str = ""
    system_bus_problem: str = ""
    agent: AgentFacts = field(default_factory=AgentFacts)
    config: ConfigFacts = field(default_factory=ConfigFacts)
    network_manager: NetworkManagerFacts | None = None
    network_manager_problem: str = ""
    helper_installed: bool | None = None
    seat_active: bool | None = None
    strict_filters: frozenset[str] = frozenset()
