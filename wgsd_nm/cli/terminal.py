# SPDX-License-Identifier: GPL-2.0-or-later
"""Text on a terminal or in a pipe: colours, widths, lines that fit. It knows nothing of what is shown."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self, TextIO

UNLIMITED: Final = 0
"""A width: lines are never broken."""
NARROWEST: Final = 40
"""Columns; a terminal that claims to have fewer gets lines that it has to break itself."""

_RESET: Final = "\x1b[0m"


class Colour(StrEnum):
    """What a word means, as the escape sequence that shows it (ECMA-48 section 8.3.117, SGR)."""

    GOOD = "\x1b[32m"
    DOUBTFUL = "\x1b[33m"
    BAD = "\x1b[31m"
    HEADING = "\x1b[1m"
    FAINT = "\x1b[2m"


_OF_STATES: Final = {
    "ok": Colour.GOOD,
    "connected": Colour.GOOD,
    "probing": Colour.DOUBTFUL,
    "looking-up": Colour.DOUBTFUL,
    "unknown": Colour.DOUBTFUL,
    "captive-portal": Colour.DOUBTFUL,
    "idle": Colour.FAINT,
}


def of_state(state: str) -> Colour:
    """The colour of a state of the agent, a tunnel or a peer. One that is not known is bad, as "degraded" is."""
    return _OF_STATES.get(state, Colour.BAD)


@dataclass(frozen=True, slots=True)
class Style:
    """How to write: `width` is in columns, UNLIMITED where nobody counts them."""

    colours: bool = False
    width: int = UNLIMITED

    @classmethod
    def of(cls, stream: TextIO) -> Self:
        """Colours and a width for a terminal; neither for a pipe or a file.

        NO_COLOR (no-color.org) and TERM=dumb mean no colours. COLUMNS goes before what the terminal says.
        """
        if not stream.isatty():
            return cls()
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM", "dumb") == "dumb"
        return cls(colours=not plain, width=max(NARROWEST, shutil.get_terminal_size().columns))

    def paint(self, text: str, colour: Colour | None) -> str:
        """The text in that colour, if there are colours."""
        return f"{colour}{text}{_RESET}" if self.colours and colour is not None and text else text

    def fits(self, columns: int) -> bool:
        """Whether a line of that many columns needs no breaking."""
        return self.width == UNLIMITED or columns <= self.width

    def wrapped(self, text: str, indent: str, first: str | None = None) -> Iterator[str]:
        """The text in lines that fit, each after `indent`, the first after `first`."""
        first = indent if first is None else first
        if self.width == UNLIMITED:
            yield first + text
            return
        yield from textwrap.wrap(
            text,
            max(self.width, len(indent) + NARROWEST // 2),
            initial_indent=first,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )


def standard_output() -> Style:
    """The style of what is printed."""
    return Style.of(sys.stdout)


def printable(text: str) -> str:
    """A text from outside as it may be shown: what would command a terminal, or break a line, is replaced.

    A peer's name comes from the registry, which has it from whoever runs it.
    """
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def columns(text: str) -> int:
    """How many columns a printable text takes (Unicode Standard Annex 11)."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def padded(text: str, width: int) -> str:
    """The text and the spaces that fill its column."""
    return text + " " * (width - columns(text))


def widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """The columns that each cell of these rows needs."""
    return [max(map(columns, cells)) for cells in zip(*rows, strict=True)]
