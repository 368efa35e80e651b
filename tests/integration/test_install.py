# SPDX-License-Identifier: GPL-2.0-or-later
"""make install and make uninstall, below a folder: all that should be there is, it fits together, and it goes again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Final

import pytest

from tests.contract.texts import ROOT
from tools import extension
from tools.layout import POLICIES, Layout
from tools.project import requirements, scripts
from wgsd_nm import __version__

PROGRAM: Final = re.compile(r"(?<![\w.-])/[\w/.-]*wgsd-nm[\w-]*(?=\s|$)", re.MULTILINE)
"""A path that ends in the name of a program of ours."""
OFFLINE: Final = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}


LOADED: Final = """
import atexit, sys
atexit.register(lambda: print(sorted(str(getattr(each, "__file__", "")) for each in list(sys.modules.values()))))
"""
"""At its end a program says what it has loaded."""


def make(
    target: str, destdir: Path, prefix: str = "/usr/local", venv: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """By default the packages are those of the environment that runs this test: no network is needed."""
    words = [f"DESTDIR={destdir}", f"PREFIX={prefix}", f"VENV={venv or sys.prefix}"]
    return subprocess.run(
        ["make", "--silent", "--no-print-directory", "-C", ROOT, target, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, **OFFLINE},
    )


def install(destdir: Path, prefix: str = "/usr/local") -> Path:
    """The folder below which it is."""
    done = make("install", destdir, prefix)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return destdir


@pytest.fixture(scope="module", params=sorted(POLICIES))
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, prefix: str) -> Path:
    """An installation that no test changes."""
    return install(tmp_path_factory.mktemp("tree"), prefix)


def files(tree: Path, prefix: str) -> set[str]:
    """All of them but those of the private environment."""
    packages = str(Layout(prefix).packages)
    found = {f"/{path.relative_to(tree)}" for path in tree.rglob("*") if path.is_file()}
    return {path for path in found if not path.startswith(packages)}


def sources(folder: str) -> set[str]:
    """The names of the project's files in a folder."""
    return {path.name for path in (ROOT / folder).iterdir() if path.is_file()}


def test_every_file_is_where_the_system_looks_for_it(tree: Path, prefix: str) -> None:
    policy = "/usr/share/dbus-1/system.d" if prefix == "/usr" else "/etc/dbus-1/system.d"
    folders = {
        "data/applications": f"{prefix}/share/applications",
        "data/dbus/interfaces": f"{prefix}/share/dbus-1/interfaces",
        "data/dbus/services": f"{prefix}/share/dbus-1/services",
        "data/dbus/system-services": f"{prefix}/share/dbus-1/system-services",
        "data/dbus/system.d": policy,
        "data/polkit": "/usr/share/polkit-1/actions",
        "data/systemd-system": f"{prefix}/lib/systemd/system",
        "data/systemd-user": f"{prefix}/lib/systemd/user",
        "data/sysusers.d": f"{prefix}/lib/sysusers.d",
        "data/examples": f"{prefix}/share/doc/wgsd-nm/examples",
        "docs": f"{prefix}/share/doc/wgsd-nm",
        "docs/images": f"{prefix}/share/doc/wgsd-nm/images",
    }
    expected = {f"{target}/{name}" for folder, target in folders.items() for name in sources(folder)}
    expected |= {f"{prefix}/share/man/man{name[-1]}/{name}" for name in sources("man")}
    expected |= {
        f"{prefix}/share/bash-completion/completions/wgsd-nm",
        f"{prefix}/share/zsh/site-functions/_wgsd-nm",
        f"{prefix}/share/fish/vendor_completions.d/wgsd-nm.fish",
        f"{prefix}/share/doc/wgsd-nm/README.md",
        f"{prefix}/share/doc/wgsd-nm/CHANGELOG.md",
        f"{prefix}/share/doc/wgsd-nm/SECURITY.md",
        f"{prefix}/bin/wgsd-nm",
        f"{prefix}/bin/wgsd-nm-agent",
        f"{prefix}/bin/wgsd-nm-registry",
        f"{prefix}/libexec/wgsd-nm-helper",
        f"{prefix}/libexec/wgsd-nm-registry-reader",
        f"{prefix}/lib/wgsd-nm/installed",
    }
    for form, legacy in (("45", False), ("43", True)):
        folder = f"{prefix}/lib/wgsd-nm/gnome-shell/{form}/{extension.UUID}"
        expected |= {f"{folder}/{name}" for name in extension.files(legacy=legacy)}
    assert files(tree, prefix) == expected
    assert (tree / prefix[1:] / "share/gnome-shell/extensions").is_dir()


