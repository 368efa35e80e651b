# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual pages of the D-Bus interfaces: made of the XML, up to date, and complete when compared with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.contract import texts
from tests.contract.test_agent_contract import exported as agent
from tests.contract.test_helper_contract import ACTIONS
from tests.contract.test_helper_contract import exported as helper
from tools import manual
from wgsd_nm.bus import names
from wgsd_nm.core.model import ChangeResult, PeerState, Source, State, Updates
from wgsd_nm.core.reason import Reason

INTERFACES = {names.AGENT: lambda: agent().interface(), names.HELPER: lambda: helper().interface()}
ARGUMENT = re.compile(r'^\.IR (\w+) " \((.+?)(?:, (?:in|out))?\)"$', re.MULTILINE)
KINDS = {"METHODS": "method", "PROPERTIES": "property", "SIGNALS": "signal"}

DOCUMENTED = """\
<?xml version="1.0"?>
<node name="/org/example/Thing1">
  <!--
    org.example.Thing1: a thing - with `quotes`.

    It has two - dashes. And more:
    of the same.

    Section
      .term  what it is
      a long term
          which begins below

    Errors
      Said first.

      org.example.Error.No  it cannot
  -->
  <interface name="org.example.Thing1">
    <!--
      Do: do it.
      @what: the thing
        to do
      @done: whether it is

      Key s  a key
      Other a{sv}  another
    -->
    <method name="Do">
      <arg name="what" type="s" direction="in"/>
      <arg name="done" type="b" direction="out"/>
    </method>
    <!-- Level: how high. -->
    <property name="Level" type="u" access="read"/>
    <!--
      Moved: it was moved.
      @to: where to
    -->
    <signal name="Moved">
      <arg name="to" type="s"/>
    </signal>
  </interface>
</node>
"""


def page(name: str) -> str:
    return (manual.PAGES / f"{name}.5").read_text()


def plain(roff: str) -> str:
    return re.sub(r"\\f[BIP]|\\&", "", roff).replace(r"\-", "-")


def terms(roff: str) -> list[str]:
    """What stands out at the left: members, arguments, keys, words and errors."""
    return re.findall(r"^\.(?:SS|B|BR|IR) (\S+)", plain(roff), re.MULTILINE)


def sections(roff: str, mark: str) -> dict[str, str]:
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in roff.split(f"\n.{mark} ")[1:]}


@pytest.mark.parametrize("name", INTERFACES)
def test_the_page_is_what_the_xml_says(name: str) -> None:
    made = manual.page(texts.contract(name))
    assert page(name) == made, "the XML has changed: run python -m tools.manual"


@pytest.mark.parametrize("name", INTERFACES)
def test_the_page_has_every_member_of_the_code_with_its_arguments_and_no_other(name: str) -> None:
    interface, parts = INTERFACES[name](), sections(page(name), "SH")
    members: dict[str, dict[str, list[tuple[str, str]]]] = {
        "METHODS": {each: [*method.arguments, *method.results] for each, method in interface.methods.items()},
        "PROPERTIES": {each: [] for each in interface.properties},
        "SIGNALS": {each: list(signal.arguments) for each, signal in interface.signals.items()},
    }
    assert KINDS.keys() & parts.keys() == {title for title, found in members.items() if found}
    for title, expected in members.items():
        found = sections("\n" + parts.get(title, ""), "SS")
        assert list(found) == list(expected)
        for member, arguments in expected.items():
            described = ARGUMENT.findall(found[member])
            assert described == [(argument, type_) for argument, type_ in arguments], member
    synopsis = plain(parts["SYNOPSIS"])
    for title, expected in members.items():
        for member in expected:
            assert f"\n{KINDS[title]} {member}" in "\n" + synopsis


def test_the_pages_have_every_error_of_the_code() -> None:
    ours = {name for name in names.ERROR_NAMES.values() if name.startswith("io.github.")} | {names.ERROR_FAILED}
    errors = {name: terms(sections(page(name), "SH")["ERRORS"]) for name in INTERFACES}
    assert {each for found in errors.values() for each in found if each.startswith("io.github.")} == ours
    for name, found in errors.items():
        assert found == texts.errors_of(texts.contract(name))


