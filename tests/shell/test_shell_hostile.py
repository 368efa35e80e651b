# SPDX-License-Identifier: GPL-2.0-or-later
"""An agent that says what ours never would: the extension shows what can be shown, and the shell stays as it is."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from tests.shell.conftest import Stage
from tests.shell.scene import Scene
from wgsd_nm.bus import names
from wgsd_nm.bus.connection import Bus, Interface, Property
from wgsd_nm.bus.marshal import Variant

PEERS: Final = 1000
NAMES: Final = {
    1: "0 <b>&amp;</b><span size='999999'>",
    2: "0 two\nlines",
    3: "0" * 5000,
    4: "0 \u202egnitirw",
    5: "",
}
"""What some of the peers are called; no peer can be called so by our agent, or only with an ill-meaning registry. They
come first in the alphabet."""
TUNNEL: Final = {"Interface": Variant("s", "wg0"), "ConnectionId": Variant("s", "home"), "State": Variant("s", "later")}


def peer(number: int) -> dict[str, Variant]:
    """An entry of Peers with words that nobody knows yet."""
    name = NAMES.get(number, f"peer {number}")
    texts = {"Interface": "wg0", "PublicKey": f"{number:044d}", "Name": name, "State": "levitating", "Reason": "magic"}
    return {key: Variant("s", text) for key, text in texts.items()} | {
        "ReasonText": Variant("s", "It levitates."),
        "ConnectedSince": Variant("t", 2**64 - 1),
    }


def _same(value: object) -> object:
    return value


class OddAgent:
    """Has the agent's name, and properties of any type."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def appear(self, **properties: tuple[str, Any]) -> None:
        """Each with its signature and its value."""
        members = {name: Property(signature, partial(_same, value)) for name, (signature, value) in properties.items()}
        self._bus.export(names.AGENT_PATH, Interface(names.AGENT, properties=members))
        await self._bus.request_name(names.AGENT)


async def odd_agent(scene: Scene, **properties: tuple[str, Any]) -> Bus:
    """The real agent goes, and another one comes in its place, on the connection that is returned."""
    assert scene.agent is not None
    await scene.agent.kill()
    bus = Bus(system=False, address=scene.desktop.session_bus.address)
    await bus.connect()
    await OddAgent(bus).appear(**properties)
    return bus


def test_a_thousand_peers_with_odd_names_and_words_are_shown_as_far_as_they_fit(stage: Stage) -> None:
    async def act(scene: Scene) -> None:
        bus = await odd_agent(
            scene,
            State=("s", "dancing"),
            Tunnels=("aa{sv}", [TUNNEL]),
            Peers=("aa{sv}", [peer(number) for number in range(1, PEERS + 1)]),
        )
        try:
            seen = await scene.open_menu()
            texts = [each.text for each in seen]
            assert NAMES[1] in texts
            assert "0 two lines" in texts
            assert all("\n" not in text and "\u202e" not in text for text in texts)
            assert any(text.startswith("and ") and text.endswith(" more") for text in texts)
            (look_up,) = (each for each in seen if each.text == "Look up now")
            assert look_up.y + look_up.height < 800
            await scene.picture(f"gnome{scene.shell}-thousand")
        finally:
            await bus.close()
        await scene.driver.sees_not("Look up now")

    stage.play(act)


def test_values_of_other_types_are_as_good_as_none(stage: Stage) -> None:
    async def act(scene: Scene) -> None:
        bus = await odd_agent(
            scene, State=("u", 7), Tunnels=("s", "none"), Peers=("aa{sv}", [{"Name": Variant("u", 1)}])
        )
        try:
            await scene.driver.sees_not("WireGuard peers: ")
            await scene.driver.eval("probe.footprint()")
        finally:
            await bus.close()

    stage.play(act)
