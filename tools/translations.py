# SPDX-License-Identifier: GPL-2.0-or-later
"""The extension's texts for translators: extension/po/wgsd-nm.pot, made by xgettext.

python -m tools.translations    writes it anew, and brings the translations beside it up to date
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tools.project import ROOT

FOLDER: Final = ROOT / "extension" / "po"
TEMPLATE: Final = FOLDER / "wgsd-nm.pot"

_HEAD: Final = """\
# SPDX-License-Identifier: GPL-2.0-or-later
# The texts of the GNOME Shell extension, made by tools/translations.py: copy it to LANGUAGE.po to translate them.
#
msgid ""
msgstr ""
"Project-Id-Version: wgsd-nm\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: nplurals=INTEGER; plural=EXPRESSION;\\n"

"""


class MissingProgramError(Exception):
    """A program of gettext is not installed; the text says what to install."""


def template() -> str:
    """The template as the sources want it. Raises MissingProgramError."""
    sources = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "extension").glob("*.js"))
    options = ("--language=JavaScript", "--from-code=UTF-8", "--keyword=_", "--keyword=ngettext:1,2")
    found = _run(
        "xgettext", *options, "--add-comments=Translators:", "--add-location=file", "--no-wrap",
        "--output=-", *sources,
    )  # fmt: skip
    _, _, texts = found.partition("\n\n")  # its own header has the time in it
    return _HEAD + re.sub(r"^#, (?:javascript|c)-format\n", "", texts, flags=re.MULTILINE)


def catalogues() -> list[Path]:
    """The translations."""
    return sorted(FOLDER.glob("*.po"))


def main() -> int:
    try:
        TEMPLATE.write_text(template())
        for catalogue in catalogues():
            _run("msgmerge", "--quiet", "--update", "--backup=none", "--no-wrap", "--no-fuzzy-matching",
                 str(catalogue), str(TEMPLATE))  # fmt: skip
    except (OSError, MissingProgramError, subprocess.CalledProcessError) as error:
        print(f"translations: {error}", file=sys.stderr)
        return 1
    return 0


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout
    except FileNotFoundError:
        raise MissingProgramError(f"{command[0]} is not there; as root: apt-get install gettext") from None


if __name__ == "__main__":
    sys.exit(main())
