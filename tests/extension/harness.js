// SPDX-License-Identifier: GPL-2.0-or-later
// What a test needs: names, comparisons, and waiting for what has to come.

import GLib from 'gi://GLib';

// Milliseconds after which what was waited for will not come.
const DEADLINE = 10000;
// Milliseconds after which to look again, for what wakes no main loop.
const TICK = 5;

let passed = 0;
const failures = [];

/** Run a test: a function that throws if something is wrong. */
export function test(name, body) {
    try {
        body();
        passed++;
    } catch (error) {
        failures.push(name);
        printerr(`FAILED ${name}: ${error}\n${error.stack ?? ''}`);
    }
}

export function equal(actual, expected) {
    const [one, other] = [actual, expected].map(value => JSON.stringify(value));
    if (one !== other)
        throw new Error(`expected ${other}, not ${one}`);
}

export function truth(value, what = 'this') {
    if (!value)
        throw new Error(`expected ${what}`);
}

/** Let the main loop run until a condition holds. */
export function until(condition, what) {
    const context = GLib.MainContext.default();
    const end = GLib.get_monotonic_time() + DEADLINE * 1000;
    const tick = GLib.timeout_add(GLib.PRIORITY_DEFAULT, TICK, () => GLib.SOURCE_CONTINUE);
    try {
        while (!condition()) {
            if (GLib.get_monotonic_time() > end)
                throw new Error(`waited in vain for ${what}`);
            context.iteration(true);
        }
    } finally {
        GLib.source_remove(tick);
    }
}

/** Say how it went; whether all is well. */
export function report() {
    print(`${passed} passed, ${failures.length} failed`);
    return passed > 0 && failures.length === 0;
}
