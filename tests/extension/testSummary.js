// SPDX-License-Identifier: GPL-2.0-or-later

import {isMissed, summarize} from '../../extension/summary.js';
import {equal, test} from './harness.js';
import {agent, peer} from './people.js';

function of(state, ...states) {
    const {visible, level, text} = summarize(agent({state, peers: states.map(each => peer({state: each}))}));
    return [visible, level, text];
}

test('hidden without an agent, and without a tunnel', () => {
    equal(summarize(null).visible, false);
    equal(summarize(agent({tunnels: [], peers: []})).visible, false);
    equal(summarize(agent({state: 'unavailable', tunnels: [], peers: []})).visible, false);
});

test('all, some and none are reached', () => {
    equal(of('ok', 'connected', 'connected'), [true, 'all', '2 of 2 reached']);
    equal(of('degraded', 'connected', 'unreachable'), [true, 'some', '1 of 2 reached']);
    equal(of('degraded', 'stale', 'probing', 'unknown'), [true, 'none', '0 of 3 reached']);
});

test('who is not in use counts for nothing', () => {
    equal(of('ok', 'connected', 'idle'), [true, 'all', '1 of 1 reached']);
    equal(of('ok', 'idle'), [true, 'idle', 'None in use']);
    equal(of('ok'), [true, 'idle', 'None in use']);
});

test('lookups change nothing about who is reached', () => {
    equal(of('looking-up', 'connected'), [true, 'all', '1 of 1 reached']);
    equal(of('looking-up', 'connected', 'probing'), [true, 'some', '1 of 2 reached']);
});

test('degraded is never all, though all be reached', () => {
    equal(of('degraded', 'connected'), [true, 'some', '1 of 1 reached']);
    equal(of('degraded', 'idle'), [true, 'none', 'Needs attention']);
});

test('a state that is not known is degraded', () => {
    for (const state of ['on-the-moon', '', 'constructor', '__proto__'])
        equal(of(state, 'connected'), of('degraded', 'connected'));
});

test('a peer in a state that is not known is not reached', () => {
    equal(of('ok', 'connected', 'asleep'), [true, 'some', '1 of 2 reached']);
    equal(isMissed(peer({state: ''})), true);
    equal(isMissed(peer({state: 'idle'})), false);
});

test('what hinders all is told instead of counts', () => {
    equal(of('captive-portal', 'connected'), [true, 'portal', 'Network login needed']);
    equal(of('offline', 'stale'), [true, 'offline', 'Offline']);
    equal(of('unavailable'), [true, 'offline', 'Not available']);
});

test('a screen reader says what the icon means', () => {
    equal(summarize(agent()).accessible, 'WireGuard peers: 1 of 1 reached');
    equal(summarize(agent()).short, 'Peers: 1/1');
    equal(summarize(agent({state: 'offline'})).short, 'Offline');
});
