# SPDX-License-Identifier: GPL-2.0-or-later
"""How the extension looks to people who read, see and write differently; each look leaves a picture."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from lab import trees
from tests.shell.box import SIZE
from tests.shell.driver import Seen
from tests.shell.scene import Scene

DEADLINE: Final = 120
"""Seconds that all looks of one language may take on a busy machine."""
INTERFACE = "org.gnome.desktop.interface"
LOOKS: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "light": (INTERFACE, "color-scheme", "'prefer-light'", "'default'"),
    "dark": (INTERFACE, "color-scheme", "'prefer-dark'", "'default'"),
    "large": (INTERFACE, "text-scaling-factor", "1.5", "1.0"),
    "contrast": ("org.gnome.desktop.a11y.interface", "high-contrast", "true", "false"),
}
"""A setting of GNOME's, its value for that look, and the usual one."""


def on_screen(seen: Seen) -> bool:
    return seen.x >= 0 and seen.y >= 0 and seen.x + seen.width <= SIZE[0] and seen.y + seen.height <= SIZE[1]


def menu_item(seen: list[Seen], words: str) -> Seen:
    """What can be chosen, of that name."""
    (found,) = (each for each in seen if each.role == "menu item" and each.name.startswith(words))
    return found


def fits(scene: Scene, seen: list[Seen]) -> None:
    """The first row and what can be done are on the screen, one below the other, and the words of each within it."""
    items = [
        menu_item(seen, name) for name in ("bob", scene.words.gettext("Look up now"), scene.words.gettext("Details"))
    ]
    assert all(on_screen(item) for item in items), items
    assert all(upper.y + upper.height <= lower.y for upper, lower in itertools.pairwise(items)), items
    for item in items:
        words = [each for each in seen if each.text and each.inside(item)]
        assert words
        assert all(item.x <= each.x and each.x + each.width <= item.x + item.width for each in words), words


def play(scene: Scene, name: str) -> None:
    """Run what `name` says with a scene of its own."""

    async def scenario() -> None:
        async with asyncio.timeout(DEADLINE), scene:
            await scene.at_rest()
            await LANGUAGES[name](scene)
            assert scene.problems == []
            assert "Could not load a pixbuf" not in scene.box.log, "the shell has no icons"

    asyncio.run(scenario())


async def shown(scene: Scene, name: str) -> list[Seen]:
    """Open the menu, and keep a picture of it."""
    await scene.open_menu()
    await scene.driver.sees(f"bob, {scene.words.gettext('Not reached')}")
    seen = await scene.driver.still()
    await scene.picture(f"gnome{scene.shell}-{name}")
    return seen


async def english(scene: Scene) -> None:
    fits(scene, await shown(scene, "usual"))
    for look, (schema, key, value, usual) in LOOKS.items():
        await scene.driver.set(schema, key, value)
        fits(scene, await shown(scene, look))
        await scene.driver.set(schema, key, usual)


async def german(scene: Scene) -> None:
    seen = await shown(scene, "german")
    fits(scene, seen)
    texts = {each.text for each in seen}
    for words in ("Look up now", "Details", "Not reached", "WireGuard Peers"):
        assert scene.words.gettext(words) in texts
    assert "Look up now" not in texts
    assert scene.words.gettext("The registry does not know it, or has not heard from it yet.") in texts


async def right_to_left(scene: Scene) -> None:
    seen = await shown(scene, "right-to-left")
    fits(scene, seen)
    row = menu_item(seen, "bob")
    inside = [each for each in seen if each.inside(row)]
    (icon,) = (each for each in inside if each.icon)
    assert icon.direction == "rtl"
    assert all(each.x + each.width <= icon.x for each in inside if each.text), inside


LANGUAGES = {"english": english, "german": german, "right_to_left": right_to_left}
LOCALES = {"english": "C.UTF-8", "german": "de_DE.UTF-8", "right_to_left": "he_IL.UTF-8"}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("shell", sorted(trees.SHELLS))
def test_the_menu_fits_and_leaves_a_picture(shell: int, language: str, tmp_path: Path) -> None:
    play(Scene(tmp_path, shell, locale=LOCALES[language]), language)
