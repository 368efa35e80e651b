// SPDX-License-Identifier: GPL-2.0-or-later
// The window that tells what `wgsd-nm doctor` finds, and copies it.

import Clutter from 'gi://Clutter';
import GObject from 'gi://GObject';
import St from 'gi://St';

import * as Dialog from 'resource:///org/gnome/shell/ui/dialog.js';
import * as ModalDialog from 'resource:///org/gnome/shell/ui/modalDialog.js';

import {Visit} from './doctor.js';
import {asText, gravestFirst, spoken} from './findings.js';
import {_, fill, ngettext} from './translation.js';
import {column, mark, paragraph, reveal, scrolled} from './widgets.js';

// Findings that are shown; all are copied.
const SHOWN = 40;

export const DetailsDialog = GObject.registerClass(
class DetailsDialog extends ModalDialog.ModalDialog {
    _init(icons) {
        super._init({styleClass: 'wgsd-nm-details', shouldFadeOut: false});
        this._icons = icons;
        this._content = new Dialog.MessageDialogContent({
            title: _('WireGuard Peers'),
            description: _('Looking at the network, the registry and the peers…'),
        });
        this.contentLayout.add_child(this._content);
        this.addButton({label: _('Close'), action: () => this.close(), key: Clutter.KEY_Escape, default: true});
        this._visit = new Visit((findings, problem) => this._found(findings, problem));
        this.connect('destroy', () => this._visit.stop());
    }

    _found(findings, problem) {
        if (findings)
            this._show(findings);
        else
            this._content.description = problem;
    }

    _show(findings) {
        const problems = findings.filter(({icon}) => icon === 'missed').length;
        this._content.description = problems === 0 ? _('No problem was found.')
            : fill(ngettext('{count} problem was found.', '{count} problems were found.', problems), {count: problems});
        const list = new St.BoxLayout({style_class: 'wgsd-nm-findings'});
        list.layout_manager.orientation = Clutter.Orientation.VERTICAL;
        for (const finding of gravestFirst(findings).slice(0, SHOWN))
            list.add_child(this._row(list, finding));
        const more = findings.length - SHOWN;
        if (more > 0)
            list.add_child(paragraph('', fill(ngettext('and {count} more', 'and {count} more', more), {count: more})));
        this._content.add_child(scrolled(list, 'wgsd-nm-scrolled-findings'));
        this._copy = this.addButton({label: _('Copy'), action: () => this._copied(findings)});
    }

    _row(list, finding) {
        const {icon, subject, text, advice} = finding;
        const row = new St.BoxLayout({
            style_class: 'wgsd-nm-finding',
            can_focus: true,
            accessible_name: spoken(finding),
        });
        row.add_child(mark(this._icons.ofPeer(icon)));
        row.add_child(column(
            paragraph('wgsd-nm-name', subject), paragraph('', text),
            ...advice ? [paragraph('wgsd-nm-detail', advice)] : []));
        row.connect('key-focus-in', () => reveal(list, row));
        return row;
    }

    _copied(findings) {
        St.Clipboard.get_default().set_text(St.ClipboardType.CLIPBOARD, asText(findings));
        this._copy.label = _('Copied');
    }
});
