# SPDX-License-Identifier: GPL-2.0-or-later
"""What befalls networks: packets late or lost, a router that begins anew, two that look alike, a loose contact.

Each is undone by leaving its context, or by the function that is named beside it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from lab.world import install
from lab.world.host import Host, call
from lab.world.laptop import Laptop
from lab.world.nat import Nat
from lab.world.station import Station
from lab.world.world import World


@contextmanager
def impaired(hosts: Iterable[Host], loss: float, delay: float) -> Iterator[None]:
    """Of what these hosts send by pub0, `loss` per cent are lost and the rest is late by `delay` seconds (tc-netem(8)).

    A way between two of them is as bad in each direction, and the round trip takes twice the delay.
    """
    call("modprobe", "sch_netem")
    chosen = tuple(hosts)
    for host in chosen:
        rule = f"netem loss {loss:g}% delay {delay * 1000:g}ms limit 10000"
        host.run(["tc", "qdisc", "replace", "dev", "pub0", "root", *rule.split()])
    try:
        yield
    finally:
        for host in chosen:
            host.run(["tc", "qdisc", "del", "dev", "pub0", "root"])


@contextmanager
def cut_off(world: World, host: Host) -> Iterator[None]:
    """A public host without its line: nothing goes out of it, nothing comes in."""
    world.internet.ip(f"link set to-{host.name} down")
    try:
        yield
    finally:
        world.internet.ip(f"link set to-{host.name} up")


@contextmanager
def dropping(host: Host, name: str, hook: str, condition: str) -> Iterator[None]:
    """A host drops the packets of a hook that this is true of, in the words of nft(8), and says nothing."""
    host.nft(f"table inet {name} {{ chain {name} {{ type filter hook {hook} priority 0; {condition} drop; }}; }}")
    try:
        yield
    finally:
        host.nft(f"delete table inet {name}")


def give_other_ports(nat: Nat, first: int, last: int) -> None:
    """Have a router forget all connections and give outside ports of this range from now on, one to each inside port.

    `keep_ports` ends it; both are what a router does that is switched off and on.
    """
    keep_ports(nat)
    nat.nft(f"""
        table ip other_ports {{
            chain postrouting {{
                type nat hook postrouting priority srcnat - 1
                oifname pub0 ip saddr {nat.lan}.0/24 meta l4proto udp masquerade to :{first}-{last}
            }}
        }}
    """)
    nat.forget()


def keep_ports(nat: Nat) -> None:
    """Have a router forget all connections and give the inside port as outside port again, if it is free."""
    nat.nft("table ip other_ports\ndelete table ip other_ports")
    nat.forget()


@contextmanager
def looking_alike(nat: Nat, model: Nat) -> Iterator[None]:
    """A router that routes, beside its own LAN, one with the model's addresses, as two of one make and model do.

    It answers no DHCP meanwhile: a renewal, which may be due at any time, would tell a laptop where it is.
    """
    address = f"{model.lan}.1/24"
    nat.ip(f"addr add {address} dev lan0")
    nat.nft(f"""
        table ip alike {{
            chain postrouting {{
                type nat hook postrouting priority srcnat - 1
                oifname pub0 ip saddr {model.lan}.0/24 masquerade
            }}
            chain input {{
                type filter hook input priority filter - 1
                iifname lan0 udp dport 67 drop
            }}
        }}
    """)
    try:
        yield
    finally:
        nat.nft("delete table ip alike")
        nat.ip(f"addr del {address} dev lan0")
        nat.forget()


@contextmanager
def patient(laptop: Laptop) -> Iterator[None]:
    """A laptop whose NetworkManager waits for a lost carrier as long as by default, not shorter as elsewhere here.

    So a cable is carried quickly from router to router also by a slow machine.
    """
    try:
        _set_patience(laptop, install.NETWORK_MANAGER.replace("carrier-wait-timeout=500", "carrier-wait-timeout=6000"))
        yield
    finally:
        _set_patience(laptop, install.NETWORK_MANAGER)


def _set_patience(laptop: Laptop, settings: str) -> None:
    laptop.write("/etc/NetworkManager/NetworkManager.conf", settings)
    laptop.nmcli("general", "reload", "conf")


def flap(station: Station, nat: Nat, times: int, seconds: float) -> None:
    """Have the carrier of a station's card go and come so often within this time; it is there to stay afterwards."""
    begin, half = time.monotonic(), seconds / times / 2
    for turn in range(times):
        station.unplug()
        time.sleep(max(0.0, begin + (2 * turn + 1) * half - time.monotonic()))
        station.plug(nat)
        time.sleep(max(0.0, begin + (2 * turn + 2) * half - time.monotonic()))
