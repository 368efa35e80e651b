// SPDX-License-Identifier: GPL-2.0-or-later
// The Quick Settings item and its menu. It shows, and switches nothing: a click opens the menu.

import GObject from 'gi://GObject';

import * as PopupMenu from 'resource:///org/gnome/shell/ui/popupMenu.js';
import * as QuickSettings from 'resource:///org/gnome/shell/ui/quickSettings.js';

import {clock} from './clock.js';
import {DetailsDialog} from './details.js';
import {lines} from './lines.js';
import {PeerList} from './peerList.js';
import {failed} from './reasons.js';
import {rowFor} from './rows.js';
import {_} from './translation.js';

export const PeersToggle = GObject.registerClass(
class PeersToggle extends QuickSettings.QuickMenuToggle {
    _init(client, icons) {
        super._init();
        this._client = client;
        this._icons = icons;
        this._dialog = null;
        this._list = new PeerList(icons);
        this._lookUp = new LookUpItem(() => client.refresh());
        this._failure = rowFor('note', icons);
        this.menu.addMenuItem(this._list);
        this.menu.addMenuItem(new PopupMenu.PopupSeparatorMenuItem());
        this.menu.addMenuItem(this._lookUp);
        this.menu.addMenuItem(this._failure);
        const details = this.menu.addAction(_('Details'), () => this._showDetails());
        for (const item of [this._lookUp, details])
            item.setOrnament(PopupMenu.Ornament.HIDDEN);
        this.menu.connect('open-state-changed', (_menu, open) => open ? this._opened() : client.dismiss());
        this.connect('clicked', () => this.menu.open());
        this.connect('destroy', () => this._dialog?.close());
    }

    /** Show what summarize() made; the menu shows the client's agent. */
    sync(summary) {
        const icon = this._icons.ofLevel(summary.level);
        this.visible = summary.visible;
        this.gicon = icon;
        if ('subtitle' in this)
            this.set({title: _('Peers'), subtitle: summary.text});
        else // GNOME 43
            this.label = summary.short;
        this.menu.setHeader(icon, _('WireGuard Peers'), summary.text);
        if (!summary.visible)
            this.menu.close();
        if (this.menu.isOpen)
            this._fill();
    }

    _opened() {
        this._list.fit();
        this._fill();
    }

    _fill() {
        const {agent, busy, failure} = this._client;
        this._list.show(agent ? lines(agent, clock()) : []);
        this._lookUp.tell(busy);
        this._failure.visible = failure !== null;
        this._failure.tell({text: failure ? failed(failure) : ''});
    }

    _showDetails() {
        this._dialog = new DetailsDialog(this._icons);
        this._dialog.connect('destroy', () => (this._dialog = null));
        if (!this._dialog.open())
            this._dialog.destroy();
    }
});

/** Starts lookups, and leaves the menu open so that people see what comes of them. */
const LookUpItem = GObject.registerClass(
class LookUpItem extends PopupMenu.PopupMenuItem {
    _init(lookUp) {
        super._init('');
        this._lookUp = lookUp;
        this.tell(false);
    }

    activate() {
        this._lookUp();
    }

    tell(busy) {
        this.label.text = busy ? _('Looking up…') : _('Look up now');
    }
});
