# SPDX-License-Identifier: GPL-2.0-or-later
"""make install, make uninstall: puts the files where the layout says, below DESTDIR, and takes them away again.

Without DESTDIR the running system is told as well: see packaging/live-system.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tools import packages
from tools.extension import CannotBuildError
from tools.layout import Item, Layout
from tools.project import ROOT

LIVE = ROOT / "packaging" / "live-system"


def main() -> int:
    os.umask(0o022)
    arguments = _arguments()
    staged = Path(arguments.destdir or "/")
    try:
        layout = Layout(arguments.prefix.rstrip("/"), interpreter=arguments.interpreter)
        if arguments.work == "install":
            first = not (staged / layout.manifest.relative_to("/")).exists()
            put(layout, staged, arguments.environment)
            if not arguments.destdir:
                tell_system("installed" if first else "upgraded")
                print("install: done. In a session: wgsd-nm setup CONNECTION --zone ZONE --registry ADDRESS")
        else:
            if not arguments.destdir:
                tell_system("leaving")
            take_away(layout, staged)
            if not arguments.destdir:
                tell_system("switched_off; left")
                print("uninstall: users' files, /etc/wgsd-nm, and the registry's state and user, are left as they are")
    except PermissionError as error:
        print(f"{arguments.work}: {error.filename}: not permitted; be root, or stage with DESTDIR=", file=sys.stderr)
        return 1
    except (OSError, ValueError, packages.CannotInstall, CannotBuildError) as error:
        print(f"{arguments.work}: {error}", file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools.install", description=__doc__)
    parser.add_argument("work", choices=("install", "uninstall"))
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--destdir", default="", help="a folder that stands in for the root of the file system")
    parser.add_argument("--interpreter", default="/usr/bin/python3", help="the Python that the programs run by")
    parser.add_argument("--environment", type=Path, default=ROOT / ".venv", help="where packages may be had")
    return parser.parse_args()


def put(layout: Layout, staged: Path, environment: Path, *, bytecode: bool = True) -> None:
    """Install below `staged`; what only an earlier version had goes.

    Raises CannotInstall, CannotBuildError, OSError.
    """
    items = list(layout.items())
    former = _former(layout, staged)
    ours = _below(staged, layout.packages)
    if ours.exists() and not former:
        raise packages.CannotInstall(f"{layout.home} is a package's: remove that first (apt remove wgsd-nm)")
    new = ours.with_name("python.new")
    shutil.rmtree(new, ignore_errors=True)
    made: list[Path] = []
    _make_folder(new.parent, staged, made)
    packages.fill(new, environment)
    if bytecode:
        compileall.compile_dir(new, quiet=2, stripdir=str(new), prependdir=str(layout.packages))
    kept = {item.path for item in items}
    _write_manifest(layout, staged, {*former, *kept})  # so that an installation that is cut short can be taken away
    _make_folder(_below(staged, layout.extensions), staged, made)
    for item in items:
        _make_folder(_below(staged, item.path).parent, staged, made)
        _write(_below(staged, item.path), item)
    shutil.rmtree(ours, ignore_errors=True)
    new.rename(ours)
    for path in former:
        if path not in kept and not _below(staged, path).is_dir():
            _below(staged, path).unlink(missing_ok=True)
    folders = [path for path in former if _below(staged, path).is_dir()]
    _write_manifest(layout, staged, {*folders, *(Path("/", each.relative_to(staged)) for each in made), *kept})


def take_away(layout: Layout, staged: Path) -> None:
    """Remove what was installed, and the folders that were made for it if nothing else is in them. Raises OSError."""
    former = _former(layout, staged)
    if not former:
        raise FileNotFoundError(f"nothing is installed in {_below(staged, Path(layout.prefix))}")
    folders = [_below(staged, path) for path in former if _below(staged, path).is_dir()]
    for path in former:
        if not _below(staged, path).is_dir():
            _below(staged, path).unlink(missing_ok=True)
    shutil.rmtree(_below(staged, layout.home))
    for folder in sorted(folders, reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def tell_system(verb: str) -> None:
    """Have the system that runs here take notice."""
    subprocess.run(["/bin/sh", "-c", f'. "$0"; {verb}', LIVE], check=False)


def _below(staged: Path, path: Path) -> Path:
    return staged / path.relative_to("/")


def _former(layout: Layout, staged: Path) -> list[Path]:
    """The folders and files of the installation that is there."""
    try:
        return [Path(line) for line in _below(staged, layout.manifest).read_text().splitlines()]
    except FileNotFoundError:
        return []


def _write_manifest(layout: Layout, staged: Path, paths: Iterable[Path]) -> None:
    text = "".join(f"{path}\n" for path in sorted(paths))
    _write(_below(staged, layout.manifest), Item(layout.manifest, text.encode()))


def _make_folder(folder: Path, staged: Path, made: list[Path]) -> None:
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir()
        if missing.is_relative_to(staged) and missing != staged:
            made.append(missing)


def _write(path: Path, item: Item) -> None:
    """A new file in the place of the old one, so that a program that runs keeps its own."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(item.content)
    new.chmod(item.mode)
    new.replace(path)


if __name__ == "__main__":
    sys.exit(main())
