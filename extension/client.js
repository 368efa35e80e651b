// SPDX-License-Identifier: GPL-2.0-or-later
// The agent on the session bus: its properties while it runs, and its method Refresh. It never starts the agent, and
// runs in any gjs.

import Gio from 'gi://Gio';
import GLib from 'gi://GLib';

import {Agent} from './entries.js';

const NAME = 'io.github.wgsd_nm.Agent1';
const PATH = '/io/github/wgsd_nm/Agent1';
const INTERFACE = 'io.github.wgsd_nm.Agent1';
const PROPERTIES = 'org.freedesktop.DBus.Properties';
const CHANGED = '(sa{sv}as)';

// The agent answers Refresh within 20 seconds.
const TIMEOUT = 30000;

/** Follows the agent; `changed` is called after every change of what it offers. */
export class AgentClient {
    constructor(connection, changed) {
        this._connection = connection;
        this._changed = changed;
        this._forget();
        this._watch = Gio.bus_watch_name_on_connection(
            connection, NAME, Gio.BusNameWatcherFlags.NONE,
            (_connection, _name, owner) => this._appeared(owner),
            () => this._vanished());
    }

    /** Undo everything; `changed` is not called any more. */
    destroy() {
        if (this._watch)
            Gio.bus_unwatch_name(this._watch);
        this._watch = 0;
        this._leave();
    }

    /** What the agent says, an Agent; null while there is none. */
    get agent() {
        return this._agent;
    }

    /** Whether a call of Refresh is under way. */
    get busy() {
        return this._busy;
    }

    /** Why the last call of Refresh failed: the error's D-Bus name and its text; null if it did not. */
    get failure() {
        return this._failure;
    }

    /** Forget why the last call of Refresh failed. */
    dismiss() {
        this._failure = null;
    }

    /** Have all peers looked up now. */
    refresh() {
        if (!this._owner || this._busy)
            return;
        this._busy = true;
        this._failure = null;
        const cancellable = this._cancellable;
        this._call(INTERFACE, 'Refresh', null, null, (_reply, error) => {
            if (cancellable.is_cancelled())
                return;
            this._busy = false;
            this._failure = error && {
                name: Gio.DBusError.get_remote_error(error) ?? '',
                text: withoutName(error),
            };
            this._changed();
        });
        this._changed();
    }

    _appeared(owner) {
        this._leave();
        this._owner = owner;
        this._cancellable = new Gio.Cancellable();
        this._subscription = this._connection.signal_subscribe(
            owner, PROPERTIES, 'PropertiesChanged', PATH, INTERFACE, Gio.DBusSignalFlags.NONE,
            (_connection, _sender, _path, _interface, _signal, parameters) => this._told(parameters));
        this._load();
    }

    _vanished() {
        this._leave();
        this._changed();
    }

    _leave() {
        this._cancellable?.cancel();
        if (this._subscription)
            this._connection.signal_unsubscribe(this._subscription);
        this._forget();
    }

    _forget() {
        this._owner = '';
        this._cancellable = null;
        this._subscription = 0;
        this._values = null;
        this._agent = null;
        this._busy = false;
        this._failure = null;
    }

    /** Ask for all properties. One that does not answer is as good as absent, until it signals a change. */
    _load() {
        this._call(PROPERTIES, 'GetAll', new GLib.Variant('(s)', [INTERFACE]), '(a{sv})', reply => {
            if (reply)
                this._take(dictionary(reply.get_child_value(0)));
        });
    }

    _told(parameters) {
        if (parameters.get_type_string() !== CHANGED)
            return;
        const invalidated = parameters.get_child_value(2).n_children() > 0;
        if (this._values === null || invalidated)
            this._load();
        else
            this._take({...this._values, ...dictionary(parameters.get_child_value(1))});
    }

    _take(values) {
        this._values = values;
        this._agent = new Agent(values);
        this._changed();
    }

    /** Call the agent that is there; `done` gets the reply, or null and the error. */
    _call(iface, method, parameters, type, done) {
        this._connection.call(
            this._owner, PATH, iface, method, parameters, type && new GLib.VariantType(type),
            Gio.DBusCallFlags.NO_AUTO_START, TIMEOUT, this._cancellable,
            (connection, result) => {
                let reply = null, failed = null;
                try {
                    reply = connection.call_finish(result);
                } catch (error) {
                    failed = error;
                }
                done(reply, failed);
            });
    }
}

/** An a{sv} as an object of GLib.Variant. */
function dictionary(value) {
    return value.deepUnpack();
}

/** The error's text without the name that GDBus puts before it. */
function withoutName(error) {
    Gio.DBusError.strip_remote_error(error);
    return error.message;
}
