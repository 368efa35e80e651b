# SPDX-License-Identifier: GPL-2.0-or-later
"""The DNS-SD server at the registry peer: a reader with CAP_NET_ADMIN and a server without any capability."""
