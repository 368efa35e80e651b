// SPDX-License-Identifier: GPL-2.0-or-later
// Times as the desktop's clock shows them.

import Gio from 'gi://Gio';
import GLib from 'gi://GLib';

import {_} from './translation.js';

const INTERFACE_SETTINGS = 'org.gnome.desktop.interface';

/** A function for times in microseconds since the epoch: the time of day, with the date unless it is of today; '' for
 * no time. It is good for as long as it is today.
 */
export function clock() {
    const settings = new Gio.Settings({schema_id: INTERFACE_SETTINGS});
    return teller(settings.get_string('clock-format') === '12h', GLib.DateTime.new_now_local());
}

/** The same for a clock of twelve hours or of 24, and a GLib.DateTime of today. */
export function teller(hasTwelveHours, now) {
    const today = dayOf(now);
    return microseconds => {
        const then = microseconds > 0 ? GLib.DateTime.new_from_unix_local(Math.floor(microseconds / 1e6)) : null;
        if (!then)
            return '';
        const time = then.format(hasTwelveHours ? '%-l:%M %p' : '%H:%M');
        // Translators: a date as strftime(3) has it, like "24 March".
        return dayOf(then) === today ? time : `${then.format(_('%-d %B'))}, ${time}`;
    };
}

function dayOf(time) {
    return time.format('%F');
}
