# SPDX-License-Identifier: GPL-2.0-or-later
"""A value of a TOML tree together with its place, which every complaint names. Knows no key and no file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from wgsd_nm.core.errors import ConfigError, InvalidValue
from wgsd_nm.core.model import shown

T = TypeVar("T")

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KINDS: Final = {bool: "a truth value", int: "a number", float: "a number", list: "a list", dict: "a table"}


@dataclass(frozen=True, slots=True)
class Setting:
    """`value` is as tomllib gives it, None if it is not there; `key` is as TOML has it; `source` is its file."""

    source: str
    key: str
    value: object

    @property
    def given(self) -> bool:
        """Whether it is there."""
        return self.value is not None

    def wrong(self, complaint: object) -> ConfigError:
        """The error that says what is wrong here."""
        return ConfigError(": ".join(filter(None, (self.source, self.key, str(complaint)))))

    def expected(self, what: str) -> ConfigError:
        """The error that says what is to be here instead."""
        if not self.given:
            return self.wrong(f"is missing: expected {what}")
        kind = shown(self.value) if isinstance(self.value, str) else _KINDS.get(type(self.value), "a date or time")
        return self.wrong(f"expected {what}, not {kind}")

    def table(self, known: Collection[str]) -> dict[str, Setting]:
        """A table's values by the known keys, those that are not there, too. Raises ConfigError."""
        found = self.entries()
        for name, setting in found.items():
            if name not in known:
                raise setting.wrong(f"unknown key: expected one of {', '.join(known)}")
        return {name: found.get(name) or Setting(self.source, self._below(name), None) for name in known}

    def entries(self) -> dict[str, Setting]:
        """A table's values, whatever its keys; none if it is not there. Raises ConfigError."""
        if not self.given:
            return {}
        if not isinstance(self.value, dict):
            raise self.expected(f"a table, [{self.key}]")
        return {name: Setting(self.source, self._below(name), value) for name, value in self.value.items()}

    def array(self, what: str) -> Iterator[Setting]:
        """An array's values, counted from 1; none if it is not there. Raises ConfigError."""
        if self.given and not isinstance(self.value, list):
            raise self.expected(what)
        for number, value in enumerate(self.value if isinstance(self.value, list) else (), start=1):
            yield Setting(self.source, f"{self.key}#{number}", value)

    def text(self, what: str) -> str:
        """A text of printable letters, not empty. Raises ConfigError."""
        if not isinstance(self.value, str) or not self.value or not self.value.isprintable():
            raise self.expected(what)
        return self.value

    def parsed(self, what: str, parse: Callable[[str], T]) -> T:
        """What `parse` makes of the text, or raises InvalidValue for. Raises ConfigError."""
        text = self.text(what)
        try:
            return parse(text)
        except InvalidValue as error:
            raise self.wrong(error) from error

    def several(self, what: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        """What `parse` makes of an array's texts, in order, each once; () if it is not there. Raises ConfigError."""
        return tuple(dict.fromkeys(setting.parsed(what, parse) for setting in self.array(what)))

    def path(self, example: str) -> Path:
        """Raises ConfigError."""
        what = f'an absolute path, like "{example}"'
        text = self.text(what)
        if not text.startswith("/"):
            raise self.expected(what)
        return Path(text)

    def _below(self, name: str) -> str:
        part = name if _BARE_KEY.fullmatch(name) else json.dumps(name if len(name) <= 64 else name[:61] + "...")
        return f"{self.key}.{part}" if self.key else part
