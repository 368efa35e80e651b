# SPDX-License-Identifier: GPL-2.0-or-later
"""The extension's modules for GNOME 43 and 44, which know no import and export: made mechanically from those for 45.

It knows the forms in FORMS, each on a line of its own, and stops at any other.
"""

from __future__ import annotations

import re
from typing import Final

SHELLS: Final = ("43", "44")

_HEAD: Final = "const Me = imports.misc.extensionUtils.getCurrentExtension();\n"
_INIT: Final = """
function init() {
    return new %s(Me.dir);
}
"""
_BASE: Final = """class Extension {
    constructor(dir) {
        this.dir = dir;
    }
}
"""

FORMS: Final = (
    (r"import (\w+) from 'gi://(\w+)';", r"const \1 = imports.gi.\2;"),
    (r"import Gettext from 'gettext';", r"const Gettext = imports.gettext;"),
    (r"import \* as (\w+) from 'resource:///org/gnome/shell/ui/(\w+)\.js';", r"const \1 = imports.ui.\2;"),
    (r"import \{(\w+(?:, \w+)*)\} from '\./(\w+)\.js';", r"const {\1} = Me.imports.\2;"),
    (r"import \{Extension\} from 'resource:///org/gnome/shell/extensions/extension\.js';", _BASE.rstrip()),
    (r"export function ", r"function "),
    (r"export const (\w+) =", r"var \1 ="),
    (r"export class (\w+) ", r"var \1 = class \1 "),
    (r"export default class (\w+) extends Extension ", r"class \1 extends Extension "),
)
"""What a line may begin with, and what it becomes."""

_MODULE_SYNTAX: Final = re.compile(r"^\s*(?:import|export|await)\b|\bimport\s*[(.]")
_ENTRY: Final = re.compile(r"^export default class (\w+) ", re.MULTILINE)


class UnknownFormError(ValueError):
    """A line has a form of import or export that cannot be translated."""


def translated(name: str, source: str) -> str:
    """The module `name` for GNOME 43. Raises UnknownFormError."""
    lines = [_translated(name, number, line) for number, line in enumerate(source.splitlines(), 1)]
    after = next((place for place, line in enumerate(lines) if not line.startswith("//")), 0)
    entry = _ENTRY.search(source)
    text = "\n".join([*lines[:after], "", _HEAD.rstrip(), *lines[after:]]) + "\n"
    return text + _INIT % entry[1] if entry else text


def _translated(name: str, number: int, line: str) -> str:
    for form, replacement in FORMS:
        changed, count = re.subn(f"^{form}", replacement, line)
        if count:
            return changed
    if _MODULE_SYNTAX.search(line) and not line.lstrip().startswith(("//", "*", "/*")):
        forms = "; ".join(form for form, _ in FORMS)
        raise UnknownFormError(f"{name}:{number}: {line.strip()!r}: expected one of the forms {forms}")
    return line
