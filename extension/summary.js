// SPDX-License-Identifier: GPL-2.0-or-later
// How things stand at a glance: from what the agent says to one icon and a few words. It knows no widgets.

import {_, fill, ngettext} from './translation.js';

/** @enum {string} The icon: each has a shape of its own. */
export const Level = {
    ALL: 'all',
    SOME: 'some',
    NONE: 'none',
    IDLE: 'idle',
    PORTAL: 'portal',
    OFFLINE: 'offline',
};

const HINDRANCES = {
    'captive-portal': {level: Level.PORTAL, text: () => _('Network login needed')},
    'offline': {level: Level.OFFLINE, text: () => _('Offline')},
    'unavailable': {level: Level.OFFLINE, text: () => _('Not available')},
};
const SOUND = ['ok', 'looking-up', 'idle'];

const HIDDEN = {visible: false, level: Level.IDLE, text: '', short: '', accessible: ''};

/** What to show of an Agent, or of null for none: hidden unless a configured tunnel is up.
 *
 * `text` stands beside a title, `short` alone; `accessible` is what a screen reader says of the icon.
 */
export function summarize(agent) {
    if (!agent || agent.tunnels.length === 0)
        return HIDDEN;
    const hindrance = Object.hasOwn(HINDRANCES, agent.state) ? HINDRANCES[agent.state] : null;
    const {level, text, short} = hindrance ? withLevel(hindrance.level, hindrance.text()) : counted(agent);
    return {visible: true, level, text, short, accessible: fill(_('WireGuard peers: {summary}'), {summary: text})};
}

/** Whether packets are meant to reach a peer, and do not. */
export function isMissed(peer) {
    return !['connected', 'idle'].includes(peer.state);
}

function counted(agent) {
    let reached = 0, missed = 0;
    for (const peer of agent.peers) {
        const {state} = peer;
        if (state === 'connected')
            reached++;
        else if (state !== 'idle')
            missed++;
    }
    const wanted = reached + missed;
    const sound = SOUND.includes(agent.state);
    if (wanted === 0)
        return sound ? withLevel(Level.IDLE, _('None in use')) : withLevel(Level.NONE, _('Needs attention'));
    const level = reached === 0 ? Level.NONE : missed > 0 || !sound ? Level.SOME : Level.ALL;
    return {
        level,
        text: fill(ngettext('{reached} of {wanted} reached', '{reached} of {wanted} reached', wanted),
            {reached, wanted}),
        short: fill(_('Peers: {reached}/{wanted}'), {reached, wanted}),
    };
}

function withLevel(level, text) {
    return {level, text, short: text};
}
