# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm setup as a process, on real buses, with a real agent, a scripted NetworkManager and a registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.desktop import PEERS, ZONE, Desktop, endpoint_of
from tests.integration.scripted_nm import TUNNEL_UUID, peer_key, wireguard_profile
from tests.integration.waiting import run


async def setup(
    desktop: Desktop, connection: str = "tunnel", *more: str, zone: str = ZONE, registry: str = ""
) -> tuple[int, str]:
    """The exit status, and all that it said."""
    words = ("--zone", zone, "--registry", registry or str(desktop.registry.server), *more)
    program = await desktop.run("wgsd_nm.cli", "setup", connection, *words)
    status = await program.ended()
    return status, program.text()


def test_the_agent_is_started_and_finds_the_peers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path, config="", activatable=True) as desktop:
            await desktop.activate()
            status, said = await setup(desktop, "tunnel", "--name", f"bob={peer_key(1)}")
            assert status == 0, said
            assert "ok  connection  tunnel is a WireGuard connection, and up as wg0." in said
            assert f"{desktop.registry.server} is outside of the tunnel, and a route leads there." in said
            assert f"{desktop.registry.server} answers for {ZONE}, and knows 2 of 3 peers." in said
            assert f"{desktop.config_file}: [tunnel.tunnel] is written" in said
            shown = said.partition("\nState: ")[2]
            assert f"zone {ZONE}. at {desktop.registry.server}" in shown
            assert "  bob  " in shown
            for number in PEERS:
                assert str(endpoint_of(number)) in shown

    run(scenario())


def test_an_agent_that_runs_reads_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path, config='# mine\n[tunnel.other]\nzone = "auto"\n') as desktop:
            await desktop.activate()
            await desktop.start_agent()
            await desktop.client.state("idle")
            status, said = await setup(desktop, TUNNEL_UUID)
            assert status == 0, said
            assert desktop.config_file.read_text().startswith('# mine\n[tunnel.other]\nzone = "auto"\n\n')
            for number in PEERS:
                assert str(endpoint_of(number)) in said.partition("\nState: ")[2]

    run(scenario())


def test_a_section_by_another_name_is_changed(tmp_path: Path) -> None:
    async def scenario() -> None:
        before = '[tunnel.wg0]  # mine\nzone = "auto"\n'
        async with Desktop(tmp_path, config=before, activatable=True) as desktop:
            await desktop.activate()
            status, said = await setup(desktop, "tunnel")
            assert status == 0, said
            text = desktop.config_file.read_text()
            assert text.startswith(f'[tunnel.wg0]  # mine\nzone = "{ZONE}"\n')
            assert text.count("[tunnel") == 1

    run(scenario())


async def refused(desktop: Desktop, complaint: str, *words: str, registry: str = "") -> str:
    """It says that, and writes nothing."""
    status, said = await setup(desktop, *words, registry=registry)
    assert status == 1
    assert complaint in said
    assert "nothing is written, for a check failed" in said
    assert not desktop.config_file.exists()
    return said


def test_what_is_not_right_is_told_and_not_written(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path, config="", activatable=True) as desktop:
            await desktop.activate()
            said = await refused(desktop, 'NetworkManager has no connection "nobody" that we may see.', "nobody")
            assert 'There is "tunnel"' in said
            await refused(desktop, 'NetworkManager has no connection "" that we may see.', "")
            await refused(desktop, "The connection uplink is of type 802-3-ethernet, not WireGuard.", "uplink")
            stranger = str(peer_key(7))
            await refused(desktop, f"tunnel has no peer with the key {stranger}", "tunnel", "--name", f"x={stranger}")
            await refused(desktop, f"[::1]:1 does not answer for {ZONE}: ", "tunnel", registry="[::1]:1")
            await refused(
                desktop,
                "No peer's allowed IPs hold 255.255.255.255, and no other way leads there",
                registry="255.255.255.255",
            )
            status, said = await setup(desktop, "tunnel", "--force", registry="[::1]:1")
            assert status == 0, said
            assert 'registry = "[::1]:1"' in desktop.config_file.read_text()

    run(scenario())


def test_a_zone_of_which_the_registry_knows_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path, config="", activatable=True) as desktop:
            await desktop.activate()
            status, said = await setup(desktop, zone="elsewhere.example")
            assert status == 0, said
            assert "cannot tell" in said
            assert f"{desktop.registry.server} answers, and knows none of the 3 peers in elsewhere.example." in said

    run(scenario())


def test_a_device_that_wg_quick_made(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path, config="", activatable=True) as desktop:
            profile = wireguard_profile(0)
            await desktop.network_manager.update_profile({**profile, "wireguard": {}})
            await desktop.activate()
            await desktop.network_manager.now_external()
            status, said = await setup(desktop, "wg0", "--name", f"bob={peer_key(1)}")
            assert status == 0, said
            assert 'root has to name it: interfaces = ["wg0"] in /etc/wgsd-nm/helper.toml' in said
            assert "Whether tunnel has the peer bob is known to the kernel alone." in said
            assert f"Whether {desktop.registry.server} answers is seen when the agent asks" in said

    run(scenario())


def test_a_tunnel_that_is_not_up_is_written_for_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path, config="", activatable=True) as desktop:
            await desktop.network_manager.begin_activation()
            status, said = await setup(desktop, "tunnel", registry="10.77.0.2")
            assert status == 0, said
            assert "tunnel is a WireGuard connection, and not up." in said
            assert "-> Bring it up: nmcli connection up tunnel" in said
            assert f"10.77.0.2 is inside of the tunnel, behind the peer {peer_key(0)}." in said
            assert "10.77.0.2 can only be asked when tunnel is up." in said
            assert "State: idle" in said

    run(scenario())


def test_a_peer_without_an_endpoint_cannot_be_the_registrys(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path, config="", activatable=True) as desktop:
            await refused(desktop, "which has no endpoint in the connection", registry="10.77.0.3")

    run(scenario())


def test_by_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path, config="", activatable=True) as desktop:
            await desktop.activate()
            monkeypatch.setenv("SUDO_UID", "1000")
            await refused(desktop, "This is root's configuration, and root's session has no agent.")

    run(scenario())


def test_without_networkmanager(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path, config="", activatable=True) as desktop:
            await desktop.network_manager.vanish()
            await refused(desktop, "NetworkManager cannot be asked: ")

    run(scenario())


def test_an_agent_that_nobody_can_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path, config="") as desktop:
            await desktop.activate()
            status, said = await setup(desktop)
            assert status == 2
            assert "[tunnel.tunnel] is written" in said
            assert "the session bus does not know how to start it" in said
            assert "start it: let your desktop start wgsd-nm-agent with the session" in said

    run(scenario())


def test_an_agent_that_does_not_take_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desktop(tmp_path, config="", activatable=True) as desktop:
            await desktop.activate()
            await desktop.start_agent()
            desktop.session_bus.stop()
            status, said = await setup(desktop)
            assert status == 2
            assert "the agent could not be told: " in said
            assert "export DBUS_SESSION_BUS_ADDRESS" in said

    run(scenario())
