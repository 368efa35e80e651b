# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading the texts that the contract tests compare with code: D-Bus XML, units, and what systemd says of a unit."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tools import manual
from tools.manual import Contract, Member
from wgsd_nm.bus import names
from wgsd_nm.bus.export import Interface
from wgsd_nm.core.errors import WgsdError

ROOT: Final = Path(__file__).resolve().parents[2]
DATA: Final = ROOT / "data"
INTERFACES: Final = DATA / "dbus" / "interfaces"


def parsed(path: Path) -> ET.Element:
    """The root of an XML file."""
    return ET.parse(path).getroot()


def contract(name: str) -> Contract:
    """The interface of that name, as its XML documents it."""
    return manual.read(INTERFACES / f"{name}.xml")


def require_same(described: Contract, interface: Interface) -> None:
    """The XML has the members that the code exports, in the same order, with the same arguments and types."""
    assert described.name == interface.name
    assert [(member.kind, member.name) for member in described.members] == [
        *(("method", name) for name in interface.methods),
        *(("property", name) for name in interface.properties),
        *(("signal", name) for name in interface.signals),
    ]
    assert {name: _typed(member, "in", "out") for name, member in described.of_kind("method").items()} == {
        name: (method.arguments, method.results) for name, method in interface.methods.items()
    }
    assert {name: member.type for name, member in described.of_kind("property").items()} == {
        name: each.signature for name, each in interface.properties.items()
    }
    assert {name: _typed(member, "") for name, member in described.of_kind("signal").items()} == {
        name: (signal.arguments,) for name, signal in interface.signals.items()
    }


def _typed(member: Member, *directions: str) -> tuple[tuple[tuple[str, str], ...], ...]:
    return tuple(
        tuple((name, type_) for name, type_, each in member.arguments if each == direction) for direction in directions
    )


def require_versions(described: Contract) -> None:
    """The interface and each member say since when they are there: a version that is not still to come."""
    now = _version(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
    for name, text in ((described.name, described.text), *((each.name, each.text) for each in described.members)):
        versions = [match[1] for each in text.paragraphs() if (match := re.match(r"Since (\d+\.\d+\.\d+)\.", each))]
        assert len(versions) == 1, f"{name} does not say since when it is there, like: Since 0.1.0."
        assert _version(versions[0]) <= now, name


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def errors_of(described: Contract) -> list[str]:
    """All errors that the interface documents."""
    return [error.term for error in described.text.definitions("Errors")]


def require_errors(described: Contract, raised: Iterable[type[WgsdError]]) -> None:
    """The errors that are documented are all that can be raised, and those of the bus' side of a call, and no others.

    Each method says which of them it can end with, and each that is not of all calls is one of some method.
    """
    of_all_calls = {names.ERROR_UNKNOWN_OBJECT, names.ERROR_UNKNOWN_INTERFACE, names.ERROR_UNKNOWN_METHOD}
    of_properties = {names.ERROR_UNKNOWN_PROPERTY}
    if described.of_kind("property"):
        of_properties.add(names.ERROR_PROPERTY_READ_ONLY)
    of_methods = {names.ERROR_NAMES.get(kind, names.ERROR_FAILED) for kind in raised} | {names.ERROR_LIMITS_EXCEEDED}
    documented = errors_of(described)
    assert len(set(documented)) == len(documented)
    assert set(documented) == of_all_calls | of_properties | of_methods
    said = {name: possible_errors(method) for name, method in described.of_kind("method").items()}
    short = {name.rpartition(".")[2] for name in of_methods}
    assert set().union(*said.values()) == short
    for name, possible in said.items():
        assert {"LimitsExceeded", "Failed"} <= possible, name


def possible_errors(method: Member) -> set[str]:
    """What stands behind "Possible errors:", without the words that say when."""
    (text,) = (each for each in method.text.paragraphs() if each.startswith("Possible errors: "))
    first = text.removeprefix("Possible errors: ").partition(". ")[0].removesuffix(".")
    return {each.split()[0] for each in first.split(", ")}


def unit(path: Path) -> configparser.ConfigParser:
    """A unit file whose keys may be repeated: the last one counts, which is enough here."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep the case
    parser.read_string(path.read_text())
    return parser


def script(command: str) -> str:
    """The module and function that a command installed by us runs."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    return str(scripts[Path(command.split()[0]).name])


def installed(path: Path, directory: Path) -> Path:
    """A copy of a unit as systemd would find it, with a program that exists."""
    copy = directory / path.name
    copy.write_text(re.sub(r"^ExecStart=.*$", "ExecStart=/bin/true", path.read_text(), flags=re.MULTILINE))
    return copy


def require_content(environment: dict[str, str], *command: str) -> None:
    """systemd-analyze has nothing to say."""
    analyze = shutil.which("systemd-analyze")
    assert analyze, "expected systemd-analyze: install the package systemd"
    result = subprocess.run([analyze, *command], capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not result.stderr