def test_every_link_of_a_document_leads_to_a_file(tree: Path, prefix: str) -> None:
    folder = tree / prefix[1:] / "share/doc/wgsd-nm"
    links = {
        folder / path
        for document in folder.glob("*.md")
        for path in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
    }
    assert {"troubleshooting.md", "gnome.md", "moving.png", "knot.conf"} <= {path.name for path in links}
    assert [path for path in links if not path.is_file()] == []


def test_each_folder_of_data_is_installed(tree: Path, prefix: str) -> None:
    there = {Path(path).name for path in files(tree, prefix)}
    completions = {path.name for path in (ROOT / "data/completions").iterdir()}
    wanted = {path.name for path in (ROOT / "data").rglob("*") if path.is_file()} - completions
    assert wanted <= there


def test_every_program_that_a_file_names_is_there(tree: Path, prefix: str) -> None:
    named = set()
    for path in files(tree, prefix):
        if "/systemd/" in path or "/dbus-1/" in path or "/polkit-1/" in path or "/applications/" in path:
            text = (tree / path[1:]).read_text()
            lines = [line for line in text.splitlines() if not line.startswith("#")]
            named |= set(PROGRAM.findall("\n".join(line for line in lines if "Exec" in line)))
    assert {Path(each).name for each in named} == set(scripts())
    for each in named:
        assert os.access(tree / each[1:], os.X_OK), each


def test_every_unit_that_a_service_names_is_there(tree: Path, prefix: str) -> None:
    for folder, units in (("services", "user"), ("system-services", "system")):
        for service in (tree / prefix[1:] / "share/dbus-1" / folder).iterdir():
            (unit,) = re.findall(r"^SystemdService=(.+)$", service.read_text(), re.MULTILINE)
            assert (tree / prefix[1:] / "lib/systemd" / units / unit).is_file()


def test_policy_and_actions_are_as_in_the_project(tree: Path) -> None:
    for pattern in ("dbus-1/system.d/*.conf", "polkit-1/actions/*.policy"):
        (path,) = (each for each in tree.rglob("*") if each.match(pattern))
        (source,) = (ROOT / "data").rglob(path.name)
        assert path.read_bytes() == source.read_bytes()
        ET.fromstring(path.read_bytes())


def test_nothing_names_the_place_where_it_was_staged(tree: Path) -> None:
    for path in tree.rglob("*"):
        if path.is_file():
            assert str(tree).encode() not in path.read_bytes(), path


def test_everybody_may_read_and_root_alone_write(tree: Path) -> None:
    for path in tree.rglob("*"):
        program = path.parent.name in ("bin", "libexec")
        assert path.stat().st_mode & 0o7777 == (0o755 if path.is_dir() or program else 0o644), path


