# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry of the hour's push figures: it answers for the laptop and for its peers, where they are."""

from __future__ import annotations

from bench import hour_registry
from bench.helper_process import endpoint_of
from tests.integration.scripted_nm import peer_key
from tests.unit import wireguard_octets
from wgsd_nm.wireguard_messages import DeviceDecoder


def test_its_device_has_the_laptop_and_its_peers_where_the_helper_has_them() -> None:
    device = hour_registry.device(2)
    assert device.public_key == peer_key(0)
    assert {peer.public_key: peer.endpoint for peer in device.peers} == {
        peer_key(number): endpoint_of(number) for number in (-1, 1, 2)
    }
    assert str(device.peers[0].allowed_ips[0]) == "10.77.0.1/32"


def test_the_kernel_could_have_written_it() -> None:
    device = hour_registry.device(2)
    decoder = DeviceDecoder(hour_registry.DEVICE)
    decoder.add(memoryview(wireguard_octets.dump(device)))
    assert decoder.device() == device
