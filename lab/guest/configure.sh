#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs once inside the new root: the ordinary user, the units that the lab wants and those that only cost time.
set -e
useradd -m -u 1000 -s /bin/bash u
passwd -dq root
systemd-machine-id-setup
systemctl -q enable lab.service
systemctl -q set-default multi-user.target
systemctl -q disable NetworkManager NetworkManager-dispatcher getty@tty1 avahi-daemon.service avahi-daemon.socket \
    systemd-resolved
systemctl -q mask nsd knot systemd-timesyncd apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer NetworkManager-wait-online.service \
    serial-getty@ttyS0.service systemd-pstore.service systemd-journal-flush.service systemd-tmpfiles-clean.timer \
    systemd-random-seed.service modprobe@drm.service modprobe@loop.service modprobe@dm_mod.service \
    modprobe@fuse.service modprobe@efi_pstore.service dev-hugepages.mount dev-mqueue.mount \
    sys-kernel-tracing.mount systemd-binfmt.service
: > /etc/fstab
echo labvm > /etc/hostname
ln -sf /run/NetworkManager/resolv.conf /etc/resolv.conf
mkdir -p /lab /src
python3 -m compileall -q /usr/local/lib/python3*/dist-packages
# polkit before 124 may overlook that a rule has ended, and then waits for 15 s, if it loses the processor at the wrong
# moment; where there is one processor that is often. In real time nothing takes it away.
if dpkg --compare-versions "$(dpkg-query --show --showformat='${Version}' polkitd)" lt 124; then
    sed -i 's|^Exec=|Exec=/usr/bin/chrt --fifo 1 |' /usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service
    mkdir -p /etc/systemd/system/polkit.service.d
    printf '[Service]\nCPUSchedulingPolicy=fifo\nCPUSchedulingPriority=1\n' >/etc/systemd/system/polkit.service.d/lab.conf
fi
