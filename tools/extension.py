# SPDX-License-Identifier: GPL-2.0-or-later
"""make extension: the GNOME Shell extension as files, in build/, for GNOME 45 and later and for GNOME 43 and 44.

The same sources make the same files, octet for octet.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tools.legacy_extension import SHELLS, translated
from tools.project import ROOT, version

SOURCE: Final = ROOT / "extension"
METADATA: Final = "metadata.json"
UUID: Final = str(json.loads((SOURCE / METADATA).read_text())["uuid"])
_PLAIN: Final = ("*.css", "icons/*.svg")
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest date that a zip file can have."""


class CannotBuildError(Exception):
    """The extension cannot be made; the text says why."""


def files(*, legacy: bool = False) -> dict[str, bytes]:
    """Everything in the extension's folder, by path. Raises CannotBuildError, UnknownFormError."""
    modules = {path.name: path.read_text() for path in sorted(SOURCE.glob("*.js"))}
    if legacy:
        modules = {name: translated(name, text) for name, text in modules.items()}
    found = {name: text.encode() for name, text in modules.items()}
    for pattern in _PLAIN:
        found |= {path.relative_to(SOURCE).as_posix(): path.read_bytes() for path in sorted(SOURCE.glob(pattern))}
    found[METADATA] = _metadata(legacy)
    for catalogue in sorted((SOURCE / "po").glob("*.po")):
        found[f"locale/{catalogue.stem}/LC_MESSAGES/{UUID}.mo"] = _compiled(catalogue)
    return found


def write(folder: Path, content: Mapping[str, bytes]) -> None:
    """Make the folder. Raises OSError."""
    for name, octets in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)


def pack(package: Path, content: Mapping[str, bytes]) -> None:
    """Make the zip file. Raises OSError."""
    package.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content[name])


def _metadata(legacy: bool) -> bytes:
    metadata = json.loads((SOURCE / METADATA).read_text()) | {"version-name": version()}
    if legacy:
        metadata["shell-version"] = list(SHELLS)
    return (json.dumps(metadata, indent=2) + "\n").encode()


def _compiled(catalogue: Path) -> bytes:
    try:
        done = subprocess.run(
            ["msgfmt", "--check", "--no-hash", "--output-file=-", catalogue], capture_output=True, check=True
        )
    except FileNotFoundError:
        raise CannotBuildError("msgfmt is not there; as root: apt-get install gettext") from None
    except subprocess.CalledProcessError as error:
        raise CannotBuildError(f"{catalogue}: {error.stderr.decode(errors='replace').strip()}") from None
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools.extension", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "build", help="the folder that the zip files go to")
    output = parser.parse_args().output
    try:
        for name, legacy in ((UUID, False), (f"{UUID}.gnome-43", True)):
            package = output / f"{name}.shell-extension.zip"
            pack(package, files(legacy=legacy))
            print(f"extension: {package}")
    except (OSError, ValueError, CannotBuildError) as error:
        print(f"extension: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
