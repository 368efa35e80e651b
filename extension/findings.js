// SPDX-License-Identifier: GPL-2.0-or-later
// The doctor's findings: read from its JSON, and as text for the clipboard. It knows no widgets.

import {plain} from './plain.js';
import {_} from './translation.js';

const RESULTS = {
    'ok': {icon: 'connected', verdict: () => _('All right')},
    'problem': {icon: 'missed', verdict: () => _('Problem')},
};
const UNKNOWN = {icon: 'unknown', verdict: () => _('Cannot be told')};

/** Findings, {icon, verdict, subject, text, advice} each, `verdict` the icon in words; null if the text is none of the doctor's. */
export function parse(text) {
    let found;
    try {
        found = JSON.parse(text);
    } catch {
        return null;
    }
    return Array.isArray(found) && found.every(isFinding) ? found.map(finding) : null;
}

/** The findings as text, a paragraph each. */
export function asText(findings) {
    return findings.map(({verdict, subject, text, advice}) =>
        [`${verdict}: ${subject}: ${text}`, ...advice ? [`-> ${advice}`] : []].join('\n')).join('\n\n');
}

/** What a screen reader says of a finding: all that is to be seen of it. */
export function spoken({verdict, subject, text, advice}) {
    return [verdict, subject, text, advice].filter(Boolean).join(', ');
}

/** Problems first, then what cannot be told; else in the doctor's order. */
export function gravestFirst(findings) {
    const order = ['missed', 'unknown', 'connected'];
    return [...findings].sort((one, other) => order.indexOf(one.icon) - order.indexOf(other.icon));
}

function finding({step, result, text, advice, interface: device, name}) {
    const {icon, verdict} = Object.hasOwn(RESULTS, result) ? RESULTS[result] : UNKNOWN;
    return {
        icon,
        verdict: verdict(),
        subject: [device, step, name].map(plain).filter(Boolean).join(' '),
        text: plain(text),
        advice: plain(advice),
    };
}

function isFinding(value) {
    return typeof value === 'object' && value !== null &&
        ['step', 'result', 'text', 'advice', 'interface', 'name'].every(key => typeof value[key] === 'string');
}
