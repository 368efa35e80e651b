// SPDX-License-Identifier: GPL-2.0-or-later

import {asText, gravestFirst, parse, spoken} from '../../extension/findings.js';
import {equal, test} from './harness.js';

function finding(values = {}) {
    return {step: 'peer', result: 'ok', text: 'It answers.', advice: '', interface: 'wg0', name: 'bob', ...values};
}

function parsed(...findings) {
    return parse(JSON.stringify(findings));
}

test('what the doctor found', () => {
    equal(parsed(finding()), [
        {icon: 'connected', verdict: 'All right', subject: 'wg0 peer bob', text: 'It answers.', advice: ''},
    ]);
    const judged = result => parsed(finding({result})).map(({icon, verdict}) => [icon, verdict])[0];
    equal(judged('problem'), ['missed', 'Problem']);
    equal(judged('cannot-tell'), ['unknown', 'Cannot be told']);
    equal(judged('toString'), ['unknown', 'Cannot be told']);
    equal(parsed(finding({interface: '', name: '<b>\n</b>'}))[0].subject, 'peer <b> </b>');
    equal(parsed(), []);
});

test('what is none of the doctor’s', () => {
    for (const text of ['', '{', '{}', 'null', '[null]', '[1]', '[[]]', '[{"step": "peer"}]', 'Traceback'])
        equal(parse(text), null);
    equal(parsed(finding(), finding({text: 1})), null);
});

test('problems come first, the rest as it was', () => {
    const found = parsed(
        finding({text: 'a'}), finding({text: 'b', result: 'cannot-tell'}), finding({text: 'c', result: 'problem'}),
        finding({text: 'd'}), finding({text: 'e', result: 'problem'}));
    equal(gravestFirst(found).map(({text}) => text), ['c', 'e', 'b', 'a', 'd']);
    equal(found[0].text, 'a');
});

test('as text, a paragraph each', () => equal(
    asText(parsed(finding({result: 'problem', advice: 'Do this'}), finding({interface: '', name: '', step: 'clock'}))),
    'Problem: wg0 peer bob: It answers.\n-> Do this\n\nAll right: clock: It answers.'));

test('a screen reader says how a finding stands, which others see by the icon', () => equal(
    parsed(finding(), finding({result: 'problem', advice: 'Do this'})).map(spoken),
    ['All right, wg0 peer bob, It answers.', 'Problem, wg0 peer bob, It answers., Do this']));
