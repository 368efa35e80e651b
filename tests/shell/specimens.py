# SPDX-License-Identifier: GPL-2.0-or-later
"""Small extensions, one without a fault and others with one each: what judges ours has to find those faults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

MODULE = """\
import GLib from 'gi://GLib';
import St from 'gi://St';
import * as Main from 'resource:///org/gnome/shell/ui/main.js';
%(body)s
export default Specimen;
"""
SCRIPT = """\
const {GLib, St} = imports.gi;
const Main = imports.ui.main;
%(body)s
function init() { return new Specimen(); }
"""
BODY = """\
class Specimen {
    enable() {
        %(first)s
        this._label = new St.Label({text: '%(name)s'});
        Main.panel._rightBox.add_child(this._label);
        this._focus = global.display.connect('notify::focus-window', () => this._label.queue_relayout());
        %(then)s
    }
    disable() {
        %(last)s
        global.display.disconnect(this._focus);
        this._label.destroy();
        this._label = null;
    }
}
"""
BUS = "imports.gi.Gio.DBus.session"
NEW_NAME = "'org.example.Left' + GLib.random_int()"

FAULTS: Final[Mapping[str, Mapping[str, str]]] = {
    "none": {},
    "enable throws": {"first": "throw new Error('on purpose');"},
    "disable throws": {"last": "throw new Error('on purpose');"},
    "a timer throws": {
        "then": "GLib.idle_add(GLib.PRIORITY_DEFAULT, () => { throw new Error('on purpose'); });",
    },
    "a promise is rejected": {"then": "Promise.reject(new Error('on purpose'));"},
    "an actor is left": {"then": "Main.layoutManager.uiGroup.add_child(new St.Label({text: 'left behind'}));"},
    "a handler is left": {
        "then": "const label = this._label; global.display.connect('workareas-changed', () => label.set_opacity(9));",
    },
    "a match rule is left": {
        "then": f"{BUS}.signal_subscribe(null, {NEW_NAME}, null, null, null, 0, () => {{}});",
    },
    "memory is left": {
        "then": "(globalThis.left ??= []).push(Array.from({length: 50000}, (_, number) => ({number})));",
    },
    "a bus name is left": {
        "then": f"imports.gi.Gio.bus_own_name_on_connection({BUS}, {NEW_NAME}, 0, null, null);",
    },
    "a timer is left": {
        "then": "GLib.timeout_add_seconds(GLib.PRIORITY_DEFAULT, 600, () => true);",
    },
}
"""What is wrong with each: the statements that it has more."""
LEAKS: Final = {
    "an actor is left": "actors",
    "a handler is left": "handlers",
    "a match rule is left": "rules",
    "a bus name is left": "names",
    "a timer is left": "sources",
    "memory is left": "memory",
}
"""What there is more of, the longer these are switched off and on."""


def uuid(fault: str) -> str:
    """What the extension with that fault is called."""
    return f"{fault.replace(' ', '-')}@wgsd_nm.github.io"


def make(folder: Path, shell: int, fault: str) -> Path:
    """The extension's folder, made in `folder`, for that version of GNOME Shell."""
    extension = folder / uuid(fault)
    extension.mkdir(parents=True)
    metadata = {"uuid": uuid(fault), "name": fault, "description": fault, "shell-version": [str(shell)], "version": 1}
    (extension / "metadata.json").write_text(json.dumps(metadata))
    lines = {"first": "", "then": "", "last": "", "name": fault, **FAULTS[fault]}
    (extension / "extension.js").write_text((MODULE if shell >= 45 else SCRIPT) % {"body": BODY % lines})
    return extension
