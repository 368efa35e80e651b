# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual: pages that groff has no complaint about and that lead to each other, true to the programs and the files
that they are about. Those of the command line, the registry and the D-Bus interfaces have tests of their own besides.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from tests.contract.texts import DATA, ROOT
from wgsd_nm.agent import configfile
from wgsd_nm.bus import names
from wgsd_nm.core import config
from wgsd_nm.core.errors import ConfigError
from wgsd_nm.helper import __main__ as helper_program
from wgsd_nm.helper import config as helper_config

MAN = ROOT / "man"
PAGES = sorted(path.name for path in MAN.iterdir())
WANTED = [
    "io.github.wgsd_nm.Agent1.5",
    "io.github.wgsd_nm.Helper1.5",
    "wgsd-nm-agent.1",
    "wgsd-nm-helper.8",
    "wgsd-nm-registry.8",
    "wgsd-nm-registry.toml.5",
    "wgsd-nm.1",
    "wgsd-nm.toml.5",
]
NEIGHBOURS = {"busctl(1)", "dig(1)", "nmcli(1)", "polkit(8)", "systemd.socket(5)", "wg(8)"}
REFERENCE = re.compile(r"([\w.\\-]+) \((\d)\)")
NUMBERS = {8: "eight"}


def plain(page: str) -> str:
    """As man(1) shows it, without fonts and line breaks."""
    roff = re.sub(r"\\f[BIRP]|\\&", "", (MAN / page).read_text()).replace(r"\-", "-").replace(r"\(dq", '"')
    return re.sub(r"\s+", " ", re.sub(r"^\.(?:[A-Z]+|br)\b", "", roff.replace(r"\~", " "), flags=re.MULTILINE))


def section(page: str, name: str) -> str:
    return (MAN / page).read_text().partition(f".SH {name}\n")[2].partition("\n.SH ")[0]


def terms(page: str, name: str) -> list[str]:
    """The first words of a section's list."""
    return [
        term.replace(r"\-", "-")
        for term in re.findall(r"^\.TP\n(?:\.[A-Z]+ )?(\S+)", section(page, name), re.MULTILINE)
    ]


def keys(complaint: str) -> set[str]:
    """Those that a complaint about an unknown key tells of."""
    return set(complaint.rpartition(": ")[2].split(", "))


def test_every_page_is_there() -> None:
    assert PAGES == WANTED


@pytest.mark.parametrize("page", PAGES)
def test_groff_has_nothing_to_complain_of(page: str) -> None:
    groff = shutil.which("groff")
    assert groff, "expected groff: install the package groff-base"
    shown = subprocess.run(
        [groff, "-man", "-Tascii", "-P-bcu", "-ww", MAN / page], capture_output=True, text=True, check=True
    )
    assert not shown.stderr
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"):
        assert f"\n{heading}\n" in shown.stdout


@pytest.mark.parametrize("page", PAGES)
def test_the_title_and_the_name_are_the_files(page: str) -> None:
    name, _, number = page.rpartition(".")
    roff = (MAN / page).read_text().replace(r"\-", "-")
    assert re.search(rf'^\.TH {re.escape(name.upper())} {number} "" "wgsd-nm" "', roff, re.MULTILINE)
    assert section(page, "NAME").replace(r"\-", "-").startswith(f"{name} - ")


@pytest.mark.parametrize("page", PAGES)
def test_it_refers_to_others_that_are_there(page: str) -> None:
    ours = {reference(*each.rsplit(".", 1)) for each in PAGES}
    assert {reference(*each) for each in REFERENCE.findall((MAN / page).read_text())} <= ours | NEIGHBOURS
    see = [reference(*each) for each in REFERENCE.findall(section(page, "SEE ALSO"))]
    assert see
    assert len(set(see)) == len(see)
    assert reference(*page.rsplit(".", 1)) not in see


def reference(name: str, number: str) -> str:
    return f"{name}({number})".replace(r"\-", "-")


def test_units_name_pages_that_are_there() -> None:
    units = [*(DATA / "systemd-user").iterdir(), *(DATA / "systemd-system").iterdir()]
    named = {page for unit in units for page in re.findall(r"man:([\w.-]+\(\d\))", unit.read_text())}
    assert named
    assert {f"{name}.{number}" for name, number in (page[:-1].split("(") for page in named)} <= set(PAGES)


