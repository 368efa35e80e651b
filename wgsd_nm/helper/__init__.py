# SPDX-License-Identifier: GPL-2.0-or-later
"""The only privileged program on the laptop: reads WireGuard peers and sets their endpoints, for those who may ask."""
