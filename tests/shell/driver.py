# SPDX-License-Identifier: GPL-2.0-or-later
"""A person at a GNOME Shell: sees what is on the screen, clicks, types, and takes pictures. Needs its --unsafe-mode."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

from tests.shell.box import SIZE
from wgsd_nm.bus.connection import Bus
from wgsd_nm.core.errors import BusError

SHELL = "org.gnome.Shell"
SHELL_PATH = "/org/gnome/Shell"
EXTENSIONS = "org.gnome.Shell.Extensions"
SCREENSHOT = "org.gnome.Shell.Screenshot"
SCREENSHOT_PATH = "/org/gnome/Shell/Screenshot"
PROBE = Path(__file__).with_name("probe.js")
DEADLINE = 60
"""Seconds that the shell may take for anything on a busy machine."""
INTERVAL = 0.05
"""Seconds between two looks at what is waited for; the shell tells nobody when it has drawn something."""

T = TypeVar("T")


class ExtensionState(IntEnum):
    """How the shell stands to an extension (js/misc/extensionUtils.js of GNOME Shell)."""

    ENABLED = 1
    DISABLED = 2
    ERROR = 3
    OUT_OF_DATE = 4


class Key(IntEnum):
    """X11's numbers of keys (xkbcommon-keysyms.h)."""

    TAB = 0xFF09
    RETURN = 0xFF0D
    ESCAPE = 0xFF1B
    LEFT = 0xFF51
    UP = 0xFF52
    RIGHT = 0xFF53
    DOWN = 0xFF54
    SUPER = 0xFFEB
    CONTROL = 0xFFE3
    ALT = 0xFFE9
    SPACE = 0x20
    S = 0x73
    V = 0x76


@dataclass(frozen=True, slots=True)
class Seen:
    """Something on the screen: its words, its icon, its name for those who do not see it, and where it is."""

    kind: str
    text: str
    icon: str
    name: str
    role: str
    focused: bool
    reactive: bool
    direction: str
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2

    def inside(self, other: Seen) -> bool:
        """Whether it is within the other's bounds."""
        x, y = self.middle
        return other.x <= x <= other.x + other.width and other.y <= y <= other.y + other.height


