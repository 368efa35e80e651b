# SPDX-License-Identifier: GPL-2.0-or-later
"""Every complaint names the file, the key as TOML writes it, and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from wgsd_nm.core.errors import ConfigError, InvalidValue
from wgsd_nm.registry.setting import Setting

ROOT = Setting("a.toml", "", {"x": {"y z": [1, "two"], "n": 7}, "p": "/var/x", "t": "text"})


def parse(text: str) -> str:
    if text == "bad":
        raise InvalidValue("it is bad: expected better")
    return text.upper()


def complaint(error: pytest.ExceptionInfo[ConfigError]) -> str:
    return str(error.value)


def test_places_are_written_as_in_the_file() -> None:
    inner = ROOT.table(["x", "p", "t"])["x"].entries()["y z"]
    first, second = inner.array("items")
    assert str(first.wrong("no")) == 'a.toml: x."y z"#1: no'
    assert second.parsed("a text", parse) == "TWO"
    with pytest.raises(ConfigError) as error:
        inner.several("texts", parse)
    assert complaint(error) == 'a.toml: x."y z"#1: expected texts, not a number'


def test_a_long_or_strange_key_is_shown_short_and_escaped() -> None:
    (setting,) = Setting("a.toml", "k", {"\x1b" + "x" * 100: 1}).entries().values()
    assert setting.key == f'k."\\u001b{"x" * 60}..."'


def test_a_key_that_is_not_there_knows_its_place() -> None:
    missing = ROOT.table(["x", "p", "t", "q"])["q"]
    assert not missing.given
    assert missing.several("texts", parse) == ()
    assert missing.entries() == {}
    with pytest.raises(ConfigError) as error:
        missing.parsed("a text", parse)
    assert complaint(error) == "a.toml: q: is missing: expected a text"
    with pytest.raises(ConfigError) as error:
        missing.path("/x")
    assert complaint(error) == 'a.toml: q: is missing: expected an absolute path, like "/x"'


def test_unknown_keys_are_told_the_known_ones_in_their_order() -> None:
    with pytest.raises(ConfigError) as error:
        ROOT.table(["x", "b", "a"])
    assert complaint(error) == "a.toml: p: unknown key: expected one of x, b, a"


@pytest.mark.parametrize(
    ("value", "kind"),
    [(True, "a truth value"), (1, "a number"), (1.5, "a number"), ([], "a list"), ({}, "a table"), ("\x07", "'\\x07'")],
)
def test_what_is_no_text_is_said_to_be_what_it_is(value: object, kind: str) -> None:
    with pytest.raises(ConfigError) as error:
        Setting("", "k", value).text("a text")
    assert complaint(error) == f"k: expected a text, not {kind}"


def test_what_is_no_table_or_array_is_said_to_be_what_it_is() -> None:
    with pytest.raises(ConfigError, match=r"^k: expected a table, \[k\], not a number$"):
        Setting("", "k", 1).entries()
    with pytest.raises(ConfigError, match=r"^k: expected a list, not 'x'$"):
        list(Setting("", "k", "x").array("a list"))


def test_what_the_parser_says_stands_behind_the_place() -> None:
    with pytest.raises(ConfigError, match=r"^f: k: it is bad: expected better$"):
        Setting("f", "k", "bad").parsed("a text", parse)
    assert Setting("f", "k", ["b", "a", "b"]).several("texts", parse) == ("B", "A")


def test_paths_are_absolute() -> None:
    assert ROOT.entries()["p"].path("/x") == Path("/var/x")
    with pytest.raises(ConfigError, match=r'^a\.toml: t: expected an absolute path, like "/x", not \'text\'$'):
        ROOT.entries()["t"].path("/x")
