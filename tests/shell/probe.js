// SPDX-License-Identifier: GPL-2.0-or-later
// What a person at the shell sees and does. It is evaluated in the shell by driver.py, and stays there as `probe`.
(() => {
    const {Atk, Clutter, Gio, GLib, GObject, St} = imports.gi;
    const seat = Clutter.get_default_backend().get_default_seat();
    const pointer = seat.create_virtual_device(Clutter.InputDeviceType.POINTER_DEVICE);
    const keyboard = seat.create_virtual_device(Clutter.InputDeviceType.KEYBOARD_DEVICE);
    const now = () => GLib.get_monotonic_time();

    const text = actor => (actor instanceof St.Label ? actor.text ?? '' : '');
    const icon = actor => (actor instanceof St.Icon ? actor.icon_name ?? actor.gicon?.to_string() ?? '' : '');

    // What a screen reader says: the name that the actor has, or that of what labels it.
    function nameOf(actor, accessible) {
        const own = accessible ? Atk.Object.prototype.get_name.call(accessible) : null;
        return own || actor.label_actor?.text || '';
    }

    function describe(actor) {
        const [x, y] = actor.get_transformed_position();
        const [width, height] = actor.get_transformed_size();
        const accessible = actor.get_accessible?.();
        return {
            kind: actor.constructor.name,
            text: text(actor),
            icon: icon(actor),
            name: nameOf(actor, accessible),
            role: accessible ? Atk.role_get_name(Atk.Object.prototype.get_role.call(accessible)) : '',
            focused: global.stage.key_focus === actor,
            reactive: actor.reactive,
            direction: actor.get_text_direction() === Clutter.TextDirection.RTL ? 'rtl' : 'ltr',
            x, y, width, height,
        };
    }

    function each(actor, visit) {
        if (!actor.mapped || actor.get_paint_opacity() === 0)
            return;
        visit(actor);
        for (const child of actor.get_children())
            each(child, visit);
    }

    function actors(root) {
        return root.get_children().reduce((sum, child) => sum + actors(child), 1);
    }

    // Timers and the like of JavaScript that began after the probe: GLib numbers what is in the main loop in order, and
    // only they have no names.
    function newestSource() {
        const id = GLib.idle_add(GLib.PRIORITY_LOW, () => GLib.SOURCE_REMOVE);
        GLib.Source.remove(id);
        return id;
    }

    function sources() {
        const last = newestSource(), context = GLib.MainContext.default();
        let count = 0;
        for (let id = firstSource; id < last; id++) {
            const source = context.find_source_by_id(id);
            count += source !== null && source.get_name() === null ? 1 : 0;
        }
        return count;
    }

    // What lives as long as the shell does, and tells others by signals.
    function lasting() {
        const objects = [Gio.DBus.session, Gio.DBus.system, St.Settings.get(), St.ThemeContext.get_for_stage(global.stage),
            Clutter.Settings?.get_default?.(), global, global.display, global.stage, global.window_manager,
            global.workspace_manager, global.settings, ...Object.values(Main),
            ...Object.values(Main.panel.statusArea), Main.panel.statusArea.quickSettings.menu];
        return [...new Set(objects)].filter(object => object !== null && typeof object === 'object');
    }

    // Handlers of signals that were connected after the probe: GObject numbers them in order, over all objects. The
    // shell's own classes keep lists.
    function newestHandler() {
        const id = global.display.connect('notify::focus-window', () => {});
        global.display.disconnect(id);
        return id;
    }

    function handlers() {
        const last = newestHandler();
        let count = 0;
        for (const object of lasting()) {
            if (object instanceof GObject.Object) {
                for (let id = firstHandler; id < last; id++)
                    count += GObject.signal_handler_is_connected(object, id) ? 1 : 0;
            } else if (object._signalConnections) {
                count += Object.values(object._signalConnections).filter(one => !one.disconnected).length;
            }
        }
        return count;
    }

    function busConnection() {
        const {DBus} = Gio;
        const reply = DBus.session.call_sync('org.freedesktop.DBus', '/org/freedesktop/DBus',
            'org.freedesktop.DBus.Debug.Stats', 'GetConnectionStats',
            new GLib.Variant('(s)', [DBus.session.get_unique_name()]), null, 0, -1, null);
        const {MatchRules, BusNames} = reply.deepUnpack()[0];
        return {rules: MatchRules.deepUnpack(), names: BusNames.deepUnpack()};
    }

    // What the JavaScript engine holds, in bytes.
    function memory() {
        const file = GLib.build_filenamev([GLib.get_user_runtime_dir(), 'memory.md']);
        imports.system.dumpMemoryInfo(file);
        const [, text] = GLib.file_get_contents(file);
        GLib.unlink(file);
        const {gcBytes, mallocBytes} = JSON.parse(/```json\n([^]*?)\n```/.exec(new TextDecoder().decode(text))[1]);
        return gcBytes + mallocBytes;
    }

    let frames = 0;
    global.stage.connect('after-paint', () => frames++);

    const firstSource = newestSource(), firstHandler = newestHandler();

    globalThis.probe = {
        // All that is on the screen: what has words, a picture or a name for those who do not see it.
        see() {
            const seen = [];
            each(Main.layoutManager.uiGroup, actor => {
                const one = describe(actor);
                if (one.text || one.icon || one.name || one.focused || one.reactive)
                    seen.push(one);
            });
            return seen;
        },
        // How many frames were painted so far; there will be another.
        frames() {
            global.stage.queue_redraw();
            return frames;
        },
        move(x, y) {
            pointer.notify_absolute_motion(now(), x, y);
        },
        button(pressed) {
            pointer.notify_button(now(), Clutter.BUTTON_PRIMARY,
                pressed ? Clutter.ButtonState.PRESSED : Clutter.ButtonState.RELEASED);
        },
        keys(...values) {
            for (const value of values)
                keyboard.notify_keyval(now(), value, Clutter.KeyState.PRESSED);
            for (const value of values.reverse())
                keyboard.notify_keyval(now(), value, Clutter.KeyState.RELEASED);
        },
        pointer() {
            return global.get_pointer().slice(0, 2);
        },
        // What is there, whosever it is: what an extension leaves behind shows in these numbers.
        footprint() {
            imports.system.gc();
            imports.system.gc();
            return {
                actors: actors(global.stage),
                sources: sources(),
                handlers: handlers(),
                memory: memory(),
                ...busConnection(),
            };
        },
        set(schema, key, value) {
            const settings = new Gio.Settings({schema_id: schema});
            settings.set_value(key, GLib.Variant.parse(null, value, null, null));
            Gio.Settings.sync();
        },
    };
})()
