// SPDX-License-Identifier: GPL-2.0-or-later
// Runs `wgsd-nm doctor`, which changes nothing, and reads what it found.

import Gio from 'gi://Gio';
import GLib from 'gi://GLib';

import {parse} from './findings.js';
import {_} from './translation.js';

const PROGRAM = 'wgsd-nm';

/** One visit. `done` gets the findings, or null and why there are none; nothing comes after stop(). */
export class Visit {
    constructor(done) {
        this._done = done;
        this._process = null;
        const program = GLib.find_program_in_path(PROGRAM);
        if (program)
            this._start(program);
        else
            done(null, _('The program wgsd-nm is not installed.'));
    }

    stop() {
        this._done = () => {};
        this._process?.force_exit();
    }

    _start(program) {
        try {
            this._process = Gio.Subprocess.new(
                [program, 'doctor', '--json'], Gio.SubprocessFlags.STDOUT_PIPE | Gio.SubprocessFlags.STDERR_SILENCE);
        } catch (error) {
            this._done(null, error.message);
            return;
        }
        this._process.communicate_utf8_async(null, null, (process, result) => {
            const findings = parse(output(process, result));
            this._done(findings, findings ? '' : _('wgsd-nm doctor could not look.'));
        });
    }
}

/** What the process printed; '' if that is no text. */
function output(process, result) {
    try {
        return process.communicate_utf8_finish(result)[1] ?? '';
    } catch {
        return '';
    }
}
