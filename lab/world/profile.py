# SPDX-License-Identifier: GPL-2.0-or-later
"""A WireGuard connection as an administrator writes it, and its text for NetworkManager and for wg(8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.world.wireguard import PORT

UPLINK = """\
[connection]
id=uplink
type=ethernet
interface-name=eth0

[ipv4]
method=auto

[ipv6]
method={ipv6}
"""
IPV6 = {True: "auto", False: "disabled"}
"""The method of an uplink with IPv6 and of one without."""


@dataclass(frozen=True, slots=True)
class PeerProfile:
    """A peer: `endpoint` "" for none, `keepalive` 0 for none."""

    public_key: str
    allowed_ips: tuple[str, ...]
    endpoint: str = ""
    keepalive: int = 0


@dataclass(frozen=True, slots=True)
class WireGuardProfile:
    """The connection; addresses with their prefix length, `user_data` for NetworkManager's section of that name."""

    private_key: str
    address: str
    peers: tuple[PeerProfile, ...]
    listen_port: int = PORT
    interface: str = "wg0"
    autoconnect: bool = True
    permissions: str = ""
    user_data: Mapping[str, str] = field(default_factory=dict)
    address6: str = ""

    def keyfile(self) -> str:
        """The text of a profile in NetworkManager's system-connections."""
        sections = [
            _section(
                "connection",
                id=self.interface,
                type="wireguard",
                interface_name=self.interface,
                autoconnect=str(self.autoconnect).lower(),
                permissions=self.permissions,
            ),
            _section("wireguard", private_key=self.private_key, listen_port=str(self.listen_port or "")),
            *(
                _section(
                    f"wireguard-peer.{peer.public_key}",
                    endpoint=peer.endpoint,
                    persistent_keepalive=str(peer.keepalive or ""),
                    allowed_ips="".join(f"{allowed};" for allowed in peer.allowed_ips),
                )
                for peer in self.peers
            ),
            _section("ipv4", method="manual", address1=self.address),
            _section("ipv6", method="manual" if self.address6 else "disabled", address1=self.address6),
        ]
        if self.user_data:
            sections.append("".join(["[user]\n", *(f"{key}={value}\n" for key, value in self.user_data.items())]))
        return "\n".join(sections)

    def wg_configuration(self) -> str:
        """The text for `wg setconf`."""
        sections = [_section("Interface", PrivateKey=self.private_key, ListenPort=str(self.listen_port or ""))]
        sections += [
            _section(
                "Peer",
                PublicKey=peer.public_key,
                AllowedIPs=",".join(peer.allowed_ips),
                Endpoint=peer.endpoint,
                PersistentKeepalive=str(peer.keepalive or ""),
            )
            for peer in self.peers
        ]
        return "\n".join(sections)


def _section(title: str, **values: str) -> str:
    """A section of an INI file; empty values are left out."""
    lines = (f"{key.replace('_', '-')}={value}\n" for key, value in values.items() if value)
    return "".join([f"[{title}]\n", *lines])
