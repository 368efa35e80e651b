// SPDX-License-Identifier: GPL-2.0-or-later
// Small parts that the menu and the window share.

import Clutter from 'gi://Clutter';
import Pango from 'gi://Pango';
import St from 'gi://St';

/** A label that takes as many lines as its text needs. */
export function paragraph(styleClass = '', text = '') {
    const label = new St.Label({style_class: styleClass, text, x_align: Clutter.ActorAlign.START});
    label.clutter_text.set({
        line_wrap: true,
        line_wrap_mode: Pango.WrapMode.WORD_CHAR,
        ellipsize: Pango.EllipsizeMode.NONE,
    });
    return label;
}

/** An icon that stands beside the first line of a text. */
export function mark(gicon = null) {
    return new St.Icon({style_class: 'popup-menu-icon wgsd-nm-mark', y_align: Clutter.ActorAlign.START, gicon});
}

/** Actors one below the other. */
export function column(...actors) {
    const box = new St.Widget({
        layout_manager: new Clutter.BoxLayout({orientation: Clutter.Orientation.VERTICAL}),
        x_expand: true,
    });
    actors.forEach(actor => box.add_child(actor));
    return box;
}

/** Something that scrolls up and down, in the place that the style gives it. */
export function scrolled(box, styleClass) {
    const view = new St.ScrollView({
        style_class: styleClass,
        hscrollbar_policy: St.PolicyType.NEVER,
        vscrollbar_policy: St.PolicyType.AUTOMATIC,
        x_expand: true,
    });
    if (view.add_actor) // GNOME 43 to 45
        view.add_actor(box);
    else
        view.child = box;
    return view;
}

/** Scroll so that a child of the box that scrolls is seen. */
export function reveal(box, child) {
    const {vadjustment} = box;
    const {y1, y2} = child.get_allocation_box();
    const {value, page_size: page} = vadjustment;
    if (y1 < value)
        vadjustment.value = y1;
    else if (y2 > value + page)
        vadjustment.value = y2 - page;
}