def test_the_pages_have_every_code_word_and_action_of_the_code() -> None:
    of_agent = page(names.AGENT)
    states = sections(sections(of_agent, "SH")["PROPERTIES"], "SS")
    assert terms(states["State"]) == [str(state) for state in State]
    codes = terms(states["Peers"].partition(".B Codes of Reason")[2])
    codes += terms(of_agent.partition(".B Codes of reason")[2].partition("\n.SH")[0])
    assert sorted(codes) == sorted(Reason)
    for title, words in (("Source", Source), ("State", PeerState)):
        listed = states["Peers"].partition(f".B Words of {title}\n")[2].partition("\n.PP")[0]
        assert terms(listed) == [str(word) for word in words]
    assert all(f'"{word}"' in plain(states["Tunnels"]) for word in Updates if word)
    of_helper = page(names.HELPER)
    assert terms(of_helper.partition(".B Results")[2].partition("\n.PP")[0]) == [str(each) for each in ChangeResult]
    for action in ACTIONS.values():
        assert f"polkit action: {action}" in plain(of_helper)


def test_a_comment_becomes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manual, "SEE_ALSO", {"org.example.Thing1": ("thing(1)", "other-thing(8)")})
    text = manual.page(manual.read(written(tmp_path, DOCUMENTED)))
    assert text.partition(".SH NAME\n")[2] == (
        "org.example.Thing1 \\- a thing \\- with \\fBquotes\\fP\n"
        ".SH SYNOPSIS\n.nf\n"
        "method \\fBDo\\fP(s \\fIwhat\\fP) \\-> (b \\fIdone\\fP)\n"
        "property \\fBLevel\\fP u\n"
        "signal \\fBMoved\\fP(s \\fIto\\fP)\n.fi\n"
        ".SH DESCRIPTION\n"
        "It has two \\- dashes.\nAnd more: of the same.\n"
        ".SS Section\n"
        ".TP\n.B \\&.term\nwhat it is\n"
        ".TP\n.B a long term\nwhich begins below\n"
        ".SH METHODS\n.SS Do\nDo it.\n"
        '.TP\n.IR what " (s, in)"\nthe thing to do\n'
        '.TP\n.IR done " (b, out)"\nwhether it is\n'
        '.TP\n.BR Key " s"\na key\n'
        '.TP\n.BR Other " a{sv}"\nanother\n'
        ".SH PROPERTIES\n.SS Level\nHow high.\n"
        ".SH SIGNALS\n.SS Moved\nIt was moved.\n"
        '.TP\n.IR to " (s)"\nwhere to\n'
        ".SH ERRORS\nSaid first.\n"
        ".TP\n.B org.example.Error.No\nit cannot\n"
        ".SH SEE ALSO\n.BR thing (1),\n.BR other\\-thing (8)\n"
    )


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("Do: do it.", "Undo: do it."),
        ("<!-- Level: how high. -->", ""),
        ("@done: whether it is", ""),
        ("@to: where to", "@from: where from"),
        ("Key s  a key", "Key s  "),
    ],
)
def test_a_comment_that_is_not_laid_out_as_it_should_be_is_refused(tmp_path: Path, right: str, wrong: str) -> None:
    assert right in DOCUMENTED
    with pytest.raises(ValueError, match="expected"):
        manual.read(written(tmp_path, DOCUMENTED.replace(right, wrong)))


def test_a_page_that_is_not_up_to_date_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert manual.main(["--check"]) == 0
    monkeypatch.setattr(manual, "ROOT", tmp_path)
    monkeypatch.setattr(manual, "PAGES", tmp_path)
    monkeypatch.setattr(manual, "INTERFACES", tmp_path)
    for source in texts.INTERFACES.iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    assert manual.main(["--check"]) == 1
    assert manual.main([]) == 0
    assert manual.main(["--check"]) == 0
    stale = tmp_path / f"{names.AGENT}.5"
    stale.write_text(stale.read_text().replace("Look every", "Look some"))
    capsys.readouterr()
    assert manual.main(["--check"]) == 1
    assert capsys.readouterr().out.startswith(f"{stale.name} is not what {names.AGENT}.xml says")
    assert manual.main(["--help"]) == 2


def written(directory: Path, text: str) -> Path:
    path = directory / "org.example.Thing1.xml"
    path.write_text(text)
    return path
