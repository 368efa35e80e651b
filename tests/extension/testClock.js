// SPDX-License-Identifier: GPL-2.0-or-later

import GLib from 'gi://GLib';

import {clock, teller} from '../../extension/clock.js';
import {equal, test, truth} from './harness.js';

const NOW = GLib.DateTime.new_local(2026, 3, 24, 17, 5, 0);

function microseconds(...when) {
    return GLib.DateTime.new_local(...when).to_unix() * 1e6;
}

test('the time of day, and the date if it was not today', () => {
    const tell = teller(false, NOW);
    equal(tell(microseconds(2026, 3, 24, 9, 7, 59)), '09:07');
    equal(tell(microseconds(2026, 3, 23, 23, 59, 0)), '23 March, 23:59');
    equal(tell(microseconds(2025, 3, 24, 9, 7, 0)), '24 March, 09:07');
});

test('a clock of twelve hours', () => {
    equal(teller(true, NOW)(microseconds(2026, 3, 24, 16, 7, 0)).slice(0, 4), '4:07');
});

test('no time, and none that can be', () => {
    for (const time of [0, 2 ** 64])
        equal(teller(false, NOW)(time), '');
});

test('the clock of this desktop', () => {
    const tell = clock();
    truth(/^\d{1,2}:\d\d/.test(tell(Date.now() * 1000)), 'the time of day');
});