@pytest.mark.parametrize(
    ("page", "module"), [("wgsd-nm-agent.1", "wgsd_nm.agent"), ("wgsd-nm-helper.8", "wgsd_nm.helper")]
)
def test_the_page_has_each_option_of_the_program_and_no_other(page: str, module: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    options = set(re.findall(r"--[a-z-]+", told.stdout.partition("options:")[2]))
    assert set(terms(page, "OPTIONS")) == options
    synopsis = set(re.findall(r"--[a-z-]+", section(page, "SYNOPSIS").replace(r"\-", "-")))
    assert synopsis == options - {"--help", "--version"}


def test_the_page_of_the_agent_names_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    text = plain("wgsd-nm-agent.1")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/alice")
    for path in (configfile.user_file(), configfile.SYSTEM_FILE):
        name = str(path).replace("/home/alice", "~")
        assert name in text
        assert name in plain("wgsd-nm.toml.5")


def test_the_page_of_the_helper_has_its_number_its_actions_and_its_file() -> None:
    text = plain("wgsd-nm-helper.8")
    assert f"ends {helper_program.IDLE_AFTER:.0f} seconds after the last call" in text
    for each in (names.ACTION_READ_PEERS, names.ACTION_SET_ENDPOINTS, str(helper_config.PATH)):
        assert each in text
    with pytest.raises(ConfigError) as caught:
        helper_config.parse("unknown = 1")
    expected = str(caught.value).rpartition("only ")[2]
    assert f".RS\n.TP\n.B {expected}\n" in (MAN / "wgsd-nm-helper.8").read_text()
    example = section("wgsd-nm-helper.8", "EXAMPLES").partition(".EX\n")[2].partition(".EE")[0]
    assert helper_config.parse(example) == {"wg1"}


def test_the_rule_in_the_page_of_the_helper_is_that_of_the_policy() -> None:
    rule = re.compile(r"polkit\.addRule.*?\}\);", re.DOTALL)
    texts = ((MAN / "wgsd-nm-helper.8"), DATA / "polkit" / "io.github.wgsd-nm.helper1.policy")
    page, policy = (rule.findall(path.read_text().replace(r"\-", "-"))[0].split() for path in texts)
    assert page == policy


def test_the_page_of_the_configuration_has_each_key_and_no_other() -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse("unknown = 1", "file")
    top = keys(str(caught.value))
    with pytest.raises(ConfigError) as caught:
        config.parse("[tunnel.wg0]\nunknown = 1", "file")
    of_tunnel = keys(str(caught.value))
    tables = terms("wgsd-nm.toml.5", "TUNNELS") + terms("wgsd-nm.toml.5", "NOTIFICATIONS")
    assert {term.strip("[].") for term in tables} == top
    documented = terms("wgsd-nm.toml.5", "KEYS OF A TUNNEL")
    roff = section("wgsd-nm.toml.5", "KEYS OF A TUNNEL")
    assert {".names]" in roff and term.replace("[tunnel.", "names") for term in documented} == of_tunnel
    assert f"a list of at most {NUMBERS[config.MAX_REGISTRIES]}" in plain("wgsd-nm.toml.5")
    assert f"the default is {config.DNS_PORT}" in plain("wgsd-nm.toml.5")
    assert configfile.MAX_SIZE == 1 << 20


def test_the_page_of_the_configuration_has_each_key_of_the_notifications_and_its_default() -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse("[notifications]\nunknown = 1", "file")
    documented = terms("wgsd-nm.toml.5", "KEYS OF THE NOTIFICATIONS")
    assert set(documented) == keys(str(caught.value))
    page = section("wgsd-nm.toml.5", "KEYS OF THE NOTIFICATIONS")
    defaults = re.findall(r"The default is\n\.BR (\w+)", page)
    assert defaults == [str(getattr(config.NotificationConfig(), key)).lower() for key in documented]


def test_the_example_of_the_configuration_is_right() -> None:
    example = section("wgsd-nm.toml.5", "EXAMPLES").partition(".EX\n")[2].partition(".EE")[0].replace(r"\-", "-")
    parsed = config.parse(example, "manual")
    first, second, third = parsed.tunnels
    assert not parsed.notifications.failures
    assert (first.connection, list(first.names.values())) == ("wg0", ["bob"])
    assert (second.connection, second.zone, second.registries) == ("My VPN", "", ())
    assert third.replace_profile_endpoints
    assert len(third.registries) == 2
