# SPDX-License-Identifier: GPL-2.0-or-later
"""The codes that tell why: each has a sentence, and is documented in the page about what to do; no other is."""

from __future__ import annotations

import re

from tests.contract.texts import ROOT
from wgsd_nm.core.reason import Reason, sentence

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()


def test_the_page_has_each_code_once_and_no_other() -> None:
    assert sorted(re.findall(r"^### `(.+)`$", PAGE, re.MULTILINE)) == sorted(Reason)


def test_the_page_says_something_of_each() -> None:
    for section in PAGE.split("\n### ")[1:]:
        title, _, text = section.partition("\n")
        assert len(text.partition("\n#")[0].strip()) >= 15, title


def test_each_has_a_sentence() -> None:
    for reason in Reason:
        text = sentence(reason)
        assert text[0].isupper() or text.startswith("no endpoint"), text
        assert text.endswith("."), text
