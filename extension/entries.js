// SPDX-License-Identifier: GPL-2.0-or-later
// The agent's properties as values, read from what came over the bus when they are asked for: unpacking all of a
// thousand peers would stop the Shell for a third of a second. What is missing, or of another type, has its default.

import GLib from 'gi://GLib';

const LIST = 'aa{sv}';
const TYPES = Object.fromEntries(['s', 't', 'as'].map(type => [type, new GLib.VariantType(type)]));

/** A dictionary of the bus, an a{sv}. */
class Entry {
    constructor(value) {
        this._value = value;
    }

    _text(key) {
        return this._value.lookup_value(key, TYPES.s)?.get_string()[0] ?? '';
    }

    _texts(key) {
        return this._value.lookup_value(key, TYPES.as)?.get_strv() ?? [];
    }

    _time(key) {
        // get_uint64() complains in the journal of what JavaScript rounds.
        return Number(this._value.lookup_value(key, TYPES.t)?.print(false) ?? 0);
    }
}

/** An entry of Agent1's Tunnels. */
class Tunnel extends Entry {
    get interface() {
        return this._text('Interface');
    }

    get connection() {
        return this._text('ConnectionId');
    }

    get state() {
        return this._text('State');
    }

    get publicEndpoints() {
        const several = this._texts('PublicEndpoints');
        return several.length > 0 ? several : [this._text('PublicEndpoint')].filter(Boolean);
    }

    get lastError() {
        return this._text('LastError');
    }
}

/** An entry of Agent1's Peers, of which many may be counted and sorted by their state.
 *
 * `connectedSince` is in microseconds since the epoch, 0 for not connected.
 */
class Peer extends Entry {
    get interface() {
        return this._text('Interface');
    }

    get publicKey() {
        return this._text('PublicKey');
    }

    get name() {
        return this._text('Name');
    }

    get state() {
        return (this._state ??= this._text('State'));
    }

    get path() {
        return this._text('Path');
    }

    get reason() {
        return this._text('Reason');
    }

    get reasonText() {
        return this._text('ReasonText');
    }

    get connectedSince() {
        return this._time('ConnectedSince');
    }
}

/** Agent1's properties; `values` is what the bus gave for each name. */
export class Agent {
    constructor(values) {
        this._values = values;
        this.tunnels = this._entries('Tunnels', Tunnel);
        this.peers = this._entries('Peers', Peer);
    }

    get state() {
        return (this._state ??= this._text('State'));
    }

    get lastError() {
        return this._text('LastError');
    }

    _text(name) {
        const value = this._values[name];
        return value?.get_type_string() === 's' ? value.get_string()[0] : '';
    }

    _entries(name, kind) {
        const value = this._values[name];
        if (value?.get_type_string() !== LIST)
            return [];
        return Array.from({length: value.n_children()}, (_, index) => new kind(value.get_child_value(index)));
    }
}
