# SPDX-License-Identifier: GPL-2.0-or-later
"""make deb: the package is installed, upgraded and purged by the real dpkg, on an overlay over this machine's system.

What dpkg changes is in memory, and is looked through. No systemd runs there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from lab.image import namespace_prefix
from tests.contract.texts import ROOT
from tools.extension import UUID
from tools.project import scripts, version

HIGHER: Final = f"{version()}+1"
EXTENSION: Final = f"/usr/share/gnome-shell/extensions/{UUID}"
ENABLED: Final = "/etc/systemd/user/graphical-session.target.wants/wgsd-nm-agent.service"

SCENE: Final = """
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs tmpfs "$1/root/run"
mkdir "$1/root/packages"
cp "$2"/*.deb "$1/root/packages"
chroot "$1/root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    /usr/bin/python3 -c "$3" >&2
cat "$1/root/packages/report"
"""

LIFE: Final = """
import json, os, pathlib, subprocess

def ours():
    found = [str(path) for top in ("/etc", "/usr", "/var") for path in pathlib.Path(top).rglob("*wgsd*")]
    return sorted(path for path in found if not path.startswith("/usr/lib/wgsd-nm/"))

def dpkg(*words):
    subprocess.run(["dpkg", "--force-depends", *words], check=True)

def users():
    files = ("passwd", "group", "shadow", "gshadow")
    return [name for name in files if "wgsd" in pathlib.Path("/etc", name).read_text()]

report = {"before": ours()}
low, high = sorted(map(str, pathlib.Path("/packages").glob("*.deb")), key=len)
dpkg("--install", low)
report["installed"] = ours()
report["extension"] = []
for shell in ("48.7", "43.9"):
    program = pathlib.Path("/usr/bin/gnome-shell")
    program.unlink(missing_ok=True)
    program.write_text(f"#!/bin/sh\\necho GNOME Shell {shell}\\n")
    program.chmod(0o755)
    subprocess.run(["dpkg-trigger", "--by-package=dpkg", "--no-await", str(program)], check=True)
    dpkg("--triggers-only", "--pending")
    metadata = json.loads(pathlib.Path(EXTENSION, "metadata.json").read_text())
    report["extension"].append(metadata["shell-version"][0])
report["said"] = subprocess.run(["wgsd-nm", "--version"], check=True, capture_output=True, text=True).stdout
report["verified"] = subprocess.run(["dpkg", "--verify", "wgsd-nm"], capture_output=True, text=True).stdout
report["bytecode"] = len(list(pathlib.Path("/usr/lib/wgsd-nm").rglob("*.pyc")))
report["users"] = users()
os.remove(ENABLED)
config = pathlib.Path("/etc/wgsd-nm/config.toml")
config.parent.mkdir()
config.write_text("# mine")
state = pathlib.Path("/var/lib/wgsd-nm-registry")
state.mkdir()
dpkg("--install", high)
report["kept"] = config.read_text()
report["enabled again"] = os.path.islink(ENABLED)
report["version"] = subprocess.run(
    ["dpkg-query", "--show", "--showformat=${Version}", "wgsd-nm"], check=True, capture_output=True, text=True
).stdout
os.symlink("/usr/lib/systemd/user/wgsd-nm-agent.service", ENABLED)
dpkg("--remove", "wgsd-nm")
report["removed"] = sorted(set(ours()) - set(report["before"]))
report["private"] = os.path.exists("/usr/lib/wgsd-nm")
dpkg("--install", low)
report["enabled as before"] = os.path.islink(ENABLED)
dpkg("--purge", "wgsd-nm")
report["purged"] = sorted(set(ours()) - set(report["before"]))
report["users left"] = users()
pathlib.Path("/packages/report").write_text(json.dumps(report))
""".replace("ENABLED", repr(ENABLED)).replace("EXTENSION", repr(EXTENSION))


@dataclass(frozen=True, slots=True)
class Package:
    """Its fields, and the paths in it."""

    fields: dict[str, str]
    paths: frozenset[str]


def make(folder: Path, *words: str, date: str = "2000000000") -> subprocess.CompletedProcess[str]:
    """Packages are those of the environment that runs this test: no network is needed. The date is after any file."""
    command: list[str | Path] = [
        sys.executable,
        "-B",
        "-m",
        "tools.deb",
        "--output",
        folder,
        "--environment",
        sys.prefix,
        *words,
    ]
    own = {**os.environ, "SOURCE_DATE_EPOCH": date}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300, env=own)


def build(folder: Path, *words: str) -> Path:
    done = make(folder, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return Path(done.stdout.removeprefix("deb: ").strip())


def opened(file: Path) -> Package:
    shown = subprocess.run(["dpkg-deb", "--field", file], capture_output=True, text=True, check=True).stdout
    listed = subprocess.run(["dpkg-deb", "--fsys-tarfile", file], capture_output=True, check=True).stdout
    names = (
        subprocess.run(["tar", "--list"], input=listed, capture_output=True, check=True).stdout.decode().splitlines()
    )
    fields = dict(line.split(": ", 1) for line in shown.splitlines() if not line.startswith(" "))
    return Package(fields, frozenset(name.removeprefix(".") for name in names))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the package, and the same of a higher version."""
    folder = tmp_path_factory.mktemp("deb")
    build(folder)
    build(folder, "--version", HIGHER)
    return folder


@pytest.fixture(scope="module")
def life(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What was seen while the package was installed, upgraded, removed and purged."""
    place = tmp_path_factory.mktemp("system")
    own = namespace_prefix() or ["unshare", "--mount"]
    command: list[str | Path] = [*own, "sh", "-c", SCENE, "sh", place, folder, LIFE]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    report["log"] = done.stderr
    return report


def test_no_package_without_a_date(tmp_path: Path) -> None:
    done = make(tmp_path, date="soon")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "deb: SOURCE_DATE_EPOCH is 'soon': expected seconds since 1970\n"
    assert not list(tmp_path.iterdir())


def test_one_package_for_every_machine(folder: Path) -> None:
    package = opened(folder / f"wgsd-nm_{version()}_all.deb")
    assert package.fields["Package"] == "wgsd-nm"
    assert package.fields["Version"] == version()
    assert package.fields["Architecture"] == "all"
    assert "python3 (>= 3.11)" in package.fields["Depends"]
    assert {
        f"/usr/{'libexec' if name in ('wgsd-nm-helper', 'wgsd-nm-registry-reader') else 'bin'}/{name}"
        for name in scripts()
    } <= package.paths
    assert "/usr/share/zsh/vendor-completions/_wgsd-nm" in package.paths
    assert "/usr/share/man/man1/wgsd-nm.1.gz" in package.paths
    assert "/usr/share/doc/wgsd-nm/copyright" in package.paths
    assert "/usr/share/doc/wgsd-nm/changelog.gz" in package.paths
    assert "/usr/lib/wgsd-nm/installed" not in package.paths
    assert not [path for path in package.paths if path.startswith(("/usr/local", "/etc")) or path.endswith(".pyc")]


def test_the_same_sources_make_the_same_package(folder: Path, tmp_path: Path) -> None:
    assert build(tmp_path).read_bytes() == (folder / f"wgsd-nm_{version()}_all.deb").read_bytes()


def test_it_installs(life: dict[str, object]) -> None:
    assert life["said"] == f"wgsd-nm {version()}\n"
    assert life["verified"] == ""
    assert life["bytecode"]
    installed = life["installed"]
    assert isinstance(installed, list)
    assert ENABLED in installed
    assert life["users"] == ["passwd", "group", "shadow", "gshadow"]


def test_the_extension_is_of_the_form_that_gnome_shell_wants(life: dict[str, object]) -> None:
    assert life["extension"] == ["45", "43"]
    installed = life["installed"]
    assert isinstance(installed, list)
    assert EXTENSION in installed


def test_an_upgrade_keeps_the_configuration_and_what_was_switched_off(life: dict[str, object]) -> None:
    assert life["version"] == HIGHER
    assert life["kept"] == "# mine"
    assert life["enabled again"] is False


def test_what_is_removed_leaves_what_an_administrator_wrote(life: dict[str, object]) -> None:
    removed = life["removed"]
    assert isinstance(removed, list)
    left = [ENABLED, "/etc/wgsd-nm", "/var/lib/wgsd-nm-registry"]
    assert [path for path in removed if "/var/lib/dpkg/" not in path] == left
    assert life["private"] is False


def test_what_was_removed_comes_back_as_it_was(life: dict[str, object]) -> None:
    assert life["enabled as before"] is True


def test_a_purge_leaves_nothing(life: dict[str, object]) -> None:
    assert life["purged"] == []
    assert life["users left"] == []
    assert "warning" not in str(life["log"]).replace("dpkg: warning: overriding problem because --force enabled:", "")
