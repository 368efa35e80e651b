# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import copy
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit import nm_objects as nm
from wgsd_nm.agent.nm_mirror import INTERFACES, Mirror
from wgsd_nm.bus import names
from wgsd_nm.core.model import Connectivity, Network, ProfilePeer, Tunnel, Uplink

IGNORED = f"{names.NM_DEVICE}.Statistics"


class Watched(Mirror):
    """A mirror that keeps what it complained about."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        super().__init__(self.complaints.append)


def filled(objects: nm.Objects | None = None) -> Watched:
    mirror = Watched()
    mirror.load(nm.laptop() if objects is None else objects)
    for path in mirror.take_unread():
        mirror.learn(path, nm.settings())
    return mirror


def eth0(mirror: Mirror) -> Uplink:
    (uplink,) = mirror.network().uplinks
    return uplink


def test_a_laptop() -> None:
    mirror = filled()
    assert mirror.network() == nm.NETWORK
    assert mirror.complaints == []


def test_an_empty_networkmanager() -> None:
    assert filled({}).network() == Network(available=True)


def test_objects_may_come_one_by_one_in_any_order() -> None:
    mirror = Watched()
    for path, interfaces in reversed(nm.laptop().items()):
        mirror.added(names.NM_ROOT_PATH, [path, interfaces])
    for path in mirror.take_unread():
        mirror.learn(path, nm.settings())
    assert mirror.network() == nm.NETWORK


@pytest.mark.parametrize("state", [0, 10, 40, 70, 110, 120])
def test_a_device_that_is_not_up_does_not_count(state: int) -> None:
    mirror = filled()
    assert mirror.changed(nm.ETH0, [names.NM_DEVICE, {"State": state}, []])
    assert mirror.network() == replace(nm.NETWORK, uplinks=(), carrier=frozenset())
    assert mirror.changed(nm.WG0, [names.NM_DEVICE, {"State": state}, []])
    assert mirror.network() == replace(nm.NETWORK, uplinks=(), carrier=frozenset(), tunnels=())
    for path in (nm.ETH0, nm.WG0):
        mirror.changed(path, [names.NM_DEVICE, {"State": 100}, []])
    assert mirror.network() == nm.NETWORK


@pytest.mark.parametrize("state", [80, 90])
def test_an_uplink_counts_as_soon_as_it_can_be_used_and_a_tunnel_when_it_is_activated(state: int) -> None:
    mirror = filled()
    for path in (nm.ETH0, nm.WG0):
        mirror.changed(path, [names.NM_DEVICE, {"State": state}, []])
    assert mirror.network() == replace(nm.NETWORK, tunnels=())
    mirror.changed(nm.ETH0, [names.NM_DEVICE, {"IpInterface": ""}, []])
    assert mirror.network().uplinks == (), "a modem's interface is known no sooner"


@pytest.mark.parametrize(
    ("path", "interface", "properties"),
    [
        (nm.ETH0, names.NM_DEVICE, {"Metered": 1}),
        (nm.ETH0, names.NM_DEVICE, {"StateReason": [100, 40]}),
        (nm.ETH0, names.NM_DEVICE, {"State": 100, "Ip4Connectivity": 3}),
        (nm.ETH0, names.NM_WIRED, {"Carrier": True, "Speed": 100}),
        (nm.ETH0, IGNORED, {"TxBytes": 2}),
        (nm.ROOT, names.NM, {"State": 60, "Connectivity": 4, "PrimaryConnection": "/"}),
        (nm.ETH0_IP4, names.NM_IP4, {"RouteData": nm.laptop()[nm.ETH0_IP4][names.NM_IP4]["RouteData"][1:]}),
        ("/nowhere", names.NM_DEVICE, {"State": 20}),
        (nm.UPLINK, names.NM_DEVICE, {"State": 20}),
    ],
)
def test_what_means_nothing_here_does_not_matter(path: str, interface: str, properties: dict[str, Any]) -> None:
    mirror = filled()
    assert not mirror.changed(path, [interface, properties, []])
    assert mirror.network() == nm.NETWORK
    assert mirror.complaints == []


def test_a_quick_cable_move_shows_in_carrier_and_connectivity_only() -> None:
    mirror = filled()
    assert mirror.changed(nm.ETH0, [names.NM_WIRED, {"Carrier": False}, []])
    assert mirror.network() == replace(nm.NETWORK, carrier=frozenset())
    assert mirror.changed(nm.ROOT, [names.NM, {"Connectivity": 1}, []])
    assert mirror.network() == replace(nm.NETWORK, carrier=frozenset(), connectivity=Connectivity.NONE)


def test_a_device_without_a_wire_has_a_carrier() -> None:
    mirror = filled()
    mirror.removed(names.NM_ROOT_PATH, [nm.ETH0, [names.NM_WIRED]])
    assert mirror.network() == nm.NETWORK


@pytest.mark.parametrize("kind", [16, 32])
def test_tunnels_of_others_and_loopback_are_no_uplinks(kind: int) -> None:
    mirror = filled()
    mirror.changed(nm.ETH0, [names.NM_DEVICE, {"DeviceType": kind}, []])
    assert mirror.network() == replace(nm.NETWORK, uplinks=(), carrier=frozenset())


@pytest.mark.parametrize("kind", [13, 14, 17, 18, 19, 20, 22, 24])
def test_a_device_of_containers_counts_with_a_default_route_only(kind: int) -> None:
    mirror = filled()
    mirror.changed(nm.ETH0, [names.NM_DEVICE, {"DeviceType": kind}, []])
    assert mirror.network() == nm.NETWORK
    without_routes(mirror)
    assert mirror.network() == replace(nm.NETWORK, uplinks=(), carrier=frozenset())


@pytest.mark.parametrize("kind", [1, 2, 5, 8, 10, 11, 15])
def test_a_card_counts_without_a_way_out_too(kind: int) -> None:
    mirror = filled()
    mirror.changed(nm.ETH0, [names.NM_DEVICE, {"DeviceType": kind}, []])
    without_routes(mirror)
    assert mirror.network() == replace(nm.NETWORK, uplinks=(replace(nm.NETWORK.uplinks[0], gateways=(), metric=0),))


def without_routes(mirror: Mirror) -> None:
    for path, interface in ((nm.ETH0_IP4, names.NM_IP4), (nm.ETH0_IP6, names.NM_IP6)):
        mirror.changed(path, [interface, {"RouteData": []}, []])


def test_an_uplink_has_an_address_that_is_not_link_local() -> None:
    mirror = filled()
    mirror.changed(nm.ETH0_IP4, [names.NM_IP4, {"AddressData": [{"address": "169.254.3.4", "prefix": 16}]}, []])
    assert eth0(mirror).addresses[0] == ip_interface("169.254.3.4/16")
    mirror.changed(nm.ETH0_IP6, [names.NM_IP6, {"AddressData": [{"address": "fe80::10", "prefix": 64}]}, []])
    assert mirror.network().uplinks == ()
    mirror.changed(nm.ETH0, [names.NM_DEVICE, {"Ip4Config": "/", "Ip6Config": "/"}, []])
    assert mirror.network().uplinks == ()


def test_uplinks_stand_in_the_order_of_their_default_routes() -> None:
    objects = nm.laptop()
    wlan, active, config = f"{nm.ROOT}/Devices/9", f"{nm.ROOT}/ActiveConnection/9", f"{nm.ROOT}/IP4Config/9"
    vlan, vlan_active, vlan_config = (
        f"{nm.ROOT}/{folder}/10" for folder in ("Devices", "ActiveConnection", "IP4Config")
    )
    objects[vlan] = {names.NM_DEVICE: nm.device(11, "vlan7", vlan_active, vlan_config)}
    objects[vlan_active] = {names.NM_ACTIVE: nm.active("vlan", "vlan", "/", vlan)}
    objects[vlan_config] = {names.NM_IP4: {"AddressData": [{"address": "172.16.0.1", "prefix": 16}], "RouteData": []}}
    objects[wlan] = {names.NM_DEVICE: nm.device(2, "wlan0", active, config)}
    objects[active] = {names.NM_ACTIVE: nm.active("wifi", "802-11-wireless", "/", wlan)}
    objects[config] = {
        names.NM_IP4: {
            "AddressData": [{"address": "192.0.2.7", "prefix": 24}],
            "RouteData": [
                {"dest": "0.0.0.0", "prefix": 0, "next-hop": "192.0.2.2", "metric": 700},
                {"dest": "0.0.0.0", "prefix": 0, "next-hop": "192.0.2.1", "metric": 600},
                {"dest": "0.0.0.0", "prefix": 0, "next-hop": "192.0.2.1", "metric": 650},
            ],
        }
    }
    mirror = filled(objects)

    def order() -> list[str]:
        return [uplink.interface for uplink in mirror.network().uplinks]

    assert order() == ["eth0", "wlan0", "vlan7"]
    assert mirror.network().uplinks[1].gateways == (ip_address("192.0.2.1"), ip_address("192.0.2.2"))
    assert mirror.network().uplinks[1].metric == 600
    # Ethernet lost the internet: NetworkManager adds 20000 to its metric.
    for path, interface, destination, hop in (
        (nm.ETH0_IP4, names.NM_IP4, "0.0.0.0", "192.168.1.1"),
        (nm.ETH0_IP6, names.NM_IP6, "::", "fe80::1"),
    ):
        route = {"dest": destination, "prefix": 0, "next-hop": hop, "metric": 20100}
        assert mirror.changed(path, [interface, {"RouteData": [route]}, []])
    assert order() == ["wlan0", "eth0", "vlan7"]


def test_a_tunnel_without_profile_is_left_out_until_it_is_known() -> None:
    mirror = Watched()
    mirror.load(nm.laptop())
    assert mirror.network() == replace(nm.NETWORK, tunnels=())
    assert mirror.take_unread() == {nm.TUNNEL_PROFILE}
    assert mirror.take_unread() == set()
    assert mirror.learn(nm.TUNNEL_PROFILE, nm.settings())
    assert mirror.network() == nm.NETWORK
    assert not mirror.learn(nm.TUNNEL_PROFILE, nm.settings())


WG7, WG7_IP4 = f"{nm.ROOT}/Devices/7", f"{nm.ROOT}/IP4Config/7"
FOREIGN = Tunnel(
    interface="wg7",
    connection_id="wg7",
    connection_uuid="",
    activation=f"{WG7} {WG7_IP4} /",
    public_key=nm.OWN_KEY,
    fwmark=7,
    addresses=(ip_interface("10.9.0.1/24"),),
)


def with_foreign(**values: Any) -> Watched:
    """A laptop with a WireGuard device that NetworkManager was told to leave alone."""
    objects = nm.laptop()
    device = nm.device(29, "wg7", "/", WG7_IP4, state=10)
    objects[WG7] = {
        names.NM_DEVICE: device | values,
        names.NM_WIREGUARD: {"PublicKey": nm.OWN_KEY.raw, "ListenPort": 7777, "FwMark": 7},
    }
    objects[WG7_IP4] = {names.NM_IP4: {"AddressData": [{"address": "10.9.0.1", "prefix": 24}], "RouteData": []}}
    return filled(objects)


def test_an_unmanaged_device_is_a_tunnel_without_profile() -> None:
    mirror = with_foreign()
    assert mirror.network() == replace(nm.NETWORK, tunnels=(*nm.NETWORK.tunnels, FOREIGN))
    assert mirror.take_unread() == set()
    again = f"{nm.ROOT}/IP4Config/8"
    mirror.changed(WG7, [names.NM_DEVICE, {"Real": False, "Ip4Config": "/"}, []])
    assert mirror.network() == nm.NETWORK
    mirror.changed(WG7, [names.NM_DEVICE, {"Real": True, "Ip4Config": again}, []])
    assert mirror.network() == nm.NETWORK, "its key is not known yet"
    mirror.changed(WG7, [names.NM_WIREGUARD, {"PublicKey": nm.OWN_KEY.raw}, []])
    (_, tunnel) = mirror.network().tunnels
    assert tunnel.activation not in ("", FOREIGN.activation), "the link is another one"


@pytest.mark.parametrize(
    ("path", "interface", "properties"),
    [
        (WG7, names.NM_DEVICE, {"Real": False}),
        (WG7, names.NM_DEVICE, {"State": 20}),
        (WG7, names.NM_DEVICE, {"ActiveConnection": nm.TUNNEL}),
        (WG7, names.NM_DEVICE, {"IpInterface": ""}),
        (WG7, names.NM_WIREGUARD, {"PublicKey": bytes(32)}),
        (nm.ROOT, names.NM, {"Startup": True}),
    ],
)
def test_an_unmanaged_device_counts_when_it_is_there_and_has_its_key(
    path: str, interface: str, properties: dict[str, Any]
) -> None:
    mirror = with_foreign()
    before = {name: value for name, value in BEFORE[interface].items() if name in properties}
    assert mirror.changed(path, [interface, properties, []])
    assert mirror.network() == nm.NETWORK
    assert mirror.changed(path, [interface, before, []])
    mirror.changed(WG7, [names.NM_WIREGUARD, {"PublicKey": nm.OWN_KEY.raw}, []])
    assert mirror.network() == replace(nm.NETWORK, tunnels=(*nm.NETWORK.tunnels, FOREIGN))


def test_a_device_that_is_not_there_at_first_does_not_count() -> None:
    assert with_foreign(Real=False).network() == nm.NETWORK


BEFORE: dict[str, dict[str, Any]] = {
    names.NM_DEVICE: {"Real": True, "State": 10, "ActiveConnection": "/", "IpInterface": "wg7"},
    names.NM_WIREGUARD: {"PublicKey": nm.OWN_KEY.raw},
    names.NM: {"Startup": False},
}


def test_a_device_that_networkmanager_only_watches_is_a_tunnel_with_the_profile_that_it_made_up() -> None:
    profile = {
        "connection": {"id": "wg7", "uuid": "made-up", "type": "wireguard", "interface-name": "wg7"},
        "wireguard": {"peers": [{"public-key": str(nm.BOB)}]},
        "ipv4": {"method": "manual"},
    }
    active, settings = f"{nm.ROOT}/ActiveConnection/7", f"{nm.ROOT}/Settings/7"
    mirror = with_foreign(State=100, ActiveConnection=active)
    mirror.added(names.NM_ROOT_PATH, [active, {names.NM_ACTIVE: nm.active("made-up", "wireguard", settings, WG7)}])
    assert mirror.network() == nm.NETWORK
    assert mirror.take_unread() == {settings}
    assert mirror.learn(settings, profile)
    expected = replace(FOREIGN, connection_uuid="made-up", activation=active, peers=(ProfilePeer(nm.BOB),))
    assert mirror.network() == replace(nm.NETWORK, tunnels=(*nm.NETWORK.tunnels, expected))


def test_a_key_that_is_not_there_yet() -> None:
    mirror = filled()
    assert mirror.changed(nm.WG0, [names.NM_WIREGUARD, {"PublicKey": bytes(32), "FwMark": 0}, []])
    (tunnel,) = mirror.network().tunnels
    assert (tunnel.public_key, tunnel.fwmark) == (None, 0)


def test_an_updated_profile_must_be_read_again() -> None:
    mirror = filled()
    assert mirror.updated(nm.TUNNEL_PROFILE, [])
    assert mirror.take_unread() == {nm.TUNNEL_PROFILE}
    assert mirror.network() == nm.NETWORK, "what was known stays in use meanwhile"
    assert not mirror.updated(nm.UPLINK_PROFILE, [])
    assert mirror.take_unread() == set()


def test_a_new_activation_reads_the_profile_again_and_uses_what_is_known_meanwhile() -> None:
    mirror = filled()
    again = f"{nm.ROOT}/ActiveConnection/12"
    mirror.changed(nm.WG0, [names.NM_DEVICE, {"State": 110, "ActiveConnection": "/"}, []])
    mirror.removed(names.NM_ROOT_PATH, [nm.TUNNEL, [names.NM_ACTIVE]])
    assert mirror.take_unread() == set()
    new = nm.active("tunnel-uuid", "wireguard", nm.TUNNEL_PROFILE, nm.WG0)
    mirror.added(names.NM_ROOT_PATH, [again, {names.NM_ACTIVE: new}])
    mirror.changed(nm.WG0, [names.NM_DEVICE, {"State": 40, "ActiveConnection": again}, []])
    assert mirror.take_unread() == {nm.TUNNEL_PROFILE}
    mirror.changed(nm.WG0, [names.NM_DEVICE, {"State": 100}, []])
    assert mirror.network() == replace(nm.NETWORK, tunnels=(replace(nm.NETWORK.tunnels[0], activation=again),))


def test_a_profile_that_was_updated_while_down_is_not_used() -> None:
    mirror = filled()
    mirror.changed(nm.WG0, [names.NM_DEVICE, {"State": 30, "ActiveConnection": "/"}, []])
    mirror.take_unread()
    mirror.updated(nm.TUNNEL_PROFILE, [])
    mirror.changed(nm.WG0, [names.NM_DEVICE, {"State": 100, "ActiveConnection": nm.TUNNEL}, []])
    assert mirror.network().tunnels == ()
    assert mirror.take_unread() == {nm.TUNNEL_PROFILE}


def test_a_removed_profile_is_forgotten() -> None:
    mirror = filled()
    mirror.removed(names.NM_ROOT_PATH, [nm.TUNNEL_PROFILE, [names.NM_PROFILE]])
    assert mirror.network().tunnels == ()


def test_a_removed_device_is_gone() -> None:
    mirror = filled()
    assert mirror.removed(names.NM_ROOT_PATH, [nm.WG0, [names.NM_DEVICE, names.NM_WIREGUARD, IGNORED]])
    assert mirror.network() == replace(nm.NETWORK, tunnels=())
    assert not mirror.removed(names.NM_ROOT_PATH, [nm.WG0, [names.NM_DEVICE]])


@pytest.mark.parametrize(
    ("path", "interface", "name", "uplinks", "tunnels"),
    [
        (nm.ETH0, names.NM_DEVICE, "State", 0, 1),
        (nm.ETH0, names.NM_WIRED, "Carrier", 0, 1),
        (nm.ETH0_IP4, names.NM_IP4, "AddressData", 1, 1),
        (nm.WG0, names.NM_WIREGUARD, "PublicKey", 1, 0),
        (nm.TUNNEL, names.NM_ACTIVE, "Connection", 1, 0),
        (nm.ROOT, names.NM, "Connectivity", 1, 1),
    ],
)
def test_an_object_with_a_value_of_unknown_form_is_left_out_until_it_is_mended(
    path: str, interface: str, name: str, uplinks: int, tunnels: int
) -> None:
    mirror = filled()
    value = nm.laptop()[path][interface][name]
    assert mirror.changed(path, [interface, {name: 1.5}, []])
    network = mirror.network()
    assert (len(network.uplinks), len(network.tunnels)) == (uplinks, tunnels)
    assert network != nm.NETWORK
    assert [path in complaint and name in complaint for complaint in mirror.complaints] == [True]
    assert not mirror.changed(path, [interface, {name: 1.5}, []])
    assert mirror.changed(path, [interface, {name: value}, []])
    assert mirror.network() == nm.NETWORK


def test_an_interface_name_that_is_none_leaves_its_device_out() -> None:
    mirror = filled()
    mirror.changed(nm.ETH0, [names.NM_DEVICE, {"IpInterface": "00:11:22:33:44:55"}, []])
    assert mirror.network().uplinks == ()
    assert any("00:11:22:33:44:55" in complaint for complaint in mirror.complaints)
    mirror.changed(nm.ETH0, [names.NM_DEVICE, {"IpInterface": ""}, []])
    assert eth0(mirror).interface == "eth0", "Interface counts where there is no IpInterface"


def test_a_peer_of_unknown_form_is_left_out_alone() -> None:
    settings = nm.settings()
    settings["wireguard"]["peers"][0]["public-key"] = "nonsense"
    mirror = filled()
    assert mirror.learn(nm.TUNNEL_PROFILE, settings)
    (tunnel,) = mirror.network().tunnels
    assert [peer.public_key for peer in tunnel.peers] == [nm.BOB]
    assert len(mirror.complaints) == 1


@pytest.mark.parametrize("settings", [None, {}, {"connection": {"id": "x"}}, {"connection": []}])
def test_settings_of_unknown_form_change_nothing(settings: object) -> None:
    mirror = filled()
    assert not mirror.learn(nm.TUNNEL_PROFILE, settings)
    assert mirror.network() == nm.NETWORK
    assert len(mirror.complaints) == 1


@pytest.mark.parametrize("body", [[], [1], [nm.ETH0], [nm.ETH0, 7], [7, {}], [["a"], {}, []]])
def test_a_signal_of_unknown_form_changes_nothing(body: list[Any]) -> None:
    mirror = filled()
    assert not mirror.added(names.NM_ROOT_PATH, body)
    assert not mirror.removed(names.NM_ROOT_PATH, body)
    assert not mirror.changed(nm.ETH0, body)
    assert mirror.network() == nm.NETWORK
    assert len(mirror.complaints) == 3


def test_a_reply_of_unknown_form_is_an_empty_mirror() -> None:
    mirror = Watched()
    mirror.load(None)
    assert mirror.network() == Network(available=True)
    assert len(mirror.complaints) == 1


NAMES = sorted(
    {name for interfaces in nm.laptop().values() for properties in interfaces.values() for name in properties}
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 2**32)
    | st.sampled_from([nm.ETH0, nm.TUNNEL, "/", "", "\0"])
    | st.binary(max_size=33),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["address", "prefix", "metric"]), inner)
    ),
    max_leaves=6,
)
PATHS = st.sampled_from(sorted(nm.laptop()))
CHANGES = st.tuples(PATHS, st.sampled_from(INTERFACES), st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4))


@settings(max_examples=50)
@given(st.lists(CHANGES, max_size=8))
def test_whatever_comes_there_is_a_network_and_good_values_mend_it(
    changes: list[tuple[str, str, dict[str, Any]]],
) -> None:
    mirror = filled()
    before = mirror.network()
    for path, interface, properties in changes:
        mattered = mirror.changed(path, [interface, properties, []])
        after = mirror.network()
        assert mattered or after == before, "a change that makes a difference is told"
        before = after
    for path, interfaces in nm.laptop().items():
        for interface, properties in interfaces.items():
            mirror.changed(path, [interface, properties, []])
    assert mirror.network() == nm.NETWORK


@settings(max_examples=50)
@given(st.permutations(sorted(nm.laptop())), st.integers(0, 10))
def test_signals_that_a_reply_contains_already_may_be_played_again(order: list[str], count: int) -> None:
    once, twice = filled(), filled()
    for path in order[:count]:
        interfaces = copy.deepcopy(nm.laptop()[path])
        twice.removed(names.NM_ROOT_PATH, [path, list(interfaces)])
        twice.added(names.NM_ROOT_PATH, [path, interfaces])
        for interface, properties in interfaces.items():
            twice.changed(path, [interface, properties, []])
    for path in twice.take_unread():
        twice.learn(path, nm.settings())
    if nm.TUNNEL_PROFILE in order[:count]:
        twice.learn(nm.TUNNEL_PROFILE, nm.settings())
    assert twice.network() == once.network()