class Driver:
    """Talks to the shell that owns its name on this bus."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus

    async def ready(self) -> None:
        """Returns when the shell has started, and shows its desktop with nothing on it."""
        await self.until(self._started, bool, "the shell to start")
        await self.eval(PROBE.read_text())
        await self.eval("Main.overview.hide()")
        await self.until_true("!Main.overview.visible", "the overview to go")
        await self.eval("probe.move(640, 400)")

    async def _started(self) -> bool:
        try:
            return not await self.eval("Main.layoutManager._startingUp")
        except BusError:
            return False

    async def eval(self, code: str) -> Any:
        """The value of JavaScript code in the shell. Raises AssertionError with what it threw instead."""
        succeeded, result = await self.bus.call(SHELL, SHELL_PATH, SHELL, "Eval", "s", code, timeout=DEADLINE)
        assert succeeded, f"{code}\n{result}"
        return json.loads(result) if result else None

    async def until(
        self, look: Callable[[], Awaitable[T]], enough: Callable[[T], bool], what: str, within: float = DEADLINE
    ) -> T:
        """What `look` returns, as soon as that is enough. Raises AssertionError after `within` seconds."""
        deadline = asyncio.get_running_loop().time() + within
        while not enough(value := await look()):
            assert asyncio.get_running_loop().time() < deadline, f"waited in vain for {what}; at last: {value}"
            await asyncio.sleep(INTERVAL)
        return value

    async def until_true(self, code: str, what: str) -> None:
        """Returns as soon as that code is true in the shell."""
        await self.until(lambda: self.eval(code), bool, what)

    # Extensions

    async def info(self, uuid: str) -> dict[str, Any]:
        """What the shell tells of an extension; nothing while it has not looked at it."""
        (info,) = await self.bus.call(SHELL, SHELL_PATH, EXTENSIONS, "GetExtensionInfo", "s", uuid, timeout=DEADLINE)
        return dict(info)

    async def settled(self, uuid: str) -> ExtensionState:
        """How the shell stands to an extension, when it has made up its mind."""
        info = await self.until(
            lambda: self.info(uuid), lambda info: info.get("state") in list(ExtensionState), f"the extension {uuid}"
        )
        return ExtensionState(int(info["state"]))

    async def errors(self, uuid: str) -> list[str]:
        """What the shell has against an extension."""
        (errors,) = await self.bus.call(
            SHELL, SHELL_PATH, EXTENSIONS, "GetExtensionErrors", "s", uuid, timeout=DEADLINE
        )
        return list(errors)

    async def enable(self, uuid: str, wanted: bool) -> None:
        """As the switch in GNOME's Extensions does; returns when it is done."""
        member = "EnableExtension" if wanted else "DisableExtension"
        await self.bus.call(SHELL, SHELL_PATH, EXTENSIONS, member, "s", uuid, timeout=DEADLINE)
        state = ExtensionState.ENABLED if wanted else ExtensionState.DISABLED
        await self.until(
            lambda: self.info(uuid), lambda info: info.get("state") == state, f"{uuid} to be {state.name.lower()}"
        )

    async def disable(self, uuid: str) -> None:
        """The same for an extension that may fail in it; returns when it is not enabled any more."""
        await self.bus.call(SHELL, SHELL_PATH, EXTENSIONS, "DisableExtension", "s", uuid, timeout=DEADLINE)
        await self.rests(uuid)

    async def rests(self, uuid: str) -> None:
        """Returns when an extension is not enabled any more."""
        await self.until(
            lambda: self.info(uuid), lambda info: info.get("state") != ExtensionState.ENABLED, f"{uuid} to be disabled"
        )

    # Seeing

    async def see(self) -> list[Seen]:
        """All that is on the screen, outermost first."""
        return [Seen(**each) for each in await self.eval("probe.see()")]

    async def still(self) -> list[Seen]:
        """All that is on the screen, when nothing has moved while two frames were painted.

        What has just been opened takes some frames to find its place.
        """
        seen: list[Seen] = []

        async def at_rest() -> bool:
            nonlocal seen
            painted = await self.eval("probe.frames()")
            await self.until(lambda: self.eval("probe.frames()"), lambda now: now > painted + 1, "frames to be painted")
            before, seen = seen, await self.see()
            return seen == before

        await self.until(at_rest, bool, "all things to find their places")
        return seen

    async def focus(self) -> str:
        """What has the keyboard focus: its kind, name and words; nothing if nothing has."""
        return "; ".join(f"{each.kind} {each.name} {each.text}" for each in await self.see() if each.focused)

    async def sees(self, *texts: str, within: float = DEADLINE) -> list[Seen]:
        """What is on the screen, when each of these texts is part of some words there."""

        def all_there(seen: list[Seen]) -> bool:
            return all(any(text in each.text or text in each.name for each in seen) for text in texts)

        return await self.until(self.see, all_there, f"{texts} on the screen", within)

    async def sees_not(self, text: str) -> None:
        """Returns when no words on the screen have that text."""
        await self.until(
            self.see,
            lambda seen: not any(text in each.text or text in each.name for each in seen),
            f"{text!r} to go from the screen",
        )

    async def find(self, wanted: Callable[[Seen], bool], what: str) -> Seen:
        """The innermost of what is wanted, when it is on the screen."""
        found = await self.until(self.still, lambda seen: any(wanted(each) for each in seen), f"{what} on the screen")
        return next(each for each in reversed(found) if wanted(each))

    # Doing

    async def click(self, at: Seen | tuple[float, float]) -> None:
        """With the left button, in the middle of what was seen."""
        x, y = at.middle if isinstance(at, Seen) else at
        await self.eval(f"probe.move({x}, {y})")
        await self.until(
            lambda: self.eval("probe.pointer()"),
            lambda where: abs(where[0] - x) < 2 and abs(where[1] - y) < 2,
            f"the pointer to be at {x}, {y}",
        )
        await self.eval("probe.button(true)")
        await self.eval("probe.button(false)")

    async def press(self, *keys: Key) -> None:
        """All of them, held until the last is down."""
        await self.eval(f"probe.keys({', '.join(str(int(key)) for key in keys)})")

    async def close_menus(self) -> None:
        """Nothing is open, and the pointer is out of the way."""
        await self.eval("Object.values(Main.panel.statusArea).forEach(button => button.menu?.close())")
        await self.eval("probe.move(640, 700)")

    async def set(self, schema: str, key: str, value: str) -> None:
        """A setting of GNOME's, as GVariant text."""
        await self.eval(f"probe.set({json.dumps(schema)}, {json.dumps(key)}, {json.dumps(value)})")

    # Pictures

    async def hide_padlock(self) -> None:
        """Have the panel not tell that the shell lets programs do everything."""
        await self.eval("Main.panel.statusArea.quickSettings._unsafeMode.hide()")

    async def picture(self, file: Path, area: tuple[int, int, int, int] = (0, 0, *SIZE)) -> None:
        """A part of the screen, as x, y, width and height, as a PNG. The shell must be able to write there."""
        succeeded, _ = await self.bus.call(
            SHELL, SCREENSHOT_PATH, SCREENSHOT, "ScreenshotArea", "iiiibs", *area, False, str(file), timeout=DEADLINE
        )
        assert succeeded, file
