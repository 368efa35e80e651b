// SPDX-License-Identifier: GPL-2.0-or-later

import {isolated, plain} from '../../extension/plain.js';
import {equal, test} from './harness.js';

test('an ordinary name stays', () => equal(plain('Bobs Läptop 東京 👍🏽'), 'Bobs Läptop 東京 👍🏽'));

test('markup is text', () => equal(plain('<b>&amp;</b>'), '<b>&amp;</b>'));

test('it is one line', () => equal(plain(' a\r\n\tb\u2028c\u0000d\u0085e '), 'a b c d e'));

test('it does not reorder what stands around it', () => {
    equal(plain('a\u202eb\u2066c\u200fd\u061ce'), 'a b c d e');
    equal(plain('מחשב'), 'מחשב');
});

test('it is not long, and no letter is cut in two', () => {
    equal(plain('x'.repeat(1e6)).length, 401);
    equal(Array.from(plain('👍'.repeat(500))).length, 401);
    equal(plain('👍'.repeat(500)).slice(-3), '👍…');
});

test('a text of nothing is empty', () => {
    for (const text of ['\n\u200e ', '\u200b\u2060', '\ufeff\u00ad', '\u{e0041}', '\u3164\u00a0'])
        equal(plain(text), '');
    equal(plain('\u0645\u06cc\u200c\u062e'), '\u0645\u06cc\u200c\u062e');
});

test('isolated text ends with its isolation', () => equal(isolated('א'), '\u2068א\u2069'));
