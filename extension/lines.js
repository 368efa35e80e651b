// SPDX-License-Identifier: GPL-2.0-or-later
// The lines of the menu, from what the agent says. It knows no widgets.

import {isolated, plain} from './plain.js';
import {path, reason} from './reasons.js';
import {isMissed} from './summary.js';
import {_, fill, ngettext} from './translation.js';

// Peers that are shown of all tunnels together, and of one tunnel at least.
const ROWS = 40;
const FEWEST = 5;

const NOTICES = {
    'captive-portal': () => _('This network wants you to log in first. Until then nothing is looked up.'),
    'offline': () => _('There is no network.'),
    'unavailable': () => _('The agent cannot do its work now. Details tell why.'),
};

const STATES = {
    'connected': {icon: 'connected', words: () => _('Connected')},
    'probing': {icon: 'trying', words: () => _('Being tried')},
    'stale': {icon: 'missed', words: () => _('Not reached any more')},
    'unreachable': {icon: 'missed', words: () => _('Not reached')},
    'idle': {icon: 'idle', words: () => _('Not in use')},
};
const UNKNOWN = {icon: 'unknown', words: () => _('Not known yet')};

/** The lines: {kind: 'heading' or 'note', text}, or {kind: 'peer', icon, name, detail, reason, accessible}.
 *
 * `since` makes of microseconds since the epoch what people say of a time, '' if nothing can be said.
 */
export function lines(agent, since) {
    const {tunnels} = agent;
    const peers = byTunnel(agent);
    const limit = Math.max(FEWEST, Math.floor(ROWS / Math.max(1, tunnels.length)));
    const common = [...notices(agent)];
    const heard = new Set(common.map(line => line.text));
    return [
        ...common,
        ...tunnels.flatMap(tunnel => [
            ...tunnels.length > 1 ? [{kind: 'heading', text: title(tunnel)}] : [],
            ...ofTunnel(tunnel, peers.get(tunnel.interface) ?? [], limit, since, heard),
        ]),
    ];
}

function* notices(agent) {
    if (Object.hasOwn(NOTICES, agent.state))
        yield note(NOTICES[agent.state]());
    if (agent.lastError)
        yield note(plain(agent.lastError));
}

function* ofTunnel(tunnel, peers, limit, since, heard) {
    const error = plain(tunnel.lastError);
    if (error && !heard.has(error))
        yield note(error);
    const seen = tunnel.publicEndpoints;
    if (seen.length > 0)
        yield note(fill(_('You are seen as {endpoints}'), {endpoints: isolated(plain(seen.join(', ')))}));
    for (const peer of missedFirst(peers, limit))
        yield row(peer, since);
    const more = peers.length - limit;
    if (more > 0)
        yield note(fill(ngettext('and {count} more', 'and {count} more', more), {count: more}));
}

function row(peer, since) {
    const {icon, words} = Object.hasOwn(STATES, peer.state) ? STATES[peer.state] : UNKNOWN;
    const shown = plain(peer.name) || plain(peer.publicKey).slice(0, 8);
    const connected = peer.state === 'connected';
    const detail = connected ? [path(peer), sinceWhen(peer, since)].filter(Boolean).join(' · ') : words();
    const why = isMissed(peer) ? reason(peer) : '';
    return {
        kind: 'peer', icon, name: shown, detail, reason: why,
        accessible: [shown, ...connected ? [words()] : [], detail, why].filter(Boolean).join(', '),
    };
}

function sinceWhen(peer, since) {
    const time = since(peer.connectedSince);
    return time && fill(_('since {time}'), {time});
}

/** The connection's name, and the interface where that is another. */
function title(tunnel) {
    const connection = plain(tunnel.connection), device = plain(tunnel.interface);
    return connection && connection !== device ? `${isolated(connection)} (${device})` : device;
}

function byTunnel(agent) {
    const peers = new Map(agent.tunnels.map(tunnel => [tunnel.interface, []]));
    for (const peer of agent.peers)
        peers.get(peer.interface)?.push(peer);
    return peers;
}

/** So many peers: those that are not reached before all others, each by their names. */
function missedFirst(peers, limit) {
    const kinds = [[], []];
    for (const peer of peers)
        kinds[isMissed(peer) ? 0 : 1].push({peer, name: peer.name});
    const {compare} = new Intl.Collator(undefined, {numeric: true});
    return kinds.flatMap(kind => kind.sort((one, other) => compare(one.name, other.name)))
        .slice(0, limit).map(({peer}) => peer);
}

function note(text) {
    return {kind: 'note', text};
}
