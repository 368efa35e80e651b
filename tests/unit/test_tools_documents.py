# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from tools.documents import relinked

README, GUIDE, PICTURE = Path("/p/README.md"), Path("/p/docs/guide.md"), Path("/p/docs/images/a.png")
PLACES = {README: Path("/doc/README.md"), GUIDE: Path("/doc/guide.md"), PICTURE: Path("/doc/images/a.png")}


@pytest.mark.parametrize(
    ("source", "text", "placed"),
    [
        (README, "see [the guide](docs/guide.md).", "see [the guide](guide.md)."),
        (README, "![A\npicture](docs/images/a.png)", "![A\npicture](images/a.png)"),
        (GUIDE, "[above](../README.md#install)", "[above](README.md#install)"),
        (GUIDE, "[a](images/a.png) and [b](b.md)", "[a](images/a.png) and b"),
        (README, "[the web](https://example.com/a.md)", "[the web](https://example.com/a.md)"),
        (README, "[below](#more), `[socket]`", "[below](#more), `[socket]`"),
    ],
)
def test_links_lead_to_what_is_installed(source: Path, text: str, placed: str) -> None:
    assert relinked(text, source, PLACES) == placed
