# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian trees that tests run in, each with a Python, some with a GNOME Shell; as a program it makes a suite's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Final

from lab.errors import LabError
from lab.progress import say
from lab.tree import Tree, ensure

SHELL: Final = (
    "adwaita-icon-theme",
    "fonts-cantarell",
    "fonts-dejavu-core",
    "gjs",
    "gnome-shell",
    "libgl1-mesa-dri",
    "locales",
)
OF_OLDER_SHELLS: Final = ("librsvg2-common", "webp-pixbuf-loader")
"""By which they draw, and which they only recommend."""
LOCALES: Final = ("de_DE", "he_IL")
"""For the pictures: a translation that is ours, and a script that is written from right to left."""
NEIGHBOURS: Final = ("curl", "dbus", "gettext", "iproute2", "procps")
"""What our tests need besides a Python."""
SOURCE: Final = "/src"
"""Where the project is to be mounted."""


def _tree(suite: str, python: str, *more: str) -> Tree:
    return Tree(
        name=f"tree-{suite}",
        suite=suite,
        packages=(f"python{python}", *NEIGHBOURS, *more),
        commands=(
            f"mkdir -p {SOURCE} {python_packages(python)}",
            *(f"localedef -i {locale} -f UTF-8 {locale}.UTF-8" for locale in LOCALES if "locales" in more),
        ),
    )


def python_packages(version: str) -> str:
    """The folder that Debian's Python has for the administrator: every process that it runs finds what is there."""
    return f"/usr/local/lib/python{version}/dist-packages"


BOOKWORM: Final = _tree("bookworm", "3.11", *SHELL, *OF_OLDER_SHELLS)
TRIXIE: Final = _tree("trixie", "3.13", *SHELL)
SID: Final = _tree("sid", "3.14")

SUITES: Final[Mapping[str, Tree]] = {tree.suite: tree for tree in (BOOKWORM, TRIXIE, SID)}
SHELLS: Final[Mapping[int, Tree]] = {43: BOOKWORM, 48: TRIXIE}
"""By GNOME's version."""
PYTHONS: Final[Mapping[str, Tree]] = {"3.11": BOOKWORM, "3.13": TRIXIE, "3.14": SID}
"""By Python's version: those that are supported."""


def main() -> int:
    """Make those of the suites that are named, where they are missing; the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m lab.trees", description="Make the Debian trees of these suites.")
    parser.add_argument("suites", nargs="+", choices=SUITES, metavar="SUITE", help=", ".join(SUITES))
    try:
        for suite in parser.parse_args().suites:
            ensure(SUITES[suite])
    except LabError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
