# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading the texts that the contract tests compare with code: D-Bus XML, units, and what systemd says of a unit."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, cast

from wgsd_nm.bus import names
from wgsd_nm.core.errors import WgsdError

ROOT: Final = Path(__file__).resolve().parents[2]
DATA: Final = ROOT / "data"
INTERFACES: Final = DATA / "dbus" / "interfaces"

_ERROR_NAME = re.compile(r"(?:org\.freedesktop\.DBus|io\.github\.wgsd_nm)\.Error\.\w+")

Arguments = tuple[tuple[str, str], ...]
"""Names and signatures, in order"""


def parsed(path: Path) -> ET.Element:
    """An XML file with its comments."""
    parser = ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))
    return ET.parse(path, parser).getroot()


def described(path: Path) -> ET.Element:
    """The one interface of an introspection file."""
    (interface,) = parsed(path).findall("interface")
    return interface


def documented(parent: ET.Element) -> Iterator[tuple[ET.Element, str]]:
    """Each member and the comment right before it, "" for none."""
    comment = ""
    for child in parent:
        if child.tag is cast("object", ET.Comment):
            comment = child.text or ""
        else:
            yield child, comment
            comment = ""


def arguments(member: ET.Element, direction: str | None) -> Arguments:
    """Of a method, in that direction; of a signal, with None."""
    return tuple((arg.attrib["name"], arg.attrib["type"]) for arg in member if arg.get("direction") == direction)


def methods(interface: ET.Element) -> dict[str, tuple[Arguments, Arguments]]:
    """Each method's arguments and results."""
    return {
        method.attrib["name"]: (arguments(method, "in"), arguments(method, "out"))
        for method in interface.iter("method")
    }


def require_documented(interface: ET.Element) -> dict[str, str]:
    """The comment of each member, which begins with its name and tells of each of its arguments."""
    comments = {}
    for member, comment in documented(interface):
        name = member.attrib["name"]
        assert comment.lstrip().startswith(f"{name}: "), f"{name} has no comment that begins with its name"
        for arg in member.iter("arg"):
            assert f"@{arg.attrib['name']}:" in comment, f"{name} does not tell of its argument {arg.attrib['name']}"
        comments[name] = comment
    return comments


def require_errors(path: Path, raised: Iterable[type[WgsdError]]) -> None:
    """Every error that is named exists, and all that can be raised, and the limit of calls, are named."""
    said = set(_ERROR_NAME.findall(path.read_text()))
    known = {value for name, value in vars(names).items() if name.startswith("ERROR_") and isinstance(value, str)}
    assert said <= known | set(names.ERROR_NAMES.values())
    assert {names.ERROR_NAMES.get(kind, names.ERROR_FAILED) for kind in raised} <= said
    assert names.ERROR_LIMITS_EXCEEDED in said


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
