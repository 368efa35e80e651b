# SPDX-License-Identifier: GPL-2.0-or-later
"""The extension in real GNOME Shells, with the real agent: what people see, click and type."""

from __future__ import annotations

from tests.integration.scripted_nm import REGISTRY
from tests.shell.conftest import Stage
from tests.shell.driver import Key, Seen
from tests.shell.judging import left_behind
from tests.shell.scene import BOB, CAROL, UUID, Scene
from wgsd_nm.bus import names
from wgsd_nm.core.notices import FAILED

SOME = "2 of 3 reached"
ITS_OWN = {43: {"handlers": 1}}
"""What a shell itself leaves behind: in 43 each item with a menu costs a handler on the stage (PopupMenuManager)."""
MOST_KEYS = 40
"""Presses after which what is looked for with the keyboard is not there."""


def row(seen: list[Seen], name: str) -> str:
    """What a screen reader says of a peer's row."""
    (found,) = (each.name for each in seen if each.role == "menu item" and each.name.startswith(f"{name}, "))
    return found


def shown(seen: list[Seen], name: str) -> list[str]:
    """The words of a peer's row, as they stand on the screen."""
    (found,) = (each for each in seen if each.role == "menu item" and each.name.startswith(f"{name}, "))
    return [each.text for each in seen if each.text and each.inside(found)]


def is_icon(seen: Seen) -> bool:
    """Whether it is our icon in the panel, that tells that some are reached."""
    return SOME in seen.name and seen.icon != ""


async def press_until(scene: Scene, key: Key, words: str) -> None:
    """Press the key, which always moves the keyboard focus, until what has it is called so."""
    passed: list[str] = []
    for _ in range(MOST_KEYS):
        passed.append(await scene.driver.focus())
        if words in passed[-1]:
            return
        await scene.driver.press(key)
        await scene.driver.until(scene.driver.focus, lambda now: now != passed[-1], f"{key.name} to do something")
    raise AssertionError(f"{words!r} cannot be reached by {key.name}, but these: {passed}")


def test_the_panel_tells_at_a_glance_and_the_menu_why(stage: Stage) -> None:
    async def act(scene: Scene) -> None:
        driver = scene.driver
        icon = await driver.find(is_icon, "our icon in the panel")
        assert "peers-some-symbolic" in icon.icon
        assert icon.y < 32
        await scene.open_menu()
        seen = await driver.sees("bob, Not reached")
        assert row(seen, "bob") == "bob, Not reached, The registry does not know it, or has not heard from it yet."
        assert shown(seen, "bob") == ["bob", *row(seen, "bob").removeprefix("bob, ").split(", ", 1)]
        assert row(seen, "carol").startswith("carol, Connected, Direct")
        assert row(seen, "home").startswith("home, Connected, Direct")
        assert any("198.51.100.99:51820" in each.text for each in seen)
        assert scene.desktop.client.properties["State"] == "degraded"

    stage.play(act)


def test_the_keyboard_alone_leads_through_the_menu_and_looks_up(stage: Stage) -> None:
    async def act(scene: Scene) -> None:
        driver = scene.driver
        await driver.press(Key.CONTROL, Key.ALT, Key.TAB)
        await driver.until(driver.focus, lambda focus: "Activities" in focus, "the panel to have the keyboard focus")
        await press_until(scene, Key.TAB, "System")
        await driver.press(Key.RETURN)
        await scene.toggle()
        await press_until(scene, Key.DOWN, "Take Screenshot")
        await press_until(scene, Key.TAB, "Peers")
        await driver.press(Key.RETURN)
        await driver.sees("Look up now")
        for name in ("bob", "carol", "home"):
            await press_until(scene, Key.DOWN, f"{name}, ")
        asked = len(scene.desktop.registry.heard.seen)
        await press_until(scene, Key.DOWN, "Look up now")
        await driver.press(Key.RETURN)
        await scene.desktop.registry.heard.count(asked + 1)
        await driver.press(Key.ESCAPE)
        await driver.sees_not("Look up now")

    stage.play(act)


def test_nothing_is_shown_while_no_tunnel_is_up(stage: Stage) -> None:
    async def act(scene: Scene) -> None:
        await scene.open_menu()
        await scene.desktop.network_manager.deactivate()
        await scene.driver.sees_not("reached")
        await scene.driver.sees_not("Look up now")
        await scene.desktop.activate()
        await scene.driver.sees("WireGuard peers: ")

    stage.play(act)


def test_an_agent_that_dies_is_not_shown_nor_started_and_one_that_comes_back_is(stage: Stage) -> None:
    async def act(scene: Scene) -> None:
        driver = scene.driver
        await scene.open_menu()
        assert scene.agent is not None
        await scene.agent.kill()
        await driver.sees_not("reached")
        await driver.sees_not("Look up now")
        await driver.enable(UUID, False)
        await driver.enable(UUID, True)
        await driver.eval("probe.footprint()")
        (owned,) = await driver.bus.call(*BUS, "NameHasOwner", "s", names.AGENT)
        assert not owned
        await scene.start_agent()
        await driver.sees("WireGuard peers: ")
        await scene.open_menu()

    stage.play(act)


BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")


def test_it_goes_with_the_lock_screen_and_comes_back(stage: Stage) -> None:
    async def act(scene: Scene) -> None:
        driver = scene.driver
        await driver.sees(SOME)
        await driver.eval("Main.sessionMode.pushMode('unlock-dialog')")
        await driver.rests(UUID)
        await driver.sees_not("reached")
        await driver.eval("Main.sessionMode.popMode('unlock-dialog')")
        await driver.sees(SOME)
        await scene.open_menu()

    stage.play(act)


def test_a_notice_of_the_agent_is_shown_by_the_shell(stage: Stage) -> None:
    async def act(scene: Scene) -> None:
        await scene.driver.click(
            await scene.driver.find(lambda seen: seen.kind == "DateMenuButton", "the clock in the panel")
        )
        await scene.driver.sees("Cannot reach bob", within=FAILED + 30)
        await scene.picture(f"gnome{scene.shell}-notice")

    stage.play(act)


def test_nothing_is_left_behind_by_switching_it_off_and_on(stage: Stage) -> None:
    """Once the shell has shown the agent's notice: it would be counted."""

    async def act(scene: Scene) -> None:
        await scene.open_menu()
        assert await left_behind(scene.driver, UUID, ITS_OWN.get(scene.shell, {})) == {}
        await scene.driver.sees(SOME)

    stage.play(act)


def test_a_peer_turns_from_unreachable_to_connected_before_the_eyes_of_who_looks(stage: Stage) -> None:
    async def act(scene: Scene) -> None:
        driver = scene.driver
        await scene.open_menu()
        await driver.sees("bob, Not reached")
        await scene.picture(f"gnome{scene.shell}-unreachable")
        scene.register(BOB)
        asked = len(scene.desktop.registry.heard.seen)
        await driver.click(await driver.find(lambda seen: seen.text == "Look up now", "the item that looks up"))
        await scene.desktop.registry.heard.count(asked + 1)
        await driver.sees("bob, Being tried")
        await scene.reach(BOB, CAROL, REGISTRY)
        seen = await driver.sees("bob, Connected, Direct", "3 of 3 reached")
        assert any("peers-all-symbolic" in each.icon and each.y < 32 for each in seen)
        await scene.picture(f"gnome{scene.shell}-connected")

    stage.play(act)
