# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the completions of wgsd-nm for bash, zsh and fish, in data/completions/, from its argparse parsers.

    python3 -m tools.completions

A test fails when the files there are others.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from tools.project import ROOT
from wgsd_nm.cli.__main__ import command_line

FOLDER: Final = ROOT / "data" / "completions"
HEAD: Final = "SPDX-License-Identifier: GPL-2.0-or-later\n# Made by tools/completions.py of the program's own options."

SOURCES: Final = {"connection": "connections", "device": "devices", "interface": "devices"}
"""Arguments whose values the machine knows, by argparse's name for them, and the function that lists these."""

CONNECTIONS: Final = "nmcli --terse --fields TYPE,NAME connection show 2>/dev/null | sed -n 's/^wireguard://p'"
DEVICES: Final = (
    "grep --files-with-matches --no-messages DEVTYPE=wireguard /sys/class/net/*/uevent | cut --delimiter=/ --fields=5"
)


@dataclass(frozen=True, slots=True)
class Option:
    """Of a command: `source` lists its values, "" where nothing is known of them; `takes_value` if it has one."""

    flags: tuple[str, ...]
    help: str
    takes_value: bool
    source: str


@dataclass(frozen=True, slots=True)
class Command:
    """`source` lists the values of its first argument, "" where nothing is known of them; None without an argument."""

    name: str
    help: str
    options: tuple[Option, ...]
    source: str | None


def commands() -> Iterator[Command]:
    """The commands of wgsd-nm, and first, without a name, itself."""
    parser = command_line()
    yield Command("", "", tuple(_options(parser)), None)
    for action in parser._actions:  # noqa: SLF001  # argparse has no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            helps = {each.dest: each.help or "" for each in action._choices_actions}  # noqa: SLF001
            for name, each in action.choices.items():
                arguments = [one for one in each._actions if not one.option_strings]  # noqa: SLF001
                source = next((SOURCES.get(one.dest, "") for one in arguments), None)
                yield Command(name, helps[name], tuple(_options(each)), source)


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:  # noqa: SLF001
        if action.option_strings:
            takes_value = action.nargs is None
            source = SOURCES.get(action.dest, "") if takes_value else ""
            yield Option(tuple(action.option_strings), action.help or "", takes_value, source)


def bash() -> str:
    """No word is ever expanded: a connection's name may be anything."""
    lines = [
        f"# {HEAD}",
        "",
        "_wgsd_nm_connections() {",
        f"    {CONNECTIONS} | sed 's/\\\\\\(.\\)/\\1/g'",
        "}",
        "",
        "_wgsd_nm_devices() {",
        f"    {DEVICES}",
        "}",
        "",
        "_wgsd_nm() {",
        '    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command="" word',
        '    for word in "${COMP_WORDS[@]:1:COMP_CWORD - 1}"; do',
        "        if [[ $word != -* ]]; then",
        "            command=$word",
        "            break",
        "        fi",
        "    done",
        "    COMPREPLY=()",
        "    while IFS= read -r word; do",
        "        word=$(printf '%q' \"$word\")",
        '        if [[ $word == "$current"* ]]; then',
        '            COMPREPLY+=("$word")',
        "        fi",
        '    done < <(_wgsd_nm_words "$command" "$previous" "$current")',
        "}",
        "",
        "_wgsd_nm_words() {",
        "    case $1:$2 in",
    ]
    for command in commands():
        for option in command.options:
            if option.takes_value:
                pattern = " | ".join(f"{command.name}:{flag}" for flag in option.flags)
                listing = f"_wgsd_nm_{option.source} && " if option.source else ""
                lines.append(f"        {pattern}) {listing}return ;;")
    lines += ["    esac", "    case $1:$3 in"]
    for command in commands():
        flags = " ".join(flag for option in command.options for flag in option.flags)
        lines.append(f"        {command.name}:-*) printf '%s\\n' {flags} ;;")
        if not command.name:
            names = " ".join(each.name for each in commands() if each.name)
            lines.append(f"        :*) printf '%s\\n' {names} ;;")
        elif command.source:
            lines.append(f"        {command.name}:*) _wgsd_nm_{command.source} ;;")
        elif command.source is None:
            lines.append(f"        {command.name}:*) printf '%s\\n' {flags} ;;")
    lines += ["    esac", "}", "", "complete -F _wgsd_nm wgsd-nm"]
    return "\n".join(lines) + "\n"


