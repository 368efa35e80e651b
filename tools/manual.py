# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads an interface's D-Bus XML with the documentation in its comments, and makes the manual page of it.

    python -m tools.manual           writes man/NAME.5 for each data/dbus/interfaces/NAME.xml
    python -m tools.manual --check   only says which pages are not what it would write; exit status 1 if any

A comment stands right before what it is about, begins with that one's name and a colon, and is laid out by indentation:

    Name: a summary of one sentence.
    @argument: what a method's or signal's argument is

    A paragraph.

    A heading
      term      its definition, two spaces and more behind the term
      key type  the same for an entry of a dictionary, with its D-Bus signature

A heading is one line without a full stop or colon at its end that something indented follows. A definition goes on in
indented lines, in which that of a long term may begin.
"""

from __future__ import annotations

import re
import sys
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

ROOT: Final = Path(__file__).resolve().parents[1]
INTERFACES: Final = ROOT / "data" / "dbus" / "interfaces"
PAGES: Final = ROOT / "man"

SEE_ALSO: Final = {
    "io.github.wgsd_nm.Agent1": ("wgsd-nm(1)", "wgsd-nm-agent(1)", "io.github.wgsd_nm.Helper1(5)", "busctl(1)"),
    "io.github.wgsd_nm.Helper1": ("wgsd-nm-helper(8)", "io.github.wgsd_nm.Agent1(5)", "polkit(8)", "busctl(1)"),
}

_TYPED: Final = re.compile(r"([A-Z]\w+) ([a-z{}()]+)")


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text, in one line."""

    text: str


@dataclass(frozen=True, slots=True)
class Definition:
    """A term of a list. Of a dictionary's entry `term` is the key and `type` its D-Bus signature, else ""."""

    term: str
    type: str
    text: str


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading and what is below it."""

    title: str
    blocks: tuple[Block, ...]


Block = Paragraph | Definition | Heading


@dataclass(frozen=True, slots=True)
class Text:
    """A comment: the summary, what each argument is, and the rest."""

    summary: str
    arguments: dict[str, str]
    blocks: tuple[Block, ...]

    def definitions(self, title: str = "") -> list[Definition]:
        """The list below a heading, or the one below none."""
        blocks = self.blocks
        if title:
            (blocks,) = (each.blocks for each in self.blocks if isinstance(each, Heading) and each.title == title)
        return [each for each in blocks if isinstance(each, Definition)]

    def paragraphs(self) -> list[str]:
        """Those below no heading."""
        return [each.text for each in self.blocks if isinstance(each, Paragraph)]


@dataclass(frozen=True, slots=True)
class Member:
    """A method, property or signal. `arguments` are (name, type, direction), the last "" of a signal's."""

    kind: str
    name: str
    type: str
    arguments: tuple[tuple[str, str, str], ...]
    text: Text


@dataclass(frozen=True, slots=True)
class Contract:
    """An interface. `path` is that of its one object."""

    name: str
    path: str
    text: Text
    members: tuple[Member, ...]

    def of_kind(self, kind: str) -> dict[str, Member]:
        """The methods, properties or signals, by name."""
        return {member.name: member for member in self.members if member.kind == kind}


def read(path: Path) -> Contract:
    """Raises ValueError where a comment is missing or not laid out as it should be."""
    node = ET.parse(path, ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))).getroot()
    ((interface, comment),) = _commented(node)
    members = tuple(_member(element, text) for element, text in _commented(interface))
    return Contract(interface.attrib["name"], node.attrib["name"], _text(interface.attrib["name"], comment), members)


def _commented(parent: ET.Element) -> Iterator[tuple[ET.Element, str]]:
    """The elements and the comment right before each, "" for none."""
    comment = ""
    for child in parent:
        if child.tag is cast("object", ET.Comment):
            comment = child.text or ""
        else:
            yield child, comment
            comment = ""


def _member(element: ET.Element, comment: str) -> Member:
    name = element.attrib["name"]
    arguments = tuple(
        (each.attrib["name"], each.attrib["type"], each.get("direction", "")) for each in element.iter("arg")
    )
    text = _text(name, comment)
    if tuple(text.arguments) != tuple(argument for argument, _, _ in arguments):
        raise ValueError(f"{name}: expected @argument for each argument, in order, not {', '.join(text.arguments)}")
    return Member(element.tag, name, element.get("type", ""), arguments, text)


def _text(name: str, comment: str) -> Text:
    lines = textwrap.dedent(comment.strip("\n")).rstrip().splitlines()
    head, rest = _paragraph(lines)
    start = f"{name}: "
    if not head.startswith(start):
        raise ValueError(f"{name}: expected a comment right before it that begins with its name and a colon")
    arguments = {}
    while rest and rest[0].startswith("@"):
        argument, colon, described = rest[0][1:].partition(": ")
        if not colon:
            raise ValueError(f"{name}: expected @argument: text, not {rest[0]}")
        more, rest = _indented(rest[1:])
        arguments[argument] = " ".join(" ".join((described, *more)).split())
    return Text(head.removeprefix(start), arguments, tuple(_blocks(rest)))


def _blocks(lines: Sequence[str]) -> Iterator[Block]:
    while lines:
        if not lines[0]:
            lines = lines[1:]
        elif lines[0].startswith(" "):
            below, lines = _indented(lines)
            yield from _blocks(below)
        elif "  " in lines[0]:
            while lines and lines[0]:
                definition, lines = _definition(lines)
                yield definition
        else:
            text, lines = _paragraph(lines)
            below, rest = _indented(lines)
            if below and not text.endswith((".", ":")):
                yield Heading(text, tuple(_blocks(below)))
                lines = rest
            else:
                yield Paragraph(text)


