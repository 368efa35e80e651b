# SPDX-License-Identifier: GPL-2.0-or-later
"""WireGuard peers that find each other by themselves: agent, helper, registry and command line."""

__version__ = "0.1.0"
