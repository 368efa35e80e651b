# SPDX-License-Identifier: GPL-2.0-or-later
"""What is typed as the doctor says it means what it meant."""

from __future__ import annotations

import shlex
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgsd_nm.cli import quoting
from wgsd_nm.cli.facts import ConnectionFacts

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("wg0", "[tunnel.wg0]"),
        ("wg-home_2", "[tunnel.wg-home_2]"),
        ("wg.home", '[tunnel."wg.home"]'),
        ("My VPN", '[tunnel."My VPN"]'),
        ("Zoë", '[tunnel."Zoë"]'),
        ('a"b\\c', '[tunnel."a\\"b\\\\c"]'),
        ("\x1b[2K", '[tunnel."\\U0000001B[2K"]'),
        ("", '[tunnel.""]'),
    ],
)
def test_a_section(name: str, head: str) -> None:
    assert quoting.section(name) == head


@settings(max_examples=200)
@given(TEXT)
def test_toml_reads_it_as_it_was_meant(name: str) -> None:
    head = quoting.section(name)
    assert head.isprintable()
    assert tomllib.loads(f"{head}\nzone = 1\n") == {"tunnel": {name: {"zone": 1}}}
    assert tomllib.loads(f"it = {quoting.toml_text(name)}\n") == {"it": name}


@pytest.mark.parametrize(
    ("name", "word"),
    [("home", "home"), ("My VPN", "'My VPN'"), ("it's", "'it'\"'\"'s'"), ("\x1b[2K", "uuid"), ("-x", "uuid")],
)
def test_a_connection(name: str, word: str) -> None:
    assert quoting.connection_id(ConnectionFacts("wg0", name, "uuid")) == word


@settings(max_examples=200)
@given(TEXT)
def test_a_shell_reads_it_as_one_word(name: str) -> None:
    (word,) = shlex.split(quoting.connection_id(ConnectionFacts("wg0", name, "uuid")))
    assert word in (name, "uuid")
