# SPDX-License-Identifier: GPL-2.0-or-later
"""A laptop's objects, as GetManagedObjects of NetworkManager 1.42 shows them: an Ethernet uplink and a tunnel."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from wgsd_nm.bus import names
from wgsd_nm.core.model import Connectivity, Network, ProfilePeer, PublicKey, Tunnel, Uplink

Objects = dict[str, dict[str, dict[str, Any]]]

ROOT = names.NM_PATH
ETH0, WG0, LO = f"{ROOT}/Devices/2", f"{ROOT}/Devices/3", f"{ROOT}/Devices/1"
UPLINK, TUNNEL = f"{ROOT}/ActiveConnection/1", f"{ROOT}/ActiveConnection/2"
UPLINK_PROFILE, TUNNEL_PROFILE = f"{ROOT}/Settings/1", f"{ROOT}/Settings/2"
ETH0_IP4, ETH0_IP6, WG0_IP4 = f"{ROOT}/IP4Config/2", f"{ROOT}/IP6Config/2", f"{ROOT}/IP4Config/3"

OWN_KEY = PublicKey(b"\x01" * 32)
BOB = PublicKey(b"\x02" * 32)
REGISTRY = PublicKey(b"\x03" * 32)


def device(kind: int, interface: str, active: str, ip4: str = "/", ip6: str = "/", state: int = 100) -> dict[str, Any]:
    return {
        "DeviceType": kind,
        "State": state,
        "StateReason": [state, 0],
        "Real": True,
        "Interface": interface,
        "IpInterface": interface,
        "ActiveConnection": active,
        "Ip4Config": ip4,
        "Ip6Config": ip6,
        "Metered": 4,
        "AvailableConnections": [],
    }


def active(uuid: str, kind: str, profile: str, device_path: str) -> dict[str, Any]:
    return {"Uuid": uuid, "Id": uuid, "Type": kind, "State": 2, "Connection": profile, "Devices": [device_path]}


def laptop() -> Objects:
    """A new copy each time."""
    return {
        ROOT: {
            names.NM: {
                "Connectivity": 4,
                "Startup": False,
                "State": 70,
                "PrimaryConnection": UPLINK,
                "Version": "1.42.4",
            }
        },
        f"{ROOT}/AccessPoint/7": {f"{names.NM}.AccessPoint": {"Strength": 40}},
        LO: {names.NM_DEVICE: device(32, "lo", "/")},
        ETH0: {
            names.NM_DEVICE: device(1, "eth0", UPLINK, ETH0_IP4, ETH0_IP6),
            names.NM_WIRED: {"Carrier": True, "Speed": 1000, "HwAddress": "02:00:00:00:00:01"},
            f"{names.NM_DEVICE}.Statistics": {"TxBytes": 1},
        },
        WG0: {
            names.NM_DEVICE: device(29, "wg0", TUNNEL, WG0_IP4),
            names.NM_WIREGUARD: {"PublicKey": OWN_KEY.raw, "ListenPort": 51820, "FwMark": 0xCA6C},
        },
        UPLINK: {names.NM_ACTIVE: active("uplink-uuid", "802-3-ethernet", UPLINK_PROFILE, ETH0)},
        TUNNEL: {names.NM_ACTIVE: active("tunnel-uuid", "wireguard", TUNNEL_PROFILE, WG0)},
        UPLINK_PROFILE: {names.NM_PROFILE: {"Unsaved": False}},
        TUNNEL_PROFILE: {names.NM_PROFILE: {"Unsaved": False}},
        ETH0_IP4: {
            names.NM_IP4: {
                "AddressData": [{"address": "192.168.1.10", "prefix": 24}],
                "Gateway": "192.168.1.1",
                "RouteData": [
                    {"dest": "192.168.1.0", "prefix": 24, "metric": 100},
                    {"dest": "0.0.0.0", "prefix": 0, "next-hop": "192.168.1.1", "metric": 100},
                ],
                "NameserverData": [{"address": "192.168.1.1"}],
            }
        },
        ETH0_IP6: {
            names.NM_IP6: {
                "AddressData": [{"address": "2001:db8::10", "prefix": 64}, {"address": "fe80::10", "prefix": 64}],
                "Gateway": "fe80::1",
                "RouteData": [{"dest": "::", "prefix": 0, "next-hop": "fe80::1", "metric": 100}],
                "Nameservers": [ip_address("fe80::1").packed],
            }
        },
        WG0_IP4: {
            names.NM_IP4: {
                "AddressData": [{"address": "10.0.0.1", "prefix": 24}],
                "Gateway": "",
                "RouteData": [{"dest": "0.0.0.0", "prefix": 0, "metric": 50, "table": 51966}],
                "NameserverData": [],
            }
        },
    }


def settings() -> dict[str, Any]:
    """The tunnel's profile, as GetSettings shows it; a new copy each time."""
    return {
        "connection": {"id": "Home", "uuid": "tunnel-uuid", "type": "wireguard", "interface-name": "wg0"},
        "wireguard": {
            "listen-port": 51820,
            "peers": [
                {
                    "public-key": str(REGISTRY),
                    "endpoint": "registry.example.com:51820",
                    "allowed-ips": ["10.0.0.254/32"],
                    "persistent-keepalive": 25,
                },
                {"public-key": str(BOB), "allowed-ips": ["10.0.0.2/32", "2001:db8:1::/64"]},
            ],
        },
        "ipv4": {"method": "manual", "dns-data": ["10.0.0.254"], "dns-search": ["~example.com"]},
        "ipv6": {"method": "disabled", "dns-search": ["example.com"]},
    }


NETWORK = Network(
    available=True,
    connectivity=Connectivity.FULL,
    uplinks=(
        Uplink(
            interface="eth0",
            connection_uuid="uplink-uuid",
            addresses=(ip_interface("192.168.1.10/24"), ip_interface("2001:db8::10/64"), ip_interface("fe80::10/64")),
            gateways=(ip_address("192.168.1.1"), ip_address("fe80::1")),
            metric=100,
            name_servers=(ip_address("192.168.1.1"), ip_address("fe80::1")),
        ),
    ),
    tunnels=(
        Tunnel(
            interface="wg0",
            connection_id="Home",
            connection_uuid="tunnel-uuid",
            activation=TUNNEL,
            public_key=OWN_KEY,
            fwmark=0xCA6C,
            addresses=(ip_interface("10.0.0.1/24"),),
            peers=(
                ProfilePeer(REGISTRY, "registry.example.com:51820", 25, (ip_network("10.0.0.254/32"),)),
                ProfilePeer(BOB, "", 0, (ip_network("10.0.0.2/32"), ip_network("2001:db8:1::/64"))),
            ),
            dns=(ip_address("10.0.0.254"),),
            search=("example.com",),
        ),
    ),
    carrier=frozenset({"eth0"}),
)
"""What `laptop()` and `settings()` come to."""
