// SPDX-License-Identifier: GPL-2.0-or-later

import Gio from 'gi://Gio';
import GLib from 'gi://GLib';

import {Visit} from '../../extension/doctor.js';
import {equal, test, until} from './harness.js';

const FINDING = '[{"step":"clock","result":"ok","text":"Right.","advice":"","interface":"","name":""}]';

/** Have a script stand for the program wgsd-nm while `body` runs; without a script there is none. */
function withProgram(script, body) {
    const before = GLib.getenv('PATH'), folder = `${GLib.getenv('WGSD_NM_TEST_FOLDER')}/${GLib.uuid_string_random()}`;
    GLib.mkdir_with_parents(folder, 0o700);
    const program = Gio.File.new_for_path(folder).get_child('wgsd-nm');
    if (script !== null) {
        GLib.file_set_contents(program.get_path(), script);
        program.set_attribute_uint32('unix::mode', 0o755, Gio.FileQueryInfoFlags.NONE, null);
    }
    GLib.setenv('PATH', script === null ? folder : `${folder}:${before}`, true);
    try {
        body(folder);
    } finally {
        GLib.setenv('PATH', before, true);
    }
}

function visited() {
    let told = null;
    const visit = new Visit((findings, problem) => (told = [findings?.length ?? null, problem]));
    until(() => told, 'the doctor’s findings');
    visit.stop();
    return told;
}

/** What is in a file, '' if it is not there yet. */
function content(path) {
    return GLib.file_test(path, GLib.FileTest.EXISTS)
        ? new TextDecoder().decode(GLib.file_get_contents(path)[1]).trim() : '';
}

test('what the doctor found, though it found problems', () => withProgram(
    `#!/bin/sh\n[ "$*" = "doctor --json" ] && echo '${FINDING}'\nexit 1\n`, () => equal(visited(), [1, ''])));

test('a doctor that cannot look', () => {
    for (const command of ['echo broken >&2; exit 2', 'kill -9 $$', 'printf "\\377"'])
        withProgram(`#!/bin/sh\n${command}\n`, () => equal(visited(), [null, 'wgsd-nm doctor could not look.']));
});

test('no doctor', () => {
    withProgram(null, () => equal(visited(), [null, 'The program wgsd-nm is not installed.']));
    withProgram('#!/nowhere/sh\n', () => equal(visited()[0], null));
});

test('a visit that is stopped says nothing, and leaves no process', () => withProgram(
    '#!/bin/sh\necho $$ > "$(dirname "$0")/pid"\nexec sleep 60\n', folder => {
        let told = false;
        const visit = new Visit(() => (told = true));
        let pid = '';
        until(() => (pid = content(`${folder}/pid`)), 'the doctor');
        visit.stop();
        until(() => !GLib.file_test(`/proc/${pid}`, GLib.FileTest.EXISTS), 'its end');
        while (GLib.MainContext.default().iteration(false));
        equal(told, false);
    }));
