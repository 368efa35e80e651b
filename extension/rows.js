// SPDX-License-Identifier: GPL-2.0-or-later
// Rows of the menu. The keyboard reaches all, so that a screen reader says them; none does anything.

import Clutter from 'gi://Clutter';
import GObject from 'gi://GObject';
import Pango from 'gi://Pango';
import St from 'gi://St';

import * as PopupMenu from 'resource:///org/gnome/shell/ui/popupMenu.js';

import {column, mark, paragraph} from './widgets.js';

/** A row for lines of a kind; its tell() has it show one. */
export function rowFor(kind, icons) {
    return kind === 'peer' ? new PeerRow(icons) : new TextRow(kind);
}

const Row = GObject.registerClass(
class Row extends PopupMenu.PopupBaseMenuItem {
    _init(kind) {
        super._init({activate: false, hover: false, style_class: `wgsd-nm-${kind}`});
        this.kind = kind;
        this.remove_style_class_name('popup-inactive-menu-item'); // or it would be dim
        this.setOrnament(PopupMenu.Ornament.HIDDEN);
    }
});

const TextRow = GObject.registerClass(
class TextRow extends Row {
    _init(kind) {
        super._init(kind);
        this._label = paragraph();
        this.label_actor = this._label;
        this.add_child(this._label);
    }

    tell({text}) {
        this._label.text = text;
    }
});

const PeerRow = GObject.registerClass(
class PeerRow extends Row {
    _init(icons) {
        super._init('peer');
        this._icons = icons;
        this._icon = mark();
        this._name = new St.Label({style_class: 'wgsd-nm-name', x_align: Clutter.ActorAlign.START});
        this._name.clutter_text.ellipsize = Pango.EllipsizeMode.END;
        this._detail = paragraph('wgsd-nm-detail');
        this._reason = paragraph('wgsd-nm-detail');
        this.add_child(this._icon);
        this.add_child(column(this._name, this._detail, this._reason));
    }

    tell({icon, name, detail, reason, accessible}) {
        this._icon.gicon = this._icons.ofPeer(icon);
        this._name.text = name;
        this._detail.text = detail;
        this._reason.text = reason;
        this._reason.visible = reason !== '';
        this.accessible_name = accessible;
    }
});
