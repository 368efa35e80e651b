# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests with the supported versions of Python that are not this interpreter's, each in a tree of a Debian that has it.

While they run the tree and the project are read-only, and there is no network.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from lab import tree
from lab.cache import home, lock
from lab.errors import LabError
from lab.progress import say, step
from lab.trees import PYTHONS, SOURCE, python_packages
from tools.project import ROOT, project, requirements

TESTED: Final = (
    "tests/unit",
    *(
        f"tests/integration/test_{name}.py"
        for name in ("agent_helper", "bus_backend", "bus_connection", "cli_lookup", "helper", "registry")
    ),
)
"""All unit tests, and of those with real processes what shows that each program runs on a bus."""
TEST_TOOLS: Final = ("hypothesis", "pytest", "pytest-xdist")
SETTINGS: Final = {
    "PATH": "/usr/sbin:/usr/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONWARNINGS": "error::DeprecationWarning",
    "PYTHONPYCACHEPREFIX": "/tmp/bytecode",
    "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",
}


def own() -> str:
    """The version of the interpreter that runs this."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def packages() -> list[str]:
    """What tests need of Python's packages: our dependencies and the tools, with the bounds of pyproject.toml."""
    extras = project()["optional-dependencies"]
    assert isinstance(extras, dict)
    return [*requirements(), *(each for each in extras["dev"] if each.partition(">")[0] in TEST_TOOLS)]


def test(version: str) -> int:
    """Run the tests by that version; the exit status of pytest. Raises LabError."""
    inside = [
        *tree.inside(tree.ensure(PYTHONS[version])), "--unshare-net",
        "--ro-bind", str(ROOT), SOURCE, "--chdir", SOURCE,
        "--ro-bind", str(_installed(version)), python_packages(version),
        *tree.setting(SETTINGS),
    ]  # fmt: skip
    command = [f"python{version}", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--numprocesses=auto", *TESTED]
    return subprocess.run([*inside, *command], check=False).returncode


def _installed(version: str) -> Path:
    """The folder with the packages for that version; it is made first if it is not there. Raises LabError."""
    name = f"packages-{version}-"
    folder = home() / (name + hashlib.sha256(repr(packages()).encode()).hexdigest()[:12])
    with lock(home() / f"packages-{version}.lock"):
        if not folder.is_dir():
            building = home() / f"building-{name}"
            shutil.rmtree(building, ignore_errors=True)
            command = [
                sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check",
                "--root-user-action=ignore", "--target", str(building), "--python-version", version,
                "--only-binary", ":all:", *packages(),
            ]  # fmt: skip
            with step(f"Python packages for {version}"):
                if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
                    raise LabError(f"the packages for Python {version} cannot be had; the reason stands above")
            for older in home().glob(f"{name}*"):
                shutil.rmtree(older)
            building.rename(folder)
    return folder


def main() -> int:
    """Test with every version but our own; 1 if a test fails with one of them, or one cannot be had."""
    if own() not in PYTHONS:
        say(f"Python {own()} is not among the supported versions, {', '.join(PYTHONS)}; all of those are tested")
    failed = []
    try:
        for version in PYTHONS:
            if version == own():
                say(f"Python {version} is the virtual environment's: make check and make integration test with it")
                continue
            with step(f"tests with Python {version}"):
                if test(version):
                    failed.append(version)
    except LabError as error:
        say(str(error))
        return 1
    if failed:
        say(f"tests fail with Python {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