@pytest.mark.parametrize("name", sorted(scripts()))
def test_the_programs_run_from_the_private_environment_alone(tree: Path, prefix: str, name: str) -> None:
    layout = Layout(prefix)
    launcher = (tree / str(layout.program(name))[1:]).read_text()
    first, _, rest = launcher.partition("\n")
    assert first == "#!/usr/bin/python3 -IBS"
    staged = rest.replace(str(layout.packages), f"{tree}{layout.packages}")
    done = subprocess.run(
        ["/usr/bin/python3", "-IBS", "-c", LOADED + staged, "--version"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    said, modules = done.stdout.splitlines()
    assert said.split()[-1] == __version__
    assert f"{tree}{layout.packages}/wgsd_nm/__init__.py" in modules
    assert "site-packages" not in modules
    assert "dist-packages" not in modules


def test_the_private_environment_has_what_the_project_asks_for(tree: Path, prefix: str) -> None:
    packages = tree / str(Layout(prefix).packages)[1:]
    for requirement in requirements():
        name = re.split(r"[=<>]", requirement)[0].replace("-", "_")
        assert list(packages.glob(f"{name}-*.dist-info")), requirement
    ours = {path.relative_to(ROOT) for path in (ROOT / "wgsd_nm").rglob("*.py")}
    assert ours == {path.relative_to(packages) for path in (packages / "wgsd_nm").rglob("*.py")}
    assert list(packages.rglob("*.pyc")), "programs that run as root cannot write bytecode"
    assert not list(packages.rglob("*.so"))


def test_it_goes_as_it_came(tmp_path: Path) -> None:
    kept = tmp_path / "usr/local/share/dbus-1/services/another.service"
    kept.parent.mkdir(parents=True)
    kept.touch()
    install(tmp_path, "/usr/local/")
    later = tmp_path / "usr/local/share/man/man1/another.1"
    later.touch()
    assert make("uninstall", tmp_path).returncode == 0
    folders = {each for path in (kept, later) for each in path.parents if tmp_path in each.parents}
    assert set(tmp_path.rglob("*")) == {kept, later, *folders}


def test_what_an_earlier_version_had_goes_with_the_next(tmp_path: Path) -> None:
    manifest = install(tmp_path) / "usr/local/lib/wgsd-nm/installed"
    former = tmp_path / "usr/local/bin/wgsd-nm-former"
    former.touch()
    stale = tmp_path / "usr/local/lib/wgsd-nm/python/wgsd_nm/stale.py"
    stale.touch()
    manifest.write_text(f"{manifest.read_text()}/usr/local/bin/wgsd-nm-former\n")
    install(tmp_path)
    assert not former.exists()
    assert not stale.exists()
    assert "former" not in manifest.read_text()
    assert make("uninstall", tmp_path).returncode == 0
    assert not list(tmp_path.iterdir())


def test_nothing_is_installed_over_a_package(tmp_path: Path) -> None:
    manifest = install(tmp_path, "/usr") / "usr/lib/wgsd-nm/installed"
    manifest.unlink()
    done = make("install", tmp_path, "/usr")
    assert done.returncode != 0
    assert "install: /usr/lib/wgsd-nm is a package's: remove that first" in done.stderr


def test_a_prefix_where_nobody_looks_is_refused(tmp_path: Path) -> None:
    done = make("install", tmp_path, "/opt/wgsd-nm")
    assert done.returncode != 0
    assert "expected /usr/local or /usr" in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_interpreter_that_is_too_old_is_told_so() -> None:
    command = "import sys; sys.version_info = (3, 10, 2, 'final', 0); import tools.install"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "wgsd-nm needs Python 3.11 or later, and this is 3.10: INTERPRETER= names another\n"


def test_nothing_to_uninstall(tmp_path: Path) -> None:
    done = make("uninstall", tmp_path)
    assert done.returncode != 0
    assert f"uninstall: nothing is installed in {tmp_path}/usr/local" in done.stderr


def test_without_packages_and_without_an_index_it_says_so(tmp_path: Path) -> None:
    done = make("install", tmp_path, venv=tmp_path / "none")
    assert done.returncode != 0
    assert "are neither in the virtual environment of `make setup` nor to be had from pip's index" in done.stderr
    assert "Traceback" not in done.stderr
