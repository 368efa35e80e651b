// SPDX-License-Identifier: GPL-2.0-or-later

import {codes, failed, path, reason} from '../../extension/reasons.js';
import {equal, test, truth} from './harness.js';
import {peer} from './people.js';

test('every code has one sentence', () => {
    for (const code of codes())
        truth(/^[A-Z][^{}]+[.]$/.test(reason(peer({reason: code}))), `a sentence for ${code}`);
    equal(new Set(codes()).size, 28);
});

test('a code that is not known: as the agent says it', () => {
    for (const code of ['of-the-future', '', 'constructor', '__proto__'])
        equal(reason(peer({reason: code, reasonText: 'Because\nso.'})), 'Because so.');
});

test('a path that is not known is direct: others there are none', () => {
    equal(path(peer({path: 'private'})), 'Direct, another private network');
    equal(path(peer({path: 'wormhole'})), 'Direct');
    equal(path(peer({path: 'toString'})), 'Direct');
});

test('why a lookup failed: by the error, or in its words', () => {
    equal(failed({name: 'io.github.wgsd_nm.Error.NoRegistryAnswered', text: 'x'}), 'No registry answered.');
    equal(failed({name: 'org.example.Error', text: 'It is\nlate.'}), 'It is late.');
    equal(failed({name: '', text: ''}), 'The agent did not answer in time.');
});
