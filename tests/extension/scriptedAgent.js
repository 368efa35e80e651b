// SPDX-License-Identifier: GPL-2.0-or-later
// An agent that says what a test has it say, on a connection of its own to the test's bus.

import Gio from 'gi://Gio';
import GLib from 'gi://GLib';

export const NAME = 'io.github.wgsd_nm.Agent1';
const PATH = '/io/github/wgsd_nm/Agent1';
const PROPERTIES = 'org.freedesktop.DBus.Properties';
const INTERFACES = `<node>
  <interface name="${NAME}"><method name="Refresh"/></interface>
  <interface name="${PROPERTIES}">
    <method name="GetAll"><arg type="s" direction="in"/><arg type="a{sv}" direction="out"/></method>
  </interface>
</node>`;

/** `calls` counts the calls of each method; Refresh waits for answer(). */
export class ScriptedAgent {
    constructor(properties) {
        this.properties = properties;
        this.calls = {Refresh: 0, GetAll: 0};
        this._waiting = [];
        this._connection = Gio.DBusConnection.new_for_address_sync(
            GLib.getenv('DBUS_SESSION_BUS_ADDRESS'),
            Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, null, null);
        const {interfaces} = Gio.DBusNodeInfo.new_for_xml(INTERFACES);
        for (const each of interfaces) {
            this._connection.register_object(
                PATH, each, (_bus, _sender, _path, _interface, method, _parameters, call) => this._call(method, call),
                null, null);
        }
        this._owned = Gio.bus_own_name_on_connection(this._connection, NAME, Gio.BusNameOwnerFlags.NONE, null, null);
    }

    /** Say something else, and signal it. */
    say(changed) {
        Object.assign(this.properties, changed);
        this.emit(new GLib.Variant('(sa{sv}as)', [NAME, changed, []]));
    }

    /** Signal PropertiesChanged, whatever its parameters are. */
    emit(parameters) {
        this._connection.emit_signal(null, PATH, PROPERTIES, 'PropertiesChanged', parameters);
    }

    /** Answer the calls of Refresh that wait: by an error, if its name is given. */
    answer(error = '', text = '') {
        for (const call of this._waiting.splice(0)) {
            if (error)
                call.return_dbus_error(error, text);
            else
                call.return_value(null);
        }
    }

    /** Return when the bus has had all that was said. */
    settle() {
        this._connection.call_sync(
            'org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'GetId', null, null,
            Gio.DBusCallFlags.NONE, -1, null);
    }

    /** Let go of the name, but stay on the bus. */
    leave() {
        Gio.bus_unown_name(this._owned);
    }

    /** Leave the bus. */
    die() {
        if (!this._connection.is_closed())
            this._connection.close_sync(null);
    }

    _call(method, call) {
        this.calls[method]++;
        if (method === 'GetAll')
            call.return_value(new GLib.Variant('(a{sv})', [this.properties]));
        else
            this._waiting.push(call);
    }
}

/** An array of dictionaries as the bus has it. Strings are s, arrays as, numbers t. */
export function entries(...dictionaries) {
    const packed = value => typeof value === 'string' ? new GLib.Variant('s', value)
        : typeof value === 'number' ? new GLib.Variant('t', value)
            : Array.isArray(value) ? new GLib.Variant('as', value) : value;
    return new GLib.Variant('aa{sv}', dictionaries.map(dictionary =>
        Object.fromEntries(Object.entries(dictionary).map(([key, value]) => [key, packed(value)]))));
}

export function text(value) {
    return new GLib.Variant('s', value);
}
