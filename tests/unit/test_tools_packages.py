# SPDX-License-Identifier: GPL-2.0-or-later
"""Which packages of the virtual environment an installation takes."""

from __future__ import annotations

from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

from tools.packages import CannotInstall, is_met
from tools.project import requirements


def present(folder: Path, name: str, version: str) -> dict[str, Distribution]:
    """An environment with that package."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (found,) = distributions(path=[str(folder)])
    return {name: found}


@pytest.mark.parametrize(
    ("version", "met"), [("0.9.3", False), ("0.9.4", True), ("0.9.12", True), ("0.10", False), ("1.0", False)]
)
def test_a_range(tmp_path: Path, version: str, met: bool) -> None:
    assert is_met("pyroute2>=0.9.4,<0.10", present(tmp_path, "pyroute2", version)) is met


@pytest.mark.parametrize(("version", "met"), [("0.2.3", True), ("0.2.4", False), ("0.2", False)])
def test_one_version(tmp_path: Path, version: str, met: bool) -> None:
    assert is_met("dbus_next==0.2.3", {"dbus-next": present(tmp_path, "x", version)["x"]}) is met


def test_none(tmp_path: Path) -> None:
    assert not is_met("dnspython>=2.6,<3", present(tmp_path, "other", "2.7"))


def test_what_is_not_understood_is_refused() -> None:
    with pytest.raises(CannotInstall, match="a name with ==, >= or < and a version is expected"):
        is_met("dnspython~=2.6", {})


def test_the_projects_own_are_understood() -> None:
    assert not any(is_met(each, {}) for each in requirements())
