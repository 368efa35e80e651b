// SPDX-License-Identifier: GPL-2.0-or-later

import Gio from 'gi://Gio';
import GLib from 'gi://GLib';

import {AgentClient} from '../../extension/client.js';
import {equal, test, truth, until} from './harness.js';
import {NAME, ScriptedAgent, entries, text} from './scriptedAgent.js';

const BUS = 'org.freedesktop.DBus';
const FLAGS = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION;

/** A client on a connection of its own; `told` counts how often it told of a change. */
function withClient(body) {
    const connection = Gio.DBusConnection.new_for_address_sync(
        GLib.getenv('DBUS_SESSION_BUS_ADDRESS'), FLAGS, null, null);
    const told = {count: 0};
    const client = new AgentClient(connection, () => told.count++);
    try {
        body(client, told, connection);
    } finally {
        client.destroy();
        connection.close_sync(null);
    }
}

function properties() {
    return {
        State: text('ok'), LastError: text(''), Tunnels: entries({Interface: 'wg0'}),
        Peers: entries({Interface: 'wg0', Name: 'bob', State: 'connected'}),
    };
}

/** A client and an agent that it has seen. */
function withAgent(body) {
    const agent = new ScriptedAgent(properties());
    try {
        withClient((client, told, connection) => {
            until(() => client.agent, 'the agent');
            body(client, agent, told, connection);
        });
    } finally {
        agent.die();
        withClient(client => until(() => owner(client) === '', 'the end of the agent'));
    }
}

function owner(client) {
    return client._owner;
}

/** Wait until the bus has carried all that was sent before. */
function settle(connection) {
    let answered = false;
    connection.call(BUS, '/org/freedesktop/DBus', BUS, 'GetId', null, null, Gio.DBusCallFlags.NONE, -1, null,
        () => (answered = true));
    until(() => answered, 'the bus');
}

function names(agent) {
    return agent.peers.map(peer => peer.name);
}

test('no agent is nothing to speak of', () => withClient((client, told) => {
    until(() => told.count > 0, 'word that there is none');
    equal(client.agent, null);
    client.refresh();
    equal(client.busy, false);
}));

test('the agent is never started', () => {
    const folder = GLib.getenv('WGSD_NM_TEST_SERVICES');
    const marker = `${folder}/started`, sentinel = `${folder}/sentinel`;
    const service = (name, touched) => GLib.file_set_contents(
        `${folder}/${name}.service`, `[D-BUS Service]\nName=${name}\nExec=/usr/bin/touch ${touched}\n`);
    service(NAME, marker);
    service('org.example.Sentinel', sentinel);
    withClient((client, told, connection) => {
        const call = (method, parameters) => connection.call_sync(
            BUS, '/org/freedesktop/DBus', BUS, method, parameters, null, Gio.DBusCallFlags.NONE, -1, null);
        call('ReloadConfig', null);
        until(() => told.count > 0, 'word that there is none');
        client._appeared(NAME); // as if it had an owner which is gone when it is called
        client.refresh();
        connection.call(BUS, '/org/freedesktop/DBus', BUS, 'StartServiceByName',
            new GLib.Variant('(su)', ['org.example.Sentinel', 0]), null, Gio.DBusCallFlags.NONE, -1, null, () => {});
        until(() => GLib.file_test(sentinel, GLib.FileTest.EXISTS), 'a program that is started');
        truth(!GLib.file_test(marker, GLib.FileTest.EXISTS), 'no start of the agent');
    });
});

test('an agent that is there, and one that comes later', () => {
    withAgent(client => equal([client.agent.state, names(client.agent)], ['ok', ['bob']]));
    withClient((client, told) => {
        until(() => told.count > 0, 'word that there is none');
        const agent = new ScriptedAgent(properties());
        until(() => client.agent, 'the agent');
        agent.die();
        until(() => client.agent === null, 'the end of the agent');
    });
});

test('changes come at once, and keep what did not change', () => withAgent((client, agent) => {
    agent.say({Peers: entries({Interface: 'wg0', Name: 'carol'})});
    until(() => names(client.agent)[0] === 'carol', 'a change');
    equal([client.agent.state, client.agent.tunnels.length], ['ok', 1]);
    equal(agent.calls.GetAll, 1);
}));

test('what is only named as changed is asked for', () => withAgent((client, agent) => {
    agent.properties.State = text('offline');
    agent.emit(new GLib.Variant('(sa{sv}as)', [NAME, {}, ['State']]));
    until(() => client.agent.state === 'offline', 'the change');
}));

test('a signal that is malformed or about another interface changes nothing', () =>
    withAgent((client, agent, told) => {
        const before = told.count;
        agent.emit(new GLib.Variant('(ss)', [NAME, 'x']));
        agent.emit(new GLib.Variant('(sas)', [NAME, ['x']]));
        agent.emit(new GLib.Variant('(sa{sv}as)', ['org.example.Other', {State: text('offline')}, []]));
        agent.say({State: text('idle')});
        until(() => client.agent.state !== 'ok', 'what was said last');
        equal([told.count, client.agent.state], [before + 1, 'idle']);
    }));

test('an agent that lets go of its name is gone, and what it says then is not heard', () =>
    withAgent((client, agent, told, connection) => {
        agent.leave();
        until(() => client.agent === null, 'the end of the agent');
        const before = told.count;
        agent.say({State: text('offline')});
        agent.settle();
        settle(connection);
        equal([client.agent, told.count], [null, before]);
    }));

test('Refresh, and while it lasts no other', () => withAgent((client, agent) => {
    client.refresh();
    client.refresh();
    equal(client.busy, true);
    until(() => agent.calls.Refresh === 1, 'the call');
    agent.answer();
    until(() => !client.busy, 'the answer');
    equal([client.failure, agent.calls.Refresh], [null, 1]);
}));

test('why Refresh failed, until it is dismissed or tried again', () => withAgent((client, agent) => {
    const error = 'io.github.wgsd_nm.Error.NoRegistryAnswered';
    const failing = () => {
        const calls = agent.calls.Refresh;
        client.refresh();
        equal(client.failure, null);
        until(() => agent.calls.Refresh > calls, 'the call');
        agent.answer(error, 'No registry of wg0 answered.');
        until(() => !client.busy, 'the answer');
        equal(client.failure, {name: error, text: 'No registry of wg0 answered.'});
    };
    failing();
    failing();
    client.dismiss();
    equal(client.failure, null);
}));

test('an agent that dies during Refresh leaves nothing', () => withAgent((client, agent, _told, connection) => {
    client.refresh();
    until(() => agent.calls.Refresh === 1, 'the call');
    agent.die();
    until(() => client.agent === null, 'the end of the agent');
    settle(connection);
    equal([client.busy, client.failure], [false, null]);
}));

test('once destroyed it says nothing, whatever happens', () => withAgent((_other, agent) =>
    withClient((client, told, connection) => {
        until(() => client.agent, 'the agent');
        client.refresh();
        until(() => agent.calls.Refresh === 1, 'the call');
        client.destroy();
        const before = told.count;
        agent.say({State: text('offline')});
        agent.answer();
        agent.leave();
        agent.settle();
        settle(connection);
        equal([told.count, client.agent], [before, null]);
    })));

test('one that is destroyed at once never says anything', () => withAgent(() =>
    withClient((client, told, connection) => {
        client.destroy();
        settle(connection);
        equal([told.count, client.agent], [0, null]);
    })));
