#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What every job needs, brought into the page cache and the kernel before the snapshot is taken.
modprobe -a wireguard veth bridge nf_tables nft_chain_nat nft_masq nft_ct nf_nat nft_reject_inet nf_conntrack_netlink \
    nft_counter dummy tun 2>/dev/null
programs="/usr/sbin/NetworkManager /usr/bin/nmcli /usr/bin/wg /usr/bin/nft /usr/sbin/ip /usr/sbin/dnsmasq
    /usr/bin/dbus-daemon /usr/bin/busctl /usr/lib/polkit-1/polkitd /usr/sbin/conntrack /usr/bin/ping /usr/bin/pkcheck"
cat $programs $(ldd $programs 2>/dev/null | awk '$3 ~ /^\// {print $3}' | sort -u) \
    /usr/lib/x86_64-linux-gnu/NetworkManager/*/*.so >/dev/null 2>&1
python3 -c 'import pyroute2.netlink.generic.wireguard, dns.asyncresolver, dbus_next.aio, pytest, asyncio, http.server'
ip netns add warm
ip -n warm link add wg0 type wireguard
ip netns exec warm wg show >/dev/null
ip netns exec warm nft list ruleset
ip netns del warm
sync
