# SPDX-License-Identifier: GPL-2.0-or-later
"""A router: one public address of each family, a LAN with DHCP, router advertisements and DNS, and rules.

IPv4 is translated; IPv6 has a routed prefix, and a firewall that lets in what somebody inside has asked for.
"""

from __future__ import annotations

from collections import abc
from enum import Enum, Flag, auto
from pathlib import Path

from lab.world.host import WEB, Host
from lab.world.wireguard import PORT

Names = abc.Mapping[str, abc.Iterable[str]]
"""The IPv4 and IPv6 addresses of each name."""


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


class Stack(Flag):
    """The families that a LAN has. Where IPv4 is not among them no address is given out."""

    IPV4 = auto()
    IPV6 = auto()
    DUAL = IPV4 | IPV6


class Nat(Host):
    """The router; made with the kind that most homes have, and IPv4 only."""

    def __init__(self, name: str, public: str, lan: str, names: Names, public6: str, lan6: str) -> None:
        """`lan` is the first three numbers of a /24, `lan6` the first four of a /64; the DNS server knows `names`."""
        super().__init__(name)
        self.public = public
        self.public6 = public6
        self.lan = lan
        self.lan6 = lan6
        self._names = names
        self.stack = Stack.IPV4

    def start(self) -> None:
        """Forward, translate, and serve the LAN; the public interface has to be there."""
        self.ip("link add lan0 type bridge forward_delay 0", f"addr add {self.lan}.1/24 dev lan0", "link set lan0 up")
        self.forward()
        self.set_kind()
        self._serve()

    def set_stack(self, stack: Stack) -> None:
        """Have the LAN be of these families from now on. Who is plugged in keeps its old addresses for a while."""
        if (Stack.IPV6 in stack) != (Stack.IPV6 in self.stack):
            self.ip(f"addr {'add' if Stack.IPV6 in stack else 'del'} {self.lan6}::1/64 dev lan0 nodad")
        if stack is not self.stack:
            self.stack = stack
            self.stop("dnsmasq")
            self._serve()
        self.forget()

    def set_names(self, names: Names) -> None:
        """Have the DNS server know these names and their addresses from now on, and no others."""
        self._names = names
        self.stop("dnsmasq")
        self._serve()

    def _serve(self) -> None:
        """Start the server for DHCP, router advertisements and DNS. It announces itself by its link-local address."""
        hosts = Path(f"/run/lab/{self.name}.hosts")
        hosts.write_text("".join(f"{address} {name}\n" for name, known in self._names.items() for address in known))
        families = []
        if Stack.IPV4 in self.stack:
            families.append(f"--dhcp-range={self.lan}.10,{self.lan}.20,255.255.255.0,2m")
        if Stack.IPV6 in self.stack:
            families += ["--enable-ra", f"--dhcp-range={self.lan6}::,ra-only,64,2m"]
        self.spawn(
            [
                "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--user=root",
                "--interface=lan0", "--bind-dynamic", *families,
                "--dhcp-authoritative", "--dhcp-sequential-ip", "--no-ping",
                f"--dhcp-leasefile=/run/lab/{self.name}.leases", "--pid-file",
                "--log-facility=-", "--log-dhcp", "--local=/example.com/", f"--addn-hosts={hosts}",
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

    def forget_all_but(self, addresses: abc.Iterable[str]) -> None:
        """Lose the connections of those who have left, whose outside ports nobody else can have until they expire."""
        flows = self.run(["conntrack", "--dump", "--family", "ipv4"]).stdout.splitlines()
        sources = {flow.partition("src=")[2].partition(" ")[0] for flow in flows}
        for source in sources - set(addresses):
            self.run(["conntrack", "--delete", "--orig-src", source], check=False)
