# SPDX-License-Identifier: GPL-2.0-or-later
"""One section of the configuration's text, written or changed; all else in the text stays as it is. No files here."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from wgsd_nm.cli import quoting
from wgsd_nm.core.config import parse
from wgsd_nm.core.errors import ConfigError

_COMMENT: Final = re.compile(r""""(?:[^"\\]|\\.)*"|'[^']*'|(#.*)""")
"""A string of TOML, or, as a group, a comment."""
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True, slots=True)
class Section:
    """What a tunnel's section is to say. `names` are those to add or change: name -> public key in base64."""

    connection: str
    zone: str
    registries: tuple[str, ...]
    names: Mapping[str, str] = field(default_factory=dict)


def edited(text: str, section: Section, source: str) -> str:
    """The text with this section; `source` is what a complaint calls it. Raises ConfigError.

    The result is compared with what it has to mean. A section that is laid out in a way that this cannot change, as an
    inline table, is refused.
    """
    parse(text, source)
    expected = _expected(tomllib.loads(text), section)
    lines = _Lines(text)
    head = ("tunnel", section.connection)
    lines.write_table(head)
    lines.write(head, "zone", section.zone)
    lines.write(head, "registry", _registry(section))
    if section.names:
        lines.write_table((*head, "names"))
    for name, key in section.names.items():
        lines.write((*head, "names"), name, key)
    after = lines.text()
    try:
        right = tomllib.loads(after) == expected
    except ValueError:
        right = False
    if not right:
        raise ConfigError(
            f"{source}: {quoting.section(section.connection)} cannot be written without changing how the file is laid "
            "out: expected a table of its own, with the names in another; write it by hand"
        )
    parse(after, source)
    return after


def _registry(section: Section) -> str | list[str]:
    return section.registries[0] if len(section.registries) == 1 else list(section.registries)


def _expected(tree: dict[str, Any], section: Section) -> dict[str, Any]:
    """What the text has to mean afterwards."""
    tree = copy.deepcopy(tree)
    table = tree.setdefault("tunnel", {}).setdefault(section.connection, {})
    table |= {"zone": section.zone, "registry": _registry(section)}
    if section.names:
        names = table.setdefault("names", {})
        for former in [name for name, key in names.items() if key in section.names.values()]:
            del names[former]
        names |= section.names
    return tree


class _Lines:
    """The text's lines, in which tables and their values are found and written."""

    def __init__(self, text: str) -> None:
        self._lines: list[str] = _LINE.findall(text)
        self._end = "\r\n" if "\r\n" in text else "\n"

    def text(self) -> str:
        return "".join(self._lines)

    def write_table(self, path: tuple[str, ...]) -> None:
        """Its header, where there is none: below the table that it is part of, else at the end."""
        if self._body(path) is not None:
            return
        parent = self._body(path[:-1]) if len(path) > 2 else None
        place = self._last(parent) if parent is not None else len(self._lines)
        blank = self._end if place and self._lines[place - 1].strip() else ""
        self._insert(place, f"[{'.'.join(map(_key, path))}]{self._end}")
        if blank:
            self._insert(place, blank)

    def write(self, path: tuple[str, ...], key: str, value: str | list[str]) -> None:
        """A value of that table: in the place of the former one, or of the one that has the same value."""
        body = self._body(path)
        if body is None:
            return
        statements = list(self._statements(body))
        own = next((place for place, table in statements if key in table), None)
        former = {place for place, table in statements if len(path) > 2 and value in table.values()}
        if any(table == {key: value} for _, table in statements):
            new = None
        elif own is None and not former:
            self._insert(self._last(body), f"{_key(key)} = {_value(value)}{self._end}")
            return
        else:
            new = own or min(former, key=lambda place: place.start)
        places = {place for place in (own, new, *former) if place is not None}
        for place in sorted(places, key=lambda place: -place.start):
            if place == new:
                self._replace(place, key, value)
            elif place != own:
                comments = filter(None, (_comment(self._lines[number]) for number in place))
                self._lines[place.start : place.stop] = [f"{comment}{self._end}" for comment in comments]

    def _insert(self, place: int, line: str) -> None:
        """Behind a line, which may be the last one and lack its end."""
        if place and not self._lines[place - 1].endswith("\n"):
            self._lines[place - 1] += self._end
        self._lines.insert(place, line)

    def _replace(self, place: range, key: str, value: str | list[str]) -> None:
        """The former lines' comments stay: that of the last line behind the value, the others above it."""
        former = [self._lines[number] for number in place]
        *above, beside = (_comment(line) for line in former)
        indent = former[0][: len(former[0]) - len(former[0].lstrip())]
        new = [f"{indent}{comment}{self._end}" for comment in above if comment]
        gap = re.search(r"\s*$", former[-1].rstrip("\r\n")[: -len(beside)])[0] if beside else ""  # type: ignore[index]
        new.append(f"{indent}{_key(key)} = {_value(value)}{gap}{beside}{self._end}")
        self._lines[place.start : place.stop] = new

    def _body(self, path: tuple[str, ...]) -> range | None:
        """The lines of a table, after its header and up to the next one."""
        headers = [(number, header) for number, line in enumerate(self._lines) if (header := _header(line))]
        for number, header in headers:
            if header == path:
                following = (other for other, _ in headers if other > number)
                return range(number + 1, next(following, len(self._lines)))
        return None

    def _last(self, body: range) -> int:
        """Where to go on in a table: behind its last value. What stands below that belongs to what follows."""
        filled = [number for number in body if self._lines[number].strip() and not self._is_comment(number)]
        return filled[-1] + 1 if filled else body.start

    def _is_comment(self, number: int) -> bool:
        return self._lines[number].lstrip().startswith("#")

    def _statements(self, body: range) -> Iterator[tuple[range, dict[str, Any]]]:
        """The lines of each value of a table, and what they say."""
        start = body.start
        while start < body.stop:
            for stop in range(start + 1, body.stop + 1):
                try:
                    table = tomllib.loads("".join(self._lines[start:stop]))
                except ValueError:
                    continue
                yield range(start, stop), table
                start = stop
                break
            else:
                return


def _header(line: str) -> tuple[str, ...]:
    """The name of the table that begins here, () for none."""
    if not line.lstrip().startswith("["):
        return ()
    try:
        tree: Any = tomllib.loads(line)
    except (ValueError, RecursionError):
        return ()
    path = []
    while isinstance(tree, dict) and tree:
        ((key, tree),) = tree.items()
        path.append(key)
    return tuple(path) if tree == {} else ("",)


def _comment(line: str) -> str:
    return next((found[1].rstrip("\r") for found in _COMMENT.finditer(line) if found[1]), "")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else quoting.toml_text(name)


def _value(value: str | list[str]) -> str:
    if isinstance(value, str):
        return quoting.toml_text(value)
    return f"[{', '.join(map(quoting.toml_text, value))}]"
