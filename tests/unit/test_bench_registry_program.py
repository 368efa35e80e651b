# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench's registry: the real program answers for the peers of a recording."""

from __future__ import annotations

import sys
from pathlib import Path

import dns.message
import dns.query

from bench import nameservers, push_kernel, recording
from bench.registry_peers import ZONE, peer
from wgsd_nm.core.dnssd import instance_name

COUNT = 3


def test_every_peer_of_the_recording_is_found(tmp_path: Path) -> None:
    recording.save(push_kernel.dump(COUNT), tmp_path / "dump")
    command = (sys.executable, "-m", "bench.registry_program", str(tmp_path / "dump"))
    with nameservers.registry(nameservers.free_port(), "wg0", command) as server:
        for each in map(peer, range(COUNT)):
            query = dns.message.make_query(instance_name(each.public_key, ZONE), "SRV")
            answer = dns.query.udp(query, nameservers.ADDRESS, 5, port=server.port).answer
            assert each.endpoint is not None
            assert answer[0][0].port == each.endpoint.port
        assert len(server.processes()) == len(server.running_times()) == 2
