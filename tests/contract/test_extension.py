# SPDX-License-Identifier: GPL-2.0-or-later
"""The GNOME Shell extension agrees with the agent's interface, with what GNOME wants, and with its translations."""

from __future__ import annotations

import gettext
import io
import json
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.contract import texts
from tools import extension, translations
from tools.legacy_extension import SHELLS
from tools.manual import Text
from wgsd_nm.bus import names

FOLDER = extension.SOURCE
MODULES = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.js"))}
CONTRACT = texts.contract(names.AGENT)
IN_ANY_GJS = {
    "clock", "client", "doctor", "entries", "findings", "lines", "plain", "reasons", "summary", "translation",
}  # fmt: skip
PURE = IN_ANY_GJS - {"clock", "client", "doctor", "entries"}


def terms(text: Text, heading: str = "") -> set[str]:
    return {each.term for each in text.definitions(heading)}


def described(name: str) -> Text:
    return CONTRACT.of_kind("property")[name].text


def table(module: str, name: str) -> set[str]:
    """The keys of an object that a module has."""
    (body,) = re.findall(rf"^const {name} = \{{\n(.*?)^\}};", MODULES[module], re.MULTILINE | re.DOTALL)
    return set(re.findall(r"^    '([^']+)':", body, re.MULTILINE))


def places(text: str) -> list[str]:
    return sorted(re.findall(r"\{\w+\}", text))


def test_it_has_words_for_every_reason_and_path_of_a_peer() -> None:
    assert table("reasons", "REASONS") == terms(described("Peers"), "Codes of Reason")
    assert table("reasons", "PATHS") == terms(described("Peers"), "Words of Path")


def test_it_knows_the_states_of_peers_and_of_all() -> None:
    assert table("lines", "STATES") | {"unknown"} == terms(described("Peers"), "Words of State")
    hindrances = table("summary", "HINDRANCES")
    assert table("lines", "NOTICES") == hindrances
    (sound,) = re.findall(r"^const SOUND = \[(.*)\];", MODULES["summary"], re.MULTILINE)
    assert hindrances | set(re.findall(r"'(.*?)'", sound)) | {"degraded"} == terms(described("State"))


def test_the_errors_that_it_has_words_for_exist() -> None:
    assert table("reasons", "FAILURES") - {"org.freedesktop.DBus.Error.NoReply"} <= set(texts.errors_of(CONTRACT))


def test_it_reads_keys_that_there_are_as_the_types_that_they_have() -> None:
    types = {"_text": "s", "_texts": "as", "_time": "t"}
    found = re.findall(r"this\.(_text|_texts|_time)\('(\w+)'\)", MODULES["entries"])
    documented = {(each.term, each.type) for name in ("Tunnels", "Peers") for each in described(name).definitions()}
    documented |= {(name, member.type) for name, member in CONTRACT.of_kind("property").items()}
    assert len(found) >= 15
    assert {(key, types[method]) for method, key in found} <= documented


def test_it_calls_the_agent_by_its_names() -> None:
    constants = dict(re.findall(r"^const (NAME|PATH|INTERFACE) = '(.*)';", MODULES["client"], re.MULTILINE))
    assert constants == {"NAME": names.AGENT, "PATH": names.AGENT_PATH, "INTERFACE": names.AGENT}


def test_what_decides_knows_no_widgets() -> None:
    for name, text in MODULES.items():
        imported = set(re.findall(r"^import .* from '(.*)';", text, re.MULTILINE))
        if name in IN_ANY_GJS:
            assert imported <= {"gi://Gio", "gi://GLib", "gettext", *(f"./{other}.js" for other in IN_ANY_GJS)}, name
        if name in PURE:
            assert not any(each.startswith("gi://") for each in imported), name


def test_every_module_that_needs_no_shell_is_tested() -> None:
    tests = {path.stem.removeprefix("test").lower() for path in (texts.ROOT / "tests/extension").glob("test*.js")}
    assert tests == IN_ANY_GJS


