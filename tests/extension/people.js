// SPDX-License-Identifier: GPL-2.0-or-later
// Agents, tunnels and peers as plain values, for what only reads them.

export function peer(values = {}) {
    return {
        interface: 'wg0', publicKey: 'q83vEjRWeJA=', name: 'bob', state: 'connected', path: '', reason: 'connected',
        reasonText: 'The peer answers.', connectedSince: 0, ...values,
    };
}

export function tunnel(values = {}) {
    return {interface: 'wg0', connection: 'wg0', state: 'ok', publicEndpoints: [], lastError: '', ...values};
}

export function agent(values = {}) {
    return {state: 'ok', lastError: '', tunnels: [tunnel()], peers: [peer()], ...values};
}
