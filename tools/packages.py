# SPDX-License-Identifier: GPL-2.0-or-later
"""Fills the private environment: our package from the tree, and what it needs.

That comes from the virtual environment of `make setup`, if the versions there are right, and then no network is needed;
else pip fetches it from the index that it is configured for. All of it is pure Python: one environment serves every
version of the interpreter.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

from tools.project import ROOT, requirements

BOOKKEEPING: Final = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
"""What a package installer notes for itself."""

_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9_.-]+)((?:[=<>]=?[0-9.]+,?)+)")
_BOUND: Final = re.compile(r"(==|>=|<)([0-9.]+)")


class CannotInstall(Exception):
    """One sentence for a person."""


def fill(folder: Path, environment: Path) -> None:
    """Make the folder, with our package and what it needs. Raises CannotInstall."""
    folder.mkdir(parents=True)
    shutil.copytree(
        ROOT / "wgsd_nm",
        folder / "wgsd_nm",
        copy_function=shutil.copyfile,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    found = {_name(each): each for each in distributions(path=[str(each) for each in environment.glob("lib/*/site-*")])}
    if all(is_met(each, found) for each in requirements()):
        for requirement in requirements():
            _copy(found[_split(requirement)[0]], folder)
    else:
        _fetch(folder)
    for name in BOOKKEEPING:
        for each in folder.glob(f"*.dist-info/{name}"):
            each.unlink()
    for each in folder.rglob("*"):
        each.chmod(0o755 if each.is_dir() else 0o644)
    binary = sorted(folder.rglob("*.so"))
    if binary:
        raise CannotInstall(f"expected packages of nothing but Python; {binary[0].relative_to(folder)} is machine code")


def is_met(requirement: str, found: dict[str, Distribution]) -> bool:
    """Whether a package of a right version is there."""
    name, bounds = _split(requirement)
    return name in found and all(_holds(found[name].version, *bound) for bound in bounds)


def _split(requirement: str) -> tuple[str, list[tuple[str, str]]]:
    match = _REQUIREMENT.fullmatch(requirement)
    if match is None:
        raise CannotInstall(f"pyproject.toml: {requirement!r}: a name with ==, >= or < and a version is expected")
    return _normal(match[1]), _BOUND.findall(match[2])


def _holds(version: str, relation: str, bound: str) -> bool:
    ours, theirs = _numbers(version), _numbers(bound)
    return ours == theirs if relation == "==" else ours >= theirs if relation == ">=" else ours < theirs


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _name(distribution: Distribution) -> str:
    return _normal(distribution.metadata["Name"])


def _normal(name: str) -> str:
    """A project's name as PEP 503 compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _copy(distribution: Distribution, folder: Path) -> None:
    """Its files, without its programs and without bytecode."""
    for file in distribution.files or ():
        if ".." in file.parts or "__pycache__" in file.parts:
            continue
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(file.locate()), target)


def _fetch(folder: Path) -> None:
    """By pip, of a virtual environment that is gone afterwards. Raises CannotInstall."""
    with tempfile.TemporaryDirectory() as name:
        _run([sys.executable, "-m", "venv", name], "expected Python's venv (on Debian the package python3-venv)")
        pip = [f"{name}/bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
        target = Path(name, "target")
        _run(
            [*pip, "install", "--no-compile", "--only-binary=:all:", f"--target={target}", *requirements()],
            "the packages that pyproject.toml asks for are neither in the virtual environment of `make setup` nor to "
            "be had from pip's index",
        )
        shutil.rmtree(target / "bin", ignore_errors=True)
        shutil.copytree(target, folder, dirs_exist_ok=True)


def _run(command: Iterable[str], complaint: str) -> None:
    done = subprocess.run(list(command), capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotInstall(f"{complaint}: {(done.stderr or done.stdout).strip()}")