def _definition(lines: Sequence[str]) -> tuple[Definition, Sequence[str]]:
    """The first of a list, and the other lines. Raises ValueError."""
    term, _, described = lines[0].partition("  ")
    end = 1
    while end < len(lines) and lines[end].startswith(" "):
        end += 1
    text = " ".join(" ".join((described, *lines[1:end])).split())
    if not text or term.startswith(" "):
        raise ValueError(f"expected a term, two spaces and its definition, not {lines[0]!r}")
    typed = _TYPED.fullmatch(term)
    return Definition(typed[1], typed[2], text) if typed else Definition(term, "", text), lines[end:]


def _paragraph(lines: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The lines up to one that is empty, indented or an argument's, as one; and the others."""
    end = 1
    while end < len(lines) and lines[end] and lines[end][0] not in " @":
        end += 1
    return " ".join(lines[:end]), lines[end:]


def _indented(lines: Sequence[str]) -> tuple[list[str], Sequence[str]]:
    """The indented lines at the beginning, without their indentation; and the others."""
    end = 0
    while end < len(lines) and (not lines[end] or lines[end].startswith(" ")):
        end += 1
    below = textwrap.dedent("\n".join(lines[:end])).strip("\n")
    return below.splitlines(), lines[end:]


def page(contract: Contract) -> str:
    """The manual page, in man(7)."""
    name = _escaped(contract.name)
    lines = [
        '.\\" SPDX-License-Identifier: GPL-2.0-or-later',
        f'.\\" Made by tools/manual.py of data/dbus/interfaces/{contract.name}.xml: change that, and run it again.',
        f'.TH {name.upper()} 5 "" "wgsd\\-nm" "D\\-Bus Interfaces"',
        ".nh",
        ".ad l",
        ".SH NAME",
        f"{name} \\- {_escaped(contract.text.summary.removesuffix('.'))}",
        ".SH SYNOPSIS",
        ".nf",
        *(_declaration(member) for member in contract.members),
        ".fi",
        ".SH DESCRIPTION",
    ]
    errors = [each for each in contract.text.blocks if isinstance(each, Heading) and each.title == "Errors"]
    lines += _roff([each for each in contract.text.blocks if each not in errors], heading=".SS")
    for kind, title in (("method", "METHODS"), ("property", "PROPERTIES"), ("signal", "SIGNALS")):
        members = contract.of_kind(kind)
        lines += [f".SH {title}"] if members else []
        for member in members.values():
            lines += _member_roff(member)
    for heading in errors:
        lines += [".SH ERRORS", *_roff(heading.blocks)]
    see = SEE_ALSO[contract.name]
    lines.append(".SH SEE ALSO")
    for number, other in enumerate(see, 1):
        title, _, section = other.removesuffix(")").partition("(")
        lines.append(f".BR {_escaped(title)} ({section}){',' if number < len(see) else ''}")
    return "\n".join(lines) + "\n"


def _declaration(member: Member) -> str:
    name = rf"\fB{_escaped(member.name)}\fP"
    if member.kind == "property":
        return f"{member.kind} {name} {member.type}"
    arguments = [(rf"{type_} \fI{_escaped(name)}\fP", direction) for name, type_, direction in member.arguments]
    given = ", ".join(text for text, direction in arguments if direction != "out")
    returned = ", ".join(text for text, direction in arguments if direction == "out")
    return f"{member.kind} {name}({given})" + (rf" \-> ({returned})" if returned else "")


def _member_roff(member: Member) -> Iterator[str]:
    yield f".SS {_escaped(member.name)}"
    yield from _sentences(member.text.summary[0].upper() + member.text.summary[1:])
    for name, type_, direction in member.arguments:
        yield ".TP"
        yield rf'.IR {_escaped(name)} " ({type_}{", " * bool(direction)}{direction})"'
        yield from _sentences(member.text.arguments[name])
    yield from _roff(member.text.blocks, above=".PP")


def _roff(blocks: Sequence[Block], *, above: str = "", heading: str = "") -> Iterator[str]:
    """`above` is the macro before the first paragraph, `heading` the one of headings; "" stands for bold paragraphs."""
    for block in blocks:
        match block:
            case Paragraph(text):
                if above:
                    yield above
                yield from _sentences(text)
            case Definition(term, type_, text):
                yield ".TP"
                yield rf".B {_escaped(term)}" if not type_ else rf'.BR {_escaped(term)} " {type_}"'
                yield from _sentences(text)
            case Heading(title, below):
                yield from (f"{heading} {_escaped(title)}",) if heading else (".PP", f".B {_escaped(title)}")
                yield from _roff(below, above="" if heading else ".PP")
        above = ".PP"


def _sentences(text: str) -> Iterator[str]:
    for sentence in re.split(r"(?<=[.:;]) (?=[A-Z])", text):
        yield _escaped(sentence)


def _escaped(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("^", r"\(ha").replace("~", r"\(ti")
    escaped = re.sub(r"`([^`]*)`", r"\\fB\1\\fP", escaped)
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


def main(arguments: Sequence[str]) -> int:
    check = list(arguments) == ["--check"]
    if arguments and not check:
        print("usage: python -m tools.manual [--check]", file=sys.stderr)
        return 2
    status = 0
    for source in sorted(INTERFACES.glob("*.xml")):
        target, text = PAGES / f"{source.stem}.5", page(read(source))
        if not check:
            target.write_text(text)
        elif not target.exists() or target.read_text() != text:
            print(f"{target.relative_to(ROOT)} is not what {source.relative_to(ROOT)} says: run python -m tools.manual")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