def test_the_metadata_is_what_gnome_wants() -> None:
    metadata = json.loads((FOLDER / "metadata.json").read_text())
    assert metadata["uuid"] == extension.UUID == metadata["gettext-domain"]
    assert f"DOMAIN = '{extension.UUID}'" in MODULES["translation"]
    assert not set(metadata["shell-version"]) & set(SHELLS)
    clipboard = any("St.Clipboard" in text for text in MODULES.values())
    assert ("clipboard" in metadata["description"]) is clipboard, "extensions.gnome.org wants it declared"


def test_the_style_has_no_sides_and_no_colours() -> None:
    style = (FOLDER / "stylesheet.css").read_text()
    rules = re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL)
    assert not re.search(r"\b(left|right)\b|#[0-9a-f]{3}|\brgba?\(|color", rules)


def test_the_classes_of_the_style_are_those_of_the_widgets() -> None:
    styled = set(re.findall(r"\.(wgsd-nm-[a-z-]+)", (FOLDER / "stylesheet.css").read_text()))
    used = {name for text in MODULES.values() for name in re.findall(r"wgsd-nm-[a-z-]+", text)}
    used |= {f"wgsd-nm-{kind}" for kind in re.findall(r"kind: '(\w+)'", MODULES["lines"])}
    assert styled <= used


def test_every_icon_is_there_and_used() -> None:
    states = re.findall(r"icon: '(\w+)'", MODULES["lines"])
    levels = re.findall(r"^    [A-Z]+: '(\w+)',", MODULES["summary"], re.MULTILINE)
    wanted = {f"peer-{state}" for state in states} | {f"peers-{level}" for level in levels}
    assert {path.name for path in (FOLDER / "icons").iterdir()} == {f"{name}-symbolic.svg" for name in wanted}


def test_icons_are_made_of_filled_shapes_alone_so_that_they_take_any_colour() -> None:
    for path in (FOLDER / "icons").iterdir():
        assert not re.search(r"stroke|opacity|style=", path.read_text()), path.name


def test_no_module_has_the_name_of_a_folder() -> None:
    """GNOME 43 would take the folder for the module."""
    assert not set(MODULES) & {Path(name).parts[0] for name in extension.files() if "/" in name}


def test_the_same_sources_make_the_same_package(tmp_path: Path) -> None:
    for legacy in (False, True):
        packages = [tmp_path / name for name in ("one.zip", "other.zip")]
        for package in packages:
            extension.pack(package, extension.files(legacy=legacy))
        assert packages[0].read_bytes() == packages[1].read_bytes()
        with zipfile.ZipFile(packages[0]) as archive:
            assert {"extension.js", "metadata.json", "stylesheet.css"} <= set(archive.namelist())
            shells = json.loads(archive.read("metadata.json"))["shell-version"]
        assert (shells == list(SHELLS)) is legacy


def test_the_template_of_the_translations_is_current() -> None:
    assert translations.TEMPLATE.read_text() == translations.template(), "run: python -m tools.translations"


@pytest.mark.parametrize("catalogue", translations.catalogues(), ids=lambda path: path.stem)
def test_a_translation_is_complete(catalogue: Path) -> None:
    subprocess.run(["msgcmp", catalogue, translations.TEMPLATE], check=True)
    subprocess.run(["msgfmt", "--check-format", "--output-file=-", catalogue], check=True, stdout=subprocess.DEVNULL)
    assert "#, fuzzy" not in catalogue.read_text()


@pytest.mark.parametrize("catalogue", translations.catalogues(), ids=lambda path: path.stem)
def test_a_translation_has_the_places_of_its_text(catalogue: Path) -> None:
    blocks = catalogue.read_text().split("\n\n")[1:]
    assert len(blocks) > 60
    for block in blocks:
        strings = re.findall(r'^msg(\w+)(?:\[\d\])? "(.*)"$', block, re.MULTILINE)
        wanted = places(next(text for kind, text in strings if kind == "id"))
        assert all(places(text) == wanted for _, text in strings), block


def test_translations_are_where_the_extension_looks_for_them() -> None:
    octets = extension.files()[f"locale/de/LC_MESSAGES/{extension.UUID}.mo"]
    assert gettext.GNUTranslations(io.BytesIO(octets)).gettext("Look up now") == "Jetzt nachschlagen"
