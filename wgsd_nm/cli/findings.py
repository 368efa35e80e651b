# SPDX-License-Identifier: GPL-2.0-or-later
"""From facts to findings: the doctor's walk from the agent to the peers. It looks at nothing but the facts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from wgsd_nm.cli import advice, quoting
from wgsd_nm.cli.client import WHOSE_SESSION
from wgsd_nm.cli.facts import ConnectionFacts, Facts
from wgsd_nm.cli.finding import Finding, cannot_tell, capital, ok, problem, sentence
from wgsd_nm.cli.profiles import section_of
from wgsd_nm.cli.tunnel_findings import tunnel_findings
from wgsd_nm.cli.view import AgentView, TunnelView
from wgsd_nm.core.model import Connectivity

FUTURE = 5.0
"""Seconds by which a handshake may lie ahead of our clock: it was read a moment after we looked at that."""
RELOAD = "systemctl --user reload wgsd-nm-agent"
BRING_UP = (
    "Bring it up: with nmcli connection up ID where it is NetworkManager's (nmcli connection show lists the IDs), else "
    "with the program that makes it"
)
_EXPLAINED_ELSEWHERE = ("unavailable", "offline", "captive-portal")
"""States of a tunnel whose cause an earlier step has told."""
_STARTS_BY_ITSELF = ("enabled", "enabled-runtime", "linked", "static", "alias", "generated")


def examine(facts: Facts) -> Iterator[Finding]:
    """All findings, in the order of the walk: what comes later depends on what comes before."""
    yield from _agent(facts)
    yield from _configuration(facts)
    yield from _network_manager(facts)
    yield from _network(facts)
    yield from _portal(facts)
    yield from _permission(facts)
    said = facts.agent.said
    for tunnel in said.tunnels if said else ():
        if tunnel.state not in _EXPLAINED_ELSEWHERE:
            yield from tunnel_findings(tunnel, said.peers_of(tunnel) if said else (), _connection(facts, tunnel), facts)
    yield from _clock(facts)


def could_look(facts: Facts) -> bool:
    """Whether nothing that should have been looked at was out of reach."""
    agent_hides = facts.agent.running and facts.agent.said is None
    out_of_reach = facts.session_bus_problem or facts.system_bus_problem or facts.network_manager_problem
    return not (out_of_reach or agent_hides)


def _agent(facts: Facts) -> Iterator[Finding]:
    agent, step = facts.agent, "agent"
    if facts.session_bus_problem:
        yield cannot_tell(
            step,
            sentence(f"The session bus cannot be reached: {facts.session_bus_problem}"),
            capital(WHOSE_SESSION),
        )
    elif not agent.running:
        started = agent.enabled in _STARTS_BY_ITSELF
        command = "systemctl --user start wgsd-nm-agent" if started else "systemctl --user enable --now wgsd-nm-agent"
        ended = "; what ended it: journalctl --user -u wgsd-nm-agent" if started else ""
        yield problem(step, "The agent is not running.", f"Start it: {command}{ended}")
    elif agent.said is None:
        yield cannot_tell(
            step,
            sentence(f"The agent runs, but does not answer: {agent.problem}"),
            "systemctl --user restart wgsd-nm-agent",
        )
    elif agent.said.version != facts.version:
        yield problem(
            step,
            f"The agent that runs is version {agent.said.version or 'unknown'}, and this is {facts.version}.",
            "systemctl --user restart wgsd-nm-agent",
        )
    else:
        yield _running(facts, agent.said.version)
    if agent.said and agent.said.last_error not in ("", facts.config.problem):
        yield problem(
            step, sentence(agent.said.last_error), f"If that is about a file that has been corrected since: {RELOAD}"
        )


def _running(facts: Facts, version: str) -> Finding:
    unit, enabled = facts.agent.unit, facts.agent.enabled
    by = "by its unit" if unit == "wgsd-nm-agent.service" else "not by its unit" if unit is not None else ""
    text = f"The agent runs, version {version}{', started ' + by if by else ''}."
    if enabled and enabled not in _STARTS_BY_ITSELF:
        return ok("agent", text, "To have it start with every session: systemctl --user enable wgsd-nm-agent")
    return ok("agent", text)


def _configuration(facts: Facts) -> Iterator[Finding]:
    step, config, manager = "configuration", facts.config.config, facts.network_manager
    if config is None:
        yield problem(
            step,
            sentence(facts.config.problem),
            f"The agent keeps to the last configuration that was right. Correct the file, then: {RELOAD}",
        )
        return
    tunnels = _tunnels(facts)
    if not config.tunnels:
        up = " ".join(f"{each.interface} is up." for each in tunnels)
        yield problem(step, f"No tunnel is configured. {up}".rstrip(), _how_to_configure(tunnels))
        return
    matched = {each.interface: section_of(config, each) for each in tunnels}
    for section in config.tunnels if manager or facts.network_manager_problem else ():
        head = quoting.section(section.connection)
        mine = [each for each in tunnels if matched[each.interface] is section]
        if mine:
            yield from (_configured(facts, head, each) for each in mine)
        elif manager:
            yield problem(step, f"{head} is configured, and no such WireGuard connection is up.", BRING_UP)
        else:
            yield cannot_tell(step, f"{head} is configured; only NetworkManager knows whether that is up.")
    for each in tunnels:
        if matched[each.interface] is None:
            what = f"To have it looked after: {_how_to_configure((each,))}"
            yield ok(step, f"{each.interface} ({each.id}) is up and not configured, so it is left alone.", what)


def _configured(facts: Facts, head: str, connection: ConnectionFacts) -> Finding:
    step, interface, said = "configuration", connection.interface, facts.agent.said
    if connection.refused:
        text = f"{head} is configured and {interface} is up, but the permissions of its connection do not admit us."
        return problem(step, text, advice.admit(connection, facts.user))
    known = said is None or said.state == "unavailable" or any(each.interface == interface for each in said.tunnels)
    if known:
        return ok(step, f"{head} is configured, and {interface} is up.")
    return problem(step, f"{head} is configured and {interface} is up, but the agent does not know of it.", RELOAD)


def _how_to_configure(tunnels: tuple[ConnectionFacts, ...]) -> str:
    name = shlex.quote(tunnels[0].interface) if tunnels else "CONNECTION"
    return f"wgsd-nm setup {name} --zone ZONE --registry ADDRESS, with the zone and the address of your registry"


def _network_manager(facts: Facts) -> Iterator[Finding]:
    step, manager = "NetworkManager", facts.network_manager
    if facts.system_bus_problem:
        yield cannot_tell(
            step,
            sentence(f"The system bus cannot be reached: {facts.system_bus_problem}"),
            "Is D-Bus running? systemctl status dbus",
        )
    elif facts.network_manager_problem:
        yield cannot_tell(
            step,
            sentence(f"NetworkManager runs, but does not answer: {facts.network_manager_problem}"),
            "What it does: journalctl -u NetworkManager; if that does not help: sudo systemctl restart NetworkManager",
        )
    elif manager is None:
        yield problem(
            step,
            "NetworkManager is not running.",
            "sudo systemctl enable --now NetworkManager; on a machine without it, a timer can run wgsd-nm lookup",
        )
    else:
        yield ok(step, f"NetworkManager {manager.version} runs.")


def _network(facts: Facts) -> Iterator[Finding]:
    step, manager, said = "network", facts.network_manager, facts.agent.said
    if manager is None:
        if facts.network_manager_problem:
            yield cannot_tell(step, "Only NetworkManager knows whether a network leads out of this machine.")
        return
    if not manager.networking:
        yield problem(step, "Networking is switched off in NetworkManager, or it sleeps.", "nmcli networking on")
    elif said.state == "offline" if said else not manager.has_primary:
        yield problem(
            step,
            "No network leads out of this machine.",
            "Plug a cable in or choose a wireless network; nmcli device shows what there is",
        )
    else:
        yield ok(step, f"A network leads out; its connectivity is {manager.connectivity.name.lower()}.")


def _portal(facts: Facts) -> Iterator[Finding]:
    step, manager = "portal", facts.network_manager
    if manager is None:
        if facts.network_manager_problem:
            yield cannot_tell(step, "Only NetworkManager knows whether this network wants a login first.")
        return
    if manager.connectivity is Connectivity.PORTAL:
        where = manager.check_address or "any page without https"
        yield problem(
            step,
            "This network wants a login first; until then the registry is not asked.",
            f"Log in: open {where} in a browser",
        )
    elif manager.check_available is None:
        yield cannot_tell(step, "NetworkManager does not say whether it looks for captive portals.")
    elif not manager.check_available:
        yield cannot_tell(
            step,
            "No portal check is configured, so a network that wants a login first looks like any other.",
            "On Debian install network-manager-config-connectivity-debian, or write uri= into the section "
            "[connectivity] of a file in /etc/NetworkManager/conf.d (see NetworkManager.conf(5))",
        )
    elif not manager.check_enabled:
        yield cannot_tell(
            step,
            "The portal check is switched off, so a network that wants a login first looks like any other.",
            "Switch it on: in GNOME under Privacy, Connectivity; or remove enabled=false from the section "
            "[connectivity] of NetworkManager's configuration",
        )
    else:
        yield ok(step, "NetworkManager looks for captive portals, and this network has none.")


def _permission(facts: Facts) -> Iterator[Finding]:
    step, said = "permission", facts.agent.said
    if facts.helper_installed is False:
        yield problem(
            step,
            "The helper, which alone may set endpoints, is not installed where the system bus looks.",
            "Install wgsd-nm for the whole system, then: sudo systemctl reload dbus",
        )
        return
    if facts.seat_active is False:
        yield problem(
            step,
            "Another user's login session is active, and only the user at the screen may set endpoints.",
            "Switch to this user's session; the agent goes on at once",
        )
        return
    if said is None:
        yield cannot_tell(step, "Only the agent knows whether the helper serves it.", "Run this again while it runs")
        return
    runs = facts.network_manager is not None or facts.network_manager_problem
    refused = [each for each in said.tunnels if each.state == "unavailable"] if runs else []
    for tunnel in refused:
        text = sentence(f"{tunnel.interface}: {tunnel.last_error or 'the helper does not serve the agent'}")
        yield problem(step, text, _how_to_be_permitted(_connection(facts, tunnel), facts))
    if refused:
        return
    if any(tunnel.state not in _EXPLAINED_ELSEWHERE for tunnel in said.tunnels):
        yield ok(step, "The helper serves the agent.")
    elif facts.helper_installed:
        yield ok(step, "The helper is installed; there is nothing to ask of it yet.")
    else:
        yield cannot_tell(step, "Nothing has been asked of the helper yet.")


def _how_to_be_permitted(connection: ConnectionFacts | None, facts: Facts) -> str:
    if facts.network_manager_problem:
        return "The helper asks NetworkManager whose the connection is: see NetworkManager's line above"
    if connection and connection.external:
        return advice.name_to_helper(connection.interface)
    if connection and (connection.refused or (connection.users and facts.user not in connection.users)):
        return advice.admit(connection, facts.user)
    return (
        "polkit permits it to who is logged in at the screen. Elsewhere a rule in /etc/polkit-1/rules.d can; see "
        "pkaction --verbose --action-id io.github.wgsd-nm.helper1.set-endpoints, and journalctl -u wgsd-nm-helper"
    )


def _tunnels(facts: Facts) -> tuple[ConnectionFacts, ...]:
    """What is up: NetworkManager's connections, and devices of others that the agent looks after."""
    own = facts.network_manager.tunnels if facts.network_manager else ()
    said = facts.agent.said.tunnels if facts.agent.said else ()
    known = {each.interface for each in own}
    others = (
        ConnectionFacts(each.interface, each.connection_id, each.connection_uuid, external=True)
        for each in said
        if each.interface not in known
    )
    return (*own, *others)


def _connection(facts: Facts, tunnel: TunnelView) -> ConnectionFacts | None:
    return next((each for each in _tunnels(facts) if each.interface == tunnel.interface), None)


def _clock(facts: Facts) -> Iterator[Finding]:
    step, clock = "clock", facts.clock
    said = facts.agent.said or AgentView()
    ahead = max((peer.latest_handshake / 1e6 - clock.now for peer in said.peers), default=0.0)
    if ahead > FUTURE:
        yield problem(
            step,
            f"The clock was set back: the latest handshake lies {ahead:.0f} s in the future. A peer refuses handshakes "
            "that seem older than the last one, so none succeeds before that time.",
            "Set the clock right: sudo timedatectl set-ntp true",
        )
    elif clock.synchronized is None:
        yield cannot_tell(step, "Nobody here says whether the clock is right; peers refuse us if it was set back.")
    elif not clock.synchronized:
        yield cannot_tell(
            step,
            "The clock is not synchronized; peers refuse us if it was set back.",
            "sudo timedatectl set-ntp true",
        )
    else:
        yield ok(step, "The clock is synchronized.")
