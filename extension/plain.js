// SPDX-License-Identifier: GPL-2.0-or-later
// Text that others wrote, made fit to be shown in one line. It is never markup: whoever shows it sets it as plain text.

const LENGTH = 400;

// Controls, line separators, and what reorders the text around it (Unicode's Bidi_Control).
// eslint-disable-next-line no-control-regex
const UNFIT = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+/g;

// Something that can be seen.
const SEEN = /[^\p{Cc}\p{Cf}\p{Z}\p{Default_Ignorable_Code_Point}]/u;

const ISOLATE = '\u2068';
const END = '\u2069';

/** The text in one line, without what could change the text around it, and not too long; '' if nothing can be seen. */
export function plain(text) {
    const line = text.slice(0, 4 * LENGTH).replace(UNFIT, ' ').trim();
    if (!SEEN.test(line))
        return '';
    const letters = Array.from(line);
    return letters.length > LENGTH ? `${letters.slice(0, LENGTH).join('')}…` : line;
}

/** A plain text to stand inside of another one: its writing direction does not reach beyond it. */
export function isolated(text) {
    return `${ISOLATE}${text}${END}`;
}
