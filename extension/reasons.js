// SPDX-License-Identifier: GPL-2.0-or-later
// The agent's words and codes in plain, translated words. It knows no widgets.

import {plain} from './plain.js';
import {_} from './translation.js';

// By the codes of Reason in data/dbus/interfaces/io.github.wgsd_nm.Agent1.xml.
const REASONS = {
    'connected': () => _('It answers.'),
    'unproven': () => _('Its address is being tried; nothing has come back yet.'),
    'no-reply': () => _('Nothing comes back. A router or firewall on the way may not let us through.'),
    'not-wanted': () => _('Nothing is sent to it.'),
    'looking-up': () => _('The registry is being asked where it is.'),
    'profile-endpoint': () => _('The connection itself says where it is, so that its address is left alone.'),
    'registry-silent': () =>
        _('The registry is behind it, and nothing comes back. No other peer can be found without it.'),
    'stood-down': () =>
        _('Another program keeps changing its address, so that it is left alone until the network changes.'),
    'same-public-address': () => _('It is behind the same router as we are, and that does not lead us back inside.'),
    'symmetric-nat': () => _('Its router uses another port for each destination, so that nobody else can reach it.'),
    'own-symmetric-nat': () => _('Our router uses another port for each destination, so that it does not expect us.'),
    'both-symmetric': () =>
        _('Both its router and ours use another port for each destination: no direct path is possible.'),
    'not-registered': () => _('The registry does not know it, or has not heard from it yet.'),
    'no-endpoint': () => _('The registry has not heard from it yet.'),
    'no-answer': () => _('The registry did not answer in time.'),
    'registry-unreachable': () => _('The registry cannot be reached.'),
    'registry-refused': () => _('The registry refused to answer.'),
    'bad-answer': () => _('The registry’s answer is about something else, so that it is not used.'),
    'unspecified-address': () => _('The registry reports an address that is nobody’s.'),
    'loopback-address': () => _('The registry reports an address that means this computer itself.'),
    'multicast-address': () => _('The registry reports an address that is for groups of computers.'),
    'link-local-address': () => _('The registry reports an address that is good only next to the registry.'),
    'reserved-address': () => _('The registry reports an address that nobody uses.'),
    'port-zero': () => _('The registry reports a port to which nothing can be sent.'),
    'broadcast-address': () => _('The registry reports an address that means everybody on this network.'),
    'own-address': () => _('The registry reports this computer’s own address.'),
    'inside-tunnel': () => _('The registry reports an address inside of the tunnel itself.'),
    'no-route': () => _('The registry reports an address to which this network has no way.'),
};

// By the words of Path.
const PATHS = {
    'link': () => _('Direct, this network'),
    'private': () => _('Direct, another private network'),
    'internet': () => _('Direct, over the internet'),
};

// By the D-Bus names of the errors of Refresh.
const FAILURES = {
    'io.github.wgsd_nm.Error.NoRegistryAnswered': () => _('No registry answered.'),
    'io.github.wgsd_nm.Error.Unavailable': () => _('Nothing can be looked up now.'),
    'io.github.wgsd_nm.Error.NotPermitted': () => _('The helper lacks its privilege: its installation is wrong.'),
    'org.freedesktop.DBus.Error.AccessDenied': () => _('You are not permitted to look after this tunnel.'),
    'org.freedesktop.DBus.Error.InteractiveAuthorizationRequired':
        () => _('You are not permitted to look after this tunnel.'),
    'org.freedesktop.DBus.Error.LimitsExceeded': () => _('Too many requests at a time. Try again in a moment.'),
    'org.freedesktop.DBus.Error.NoReply': () => _('The agent did not answer in time.'),
};

/** Why a peer is in its state: by its code, or as the agent says it where the code is not known here. */
export function reason(peer) {
    return told(REASONS, peer.reason) ?? plain(peer.reasonText);
}

/** By which path a connected peer is reached. */
export function path(peer) {
    return told(PATHS, peer.path) ?? _('Direct');
}

/** Why Refresh failed; `failure` is the error's name and text. */
export function failed(failure) {
    return told(FAILURES, failure.name) ?? (plain(failure.text) || _('The agent did not answer in time.'));
}

/** The codes of Reason that have words here. */
export function codes() {
    return Object.keys(REASONS);
}

function told(words, code) {
    return Object.hasOwn(words, code) ? words[code]() : undefined;
}
