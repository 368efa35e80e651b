# SPDX-License-Identifier: GPL-2.0-or-later
"""Names as somebody has to type them: in a shell's command, in the configuration."""

from __future__ import annotations

import re
import shlex

from wgsd_nm.cli.facts import ConnectionFacts

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def section(name: str) -> str:
    """The head of the configuration's section about a tunnel."""
    return f"[tunnel.{name if _BARE_KEY.fullmatch(name) else toml_text(name)}]"


def toml_text(text: str) -> str:
    """A basic string of TOML (toml.io v1.0.0), of letters that can be shown."""
    return '"' + "".join(map(_letter, text)) + '"'


def _letter(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    return letter if letter.isprintable() else f"\\U{ord(letter):08X}"


def connection_id(connection: ConnectionFacts) -> str:
    """A connection as a shell's word for nmcli: by its name, by its UUID where that name cannot be typed."""
    name = connection.id
    return shlex.quote(connection.uuid if name.startswith("-") or not name.isprintable() else name)
