# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing one section of a configuration that somebody else has written."""

from __future__ import annotations

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgsd_nm.cli.configedit import Section, edited
from wgsd_nm.core.config import parse
from wgsd_nm.core.errors import ConfigError

BOB = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
EVE = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
WG0 = Section("wg0", "wg.example.com", ("10.0.0.254",))
NAMED = Section("wg0", "wg.example.com", ("10.0.0.254",), {"bob": BOB})
WRITTEN = '[tunnel.wg0]\nzone = "wg.example.com"\nregistry = "10.0.0.254"\n'


def test_a_new_file() -> None:
    assert edited("", WG0, "f") == WRITTEN
    assert edited("", NAMED, "f") == f'{WRITTEN}\n[tunnel.wg0.names]\nbob = "{BOB}"\n'


def test_a_new_section_comes_last_and_all_else_stays() -> None:
    before = '# mine\n[tunnel.wg1]  # work\nzone = "auto"\n'
    assert edited(before, WG0, "f") == f"{before}\n{WRITTEN}"


def test_a_last_line_without_an_end() -> None:
    assert edited("# mine", WG0, "f") == f"# mine\n\n{WRITTEN}"
    assert edited('[tunnel.wg0]\nzone = "auto"', WG0, "f") == WRITTEN


def test_a_section_that_is_so_already() -> None:
    before = f"# mine\n{WRITTEN}[tunnel.wg0.names]\n'bob' = '{BOB}' # him\n"
    assert edited(before, NAMED, "f") == before


def test_comments_and_other_settings_stay() -> None:
    before = """\
[tunnel.wg0]  # at home
# who knows
zone = 'old.example'   # the zone
profile-endpoints = "replace"
registry = [  # both
  "10.0.0.1",  # the first
  "10.0.0.2",
]  # that is all

# the other
[tunnel.wg1]
zone = "auto"
"""
    after = """\
[tunnel.wg0]  # at home
# who knows
zone = "wg.example.com"   # the zone
profile-endpoints = "replace"
# both
# the first
registry = "10.0.0.254"  # that is all

# the other
[tunnel.wg1]
zone = "auto"
"""
    assert edited(before, WG0, "f") == after


def test_several_registries() -> None:
    section = Section("wg0", "wg.example.com", ("10.0.0.254", "[fd00::254]:5353"))
    assert 'registry = ["10.0.0.254", "[fd00::254]:5353"]\n' in edited(WRITTEN, section, "f")


def test_names_are_added_below_their_section() -> None:
    before = f'{WRITTEN}\n# the other\n[tunnel.wg1]\nzone = "auto"\n'
    after = f'{WRITTEN}\n[tunnel.wg0.names]\nbob = "{BOB}"\n\n# the other\n[tunnel.wg1]\nzone = "auto"\n'
    assert edited(before, NAMED, "f") == after


def test_names_that_are_there_stay() -> None:
    before = f'{WRITTEN}\n[tunnel.wg0.names]\neve = "{EVE}"  # her\n'
    assert edited(before, NAMED, "f") == f'{before}bob = "{BOB}"\n'


def test_a_name_gets_another_key() -> None:
    before = f'{WRITTEN}\n[tunnel.wg0.names]\nbob = "{EVE}"  # new laptop\n'
    assert edited(before, NAMED, "f") == before.replace(EVE, BOB)


def test_a_key_gets_another_name() -> None:
    before = f'{WRITTEN}\n[tunnel.wg0.names]\nrobert = "{BOB}"  # him\n'
    assert edited(before, NAMED, "f") == before.replace("robert", "bob")


def test_a_name_takes_the_key_of_another() -> None:
    before = f'{WRITTEN}\n[tunnel.wg0.names]\nrobert = "{BOB}"  # him\nbob = "{EVE}"\n'
    assert edited(before, NAMED, "f") == f'{WRITTEN}\n[tunnel.wg0.names]\n# him\nbob = "{BOB}"\n'


def test_a_section_in_quotes() -> None:
    before = '[ tunnel . "my \\u0074unnel" ]\nzone = "auto"\n'
    after = edited(before, Section("my tunnel", "wg.example.com", ("10.0.0.254",)), "f")
    assert after == '[ tunnel . "my \\u0074unnel" ]\nzone = "wg.example.com"\nregistry = "10.0.0.254"\n'


