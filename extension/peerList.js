// SPDX-License-Identifier: GPL-2.0-or-later
// The part of the menu that scrolls: one row a line. Rows stay where they are while what they show changes, so that
// neither the keyboard's focus nor the place that was scrolled to is lost.

import St from 'gi://St';

import * as Main from 'resource:///org/gnome/shell/ui/main.js';
import * as PopupMenu from 'resource:///org/gnome/shell/ui/popupMenu.js';

import {rowFor} from './rows.js';
import {reveal, scrolled} from './widgets.js';

// Of the screen's height.
const HEIGHT = 0.35;

export class PeerList extends PopupMenu.PopupMenuSection {
    constructor(icons) {
        super();
        this._icons = icons;
        this._rows = [];
        this._inner = new PopupMenu.PopupMenuSection();
        this._view = scrolled(this._inner.actor, 'wgsd-nm-list');
        this.actor.add_child(this._view);
    }

    /** Take no more of the screen than there should be. */
    fit() {
        const {scale_factor: scale} = St.ThemeContext.get_for_stage(global.stage);
        const height = Math.round(HEIGHT * Main.layoutManager.primaryMonitor.height / scale);
        this._view.style = `max-height: ${height}px`;
    }

    /** Show the lines that lines() made. */
    show(lines) {
        lines.forEach((line, place) => {
            if (this._rows[place]?.kind !== line.kind)
                this._replace(place, line.kind);
            this._rows[place].tell(line);
        });
        for (const row of this._rows.splice(lines.length))
            row.destroy();
    }

    destroy() {
        this._inner.destroy();
        super.destroy();
    }

    _replace(place, kind) {
        this._rows[place]?.destroy();
        const row = rowFor(kind, this._icons);
        row.connect('key-focus-in', () => reveal(this._inner.actor, row));
        this._inner.addMenuItem(row, place);
        this._rows[place] = row;
    }
}
