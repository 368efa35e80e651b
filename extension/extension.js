// SPDX-License-Identifier: GPL-2.0-or-later
// The way in: the Shell calls enable() and disable(), also at each lock and unlock of the screen.

import Gio from 'gi://Gio';

import {Extension} from 'resource:///org/gnome/shell/extensions/extension.js';

import {Presence} from './presence.js';
import {bind} from './translation.js';

export default class PeersExtension extends Extension {
    enable() {
        bind(this.dir.get_child('locale').get_path());
        this._presence = new Presence(Gio.DBus.session, this.dir.get_child('icons'));
    }

    disable() {
        this._presence.destroy();
        this._presence = null;
    }
}
