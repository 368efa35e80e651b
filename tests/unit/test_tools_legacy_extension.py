# SPDX-License-Identifier: GPL-2.0-or-later
"""The extension's modules in the form of GNOME 43."""

from __future__ import annotations

import pytest

from tools.legacy_extension import UnknownFormError, translated

HEADER = "// SPDX-License-Identifier: GPL-2.0-or-later\n// What it is.\n"
ME = "const Me = imports.misc.extensionUtils.getCurrentExtension();"


def body(source: str) -> str:
    """What becomes of a module behind its header."""
    text = translated("module.js", f"{HEADER}\n{source}")
    assert text.startswith(f"{HEADER}\n{ME}\n\n")
    return text.removeprefix(f"{HEADER}\n{ME}\n\n")


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("import GLib from 'gi://GLib';", "const GLib = imports.gi.GLib;"),
        ("import Gettext from 'gettext';", "const Gettext = imports.gettext;"),
        (
            "import * as Main from 'resource:///org/gnome/shell/ui/main.js';",
            "const Main = imports.ui.main;",
        ),
        ("import {a, _} from './other.js';", "const {a, _} = Me.imports.other;"),
        ("export function f(a) {", "function f(a) {"),
        ("export const X = 1;", "var X = 1;"),
        ("export class X extends Y {", "var X = class X extends Y {"),
        ("const important = 1; // import this", "const important = 1; // import this"),
        ("// import x from 'y';", "// import x from 'y';"),
    ],
)
def test_each_form_and_what_it_becomes(line: str, becomes: str) -> None:
    assert body(line) == f"{becomes}\n"


def test_the_way_in() -> None:
    text = body(
        "import {Extension} from 'resource:///org/gnome/shell/extensions/extension.js';\n\n"
        "export default class Ours extends Extension {\n}"
    )
    assert text.startswith("class Extension {\n    constructor(dir) {")
    assert "\nclass Ours extends Extension {\n}\n" in text
    assert text.endswith("\nfunction init() {\n    return new Ours(Me.dir);\n}\n")


@pytest.mark.parametrize(
    "line",
    [
        "import './other.js';",
        "import x, {y} from './other.js';",
        "import {a as b} from './other.js';",
        "import {\n    a,\n} from './other.js';",
        "import Soup from 'gi://Soup?version=3.0';",
        "import * as X from 'resource:///org/gnome/shell/misc/util.js';",
        "export default function () {}",
        "export {a};",
        "export let x = 1;",
        "export async function f() {",
        "await f();",
        "const x = await import('./other.js');",
        "const here = import.meta.url;",
    ],
)
def test_another_form_is_refused_and_named(line: str) -> None:
    with pytest.raises(UnknownFormError, match=r"module\.js:4: .*expected one of the forms"):
        body(line)
