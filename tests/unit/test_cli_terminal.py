# SPDX-License-Identifier: GPL-2.0-or-later
"""What a terminal gets, and what a pipe gets."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgsd_nm.cli.terminal import NARROWEST, UNLIMITED, Colour, Style, columns, of_state, padded, printable, widths
from wgsd_nm.core.model import PeerState, State


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")


def test_a_terminal_has_colours_and_a_width() -> None:
    assert Style.of(Terminal()) == Style(colours=True, width=100)


def test_a_pipe_has_neither() -> None:
    assert Style.of(io.StringIO()) == Style(colours=False, width=UNLIMITED)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("TERM", None)])
def test_colours_can_be_declined(monkeypatch: pytest.MonkeyPatch, name: str, value: str | None) -> None:
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    assert Style.of(Terminal()) == Style(colours=False, width=100)


def test_an_empty_no_color_declines_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    assert Style.of(Terminal()).colours


def test_no_terminal_is_narrower_than_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "3")
    assert Style.of(Terminal()).width == NARROWEST


def test_paint() -> None:
    assert Style(colours=True).paint("x", Colour.BAD) == "\x1b[31mx\x1b[0m"
    assert Style(colours=True).paint("x", None) == "x"
    assert Style(colours=True).paint("", Colour.BAD) == ""
    assert Style().paint("x", Colour.BAD) == "x"


def test_every_state_has_its_colour() -> None:
    good = {state for state in (*State, *PeerState) if of_state(state) is Colour.GOOD}
    bad = {state for state in (*State, *PeerState) if of_state(state) is Colour.BAD}
    assert good == {State.OK, PeerState.CONNECTED}
    assert bad == {State.UNAVAILABLE, State.OFFLINE, State.DEGRADED, PeerState.STALE, PeerState.UNREACHABLE}
    assert of_state("a newer agent's") is Colour.BAD


def test_lines_are_wrapped_to_the_width_and_not_in_a_pipe() -> None:
    text = "one two three four five six seven eight nine ten"
    assert list(Style().wrapped(text, "    ", "- ")) == [f"- {text}"]
    assert list(Style(width=40).wrapped(text, "    ", "- ")) == [
        "- one two three four five six seven",
        "    eight nine ten",
    ]


def test_an_endpoint_is_never_broken() -> None:
    (_, line) = Style(width=40).wrapped("it was last heard from at [2001:db8:1234:5678:9abc:def0:1234:5678]:51820", "")
    assert line == "[2001:db8:1234:5678:9abc:def0:1234:5678]:51820"


def test_what_would_command_a_terminal_is_replaced() -> None:
    assert printable("bob\x1b[2J\n\x9b1m\u202e") == "bob\ufffd[2J\ufffd\ufffd1m\ufffd"
    assert printable("Zoë 東京") == "Zoë 東京"


@settings(max_examples=100)
@given(st.text())
def test_printable_text_stays_on_its_line(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)


def test_columns_of_wide_and_of_combining_letters() -> None:
    assert columns("bob") == 3
    assert columns("東京") == 4
    assert columns("Zoe\u0308") == 3
    assert padded("東京", 6) == "東京  "
    assert widths([("a", "bb"), ("東京", "")]) == [4, 2]
