# SPDX-License-Identifier: GPL-2.0-or-later
"""make deb: one package for Debian 12 and 13, from the files that `make install PREFIX=/usr` would install.

It needs dpkg-deb and no privilege. packaging/README.md tells why it is made so.
"""

from __future__ import annotations

import argparse
import email.utils
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tools.extension import CannotBuildError
from tools.install import put
from tools.layout import Layout
from tools.packages import CannotInstall
from tools.project import ROOT, version

DEBIAN: Final = ROOT / "packaging" / "debian"
LIVE: Final = ROOT / "packaging" / "live-system"
SCRIPTS: Final = ("postinst", "prerm", "postrm")
LAYOUT: Final = Layout("/usr", zsh="share/zsh/vendor-completions")


def main() -> int:
    os.umask(0o022)
    parser = argparse.ArgumentParser(prog="tools.deb", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="the folder that the package goes to")
    parser.add_argument("--environment", type=Path, default=ROOT / ".venv", help="where Python packages may be had")
    parser.add_argument("--version", default=version(), help="instead of the project's")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as name:
            package = build(Path(name, "wgsd-nm"), arguments.output, arguments.environment, arguments.version)
    except (OSError, ValueError, CannotInstall, CannotBuildError, subprocess.CalledProcessError) as error:
        print(f"deb: {error}", file=sys.stderr)
        return 1
    print(f"deb: {package}")
    return 0


def build(tree: Path, output: Path, environment: Path, number: str) -> Path:
    """The package. Raises CannotInstall, CannotBuildError, OSError, ValueError."""
    date = _date()
    tree.mkdir()
    put(LAYOUT, tree, environment, bytecode=False)
    (tree / LAYOUT.manifest.relative_to("/")).unlink()  # dpkg knows better
    for page in (tree / "usr/share/man").rglob("*.[158]"):
        _write_compressed(page, page.read_bytes())
        page.unlink()
    documents = tree / "usr/share/doc/wgsd-nm"
    news = (DEBIAN / "changelog").read_text().replace("@VERSION@", number)
    _write_compressed(documents / "changelog", news.replace("@DATE@", email.utils.formatdate(date)).encode())
    _copy(DEBIAN / "copyright", documents / "copyright", 0o644)
    _copy(DEBIAN / "rtupdate", tree / "usr/share/python3/runtime.d/wgsd-nm.rtupdate", 0o755)
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    _write_control(tree, files, number)
    for path in (tree, *tree.rglob("*")):
        os.utime(path, (date, date))
    output.mkdir(parents=True, exist_ok=True)
    package = output / f"wgsd-nm_{number}_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", tree, package],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(date)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return package


def _write_control(tree: Path, files: list[Path], number: str) -> None:
    folder = tree / "DEBIAN"
    folder.mkdir()
    size = sum(path.stat().st_size for path in files) // 1024 + 1
    control = (DEBIAN / "control").read_text().replace("@VERSION@", number).replace("@SIZE@", str(size))
    (folder / "control").write_text(control)
    (folder / "md5sums").write_text("".join(_sums(tree, files)))
    shutil.copyfile(DEBIAN / "triggers", folder / "triggers")
    functions = LIVE.read_text()
    for name in SCRIPTS:
        script = folder / name
        script.write_text((DEBIAN / name).read_text().replace("@LIVE_SYSTEM@\n", functions))
        script.chmod(0o755)


def _write_compressed(path: Path, content: bytes) -> None:
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content, mtime=0))


def _sums(tree: Path, files: list[Path]) -> Iterator[str]:
    """As md5sum prints them: dpkg --verify wants these."""
    for path in files:
        yield f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(tree)}\n"


def _copy(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _date() -> int:
    """Seconds since the epoch: SOURCE_DATE_EPOCH, else of the last commit. The same sources make the same package."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given and not given.isdecimal():
        raise ValueError(f"SOURCE_DATE_EPOCH is {given!r}: expected seconds since 1970")
    asked = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    return int(given or subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or 0)


if __name__ == "__main__":
    sys.exit(main())
