// SPDX-License-Identifier: GPL-2.0-or-later

import GLib from 'gi://GLib';

import {teller} from '../../extension/clock.js';
import {Agent} from '../../extension/entries.js';
import {lines} from '../../extension/lines.js';
import {summarize} from '../../extension/summary.js';
import {equal, test} from './harness.js';
import {entries, text} from './scriptedAgent.js';

function shown(values) {
    const agent = new Agent(values);
    return [summarize(agent), lines(agent, String)];
}

test('what the bus gave', () => {
    const agent = new Agent({
        State: text('ok'),
        LastError: text('Bad file.'),
        Tunnels: entries({
            Interface: 'wg0', ConnectionId: 'Office', State: 'ok', PublicEndpoint: 'a', PublicEndpoints: ['a', 'b'],
            LastError: 'x',
        }),
        Peers: entries({
            Interface: 'wg0', PublicKey: 'key', Name: 'bob', State: 'connected', Path: 'link', Reason: 'connected',
            ReasonText: 'It answers.', ConnectedSince: 1790000000000000,
        }),
    });
    const [tunnel] = agent.tunnels, [peer] = agent.peers;
    equal([agent.state, agent.lastError], ['ok', 'Bad file.']);
    equal([tunnel.interface, tunnel.connection, tunnel.state, tunnel.publicEndpoints, tunnel.lastError],
        ['wg0', 'Office', 'ok', ['a', 'b'], 'x']);
    equal([peer.interface, peer.publicKey, peer.name], ['wg0', 'key', 'bob']);
    equal([peer.state, peer.path, peer.reason, peer.reasonText], ['connected', 'link', 'connected', 'It answers.']);
    equal(peer.connectedSince, 1790000000000000);
});

test('a time that no clock shows is no time, and nobody complains of it', () => {
    const [peer] = new Agent({Peers: entries({ConnectedSince: GLib.Variant.new_uint64(18446744073709551615n)})}).peers;
    equal(teller(false, GLib.DateTime.new_now_local())(peer.connectedSince), '');
});

test('an older agent has fewer keys', () => {
    const [tunnel] = new Agent({Tunnels: entries({PublicEndpoint: '192.0.2.1:5'})}).tunnels;
    equal([tunnel.interface, tunnel.publicEndpoints], ['', ['192.0.2.1:5']]);
    equal(new Agent({Tunnels: entries({})}).tunnels[0].publicEndpoints, []);
    equal(new Agent({Peers: entries({})}).peers[0].connectedSince, 0);
});

test('properties that are missing or of another type are as if they said nothing', () => {
    const odd = new GLib.Variant('i', 7);
    const nothing = shown({State: text('ok'), Tunnels: entries(), Peers: entries()});
    equal(shown({}), nothing);
    equal(shown({State: odd, LastError: odd, Tunnels: odd, Peers: odd}), nothing);
    equal(shown({Tunnels: text('wg0'), Peers: new GLib.Variant('as', ['x'])}), nothing);
});

test('values of another type are as if they were missing', () => {
    const odd = new GLib.Variant('(is)', [7, 'x']);
    const keys = ['PublicKey', 'Name', 'State', 'Path', 'Reason', 'ReasonText', 'ConnectedSince'];
    const peer = Object.fromEntries(keys.map(key => [key, odd]));
    const of = (tunnelValues, peerValues) => shown({
        State: text('ok'),
        Tunnels: entries({Interface: 'wg0', ...tunnelValues}),
        Peers: entries({Interface: 'wg0', ...peerValues}),
    });
    equal(of({PublicEndpoints: odd, LastError: odd}, peer), of({}, {}));
});
