// SPDX-License-Identifier: GPL-2.0-or-later

import {lines} from '../../extension/lines.js';
import {equal, test, truth} from './harness.js';
import {agent, peer, tunnel} from './people.js';

const NEVER = () => '';

function shown(values, since = NEVER) {
    return lines(agent(values), since);
}

function texts(values) {
    return shown(values).map(line => line.kind === 'peer' ? line.name : line.text);
}

test('a peer that is reached: by which path, and since when', () => {
    const since = microseconds => microseconds === 7 ? '11:42' : '';
    equal(shown({peers: [peer({path: 'link', connectedSince: 7})]}, since), [{
        kind: 'peer', icon: 'connected', name: 'bob', detail: 'Direct, this network · since 11:42', reason: '',
        accessible: 'bob, Connected, Direct, this network · since 11:42',
    }]);
    equal(shown({peers: [peer({path: 'internet'})]})[0].detail, 'Direct, over the internet');
    equal(shown({})[0].detail, 'Direct');
});

test('a peer that is not reached: why', () => {
    const lost = peer({state: 'unreachable', reason: 'not-registered', connectedSince: 7});
    const [line] = shown({peers: [lost]}, () => 'x');
    equal([line.icon, line.detail], ['missed', 'Not reached']);
    equal(line.reason, 'The registry does not know it, or has not heard from it yet.');
    truth(line.accessible.endsWith(line.reason), 'the reason for screen readers');
});

test('each state of a peer has its icon and words, one not known has those of unknown', () => {
    const of = state => {
        const [{icon, detail}] = shown({peers: [peer({state})]});
        return [icon, detail];
    };
    equal(of('probing'), ['trying', 'Being tried']);
    equal(of('stale'), ['missed', 'Not reached any more']);
    equal(of('idle'), ['idle', 'Not in use']);
    for (const state of ['unknown', 'asleep', '', 'constructor'])
        equal(of(state), ['unknown', 'Not known yet']);
});

test('nobody is asked why a peer is not in use', () =>
    equal(shown({peers: [peer({state: 'idle', reason: 'not-wanted'})]})[0].reason, ''));

test('peers that are not reached come first, then by name, as people count', () => {
    const peers = ['p10', 'p9', 'P1'].map(name => peer({name}));
    equal(texts({peers: [...peers, peer({name: 'z', state: 'stale'}), peer({name: 'y', state: 'probing'})]}),
        ['y', 'z', 'P1', 'p9', 'p10']);
});

test('names are harmless', () => {
    equal(texts({peers: [peer({name: '<b>x</b>\nwg1: all is well\u202e'})]}), ['<b>x</b> wg1: all is well']);
    equal(texts({peers: [peer({name: '\u200f\n'})]}), ['q83vEjRW']);
    equal(texts({peers: [peer({name: '', publicKey: ''})]}), ['']);
});

test('of many peers some are shown, and how many more there are', () => {
    const peers = Array.from({length: 1000}, (_value, number) => peer({name: `peer ${number}`}));
    const found = texts({peers});
    equal([found.length, found[39], found[40]], [41, 'peer 39', 'and 960 more']);
});

test('of many tunnels each shows some', () => {
    const tunnels = Array.from({length: 20}, (_value, number) => tunnel({interface: `wg${number}`}));
    const peers = tunnels.flatMap(each => Array.from({length: 9}, () => peer({interface: each.interface})));
    const found = shown({tunnels, peers});
    equal(found.filter(line => line.kind === 'peer').length, 100);
    equal(found.filter(line => line.text === 'and 4 more').length, 20);
});

test('one tunnel needs no heading, several have theirs', () => {
    equal(texts({tunnels: [tunnel({connection: 'Office'})]}), ['bob']);
    const tunnels = [
        tunnel({connection: 'Office'}), tunnel({interface: 'wg1', connection: 'wg1'}),
        tunnel({interface: 'wg2', connection: ''}),
    ];
    const found = shown({tunnels, peers: [peer({interface: 'wg1'}), peer({interface: 'gone'})]});
    equal(found.map(line => line.kind), ['heading', 'heading', 'peer', 'heading']);
    equal(found[0].text, '\u2068Office\u2069 (wg0)');
    equal([found[1].text, found[3].text], ['wg1', 'wg2']);
});

test('where we are seen', () => {
    const found = texts({tunnels: [tunnel({publicEndpoints: ['192.0.2.1:5', '192.0.2.1:6']})]});
    equal(found, ['You are seen as \u2068192.0.2.1:5, 192.0.2.1:6\u2069', 'bob']);
});

test('what is wrong is told once', () => {
    const tunnels = [
        tunnel({lastError: 'Bad file.'}), tunnel({interface: 'wg1', connection: '', lastError: 'No zone.'}),
    ];
    const found = texts({lastError: 'Bad file.\n', tunnels, peers: []});
    equal(found, ['Bad file.', 'wg0', 'wg1', 'No zone.']);
});

test('what hinders all is told first', () => {
    for (const state of ['captive-portal', 'offline', 'unavailable'])
        equal(shown({state}).map(line => line.kind), ['note', 'peer']);
    for (const state of ['ok', 'degraded', 'on-the-moon', 'toString'])
        equal(shown({state}).map(line => line.kind), ['peer']);
});
