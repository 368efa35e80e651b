// SPDX-License-Identifier: GPL-2.0-or-later

import {_, fill, ngettext} from '../../extension/translation.js';
import {equal, test} from './harness.js';

test('without a catalogue a text is itself', () => {
    equal(_('No registry answered.'), 'No registry answered.');
    equal(ngettext('one', 'more', 1), 'one');
    equal(ngettext('one', 'more', 2), 'more');
});

test('places are filled, and others left', () => {
    equal(fill('{a} of {b} {c}', {a: 1, b: '{a}'}), '1 of {a} {c}');
    equal(fill('$&{a}', {a: '$1'}), '$&$1');
    equal(fill('{toString}', {}), '{toString}');
});
