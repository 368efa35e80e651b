# SPDX-License-Identifier: GPL-2.0-or-later
"""Match rules, and what they let through."""

from __future__ import annotations

import pytest

from wgsd_nm.bus.matching import Match, owner_changes


def test_rules() -> None:
    assert Match("a.B", "a.C", "D").rule == "type='signal',sender='a.B',interface='a.C',member='D'"
    assert Match("a.B", "a.C", "D", path="/e", arg0="f").rule.endswith(",member='D',path='/e',arg0='f'")
    assert Match("a.B", "a.C", "D", arg0path="/e/").rule.endswith(",arg0path='/e/'")
    assert owner_changes("a.B").rule == (
        "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
        "member='NameOwnerChanged',arg0='a.B'"
    )


def test_a_quote_in_a_rule() -> None:
    assert Match("a.B", "a.C", "D", arg0="it's").rule.endswith(r",arg0='it'\''s'")


@pytest.mark.parametrize(
    ("match", "path", "body", "fits"),
    [
        (Match("s", "i", "m"), "/any", [], True),
        (Match("s", "i", "m", path="/a"), "/a", [], True),
        (Match("s", "i", "m", path="/a"), "/a/b", [], False),
        (Match("s", "i", "m", arg0="x"), "/", ["x", 1], True),
        (Match("s", "i", "m", arg0="x"), "/", ["y"], False),
        (Match("s", "i", "m", arg0="x"), "/", [], False),
        (Match("s", "i", "m", arg0="x"), "/", [5], False),
        (Match("s", "i", "m", arg0path="/a/"), "/", ["/a/b"], True),
        (Match("s", "i", "m", arg0path="/a/"), "/", ["/a"], False),
        (Match("s", "i", "m", arg0path="/a/b"), "/", ["/a/"], True),
        (Match("s", "i", "m", arg0path="/a/b"), "/", ["/a/b"], True),
        (Match("s", "i", "m", arg0path="/a/b"), "/", ["/a/b/c"], False),
        (Match("s", "i", "m", arg0path="/a/"), "/", [], False),
    ],
)
def test_what_fits(match: Match, path: str, body: list[object], fits: bool) -> None:
    assert match.fits(path, body) is fits
