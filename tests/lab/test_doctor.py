# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm doctor on a laptop with a real NetworkManager, polkit, helper and kernel: what it finds is what is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from lab.world import Laptop, World, install, wait_for
from lab.world.agent import AGENT, AGENT_PATH, ZONE, configuration, refresh, start_agent, start_registry
from lab.world.laptop import USER
from lab.world.profile import WireGuardProfile

PATIENCE = 120.0
"""Seconds for the agent to see what is wrong."""
MANAGER = "/etc/NetworkManager/NetworkManager.conf"


class Doctor:
    """The doctor, as the ordinary user u calls it on a laptop."""

    def __init__(self, laptop: Laptop) -> None:
        self._laptop = laptop

    def look(self) -> tuple[int, dict[str, dict[str, str]]]:
        """Its exit status, and the finding of each step; of several, the worst."""
        ended = self._laptop.run(["python3", "-m", "wgsd_nm.cli", "doctor", "--json"], user=USER, check=False)
        assert ended.stderr == ""
        found: dict[str, dict[str, str]] = {}
        for finding in json.loads(ended.stdout):
            if found.get(finding["step"], {}).get("result") != "problem":
                found[finding["step"]] = finding
        return ended.status, found

    def finds(self, step: str, result: str) -> dict[str, str]:
        """Waits until a step stands so; returns the finding."""
        seen: list[dict[str, str]] = []

        def found() -> bool:
            seen.append(self.look()[1].get(step, {}))
            return seen[-1].get("result") == result

        wait_for(found, PATIENCE, f"the doctor to find of {step}: {result}", 1.0)
        return seen[-1]


@pytest.fixture
def doctor(world: World, alice: Laptop) -> Iterator[Doctor]:
    """With an agent that is configured."""
    start_agent(alice, configuration(world, alice))
    yield Doctor(alice)
    alice.stop("agent")


@pytest.fixture
def registry(world: World) -> Iterator[None]:
    """The registry program runs."""
    start_registry(world)
    yield
    world.registry.stop("registry")


@pytest.fixture
def reprofile(world: World, alice: Laptop) -> Iterator[Callable[[WireGuardProfile], None]]:
    """Changes the profile of Alice's wg0 until the test's end."""

    def change(profile: WireGuardProfile) -> None:
        alice.adopt(profile)
        alice.wait_connected("wg0")

    yield change
    change(world.profile("alice", ["bob"]))


@pytest.mark.usefixtures("registry")
def test_up_to_the_peers_all_is_well(alice: Laptop, doctor: Doctor) -> None:
    doctor.finds("registry peer", "ok")
    refresh(alice)
    finding = doctor.finds("registry", "ok")
    assert f"10.0.0.254 answers for {ZONE}" in finding["text"]
    _, found = doctor.look()
    for step in ("agent", "configuration", "NetworkManager", "network", "portal", "permission"):
        assert found[step]["result"] == "ok", found[step]
    assert found["peer"]["name"] == "bob"


def test_not_configured(alice: Laptop) -> None:
    start_agent(alice, "")
    try:
        status, found = Doctor(alice).look()
    finally:
        alice.stop("agent")
    assert status == 1
    assert found["configuration"]["text"] == "No tunnel is configured. wg0 is up."
    assert found["configuration"]["advice"].startswith("wgsd-nm setup wg0 --zone ZONE --registry ADDRESS, ")


def test_the_registry_is_down(doctor: Doctor) -> None:
    finding = doctor.finds("registry", "problem")
    assert "10.0.0.254" in finding["text"]
    assert f"dig @10.0.0.254 {ZONE}. SOA" in finding["advice"]


@pytest.mark.usefixtures("registry")
def test_the_registrys_peer_has_no_keepalive(
    world: World, reprofile: Callable[[WireGuardProfile], None], doctor: Doctor
) -> None:
    profile, key = world.profile("alice", ["bob"]), world.keys["registry"].public
    silent = (replace(peer, keepalive=0 if peer.public_key == key else peer.keepalive) for peer in profile.peers)
    reprofile(replace(profile, peers=tuple(silent)))
    finding = doctor.finds("registry peer", "problem")
    assert "keepalive is off" in finding["text"]
    assert f"persistent-keepalive=25 into [wireguard-peer.{key}]" in finding["advice"]


@pytest.mark.usefixtures("doctor")
def test_no_portal_check_is_configured(alice: Laptop) -> None:
    doctor = Doctor(alice)
    doctor.finds("portal", "ok")
    as_debian = install.NETWORK_MANAGER.partition("[connectivity]")[0]
    alice.write(MANAGER, as_debian)
    alice.nmcli("general", "reload", "conf")
    try:
        finding = doctor.finds("portal", "cannot-tell")
        assert finding["text"].startswith("No portal check is configured")
        alice.write(MANAGER, install.NETWORK_MANAGER.replace("enabled=true", "enabled=false"))
        alice.nmcli("general", "reload", "conf")
        wait_for(
            lambda: doctor.finds("portal", "cannot-tell")["text"].startswith("The portal check is switched off"),
            PATIENCE,
            "the check to be switched off",
        )
    finally:
        install.network_manager(alice)
        alice.nmcli("general", "reload", "conf")
    doctor.finds("portal", "ok")


def test_polkit_does_not_permit_it(alice: Laptop, doctor: Doctor) -> None:
    alice.path("/etc/polkit-1/rules.d/10-lab.rules").unlink()
    try:
        finding = doctor.finds("permission", "problem")
        assert "polkit does not permit io.github.wgsd-nm.helper1." in finding["text"]
    finally:
        install.polkit_rule(alice, USER)
    alice.busctl_user("call", AGENT, AGENT_PATH, AGENT, "Reload")
    doctor.finds("permission", "ok")


def test_no_agent(alice: Laptop) -> None:
    status, found = Doctor(alice).look()
    assert status == 1
    assert found["agent"]["text"] == "The agent is not running."


def test_for_somebody_without_a_session_it_cannot_look(alice: Laptop) -> None:
    ended = alice.run(["python3", "-m", "wgsd_nm.cli", "doctor"], check=False)
    assert ended.status == 2
    assert "not by sudo" in ended.stdout
