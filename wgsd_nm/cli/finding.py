# SPDX-License-Identifier: GPL-2.0-or-later
"""One finding of the doctor: how a step of the walk stands, and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Result(StrEnum):
    """How a step stands; a word of the JSON output."""

    OK = "ok"
    PROBLEM = "problem"
    CANNOT_TELL = "cannot-tell"


@dataclass(frozen=True, slots=True)
class Finding:
    """`step` is of the walk; `interface` and `name` say which tunnel and peer it is about, "" for none.

    `advice` is what to do, "" for nothing; where the step is ok, what could be done.
    """

    step: str
    result: Result
    text: str
    advice: str = ""
    interface: str = ""
    name: str = ""

    def record(self) -> dict[str, str]:
        """As JSON has it."""
        return asdict(self)


def ok(step: str, text: str, advice: str = "") -> Finding:
    return Finding(step, Result.OK, text, advice)


def problem(step: str, text: str, advice: str) -> Finding:
    return Finding(step, Result.PROBLEM, text, advice)


def cannot_tell(step: str, text: str, advice: str = "") -> Finding:
    return Finding(step, Result.CANNOT_TELL, text, advice)


def sentence(text: str) -> str:
    """A text that others wrote, with the full stop that it may lack."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def capital(text: str) -> str:
    """The text with a capital letter at its beginning."""
    return text[:1].upper() + text[1:]
