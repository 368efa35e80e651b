# SPDX-License-Identifier: GPL-2.0-or-later
"""The links of a document that is installed: they lead to what is installed too, and the words of others stay."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_LINK: Final = re.compile(r"\[([^\]]+)\]\(([^):#]+)(#[^)]*)?\)")
"""Words, a path in the project, and a place in that file."""


def relinked(text: str, source: Path, places: Mapping[Path, Path]) -> str:
    """The Markdown of `source` as it is to stand at `places[source]`; `places` has all that is installed, by source."""

    def link(found: re.Match[str]) -> str:
        words, path, place = found.groups(default="")
        target = places.get(Path(os.path.normpath(source.parent / path)))
        if target is None:
            return words
        return f"[{words}]({os.path.relpath(target, places[source].parent)}{place})"

    return _LINK.sub(link, text)
