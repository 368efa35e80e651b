#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# After warm-fast.sh: a running system with an active login of user u at seat0.
systemctl start seat-session polkit
for _ in $(seq 100); do loginctl --no-legend | grep -q seat0 && break; sleep .2; done
timeout 60 systemctl is-system-running --wait
