# SPDX-License-Identifier: GPL-2.0-or-later
"""The doctor's walk as a table: a situation, and the lines that it leads to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from tests.unit.cli_agent import BOB, CAROL, NOW, REGISTRY, before, peer, properties, tunnel
from wgsd_nm.cli import findings
from wgsd_nm.cli.facts import AgentFacts, ClockFacts, ConfigFacts, ConnectionFacts, Facts, NetworkManagerFacts
from wgsd_nm.cli.finding import Finding, Result, capital, sentence
from wgsd_nm.cli.view import AgentView
from wgsd_nm.core.config import Config, parse
from wgsd_nm.core.model import Connectivity, ProfilePeer, PublicKey

CONFIG = parse('[tunnel.home]\nzone = "wg.example.com"\nregistry = "10.0.0.254"\n', "config.toml")
PROFILE = tuple(
    ProfilePeer(PublicKey.parse(key), endpoint, 25, (ip_network(f"10.0.0.{number}/32"),))
    for key, endpoint, number in ((REGISTRY, "vpn.example.com:51820", 254), (BOB, "", 2), (CAROL, "", 3))
)
HOME = ConnectionFacts("wg0", "home", "22222222-2222-4222-8222-222222222222", peers=PROFILE)
MANAGER = NetworkManagerFacts(
    "1.42.4", connectivity=Connectivity.FULL, check_available=True, check_enabled=True, tunnels=(HOME,)
)
AGENT = AgentFacts(running=True, unit="wgsd-nm-agent.service", enabled="enabled")
STEPS = ["agent", "configuration", "NetworkManager", "network", "portal", "permission"]


def agent(**said: Any) -> AgentFacts:
    """An agent that says so."""
    return replace(AGENT, said=AgentView.of(properties(**said)))


def facts(agent: AgentFacts | None = None, manager: Mapping[str, Any] | None = None, **different: Any) -> Facts:
    """A laptop on which all is well, but for this."""
    well = Facts(
        clock=ClockFacts(NOW, True),
        user="u",
        version="0.1.0",
        agent=replace(AGENT, said=AgentView.of(properties())) if agent is None else agent,
        config=ConfigFacts(CONFIG),
        network_manager=replace(MANAGER, **(manager or {})),
        helper_installed=True,
        seat_active=True,
    )
    return replace(well, **different)


def found(situation: Facts, step: str) -> list[Finding]:
    return [finding for finding in findings.examine(situation) if finding.step == step]


def test_all_is_well() -> None:
    walk = list(findings.examine(facts()))
    assert [finding.step for finding in walk] == [*STEPS, "registry", "registry peer", "peer", "clock"]
    assert {finding.result for finding in walk} == {Result.OK}
    assert not any(finding.advice for finding in walk)
    assert findings.could_look(facts())


GONE = AgentFacts(enabled="enabled")
CAPTIVE = {"connectivity": Connectivity.PORTAL, "check_address": "http://example.com/check"}
OLD = agent(Version="0.0.9")
NO_CONFIG = ConfigFacts(Config())
WRONG = ConfigFacts(None, "config.toml: tunnel.home.zone: a DNS zone is expected")
ELSEWHERE = ConfigFacts(parse('[tunnel.office]\nzone = "a.example"\nregistry = "10.1.0.1"\n', "config.toml"))
FOREIGN = replace(HOME, interface="wg1", id="mullvad", uuid="x", peers=())
REFUSED = agent(
    State="unavailable",
    tunnels=[tunnel(State="unavailable", LastError="polkit does not permit it")],
)
SPACED = replace(HOME, id="My VPN")
SPACES = ConfigFacts(parse('[tunnel."My VPN"]\nzone = "a.example"\nregistry = "10.1.0.1"\n', "config.toml"))
HUNG = facts(network_manager=None, network_manager_problem="no answer in 5 s")
SITUATIONS = {
    "no session bus": (
        facts(AgentFacts(), session_bus_problem="no such file"),
        ("agent", Result.CANNOT_TELL, "no such file.", "DBUS_SESSION_BUS_ADDRESS"),
    ),
    "agent ended": (facts(GONE), ("agent", Result.PROBLEM, "is not running", "start wgsd-nm-agent; what ended it")),
    "agent never started": (facts(AgentFacts()), ("agent", Result.PROBLEM, "is not running", "enable --now")),
    "agent hangs": (
        facts(AgentFacts(running=True, problem="no answer within 5 s")),
        ("agent", Result.CANNOT_TELL, "does not answer: no answer within 5 s.", "restart"),
    ),
    "agent of before the upgrade": (
        facts(OLD),
        ("agent", Result.PROBLEM, "is version 0.0.9, and this is 0.1.0", "restart"),
    ),
    "agent by its unit": (facts(), ("agent", Result.OK, "version 0.1.0, started by its unit.", "")),
    "agent by hand": (
        facts(replace(agent(), unit="", enabled="disabled")),
        ("agent", Result.OK, "started not by its unit.", "systemctl --user enable"),
    ),
    "no systemd": (facts(replace(agent(), unit=None, enabled="")), ("agent", Result.OK, "version 0.1.0.", "")),
    "wrong configuration": (
        facts(agent(LastError=WRONG.problem), config=WRONG),
        ("configuration", Result.PROBLEM, "tunnel.home.zone: a DNS zone is expected.", "reload"),
    ),
    "nothing configured": (
        facts(agent(tunnels=[], peers=[], State="idle"), config=NO_CONFIG),
        (
            "configuration",
            Result.PROBLEM,
            "No tunnel is configured. wg0 is up.",
            "wgsd-nm setup wg0 --zone ZONE --registry ADDRESS",
        ),
    ),
    "nothing configured and nothing up": (
        facts(agent(tunnels=[], peers=[], State="idle"), {"tunnels": ()}, config=NO_CONFIG),
        ("configuration", Result.PROBLEM, "No tunnel is configured.", "wgsd-nm setup CONNECTION --zone"),
    ),
    "configured and down": (
        facts(agent(tunnels=[], peers=[], State="idle"), {"tunnels": ()}),
        ("configuration", Result.PROBLEM, "[tunnel.home] is configured, and no such", "nmcli connection up ID"),
    ),
    "its permissions do not admit us": (
        facts(agent(tunnels=[], peers=[], State="idle"), {"tunnels": (replace(SPACED, refused=True),)}, config=SPACES),
        (
            "configuration",
            Result.PROBLEM,
            '[tunnel."My VPN"] is configured and wg0 is up, but the permissions',
            "sudo nmcli connection modify 'My VPN' +connection.permissions user:u",
        ),
    ),
    "an interface with a dot": (
        facts(manager={"tunnels": (replace(HOME, interface="wg.home"),)}, config=NO_CONFIG, agent=AgentFacts()),
        ("configuration", Result.PROBLEM, "wg.home is up.", "wgsd-nm setup wg.home --zone"),
    ),
    "configured, up, unknown to the agent": (
        facts(agent(tunnels=[], peers=[], State="idle")),
        ("configuration", Result.PROBLEM, "the agent does not know of it", "reload"),
    ),
    "another's device that the agent looks after": (
        facts(manager={"tunnels": ()}),
        ("configuration", Result.OK, "[tunnel.home] is configured, and wg0 is up.", ""),
    ),
    "no NetworkManager": (
        facts(network_manager=None),
        ("NetworkManager", Result.PROBLEM, "is not running", "enable --now"),
    ),
    "NetworkManager hangs": (HUNG, ("NetworkManager", Result.CANNOT_TELL, "not answer: no answer in 5 s.", "restart")),
    "NetworkManager hangs, and what is up": (
        replace(HUNG, agent=agent(tunnels=[], peers=[])),
        ("configuration", Result.CANNOT_TELL, "[tunnel.home] is configured; only NetworkManager knows", ""),
    ),
    "NetworkManager hangs, and the agent knows what is up": (
        HUNG,
        ("configuration", Result.OK, "[tunnel.home] is configured, and wg0 is up.", ""),
    ),
    "NetworkManager hangs, and the way out": (HUNG, ("network", Result.CANNOT_TELL, "Only NetworkManager knows", "")),
    "NetworkManager hangs, and the portal": (HUNG, ("portal", Result.CANNOT_TELL, "Only NetworkManager knows", "")),
    "NetworkManager hangs, and the helper": (
        replace(HUNG, agent=REFUSED),
        ("permission", Result.PROBLEM, "wg0: polkit does not permit it.", "NetworkManager's line above"),
    ),
    "no system bus": (
        facts(network_manager=None, system_bus_problem="no such file"),
        ("NetworkManager", Result.CANNOT_TELL, "no such file.", "systemctl status dbus"),
    ),
    "networking off": (
        facts(manager={"networking": False}),
        ("network", Result.PROBLEM, "switched off", "nmcli networking on"),
    ),
    "offline": (facts(agent(State="offline")), ("network", Result.PROBLEM, "No network leads out", "nmcli device")),
    "offline, and no agent": (
        facts(GONE, {"has_primary": False}),
        ("network", Result.PROBLEM, "No network leads out", ""),
    ),
    "online": (facts(GONE), ("network", Result.OK, "its connectivity is full", "")),
    "captive portal": (
        facts(agent(State="captive-portal"), CAPTIVE),
        ("portal", Result.PROBLEM, "wants a login first", "open http://example.com/check"),
    ),
    "no portal check": (
        facts(manager={"check_available": False}),
        ("portal", Result.CANNOT_TELL, "No portal check is configured", "network-manager-config-connectivity-debian"),
    ),
    "portal check off": (
        facts(manager={"check_enabled": False}),
        ("portal", Result.CANNOT_TELL, "is switched off", "[connectivity]"),
    ),
    "old NetworkManager": (
        facts(manager={"check_available": None}),
        ("portal", Result.CANNOT_TELL, "does not say", ""),
    ),
    "no helper": (facts(helper_installed=False), ("permission", Result.PROBLEM, "is not installed", "reload dbus")),
    "another's seat": (facts(REFUSED, seat_active=False), ("permission", Result.PROBLEM, "Another user's", "Switch")),
    "no word of the agent": (facts(GONE), ("permission", Result.CANNOT_TELL, "Only the agent knows", "")),
    "polkit": (facts(REFUSED), ("permission", Result.PROBLEM, "wg0: polkit does not permit it.", "rules.d")),
    "helper.toml": (
        facts(REFUSED, {"tunnels": (replace(HOME, external=True),)}),
        ("permission", Result.PROBLEM, "wg0: polkit", 'interfaces = ["wg0"] in /etc/wgsd-nm/helper.toml'),
    ),
    "connection.permissions": (
        facts(REFUSED, {"tunnels": (replace(HOME, users=frozenset({"v"})),)}),
        ("permission", Result.PROBLEM, "wg0: polkit", "modify home +connection.permissions user:u"),
    ),
    "a profile that we may not read": (
        facts(REFUSED, {"tunnels": (replace(SPACED, refused=True),)}, config=SPACES),
        ("permission", Result.PROBLEM, "wg0: polkit", "modify 'My VPN' +connection.permissions user:u"),
    ),
    "polkit, though connection.permissions admit us": (
        facts(REFUSED, {"tunnels": (replace(HOME, users=frozenset({"u", "v"})),)}),
        ("permission", Result.PROBLEM, "wg0: polkit", "rules.d"),
    ),
    "permitted": (facts(), ("permission", Result.OK, "serves the agent", "")),
    "nothing to permit": (
        facts(agent(tunnels=[], peers=[], State="idle")),
        ("permission", Result.OK, "nothing to ask of it yet", ""),
    ),
    "helper unknown": (
        facts(agent(tunnels=[], peers=[], State="idle"), helper_installed=None),
        ("permission", Result.CANNOT_TELL, "Nothing has been asked", ""),
    ),
    "clock set back": (
        facts(agent(peers=[peer(LatestHandshake=before(-3600))])),
        ("clock", Result.PROBLEM, "lies 3600 s in the future", "set-ntp"),
    ),
    "a handshake while we looked": (
        facts(agent(peers=[peer(LatestHandshake=before(-1))])),
        ("clock", Result.OK, "", ""),
    ),
    "clock free": (facts(clock=ClockFacts(NOW, False)), ("clock", Result.CANNOT_TELL, "not synchronized", "set-ntp")),
    "clock unknown": (facts(clock=ClockFacts(NOW, None)), ("clock", Result.CANNOT_TELL, "Nobody here says", "")),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation(name: str) -> None:
    situation, (step, result, text, advice) = SITUATIONS[name]
    (finding,) = found(situation, step)
    assert finding.result is result
    assert text in finding.text
    assert advice in finding.advice
    assert bool(advice) or result is not Result.OK or not finding.advice


def test_a_complaint_about_the_configuration_is_told_once() -> None:
    situation = facts(agent(LastError=WRONG.problem), config=WRONG)
    walk = list(findings.examine(situation))
    assert sum(WRONG.problem in finding.text for finding in walk) == 1


def test_what_troubles_the_agent_as_a_whole() -> None:
    runs, trouble = found(facts(agent(LastError="It is odd")), "agent")
    assert (runs.result, trouble.result, trouble.text) == (Result.OK, Result.PROBLEM, "It is odd.")


def test_a_tunnel_that_is_not_configured_is_no_problem() -> None:
    home, office = found(facts(manager={"tunnels": (HOME, FOREIGN)}), "configuration")
    assert (home.result, office.result) == (Result.OK, Result.OK)
    assert "wg1 (mullvad) is up and not configured" in office.text
    assert "wgsd-nm setup wg1 --zone" in office.advice


def test_of_two_connections_each_is_told() -> None:
    down, foreign = found(facts(agent(tunnels=[], peers=[]), config=ELSEWHERE), "configuration")
    assert (down.result, foreign.result) == (Result.PROBLEM, Result.OK)
    assert "office" in down.text
    assert "wg0 (home)" in foreign.text


@pytest.mark.parametrize("state", ["unavailable", "offline", "captive-portal"])
def test_what_is_explained_already_is_not_told_again_of_each_peer(state: str) -> None:
    situation = facts(agent(State=state, tunnels=[tunnel(State=state)], peers=[peer(State="stale")]))
    assert not found(situation, "registry")
    assert not found(situation, "peer")


@pytest.mark.parametrize(
    ("name", "looked"),
    [
        ("no session bus", False),
        ("no system bus", False),
        ("agent hangs", False),
        ("agent ended", True),
        ("no NetworkManager", True),
        ("NetworkManager hangs", False),
    ],
)
def test_could_look(name: str, looked: bool) -> None:
    assert findings.could_look(SITUATIONS[name][0]) is looked


def test_texts_of_others_become_sentences() -> None:
    assert [sentence(text) for text in ("It is", "It is.", "Is it?")] == ["It is.", "It is.", "Is it?"]
    assert capital("write wg0") == "Write wg0"
