# SPDX-License-Identifier: GPL-2.0-or-later
"""A NAT router: one public address, a LAN with DHCP and DNS behind it, and rules of several kinds."""

from __future__ import annotations

from enum import Enum

from lab.world.host import WEB, Host
from lab.world.wireguard import PORT


class Mapping(Enum):
    """How an inside address and port get their outside port."""

    MASQUERADE = "masquerade"
    """The same outside port for every destination; only those who were sent to may answer."""
    SYMMETRIC = "masquerade fully-random"
    """Another outside port for every destination: nobody can tell the third what the second saw."""
    FULL_CONE = "full cone"
    """As MASQUERADE, and whoever sends to port 51820 reaches the LAN's first laptop."""


class Inbound(Enum):
    """What becomes of a packet from outside that belongs to no connection and is addressed to the router itself."""

    DROP = "drop"
    REJECT = "reject"
    ACCEPT = "accept"
    """The router takes it in, and so holds a connection that gives our own packet to that peer another port."""


class Nat(Host):
    """The router; made with the kind that most homes have."""

    def __init__(self, name: str, public: str, lan: str, names: dict[str, str]) -> None:
        """`lan` is the first three numbers of a /24; `names` are what its DNS server knows."""
        super().__init__(name)
        self.public = public
        self.lan = lan
        self._names = names

    def start(self) -> None:
        """Forward, translate, and serve the LAN; the public interface has to be there."""
        self.ip("link add lan0 type bridge forward_delay 0", f"addr add {self.lan}.1/24 dev lan0", "link set lan0 up")
        self.forward()
        self.set_kind()
        self.spawn(
            [
                "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--user=root",
                "--interface=lan0", "--bind-interfaces", f"--dhcp-range={self.lan}.10,{self.lan}.20,255.255.255.0,2m",
                "--dhcp-authoritative", "--dhcp-sequential-ip", "--no-ping",
                f"--dhcp-leasefile=/run/lab/{self.name}.leases", "--pid-file",
                "--log-facility=-", "--log-dhcp", *(f"--address=/{name}/{to}" for name, to in self._names.items()),
            ],
            name="dnsmasq",
        )  # fmt: skip

    def set_kind(
        self, mapping: Mapping = Mapping.MASQUERADE, inbound: Inbound = Inbound.DROP, inner_host: int = 10
    ) -> None:
        """Become a NAT of this kind, and forget all connections. A full cone is one for the host of that number."""
        full_cone = mapping is Mapping.FULL_CONE
        translate = Mapping.MASQUERADE.value if full_cone else mapping.value
        forwarded = f"iifname pub0 udp dport {PORT} dnat to {self.lan}.{inner_host}" if full_cone else ""
        self.nft(f"""
            table ip translation
            delete table ip translation
            table ip translation {{
                chain prerouting {{
                    type nat hook prerouting priority dstnat
                    {forwarded}
                }}
                chain postrouting {{
                    type nat hook postrouting priority srcnat
                    oifname pub0 ip saddr {self.lan}.0/24 {translate}
                }}
            }}
            table inet filtering
            delete table inet filtering
            table inet filtering {{
                chain input {{
                    type filter hook input priority filter
                    ct state established,related accept
                    iifname pub0 meta l4proto udp {inbound.value}
                }}
                chain forward {{
                    type filter hook forward priority filter
                    ct state established,related accept
                    iifname pub0 ct status dnat accept
                    iifname pub0 drop
                }}
            }}
        """)
        self.forget()

    def set_captive(self, captive: bool) -> None:
        """Let nothing out but answer every web page with the way to a log-in, as hotels do; or stop doing so."""
        if captive:
            self.spawn(["python3", WEB, "--portal", "8080"], name="portal")
            self.nft("""
                table ip captivity {
                    chain prerouting {
                        type nat hook prerouting priority dstnat - 10
                        iifname lan0 tcp dport 80 redirect to :8080
                    }
                    chain forward {
                        type filter hook forward priority filter - 10
                        drop
                    }
                }
            """)
        else:
            self.stop("portal")
            self.nft("delete table ip captivity")
        self.forget()

    def forget(self) -> None:
        """Lose all connections, as a router does that is switched off and on."""
        self.run(["conntrack", "--flush"])
