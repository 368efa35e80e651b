// SPDX-License-Identifier: GPL-2.0-or-later
// The extension's icons: symbolic, so that they take the colour of the text around them.

import Gio from 'gi://Gio';

export class Icons {
    constructor(folder) {
        this._folder = folder;
        this._made = new Map();
    }

    /** How all peers stand, a Level. */
    ofLevel(level) {
        return this._icon(`peers-${level}`);
    }

    /** How one peer stands: connected, trying, missed, idle, unknown. */
    ofPeer(name) {
        return this._icon(`peer-${name}`);
    }

    _icon(name) {
        if (!this._made.has(name))
            this._made.set(name, new Gio.FileIcon({file: this._folder.get_child(`${name}-symbolic.svg`)}));
        return this._made.get(name);
    }
}
