# SPDX-License-Identifier: GPL-2.0-or-later
"""wgsd-nm doctor: walks from the agent and NetworkManager to the peers, and says what is wrong and what to do."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from wgsd_nm.cli.finding import Finding, Result
from wgsd_nm.cli.terminal import Colour, Style, columns, padded, printable, standard_output, widths

WELL: Final = 0
ILL: Final = 1
BLIND: Final = 2

DESCRIPTION = """\
Walk from the agent and NetworkManager to the registry and the peers, and say of each step how it stands: ok, problem,
or cannot tell; and what to do. Nothing is changed.
"""
EPILOG = "Exit status: 0 all is well, 1 there are problems, 2 it could not look."

_WORDS: Final = {
    Result.OK: ("ok", Colour.GOOD),
    Result.PROBLEM: ("problem", Colour.BAD),
    Result.CANNOT_TELL: ("cannot tell", Colour.DOUBTFUL),
}
_GAP: Final = "  "
_ADVICE: Final = "-> "


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "doctor", help="say what is wrong and what to do", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status as EPILOG says."""
    from wgsd_nm.cli import examination, findings  # here, so that the other commands start without dnspython

    facts = asyncio.run(examination.look())
    found = list(findings.examine(facts))
    if arguments.json:
        print(json.dumps([finding.record() for finding in found], indent=2))
    else:
        print("\n".join(report(found, standard_output())))
    if not findings.could_look(facts):
        return BLIND
    return ILL if any(finding.result is Result.PROBLEM for finding in found) else WELL


def report(found: Sequence[Finding], style: Style) -> Iterator[str]:
    """The lines to print: each step, and below it what to do. The texts may be anybody's."""
    found = [_shown(finding) for finding in found]
    heads = [(_WORDS[finding.result][0], _subject(finding)) for finding in found]
    sizes = widths(heads)
    for finding, (word, subject) in zip(found, heads, strict=True):
        plain = f"{padded(word, sizes[0])}{_GAP}{padded(subject, sizes[1])}{_GAP}"
        indent = " " * (columns(plain) if style.fits(2 * columns(plain)) else len(_GAP))
        first, *rest = style.wrapped(finding.text, indent, plain)
        yield style.paint(word, _WORDS[finding.result][1]) + first[len(word) :]
        yield from rest
        if finding.advice:
            yield from style.wrapped(finding.advice, indent + " " * len(_ADVICE), indent + _ADVICE)


def _shown(finding: Finding) -> Finding:
    return replace(
        finding,
        text=printable(finding.text),
        advice=printable(finding.advice),
        interface=printable(finding.interface),
        name=printable(finding.name),
    )


def _subject(finding: Finding) -> str:
    return " ".join(filter(None, (finding.interface, finding.step, finding.name)))
