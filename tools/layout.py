# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed where: a pure list, from the project's files to paths of the running system.

To install more of the project, add a line to FILES.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools import extension
from tools.documents import relinked
from tools.project import ROOT, scripts

POLICIES: Final = {"/usr": "/usr/share/dbus-1/system.d", "/usr/local": "/etc/dbus-1/system.d"}
"""The prefixes that D-Bus and systemd search, each with the folder for bus policy (dbus-daemon(1)): it is looked for in
these two folders, and in none below /usr/local."""
ACTIONS: Final = "/usr/share/polkit-1/actions"
"""Where polkit 122 of Debian 12 looks for actions, whatever the prefix; later ones look here too."""

INTERNAL: Final = ("wgsd-nm-helper", "wgsd-nm-registry-reader")
"""Programs that nobody starts by hand."""

FILES: Final = (
    ("data/applications/*.desktop", "{share}/applications"),
    ("data/dbus/interfaces/*.xml", "{share}/dbus-1/interfaces"),
    ("data/dbus/services/*.service", "{share}/dbus-1/services"),
    ("data/dbus/system-services/*.service", "{share}/dbus-1/system-services"),
    ("data/dbus/system.d/*.conf", "{policy}"),
    ("data/polkit/*.policy", ACTIONS),
    ("data/systemd-system/*.*", "{lib}/systemd/system"),
    ("data/systemd-user/*.*", "{lib}/systemd/user"),
    ("data/sysusers.d/*.conf", "{lib}/sysusers.d"),
    ("data/completions/wgsd-nm.bash", "{share}/bash-completion/completions/wgsd-nm"),
    ("data/completions/wgsd-nm.zsh", "{zsh}/_wgsd-nm"),
    ("data/completions/wgsd-nm.fish", "{share}/fish/vendor_completions.d/wgsd-nm.fish"),
    ("data/examples/*", "{share}/doc/wgsd-nm/examples"),
    ("docs/*.md", "{share}/doc/wgsd-nm"),
    ("docs/images/*.png", "{share}/doc/wgsd-nm/images"),
    ("README.md", "{share}/doc/wgsd-nm"),
    ("SECURITY.md", "{share}/doc/wgsd-nm"),
    ("CHANGELOG.md", "{share}/doc/wgsd-nm"),
    ("man/*.1", "{share}/man/man1"),
    ("man/*.5", "{share}/man/man5"),
    ("man/*.8", "{share}/man/man8"),
)
"""Sources, and the folder that they go to; or the file, where that ends otherwise than in a folder's name."""

_PROGRAM: Final = re.compile(r"/usr/(?:bin|sbin|libexec)/(wgsd-nm[a-z-]*)")
"""A program of ours, as the files in data/ name it."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file to be: its path on the running system, its content, and its mode."""

    path: Path
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are for a prefix. `zsh` is the folder of zsh's functions below it, `interpreter` what runs us."""

    prefix: str
    zsh: str = "share/zsh/site-functions"
    interpreter: str = "/usr/bin/python3"

    def __post_init__(self) -> None:
        if self.prefix not in POLICIES:
            raise ValueError(
                f"PREFIX={self.prefix}: expected {' or '.join(sorted(POLICIES, reverse=True))}, for D-Bus and systemd "
                "look nowhere else; to stage files elsewhere, use DESTDIR"
            )

    @property
    def home(self) -> Path:
        """The folder that is ours alone."""
        return Path(self.prefix, "lib", "wgsd-nm")

    @property
    def packages(self) -> Path:
        """The private environment: Python packages that no other program sees."""
        return self.home / "python"

    @property
    def extensions(self) -> Path:
        """Where GNOME Shell looks. A link there leads to one of the two that are in `home`: packaging/live-system."""
        return Path(self.prefix, "share", "gnome-shell", "extensions")

    @property
    def manifest(self) -> Path:
        """The list of what was installed."""
        return self.home / "installed"

    def program(self, name: str) -> Path:
        """Where a program of ours is."""
        return Path(self.prefix, "libexec" if name in INTERNAL else "bin", name)

    def items(self) -> Iterator[Item]:
        """All files but those of the private environment. Raises CannotBuildError."""
        for name, function in scripts().items():
            yield Item(self.program(name), self._launcher(name, function).encode(), 0o755)
        places = {
            source: self._target(source, target) for pattern, target in FILES for source in sorted(ROOT.glob(pattern))
        }
        for source, path in places.items():
            yield Item(path, self._placed(source, places))
        for shell, legacy in (("45", False), ("43", True)):
            for name, content in extension.files(legacy=legacy).items():
                yield Item(self.home / "gnome-shell" / shell / extension.UUID / name, content)

    def _target(self, source: Path, target: str) -> Path:
        path = Path(
            target.format(
                share=f"{self.prefix}/share",
                lib=f"{self.prefix}/lib",
                zsh=f"{self.prefix}/{self.zsh}",
                policy=POLICIES[self.prefix],
            )
        )
        return path if "completions/" in str(source.relative_to(ROOT)) else path / source.name

    def _placed(self, source: Path, places: Mapping[Path, Path]) -> bytes:
        """The file, in which the programs and the files that it names are where they will be."""
        if source.suffix == ".png":
            return source.read_bytes()
        text = source.read_text()
        if source.suffix == ".md":
            text = relinked(text, source, places)
        return _PROGRAM.sub(lambda found: str(self.program(found[1])), text).encode()

    def _launcher(self, name: str, function: str) -> str:
        """A program of ours. Python starts isolated: no variable of the caller's, no package of the machine's."""
        module, _, called = function.partition(":")
        reader = f'reader=("{self.program("wgsd-nm-registry-reader")}",)' if name == "wgsd-nm-registry" else ""
        return (
            f"#!{self.interpreter} -IBS\n"
            "# SPDX-License-Identifier: GPL-2.0-or-later\n"
            "import sys\n\n"
            f'sys.path.append("{self.packages}")\n'
            f"from {module} import {called}  # noqa: E402\n\n"
            f"sys.exit({called}({reader}))\n"
        )