def zsh() -> str:
    top, *others = commands()
    lines = [
        "#compdef wgsd-nm",
        f"# {HEAD}",
        "",
        "_wgsd_nm_connections() {",
        "    local -a found",
        f'    found=(${{${{(f)"$({CONNECTIONS})"}}//(#m)\\\\?/${{MATCH[2]}}}})',
        "    compadd -a found",
        "}",
        "",
        "_wgsd_nm_devices() {",
        "    local -a found",
        f'    found=(${{(f)"$({DEVICES})"}})',
        "    compadd -a found",
        "}",
        "",
        "_wgsd_nm() {",
        "    setopt localoptions extendedglob",
        "    local context state line",
        "    typeset -A opt_args",
        "    _arguments -C \\",
        *(f"        {_zsh_option(option)} \\" for option in top.options),
        "        '1:command:->command' '*::argument:->argument'",
        "    case $state in",
        "    command)",
        "        local -a commands",
        "        commands=(",
        *(f"            {_quoted(f'{command.name}:{command.help}')}" for command in others),
        "        )",
        "        _describe command commands",
        "        ;;",
        "    argument)",
        "        case $words[1] in",
    ]
    for command in others:
        lines.append(f"        {command.name})")
        specs = [_zsh_option(option) for option in command.options]
        specs += [_quoted(f"1:{command.source.removesuffix('s')}:_wgsd_nm_{command.source}")] if command.source else []
        lines += ["            _arguments \\", *(f"                {spec} \\" for spec in specs[:-1])]
        lines += [f"                {specs[-1]}", "            ;;"]
    lines += ["        esac", "        ;;", "    esac", "}", "", '_wgsd_nm "$@"']
    return "\n".join(lines) + "\n"


def _zsh_option(option: Option) -> str:
    """A specification of _arguments (zshcompsys(1))."""
    text = re.sub(r"([\[\]:\\])", r"\\\1", option.help)
    value = f":value:{f'_wgsd_nm_{option.source}' if option.source else ' '}" if option.takes_value else ""
    ends = "(- *)" if {"--help", "--version"} & set(option.flags) else ""
    return " ".join(_quoted(f"{ends}{flag}[{text}]{value}") for flag in option.flags)


def fish() -> str:
    top, *others = commands()
    lines = [
        f"# {HEAD}",
        "",
        "function __wgsd_nm_connections",
        f"    {CONNECTIONS} | string replace --all --regex '\\\\\\\\(.)' '$1'",
        "end",
        "",
        "function __wgsd_nm_devices",
        "    set --local found /sys/class/net/*/uevent",
        "    grep --files-with-matches --no-messages DEVTYPE=wireguard $found | string split --fields 5 /",
        "end",
        "",
        "complete --command wgsd-nm --no-files",
    ]
    lines += [_fish_option("__fish_use_subcommand", option) for option in top.options]
    for command in others:
        lines.append(
            f"complete --command wgsd-nm --condition __fish_use_subcommand --arguments {command.name} "
            f"--description {_quoted(command.help)}"
        )
    for command in others:
        seen = _quoted(f"__fish_seen_subcommand_from {command.name}")
        lines += [_fish_option(seen, option) for option in command.options]
        if command.source:
            lines.append(f"complete --command wgsd-nm --condition {seen} --arguments '(__wgsd_nm_{command.source})'")
    return "\n".join(lines) + "\n"


def _fish_option(condition: str, option: Option) -> str:
    words = ["complete --command wgsd-nm --condition", condition]
    words += [f"--long-option {flag[2:]}" for flag in option.flags if flag.startswith("--")]
    words += [f"--short-option {flag[1:]}" for flag in option.flags if not flag.startswith("--")]
    if option.takes_value:
        words.append("--require-parameter")
    if option.source:
        words.append(f"--arguments '(__wgsd_nm_{option.source})'")
    return " ".join([*words, "--description", _quoted(option.help)])


def _quoted(text: str) -> str:
    """In single quotes, as all three shells read them."""
    return "'" + text.replace("'", "'\\''") + "'"


SHELLS: Final[dict[str, Callable[[], str]]] = {"bash": bash, "zsh": zsh, "fish": fish}


def main() -> None:
    for shell, write in SHELLS.items():
        (FOLDER / f"wgsd-nm.{shell}").write_text(write())


if __name__ == "__main__":
    main()
