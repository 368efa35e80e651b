# SPDX-License-Identifier: GPL-2.0-or-later
"""A GNOME Shell in a box: a real one, without a screen, out of a Debian tree, on the buses that it is given."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self

from lab import tree
from tests.integration.buses import PrivateBus

SIZE = (1280, 800)
SETTINGS = {
    "org/gnome/shell": {"welcome-dialog-last-shown-version": "'9999'", "disable-user-extensions": "false"},
    "org/gnome/desktop/interface": {
        "enable-animations": "false",
        "enable-hot-corners": "false",
        "font-name": "'Cantarell 11'",
    },
    "org/gnome/desktop/notifications": {"show-banners": "false"},
    "org/gnome/desktop/session": {"idle-delay": "uint32 0"},
}
"""Nothing on the screen but what a test does: by path in the keyfile, key and value as GVariant text."""

SOCKETS_OF_X = Path("/tmp/.X11-unix")


class SessionBus(Protocol):
    """Where the bus is: its socket is in `directory`."""

    directory: Path
    address: str


class ShellBox:
    """An async context manager: the shell runs while it lasts. `driver.Driver` talks to it.

    `extensions` are folders; the shell has them as a user's own, all enabled. The system bus that the shell sees is an
    empty one of its own: it needs none of the services there. With a `display`, an X server, it is in a window there.
    """

    def __init__(
        self,
        root: Path,
        session_bus: SessionBus,
        extensions: Sequence[Path],
        *,
        locale: str = "C.UTF-8",
        settings: Mapping[str, Mapping[str, str]] | None = None,
        display: str = "",
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="shell-"))
        self._root = root
        self._session_bus = session_bus
        self._system_bus = PrivateBus()
        self._locale = locale
        self._display = display
        self._processes: list[asyncio.subprocess.Process] = []
        home = self.directory / "home"
        for extension in extensions:
            shutil.copytree(extension, home / ".local/share/gnome-shell/extensions" / extension.name)
        keyfile = home / ".config/glib-2.0/settings/keyfile"
        keyfile.parent.mkdir(parents=True)
        names = [extension.name for extension in extensions]
        keyfile.write_text(_keyfile(SETTINGS, {"org/gnome/shell": {"enabled-extensions": repr(names)}}, settings or {}))
        (self.directory / "run").mkdir(mode=0o700)

    @property
    def log(self) -> str:
        """All that the shell has written."""
        return (self.directory / "shell.log").read_text(errors="replace")

    def problems(self, uuid: str) -> list[str]:
        """The records of the log that name this extension: each is an error of its code, or in it.

        An exception in a signal handler or in a timeout changes no state of the extension; this is its only trace.
        """
        return [
            record for record in _records(self.log) if f"extensions/{uuid}/" in record or f"Extension {uuid}" in record
        ]

    async def run(self, *command: str) -> asyncio.subprocess.Process:
        """Another program beside the shell, with its output in the same log."""
        with (self.directory / "shell.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self._inside(),
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    async def serve(self, name: str) -> None:
        """Start a program of the shell's that else the session bus would start. It ends at once without the shell."""
        text = (self._root / "usr/share/dbus-1/services" / f"{name}.service").read_text()
        (line,) = (line for line in text.splitlines() if line.startswith("Exec="))
        await self.run(*line.removeprefix("Exec=").split())

    async def ended(self) -> None:
        """Returns when the shell has ended by itself."""
        await self._shell.wait()

    async def __aenter__(self) -> Self:
        try:
            self._system_bus.start()
            screen = ["--nested"] if self._display else ["--headless", "--virtual-monitor", _size()]
            self._shell = await self.run("gnome-shell", *screen, "--wayland", "--no-x11", "--unsafe-mode")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            if process.returncode is None:
                process.kill()
            await process.wait()
        self._system_bus.stop()
        for directory in (self.directory, self._system_bus.directory):
            shutil.rmtree(directory)

    def _inside(self) -> list[str]:
        binds = [self.directory, self._session_bus.directory, self._system_bus.directory]
        environment = {
            "PATH": "/usr/bin:/bin",
            "LANG": self._locale,
            "HOME": str(self.directory / "home"),
            "XDG_RUNTIME_DIR": str(self.directory / "run"),
            "GSETTINGS_BACKEND": "keyfile",
            "SHELL_DBUS_PERSIST": "1",
            "DBUS_SESSION_BUS_ADDRESS": self._session_bus.address,
            "DBUS_SYSTEM_BUS_ADDRESS": self._system_bus.address,
        }
        environment |= self._window()
        shown = [path for path in (SOCKETS_OF_X, _authority()) if self._display and path.exists()]
        inside = tree.inside(self._root, binds=binds, shown=shown, shares_memory=bool(self._display))
        return [*inside, *tree.setting(environment)]

    def _window(self) -> dict[str, str]:
        """What leads to the X server, and how large the window is."""
        if not self._display:
            return {}
        return {
            "DISPLAY": self._display,
            "XAUTHORITY": str(_authority()),
            "MUTTER_DEBUG_DUMMY_MODE_SPECS": _size(),
        }


def _size() -> str:
    return "x".join(str(each) for each in SIZE)


def _authority() -> Path:
    """The file with what X servers want to be told (xauth(1))."""
    return Path(os.environ.get("XAUTHORITY") or Path.home() / ".Xauthority")


def _keyfile(*layers: Mapping[str, Mapping[str, str]]) -> str:
    """Settings as GLib's keyfile backend reads them; of one key the last layer counts."""
    groups: dict[str, dict[str, str]] = {}
    for layer in layers:
        for group, keys in layer.items():
            groups.setdefault(group, {}).update(keys)
    lines = []
    for group, keys in groups.items():
        lines += [f"[{group}]", *(f"{key}={value}" for key, value in keys.items()), ""]
    return "\n".join(lines)


def _records(log: str) -> list[str]:
    """What was written at a time: a line that begins with the program's name, and those that continue it."""
    records: list[list[str]] = []
    for line in log.splitlines():
        if not records or line.startswith(("(gnome-shell:", "(gjs:", "** (", "Gjs-")):
            records.append([])
        records[-1].append(line)
    return ["\n".join(record) for record in records]