@pytest.mark.parametrize("name", ["my tunnel", 'a"b', "a.b", "", "ü", "a]b", "#"])
def test_any_name_of_a_connection(name: str) -> None:
    section = Section(name, "wg.example.com", ("10.0.0.254",), {name: BOB})
    if name:
        assert tomllib.loads(edited("", section, "f"))["tunnel"][name]["names"] == {name: BOB}
    else:
        with pytest.raises(ConfigError, match="a connection's name"):
            edited("", section, "f")


def test_lines_of_another_system() -> None:
    assert edited("# mine\r\n", WG0, "f") == "# mine\r\n\r\n" + WRITTEN.replace("\n", "\r\n")


def test_what_makes_no_sense_is_not_written_to() -> None:
    with pytest.raises(ConfigError, match=r"^f: not TOML"):
        edited("[tunnel", WG0, "f")
    with pytest.raises(ConfigError, match=r"^f: tunnel\.wg1\.zone"):
        edited("[tunnel.wg1]\nzone = 7\n", WG0, "f")


@pytest.mark.parametrize(
    "before",
    [
        'tunnel = {wg1 = {zone = "auto"}}\n',
        'tunnel.wg0 = {zone = "auto"}\n',
        '[tunnel]\nwg0 = {zone = "auto"}\n',
        f'[tunnel.wg0]\nzone = "auto"\nnames = {{eve = "{EVE}"}}\n',
        f'[tunnel.wg0]\nzone = "auto"\nnames.eve = "{EVE}"\n',
    ],
)
def test_a_layout_that_would_have_to_change_is_refused(before: str) -> None:
    with pytest.raises(ConfigError, match=r"^f: \[tunnel\.wg0\] cannot be written .* write it by hand$"):
        edited(before, NAMED, "f")


NAMES = st.sampled_from(["wg0", "wg1", "my tunnel", 'q"uote', "names", "zone"])
COMMENTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))).map(lambda text: f"# {text}")
PAIRS = st.dictionaries(NAMES, st.sampled_from([BOB, EVE]), max_size=2).filter(
    lambda names: len(set(names.values())) == len(names)
)

EMPTY = st.booleans()


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A configuration with comments at every place."""
    lines: list[str] = []
    for name in draw(st.lists(NAMES, unique=True, max_size=3)):
        own = draw(PAIRS)
        quoted = '"' + name.replace('"', '\\"') + '"'
        lines += [draw(COMMENTS), f"[tunnel.{quoted}] {draw(COMMENTS)}", draw(COMMENTS)]
        lines += [f'zone = "{draw(st.sampled_from(["a.example", "wg.example.com"]))}" {draw(COMMENTS)}']
        lines += [
            draw(st.sampled_from(['registry = "10.0.0.1"', 'registry = [\n"10.0.0.1", # one\n]'])),
            draw(COMMENTS),
        ]
        empty = draw(EMPTY)
        lines += [f"[tunnel.{quoted}.names] {draw(COMMENTS)}"] if own or empty else []
        if lines[-1].startswith("[tunnel"):
            for each, key in own.items():
                lines.append(f"{tomlish(each)} = '{key}' {draw(COMMENTS)}")
    return "".join(f"{line}\n" for line in lines)


def tomlish(name: str) -> str:
    return '"' + name.replace('"', '\\"') + '"'


@given(texts(), NAMES, PAIRS)
def test_whatever_was_there_no_comment_and_no_other_section_is_lost(
    before: str, name: str, names: dict[str, str]
) -> None:
    section = Section(name, "wg.example.com", ("10.0.0.254",), names)
    after = edited(before, section, "f")
    assert edited(after, section, "f") == after
    config = parse(after, "f")
    (own,) = (each for each in config.tunnels if each.connection == name)
    assert (own.zone, [str(each) for each in own.registries]) == ("wg.example.com.", ["10.0.0.254"])
    assert set(names.items()) <= {(called, str(key)) for key, called in own.names.items()}
    others = [each for each in parse(before, "f").tunnels if each.connection != name]
    assert others == [each for each in config.tunnels if each.connection != name]
    for comment in re.findall("# .*", before):
        assert comment in after
