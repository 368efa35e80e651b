// SPDX-License-Identifier: GPL-2.0-or-later
// What the Shell shows of the agent: an icon in the panel, a Quick Settings item with a menu. sync() makes all of it
// so as the agent says now.

import * as Main from 'resource:///org/gnome/shell/ui/main.js';
import * as QuickSettings from 'resource:///org/gnome/shell/ui/quickSettings.js';

import {AgentClient} from './client.js';
import {summarize} from './summary.js';
import {Icons} from './symbols.js';
import {PeersToggle} from './toggle.js';

export class Presence {
    constructor(connection, iconFolder) {
        this._icons = new Icons(iconFolder);
        this._indicator = new QuickSettings.SystemIndicator();
        this._icon = this._indicator._addIndicator();
        this._client = new AgentClient(connection, () => this._sync());
        this._toggle = new PeersToggle(this._client, this._icons);
        this._indicator.quickSettingsItems.push(this._toggle);
        addIndicator(this._indicator);
        this._sync();
    }

    destroy() {
        this._client.destroy();
        const {menu} = this._toggle;
        this._toggle.destroy();
        menu.destroy(); // not earlier: GNOME 43 asks the menus of all items that there are
        this._indicator.destroy();
    }

    _sync() {
        const summary = summarize(this._client.agent);
        this._icon.visible = summary.visible;
        this._icon.gicon = this._icons.ofLevel(summary.level);
        this._icon.accessible_name = summary.accessible;
        this._toggle.sync(summary);
    }
}

function addIndicator(indicator) {
    const {quickSettings} = Main.panel.statusArea;
    if (quickSettings.addExternalIndicator) {
        quickSettings.addExternalIndicator(indicator);
    } else { // GNOME 43, 44
        quickSettings._indicators.insert_child_at_index(indicator, 0);
        quickSettings._addItems(indicator.quickSettingsItems);
    }
}
