# SPDX-License-Identifier: GPL-2.0-or-later
"""Every file of ours says under which licence it is (SPDX, in its first lines), and the licence is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from tests.contract.texts import ROOT

LICENCE = "GPL-2.0-or-later"
HEADER = re.compile(r"^(?:#|//|\.\\\"|<!--|/\*|;|--|%)\s*SPDX-License-Identifier: (\S+)", re.MULTILINE)
FIRST_LINES = 3
"""A header may stand behind `#!` or `<?xml`, and behind one line of its own comment."""

EXCEPT = {
    "LICENSE": "the licence itself",
    ".gitignore": "a list of patterns, no work of anybody",
    "docs/images/gnome.png": "a picture that `make demo-desktop` made",
    "docs/images/moving.png": "a picture that tests/shell/postcard.py made",
    "extension/metadata.json": "JSON has no comments",
    "packaging/debian/changelog": "Debian's tools take no comment in a package's changelog",
    "packaging/debian/control": "Debian's tools take no comment in a package's control file",
    "packaging/debian/copyright": "says it of every file, in Debian's way",
    "wgsd_nm/py.typed": "empty, as PEP 561 has it",
    "tests/wgsd/go.mod": "made by the go command, which removes what it does not know",
    "tests/wgsd/go.sum": "the same",
}


def ignored() -> list[str]:
    return [".git", *(ROOT / ".gitignore").read_text().replace("/\n", "\n").split()]


def files(folder: Path = ROOT) -> Iterator[Path]:
    """Those of the tree that git would not ignore."""
    patterns = ignored()
    for path in sorted(folder.iterdir()):
        if any(fnmatch(path.name, pattern) for pattern in patterns):
            continue
        if path.is_symlink():
            assert path.resolve().is_relative_to(ROOT), f"{path} leads out of the tree"
        elif path.is_dir():
            yield from files(path)
        else:
            yield path


def licence(path: Path) -> str:
    """What its first lines say, "" for nothing."""
    head = "\n".join(path.read_text(errors="replace").splitlines()[:FIRST_LINES])
    found = HEADER.search(head)
    return found[1] if found else ""


def test_every_file_says_under_which_licence_it_is() -> None:
    names = {path.relative_to(ROOT).as_posix(): path for path in files()}
    assert len(names) > 400
    silent = [name for name, path in names.items() if licence(path) != LICENCE]
    assert set(silent) <= set(EXCEPT)


def test_the_header_is_found_in_each_kind_of_comment(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for text in (f"# SPDX-License-Identifier: {LICENCE}", f"<?xml?>\n<!-- SPDX-License-Identifier: {LICENCE} -->"):
        file.write_text(text)
        assert licence(file) == LICENCE
    for text in ("", f"\n\n\n# SPDX-License-Identifier: {LICENCE}", f"print('SPDX-License-Identifier: {LICENCE}')"):
        file.write_text(text)
        assert licence(file) == ""


def test_the_licence_is_there_and_the_project_names_it() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in text
    assert "Version 2, June 1991" in text
    assert f'license = {{ text = "{LICENCE}" }}' in (ROOT / "pyproject.toml").read_text()
