// SPDX-License-Identifier: GPL-2.0-or-later
// gjs -m tests/extension/run.js: the tests of what needs no Shell, on a message bus of their own.

import GLib from 'gi://GLib';
import System from 'system';

import {Bus} from './bus.js';
import {report} from './harness.js';

// Times, words and settings must be the same everywhere.
GLib.setenv('GSETTINGS_BACKEND', 'memory', true);
GLib.setenv('TZ', 'UTC', true);
GLib.unsetenv('LANGUAGE');

// Whatever GLib or gjs complain of is a defect: it ends the tests.
GLib.log_set_always_fatal(GLib.LogLevelFlags.LEVEL_CRITICAL | GLib.LogLevelFlags.LEVEL_WARNING);

const bus = new Bus();
GLib.setenv('DBUS_SESSION_BUS_ADDRESS', bus.address, true);
GLib.setenv('WGSD_NM_TEST_FOLDER', bus.folder, true);
GLib.setenv('WGSD_NM_TEST_SERVICES', bus.services, true);
try {
    for (const name of [
        'Translation', 'Plain', 'Summary', 'Lines', 'Reasons', 'Findings', 'Clock', 'Entries', 'Doctor', 'Client',
    ])
        await import(`./test${name}.js`);
} finally {
    bus.stop();
}
System.exit(report() ? 0 : 1);
