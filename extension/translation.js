// SPDX-License-Identifier: GPL-2.0-or-later
// The extension's translations. Texts have places like {name}, which fill() fills.

import Gettext from 'gettext';

export const DOMAIN = 'wgsd-nm@wgsd_nm.github.io';

/** Have the catalogues looked for in a folder: LANGUAGE/LC_MESSAGES/DOMAIN.mo in it. */
export function bind(folder) {
    Gettext.bindtextdomain(DOMAIN, folder);
}

/** The text in the user's language. */
export function _(text) {
    return Gettext.dgettext(DOMAIN, text);
}

/** The same for a text that depends on a number. */
export function ngettext(singular, plural, count) {
    return Gettext.dngettext(DOMAIN, singular, plural, count);
}

/** A text with its places filled; one without a value stays as it is. */
export function fill(text, values) {
    return text.replace(/\{(\w+)\}/g, (place, name) => Object.hasOwn(values, name) ? String(values[name]) : place);
}
